"""Shapes a target may have, as distance fields in mm: organs, tumours, chambers, vessels, walls, folds, clusters.

Nothing imitates one organ; together they span what organs, lesions and vessels look like. All randomness is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.synthetic.fields import FAR_MM, FloatMap, Table, solid_field, tube_field
from medseg_rl.synthetic.shapes import Mask, Point, extent_mm, positions_mm, random_direction, smooth_noise
from medseg_rl.volume import Index, Spacing


@dataclass(frozen=True, eq=False)
class Space:
    """The grid that anatomy is drawn on. `positions`: mm (3, x, y, z) from the first voxel, smoothly warped."""

    shape: Index
    spacing: Spacing
    positions: FloatMap

    @property
    def extent(self) -> Point:
        """mm (3,) between the first and the last voxel's centre."""
        return extent_mm(self.shape, self.spacing)

    def noise(self, length_mm: float, rng: np.random.Generator) -> FloatMap:
        """Smooth noise of unit deviation that varies over about `length_mm`."""
        return smooth_noise(self.shape, self.spacing, max(length_mm, min(self.spacing)), rng)


def warped_space(shape: Index, spacing: Spacing, warp_mm: float, length_mm: float, rng: np.random.Generator) -> Space:
    """A grid whose positions wander by a deviation of `warp_mm` over `length_mm`."""
    positions = np.ascontiguousarray(np.moveaxis(positions_mm(shape, spacing), -1, 0), dtype=np.float32)
    if warp_mm > 0:
        for axis in range(3):
            positions[axis] += np.float32(warp_mm) * smooth_noise(shape, spacing, length_mm, rng)
    return Space(shape, spacing, positions)


def solid(space: Space, centre: Point, radii: Point, rng: np.random.Generator, *, bend: float = 0.0) -> FloatMap:
    """An ellipsoid in a random direction, one in five of them boxier."""
    boxy = bool(rng.random() < 0.2)
    return solid_field(space.positions, np.asarray(centre), _frame(rng), np.maximum(radii, 0.3), bend, boxy)


def organ(space: Space, centre: Point, radius: float, rng: np.random.Generator) -> FloatMap:
    """Smooth: an ellipsoid, a bean, a crescent, or some lobes grown together; its surface gently uneven."""
    form = rng.random()
    if form < 0.35:
        field = solid(space, centre, radius * rng.uniform(0.55, 1.3, 3), rng)
    elif form < 0.6:
        radii = radius * np.array([rng.uniform(1.1, 1.8), rng.uniform(0.4, 0.8), rng.uniform(0.5, 0.9)])
        field = solid(space, centre, radii, rng, bend=float(rng.uniform(0.3, 1.4)))
    elif form < 0.75:
        bite = centre + random_direction(rng) * radius * rng.uniform(0.6, 1.0)
        field = solid(space, centre, radius * rng.uniform(0.8, 1.2, 3), rng)
        field = _softly_without(field, solid(space, bite, radius * rng.uniform(0.6, 1.0, 3), rng), 0.1 * radius)
    else:
        field = np.full(space.shape, FAR_MM, np.float32)
        for _ in range(int(rng.integers(2, 5))):
            place = centre + random_direction(rng) * radius * rng.uniform(0.2, 0.8)
            lobe = solid(space, place, radius * rng.uniform(0.35, 0.8, 3), rng)
            field = _softly_joined(field, lobe, rng.uniform(0.05, 0.4) * radius)
    return _uneven(space, field, radius, rng.uniform(0, 0.07), rng)


def tumour(space: Space, centre: Point, radius: float, rng: np.random.Generator) -> FloatMap:
    """Irregular: an ellipsoid whose surface wanders at several scales, now and then with an outgrowth."""
    field = solid(space, centre, radius * rng.uniform(0.6, 1.3, 3), rng)
    if rng.random() < 0.3:
        place = centre + random_direction(rng) * radius
        field = _softly_joined(field, solid(space, place, radius * rng.uniform(0.25, 0.6, 3), rng), 0.2 * radius)
    amount = radius * rng.uniform(0.05, 0.4)
    for octave in range(3):
        field = field + np.float32(amount / 2**octave) * space.noise(rng.uniform(0.6, 1.2) * radius / 2**octave, rng)
    return field


