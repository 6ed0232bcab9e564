"""A grid at right angles in place of a sheared one, for distances that need one spacing an axis."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import Volume, corner_indices


def orthogonal_grid(sheared: Volume) -> Volume:
    """An orthogonal grid, its voxels as large as those of `sheared`, that holds all of it. Its array is of no size.

    The two axes nearest to a right angle stay, the third turns upright: of a tilted CT, the slices stay where they are
    and nearest-neighbour sampling moves each within its own plane by half a pixel at most.
    """
    order = _kept_first(sheared.affine[:3, :3])
    directions, steps = np.linalg.qr(sheared.affine[:3, :3][:, order])
    lengths = np.diag(steps).copy()
    directions, lengths = directions * np.sign(lengths), np.abs(lengths)  # along the old axes, not against them
    matrix = np.empty((3, 3))
    matrix[:, order] = directions * lengths
    edges = corner_indices(sheared.shape)
    reach = sheared.index_to_world(edges) @ np.linalg.inv(matrix).T  # in steps of the new grid
    origin = sheared.affine[:3, 3] @ np.linalg.inv(matrix).T
    low = np.floor(reach - origin).min(axis=0) - 1  # whole steps from the first voxel: the slices that stay meet
    high = np.ceil(reach - origin).max(axis=0) + 1  # one step more, since a voxel reaches half a step beyond its centre
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = sheared.affine[:3, 3] + matrix @ low
    shape = tuple(int(n) for n in high - low + 1)
    return Volume(np.broadcast_to(np.uint8(0), shape), affine)


def _kept_first(matrix: npt.NDArray[np.float64]) -> list[int]:
    """The pair of axes nearest to a right angle, of equal pairs the finest, then the third."""
    lengths = np.linalg.norm(matrix, axis=0)
    cosines = np.abs((matrix / lengths).T @ (matrix / lengths))

    def preference(pair: tuple[int, int]) -> tuple[float, float]:
        return round(float(cosines[pair]), 6), float(lengths[list(pair)].prod())

    first, second = min(itertools.combinations(range(3), 2), key=preference)
    return [first, second, 3 - first - second]
