"""What an agent for any structure is trained on: labelled cases of several sets, at several resolutions, from any side,
and synthetic volumes. Every case is a pure function of its number, so that a killed run sees the same ones again.

Lengths are in units of the voxel (`relative_spacing`): a lesion on fine voxels and an organ on coarse are one task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
import numpy.typing as npt

from medseg_rl.dataset import Case, Dataset, Target
from medseg_rl.preprocessing import coarse_level, from_level, normalise_intensity, relative_spacing, to_level
from medseg_rl.refiner import HIGHEST, LOWEST, Percent
from medseg_rl.synthetic import SyntheticConfig, plausible_start, synthetic_case
from medseg_rl.training_scenes import TrainingCase, softened
from medseg_rl.volume import AxisOrder, Box, Spacing

Mask = npt.NDArray[np.bool_]
FloatMap = npt.NDArray[np.float32]

UNENDING = 2**48  # numbers that a case may have


@dataclass(frozen=True)
class MixtureConfig:
    """`synthetic_share` of the cases are drawn volumes. Of a labelled one `coarsenings` says how much larger than its
    own the voxels may be (each axis alike, in the mean), where `least_voxels` of the object remain. `crop_voxels` on a
    side are cut out around a voxel of the object, one of its surface in a `surface_share`. `softness`: as in
    `SceneConfig.softness_mm`, in voxels. A `blurred_share` of the starts is the reference as a level `blur` times as
    coarse leaves it. `inverted_share`: dark becomes bright. `gamma`: the largest exponent.
    """

    synthetic_share: float = 0.5
    coarsenings: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 4.0)
    least_voxels: int = 40
    crop_voxels: int = 44
    surface_share: float = 0.5
    softness: tuple[float, float] = (0.3, 1.5)
    blurred_share: float = 0.2
    blur: tuple[float, float] = (1.5, 4.0)
    inverted_share: float = 0.1
    gamma: float = 1.3
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)


@dataclass(frozen=True, eq=False)
class LabelledVolume:
    """One target of one case at its resolutions, in nearest-RAS+ order. `spacings` in mm, one for each level."""

    id: str
    images: tuple[FloatMap, ...]
    references: tuple[Mask, ...]
    spacings: tuple[Spacing, ...]


class Mixture(Sequence[TrainingCase]):
    """An unending sequence of training cases: set, target, volume, level, place, side and start drawn by the number.

    `sets`: labelled volumes by set and target; each set is as likely as any other, and so is each target of a set.
    Without any all cases are synthetic.
    """

    def __init__(self, sets: Sequence[Sequence[Sequence[LabelledVolume]]], config: MixtureConfig, seed: int) -> None:
        self._sets, self._config, self._seed = sets, config, seed

    def __len__(self) -> int:
        return UNENDING

    @overload
    def __getitem__(self, number: int) -> TrainingCase: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[TrainingCase]: ...
    def __getitem__(self, number: int | slice) -> TrainingCase | Sequence[TrainingCase]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(UNENDING))]
        rng = np.random.default_rng([self._seed, number])
        if not self._sets or rng.random() < self._config.synthetic_share:
            drawn = synthetic_case(self._config.synthetic, rng)
            case = drawn.name, drawn.image, drawn.reference, drawn.spacing
        else:
            case = self._labelled(rng)
        return self._case(*case, rng)

    def __iter__(self) -> Iterator[TrainingCase]:
        raise TypeError("a mixture has no end; take cases by their number")

    def _labelled(self, rng: np.random.Generator) -> tuple[str, FloatMap, Mask, Spacing]:
        targets = self._sets[int(rng.integers(len(self._sets)))]
        volumes = targets[int(rng.integers(len(targets)))]
        volume = volumes[int(rng.integers(len(volumes)))]
        level = int(rng.integers(len(volume.images)))
        reference = volume.references[level]
        crop = _crop(reference, self._config, rng).slices
        image = _other_contrast(volume.images[level][crop], self._config, rng)
        return volume.id, image, reference[crop], volume.spacings[level]

    def _case(
        self, name: str, image: FloatMap, reference: Mask, spacing: Spacing, rng: np.random.Generator
    ) -> TrainingCase:
        units, config = relative_spacing(spacing), self._config
        if rng.random() < config.blurred_share:
            start = _from_coarse(reference, units, rng.uniform(*config.blur))
        else:
            start = softened(plausible_start(reference, image, units, rng), units, rng.uniform(*config.softness))
        return _from_any_side(TrainingCase(name, image, reference, start, units), rng)


def labelled_volumes(
    dataset: Dataset, split: str, target: Target, config: MixtureConfig, progress: Callable[[int, int], None]
) -> list[LabelledVolume]:
    """The cases of a split at all their resolutions. Raises what reading a case raises."""
    volumes = []
    cases = dataset.cases(split, target)
    for done, case in enumerate(cases, 1):
        volumes.append(_levels(case, target, config))
        progress(done, len(cases))
    return volumes


def _levels(case: Case, target: Target, config: MixtureConfig) -> LabelledVolume:
    volume, reference = case.load(target)
    order = AxisOrder.of(volume.affine)
    image = np.ascontiguousarray(order.apply(normalise_intensity(volume.array, volume.modality)))
    mask, spacing = np.ascontiguousarray(order.apply(reference)), order.apply_spacing(volume.spacing)
    shape = (image.shape[0], image.shape[1], image.shape[2])
    images, references, spacings = [image], [mask], [spacing]
    for factor in config.coarsenings:
        level = coarse_level(shape, spacing, cap_voxels=max(1, int(image.size / factor**3)))
        if level is None:
            continue
        coarse = to_level(level, mask) > 0.5
        if np.count_nonzero(coarse) >= config.least_voxels:
            images.append(to_level(level, image))
            references.append(coarse)
            spacings.append(level.spacing)
    return LabelledVolume(case.id, tuple(images), tuple(references), tuple(spacings))


def _crop(reference: Mask, config: MixtureConfig, rng: np.random.Generator) -> Box:
    """Around a random voxel of the object, or of its surface; anywhere in the crop, not in the middle alone."""
    where = _surface(reference) if rng.random() < config.surface_share else reference
    voxels = np.flatnonzero(where)
    aim = np.unravel_index(voxels[int(rng.integers(len(voxels)))], reference.shape)
    start, stop = [], []
    for centre, size in zip(aim, reference.shape, strict=True):
        side = min(size, config.crop_voxels)
        corner = int(centre) - side // 2 + int(rng.integers(-side // 4, side // 4 + 1))
        start.append(min(max(0, corner), size - side))
        stop.append(start[-1] + side)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _surface(mask: Mask) -> Mask:
    """Voxels of the mask with a neighbour along an axis outside it; all of it where there is none."""
    inner = mask.copy()
    for axis in range(3):
        lower, upper = [slice(None)] * 3, [slice(None)] * 3
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        inner[tuple(lower)] &= mask[tuple(upper)]
        inner[tuple(upper)] &= mask[tuple(lower)]
    surface: Mask = mask & ~inner
    return surface if surface.any() else mask


def _from_coarse(reference: Mask, spacing: Spacing, factor: float) -> Percent:
    """The reference averaged over voxels that are `factor` times as large, and interpolated back."""
    shape = (reference.shape[0], reference.shape[1], reference.shape[2])
    level = coarse_level(shape, spacing, cap_voxels=max(1, int(reference.size / factor**3)))
    share = reference.astype(np.float32) if level is None else from_level(level, to_level(level, reference))
    state: Percent = np.clip(np.rint(100 * share), LOWEST, HIGHEST).astype(np.uint8)
    return state


def _other_contrast(image: FloatMap, config: MixtureConfig, rng: np.random.Generator) -> FloatMap:
    """A power of the brightness between the extremes of the crop, now and then inverted."""
    low, high = float(image.min()), float(image.max())
    if not high > low:
        return image
    brightness = (image - low) / (high - low)
    if rng.random() < config.inverted_share:
        brightness = 1 - brightness
    exponent = config.gamma ** rng.uniform(-1, 1)
    changed: FloatMap = (low + (high - low) * brightness**exponent).astype(np.float32)
    return changed


def _from_any_side(case: TrainingCase, rng: np.random.Generator) -> TrainingCase:
    """Axes in any order, each mirrored half the time: such an agent must not know how a body lies."""
    axes = rng.permutation(3)
    mirrored = tuple(int(axis) for axis in range(3) if rng.random() < 0.5)

    def turned(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return np.ascontiguousarray(np.flip(array.transpose(axes), mirrored))

    a, b, c = (case.spacing[axis] for axis in axes)
    image, reference, start = (turned(array) for array in (case.image, case.reference, case.start))  # type: ignore[arg-type]
    return TrainingCase(case.id, image, reference, start, (a, b, c))  # type: ignore[arg-type]
