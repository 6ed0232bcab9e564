"""Starts to be corrected that err as automatic networks do: guided by the image, in parts, into the neighbour.

`corrupt_mask` knows the reference alone; here intensities say where a network would be misled. Lengths follow the size
of the object and of the voxels, so spacing may be in mm or in units of the mean voxel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cc3d
import numpy as np
from scipy import ndimage

from medseg_rl.synthetic.corruptions import corrupt_mask
from medseg_rl.synthetic.fields import distance_field
from medseg_rl.synthetic.shapes import (
    FloatMap,
    Mask,
    Point,
    ellipsoid,
    positions_mm,
    random_direction,
    smooth_noise,
    triple,
)
from medseg_rl.volume import Spacing

LOWEST_DICE, HIGHEST_DICE = 0.3, 0.97
TRIES = 6


@dataclass(frozen=True, eq=False)
class _Object:
    """What errors need to know. `distance`: signed, negative inside. `depth`: of the deepest place. `voxel`: mean."""

    mask: Mask
    distance: FloatMap
    image: FloatMap
    spacing: Spacing
    voxel: float
    depth: float

    def noise(self, length: float, rng: np.random.Generator) -> FloatMap:
        return smooth_noise(triple(self.mask.shape), self.spacing, max(length, self.voxel), rng)

    def surface_point(self, rng: np.random.Generator) -> Point:
        near = np.flatnonzero((self.distance <= 0) & (self.distance > -1.2 * max(self.spacing)))
        index = np.unravel_index(near[int(rng.integers(len(near)))], self.mask.shape)
        point: Point = np.asarray(index) * np.asarray(self.spacing)
        return point

    def ball(self, centre: Point, radius: float) -> Mask:
        return ellipsoid(triple(self.mask.shape), self.spacing, centre, np.full(3, max(radius, 0.6 * self.voxel)))


Error = Callable[[Mask, _Object, np.random.Generator], Mask]


def plausible_start(reference: Mask, image: FloatMap, spacing: Spacing, rng: np.random.Generator) -> Mask:
    """A mask (x, y, z) as an automatic method might have left it: one to three errors of the kinds in `ERRORS`.

    Its Dice with `reference` is 0.3 to 0.97 wherever the object is large enough to be that wrong; never equal to it,
    never empty. `image`: normalised, of the same shape. `spacing`: lengths of the voxels, in array order, any unit.
    An empty or a full reference is corrupted without a look at the image.
    """
    if reference.all() or not reference.any():
        return corrupt_mask(reference, spacing, rng)
    distance = distance_field(reference, spacing)
    voxel = float(np.prod(spacing)) ** (1 / 3)
    thing = _Object(reference, distance, image, spacing, voxel, max(-float(distance.min()), 0.5 * voxel))
    kinds, shares = list(ERRORS), np.array(list(ERRORS.values()), np.float64)
    for _ in range(TRIES):
        mask = reference
        count = int(rng.choice((1, 2, 3), p=(0.45, 0.38, 0.17)))
        for kind in rng.choice(len(kinds), size=count, replace=False, p=shares / shares.sum()):
            changed = kinds[int(kind)](mask, thing, rng)
            mask = changed if changed.any() else mask
        overlap = 2 * int((mask & reference).sum()) / (int(mask.sum()) + int(reference.sum()))
        if LOWEST_DICE <= overlap <= HIGHEST_DICE:
            return np.ascontiguousarray(mask)
    return corrupt_mask(reference, spacing, rng)


def _resized(mask: Mask, thing: _Object, rng: np.random.Generator) -> Mask:
    """The whole boundary too far in or out, and wandering."""
    size = min(max(thing.voxel, 0.35 * thing.depth), 4 * thing.voxel)
    wander = size * rng.uniform(0.2, 0.8) * thing.noise(thing.depth * rng.uniform(0.5, 2), rng)
    shift = size * rng.uniform(-1, 1) + wander
    return _moved(mask, thing, shift.astype(np.float32))


def _locally_shifted(mask: Mask, thing: _Object, rng: np.random.Generator) -> Mask:
    """The boundary of one to three regions too far in or out."""
    positions = positions_mm(triple(mask.shape), thing.spacing)
    shift = np.zeros(mask.shape)
    for _ in range(int(rng.integers(1, 4))):
        width = max(2 * thing.voxel, thing.depth * rng.uniform(0.5, 1.5))
        squared = np.square(positions - thing.surface_point(rng)).sum(axis=-1)
        most = min(5 * thing.voxel, 0.9 * thing.depth)
        height = max(1.2 * thing.voxel, float(rng.uniform(0.3, 1)) * most) * rng.choice((-1, 1))
        shift += height * np.exp(-squared / (2 * width**2))
    return _moved(mask, thing, shift.astype(np.float32))


def _moved(mask: Mask, thing: _Object, shift: FloatMap) -> Mask:
    """The reference's boundary moved outwards by `shift`; errors that `mask` has elsewhere stay."""
    moved = thing.distance <= shift
    return (mask & thing.mask & moved) | (mask & ~thing.mask) | (moved & ~thing.mask)


