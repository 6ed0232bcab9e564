"""Labelled volumes with known ground truth, and masks that are wrong in known ways. All randomness is passed in.

Shapes are measured in mm from the first voxel's centre along the array axes, so a grid of other spacing holds the
same object. Nothing here imitates an organ: structures differ in shape, contrast and surroundings, so that only
clicks and mask can tell which of them is meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.volume import Box, Index, Spacing

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
FloatMap = npt.NDArray[np.float32]
Point = npt.NDArray[np.float64]

# ---- shapes ----------------------------------------------------------------------------------------------------------


def ellipsoid(shape: Index, spacing: Spacing, centre_mm: Point, radii_mm: Point, axes: Point | None = None) -> Mask:
    """True (x, y, z) inside. `axes` (3, 3): rows are the unit directions of the radii; the array axes without."""
    from_centre = _positions(shape, spacing) - np.asarray(centre_mm)
    along = from_centre if axes is None else from_centre @ np.asarray(axes).T
    inside: Mask = np.square(along / np.asarray(radii_mm)).sum(axis=-1) <= 1.0
    return inside


def tube(shape: Index, spacing: Spacing, path_mm: Point, radius_mm: float) -> Mask:
    """True (x, y, z) within `radius_mm` of the open polygon through `path_mm` (n, 3), n >= 2."""
    positions = _positions(shape, spacing)
    inside = np.zeros(shape, dtype=np.bool_)
    for start, stop in pairwise(path_mm):
        inside |= _distance_to_segment(positions, start, stop) <= radius_mm
    return inside


def sheet(shape: Index, spacing: Spacing, point_mm: Point, normal: Point, thickness_mm: float) -> Mask:
    """True (x, y, z) within half of `thickness_mm` of the plane through `point_mm` with that unit `normal`."""
    height = (_positions(shape, spacing) - np.asarray(point_mm)) @ np.asarray(normal)
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


def _positions(shape: Index, spacing: Spacing) -> Point:
    grid = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    return np.stack(grid, axis=-1)


def _distance_to_segment(positions: Point, start: Point, stop: Point) -> Point:
    direction = stop - start
    length = float(direction @ direction)
    share = np.clip((positions - start) @ direction / length, 0, 1) if length > 0 else np.zeros(positions.shape[:-1])
    distance: Point = np.linalg.norm(positions - start - share[..., None] * direction, axis=-1)
    return distance


def _direction(rng: np.random.Generator) -> Point:
    vector: Point = rng.standard_normal(3)
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


# ---- phantoms --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Phantom:
    """`image`: float32 (x, y, z), arbitrary units. `labels`: uint8, 0 = background. `spacing`: mm, in array order."""

    image: FloatMap
    labels: Labels
    spacing: Spacing

    def target(self, rng: np.random.Generator) -> Mask:
        """One label, or the union of some: what a user might mean."""
        present = np.unique(self.labels[self.labels > 0])
        chosen = rng.choice(present, size=int(rng.integers(1, len(present) + 1)), replace=False)
        return np.isin(self.labels, chosen)


def phantom(shape: Index, spacing: Spacing, rng: np.random.Generator, *, structures: int = 4) -> Phantom:
    """Some structures of random shape and contrast under bias field, blur, noise and gamma. At least one is visible."""
    labels = random_labels(shape, spacing, rng, structures=structures)
    return Phantom(random_image(labels, spacing, rng), labels, spacing)


def random_labels(shape: Index, spacing: Spacing, rng: np.random.Generator, *, structures: int = 4) -> Labels:
    """Label map uint8: up to `structures` of ellipsoid, tube, sheet or blob, warped; later ones cover earlier ones."""
    labels = np.zeros(shape, dtype=np.uint8)
    makers = (_random_ellipsoid, _random_tube, _random_sheet, _random_blob)
    for value in range(1, int(rng.integers(1, structures + 1)) + 1):
        labels[makers[int(rng.integers(len(makers)))](shape, spacing, rng)] = value
    if not labels.any():
        labels[ellipsoid(shape, spacing, _extent(shape, spacing) / 2, _extent(shape, spacing) / 4 + spacing)] = 1
    return labels


def random_image(labels: Labels, spacing: Spacing, rng: np.random.Generator, *, distractors: int = 2) -> FloatMap:
    """An image of the label map: intensity and texture per label, distractors with a label's contrast, then a scanner.

    The scanner: blur up to 1.5 mm, multiplicative bias field, noise, gamma, random scale and offset.
    """
    scene = labels.copy()
    for _ in range(int(rng.integers(distractors + 1)) if labels.any() else 0):
        lookalike = rng.choice(np.unique(labels[labels > 0]))
        scene[_random_ellipsoid(_triple(labels.shape), spacing, rng) & (labels == 0)] = lookalike
    levels = rng.uniform(0, 1, int(scene.max()) + 1)
    levels[1:] += np.where(np.abs(levels[1:] - levels[0]) < 0.1, 0.2, 0.0)  # visible against the background
    texture = smooth_noise(_triple(labels.shape), spacing, rng.uniform(2, 6), rng)
    image = levels[scene] + rng.uniform(0, 0.08, len(levels))[scene] * texture
    image = ndimage.gaussian_filter(image, [rng.uniform(0, 1.5) / s for s in spacing], mode="nearest")
    image *= np.exp(rng.uniform(0, 0.3) * smooth_noise(_triple(labels.shape), spacing, 60.0, rng))
    image += rng.uniform(0, 0.06) * rng.standard_normal(image.shape)
    image = np.clip(image - image.min(), 1e-6, None) ** rng.uniform(0.7, 1.4)
    arbitrary: FloatMap = (rng.uniform(50, 2000) * image + rng.uniform(-500, 500)).astype(np.float32)
    return arbitrary


def _extent(shape: Index, spacing: Spacing) -> Point:
    return np.array([(n - 1) * s for n, s in zip(shape, spacing, strict=True)])


def _random_ellipsoid(shape: Index, spacing: Spacing, rng: np.random.Generator) -> Mask:
    extent = _extent(shape, spacing)
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    radii = rng.uniform(0.08, 0.3, 3) * max(float(extent.max()), 1.0)
    solid = ellipsoid(shape, spacing, rng.uniform(0.2, 0.8, 3) * extent, radii, axes)
    return _roughened(solid, spacing, rng.uniform(0, 2), rng)


def _random_tube(shape: Index, spacing: Spacing, rng: np.random.Generator) -> Mask:
    extent = _extent(shape, spacing)
    knots = rng.uniform(0.05, 0.95, (int(rng.integers(2, 5)), 3)) * extent
    return tube(shape, spacing, knots, rng.uniform(0.03, 0.1) * max(float(extent.max()), 1.0))


def _random_sheet(shape: Index, spacing: Spacing, rng: np.random.Generator) -> Mask:
    extent = _extent(shape, spacing)
    flat = sheet(shape, spacing, rng.uniform(0.3, 0.7, 3) * extent, _direction(rng), rng.uniform(2, 6))
    return _roughened(flat, spacing, rng.uniform(0, 1), rng) & _random_ellipsoid(shape, spacing, rng)


def _random_blob(shape: Index, spacing: Spacing, rng: np.random.Generator) -> Mask:
    field = smooth_noise(shape, spacing, rng.uniform(8, 25), rng)
    inside: Mask = field > np.quantile(field, rng.uniform(0.8, 0.97))
    return inside


# ---- wrong masks -----------------------------------------------------------------------------------------------------

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
        centre = rng.uniform(0.2, 0.8, 3) * _extent(_triple(mask.shape), spacing)
        result |= ellipsoid(_triple(mask.shape), spacing, centre, np.full(3, 4.0) + np.asarray(spacing))
        return result if result.any() else np.ones_like(mask)
    box = box.grown_mm(CORRUPTION_MARGIN_MM, spacing, _triple(mask.shape))
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


def _signed_distance(mask: Mask, spacing: Spacing) -> FloatMap:
    """mm to the boundary between voxels, negative inside; a boundary of the array is none of the object."""
    if mask.all() or not mask.any():
        return np.full(mask.shape, -1e3 if mask.all() else 1e3, dtype=np.float32)
    contiguous = np.ascontiguousarray(mask)
    half = 0.5 * min(spacing)
    outside: FloatMap = edt.edt(~contiguous, anisotropy=spacing)
    inside: FloatMap = edt.edt(contiguous, anisotropy=spacing)
    return np.where(contiguous, half - inside, outside - half).astype(np.float32)


def _resized(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    distance = _signed_distance(mask, spacing)
    change = _error_mm(distance, rng) * rng.choice([-1, 1])
    resized: Mask = distance <= max(change, 0.6 * float(distance.min()))  # a thin object must survive
    return resized


def _error_mm(distance: FloatMap, rng: np.random.Generator) -> float:
    """1 to 4 mm, small ones more often, at most half of the deepest place: a small object has small errors."""
    most = min(4.0, max(1.0, -0.5 * float(distance.min())))
    return 1.0 + (most - 1.0) * float(rng.random() ** 1.5)


def _roughened(mask: Mask, spacing: Spacing, amplitude_mm: float, rng: np.random.Generator) -> Mask:
    return _wandering(_signed_distance(mask, spacing), spacing, amplitude_mm, rng)


def _wandering(distance: FloatMap, spacing: Spacing, deviation_mm: float, rng: np.random.Generator) -> Mask:
    noise = smooth_noise(_triple(distance.shape), spacing, rng.uniform(4, 15), rng)
    inside: Mask = distance + np.float32(deviation_mm) * noise <= 0
    return inside


def _rough_boundary(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    distance = _signed_distance(mask, spacing)
    return _wandering(distance, spacing, _error_mm(distance, rng) / 2, rng)


def _warped(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    shape, length, distance = _triple(mask.shape), rng.uniform(10, 30), _signed_distance(mask, spacing)
    size = _error_mm(distance, rng) / 2
    moved = [
        axis + size * smooth_noise(shape, spacing, length, rng) / s
        for axis, s in zip(np.ogrid[: shape[0], : shape[1], : shape[2]], spacing, strict=True)
    ]
    inside: Mask = ndimage.map_coordinates(distance, moved, order=1, mode="nearest") <= 0
    return inside


def _cut(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    """Without a slab somewhere in the middle, or without all beyond a plane."""
    height = np.asarray(_positions(_triple(mask.shape), spacing) @ _direction(rng))
    start = float(np.quantile(height[mask], rng.uniform(0.3, 0.95)))
    thickness = rng.uniform(2, 8) if rng.random() < 0.5 else np.inf
    return mask & ~((height >= start) & (height < start + thickness))


def _part_dropped(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    return mask & ~_ball_on_surface(mask, spacing, rng.uniform(3, 10), rng)


def _ball_added(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    return mask | _ball_on_surface(mask, spacing, rng.uniform(2, 6), rng)


def _tube_added(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    start = _surface_point(mask, spacing, rng)
    path = np.stack([start, start + _direction(rng) * rng.uniform(6, 20)])
    return mask | tube(_triple(mask.shape), spacing, path, rng.uniform(1, 3))


def _ball_on_surface(mask: Mask, spacing: Spacing, radius_mm: float, rng: np.random.Generator) -> Mask:
    centre = _surface_point(mask, spacing, rng)
    return ellipsoid(_triple(mask.shape), spacing, centre, np.full(3, radius_mm))


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


def _triple(shape: tuple[int, ...]) -> Index:
    a, b, c = shape
    return a, b, c
