"""Prepares a volume for a network: intensities, and the coarse level of a large region and back.

Sees images, masks and clicks; never a reference, so nothing here can leak one into inference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import Index, Spacing

FloatImage = npt.NDArray[np.float32]
Percent = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.5
INTENSITY_BOUND = 4.0  # no value leaves [-4, 4], whatever the scanner did

# Fixed CT window: Hounsfield units and the value each becomes, straight lines between. Soft tissue (-200..300 HU) takes
# four of six units, so that fat, muscle, blood and contrast medium stay as far apart as tissues of an MR image do after
# its z-score; lung and bone keep one unit each instead of being cut off.
CT_HOUNSFIELD = (-1000.0, -200.0, 300.0, 1500.0)
CT_VALUE = (-3.0, -2.0, 2.0, 3.0)


def normalise_intensity(array: npt.NDArray[Any], modality: str | None = None) -> FloatImage:
    """Image values of the *whole volume*, any shape and number type, as the float32 values networks and hints expect.

    "CT" goes through the fixed window above, so values lie in [-3, 3] and do not depend on the rest of the volume.
    Everything else (MR, PET, unknown) is cut at the 0.5 and 99.5 percentiles, then z-scored by mean and standard
    deviation of the cut values, and bounded by [-4, 4]. A constant image becomes zeros. NaN becomes 0 (CT: air),
    infinities the nearest bound; neither enters the statistics.
    """
    if modality is not None and modality.upper() == "CT":
        return _window(np.asarray(array))
    values = np.asarray(array, dtype=np.float32)
    finite = np.isfinite(values)
    known = values if finite.all() else values[finite]
    if known.size == 0:
        return np.zeros(values.shape, dtype=np.float32)
    low, high = (float(v) for v in np.percentile(known, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    if not high > low:  # an object of less than half a per cent of the volume must not vanish
        low, high = float(known.min()), float(known.max())
    cut = np.clip(known, low, high)
    mean, deviation = float(cut.mean(dtype=np.float64)), float(cut.std(dtype=np.float64))
    if not high > low or deviation <= 1e-6 * max(abs(low), abs(high)):
        return np.zeros(values.shape, dtype=np.float32)
    scaled: FloatImage = (np.clip(values, low, high) - np.float32(mean)) * np.float32(1.0 / deviation)
    np.nan_to_num(scaled, copy=False, nan=0.0)
    np.clip(scaled, -INTENSITY_BOUND, INTENSITY_BOUND, out=scaled)
    return scaled


def _window(hounsfield: npt.NDArray[Any]) -> FloatImage:
    values: FloatImage = np.empty(hounsfield.shape, np.float32)
    source, target = hounsfield, values
    if hounsfield.ndim > 1:  # slice by slice as they lie in memory: all at once, interpolation needs five copies
        axis = int(np.argmax(np.abs(hounsfield.strides)))
        source, target = np.moveaxis(hounsfield, axis, 0), np.moveaxis(values, axis, 0)
    for part in range(len(source)) if hounsfield.ndim > 1 else [...]:
        known = np.nan_to_num(np.asarray(source[part], dtype=np.float32), nan=CT_HOUNSFIELD[0])
        target[part] = np.interp(known, CT_HOUNSFIELD, CT_VALUE)
    return values


def relative_spacing(spacing: Spacing) -> Spacing:
    """Spacing in units of the mean voxel (the geometric mean of the three): the same anisotropy, the size left out."""
    unit = math.prod(spacing) ** (1 / 3)
    a, b, c = (length / unit for length in spacing)
    return a, b, c


@dataclass(frozen=True)
class CoarseLevel:
    """A grid with larger voxels over the same region. Both tile it exactly, so no direction of an axis is preferred.

    `fine_shape`, `fine_spacing` (mm): the region in voxels of the file. `shape`: the region in coarse voxels.
    """

    fine_shape: Index
    fine_spacing: Spacing
    shape: Index

    @property
    def spacing(self) -> Spacing:
        """mm between coarse voxels, in array order."""
        a, b, c = (n * s / m for n, s, m in zip(self.fine_shape, self.fine_spacing, self.shape, strict=True))
        return a, b, c


def coarse_level(shape: Index, spacing: Spacing, *, cap_voxels: int) -> CoarseLevel | None:
    """The finest level of at most `cap_voxels`, as near to cubic voxels as can be; None where the region fits as it is.

    Axes are coarsened from the finest on: an axis of thick slices keeps them as long as the others can give way.
    """
    if math.prod(shape) <= cap_voxels:
        return None
    low, high = 0.0, max(n * s for n, s in zip(shape, spacing, strict=True))
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if math.prod(_counts(shape, spacing, middle)) <= cap_voxels else (middle, high)
    return CoarseLevel(shape, spacing, _counts(shape, spacing, high))


def _counts(shape: Index, spacing: Spacing, wanted_mm: float) -> Index:
    a, b, c = (max(1, math.floor(n * min(1.0, s / wanted_mm))) for n, s in zip(shape, spacing, strict=True))
    return a, b, c


def to_level(level: CoarseLevel, fine: npt.NDArray[Any]) -> FloatImage:
    """Mean of `fine` (its region's shape) over each coarse voxel, parts of voxels by their share."""
    return _along_axes(fine, [_means(n, m) for n, m in zip(level.fine_shape, level.shape, strict=True)])


def percent_to_level(level: CoarseLevel, fine: Percent) -> Percent:
    """Mean of a state in hundredths, rounded."""
    coarse: Percent = np.rint(to_level(level, fine)).astype(np.uint8)
    return coarse


def held_to_level(level: CoarseLevel, held: Mask) -> Mask:
    """True where all of a coarse voxel is held; what is held of the others is restored on the way back."""
    free: Mask = to_level(level, ~held) <= 1e-6
    return free


def indices_to_level(level: CoarseLevel, indices: Iterable[Index]) -> list[Index]:
    """The coarse voxel in which the centre of each fine voxel lies, in the given order."""
    coarse = []
    for index in indices:
        i, j, k = ((2 * n + 1) * m // (2 * f) for n, m, f in zip(index, level.shape, level.fine_shape, strict=True))
        coarse.append((i, j, k))
    return coarse


def from_level(level: CoarseLevel, coarse: npt.NDArray[Any]) -> FloatImage:
    """Linear interpolation of `coarse` at the centres of the fine voxels; constant beyond the outermost centres."""
    return _along_axes(coarse, [_interpolation(n, m) for n, m in zip(level.fine_shape, level.shape, strict=True)])


def percent_from_level(
    level: CoarseLevel, fine_before: Percent, coarse_before: Percent, coarse_after: Percent
) -> Percent:
    """`fine_before` changed by what the coarse level changed, in hundredths 1 to 99.

    Only the change is interpolated: where the coarse level did nothing the fine edge stays as sharp as it was.
    """
    change = from_level(level, coarse_after.astype(np.float32) - coarse_before.astype(np.float32))
    after: Percent = np.clip(np.rint(fine_before + change), 1, 99).astype(np.uint8)
    return after


def _along_axes(array: npt.NDArray[Any], matrices: list[FloatImage]) -> FloatImage:
    result = np.asarray(array, dtype=np.float32)
    for axis in sorted(
        range(3), key=lambda a: matrices[a].shape[0] / matrices[a].shape[1]
    ):  # the greatest saving first
        if matrices[axis].shape[0] != matrices[axis].shape[1]:
            result = np.moveaxis(np.tensordot(matrices[axis], result, (1, axis)), 0, axis)
    return np.ascontiguousarray(result)


@lru_cache(maxsize=64)
def _means(fine: int, coarse: int) -> FloatImage:
    """(coarse, fine): share of each fine voxel in the mean of each coarse one."""
    edges = np.arange(coarse + 1) * (fine / coarse)
    start, stop = np.maximum(edges[:-1, None], np.arange(fine)), np.minimum(edges[1:, None], np.arange(1, fine + 1))
    shares = np.maximum(stop - start, 0.0)
    means: FloatImage = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return means


@lru_cache(maxsize=64)
def _interpolation(fine: int, coarse: int) -> FloatImage:
    """(fine, coarse): weights of the two nearest coarse centres at each fine one."""
    position = np.clip((np.arange(fine) + 0.5) * (coarse / fine) - 0.5, 0, coarse - 1)
    weights: FloatImage = np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(coarse))).astype(np.float32)
    return weights