def _misled(mask: Mask, thing: _Object, rng: np.random.Generator) -> Mask:
    """Intensity and place weighed against each other: leaks into what looks alike, misses what looks different."""
    likelihood = _likelihood(thing, rng)
    reach = max(1.5 * thing.voxel, thing.depth * rng.uniform(0.3, 1.0))
    evidence = np.clip(likelihood, -2.5, 2.5) * rng.uniform(0.5, 1.2) - thing.distance / reach
    evidence += rng.uniform(0, 0.5) * thing.noise(2 * thing.voxel, rng)
    found: Mask = ndimage.uniform_filter(evidence, 3, mode="nearest") > 0
    return _largest(found) if rng.random() < 0.6 else found


def _likelihood(thing: _Object, rng: np.random.Generator) -> FloatMap:
    """Log-ratio of two normal densities: a sample of the object against what lies around it, in the blurred image."""
    width = rng.uniform(0.5, 1.3)
    image = ndimage.gaussian_filter(thing.image, width, mode="nearest", truncate=2.0)
    inside = image[thing.mask]
    ring = image[(thing.distance > 0) & (thing.distance < 6 * thing.voxel)]
    outside = ring if ring.size else image[~thing.mask]
    a, b = float(inside.mean()), float(outside.mean())
    va, vb = (max(float(v), 1e-4) for v in (inside.var(), outside.var()))
    ratio: FloatMap = np.square(image - b) / vb - np.square(image - a) / va
    return (0.5 * ratio + 0.5 * np.float32(np.log(vb / va))).astype(np.float32)


def _leaked(mask: Mask, thing: _Object, rng: np.random.Generator) -> Mask:
    """Grown from a place on the surface into connected voxels of the object's intensities, as far as a ball allows."""
    values = thing.image[thing.mask]
    low, high = np.quantile(values, (0.1, 0.9))
    margin = rng.uniform(0.0, 0.5) * max(float(high - low), 0.05)
    image = ndimage.uniform_filter(thing.image, 3, mode="nearest")
    alike = (image >= low - margin) & (image <= high + margin)
    radius = max(3 * thing.voxel, thing.depth * rng.uniform(0.7, 2.2))
    place = thing.surface_point(rng)
    grown = cc3d.connected_components((alike | mask) & thing.ball(place, radius), connectivity=6)
    numbers = np.unique(grown[thing.mask & (grown > 0)])
    return mask | np.isin(grown, numbers[numbers > 0])


def _island(mask: Mask, thing: _Object, rng: np.random.Generator) -> Mask:
    """Something elsewhere is taken for the object: a blob, where the image is alike if such a place is found."""
    values = thing.image[thing.mask]
    away = np.flatnonzero(thing.distance > 2 * thing.voxel)
    if not len(away):
        return mask
    picks = away[rng.integers(len(away), size=12)]
    likest = picks[int(np.argmin(np.abs(thing.image.ravel()[picks] - np.median(values))))]
    centre = np.asarray(np.unravel_index(likest, mask.shape)) * np.asarray(thing.spacing)
    radius = max(1.5 * thing.voxel, thing.depth * rng.uniform(0.2, 1.0))
    blob = thing.ball(centre, radius)
    low, high = np.quantile(values, (0.02, 0.98))
    fitting = blob & (thing.image >= low) & (thing.image <= high)
    return mask | (fitting if rng.random() < 0.6 and fitting.any() else blob)


