"""Domain-randomised training volumes: a target of any shape, contrast and resolution among other anatomy.

Made to be drawn on the fly, one after another; the same generator state gives the same case. Nothing here is a
patient, and no organ is imitated: the target is often only one of several things alike, or a part of one, so that mask
and clicks must tell which is meant.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from medseg_rl.synthetic.anatomy import Canvas, Tissue, surroundings
from medseg_rl.synthetic.fields import FloatMap
from medseg_rl.synthetic.scanner import as_stored, draw_look, latent_image, scanned, sliced
from medseg_rl.synthetic.shapes import Mask, Point, random_direction, smooth_noise, triple
from medseg_rl.synthetic.structures import (
    STRUCTURES,
    Space,
    beyond_plane,
    near_surface,
    organ,
    shell,
    vessel,
    warped_space,
)
from medseg_rl.volume import Spacing

TRIES = 12
REGION = "region"  # one or more of the surroundings' own labels


@dataclass(frozen=True)
class SyntheticConfig:
    """Ranges that cases are drawn from: lengths in mm, shares of 1.

    `modalities` and `kinds`: relative frequencies. `voxels`: along an axis that is not thick; a thick axis covers a
    like length with fewer. `thick_share` of the CT and MR cases have slices of `slice_mm`. `coarse_share` of them are
    seen at `coarsening` times the spacing, as the coarse level of a large region is. `size_mm`: the target across.
    `cnr`: its contrast to what lies next to it over the noise; `hot`: in PET, times what lies next to it. `part_share`
    of the targets are a part without contrast to the rest, `union_share` are two structures, and `twin_share` have
    others that look the same. `reader_mm`: how far a contour wanders from the edge, at most about.
    """

    modalities: tuple[tuple[str, float], ...] = (("CT", 0.42), ("MR", 0.43), ("PET", 0.15))
    kinds: tuple[tuple[str, float], ...] = (
        ("organ", 0.2),
        ("tumour", 0.18),
        ("nodule", 0.08),
        ("cluster", 0.04),
        ("chamber", 0.1),
        ("wall", 0.07),
        ("folds", 0.03),
        ("vessel", 0.1),
        ("tree", 0.08),
        (REGION, 0.12),
    )
    voxels: tuple[int, int] = (40, 64)
    least_slices: int = 10
    in_plane_mm: tuple[float, float] = (0.6, 1.5)
    slice_mm: tuple[float, float] = (2.0, 8.0)
    pet_mm: tuple[float, float] = (3.0, 5.5)
    thick_share: float = 0.5
    coarse_share: float = 0.3
    coarsening: tuple[float, float] = (1.3, 3.5)
    size_mm: tuple[float, float] = (6.0, 200.0)
    least_voxels: int = 24
    most_share: float = 0.85
    cnr: tuple[float, float] = (0.5, 10.0)
    hot: tuple[float, float] = (2.0, 15.0)
    part_share: float = 0.12
    union_share: float = 0.06
    twin_share: float = 0.25
    reader_share: float = 0.6
    reader_mm: float = 1.5


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


@dataclass(eq=False)
class _Target:
    """`field`: distance in mm to the contour meant, on the fine grid. `label`: the one that the contrast is set for."""

    field: FloatMap
    label: int
    words: list[str]


def synthetic_case(config: SyntheticConfig, rng: np.random.Generator) -> SyntheticCase:
    """One case. Its target has at least `least_voxels` and leaves at least 1 - `most_share` of the volume free.

    Raises ValueError where the ranges leave no such target in a dozen tries.
    """
    for _ in range(TRIES):
        frame = _drawn_frame(config, rng)
        kind = _one_of(config.kinds, rng)
        canvas = surroundings(frame.space, rng)
        target = _region(canvas, frame, rng) if kind == REGION else _structure(kind, canvas, frame, config, rng)
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
    least = max(config.size_mm[0], 5.0 * min(frame.spacing), 2.0 * max(frame.spacing))
    most = max(min(config.size_mm[1], 1.5 * float(extent.max())), 1.2 * least)
    if kind == "nodule":
        most = min(most, max(30.0, 1.5 * least))
    elif kind in ("vessel", "tree", "wall", "folds", "chamber", "cluster"):
        least = min(max(2.5 * least, 0.25 * float(extent.max())), 0.8 * most)
    diameter = float(np.exp(np.log(least) + np.log(most / least) * rng.random() ** 0.65))
    away = 0.5 * np.clip(diameter / extent, 0.5, 1.0)
    return diameter / 2, extent * (0.5 + away * rng.uniform(-1, 1, 3))


def _region(canvas: Canvas, frame: _Frame, rng: np.random.Generator) -> _Target | None:
    """A label of the surroundings, or two, as they are: everything around touches it."""
    counts = np.bincount(canvas.labels.ravel(), minlength=len(canvas.tissues))
    share = counts / canvas.labels.size
    solid = [n for n, t in enumerate(canvas.tissues) if 0.002 < share[n] < 0.7 and t is not Tissue.AIR]
    if not solid:
        return None
    chosen = rng.permutation(solid)[: 2 if rng.random() < 0.2 else 1]
    meant = np.isin(canvas.labels, chosen)
    if len(chosen) == 1 and rng.random() < 0.85:
        meant = _piece(meant, rng)
    field = near_surface(meant, frame.space)
    return _Target(field, int(chosen[0]), [REGION] + ["union"] * (len(chosen) - 1))


def _piece(mask: Mask, rng: np.random.Generator) -> Mask:
    """One connected piece, in proportion to its size: scattered things are seldom meant together."""
    pieces = cc3d.connected_components(mask, connectivity=6)
    voxels = np.flatnonzero(mask)
    piece: Mask = pieces == pieces.ravel()[voxels[int(rng.integers(len(voxels)))]]
    return piece


def _structure(
    kind: str, canvas: Canvas, frame: _Frame, config: SyntheticConfig, rng: np.random.Generator
) -> _Target | None:
    space = frame.space
    radius, centre = _radius_and_centre(kind, frame, config, rng)
    centre = _within_body(centre, canvas, space, rng)
    if kind in ("tumour", "nodule", "cluster", "tree") and rng.random() < 0.5:
        host = organ(space, centre + random_direction(rng) * radius, radius * rng.uniform(1.8, 4), rng)
        canvas.paint(host <= 0, Tissue.SOFT)
    label, words = canvas.add(Tissue.BLOOD if kind in ("vessel", "tree", "chamber") else Tissue.SOFT), [kind]
    if rng.random() < config.twin_share:
        _twins(kind, canvas, space, (label, centre, radius), rng)
        words.append("twin")
    field = _drawn(kind, canvas, space, centre, radius, rng)
    whole = field <= 0
    if not whole.any():
        return None
    canvas.labels[whole] = label
    field, more = _interior(kind, canvas, space, field, (label, radius), rng)
    words += more
    if rng.random() < config.union_share:
        field = np.minimum(field, _second(canvas, space, (label, centre, radius), rng))
        words.append("union")
    elif rng.random() < config.part_share:
        voxels = np.argwhere(whole)
        through = voxels[int(rng.integers(len(voxels)))] * np.asarray(space.spacing)
        field = np.maximum(field, beyond_plane(space, through, rng))
        words.append("part")
    if canvas.body is not None:
        outside = canvas.body > 0
        canvas.labels[outside] = _air(canvas)
        field = np.maximum(field, canvas.body)
    return _Target(field, label, words)


def _air(canvas: Canvas) -> int:
    return canvas.tissues.index(Tissue.AIR)


def _within_body(centre: Point, canvas: Canvas, space: Space, rng: np.random.Generator) -> Point:
    """`centre`, or a place under the skin where that is none."""
    if canvas.body is None:
        return centre
    index = tuple(np.clip(np.rint(centre / space.spacing).astype(int), 0, np.asarray(space.shape) - 1))
    inside = np.flatnonzero(canvas.body < 0)
    if canvas.body[index] < 0 or not len(inside):
        return centre
    place = np.unravel_index(inside[int(rng.integers(len(inside)))], space.shape)
    inner: Point = np.asarray(place, np.float64) * np.asarray(space.spacing)
    return inner


def _drawn(kind: str, canvas: Canvas, space: Space, centre: Point, radius: float, rng: np.random.Generator) -> FloatMap:
    """The target's field. What a wall encloses is filled, mostly; a coat of another tissue lies round some targets."""
    if kind == "wall":
        base = organ(space, centre, radius, rng)
        if rng.random() < 0.8:
            canvas.paint(base <= 0, (Tissue.FLUID, Tissue.BLOOD, Tissue.SOFT)[int(rng.integers(3))])
        return shell(space, base, centre, radius, rng)
    field = STRUCTURES[kind](space, centre, radius, rng)
    if kind != "folds" and rng.random() < 0.2:
        thickness = max(1.3 * min(space.spacing), radius * float(rng.uniform(0.03, 0.3)))
        canvas.paint(field <= thickness, (Tissue.SOFT, Tissue.FAT, Tissue.FLUID)[int(rng.integers(3))])
    return field