def nodule(space: Space, centre: Point, radius: float, rng: np.random.Generator) -> FloatMap:
    """Small and almost round."""
    return solid(space, centre, radius * rng.uniform(0.75, 1.2, 3), rng)


def cluster(space: Space, centre: Point, radius: float, rng: np.random.Generator) -> FloatMap:
    """Some nodules close together, a few touching."""
    field = np.full(space.shape, FAR_MM, np.float32)
    for _ in range(int(rng.integers(3, 9))):
        place = centre + random_direction(rng) * radius * rng.uniform(0.2, 1.0)
        field = np.minimum(field, nodule(space, place, radius * float(rng.uniform(0.15, 0.4)), rng))
    return field


def chamber(space: Space, centre: Point, radius: float, rng: np.random.Generator) -> FloatMap:
    """A lobed cavity into which some short vessels open."""
    field = organ(space, centre, 0.8 * radius, rng)
    stumps = [
        _path(centre, random_direction(rng), radius * rng.uniform(1.2, 1.9), radius * rng.uniform(0.12, 0.3), 0.25, rng)
        for _ in range(int(rng.integers(1, 6)))
    ]
    tubes = tube_field(space.shape, np.asarray(space.spacing), np.concatenate(stumps), 0.5 * radius)
    return _softly_joined(field, tubes, 0.12 * radius)


def wall(space: Space, centre: Point, radius: float, rng: np.random.Generator) -> FloatMap:
    """A hollow shell of uneven thickness, whole or open."""
    return shell(space, organ(space, centre, radius, rng), centre, radius, rng)


def shell(space: Space, base: FloatMap, centre: Point, radius: float, rng: np.random.Generator) -> FloatMap:
    """What lies near the surface of the field `base`, on both sides; four in ten are open beyond a plane."""
    thickness = max(1.3 * max(sorted(space.spacing)[:2]), radius * rng.uniform(0.08, 0.3))
    half = thickness / 2 * np.exp(np.float32(0.25) * space.noise(radius, rng))
    field: FloatMap = np.abs(base) - half
    if rng.random() < 0.4:
        field = np.maximum(field, _half_space(space, centre, random_direction(rng), radius * rng.uniform(-0.3, 0.7)))
    return field


def folds(space: Space, centre: Point, radius: float, rng: np.random.Generator) -> FloatMap:
    """A folded sheet, as cortex or mucosa, within a solid."""
    length = radius * rng.uniform(0.4, 1.0)
    sheet = space.noise(length, rng)
    slope = max(float(np.mean(np.abs(np.diff(sheet, axis=0)))) / space.spacing[0], 1e-3)
    thickness = max(2.0 * min(space.spacing), rng.uniform(0.08, 0.25) * radius)
    sheets = np.abs(sheet - np.float32(rng.normal(0, 0.3))) / np.float32(1.7 * slope) - np.float32(thickness / 2)
    field: FloatMap = np.maximum(sheets, solid(space, centre, radius * rng.uniform(0.8, 1.2, 3), rng))
    return field


def vessel(space: Space, centre: Point, radius: float, rng: np.random.Generator) -> FloatMap:
    """One curved tube through `centre`, such as an artery, a gut or a spine, about three times `radius` long."""
    thickness = max(0.9 * float(np.mean(space.spacing)), radius * rng.uniform(0.08, 0.35))
    way = random_direction(rng)
    both = [_path(centre, sign * way, 1.6 * radius, thickness, rng.uniform(0.1, 0.5), rng) for sign in (-1, 1)]
    return _tubes(space, np.concatenate(both), thickness)