def _part_missed(mask: Mask, thing: _Object, rng: np.random.Generator) -> Mask:
    """Without what lies beyond a plane, along the longest direction more often: the end of a tube, a lobe."""
    positions = positions_mm(triple(mask.shape), thing.spacing)
    inside = positions[thing.mask]
    way = random_direction(rng)
    if rng.random() < 0.5 and len(inside) > 3:
        way = np.linalg.eigh(np.cov(inside.T))[1][:, 2] * rng.choice((-1, 1))
    height = positions @ way
    edge = float(np.quantile(height[thing.mask], rng.uniform(0.4, 0.93)))
    bent = height + rng.uniform(0.05, 0.5) * thing.depth * thing.noise(thing.depth, rng)
    return mask & (bent < edge)


def _lobe_missed(mask: Mask, thing: _Object, rng: np.random.Generator) -> Mask:
    """Without a ragged region at the surface, or where the image differs most from the object's mean."""
    radius = max(2 * thing.voxel, thing.depth * rng.uniform(0.5, 1.6))
    place = thing.surface_point(rng)
    ragged = thing.noise(0.5 * radius, rng) > rng.uniform(-1.5, 0.0)
    return mask & ~(thing.ball(place, radius) & ragged)


def _slices_missed(mask: Mask, thing: _Object, rng: np.random.Generator) -> Mask:
    """Without the last slices at one or both ends, or one in the middle, across the axis of the thickest slices."""
    axis = int(np.argmax(thing.spacing)) if rng.random() < 0.7 else int(rng.integers(3))
    others = tuple(a for a in range(3) if a != axis)
    used = np.flatnonzero(thing.mask.any(axis=others))
    keep = np.ones(mask.shape[axis], bool)
    count = max(1, int(len(used) * rng.uniform(0.05, 0.3)))
    form = rng.random()
    if form < 0.4:
        keep[used[:count]] = False
    elif form < 0.8:
        keep[used[-count:]] = False
    else:
        first = int(rng.integers(len(used)))
        keep[used[first : first + max(1, count // 2)]] = False
    if form > 0.9:
        keep[used[-count:]] = False
    shape = [1, 1, 1]
    shape[axis] = -1
    return mask & keep.reshape(shape)


def _oversmoothed(mask: Mask, thing: _Object, rng: np.random.Generator) -> Mask:
    """As a network at a lower resolution gives it: thin parts lost or thickened, corners rounded."""
    width = max(1.0 * thing.voxel, thing.depth * rng.uniform(0.3, 0.9))
    widths = [min(width / s, 4.0) for s in thing.spacing]
    soft = ndimage.gaussian_filter(mask.astype(np.float32), widths, mode="nearest", truncate=2.0)
    smooth: Mask = soft > rng.uniform(0.3, 0.6)
    return smooth


def _core(mask: Mask, thing: _Object, rng: np.random.Generator) -> Mask:
    """Only what lies deep."""
    deep = -thing.depth * rng.uniform(0.15, 0.5) + 0.2 * thing.depth * thing.noise(thing.depth, rng)
    return mask & (thing.distance <= deep)


def _neighbour_instead(mask: Mask, thing: _Object, rng: np.random.Generator) -> Mask:
    """Half of the object missed, and the region next to it taken instead, by its own intensity."""
    place = thing.surface_point(rng)
    radius = max(3 * thing.voxel, thing.depth * rng.uniform(0.8, 1.8))
    ball = thing.ball(place, radius)
    around = ball & ~thing.mask
    if not around.any():
        return mask
    image = ndimage.uniform_filter(thing.image, 3, mode="nearest")
    middle, spread = float(np.median(image[around])), max(float(image[around].std()), 0.05)
    other = around & (np.abs(image - middle) < rng.uniform(0.6, 1.5) * spread)
    kept = _part_missed(mask, thing, rng) if rng.random() < 0.7 else mask
    return kept | _largest(other) if other.any() else kept


def _largest(mask: Mask) -> Mask:
    if not mask.any():
        return mask
    biggest: Mask = cc3d.largest_k(np.ascontiguousarray(mask), k=1, connectivity=6) > 0
    return biggest


ERRORS: dict[Error, float] = {
    _misled: 0.2,
    _resized: 0.14,
    _locally_shifted: 0.14,
    _leaked: 0.14,
    _part_missed: 0.09,
    _lobe_missed: 0.09,
    _slices_missed: 0.07,
    _island: 0.08,
    _oversmoothed: 0.08,
    _core: 0.04,
    _neighbour_instead: 0.07,
}
