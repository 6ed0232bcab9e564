"""How good a mask is, and what clicks did to it. Masks in, numbers out; nothing here is told which method made them.

P = mask, R = reference, bool (x, y, z) on the native grid; spacing in mm, in array order. The boundary dP holds the
voxels of P with a 6-neighbour outside P, outside of the volume included. Distances are exact, between voxel centres.
They count voxels of the boundary, not its area: for a comparison with a challenge run that challenge's own code.

Empty masks, never silently: an empty P against a reference that is not has Dice and NSD 0 and both distances equal to
the volume's diagonal. An empty R raises ValueError: such a case is left out of a table, and counted, by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from medseg_rl.volume import Box, Index, Spacing

Mask = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float64]

TOLERANCE_TIE = 1e-6  # mm; keeps "exactly the tolerance" inside whatever the rounding of the spacing
NEVER_REACHED = 20


def dice(mask: Mask, reference: Mask) -> float:
    """2 |P and R| / (|P| + |R|)."""
    _check(mask, reference)
    shared, own, wanted = (int(np.count_nonzero(m)) for m in (mask & reference, mask, reference))
    return 2.0 * shared / (own + wanted)


def nsd(mask: Mask, reference: Mask, spacing: Spacing, *, tolerance_mm: float = 2.0) -> float:
    """Share of both boundaries within `tolerance_mm` of the other one."""
    return surface_distances(mask, reference, spacing).nsd(tolerance_mm)


def hd95(mask: Mask, reference: Mask, spacing: Spacing) -> float:
    """mm; the larger of the two directed 95th percentiles (linear interpolation)."""
    return surface_distances(mask, reference, spacing).hd95


def assd(mask: Mask, reference: Mask, spacing: Spacing) -> float:
    """mm; mean distance over both boundaries together."""
    return surface_distances(mask, reference, spacing).assd


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances found once for all surface metrics of one pair of masks.

    `to_reference` (|dP|): mm from each boundary voxel of the mask to dR; `to_mask` (|dR|): the other way. Empty where
    the mask is empty. `diagonal_mm`: between opposite corner voxels of the volume.
    """

    to_reference: Distances
    to_mask: Distances
    diagonal_mm: float

    def nsd(self, tolerance_mm: float) -> float:
        """See `nsd`."""
        if self._is_empty:
            return 0.0
        near = sum(int(np.count_nonzero(d <= tolerance_mm + TOLERANCE_TIE)) for d in (self.to_reference, self.to_mask))
        return near / (self.to_reference.size + self.to_mask.size)

    @cached_property
    def hd95(self) -> float:
        """See `hd95`."""
        if self._is_empty:
            return self.diagonal_mm
        return max(float(np.percentile(d, 95)) for d in (self.to_reference, self.to_mask))

    @cached_property
    def assd(self) -> float:
        """See `assd`."""
        if self._is_empty:
            return self.diagonal_mm
        return float(self.to_reference.sum() + self.to_mask.sum()) / (self.to_reference.size + self.to_mask.size)

    @property
    def _is_empty(self) -> bool:
        return self.to_reference.size == 0


def surface_distances(mask: Mask, reference: Mask, spacing: Spacing) -> SurfaceDistances:
    """All boundary distances of the pair."""
    _check(mask, reference)
    scale = np.asarray(spacing, dtype=np.float64)
    diagonal = float(np.linalg.norm((np.asarray(mask.shape) - 1) * scale))
    points = boundary_indices(mask) * scale
    reference_points = boundary_indices(reference) * scale
    if len(points) == 0:
        return SurfaceDistances(np.zeros(0), np.zeros(0), diagonal)
    return SurfaceDistances(
        cKDTree(reference_points).query(points)[0], cKDTree(points).query(reference_points)[0], diagonal
    )


