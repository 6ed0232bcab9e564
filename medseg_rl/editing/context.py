"""What an edit may read, and what it gives back. Copies nothing of the volume and writes nothing.

Locks, the overwrite policy and the undo stack are the business of whoever writes an `Edit`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medseg_rl.editing.grid import Grid, Mask
from medseg_rl.errors import EditError, GeometryError
from medseg_rl.volume import Box, Volume

EMPTY = "the label has no voxel yet"


@dataclass(frozen=True, eq=False)
class EditContext:
    """The label that is edited, and what lies around it.

    `value`: of that label. `read`: label value and box to True inside that label, shape of the box. `extent`: label
    value to a box that holds all its voxels, which may be too large; None where it has none. `image`: box to
    intensities as the file has them; None where there is no image. All in the axis order of `grid`.
    """

    grid: Grid
    value: int
    read: Callable[[int, Box], Mask]
    extent: Callable[[int], Box | None]
    image: Callable[[Box], npt.NDArray[Any]] | None = None

    @classmethod
    def of_label_map(cls, label_map: Volume, value: int, image: Volume | None = None) -> Self:
        """From a single label map. Looks through the whole of it for the extent of a label."""
        if image is not None and image.shape != label_map.shape:
            raise GeometryError(f"image is {image.shape} voxels but label map {label_map.shape}; resample it first")
        labels = label_map.array
        return cls(
            Grid.of(label_map),
            value,
            lambda wanted, box: labels[box.slices] == wanted,
            lambda wanted: Box.around_mask(labels == wanted),
            None if image is None else lambda box: image.array[box.slices],
        )

    def inside(self, box: Box) -> Mask:
        """True inside the label that is edited, over a box."""
        return self.read(self.value, box)

    def intensities(self, box: Box) -> npt.NDArray[Any]:
        """Of the image, over a box. Raises EditError where there is none."""
        if self.image is None:
            raise EditError("a threshold needs the image, and there is none; edit without a threshold")
        return self.image(box)

    def tight(self, value: int | None = None) -> Box | None:
        """The smallest box around a label, the edited one unless given; None where it has no voxel."""
        value = self.value if value is None else value
        loose = self.extent(value)
        tight = None if loose is None else Box.around_mask(self.read(value, loose))
        return None if loose is None or tight is None else tight.shifted(loose.start)


@dataclass(frozen=True, eq=False)
class Edit:
    """What an edit wants: `inside` (shape of `box`) is True where the label should lie, outside the box it stays.

    `parts`: masks over the same box that should become labels of their own, largest first (islands split).
    `note`: why nothing or less than asked for is changed, for whoever asked; empty where there is nothing to say.
    """

    box: Box
    inside: Mask
    parts: tuple[Mask, ...] = ()
    note: str = ""

    @classmethod
    def nothing(cls, note: str) -> Self:
        """An edit of no voxel."""
        return cls(Box((0, 0, 0), (0, 0, 0)), np.zeros((0, 0, 0), np.bool_), (), note)
