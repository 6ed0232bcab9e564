"""Turns labelled cases into training scenes: start, augmentation, another reader's contour, weights of the voxels.

The reference is warped apart from the image in some scenes: what the image cannot explain, only clicks can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.environment.episode import Scene
from medseg_rl.refiner import HIGHEST, LOWEST, Percent
from medseg_rl.synthetic import corrupt_mask
from medseg_rl.volume import Spacing

FloatMap = npt.NDArray[np.float32]
BINARY_OBJECT, BINARY_BACKGROUND = 90, 10  # a wrong binary start must stay correctable


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """A labelled region in nearest-RAS+ order. `image` normalised; `start` out-of-fold automatic state, or None."""

    id: str
    image: FloatMap
    reference: npt.NDArray[np.bool_]
    start: Percent | None
    spacing: Spacing


@dataclass(frozen=True)
class SceneConfig:
    """Shares and strengths; lengths in mm.

    What `automatic_share` and `corrupted_share` leave of 1 starts empty. Of the corrupted `soft_share` look as sure of
    themselves as an automatic start does, so that its sureness is no proof that it is right. `class_ratio_cap` 1 means
    no class balance, so that 0.5 stays the best threshold. `reader_share` of the scenes get a reference whose contour
    another reader might have drawn: displaced smoothly by about `reader_mm`. `warp_share` of them are rotated and
    scaled; the others keep the file's own voxels, unblurred, as the product sees them. `flip_axes` are mirrored half
    the time: none, for a structure that lies one way, since a start errs alike in every case.
    """

    automatic_share: float = 0.7
    corrupted_share: float = 0.15
    soft_share: float = 0.7
    softness_mm: tuple[float, float] = (0.3, 1.5)
    reader_share: float = 0.05
    reader_mm: float = 1.0
    reader_smoothness_mm: float = 6.0
    crop_voxels: tuple[int, int, int] = (40, 56, 40)
    flip_axes: tuple[int, ...] = ()
    warp_share: float = 0.2
    rotation_degrees: float = 10.0
    scale: float = 0.1
    intensity: float = 0.05
    boundary_weight: float = 0.0
    boundary_mm: float = 3.0
    class_ratio_cap: float = 1.0


def draw_scene(cases: Sequence[TrainingCase], config: SceneConfig, rng: np.random.Generator) -> Scene:
    """One scene of a random case."""
    case = cases[int(rng.integers(len(cases)))]
    image, reference, start = _moved(case, config, rng)
    flips = tuple(a for a in config.flip_axes if rng.random() < 0.5)
    image, reference = np.flip(image, flips), np.flip(reference, flips)
    start = None if start is None else np.flip(start, flips)
    state = _start(reference, start, case.spacing, config, rng)
    return Scene(
        image=np.ascontiguousarray(_other_scanner(image, config, rng)),
        reference=np.ascontiguousarray(reference),
        start=np.ascontiguousarray(state),
        weights=voxel_weights(reference, case.spacing, config),
        spacing=case.spacing,
    )


def voxel_weights(reference: npt.NDArray[np.bool_], spacing: Spacing, config: SceneConfig) -> FloatMap:
    """Class balance, times 1 + `boundary_weight` within `boundary_mm` of the reference surface."""
    weights = np.ones(reference.shape, np.float32)
    inside = int(reference.sum())
    if not 0 < inside < reference.size:
        return weights
    weights[reference] = np.clip((reference.size - inside) / inside, 1 / config.class_ratio_cap, config.class_ratio_cap)
    if not config.boundary_weight:
        return weights
    to_object = ndimage.distance_transform_edt(~reference, sampling=spacing)
    to_background = ndimage.distance_transform_edt(reference, sampling=spacing)
    weights[np.maximum(to_object, to_background) <= config.boundary_mm] *= 1 + config.boundary_weight
    return weights


def _moved(
    case: TrainingCase, config: SceneConfig, rng: np.random.Generator
) -> tuple[FloatMap, npt.NDArray[np.bool_], FloatMap | None]:
    """Image, reference and start (float hundredths) on a rotated, scaled grid cut to `crop_voxels` round the object."""
    shape = np.minimum(case.image.shape, config.crop_voxels)
    spacing = np.asarray(case.spacing)
    inside = np.argwhere(case.reference)
    room = np.asarray(case.image.shape) - shape
    aim = inside[int(rng.integers(len(inside)))] if len(inside) and room.any() else np.asarray(case.image.shape) // 2
    corner = np.clip(aim - shape // 2, 0, room)
    matrix = np.eye(3)
    if rng.random() < config.warp_share:
        matrix = _rotation(np.radians(config.rotation_degrees) * rng.uniform(-1, 1, 3))
        matrix = matrix * (1 + config.scale * rng.uniform(-1, 1))
    centre = (shape - 1) // 2
    grid = np.indices(tuple(shape)).reshape(3, -1) - centre[:, None]
    points = (matrix @ (grid * spacing[:, None])) / spacing[:, None] + (centre + corner)[:, None]
    image = _sample(case.image, points, shape)
    start = None if case.start is None else _sample(case.start.astype(np.float32), points, shape)
    if rng.random() < config.reader_share:
        points = points + _smooth_displacement(shape, spacing, config, rng).reshape(3, -1)
    reference = _sample(case.reference.astype(np.float32), points, shape) > 0.5
    return image, reference, start


def _start(
    reference: npt.NDArray[np.bool_],
    automatic: FloatMap | None,
    spacing: Spacing,
    config: SceneConfig,
    rng: np.random.Generator,
) -> Percent:
    draw = rng.random()
    if draw < config.automatic_share and automatic is not None:
        return np.clip(np.rint(automatic), LOWEST, HIGHEST).astype(np.uint8)
    if draw < config.automatic_share + config.corrupted_share:
        corrupted = corrupt_mask(reference, spacing, rng)
        if rng.random() < config.soft_share:
            return softened(corrupted, spacing, rng.uniform(*config.softness_mm))
        return np.where(corrupted, BINARY_OBJECT, BINARY_BACKGROUND).astype(np.uint8)
    return np.full(reference.shape, LOWEST, np.uint8)


def softened(mask: npt.NDArray[np.bool_], spacing: Spacing, softness_mm: float) -> Percent:
    """A state that is as sure of a mask as a network is of its own: log-odds grow with the depth, one each softness."""
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    probability = 1 / (1 + np.exp(-np.clip((inside - outside) / softness_mm, -20, 20)))
    state: Percent = np.clip(np.rint(100 * probability), LOWEST, HIGHEST).astype(np.uint8)
    return state


def _other_scanner(image: FloatMap, config: SceneConfig, rng: np.random.Generator) -> FloatMap:
    """Scale, shift, bias field, blur and noise, in units of the normalised image's standard deviation."""
    strength = config.intensity
    out = image * (1 + 2 * strength * rng.uniform(-1, 1)) + 2 * strength * rng.uniform(-1, 1)
    slope = rng.normal(0, strength, 3)
    for axis, size in enumerate(image.shape):
        ramp = np.linspace(-1, 1, size).reshape([-1 if a == axis else 1 for a in range(3)])
        out = out * (1 + slope[axis] * ramp)
    if rng.random() < 0.25:
        out = ndimage.gaussian_filter(out, rng.uniform(0.3, 0.8))
    if rng.random() < 0.5:
        out = out + rng.normal(0, strength * rng.uniform(0, 2), image.shape)
    return out.astype(np.float32)


def _smooth_displacement(
    shape: npt.NDArray[np.intp], spacing: npt.NDArray[np.float64], config: SceneConfig, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(3, x, y, z) in voxels; standard deviation `reader_mm` times a factor drawn for the scene."""
    sigma = config.reader_smoothness_mm * rng.uniform(0.5, 1.5) / spacing
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="nearest") for _ in range(3)])
    field *= config.reader_mm * rng.uniform(0.5, 1.5) / max(float(field.std()), 1e-6)
    return field / spacing[:, None, None, None]


def _sample(array: FloatMap, points: npt.NDArray[np.float64], shape: npt.NDArray[np.intp]) -> FloatMap:
    values: FloatMap = ndimage.map_coordinates(array, points, output=np.float32, order=1, mode="nearest")
    return values.reshape(shape)


def _rotation(angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn, (i, j) = np.eye(3), [a for a in range(3) if a != axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix
