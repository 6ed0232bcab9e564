"""What is meant in a drawn volume, painted among its surroundings: a structure with its interior, part of one, several.

The target is painted last, so it is never hidden; lookalikes, coats and hosts come before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from medseg_rl.synthetic.anatomy import Canvas, Tissue
from medseg_rl.synthetic.config import REGION, SyntheticConfig
from medseg_rl.synthetic.fields import FloatMap
from medseg_rl.synthetic.shapes import Mask, Point, random_direction
from medseg_rl.synthetic.structures import STRUCTURES, Space, beyond_plane, near_surface, organ, shell, vessel


@dataclass(eq=False)
class Target:
    """`field`: distance in mm to the contour meant, on the fine grid. `label`: the one that the contrast is set for."""

    field: FloatMap
    label: int
    words: list[str]


def draw_target(
    kind: str,
    canvas: Canvas,
    space: Space,
    size: tuple[float, Point],
    config: SyntheticConfig,
    rng: np.random.Generator,
) -> Target | None:
    """Paints a target of that kind; None where it would be empty. `size`: half the length in mm, and the centre.

    A region is as large as it is.
    """
    if kind == REGION:
        return _region(canvas, space, rng)
    return _structure(kind, canvas, space, size, config, rng)


def neighbour(canvas: Canvas, target: Target) -> int:
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


def _region(canvas: Canvas, space: Space, rng: np.random.Generator) -> Target | None:
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
    field = near_surface(meant, space)
    return Target(field, int(chosen[0]), [REGION] + ["union"] * (len(chosen) - 1))


def _piece(mask: Mask, rng: np.random.Generator) -> Mask:
    """One connected piece, in proportion to its size: scattered things are seldom meant together."""
    pieces = cc3d.connected_components(mask, connectivity=6)
    voxels = np.flatnonzero(mask)
    piece: Mask = pieces == pieces.ravel()[voxels[int(rng.integers(len(voxels)))]]
    return piece


def _structure(
    kind: str,
    canvas: Canvas,
    space: Space,
    size: tuple[float, Point],
    config: SyntheticConfig,
    rng: np.random.Generator,
) -> Target | None:
    radius, centre = size
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
    return Target(field, label, words)


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
