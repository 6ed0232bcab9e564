"""Margins and smoothing of a mask with balls in world mm. What lies outside the array constrains nothing.

So a mask that the edge of the volume cuts off is neither shrunk nor smoothed from that edge: who knows how it goes on.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from medseg_rl.editing.distances import deeper, within
from medseg_rl.editing.grid import Grid, Mask
from medseg_rl.volume import FloatArray

BLOCK_VOXELS = 4 * 2**20  # of one Fourier transform: some 100 MB of memory


def grown(mask: Mask, grid: Grid, margin_mm: float) -> Mask:
    """With every voxel whose centre is at most `margin_mm` from that of a voxel inside."""
    return within(mask, grid.affine[:3, :3], margin_mm)


def shrunk(mask: Mask, grid: Grid, margin_mm: float) -> Mask:
    """Without every voxel whose centre is at most `margin_mm` from that of a voxel outside."""
    return deeper(mask, grid.affine[:3, :3], margin_mm)


def opened(mask: Mask, grid: Grid, radius_mm: float) -> Mask:
    """Only where a ball of that radius fits in: spikes and bridges thinner than it go, nothing is added."""
    return grown(shrunk(mask, grid, radius_mm), grid, radius_mm) & mask


def closed(mask: Mask, grid: Grid, radius_mm: float) -> Mask:
    """With what a ball of that radius cannot reach from outside: gaps and notches close, nothing is taken.

    The ball may come from beyond the edge of the array, so that a mask does not close up with that edge.
    """
    room = [(n, n) for n in np.ceil(grid.reach(radius_mm)).astype(int) + 1]
    near = grown(np.pad(mask, room), grid, radius_mm)
    return shrunk(near, grid, radius_mm)[tuple(slice(n, -n) for n, _ in room)] | mask


def median(mask: Mask, grid: Grid, radius_mm: float) -> Mask:
    """What the most voxels within `radius_mm` are, themselves included; those outside the array have no vote.

    A voxel with as many for as against, which only the edge of the array allows, stays as it is.
    """
    kernel = ball_kernel(grid, radius_mm)
    room = kernel.shape[0] // 2
    size = max(1, BLOCK_VOXELS // max(1, mask[0].size))
    smooth = mask.copy()
    for start in range(0, mask.shape[0], size):
        low, high = max(0, start - room), min(mask.shape[0], start + size + room)
        block = mask[low:high]
        if block.any() and not block.all():
            lead = _lead(block, kernel)[start - low : start - low + size]
            target = smooth[start : start + size]
            target[lead > 0], target[lead < 0] = True, False
    return smooth


def ball_kernel(grid: Grid, radius_mm: float) -> npt.NDArray[np.float32]:
    """1 at steps of at most `radius_mm`, odd sides, the middle in the middle; shaped by spacing and shear."""
    reach = np.floor(grid.reach(radius_mm) * (1 + 1e-9)).astype(int)
    steps: FloatArray = np.stack(np.meshgrid(*(np.arange(-r, r + 1.0) for r in reach), indexing="ij"), axis=-1)
    squared = np.einsum("...a,ab,...b->...", steps, grid.metric, steps)
    inside: Mask = squared <= radius_mm**2 * (1 + 1e-9)
    return inside.astype(np.float32)


def _lead(block: Mask, kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Votes for minus votes against, for each voxel of a block."""
    from scipy.fft import irfftn, next_fast_len, rfftn

    sides = [next_fast_len(n + k - 1, real=True) for n, k in zip(block.shape, kernel.shape, strict=True)]
    votes = np.where(block, np.float32(1), np.float32(-1))
    counts = irfftn(rfftn(votes, sides) * rfftn(kernel, sides), sides)
    middle = tuple(
        slice(math.floor(k / 2), math.floor(k / 2) + n) for k, n in zip(kernel.shape, block.shape, strict=True)
    )
    lead: npt.NDArray[np.int64] = np.rint(counts[middle]).astype(np.int64)
    return lead
