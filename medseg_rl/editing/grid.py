"""Grid = affine + shape: where the voxels of an array lie. Turns what a user draws in millimetres into voxels.

Works in any axis order and flip: planes are named after the patient, and what lies half-way between two voxels goes to
the one further right, anterior or superior, so that every orientation of a file gives the same voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import AxisOrder, Box, FloatArray, Index, Spacing, Volume

Mask = npt.NDArray[np.bool_]
Point = tuple[float, float, float]
Plane = Literal["axial", "coronal", "sagittal"]

WORLD_AXES: dict[str, int] = {"sagittal": 0, "coronal": 1, "axial": 2}  # the world axis each plane stands upright on
RIGHT_ANGLE = 1e-6  # cosine between two axes below which distances need no shear; float32 headers are this exact
HALF_WAY = 1e-6  # voxels: rounding must not decide where a point half-way between two voxels goes
FAR = 1e9  # voxels: further off, an index no longer fits into an integer


@dataclass(frozen=True, eq=False)
class Grid:
    """`affine` (4, 4): voxel index to RAS+ millimetres, shear allowed. `shape`: voxels along each axis."""

    affine: FloatArray
    shape: Index

    @classmethod
    def of(cls, volume: Volume) -> Self:
        """That of a volume."""
        return cls(volume.affine, volume.shape)

    @cached_property
    def order(self) -> AxisOrder:
        """What brings its arrays nearest to RAS+."""
        return AxisOrder.of(self.affine)

    @cached_property
    def spacing(self) -> Spacing:
        """mm between neighbours along each array axis."""
        a, b, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(a), float(b), float(c)

    @cached_property
    def metric(self) -> FloatArray:
        """(3, 3): `d @ metric @ d` is the squared length in mm2 of a step `d` in voxels."""
        product: FloatArray = self.affine[:3, :3].T @ self.affine[:3, :3]
        return product

    @cached_property
    def voxel_volume(self) -> float:
        """mm3 of one voxel, by the determinant."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def axis(self, plane: str) -> int:
        """The array axis that runs through the slices of a plane."""
        return self.order.permutation[WORLD_AXES[plane]]

    def direction(self, axis: int) -> int:
        """1 where the array axis runs to the right, anterior or superior, -1 where it runs against it."""
        return int(self._signs[axis])

    @cached_property
    def _signs(self) -> FloatArray:
        signs = np.ones(3)
        signs[list(self.order.permutation)] = np.where(self.order.flipped, -1.0, 1.0)
        return signs

    def to_index(self, points_mm: npt.ArrayLike) -> FloatArray:
        """RAS+ millimetres (..., 3) to voxel indices (..., 3), not rounded."""
        inverse = np.linalg.inv(self.affine)
        indices = np.asarray(points_mm, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        clipped: FloatArray = np.clip(indices, -FAR, FAR)
        return clipped

    def nearest(self, indices: FloatArray) -> npt.NDArray[np.int64]:
        """Voxel indices (..., 3) with fractions to the nearest whole ones; they may lie outside."""
        rounded: FloatArray = np.floor(indices * self._signs + (0.5 + HALF_WAY)) * self._signs
        return rounded.astype(np.int64)

    def voxel_at(self, point_mm: npt.ArrayLike) -> Index | None:
        """The voxel a point lies in; None outside the volume."""
        i, j, k = (int(n) for n in self.nearest(self.to_index(point_mm)))
        return (i, j, k) if Box.whole(self.shape).contains((i, j, k)) else None

    def box_between(self, low: npt.ArrayLike, high: npt.ArrayLike) -> Box:
        """The voxels whose indices lie between two index triples with fractions, both included, cut at the volume."""
        start = np.clip(np.ceil(np.asarray(low) - HALF_WAY), 0, self.shape).astype(int)
        stop = np.clip(np.floor(np.asarray(high) + HALF_WAY) + 1, 0, self.shape).astype(int)
        stop = np.maximum(start, stop)
        return Box((int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2])))

    def reach(self, radius_mm: float, axis: int | None = None) -> FloatArray:
        """Voxels (3) that a ball of that radius reaches along each axis; a disc where `axis` runs through its plane."""
        kept = [a for a in range(3) if a != axis]
        reach = np.zeros(3)
        reach[kept] = radius_mm * np.sqrt(np.diag(np.linalg.inv(self.metric[np.ix_(kept, kept)])))
        return reach

    def with_room(self, box: Box, radius_mm: float, voxels: int = 1) -> Box:
        """`box` wider by the reach of a ball and some voxels, cut at the volume."""
        return box.grown(np.ceil(self.reach(radius_mm)).astype(int) + voxels, self.shape)


def one_slice(box: Box, axis: int, at: int) -> Box:
    """The part of a box on one slice; without voxels where the slice lies outside it."""
    start, stop = list(box.start), list(box.stop)
    within = start[axis] <= at < stop[axis]
    start[axis], stop[axis] = (at, at + 1) if within else (start[axis], start[axis])
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def in_box(box: Box, index: Index) -> Index:
    """An index of the volume as one of an array over `box`."""
    i, j, k = (n - m for n, m in zip(index, box.start, strict=True))
    return i, j, k


def along(array: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """A view (slices, ., .) that goes through the slices across an axis."""
    return np.moveaxis(array, axis, 0)


def right_angled(columns: FloatArray, tolerance: float = RIGHT_ANGLE) -> bool:
    """Whether the columns (3, n) of a matrix stand upright on each other."""
    directions = columns / np.linalg.norm(columns, axis=0)
    return bool(np.abs(np.triu(directions.T @ directions, 1)).max() <= tolerance)


def as_box(start: Sequence[int], stop: Sequence[int]) -> Box:
    """A box from any two sequences of three."""
    return Box((int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2])))
