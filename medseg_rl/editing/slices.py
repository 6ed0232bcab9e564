"""From slice to slice: shapes between two drawn slices by signed distance, and a slice copied to the next.

Raya and Udupa, "Shape-based interpolation of multidimensional objects", IEEE TMI 1990: the distance to the outline,
negative inside, goes linearly from one drawn slice to the other.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from medseg_rl.editing.distances import signed_distance
from medseg_rl.editing.grid import Grid, Mask, along
from medseg_rl.volume import FloatArray

EVEN = 1e-5  # mm: an outline that passes through a centre holds it, whatever float32 makes of it


def interpolated(mask: Mask, grid: Grid, axis: int) -> Mask:
    """With the empty slices across `axis` filled that lie between drawn ones; drawn slices stay as they are.

    The array must hold the mask tightly or more. Where two drawn shapes do not overlap at all, the shape travels
    straight from one to the other; where they overlap it does not, so that branches stay where they were drawn.
    """
    result = mask.copy()
    drawn, target = along(mask, axis), along(result, axis)
    columns = grid.affine[:3, [a for a in range(3) if a != axis]]
    filled = np.flatnonzero(drawn.any(axis=(1, 2)))
    for first, last in itertools.pairwise(filled):
        if last - first > 1:
            shares = np.arange(1, last - first) / (last - first)
            for k, shape in zip(
                range(first + 1, last), between(drawn[first], drawn[last], columns, shares), strict=True
            ):
                target[k] = shape
    return result


def between(one: Mask, other: Mask, columns: FloatArray, shares: npt.ArrayLike) -> list[Mask]:
    """Shapes (rows, columns) between two on the same grid, at each share of the way from one to the other.

    `columns` (3, 2): the step of rows and columns in world mm. Both must hold a voxel.
    """
    travel = np.zeros(2)
    if not (one & other).any():
        travel = np.argwhere(other).mean(axis=0) - np.argwhere(one).mean(axis=0)
    room = int(np.ceil(np.abs(travel).max())) + 1  # both outlines are closed, and a moved one is not cut
    near, far = (signed_distance(np.pad(shape, room), columns) for shape in (one, other))
    shapes = []
    for share in np.asarray(shares, dtype=np.float64):
        moved = (1 - share) * _shifted(near, share * travel) + share * _shifted(far, (share - 1) * travel)
        shape: Mask = (moved <= EVEN)[room:-room, room:-room]
        shapes.append(shape)
    return shapes


def _shifted(values: npt.NDArray[np.float32], by: FloatArray) -> npt.NDArray[np.float32]:
    """Moved by fractions of voxels, linear in between; the border is continued."""
    if not by.any():
        return values
    from scipy.ndimage import shift

    moved: npt.NDArray[np.float32] = shift(values, by, order=1, mode="nearest")
    return moved
