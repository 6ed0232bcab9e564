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
    """Number of the island of each voxel, from 1 in no order of size, 0 outside; and the voxels (n) of each."""
    numbers = connected_components(order.apply(mask))
    if not mask.any():
        return order.undo(numbers), np.zeros(0, np.int64)
    counts = cc3d.statistics(np.ascontiguousarray(numbers), no_slice_conversion=True)["voxel_counts"]
    return order.undo(numbers), counts[1:].astype(np.int64)


def by_size(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Numbers of the islands, the largest first, of equal ones the lower number first."""
    return np.argsort(-sizes, kind="stable") + 1


def largest_island(mask: Mask, order: AxisOrder) -> Mask:
    """The island with the most voxels."""
    numbers, sizes = numbered_islands(mask, order)
    return np.zeros_like(mask) if len(sizes) == 0 else numbers == by_size(sizes)[0]


def island_at(mask: Mask, index: Index) -> Mask:
    """The island that holds a voxel index; nothing where the mask does not hold it."""
    numbers = connected_components(mask)
    found: Mask = (numbers == numbers[index]) & mask
    return found if mask[index] else np.zeros_like(mask)


def large_islands(mask: Mask, order: AxisOrder, voxels: float) -> Mask:
    """The islands of at least that many voxels."""
    numbers, sizes = numbered_islands(mask, order)
    large: Mask = np.concatenate([[False], sizes >= voxels])[numbers]
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