def boundary_indices(mask: Mask) -> npt.NDArray[np.intp]:
    """Indices (n, 3) of the voxels of `mask` with a 6-neighbour outside it; outside of the volume is outside."""
    box = Box.around_mask(mask)
    if box is None:
        return np.zeros((0, 3), dtype=np.intp)
    padded = np.pad(mask[box.slices], 1)
    inner = padded[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for start in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(start, start + inner.shape[axis])
            inner &= padded[tuple(window)]
    indices: npt.NDArray[np.intp] = np.argwhere(mask[box.slices] & ~inner) + np.asarray(box.start)
    return indices


def _check(mask: Mask, reference: Mask) -> None:
    if mask.shape != reference.shape:
        raise ValueError(f"mask is {mask.shape} voxels but reference is {reference.shape}; resample the mask first")
    if not reference.any():
        raise ValueError("the reference is empty, so no overlap or distance is defined; leave the case out")


# ---- a metric over clicks; values[n] is the metric after n clicks, values[0] the start's ----------------------------


def auc(values: Sequence[float], clicks: int) -> float:
    """Mean of the metric over the first `clicks` clicks, by trapezoids of width 1 / clicks; in [0, 1] for Dice and NSD.

    Where the robot stopped early the last value is carried forward.
    """
    carried = _carried(values, clicks)
    return float((carried[:-1] + carried[1:]).sum()) / (2 * clicks)


def clicks_to_reach(values: Sequence[float], level: float, *, limit: int = NEVER_REACHED) -> int:
    """Smallest number of clicks with the metric at `level` or above, 0 where the start is; `limit` where none is.

    Always report it with the share of cases that never reach the level: see `reaches`.
    """
    for clicks, value in enumerate(values[: limit + 1]):
        if value >= level:
            return clicks
    return limit


def reaches(values: Sequence[float], level: float, *, limit: int = NEVER_REACHED) -> bool:
    """Whether the metric is at `level` or above at any number of clicks up to `limit`."""
    return any(value >= level for value in values[: limit + 1])


@dataclass(frozen=True)
class Decreases:
    """Clicks that lowered the metric (NoDC). `share`: of all clicks. `mean_drop`, `worst_drop`: 0 without any."""

    count: int
    share: float
    mean_drop: float
    worst_drop: float


def decreases(values: Sequence[float], *, ignored_drop: float = 0.0) -> Decreases:
    """Clicks n with values[n] < values[n - 1]; drops below `ignored_drop` do not count."""
    changes = np.diff(np.asarray(values, dtype=np.float64))
    drops = -changes[(changes < 0) & (-changes >= ignored_drop)]
    if drops.size == 0:
        return Decreases(0, 0.0, 0.0, 0.0)
    return Decreases(drops.size, drops.size / changes.size, float(drops.mean()), float(drops.max()))


def _carried(values: Sequence[float], clicks: int) -> Distances:
    if clicks < 1 or len(values) == 0:
        raise ValueError(f"a metric over clicks needs a start value and one click or more, not {len(values)}, {clicks}")
    return np.asarray([values[min(n, len(values) - 1)] for n in range(clicks + 1)], dtype=np.float64)


# ---- what one turn did ----------------------------------------------------------------------------------------------


def respected(mask: Mask, clicks: Iterable[tuple[Index, int]]) -> float:
    """Share of clicks (voxel index, label 1 or 0) whose voxel has the requested label in `mask`; nan without clicks."""
    answers = [bool(mask[index]) == bool(label) for index, label in clicks]
    return sum(answers) / len(answers) if answers else float("nan")


@dataclass(frozen=True)
class FarChange:
    """Voxels a turn changed; those of them farther than the radius from every click; the far ones that became wrong."""

    changed: int
    far: int
    far_wrong: int

    @property
    def far_share(self) -> float:
        """Far of changed voxels, 0 where nothing changed."""
        return self.far / self.changed if self.changed else 0.0

    @property
    def far_wrong_share(self) -> float:
        """Those that became wrong, of the far ones; 0 where there are none."""
        return self.far_wrong / self.far if self.far else 0.0


def far_change(
    before: Mask, after: Mask, reference: Mask, clicks: Iterable[Index], spacing: Spacing, *, radius_mm: float
) -> FarChange:
    """`clicks`: voxel indices of every click so far. Without any, all changed voxels are far."""
    changed = np.argwhere(before ^ after)
    points = np.array(list(clicks), dtype=np.float64).reshape(-1, 3) * np.asarray(spacing)
    if len(changed) == 0:
        return FarChange(0, 0, 0)
    far = np.ones(len(changed), dtype=np.bool_)
    if len(points):
        distance = cKDTree(points).query(changed * np.asarray(spacing))[0]
        far = distance > radius_mm + TOLERANCE_TIE
    indices = tuple(changed[far].T)
    return FarChange(len(changed), int(far.sum()), int(np.count_nonzero(after[indices] != reference[indices])))