def tree(space: Space, centre: Point, radius: float, rng: np.random.Generator) -> FloatMap:
    """A branching tree of vessels whose radii shrink by Murray's law, roughly."""
    finest = 0.6 * float(np.mean(space.spacing))
    thickness = min(max(finest * rng.uniform(1.5, 4), radius * rng.uniform(0.06, 0.16)), 0.35 * radius)
    way, start = random_direction(rng), np.asarray(centre, np.float64)
    waiting = [(start - way * radius, way, thickness, radius * rng.uniform(0.7, 1.2))]
    paths: list[Table] = []
    while waiting and len(paths) < 24:
        place, way, size, length = waiting.pop(0)
        path = _path(place, way, length, size, rng.uniform(0.15, 0.4), rng)
        paths.append(path)
        end = path[-1]
        for _ in range(2 if rng.random() < 0.85 else 3):
            smaller = size * rng.uniform(0.6, 0.9)
            if smaller >= finest:
                away = (end[3:6] - end[:3]) / max(float(np.linalg.norm(end[3:6] - end[:3])), 1e-6)
                turned = away + rng.uniform(0.4, 0.9) * random_direction(rng)
                waiting.append((end[3:6], turned / np.linalg.norm(turned), smaller, length * rng.uniform(0.5, 0.9)))
    return _tubes(space, np.concatenate(paths), thickness)


STRUCTURES: dict[str, Callable[[Space, Point, float, np.random.Generator], FloatMap]] = {
    "organ": organ,
    "tumour": tumour,
    "nodule": nodule,
    "cluster": cluster,
    "chamber": chamber,
    "wall": wall,
    "folds": folds,
    "vessel": vessel,
    "tree": tree,
}


def near_surface(mask: Mask, space: Space) -> FloatMap:
    """A field for a mask, right to about a voxel from its surface and level beyond."""
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 1.0, mode="nearest", truncate=2.0)
    field: FloatMap = (np.float32(0.5) - soft) * np.float32(2.5 * float(np.mean(space.spacing)))
    return field


def beyond_plane(space: Space, point: Point, rng: np.random.Generator) -> FloatMap:
    """Negative on one side of a gently curved surface through `point`."""
    flat = _half_space(space, point, random_direction(rng), 0.0)
    size = float(np.max(space.extent))
    return flat + np.float32(rng.uniform(0, 0.04) * size) * space.noise(0.3 * size, rng)


def _half_space(space: Space, point: Point, normal: Point, offset: float) -> FloatMap:
    weights = np.asarray(normal, np.float32)
    height = np.tensordot(weights, space.positions, 1) - np.float32(float(np.asarray(point) @ normal) + offset)
    result: FloatMap = np.asarray(height, np.float32)
    return result


def _frame(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return np.ascontiguousarray(axes)


def _uneven(space: Space, field: FloatMap, radius: float, share: float, rng: np.random.Generator) -> FloatMap:
    return field + np.float32(share * radius) * space.noise(rng.uniform(0.3, 0.8) * radius, rng)


def _softly_joined(a: FloatMap, b: FloatMap, rounding: float) -> FloatMap:
    """Polynomial smooth minimum (Quilez): the joint is rounded over about `rounding` mm."""
    size = np.float32(max(rounding, 1e-3))
    near = np.maximum(size - np.abs(a - b), 0) / size
    joined: FloatMap = np.minimum(a, b) - near * near * size / 4
    return joined


def _softly_without(a: FloatMap, b: FloatMap, rounding: float) -> FloatMap:
    return -_softly_joined(-a, b, rounding)


def _path(start: Point, way: Point, length: float, size: float, bend: float, rng: np.random.Generator) -> Table:
    """Segments of a curved path: at every step the way turns by about `bend` radians, and the radius wanders."""
    steps = int(np.clip(length / max(1.5 * size, 1e-3), 3, 12))
    place, turn = np.asarray(start, np.float64), random_direction(rng)
    radius, segments = size, np.empty((steps, 8))
    for n in range(steps):
        turn = turn + 0.5 * random_direction(rng)
        way = way + bend * turn / max(float(np.linalg.norm(turn)), 1e-6)
        way = way / max(float(np.linalg.norm(way)), 1e-6)
        after, thickness = place + way * length / steps, size * float(np.exp(rng.normal(0, 0.12)))
        segments[n] = (*place, *after, radius, thickness)
        place, radius = after, thickness
    return segments


def _tubes(space: Space, segments: Table, thickness: float) -> FloatMap:
    reach = 2 * max(space.spacing) + 0.5 * thickness
    return tube_field(space.shape, np.asarray(space.spacing), np.ascontiguousarray(segments), reach)
