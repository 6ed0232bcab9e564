"""The affine of a stack of DICOM slices, and the regular or upright grid that an irregular or tilted one is moved to.

Linear between slices and within them, so for images only. Slices that lie on a plane of the new grid stay bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import GeometryError
from medseg_rl.imageio.dicom_series import SAME_POSITION_MM, Series
from medseg_rl.imageio.limits import MAX_VOXELS
from medseg_rl.volume import FloatArray

MOST_PLANES = 5  # times the slices there are: beyond that nearly all of the volume would be made up
SAME_PIXEL = 1e-3  # of a pixel: less is rounding, and not worth an interpolation


@dataclass(frozen=True, eq=False)
class Regrid:
    """Where slices go. `depths`: planes of the new grid along the normal, mm from the first slice (m).

    `shifts`: whole and fractional pixels (n, 2) by which each slice moves along columns and rows. `affine`: LPS.
    """

    shape: tuple[int, int, int]
    depths: FloatArray
    shifts: FloatArray
    affine: FloatArray
    interpolated: int


def lps_affine(series: Series) -> FloatArray:
    """Voxel (column, row, slice) to LPS mm (4, 4), from the first slice to the last; sheared where they move sideways.

    By positions, not by slice thickness.
    """
    first, last = series.slices[0], series.slices[-1]
    affine = np.eye(4)
    affine[:3, 0] = first.directions[0] * first.spacing[0]
    affine[:3, 1] = first.directions[1] * first.spacing[1]
    affine[:3, 2] = (last.position - first.position) / (len(series.slices) - 1)
    affine[:3, 3] = first.position
    return affine


def regrid_of(series: Series, *, even: bool, upright: bool) -> Regrid:
    """The grid on which gaps are all alike (`even`), or on which slices lie above each other (`upright`), or both.

    Evenly spaced planes are about as far apart as the median gap, and the first and last slice stay where they are.
    Raises GeometryError where that would be mostly made up, or too large.
    """
    count = max(1, round(float(series.depths[-1] / np.median(series.gaps)))) + 1 if even else len(series.slices)
    if count > MOST_PLANES * len(series.slices):
        raise GeometryError(
            f"a regular grid would have {count} planes from {len(series.slices)} slices; export all slices again, or"
            " take the parts apart"
        )
    regular = np.linspace(0.0, series.depths[-1], count)
    is_regular = count == len(series.slices) and np.abs(series.depths - regular).max() <= SAME_POSITION_MM
    depths = series.depths if is_regular else regular  # rounding is no reason to interpolate
    affine = lps_affine(series)
    affine[:3, 2] *= (len(series.slices) - 1) / (count - 1)
    if upright:
        normal = series.first.normal
        affine[:3, 2] = normal * float(affine[:3, 2] @ normal)
    shifts = _shifts(series, affine)
    low, high = np.floor(shifts.min(axis=0)), np.ceil(shifts.max(axis=0))
    affine[:3, 3] += affine[:3, :2] @ low
    columns, rows = (int(n) for n in np.array(series.shape[:2]) + high - low)
    if columns * rows * count > MAX_VOXELS:
        raise GeometryError(f"the new grid would have {columns} x {rows} x {count} voxels; keep the slices as they are")
    near = np.abs(depths[:, None] - series.depths[None]).min(axis=1)
    return Regrid((columns, rows, count), depths, shifts - low, affine, int((near > SAME_POSITION_MM).sum()))


def _shifts(series: Series, affine: FloatArray) -> FloatArray:
    """Pixels (n, 2) between each slice's corner and the line along which the planes of `affine` move, at its depth."""
    normal, (between_columns, between_rows) = series.first.normal, series.first.spacing
    ways = np.array([s.position for s in series.slices]) - series.first.position
    line = np.outer(ways @ normal / float(affine[:3, 2] @ normal), affine[:3, 2])
    aside = (ways - line) @ series.first.directions.T / (between_columns, between_rows)
    return np.where(np.abs(aside) < SAME_PIXEL, 0.0, aside)


def resampled(array: npt.NDArray[Any], series: Series, regrid: Regrid, *, outside: float) -> npt.NDArray[Any]:
    """Voxels (column, row, slice) on the new grid, of the same type; `outside` where no slice reaches."""
    moved = np.empty(regrid.shape, dtype=array.dtype)
    cache: dict[int, npt.NDArray[np.float64]] = {}
    for plane, depth in enumerate(regrid.depths.tolist()):
        below = int(np.clip(np.searchsorted(series.depths, depth, side="right") - 1, 0, len(series.slices) - 2))
        gap = float(series.depths[below + 1] - series.depths[below])
        share = float(np.clip((depth - series.depths[below]) / gap, 0.0, 1.0))
        if share * gap < SAME_POSITION_MM or (1 - share) * gap < SAME_POSITION_MM:
            share = float(round(share))
        wanted = {below: 1 - share, below + 1: share}
        cache = {k: cache[k] if k in cache else _shifted(array[:, :, k], regrid, k) for k, w in wanted.items() if w}
        values = sum(cache[k] * wanted[k] for k in cache)
        moved[:, :, plane] = _as_type(np.where(np.isnan(values), outside, values), array.dtype)
    return moved


def _shifted(plane: npt.NDArray[Any], regrid: Regrid, number: int) -> npt.NDArray[np.float64]:
    """One slice (column, row) at its place in the wider plane of the new grid; NaN where it does not reach."""
    values = np.asarray(plane, dtype=np.float64)
    for axis in (0, 1):
        values = _along(values, float(regrid.shifts[number, axis]), axis, regrid.shape[axis])
    return values


def _along(values: npt.NDArray[np.float64], by: float, axis: int, size: int) -> npt.NDArray[np.float64]:
    """`values` moved by so many pixels along an axis that becomes `size` long."""
    whole = math.floor(by + SAME_PIXEL)
    share = max(0.0, by - whole)
    values = np.moveaxis(values, axis, 0)
    wide = np.full((size, values.shape[1]), np.nan)
    if share < SAME_PIXEL:
        wide[whole : whole + len(values)] = values
    else:  # the value at j comes from j - by, between the pixels j - whole - 1 and j - whole
        wide[whole + 1 : whole + len(values)] = values[1:] * (1 - share) + values[:-1] * share
    return np.moveaxis(wide, 0, axis)


def _as_type(values: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.rint(values).astype(dtype) if dtype.kind in "iu" else values.astype(dtype)
