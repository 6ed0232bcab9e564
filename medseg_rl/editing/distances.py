"""Exact distances between voxel centres in world millimetres, on right-angled grids and on sheared ones.

What lies outside the array is not known and is never nearest: give a box with room around what matters.
"""

from __future__ import annotations

import edt
import numpy as np
import numpy.typing as npt

from medseg_rl.editing.grid import Mask, right_angled
from medseg_rl.volume import FloatArray

Distances = npt.NDArray[np.float32]
ROUNDING = 1e-5  # relative, of a squared distance in float32: a voxel exactly at the limit is within it


def distances_to(mask: Mask, columns: FloatArray) -> Distances:
    """mm from each voxel to the nearest True one, 0 there; infinite where there is none.

    `columns` (3, n): the step of each of the n array axes in world mm. Sheared ones cost a search per voxel.
    """
    if right_angled(columns):
        return np.sqrt(_squared(mask, columns))
    found = np.full(mask.shape, np.inf, np.float32)
    found[mask] = 0
    wanted = np.argwhere(~mask)
    if mask.any() and len(wanted):
        found[~mask] = _searched(np.argwhere(mask), wanted, columns)
    return found


def within(mask: Mask, columns: FloatArray, limit_mm: float) -> Mask:
    """True where a True voxel of `mask` is at most `limit_mm` away: dilation by a ball of that radius."""
    if right_angled(columns):
        close: Mask = _squared(mask, columns) <= limit_mm**2 * (1 + ROUNDING)
        return close
    return _within_sheared(mask, columns, limit_mm)


def deeper(mask: Mask, columns: FloatArray, limit_mm: float) -> Mask:
    """True inside `mask` where every False voxel is farther than `limit_mm`: erosion by a ball of that radius."""
    return ~within(~mask, columns, limit_mm)


def signed_distance(mask: Mask, columns: FloatArray) -> Distances:
    """mm to the nearest voxel of the other kind: positive outside, negative inside; infinite where there is none."""
    return np.where(mask, -distances_to(~mask, columns), distances_to(mask, columns))


def _squared(mask: Mask, columns: FloatArray) -> Distances:
    spacing = tuple(float(s) for s in np.linalg.norm(columns, axis=0))
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    squared: Distances = edt.edtsq(np.ascontiguousarray(~mask), anisotropy=spacing, black_border=False)
    return squared


def _within_sheared(mask: Mask, columns: FloatArray, limit_mm: float) -> Mask:
    """Distances as if the axes stood upright bound the true ones; only what lies between the bounds is searched."""
    shortest, longest = _stretch(columns)
    upright = np.sqrt(_squared(mask, columns))
    sure: Mask = (upright * longest <= limit_mm) | mask
    open_question = ~sure & (upright * shortest <= limit_mm * (1 + ROUNDING))
    if open_question.any():
        # The nearest True voxel has a False one within the diagonal of a voxel, else a neighbour would be nearer.
        rim = mask & (_squared(~mask, columns) <= (np.linalg.norm(columns) / shortest) ** 2 * (1 + ROUNDING))
        close = _searched(np.argwhere(rim), np.argwhere(open_question), columns) <= limit_mm * (1 + ROUNDING / 2)
        sure[open_question] = close
    return sure


def _stretch(columns: FloatArray) -> tuple[float, float]:
    """Least and greatest ratio of a true length to that of the same step with upright axes."""
    values = np.linalg.svd(columns / np.linalg.norm(columns, axis=0), compute_uv=False)
    return float(values.min()), float(values.max())


def _searched(sources: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], columns: FloatArray) -> FloatArray:
    """mm from each wanted voxel index to the nearest of the sources."""
    from scipy.spatial import cKDTree

    if len(sources) == 0:
        return np.full(len(wanted), np.inf)
    found: FloatArray = cKDTree(sources @ columns.T).query(wanted @ columns.T)[0]
    return found
