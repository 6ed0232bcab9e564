"""Bounding box and size of a mask, kept up to date from deltas: no click ever scans the whole volume for them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from medseg_rl.history import BoxDelta
from medseg_rl.refiner import MASK_THRESHOLD
from medseg_rl.volume import Box, Index


class MaskExtent:
    """Counts of mask voxels in each slice along each axis.

    A delta changes them by sums over its own box, so the cost is that of the delta and the box stays exact also when
    voxels leave the mask. The box is the first to the last slice with a count above zero.
    """

    def __init__(self, shape: Index) -> None:
        self._counts = [np.zeros(n, np.int64) for n in shape]

    @property
    def box(self) -> Box | None:
        """Smallest box that holds the mask; None for an empty one."""
        ranges = []
        for counts in self._counts:
            hit = np.flatnonzero(counts)
            if hit.size == 0:
                return None
            ranges.append((int(hit[0]), int(hit[-1]) + 1))
        (a, b), (c, d), (e, f) = ranges
        return Box((a, c, e), (b, d, f))

    @property
    def voxels(self) -> int:
        """Voxels in the mask."""
        return int(self._counts[0].sum())

    def copy(self) -> MaskExtent:
        """One that can be changed apart."""
        twin = MaskExtent((0, 0, 0))
        twin._counts = [counts.copy() for counts in self._counts]
        return twin

    def follow(self, delta: BoxDelta, *, reverted: bool = False) -> None:
        """Take over what `delta` does to the mask of a percent state when applied, or when reverted."""
        crossing = delta.crossing(MASK_THRESHOLD)
        gains = (crossing.inverse if reverted else crossing).gains
        for counts, where, gain in zip(self._counts, delta.box.slices, gains, strict=True):
            counts[where] += gain

    def follow_all(self, deltas: Iterable[BoxDelta | None]) -> None:
        """`follow` each that is not None, in order."""
        for delta in deltas:
            if delta is not None:
                self.follow(delta)

    def add_mask(self, mask: npt.NDArray[np.bool_], start: Index) -> None:
        """Count the True voxels of `mask`, whose first voxel is `start`; they were not counted before."""
        for axis, counts in enumerate(self._counts):
            others = tuple(a for a in range(3) if a != axis)
            counts[start[axis] : start[axis] + mask.shape[axis]] += mask.sum(axis=others, dtype=np.int64)
