"""Shapes and smooth random fields, measured in mm from the first voxel's centre along the array axes.

So a grid of other spacing holds the same object.
"""

from __future__ import annotations

import math
from itertools import pairwise

import edt
import numpy as np
import numpy.typing as npt

from medseg_rl.volume import Index, Spacing

Mask = npt.NDArray[np.bool_]
FloatMap = npt.NDArray[np.float32]
Point = npt.NDArray[np.float64]


def ellipsoid(shape: Index, spacing: Spacing, centre_mm: Point, radii_mm: Point, axes: Point | None = None) -> Mask:
    """True (x, y, z) inside. `axes` (3, 3): rows are the unit directions of the radii; the array axes without."""
    from_centre = positions_mm(shape, spacing) - np.asarray(centre_mm)
    along = from_centre if axes is None else from_centre @ np.asarray(axes).T
    inside: Mask = np.square(along / np.asarray(radii_mm)).sum(axis=-1) <= 1.0
    return inside


def tube(shape: Index, spacing: Spacing, path_mm: Point, radius_mm: float) -> Mask:
    """True (x, y, z) within `radius_mm` of the open polygon through `path_mm` (n, 3), n >= 2."""
    positions = positions_mm(shape, spacing)
    inside = np.zeros(shape, dtype=np.bool_)
    for start, stop in pairwise(path_mm):
        inside |= _distance_to_segment(positions, start, stop) <= radius_mm
    return inside


def sheet(shape: Index, spacing: Spacing, point_mm: Point, normal: Point, thickness_mm: float) -> Mask:
    """True (x, y, z) within half of `thickness_mm` of the plane through `point_mm` with that unit `normal`."""
    height = (positions_mm(shape, spacing) - np.asarray(point_mm)) @ np.asarray(normal)
    inside: Mask = np.abs(height) <= thickness_mm / 2
    return inside


def smooth_noise(shape: Index, spacing: Spacing, length_mm: float, rng: np.random.Generator) -> FloatMap:
    """Random field (x, y, z), mean 0, deviation 1, that varies over about `length_mm`: a cubic B-spline of noise."""
    sizes = [math.ceil(n * s / length_mm) + 4 for n, s in zip(shape, spacing, strict=True)]
    field = rng.standard_normal(sizes)
    for axis, (n, s) in enumerate(zip(shape, spacing, strict=True)):
        field = np.moveaxis(np.tensordot(_spline_weights(n, s / length_mm, sizes[axis]), field, (1, axis)), 0, axis)
    field -= field.mean()
    noise: FloatMap = (field / max(float(field.std()), 1e-12)).astype(np.float32)
    return noise


def _spline_weights(n: int, step: float, nodes: int) -> Point:
    position = np.arange(n) * step + 1.0
    away = np.abs(position[:, None] - np.arange(nodes)[None, :])
    near = 2 / 3 - away**2 + away**3 / 2
    return np.where(away < 1, near, np.where(away < 2, (2 - away) ** 3 / 6, 0.0))


def positions_mm(shape: Index, spacing: Spacing) -> Point:
    """mm (x, y, z, 3) of every voxel centre."""
    grid = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    return np.stack(grid, axis=-1)


def _distance_to_segment(positions: Point, start: Point, stop: Point) -> Point:
    direction = stop - start
    length = float(direction @ direction)
    share = np.clip((positions - start) @ direction / length, 0, 1) if length > 0 else np.zeros(positions.shape[:-1])
    distance: Point = np.linalg.norm(positions - start - share[..., None] * direction, axis=-1)
    return distance


def random_direction(rng: np.random.Generator) -> Point:
    """Unit vector (3,), all directions alike."""
    vector: Point = rng.standard_normal(3)
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def signed_distance(mask: Mask, spacing: Spacing) -> FloatMap:
    """mm to the boundary between voxels, negative inside; a boundary of the array is none of the object."""
    if mask.all() or not mask.any():
        return np.full(mask.shape, -1e3 if mask.all() else 1e3, dtype=np.float32)
    contiguous = np.ascontiguousarray(mask)
    half = 0.5 * min(spacing)
    outside: FloatMap = edt.edt(~contiguous, anisotropy=spacing)
    inside: FloatMap = edt.edt(contiguous, anisotropy=spacing)
    return np.where(contiguous, half - inside, outside - half).astype(np.float32)


def roughened(mask: Mask, spacing: Spacing, amplitude_mm: float, rng: np.random.Generator) -> Mask:
    """The mask with a boundary that wanders smoothly, by a standard deviation of `amplitude_mm`."""
    return wandering(signed_distance(mask, spacing), spacing, amplitude_mm, rng)


def wandering(distance: FloatMap, spacing: Spacing, deviation_mm: float, rng: np.random.Generator) -> Mask:
    """True where a signed distance in mm plus smooth noise of that deviation is at most 0."""
    noise = smooth_noise(triple(distance.shape), spacing, rng.uniform(4, 15), rng)
    inside: Mask = distance + np.float32(deviation_mm) * noise <= 0
    return inside


def extent_mm(shape: Index, spacing: Spacing) -> Point:
    """mm (3,) between the centres of the first and the last voxel."""
    return np.array([(n - 1) * s for n, s in zip(shape, spacing, strict=True)])


def triple(shape: tuple[int, ...]) -> Index:
    """A shape known to have three axes, as the type checker wants it."""
    a, b, c = shape
    return a, b, c
