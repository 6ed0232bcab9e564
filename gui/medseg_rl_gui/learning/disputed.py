"""Where candidates differ, so that ranking does not begin on a slice on which all of them look alike. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import Box, Index
from medseg_rl_gui.view_model import Mask


@dataclass(frozen=True, eq=False)
class Disputed:
    """`voxels`: True in `box` where some candidates have a voxel and others have not; None where all are alike.

    `by_slice`: how many there are in each slice across each axis. Looks at all voxels once: for the worker.
    """

    box: Box
    voxels: Mask | None
    by_slice: tuple[npt.NDArray[np.int64], ...] = ()

    @classmethod
    def of(cls, box: Box, masks: Sequence[Mask]) -> Disputed:
        """That of candidates over one box."""
        some, each = masks[0].copy(order="K"), masks[0].copy(order="K")
        for mask in masks[1:]:
            some |= mask
            each &= mask
        disputed: Mask = some ^ each
        if not disputed.any():
            return cls(box, None)
        numbers = disputed.view(np.uint8)
        others = [tuple(a for a in range(3) if a != axis) for axis in range(3)]
        return cls(box, disputed, tuple(numbers.sum(axis=axes, dtype=np.int64) for axes in others))

    def where_to_look(self, axis: int, shown: int) -> Index | None:
        """A voxel on the slice across `axis` that has most to choose between; None where slice `shown` has some."""
        if self.voxels is None:
            return None
        by_slice, here = self.by_slice[axis], shown - self.box.start[axis]
        if 0 <= here < len(by_slice) and by_slice[here]:
            return None
        best = int(np.argmax(by_slice))
        places = np.argwhere(np.take(self.voxels, [best], axis=axis))
        nearest = places[np.argmin(np.sum((places - places.mean(axis=0)) ** 2, axis=1))]
        nearest[axis] = best
        i, j, k = (int(n) + start for n, start in zip(nearest, self.box.start, strict=True))
        return i, j, k