def _twins(kind: str, canvas: Canvas, space: Space, target: tuple[int, Point, float], rng: np.random.Generator) -> None:
    """One to three structures that look like the target: apart, touching it, or running into it."""
    label, centre, radius = target
    for _ in range(int(rng.integers(1, 4))):
        size = radius * float(rng.uniform(0.5, 1.2))
        place = centre + random_direction(rng) * (radius + size) * float(rng.uniform(0.7, 1.5))
        draw = vessel if rng.random() < 0.25 else STRUCTURES[kind]
        twin = canvas.paint(draw(space, place, size, rng) <= 0, Tissue.SOFT)
        canvas.alike[twin] = (label, float(rng.choice((1.0, 1.0, 0.9, 0.75))))


def _interior(
    kind: str, canvas: Canvas, space: Space, field: FloatMap, target: tuple[int, float], rng: np.random.Generator
) -> tuple[FloatMap, list[str]]:
    """Core, rim, patches or lesions inside. The field of what is meant, and words for it: mostly all, now and then the
    core alone, the rest alone, or what lies under the rim.
    """
    label, radius = target
    depth, words = max(-float(field.min()), 1e-3), []
    if kind == "tumour" and rng.random() < 0.35:
        patches = space.noise(max(depth, 2 * min(space.spacing)) * rng.uniform(0.3, 0.8), rng) > rng.uniform(-0.3, 1)
        canvas.alike[canvas.paint((field <= 0) & patches, Tissue.SOFT)] = (label, float(rng.uniform(0.3, 0.95)))
    if kind in ("tumour", "organ") and rng.random() < (0.5 if kind == "tumour" else 0.15):
        inner = field + np.float32(depth * rng.uniform(0.25, 0.7))
        inner = inner + np.float32(0.2 * depth) * space.noise(0.6 * radius, rng)
        core = canvas.paint(inner <= 0, (Tissue.FLUID, Tissue.SOFT)[int(rng.integers(2))])
        canvas.alike[core] = (label, float(rng.uniform(0, 0.8)))
        meant = rng.random()
        if meant < 0.15 and (inner <= 0).any():
            return inner, ["core"]
        if meant < 0.25:
            field, words = np.maximum(field, -inner), ["ring"]
    if kind in ("organ", "tumour", "chamber") and rng.random() < 0.2:
        thickness = max(1.2 * min(space.spacing), radius * rng.uniform(0.03, 0.12))
        rim = canvas.paint((field <= 0) & (field > -thickness), Tissue.SOFT)
        canvas.alike[rim] = (label, float(rng.uniform(0, 0.9)))
        if rng.random() < 0.3:
            return field + np.float32(thickness), words
    if kind == "organ" and rng.random() < 0.25:
        field = _with_lesions(canvas, space, field, target, rng)
    return field, words


