"""Islands of a mask (26 neighbours): the largest, the clicked, the small ones; and holes in it.

Everything is counted in nearest-RAS+ order, so that of two equal islands every orientation of a file picks the same.
"""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from medseg_rl.components import connected_components
from medseg_rl.editing.grid import Mask, along
from medseg_rl.volume import AxisOrder, Index

Numbers = npt.NDArray[Any]


def numbered_islands(mask: Mask, order: AxisOrder) -> tuple[Numbers, npt.NDArray[np.int64]]:
    """Number of the island of each voxel, 1 the largest, 0 outside; and the voxels (n) of each, descending."""
    numbers = connected_components(order.apply(mask))
    sizes = np.bincount(numbers.ravel(), minlength=1)[1:]
    by_size = np.argsort(-sizes, kind="stable")
    rank = np.zeros(len(sizes) + 1, numbers.dtype)
    rank[by_size + 1] = np.arange(1, len(sizes) + 1)
    return order.undo(rank[numbers]), sizes[by_size]


def largest_island(mask: Mask, order: AxisOrder) -> Mask:
    """The island with the most voxels."""
    numbers, _ = numbered_islands(mask, order)
    largest: Mask = numbers == 1
    return largest


def island_at(mask: Mask, index: Index) -> Mask:
    """The island that holds a voxel index; nothing where the mask does not hold it."""
    numbers = connected_components(mask)
    found: Mask = (numbers == numbers[index]) & mask
    return found if mask[index] else np.zeros_like(mask)


def large_islands(mask: Mask, order: AxisOrder, voxels: float) -> Mask:
    """The islands of at least that many voxels."""
    numbers, sizes = numbered_islands(mask, order)
    large: Mask = (numbers > 0) & (numbers <= np.count_nonzero(sizes >= voxels))
    return large


def filled_holes(mask: Mask) -> Mask:
    """With every hole filled: background that no way through faces of voxels joins to the border of the array.

    Border is all around: a hollow that is open at the edge of the array is no hole.
    """
    background = np.pad(~mask, 1, constant_values=True)
    numbers = cc3d.connected_components(background, connectivity=6, binary_image=True)
    filled: Mask = (numbers != numbers[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return filled


def filled_holes_per_slice(mask: Mask, axis: int) -> Mask:
    """The same in every slice across `axis` by itself: background within the slice counts alone."""
    filled = mask.copy()
    for drawn, target in zip(along(mask, axis), along(filled, axis), strict=True):
        if drawn.any():
            background = np.pad(~drawn, 1, constant_values=True)
            numbers = cc3d.connected_components(background, connectivity=4, binary_image=True)
            target[...] = (numbers != numbers[0, 0])[1:-1, 1:-1]
    return filled
