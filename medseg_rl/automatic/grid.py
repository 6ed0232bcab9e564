"""A volume's array on the network's grid, and the network's answer back on the volume's. Plain numpy.

The grid's axes are the nearest patient directions (right, anterior, superior) and its spacing is fixed in mm, so the
order and the direction of the axes of a file change nothing in the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.volume import Index, Spacing, Volume

FloatVolume = npt.NDArray[np.float32]

SAME_SPACING = 0.02  # relative: a grid this close is taken as it is
_DIRECTIONS = "RAS"


@dataclass(frozen=True)
class WorkingGrid:
    """The way from a volume's array to the network's and back.

    `axes`: array axis that runs along right-left, posterior-anterior, inferior-superior. `flipped`: those that run
    towards left, posterior or inferior. `shape`: of the reordered array. `working_shape`: after resampling.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    shape: Index
    working_shape: Index
    smoothing: tuple[float, float, float]  # sigma in voxels before thinning an axis

    @classmethod
    def of(cls, volume: Volume, spacing: Spacing) -> WorkingGrid:
        """The grid of `spacing` mm along right, anterior, superior over `volume`."""
        letters = volume.orientation[:3]
        axes = [0, 0, 0]
        flipped = [False, False, False]
        for axis, letter in enumerate(letters):
            world = next(w for w, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
            axes[world], flipped[world] = axis, letter != _DIRECTIONS[world]
        ordered_shape = [volume.shape[axis] for axis in axes]
        ordered_spacing = [volume.spacing[axis] for axis in axes]
        working, sigma = [], []
        for size, old, new in zip(ordered_shape, ordered_spacing, spacing, strict=True):
            same = abs(old / new - 1) <= SAME_SPACING
            working.append(size if same else max(1, round(size * old / new)))
            sigma.append(0.0 if working[-1] >= size else 0.4 * (size / working[-1] - 1))
        return cls(
            (axes[0], axes[1], axes[2]),
            (flipped[0], flipped[1], flipped[2]),
            (ordered_shape[0], ordered_shape[1], ordered_shape[2]),
            (working[0], working[1], working[2]),
            (sigma[0], sigma[1], sigma[2]),
        )

    def to_working(self, array: npt.NDArray[np.generic], *, order: int = 1) -> FloatVolume:
        """Array in file order to float32 in `working_shape`; `order` 0 takes the nearest voxel, 1 interpolates."""
        ordered = np.flip(array.transpose(self.axes), self._flipped_axes()).astype(np.float32)
        if self.working_shape == self.shape:
            return np.ascontiguousarray(ordered)
        if order > 0 and any(self.smoothing):
            ordered = ndimage.gaussian_filter(ordered, self.smoothing, mode="nearest")
        return _resized(ordered, self.working_shape, order)

    def from_working(self, array: FloatVolume) -> FloatVolume:
        """Array in `working_shape` back to the order and shape of the file."""
        ordered = array if self.working_shape == self.shape else _resized(array, self.shape, 1)
        back = np.flip(ordered, self._flipped_axes()).transpose(np.argsort(self.axes))
        return np.ascontiguousarray(back)

    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if self.flipped[axis])


def ordered_spacing(volume: Volume) -> Spacing:
    """Spacing in mm along right, anterior, superior."""
    grid = WorkingGrid.of(volume, (1.0, 1.0, 1.0))
    a, b, c = (volume.spacing[axis] for axis in grid.axes)
    return a, b, c


def _resized(array: FloatVolume, shape: Index, order: int) -> FloatVolume:
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    resized: FloatVolume = ndimage.zoom(array, factors, order=order, mode="nearest", grid_mode=True).astype(np.float32)
    return resized
