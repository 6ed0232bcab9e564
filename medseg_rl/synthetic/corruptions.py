"""Masks that are wrong in known ways: start C of the evaluation protocol, and starts for training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from medseg_rl.synthetic.shapes import (
    FloatMap,
    Mask,
    Point,
    ellipsoid,
    extent_mm,
    positions_mm,
    random_direction,
    signed_distance,
    smooth_noise,
    triple,
    tube,
    wandering,
)
from medseg_rl.volume import Box, Spacing

CORRUPTION_MARGIN_MM = 25.0
LEAST_OVERLAP = 0.3  # Dice below which a corruption is drawn again: no automatic method is used that fails like that
CORRUPTION_TRIES = 10


def corrupt_mask(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    """A copy of `mask` (x, y, z) with one to three errors of different kinds; never equal to it, never empty.

    Kinds: erode or dilate by 1 to 4 mm, in small objects by less than half their depth; a boundary that wanders by as
    much; a smooth warp; a slab or an end cut away; a part dropped; a ball or a tube added. `spacing`: mm, in array
    order. An empty mask comes back with a ball in it.
    """
    box = Box.around_mask(mask)
    result = mask.copy()
    if box is None:
        centre = rng.uniform(0.2, 0.8, 3) * extent_mm(triple(mask.shape), spacing)
        result |= ellipsoid(triple(mask.shape), spacing, centre, np.full(3, 4.0) + np.asarray(spacing))
        return result if result.any() else np.ones_like(mask)
    box = box.grown_mm(CORRUPTION_MARGIN_MM, spacing, triple(mask.shape))
    part = mask[box.slices]
    for _ in range(CORRUPTION_TRIES):
        wrong = part
        for kind in rng.permutation(len(CORRUPTIONS))[: int(rng.integers(1, 4))]:
            changed = CORRUPTIONS[kind](wrong, spacing, rng)
            wrong = changed if changed.any() else wrong
        overlap = 2 * int((wrong & part).sum()) / (int(wrong.sum()) + int(part.sum()))
        if LEAST_OVERLAP <= overlap < 1.0:
            break
    else:
        wrong = _with_one_voxel_changed(part)
    result[box.slices] = wrong
    return result


def _with_one_voxel_changed(mask: Mask) -> Mask:
    """For masks too small for any error in millimetres: a neighbour more, or a voxel less where it fills the volume."""
    grown = ndimage.binary_dilation(mask) & ~mask
    candidates = np.argwhere(grown if grown.any() else mask)
    changed = mask.copy()
    index = tuple(candidates[0])
    changed[index] = not changed[index]
    return changed


def _resized(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    distance = signed_distance(mask, spacing)
    change = _error_mm(distance, rng) * rng.choice([-1, 1])
    resized: Mask = distance <= max(change, 0.6 * float(distance.min()))  # a thin object must survive
    return resized


def _error_mm(distance: FloatMap, rng: np.random.Generator) -> float:
    """1 to 4 mm, small ones more often, at most half of the deepest place: a small object has small errors."""
    most = min(4.0, max(1.0, -0.5 * float(distance.min())))
    return 1.0 + (most - 1.0) * float(rng.random() ** 1.5)


def _rough_boundary(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    distance = signed_distance(mask, spacing)
    return wandering(distance, spacing, _error_mm(distance, rng) / 2, rng)


def _warped(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    shape, length, distance = triple(mask.shape), rng.uniform(10, 30), signed_distance(mask, spacing)
    size = _error_mm(distance, rng) / 2
    moved = [
        axis + size * smooth_noise(shape, spacing, length, rng) / s
        for axis, s in zip(np.ogrid[: shape[0], : shape[1], : shape[2]], spacing, strict=True)
    ]
    inside: Mask = ndimage.map_coordinates(distance, moved, order=1, mode="nearest") <= 0
    return inside


def _cut(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    """Without a slab somewhere in the middle, or without all beyond a plane."""
    height = np.asarray(positions_mm(triple(mask.shape), spacing) @ random_direction(rng))
    start = float(np.quantile(height[mask], rng.uniform(0.3, 0.95)))
    thickness = rng.uniform(2, 8) if rng.random() < 0.5 else np.inf
    return mask & ~((height >= start) & (height < start + thickness))


def _part_dropped(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    return mask & ~_ball_on_surface(mask, spacing, rng.uniform(3, 10), rng)


def _ball_added(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    return mask | _ball_on_surface(mask, spacing, rng.uniform(2, 6), rng)


def _tube_added(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    start = _surface_point(mask, spacing, rng)
    path = np.stack([start, start + random_direction(rng) * rng.uniform(6, 20)])
    return mask | tube(triple(mask.shape), spacing, path, rng.uniform(1, 3))


def _ball_on_surface(mask: Mask, spacing: Spacing, radius_mm: float, rng: np.random.Generator) -> Mask:
    centre = _surface_point(mask, spacing, rng)
    return ellipsoid(triple(mask.shape), spacing, centre, np.full(3, radius_mm))


def _surface_point(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Point:
    surface = np.argwhere(mask & ~ndimage.binary_erosion(mask, border_value=1))
    candidates = surface if len(surface) else np.argwhere(mask)
    return np.asarray(candidates[int(rng.integers(len(candidates)))] * np.asarray(spacing))


CORRUPTIONS: tuple[Callable[[Mask, Spacing, np.random.Generator], Mask], ...] = (
    _resized,
    _rough_boundary,
    _warped,
    _cut,
    _part_dropped,
    _ball_added,
    _tube_added,
)
