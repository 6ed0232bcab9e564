"""A volume's array on the network's grid, and the network's answer back on the volume's. Plain numpy.

The grid's axes are the nearest patient directions (right, anterior, superior) and its spacing is fixed in mm, so the
order and the direction of the axes of a file change nothing in the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.volume import AxisOrder, Index, Spacing, Volume

FloatVolume = npt.NDArray[np.float32]

SAME_SPACING = 0.02  # relative: a grid this close is taken as it is
_SIGMA_PER_STRIDE = 0.4  # smoothing, in voxels, for each voxel that a thinned axis skips


@dataclass(frozen=True)
class WorkingGrid:
    """The way from a volume's array to the network's and back.

    `shape`: of the volume's array in nearest-RAS+ order. `working_shape`: the same extent in voxels of the grid.
    """

    order: AxisOrder
    shape: Index
    working_shape: Index

    @classmethod
    def of(cls, volume: Volume, spacing: Spacing) -> WorkingGrid:
        """The grid of `spacing` mm along right, anterior, superior over `volume`."""
        order = AxisOrder.of(volume.affine)
        shape = tuple(volume.shape[axis] for axis in order.permutation)
        working = [
            size if abs(old / new - 1) <= SAME_SPACING else max(1, round(size * old / new))
            for size, old, new in zip(shape, order.apply_spacing(volume.spacing), spacing, strict=True)
        ]
        return cls(order, (shape[0], shape[1], shape[2]), (working[0], working[1], working[2]))

    def to_working(self, array: npt.NDArray[Any]) -> FloatVolume:
        """Array in file order to float32 in `working_shape`, smoothed before an axis is thinned, then interpolated."""
        ordered = np.ascontiguousarray(self.order.apply(array), dtype=np.float32)
        if self.working_shape == self.shape:
            return ordered
        strides = np.asarray(self.shape) / np.asarray(self.working_shape)
        sigma = _SIGMA_PER_STRIDE * np.maximum(strides - 1, 0)
        return _resized(ndimage.gaussian_filter(ordered, sigma, mode="nearest"), self.working_shape)

    def from_working(self, array: FloatVolume) -> FloatVolume:
        """Array in `working_shape` back to the order and shape of the file."""
        ordered = array if self.working_shape == self.shape else _resized(array, self.shape)
        return np.ascontiguousarray(self.order.undo(ordered))


def _resized(array: FloatVolume, shape: Index) -> FloatVolume:
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    return ndimage.zoom(array, factors, order=1, mode="nearest", grid_mode=True).astype(np.float32)  # type: ignore[no-any-return]
