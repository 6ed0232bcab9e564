"""Operations on the islands of a label, as values that can be journalled and done again. They read the label's box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from medseg_rl.editing import islands
from medseg_rl.editing.checks import as_number, as_point
from medseg_rl.editing.context import EMPTY, Edit, EditContext
from medseg_rl.editing.grid import Point, in_box
from medseg_rl.errors import EditError

LARGEST_MM3 = 1e9
MOST_PARTS = 50

IslandAction = Literal["keep_largest", "keep_clicked", "remove_clicked", "remove_small"]
ISLAND_NAMES: dict[str, str] = {
    "keep_largest": "Keep largest island",
    "keep_clicked": "Keep clicked island",
    "remove_clicked": "Remove clicked island",
    "remove_small": "Remove islands",
}


@dataclass(frozen=True)
class Islands:
    """Keep the largest island, keep or remove the one at `point_mm`, or remove those smaller than `volume_mm3`."""

    action: IslandAction
    point_mm: Point | None = None
    volume_mm3: float | None = None

    kind: ClassVar[str] = "islands"
    source: ClassVar[str] = "operation"
    is_proposal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.action not in tuple(ISLAND_NAMES):
            raise EditError(f"there is no island action {self.action!r:.40}; there are {', '.join(ISLAND_NAMES)}")
        if self.action in ("keep_clicked", "remove_clicked"):
            object.__setattr__(self, "point_mm", as_point(self.point_mm, "click on the island"))
        if self.action == "remove_small":
            volume = as_number(self.volume_mm3, "smallest island in mm3", 0.0, LARGEST_MM3)
            object.__setattr__(self, "volume_mm3", volume)

    @property
    def name(self) -> str:
        """For the undo list."""
        small = f" below {self.volume_mm3:g} mm3" if self.action == "remove_small" else ""
        return ISLAND_NAMES[self.action] + small

    def apply(self, context: EditContext) -> Edit:
        """The label with the islands that stay. EditError when the click is on none of them."""
        box = context.tight()
        if box is None:
            return Edit.nothing(EMPTY)
        mask, order = context.inside(box), context.grid.order
        if self.action == "keep_largest":
            return Edit(box, islands.largest_island(mask, order))
        if self.action == "remove_small":
            voxels = (self.volume_mm3 or 0.0) / context.grid.voxel_volume
            return Edit(box, islands.large_islands(mask, order, voxels * (1 - 1e-9)))
        at = None if self.point_mm is None else context.grid.voxel_at(self.point_mm)
        if at is None or not box.contains(at) or not mask[in_box(box, at)]:
            raise EditError("there is no island of this label at the click; click inside one")
        clicked = islands.island_at(mask, in_box(box, at))
        return Edit(box, clicked if self.action == "keep_clicked" else mask & ~clicked)


@dataclass(frozen=True)
class SplitIslands:
    """The largest island stays, each other of at least `volume_mm3` becomes a label of its own; smaller ones stay."""

    volume_mm3: float = 0.0

    kind: ClassVar[str] = "split_islands"
    source: ClassVar[str] = "operation"
    is_proposal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "volume_mm3", as_number(self.volume_mm3, "smallest island in mm3", 0.0, LARGEST_MM3))

    @property
    def name(self) -> str:
        """For the undo list."""
        return "Split islands into labels"

    def apply(self, context: EditContext) -> Edit:
        """What stays, and the parts, largest first. EditError when there are more than 50."""
        box = context.tight()
        if box is None:
            return Edit.nothing(EMPTY)
        mask = context.inside(box)
        numbers, sizes = islands.numbered_islands(mask, context.grid.order)
        count = int(np.count_nonzero(sizes * context.grid.voxel_volume >= self.volume_mm3 * (1 - 1e-9)))
        if count <= 1:
            return Edit.nothing("there is one island only; nothing to split")
        if count - 1 > MOST_PARTS:
            raise EditError(f"{count} islands are too many labels; remove small ones first, or split only larger ones")
        parts = tuple(numbers == number for number in islands.by_size(sizes)[1:count])
        return Edit(box, mask & ~np.logical_or.reduce(parts), parts)