def _with_lesions(
    canvas: Canvas, space: Space, field: FloatMap, target: tuple[int, float], rng: np.random.Generator
) -> FloatMap:
    label, radius = target
    voxels = np.flatnonzero(field <= 0)
    for _ in range(int(rng.integers(1, 4)) if len(voxels) else 0):
        index = np.unravel_index(voxels[int(rng.integers(len(voxels)))], field.shape)
        place = np.asarray(index) * np.asarray(space.spacing)
        draw = STRUCTURES[("tumour", "nodule", "vessel")[int(rng.integers(3))]]
        inner = draw(space, place, radius * float(rng.uniform(0.1, 0.4)), rng)
        lesion = canvas.paint((inner <= 0) & (field <= 0), Tissue.SOFT)
        canvas.alike[lesion] = (label, float(rng.uniform(0, 0.9)))
        if rng.random() < 0.3:
            field = np.maximum(field, -inner)
    return field


def _second(canvas: Canvas, space: Space, target: tuple[int, Point, float], rng: np.random.Generator) -> FloatMap:
    """Another structure that is meant as well, next to the first."""
    label, centre, radius = target
    names = ("organ", "tumour", "nodule", "vessel", "chamber")
    place = centre + random_direction(rng) * radius * float(rng.uniform(0.6, 1.6))
    field = STRUCTURES[names[int(rng.integers(len(names)))]](space, place, radius * float(rng.uniform(0.4, 1)), rng)
    canvas.alike[canvas.paint(field <= 0, Tissue.SOFT)] = (label, float(rng.choice((0.0, 0.5, 1.0))))
    return field


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
    canvas: Canvas, target: _Target, frame: _Frame, config: SyntheticConfig, rng: np.random.Generator
) -> FloatMap:
    low, high = np.log(config.hot if frame.modality == "PET" else config.cnr)
    contrast = float(np.exp(rng.uniform(low, high)))
    look = draw_look(frame.modality, canvas, target.label, _neighbour(canvas, target), contrast, rng)
    latent = latent_image(canvas, look, frame.space, rng)
    image = scanned(frame.modality, latent, look, frame.space, frame.axis, frame.factor, rng)
    return as_stored(frame.modality, image, look, rng)


def _neighbour(canvas: Canvas, target: _Target) -> int:
    """The label that most of the outside next to the target has, looked for among those that do not copy it."""
    near = canvas.labels[target.field > 0]
    close = canvas.labels[_next_to(target.field <= 0)]
    for labels in (close, near):
        counts = np.bincount(labels, minlength=len(canvas.tissues))
        counts[[target.label, *canvas.alike]] = 0
        if counts.any():
            return int(counts.argmax())
    return target.label


def _next_to(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Outside the mask, up to two voxels from it along the axes."""
    grown = mask
    for _ in range(2):
        before, grown = grown, grown.copy()
        for axis in range(3):
            lower, upper = [slice(None)] * 3, [slice(None)] * 3
            lower[axis], upper[axis] = slice(None, -1), slice(1, None)
            grown[tuple(upper)] |= before[tuple(lower)]
            grown[tuple(lower)] |= before[tuple(upper)]
    return grown & ~mask
