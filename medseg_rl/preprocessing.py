"""Prepares a volume for a network: intensities, and the coarse level of a large region and back.

Sees images, masks and clicks; never a reference, so nothing here can leak one into inference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
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
PIECE = 2**16  # values of which there is a copy in double precision
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
    return intensity_scale(array, modality).apply(array)


@dataclass(frozen=True)
class IntensityScale:
    """What `normalise_intensity` does to any part of the volume it was made from, so that no second volume is kept.

    `low`, `high`: cut; `mean`, `factor`: of the z-score. `windowed`: the fixed CT window instead of these.
    """

    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    factor: float = 0.0
    windowed: bool = False

    def apply(self, array: npt.NDArray[Any]) -> FloatImage:
        """Normalised values of a part of the volume, in its shape and order of memory axes."""
        array = np.asarray(array)
        if array.dtype.kind in "iu" and array.dtype.itemsize <= 2 and array.dtype.isnative:
            table = _table(self, array.dtype)
            unsigned = np.dtype(f"u{array.dtype.itemsize}")
            return _by_slices(array, lambda part: np.take(table, part.view(unsigned), mode="wrap"))
        return _by_slices(array, self.change)

    def change(self, part: npt.NDArray[Any]) -> FloatImage:
        """Of any values, without a table."""
        return _window(part) if self.windowed else self._scaled(part)

    def _scaled(self, part: npt.NDArray[Any]) -> FloatImage:
        values = np.array(part, dtype=np.float32)
        if not self.factor:
            return np.zeros_like(values)
        np.clip(values, self.low, self.high, out=values)
        values -= np.float32(self.mean)
        values *= np.float32(self.factor)
        if part.dtype.kind == "f":
            np.nan_to_num(values, copy=False, nan=0.0)
        np.clip(values, -INTENSITY_BOUND, INTENSITY_BOUND, out=values)
        return values


@lru_cache(maxsize=8)
def _table(scale: IntensityScale, dtype: np.dtype[Any]) -> FloatImage:
    """What each integer becomes, by its bits."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    return scale.change(np.arange(256**dtype.itemsize).astype(unsigned).view(dtype))


def intensity_scale(array: npt.NDArray[Any], modality: str | None = None) -> IntensityScale:
    """The scale of a whole volume of any shape and number type; see `normalise_intensity`.

    Integers of up to 16 bits are counted by value, slice by slice; others are copied once, for their percentiles.
    """
    if modality is not None and modality.upper() == "CT":
        return IntensityScale(windowed=True)
    array = np.asarray(array)
    values: npt.NDArray[Any]
    counts: npt.NDArray[np.int64] | None
    if array.dtype.kind in "iu" and array.dtype.itemsize <= 2:
        values, counts = _counted(array)
    else:
        values, counts = _finite(array), None
    if values.size == 0:
        return IntensityScale()
    low, high = _percentiles(values, counts)
    if not high > low:  # an object of less than half a per cent of the volume must not vanish
        low, high = float(values.min()), float(values.max())
    mean, deviation = _moments(values, counts, low, high)
    if not high > low or deviation <= 1e-6 * max(abs(low), abs(high)):
        return IntensityScale()
    return IntensityScale(low, high, mean, 1.0 / deviation)


def _counted(array: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The values that occur, in order, and how many of each."""
    info = np.iinfo(array.dtype)
    counts = np.zeros(int(info.max) - int(info.min) + 1, np.int64)
    for part in _slices(array):
        counts += np.bincount(part.ravel(order="K").astype(np.intp) - int(info.min), minlength=counts.size)
    (present,) = np.nonzero(counts)
    return present + int(info.min), counts[present]


def _finite(array: npt.NDArray[Any]) -> FloatImage:
    """A flat copy of the finite values, as they lie in memory."""
    known = np.array(array, dtype=np.float32).ravel(order="K")
    finite = np.isfinite(known)
    return known if finite.all() else known[finite]


def _percentiles(values: npt.NDArray[Any], counts: npt.NDArray[np.int64] | None) -> tuple[float, float]:
    """Those of `LOW_PERCENTILE` and `HIGH_PERCENTILE`, linear between neighbours. Puts `values` in another order."""
    if counts is None:
        low, high = np.percentile(values, (LOW_PERCENTILE, HIGH_PERCENTILE), overwrite_input=True)
        return float(low), float(high)
    until, found = np.cumsum(counts), []
    for percentile in (LOW_PERCENTILE, HIGH_PERCENTILE):
        place = percentile / 100 * (int(until[-1]) - 1)
        below, above = (values[np.searchsorted(until, n, side="right")] for n in (math.floor(place), math.ceil(place)))
        found.append(float(below + (above - below) * (place - math.floor(place))))
    return found[0], found[1]


def _moments(
    values: npt.NDArray[Any], counts: npt.NDArray[np.int64] | None, low: float, high: float
) -> tuple[float, float]:
    """Mean and standard deviation of the cut values."""
    if counts is not None:
        cut = np.clip(values.astype(np.float64), low, high)
        mean = float(np.average(cut, weights=counts))
        return mean, math.sqrt(float(np.average((cut - mean) ** 2, weights=counts)))
    cut = np.clip(values, low, high, out=values)
    mean = float(cut.mean(dtype=np.float64))
    parts = (values[n : n + PIECE].astype(np.float64) - mean for n in range(0, values.size, PIECE))
    return mean, math.sqrt(sum(float(part @ part) for part in parts) / values.size)


def _slices(array: npt.NDArray[Any]) -> Iterable[npt.NDArray[Any]]:
    """Parts that lie together in memory."""
    return np.moveaxis(array, int(np.argmax(np.abs(array.strides))), 0) if array.ndim > 1 else [array]


def _by_slices(array: npt.NDArray[Any], change: Callable[[npt.NDArray[Any]], FloatImage]) -> FloatImage:
    """All at once would need several copies of the whole."""
    values: FloatImage = np.empty_like(array, dtype=np.float32, subok=False)
    if array.ndim < 2:
        values[...] = change(array)
        return values
    axis = int(np.argmax(np.abs(array.strides)))
    for source, target in zip(np.moveaxis(array, axis, 0), np.moveaxis(values, axis, 0), strict=True):
        target[...] = change(source)
    return values


def _window(hounsfield: npt.NDArray[Any]) -> FloatImage:
    known = np.nan_to_num(np.asarray(hounsfield, dtype=np.float32), nan=CT_HOUNSFIELD[0])
    values: FloatImage = np.interp(known, CT_HOUNSFIELD, CT_VALUE).astype(np.float32)
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
    if fine.size and fine.min() == fine.max():  # as before a first click
        return np.full(level.shape, fine.flat[0])
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
    change += fine_before
    np.rint(change, out=change)
    np.clip(change, 1, 99, out=change)
    return change.astype(np.uint8)


def _along_axes(array: npt.NDArray[Any], matrices: list[FloatImage]) -> FloatImage:
    """The product with the matrix of each axis, (n, m) for m voxels, the greatest saving first; no axis is moved."""
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        return np.ascontiguousarray(_along_axes(array.T, matrices[::-1]).T)
    result = np.asarray(array, dtype=np.float32)
    for axis in sorted(range(3), key=lambda a: matrices[a].shape[0] / matrices[a].shape[1]):
        matrix = matrices[axis]
        if matrix.shape[0] == matrix.shape[1]:
            continue
        if axis == 0:
            result = (matrix @ result.reshape(len(result), -1)).reshape(len(matrix), *result.shape[1:])
        else:
            result = np.matmul(matrix, result) if axis == 1 else result @ matrix.T
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
