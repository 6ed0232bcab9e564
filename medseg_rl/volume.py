"""Volume = array + affine. The one place that turns voxel indices into millimetres and back.

World is RAS+ millimetres everywhere inside the project; LPS exists only at the border of a file. Opens no file.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import GeometryError

FloatArray = npt.NDArray[np.float64]
Index = tuple[int, int, int]
Spacing = tuple[float, float, float]

SHEAR_TOLERANCE_DEGREES = 0.1  # below this, rounding in the file explains it


@dataclass(frozen=True)
class Box:
    """Voxels from `start` (included) to `stop` (excluded) along each array axis."""

    start: Index
    stop: Index

    @classmethod
    def whole(cls, shape: Index) -> Self:
        """The box of a whole array of that shape."""
        return cls((0, 0, 0), shape)

    @classmethod
    def around_indices(cls, indices: npt.ArrayLike) -> Self:
        """Smallest box that holds voxel indices (n, 3), n >= 1."""
        points = np.atleast_2d(np.asarray(indices, dtype=int))
        low, high = points.min(axis=0), points.max(axis=0) + 1
        return cls(_triple(low), _triple(high))

    @classmethod
    def around_mask(cls, mask: npt.NDArray[np.bool_]) -> Self | None:
        """Smallest box that holds every True voxel of `mask`; None when there is none."""
        ranges = []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            hit = np.flatnonzero(mask.any(axis=others))
            if hit.size == 0:
                return None
            ranges.append((int(hit[0]), int(hit[-1]) + 1))
        return cls(_triple([r[0] for r in ranges]), _triple([r[1] for r in ranges]))

    @property
    def shape(self) -> Index:
        """Voxels along each axis."""
        return _triple([b - a for a, b in zip(self.start, self.stop, strict=True)])

    @property
    def voxels(self) -> int:
        """Number of voxels inside."""
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """For indexing an array."""
        a, b, c = (slice(i, j) for i, j in zip(self.start, self.stop, strict=True))
        return a, b, c

    def union(self, other: Box) -> Box:
        """Smallest box that holds both."""
        return Box(
            _triple(np.minimum(self.start, other.start)),
            _triple(np.maximum(self.stop, other.stop)),
        )

    def intersection(self, other: Box) -> Box:
        """What both hold; sides are at least 0 long."""
        start = np.maximum(self.start, other.start)
        return Box(_triple(start), _triple(np.maximum(start, np.minimum(self.stop, other.stop))))

    def shifted(self, by: Index) -> Box:
        """The same box counted from another origin: `by` is added to both ends."""
        return Box(_triple(np.add(self.start, by)), _triple(np.add(self.stop, by)))

    def grown(self, voxels: npt.ArrayLike, shape: Index) -> Box:
        """Wider by `voxels` (one number, or one an axis) on every side, cut at an array of `shape`."""
        margin = np.broadcast_to(np.asarray(voxels, dtype=int), 3)
        return Box(
            _triple(np.clip(np.asarray(self.start) - margin, 0, shape)),
            _triple(np.clip(np.asarray(self.stop) + margin, 0, shape)),
        )

    def grown_mm(self, margin_mm: float, spacing: Spacing, shape: Index) -> Box:
        """Wider by at least `margin_mm` on every side, cut at an array of `shape`."""
        return self.grown([math.ceil(margin_mm / s) for s in spacing], shape)

    def contains(self, index: npt.ArrayLike) -> bool:
        """Whether a voxel index lies inside."""
        i = np.asarray(index)
        return bool(np.all(i >= self.start) and np.all(i < self.stop))


@dataclass(frozen=True)
class AxisOrder:
    """How a file's array axes become nearest-RAS+ axes: which axis goes where, and which are turned round.

    `permutation[i]` is the file axis that lies nearest to world axis i; `flipped[i]` says whether it runs against it.
    Networks see arrays in this order only, so that any axis order and flip of a file gives the same answer.
    """

    permutation: Index
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, affine: npt.ArrayLike) -> Self:
        """The order that brings an array with this affine (4, 4) nearest to RAS+."""
        directions = np.array(affine, dtype=np.float64)[:3, :3]
        directions /= np.linalg.norm(directions, axis=0)
        permutation, flipped = [0] * 3, [False] * 3
        remaining = np.abs(directions)
        for _ in range(3):  # largest component first, so that oblique axes never share a world axis
            world, axis = (int(v) for v in np.unravel_index(int(np.argmax(remaining)), remaining.shape))
            permutation[world], flipped[world] = axis, bool(directions[world, axis] < 0)
            remaining[world, :] = remaining[:, axis] = -1
        return cls(_triple(permutation), (flipped[0], flipped[1], flipped[2]))

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Array in file order to a view in nearest-RAS+ order."""
        turned: npt.NDArray[Any] = np.flip(array.transpose(self.permutation), self._flipped_axes)
        return turned

    def undo(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Array in nearest-RAS+ order back to a view in file order."""
        turned: npt.NDArray[Any] = np.flip(array, self._flipped_axes).transpose(np.argsort(self.permutation))
        return turned

    @property
    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if self.flipped[axis])

    def apply_index(self, index: Index, shape: Index) -> Index:
        """Voxel index in file order to its index in nearest-RAS+ order; `shape` is the file order's."""
        moved = [
            shape[a] - 1 - index[a] if f else index[a] for a, f in zip(self.permutation, self.flipped, strict=True)
        ]
        return _triple(moved)

    def apply_spacing(self, spacing: Spacing) -> Spacing:
        """Spacing in file order to nearest-RAS+ order."""
        a, b, c = (spacing[axis] for axis in self.permutation)
        return a, b, c


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D array (x, y, z) in the order of its file, and its affine.

    `affine` maps voxel index (i, j, k, 1) to RAS+ millimetres, float64 (4, 4), float shear allowed.
    `modality` is "CT", "MR", "PT" or None where the file does not say. `source` is what the reader wants to remember
    of the file (header transforms, warnings), so that a mask can be written to overlay its image.
    """

    array: npt.NDArray[Any]
    affine: FloatArray
    modality: str | None = None
    source: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if self.array.ndim != 3 or 0 in self.array.shape:
            raise GeometryError(f"a volume needs three axes with voxels in each, this array is {self.array.shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(f"the affine must be a finite 4 x 4 matrix, this one is {affine.tolist()}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise GeometryError("the affine has a zero spacing or two parallel axes; correct the header of the file")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> Index:
        """Voxels along each axis."""
        return _triple(self.array.shape)

    @property
    def spacing(self) -> Spacing:
        """Distance in mm between neighbours along each array axis."""
        a, b, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(a), float(b), float(c)

    @property
    def voxel_volume(self) -> float:
        """mm3 of one voxel, by the determinant, so right under shear."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """Nearest patient direction of each array axis, such as "RAS+"."""
        order, names = AxisOrder.of(self.affine), [""] * 3
        for world, (axis, flipped) in enumerate(zip(order.permutation, order.flipped, strict=True)):
            names[axis] = ("RL", "AP", "SI")[world][int(flipped)]
        return "".join(names) + "+"

    @property
    def shear_degrees(self) -> float:
        """Largest deviation from a right angle between two array axes."""
        directions = self.affine[:3, :3] / np.asarray(self.spacing)
        cosines = np.abs(np.triu(directions.T @ directions, 1)).max()
        return float(np.degrees(np.arcsin(min(1.0, float(cosines)))))

    @property
    def is_sheared(self) -> bool:
        """Whether the axes are not orthogonal beyond rounding."""
        return self.shear_degrees > SHEAR_TOLERANCE_DEGREES

    def index_to_world(self, indices: npt.ArrayLike) -> FloatArray:
        """Voxel indices (..., 3), fractions allowed, to RAS+ millimetres (..., 3)."""
        points = np.asarray(indices, dtype=np.float64)
        world: FloatArray = points @ self.affine[:3, :3].T + self.affine[:3, 3]
        return world

    def world_to_index(self, points: npt.ArrayLike) -> FloatArray:
        """RAS+ millimetres (..., 3) to voxel indices (..., 3), not rounded."""
        inverse = np.linalg.inv(self.affine)
        indices: FloatArray = np.asarray(points, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        return indices

    def with_array(self, array: npt.NDArray[Any]) -> Volume:
        """Another array on the same grid."""
        if array.shape != self.array.shape:
            raise GeometryError(f"image is {self.shape} voxels but array is {array.shape}; resample the array first")
        return Volume(array, self.affine, self.modality, self.source)

    def crop(self, box: Box) -> Volume:
        """The part inside `box` (a view), with the affine moved along."""
        affine = self.affine.copy()
        affine[:3, 3] = self.index_to_world(box.start)
        return Volume(self.array[box.slices], affine, self.modality, self.source)

    def sampled_on(self, grid: Volume, *, outside: float = 0) -> Volume:
        """The nearest voxel of this volume for every voxel of `grid`; `outside` where this volume does not reach.

        Exact, without any blur, where the two grids differ by axis order and flips alone.
        """
        to_own = np.linalg.inv(self.affine) @ grid.affine
        array = np.full(grid.shape, outside, dtype=self.array.dtype)
        plane = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape[1:]), indexing="ij"), axis=-1)
        in_plane = plane @ to_own[:3, 1:3].T + to_own[:3, 3]  # (y, z, 3): one plane at a time keeps the memory small
        for i in range(grid.shape[0]):
            nearest = np.floor(in_plane + i * to_own[:3, 0] + 0.5 - 1e-6).astype(np.intp)  # halves fall to one side
            inside = ((nearest >= 0) & (nearest < self.shape)).all(axis=-1)
            array[i][inside] = self.array[tuple(nearest[inside].T)]
        return Volume(array, grid.affine, self.modality, dict(self.source))


def content_hash(volume: Volume) -> str:
    """SHA-256 (hex) of voxels and affine, to tell cases apart without a name. Memory and byte order do not count."""
    array = volume.array
    digest = hashlib.sha256(f"{volume.shape} {array.dtype.newbyteorder('<').str}".encode())
    digest.update((volume.affine + 0.0).astype("<f8").tobytes())  # adding turns -0 into 0
    for k in range(volume.shape[2]):  # plane by plane, x fastest, as most files have it: no copy of the whole
        digest.update(array[:, :, k].T.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def corner_indices(shape: Index) -> FloatArray:
    """Voxel indices (8, 3) of the corner voxels of an array of `shape`."""
    return np.array([[i, j, k] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)], float)


def corner_distance(one: FloatArray, other: FloatArray, shape: Index) -> float:
    """Largest distance in mm between the eight corner voxel centres under two affines (4, 4)."""
    difference = (np.asarray(one, float) - np.asarray(other, float))[:3]
    return float(np.linalg.norm(corner_indices(shape) @ difference[:, :3].T + difference[:, 3], axis=1).max())


def box_overlap(one: Volume, other: Volume) -> float:
    """Shared part, 0 to 1, of the world boxes that hold the voxels of two volumes, in units of the larger box."""
    boxes = []
    for volume in (one, other):
        edges = corner_indices(volume.shape)
        edges = np.where(edges == 0, -0.5, edges + 0.5)
        points = volume.index_to_world(edges)
        boxes.append((points.min(axis=0), points.max(axis=0)))
    (low_a, high_a), (low_b, high_b) = boxes
    shared = np.clip(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0, None).prod()
    return float(shared / max((high_a - low_a).prod(), (high_b - low_b).prod()))


def _triple(values: npt.ArrayLike) -> Index:
    a, b, c = (int(v) for v in np.asarray(values))
    return a, b, c
