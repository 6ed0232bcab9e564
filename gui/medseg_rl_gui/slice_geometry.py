"""Where a voxel plane lies on the screen: voxel <-> plane <-> world <-> pixel, for any affine. Paints nothing, no Qt.

Four frames. *Index*: voxel (i, j, k) of the file. *World*: RAS+ mm. *Plane*: mm to the right and down on the screen,
from the centre of the slice's voxel (0, 0), true to size under shear. *Screen*: device-independent pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import AxisOrder, FloatArray, Index, Volume

Plane = Literal["axial", "coronal", "sagittal"]
Convention = Literal["radiological", "neurological"]
Point = tuple[float, float, float]
ScreenPoint = tuple[float, float]

PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))  # towards + and - of each world axis
LETTER_COMPONENT = 0.17  # sine of 10 degrees: a smaller part of a direction gets no letter
HALF_WAY = 1e-6  # voxels: rounding must not decide where a point half-way between two voxels goes
LOWEST_SCALE, HIGHEST_SCALE = 0.02, 200.0  # pixels a mm

# World axes that each plane stands upright on, shows from side to side, and shows from top to bottom.
_WORLD_AXES: dict[Plane, tuple[int, int, int]] = {"axial": (2, 0, 1), "coronal": (1, 0, 2), "sagittal": (0, 1, 2)}


class Sides(NamedTuple):
    """Letters of the four sides of a view, such as "LA"."""

    left: str
    right: str
    top: str
    bottom: str


def direction_letters(direction: npt.ArrayLike) -> str:
    """Letters of a world direction (3), the largest part first; parts below 10 degrees get none."""
    unit = np.asarray(direction, dtype=np.float64)
    unit = unit / np.linalg.norm(unit)
    largest_first = np.argsort(-np.abs(unit), kind="stable")
    return "".join(LETTERS[axis][int(unit[axis] < 0)] for axis in largest_first if abs(unit[axis]) >= LETTER_COMPONENT)


def position_letters(world: npt.ArrayLike) -> tuple[tuple[str, float], ...]:
    """A world point as letters and mm that are not negative: (("R", 23.4), ("A", 11.0), ("S", 45.0))."""
    x, y, z = (float(v) for v in np.asarray(world, dtype=np.float64))
    return tuple((LETTERS[axis][int(v < 0)], abs(v)) for axis, v in enumerate((x, y, z)))


@dataclass(frozen=True, eq=False)
class SliceGeometry:
    """One stack of voxel planes of a volume, as drawn under a convention. `plane`: the patient plane nearest to it."""

    affine: FloatArray
    shape: Index
    plane: Plane
    convention: Convention = "radiological"

    @classmethod
    def of(cls, volume: Volume, plane: Plane, convention: Convention = "radiological") -> Self:
        """That of a volume; the same object for the same grid, so that what it has worked out stays."""
        return cast(Self, _known(volume.affine.tobytes(), volume.shape, plane, convention))

    @cached_property
    def _order(self) -> AxisOrder:
        return AxisOrder.of(self.affine)

    @cached_property
    def _signs(self) -> FloatArray:
        """Of each array axis: 1 where it runs to the right, anterior or superior, -1 where it runs against it."""
        signs = np.ones(3)
        signs[list(self._order.permutation)] = np.where(self._order.flipped, -1.0, 1.0)
        return signs

    @cached_property
    def axes(self) -> Index:
        """Array axes: through the slices, drawn from side to side, drawn from top to bottom."""
        through, across, down = _WORLD_AXES[self.plane]
        permutation = self._order.permutation
        return permutation[through], permutation[across], permutation[down]

    @property
    def slices(self) -> int:
        """How many planes there are."""
        return self.shape[self.axes[0]]

    @property
    def size(self) -> tuple[int, int]:
        """Voxels from side to side and from top to bottom."""
        return self.shape[self.axes[1]], self.shape[self.axes[2]]

    @property
    def forward(self) -> int:
        """1 where the slice number grows to the right, anterior or superior, else -1."""
        return int(self._signs[self.axes[0]])

    @property
    def right_on_left(self) -> bool:
        """Whether the patient's right is on the left of the screen."""
        return self.convention == "radiological"

    @cached_property
    def frame(self) -> FloatArray:
        """World directions (3, 3) in rows: to the right of the screen, down the screen, out of the plane."""
        _, across, down = self.axes
        rightwards = -1.0 if self.right_on_left else 1.0  # left, or posterior, lies on the right of the screen
        right = self.affine[:3, across] * (rightwards * self._signs[across])
        right = right / np.linalg.norm(right)
        below = -self.affine[:3, down] * self._signs[down]  # posterior, or inferior, lies below
        below = below - right * (below @ right)  # what shear leaves upright on the rows
        below = below / np.linalg.norm(below)
        return np.stack([right, below, np.cross(right, below)])

    @cached_property
    def sides(self) -> Sides:
        """The letters of the four sides, from the world directions of the drawn pixels."""
        right, below, _ = self.frame
        return Sides(*(direction_letters(d) for d in (-right, right, -below, below)))

    @cached_property
    def pixel_matrix(self) -> FloatArray:
        """(2, 2): steps of one voxel, from side to side and from top to bottom, to plane mm: aspect, flips, shear."""
        _, across, down = self.axes
        matrix: FloatArray = self.frame[:2] @ self.affine[:3, [across, down]]
        return matrix

    @cached_property
    def _inverse_pixels(self) -> FloatArray:
        inverse: FloatArray = np.linalg.inv(self.pixel_matrix).astype(np.float64)
        return inverse

    @cached_property
    def _inverse_affine(self) -> FloatArray:
        inverse: FloatArray = np.linalg.inv(self.affine).astype(np.float64)
        return inverse

    @cached_property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Smallest and largest plane mm (2) that the drawn voxels reach, their edges included."""
        width, height = self.size
        corners = np.array([[x, y] for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)])
        drawn = corners @ self.pixel_matrix.T
        return drawn.min(axis=0), drawn.max(axis=0)

    def index_to_plane(self, indices: npt.ArrayLike) -> FloatArray:
        """Voxel indices (..., 3), fractions allowed, to plane mm (..., 2); which slice does not matter."""
        points = np.asarray(indices, dtype=np.float64)
        plane: FloatArray = points[..., self.axes[1:]] @ self.pixel_matrix.T
        return plane

    def plane_to_index(self, points: npt.ArrayLike, slice_index: int) -> FloatArray:
        """Plane mm (..., 2) to voxel indices (..., 3) on a slice, not rounded."""
        drawn = np.asarray(points, dtype=np.float64) @ self._inverse_pixels.T
        indices = np.empty((*drawn.shape[:-1], 3))
        indices[..., self.axes[0]] = slice_index
        indices[..., self.axes[1:]] = drawn
        return indices

    def world_to_index(self, points: npt.ArrayLike) -> FloatArray:
        """RAS+ mm (..., 3) to voxel indices (..., 3), not rounded."""
        inverse = self._inverse_affine
        indices: FloatArray = np.asarray(points, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        return indices

    def index_to_world(self, indices: npt.ArrayLike) -> FloatArray:
        """Voxel indices (..., 3) to RAS+ mm (..., 3)."""
        world: FloatArray = np.asarray(indices, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return world

    def world_to_plane(self, points: npt.ArrayLike) -> FloatArray:
        """RAS+ mm (..., 3) to plane mm (..., 2), along the voxel axis through the slices."""
        return self.index_to_plane(self.world_to_index(points))

    def plane_to_world(self, points: npt.ArrayLike, slice_index: int) -> FloatArray:
        """Plane mm (..., 2) to RAS+ mm (..., 3) on a slice."""
        return self.index_to_world(self.plane_to_index(points, slice_index))

    def upright(self, world: npt.ArrayLike, slice_index: int) -> tuple[FloatArray, float]:
        """Foot of a world point on a slice in plane mm (2), and its distance to that slice in mm, for drawing balls."""
        origin = self.index_to_world(self.plane_to_index((0.0, 0.0), slice_index))
        x, y, distance = self.frame @ (np.asarray(world, dtype=np.float64) - origin)
        return np.array([x, y]), abs(float(distance))

    def slice_at(self, world: npt.ArrayLike) -> int:
        """The slice nearest to a world point, one of the volume's."""
        nearest = self.nearest(self.world_to_index(world))[self.axes[0]]
        return int(np.clip(nearest, 0, self.slices - 1))

    def nearest(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The voxels (..., 3) nearest to indices with fractions; half-way goes right, anterior, superior."""
        rounded = np.floor(np.asarray(indices) * self._signs + (0.5 + HALF_WAY)) * self._signs
        return rounded.astype(np.int64)

    def voxel_at(self, point: npt.ArrayLike, slice_index: int) -> Index | None:
        """The voxel of a slice at plane mm (2); None beside the image."""
        i, j, k = (int(n) for n in self.nearest(self.plane_to_index(point, slice_index)))
        inside = all(0 <= n < size for n, size in zip((i, j, k), self.shape, strict=True))
        return (i, j, k) if inside else None

    def slice_centre(self, slice_index: int) -> Point:
        """World mm of the middle of a slice."""
        middle = (np.asarray(self.shape) - 1) / 2.0
        middle[self.axes[0]] = slice_index
        x, y, z = (float(v) for v in self.index_to_world(middle))
        return x, y, z

    def slice_position(self, slice_index: int) -> tuple[str, float]:
        """Letter and mm of the middle of a slice along the plane's world axis: ("S", 45.0)."""
        return position_letters(self.slice_centre(slice_index))[_WORLD_AXES[self.plane][0]]


@lru_cache(maxsize=24)
def _known(affine: bytes, shape: Index, plane: Plane, convention: Convention) -> SliceGeometry:
    """Of the grids in use: three planes of some images."""
    return SliceGeometry(np.frombuffer(affine).reshape(4, 4), shape, plane, convention)


@dataclass(frozen=True)
class Placement:
    """How plane mm lie in a view. `scale`: pixels a mm. `centre`: plane mm in its middle. `size`: its pixels."""

    scale: float
    centre: tuple[float, float]
    size: tuple[float, float]

    @classmethod
    def fitting(cls, geometry: SliceGeometry, size: tuple[float, float], margin: float = 0.03) -> Self:
        """The whole slice in the middle of a view, with a part of its size left free around it."""
        low, high = geometry.bounds
        room = np.maximum(np.asarray(size, dtype=np.float64), 1.0) * (1.0 - 2.0 * margin)
        x, y = (float(v) for v in (low + high) / 2)
        return cls(_clipped(float((room / (high - low)).min())), (x, y), size)

    def to_screen(self, points: npt.ArrayLike) -> FloatArray:
        """Plane mm (..., 2) to pixels (..., 2)."""
        screen: FloatArray = (np.asarray(points, dtype=np.float64) - self.centre) * self.scale + self._middle
        return screen

    def to_plane(self, pixels: npt.ArrayLike) -> FloatArray:
        """Pixels (..., 2) to plane mm (..., 2)."""
        plane: FloatArray = (np.asarray(pixels, dtype=np.float64) - self._middle) / self.scale + self.centre
        return plane

    @property
    def _middle(self) -> FloatArray:
        return np.asarray(self.size, dtype=np.float64) / 2

    def zoomed(self, factor: float, around: ScreenPoint | None = None) -> Placement:
        """Larger by a factor; the point under `around` (pixels, else the middle) stays where it is."""
        scale = _clipped(self.scale * factor)
        if around is None:
            return replace(self, scale=scale)
        held = self.to_plane(around)
        x, y = (float(v) for v in held - (np.asarray(around) - self._middle) / scale)
        return replace(self, scale=scale, centre=(x, y))

    def panned(self, dx: float, dy: float) -> Placement:
        """With the image moved by pixels."""
        x, y = self.centre
        return replace(self, centre=(x - dx / self.scale, y - dy / self.scale))

    def centred(self, point: npt.ArrayLike) -> Placement:
        """With a point in plane mm (2) in the middle."""
        x, y = (float(v) for v in np.asarray(point))
        return replace(self, centre=(x, y))

    def resized(self, size: tuple[float, float]) -> Placement:
        """In a view of another size, with the same point in the middle."""
        return replace(self, size=size)

    def texture(self, geometry: SliceGeometry) -> FloatArray:
        """m11, m12, m21, m22, dx, dy of the transform from an image (columns, rows of voxels) to pixels."""
        steps = geometry.pixel_matrix * self.scale
        start = self.to_screen(geometry.pixel_matrix @ (-0.5, -0.5))  # an image starts at a voxel's corner
        return np.concatenate([steps.T.ravel(), start])


def _clipped(scale: float) -> float:
    return min(max(scale, LOWEST_SCALE), HIGHEST_SCALE)
