"""Operations on the shape of a label, as values that can be journalled and done again: holes, smoothing, margin.

They read the box of the label with room around it, never the volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from medseg_rl.editing import islands, smoothing
from medseg_rl.editing.checks import as_number, as_plane_or_none
from medseg_rl.editing.context import EMPTY, Edit, EditContext
from medseg_rl.editing.grid import Plane
from medseg_rl.errors import EditError

LARGEST_MM = 100.0  # of a margin or a kernel

SmoothMethod = Literal["median", "opening", "closing"]
SMOOTHERS = {"median": smoothing.median, "opening": smoothing.opened, "closing": smoothing.closed}


@dataclass(frozen=True)
class FillHoles:
    """Holes filled in three dimensions, or, with a plane, in each of its slices."""

    plane: Plane | None = None

    kind: ClassVar[str] = "fill_holes"
    source: ClassVar[str] = "operation"
    is_proposal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        as_plane_or_none(self.plane)

    @property
    def name(self) -> str:
        """For the undo list."""
        return "Fill holes" if self.plane is None else f"Fill holes, {self.plane} slices"

    def apply(self, context: EditContext) -> Edit:
        """The label without holes."""
        box = context.tight()
        if box is None:
            return Edit.nothing(EMPTY)
        mask = context.inside(box)
        if self.plane is None:
            return Edit(box, islands.filled_holes(mask))
        return Edit(box, islands.filled_holes_per_slice(mask, context.grid.axis(self.plane)))


@dataclass(frozen=True)
class Smooth:
    """Median, opening or closing with a ball of `radius_mm`."""

    method: SmoothMethod
    radius_mm: float

    kind: ClassVar[str] = "smooth"
    source: ClassVar[str] = "operation"
    is_proposal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.method not in tuple(SMOOTHERS):
            raise EditError(f"there is no smoothing {self.method!r:.40}; there are {', '.join(SMOOTHERS)}")
        object.__setattr__(self, "radius_mm", as_number(self.radius_mm, "kernel in mm", 0.1, LARGEST_MM))

    @property
    def name(self) -> str:
        """For the undo list."""
        return f"{self.method.capitalize()} {self.radius_mm:g} mm"

    def apply(self, context: EditContext) -> Edit:
        """The label smoothed."""
        tight = context.tight()
        if tight is None:
            return Edit.nothing(EMPTY)
        if (note := too_small(context, self.radius_mm)) is not None:
            return Edit.nothing(note)
        box = context.grid.with_room(tight, self.radius_mm)
        return Edit(box, SMOOTHERS[self.method](context.inside(box), context.grid, self.radius_mm))


@dataclass(frozen=True)
class Margin:
    """The label grown by `margin_mm` all round, or shrunk where it is negative, by Euclidean distance."""

    margin_mm: float

    kind: ClassVar[str] = "margin"
    source: ClassVar[str] = "operation"
    is_proposal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "margin_mm", as_number(self.margin_mm, "margin in mm", -LARGEST_MM, LARGEST_MM))

    @property
    def name(self) -> str:
        """For the undo list."""
        return f"{'Shrink' if self.margin_mm < 0 else 'Grow'} {abs(self.margin_mm):g} mm"

    def apply(self, context: EditContext) -> Edit:
        """The label with the margin."""
        tight = context.tight()
        if tight is None:
            return Edit.nothing(EMPTY)
        size = abs(self.margin_mm)
        if (note := too_small(context, size)) is not None:
            return Edit.nothing(note)
        box = context.grid.with_room(tight, max(0.0, self.margin_mm))
        mask = context.inside(box)
        return Edit(box, (smoothing.grown if self.margin_mm > 0 else smoothing.shrunk)(mask, context.grid, size))


def too_small(context: EditContext, size_mm: float) -> str | None:
    """Why a ball of that radius can change nothing; None where it reaches a neighbour."""
    nearest = min(context.grid.spacing)
    if size_mm >= nearest * (1 - 1e-6):
        return None
    return f"{size_mm:g} mm is less than from one voxel to the next, which is {nearest:g} mm; nothing changes"
