"""Domain-randomised training volumes: a target of any shape, contrast and resolution among other anatomy.

Made to be drawn on the fly, one after another; the same generator state gives the same case. Nothing here is a
patient, and no organ is imitated: the target is often only one of several things alike, or a part of one, so that mask
and clicks must tell which is meant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg_rl.synthetic.anatomy import Canvas, surroundings
from medseg_rl.synthetic.config import SyntheticConfig
from medseg_rl.synthetic.fields import FloatMap
from medseg_rl.synthetic.scanner import as_stored, draw_look, latent_image, scanned, sliced
from medseg_rl.synthetic.shapes import Mask, Point, smooth_noise, triple
from medseg_rl.synthetic.structures import Space, warped_space
from medseg_rl.synthetic.targets import Target, draw_target, neighbour
from medseg_rl.volume import Spacing

TRIES = 12


@dataclass(frozen=True, eq=False)
class SyntheticCase:
    """`image`: float32 (x, y, z), normalised. `reference`: True inside the target. `spacing`: mm, in array order.

    `name`: modality, kind and what is special, such as "MR organ part twin".
    """

    image: FloatMap
    reference: Mask
    spacing: Spacing
    name: str


@dataclass(frozen=True, eq=False)
class _Frame:
    """The grid of the case is the fine one of `space` with `factor` voxels joined along `axis`."""

    modality: str
    space: Space
    axis: int
    factor: int

    @property
    def spacing(self) -> Spacing:
        a, b, c = (s * self.factor if n == self.axis else s for n, s in enumerate(self.space.spacing))
        return a, b, c


def synthetic_case(config: SyntheticConfig, rng: np.random.Generator) -> SyntheticCase:
    """One case. Its target has at least `least_voxels` and leaves at least 1 - `most_share` of the volume free.

    Raises ValueError where the ranges leave no such target in a dozen tries.
    """
    for _ in range(TRIES):
        frame = _drawn_frame(config, rng)
        kind = _one_of(config.kinds, rng)
        canvas = surroundings(frame.space, rng)
        size = _radius_and_centre(kind, frame, config, rng)
        target = draw_target(kind, canvas, frame.space, size, config, rng)
        if target is None:
            continue
        reference = _contour(target.field, frame, config, rng)
        count = int(np.count_nonzero(reference))
        if config.least_voxels <= count <= config.most_share * reference.size:
            image = _image(canvas, target, frame, config, rng)
            return SyntheticCase(image, reference, frame.spacing, " ".join([frame.modality, *target.words]))
    raise ValueError("no target of the wanted size in these volumes: widen size_mm, voxels or least_voxels")


def _one_of(weighted: tuple[tuple[str, float], ...], rng: np.random.Generator) -> str:
    shares = np.array([share for _, share in weighted], np.float64)
    return weighted[int(rng.choice(len(weighted), p=shares / shares.sum()))][0]


def _drawn_frame(config: SyntheticConfig, rng: np.random.Generator) -> _Frame:
    modality = _one_of(config.modalities, rng)
    low, high = config.pet_mm if modality == "PET" else config.in_plane_mm
    plane = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    axis, slices = int(rng.integers(3)), plane * float(rng.uniform(0.9, 1.1))
    if modality == "PET":
        slices = plane * float(rng.uniform(0.6, 1.2))
    elif rng.random() < config.thick_share:
        slices = max(plane, float(rng.uniform(*config.slice_mm)))
    if modality != "PET" and rng.random() < config.coarse_share:
        coarser = plane * float(rng.uniform(*config.coarsening))
        plane, slices = coarser, max(coarser, slices)
    counts = rng.integers(config.voxels[0], config.voxels[1] + 1, 3)
    factor = int(np.clip(np.ceil(slices / plane / 1.5), 1, max(1, counts[axis] // config.least_slices)))
    counts[axis] -= counts[axis] % factor
    spacing = [plane] * 3
    spacing[axis] = slices / factor
    shape, steps = triple(tuple(int(n) for n in counts)), (spacing[0], spacing[1], spacing[2])
    size = float(max(n * s for n, s in zip(shape, steps, strict=True)))
    space = warped_space(shape, steps, size * float(rng.uniform(0, 0.04)), size * float(rng.uniform(0.25, 0.6)), rng)
    return _Frame(modality, space, axis, factor)


def _radius_and_centre(
    kind: str, frame: _Frame, config: SyntheticConfig, rng: np.random.Generator
) -> tuple[float, Point]:
    """Half the size, small ones as likely as large ones in their logarithm; centres of large ones lie anywhere."""
    extent = frame.space.extent
    across = 3.5 if kind == "nodule" else 5.0
    least = max(config.size_mm[0], across * min(frame.spacing), 1.5 * max(frame.spacing))
    most = max(min(config.size_mm[1], 1.5 * float(extent.max())), 1.2 * least)
    if kind == "nodule":
        most = min(most, max(30.0, 1.5 * least))
    elif kind in ("vessel", "tree", "wall", "folds", "chamber", "cluster"):
        least = min(max(2.5 * least, 0.25 * float(extent.max())), 0.8 * most)
    diameter = float(np.exp(np.log(least) + np.log(most / least) * rng.random() ** 0.65))
    away = 0.5 * np.clip(diameter / extent, 0.5, 1.0)
    return diameter / 2, extent * (0.5 + away * rng.uniform(-1, 1, 3))


def _contour(field: FloatMap, frame: _Frame, config: SyntheticConfig, rng: np.random.Generator) -> Mask:
    """The mask a reader would have drawn: smoothly off the edge at times, slice by slice where slices are thick."""
    reach = np.float32(3 * max(frame.spacing))
    meant = sliced(np.clip(field, -reach, reach), frame.axis, frame.factor)
    if rng.random() < config.reader_share:
        shape, amount = triple(meant.shape), min(config.reader_mm / 2, 0.6 * min(frame.spacing)) * float(rng.random())
        length = max(float(rng.uniform(4, 20)), 3 * min(frame.spacing))
        meant = meant + np.float32(amount) * (
            smooth_noise(shape, frame.spacing, length, rng) + np.float32(rng.normal(0, 0.5))
        )
        if frame.factor > 1:
            sizes = [1, 1, 1]
            sizes[frame.axis] = shape[frame.axis]
            meant = meant + np.float32(amount) * rng.standard_normal(sizes, np.float32)
    inside: Mask = meant <= 0
    return inside


def _image(
    canvas: Canvas, target: Target, frame: _Frame, config: SyntheticConfig, rng: np.random.Generator
) -> FloatMap:
    low, high = np.log(config.hot if frame.modality == "PET" else config.cnr)
    contrast = float(np.exp(rng.uniform(low, high)))
    look = draw_look(frame.modality, canvas, target.label, neighbour(canvas, target), contrast, rng)
    latent = latent_image(canvas, look, frame.space, rng)
    image = scanned(frame.modality, latent, look, frame.space, frame.axis, frame.factor, rng)
    return as_stored(frame.modality, image, look, rng)
