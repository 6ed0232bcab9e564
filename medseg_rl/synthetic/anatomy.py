"""What surrounds a target: label maps with the look of packed organs, parenchyma, bone, gas, vessels and skin.

Labels say where a tissue is, not how bright it is: that is the scanner's part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from medseg_rl.synthetic.fields import FloatMap, Labels, cell_fields, tube_field
from medseg_rl.synthetic.shapes import Mask, random_direction
from medseg_rl.synthetic.structures import Space, organ, solid, tree, vessel


class Tissue(StrEnum):
    """What a label is made of; a scanner gives each its brightness."""

    AIR = "air"
    LUNG = "lung"
    FAT = "fat"
    FLUID = "fluid"
    SOFT = "soft"
    BLOOD = "blood"
    BONE = "bone"
    MARROW = "marrow"


@dataclass(eq=False)
class Canvas:
    """A label map being painted: later structures cover earlier ones. `tissues`: one for each label.

    `alike`: for a label that looks as another does, that one and the likeness, 0..1. `body`: mm from the skin, negative
    inside; None where the grid lies within the body.
    """

    labels: Labels
    tissues: list[Tissue] = field(default_factory=list)
    alike: dict[int, tuple[int, float]] = field(default_factory=dict)
    body: FloatMap | None = None

    def paint(self, where: Mask, tissue: Tissue) -> int:
        """A new label where the mask says so; its number. At most 255 labels."""
        number = self.add(tissue)
        self.labels[where] = number
        return number

    def add(self, tissue: Tissue) -> int:
        """A new label that is nowhere yet."""
        self.tissues.append(tissue)
        return len(self.tissues) - 1


def surroundings(space: Space, rng: np.random.Generator) -> Canvas:
    """Parenchyma, cells, bands or patches; then vessels, bones, lung and the outside of the body, each at times."""
    form = rng.random()
    canvas = Canvas(np.zeros(space.shape, np.uint8))
    if form < 0.48:
        _cells(canvas, space, rng)
    elif form < 0.62:
        _bands(canvas, space, rng)
    elif form < 0.82:
        _patches(canvas, space, rng)
    else:
        canvas.add(_flesh(rng))
    size = float(np.max(space.extent))
    for _ in range(int(rng.integers(0, 6))):
        place = rng.uniform(-0.1, 1.1, 3) * space.extent
        canvas.paint(organ(space, place, size * rng.uniform(0.08, 0.35), rng) <= 0, _flesh(rng))
    if rng.random() < 0.35:
        _fasciae(canvas, space, rng)
    if rng.random() < 0.3:
        _lobules(canvas, space, rng)
    if rng.random() < 0.45:
        _vessels(canvas, space, rng)
    if rng.random() < 0.3:
        _bones(canvas, space, rng)
    if rng.random() < 0.12:
        _lung(canvas, space, rng)
    if rng.random() < 0.35:
        _outside(canvas, space, rng)
    return canvas


def _flesh(rng: np.random.Generator) -> Tissue:
    tissues = (Tissue.SOFT, Tissue.FAT, Tissue.FLUID, Tissue.BLOOD, Tissue.LUNG, Tissue.MARROW)
    return tissues[int(rng.choice(len(tissues), p=(0.62, 0.16, 0.08, 0.08, 0.03, 0.03)))]


def _cells(canvas: Canvas, space: Space, rng: np.random.Generator) -> None:
    """Packed organs of different sizes, now and then with fat between them."""
    count = int(rng.integers(4, 26))
    seeds = rng.uniform(-0.15, 1.15, (count, 3)) * space.extent
    labels, walls = cell_fields(space.positions, seeds, np.exp(rng.normal(0, 0.25, count)))
    canvas.labels[:] = labels
    for _ in range(count):
        canvas.add(_flesh(rng))
    if rng.random() < 0.5:
        width = np.float32(rng.uniform(0.4, 1.5) * min(space.spacing) * 1.5)
        canvas.paint(walls * (1 + 0.5 * space.noise(15.0, rng)) < width, Tissue.FAT)


def _bands(canvas: Canvas, space: Space, rng: np.random.Generator) -> None:
    """Level sets of smooth noise: layers one inside the other."""
    noise = space.noise(float(np.max(space.extent)) * rng.uniform(0.15, 0.5), rng)
    levels = np.sort(rng.uniform(-1.6, 1.6, int(rng.integers(2, 8))))
    canvas.labels[:] = np.searchsorted(levels, noise).astype(np.uint8)
    for _ in range(len(levels) + 1):
        canvas.add(_flesh(rng))


def _patches(canvas: Canvas, space: Space, rng: np.random.Generator) -> None:
    """Which of some noise fields is highest: regions of ragged outline."""
    length = float(np.max(space.extent)) * rng.uniform(0.1, 0.35)
    best = space.noise(length, rng)
    canvas.add(_flesh(rng))
    for _ in range(int(rng.integers(2, 5))):
        other = space.noise(length, rng)
        canvas.paint(other > best, _flesh(rng))
        best = np.maximum(best, other)


def _fasciae(canvas: Canvas, space: Space, rng: np.random.Generator) -> None:
    """Thin curved sheets, a voxel or two thick: fat between muscles, capsules, septa."""
    size = float(np.max(space.extent))
    for _ in range(int(rng.integers(1, 3))):
        length = size * rng.uniform(0.12, 0.4)
        sheet = np.abs(space.noise(length, rng) - np.float32(rng.normal(0, 0.5)))
        width = min(rng.uniform(0.4, 1.2) * min(space.spacing) * 1.6 / length, 0.3)
        canvas.paint(sheet < width, Tissue.FAT if rng.random() < 0.6 else Tissue.SOFT)


def _lobules(canvas: Canvas, space: Space, rng: np.random.Generator) -> None:
    """Small patches of another tissue scattered within a region, as fat in muscle or gut in fat."""
    size = float(np.max(space.extent))
    small = space.noise(min(space.spacing) * rng.uniform(2, 5), rng) > rng.uniform(0.3, 1.5)
    where = space.noise(size * rng.uniform(0.2, 0.5), rng) > rng.uniform(-0.5, 0.8)
    canvas.paint(small & where, _flesh(rng))


def _vessels(canvas: Canvas, space: Space, rng: np.random.Generator) -> None:
    size = float(np.max(space.extent))
    for _ in range(int(rng.integers(1, 4))):
        draw = tree if rng.random() < 0.5 else vessel
        place = rng.uniform(0, 1, 3) * space.extent
        canvas.paint(draw(space, place, size * rng.uniform(0.15, 0.4), rng) <= 0, Tissue.BLOOD)


def _bones(canvas: Canvas, space: Space, rng: np.random.Generator) -> None:
    """A bone with a dense shell, or a row of ribs."""
    size = float(np.max(space.extent))
    if rng.random() < 0.4:
        distance = _ribs(space, size, rng)
    else:
        place = rng.uniform(-0.1, 1.1, 3) * space.extent
        draw = vessel if rng.random() < 0.4 else organ
        distance = draw(space, place, size * rng.uniform(0.1, 0.35), rng)
    canvas.paint(distance <= 0, Tissue.BONE)
    shell = max(1.2 * min(space.spacing), rng.uniform(1.5, 4.0))
    canvas.paint(distance <= -shell, Tissue.MARROW)


def _ribs(space: Space, size: float, rng: np.random.Generator) -> FloatMap:
    way, across = random_direction(rng), random_direction(rng)
    start, gap = rng.uniform(0, 1, 3) * space.extent, rng.uniform(0.12, 0.3) * size
    thickness = rng.uniform(0.2, 0.35) * gap
    bars = [
        (*(start + n * gap * across - way * size), *(start + n * gap * across + way * size), thickness, thickness)
        for n in range(-4, 5)
    ]
    return tube_field(space.shape, np.asarray(space.spacing), np.asarray(bars), 2.0 * thickness)


def _lung(canvas: Canvas, space: Space, rng: np.random.Generator) -> None:
    size = float(np.max(space.extent))
    inside = solid(space, rng.uniform(-0.2, 1.2, 3) * space.extent, size * rng.uniform(0.3, 0.7, 3), rng) <= 0
    canvas.paint(inside, Tissue.LUNG)
    twigs = tree(space, rng.uniform(0, 1, 3) * space.extent, size * rng.uniform(0.2, 0.5), rng) <= 0
    canvas.paint(inside & twigs, Tissue.BLOOD)


def _outside(canvas: Canvas, space: Space, rng: np.random.Generator) -> None:
    """Air beyond the skin, a layer of fat under it."""
    size = float(np.max(space.extent))
    centre = space.extent / 2 + random_direction(rng) * size * rng.uniform(0.4, 1.4)
    distance = solid(space, centre, size * rng.uniform(0.9, 1.6, 3), rng)
    canvas.paint(distance > -rng.uniform(0.02, 0.15) * size, Tissue.FAT)
    canvas.paint(distance > -max(1.0, min(space.spacing)), Tissue.SOFT)
    canvas.paint(distance > 0, Tissue.AIR)
    canvas.body = distance
