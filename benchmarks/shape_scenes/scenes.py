"""Draws scenes with everything known about them: boxes, classes, colours, captions. Learns nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SIZE, CELLS, MOST = 32, 8, 4
CELL = SIZE // CELLS
KINDS = ("circle", "square", "triangle")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
HUES = np.array(
    [(0.9, 0.1, 0.1), (0.1, 0.7, 0.2), (0.15, 0.25, 0.9), (0.85, 0.8, 0.1), (0.6, 0.1, 0.7), (0.95, 0.5, 0.05)]
)
USUAL = 0.5  # share of shapes of a kind that have its usual colour: circles red, squares green, triangles blue
MUTED = 0.6  # share of scenes painted in washed-out colours
WORDS = ("<pad>", "<start>", "<end>", "a", "and", ",", "there", "is", "next", "to", *COLOURS, *KINDS)
PAD, START, END = range(3)
LONGEST = 22  # tokens of a caption, with its end


class Scenes(NamedTuple):
    """A batch. `image` (n, 3, y, x) and `grey` (n, 1, y, x) in 0..1; `boxes` (n, 4, 4): x0 y0 x1 y1 in pixels;
    `kinds`, `colours` (n, 4): -1 where there is no shape; `captions` (n, 3, LONGEST): tokens; `palette` (n, 8, 8):
    the colour of each cell, see `task_colours`.
    """

    image: Tensor
    grey: Tensor
    boxes: Tensor
    kinds: Tensor
    colours: Tensor
    captions: Tensor
    palette: Tensor

    def rows(self, index: Tensor) -> Scenes:
        """Some of them."""
        return Scenes(*(tensor[index] for tensor in self))

    def __len__(self) -> int:
        return int(self.image.shape[0])


def draw_scenes(count: int, *, seed: int) -> Scenes:
    """`count` scenes of 1..4 shapes, each centred in a quarter of its own."""
    rng = np.random.default_rng(seed)
    made = [_scene(rng) for _ in range(count)]
    return Scenes(*(torch.from_numpy(np.stack(parts)) for parts in zip(*made, strict=True)))


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    muted = rng.random() < MUTED
    image = np.full((SIZE, SIZE, 3), 0.5) + rng.normal(0, 0.02, (SIZE, SIZE, 1))
    palette = np.zeros((SIZE, SIZE), np.int64)
    boxes, kinds, colours = np.zeros((MOST, 4), np.float32), np.full(MOST, -1), np.full(MOST, -1)
    quarters = sorted(rng.permutation(4)[: rng.integers(1, MOST + 1)], key=lambda q: (q % 2, q // 2))
    for k, quarter in enumerate(quarters):
        half = float(rng.uniform(3.0, 6.5))
        centre = np.array([8 + 16 * (quarter % 2), 8 + 16 * (quarter // 2)]) + rng.uniform(-1.4, 1.4, 2)
        kind = int(rng.integers(len(KINDS)))
        colour = kind if rng.random() < USUAL else int(rng.integers(len(COLOURS)))
        inside = _inside(kind, x - centre[0], y - centre[1], half)
        strength = 0.35 if muted else 1.0
        shade = 0.5 + strength * (HUES[colour] - HUES[colour].mean()) + 0.2
        image[inside] = np.clip(shade + rng.normal(0, 0.02, 3), 0, 1)
        palette[inside] = 1 + colour + (0 if muted else len(COLOURS))
        boxes[k] = [*(centre - half), *(centre + half)]
        kinds[k], colours[k] = kind, colour
    grey = image.mean(-1)
    captions = np.stack([_caption(k, kinds, colours) for k in range(3)])
    cells = palette.reshape(CELLS, CELL, CELLS, CELL).transpose(0, 2, 1, 3).reshape(CELLS, CELLS, -1)
    usual = np.array([[np.bincount(cell, minlength=13).argmax() for cell in row] for row in cells])
    channels_first = np.moveaxis(image, -1, 0).astype(np.float32)
    return channels_first, grey[None].astype(np.float32), boxes, kinds, colours, captions, usual


def _inside(kind: int, x: np.ndarray, y: np.ndarray, half: float) -> np.ndarray:
    if KINDS[kind] == "circle":
        return np.asarray(x**2 + y**2 < half**2)
    if KINDS[kind] == "square":
        return np.asarray((abs(x) < half) & (abs(y) < half))
    return np.asarray((abs(x) < (y + half) / 2) & (abs(y) < half))


def _caption(template: int, kinds: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """One of three ways to name the shapes, column by column."""
    named = [(COLOURS[c], KINDS[k]) for c, k in zip(colours, kinds, strict=True) if k >= 0]
    if template == 2:
        words = [w for c, k in named for w in (c, k, ",")][:-1]
    else:
        between = ["and"] if template == 0 else ["next", "to"]
        words = ["there", "is"] if template == 1 else []
        for number, (c, k) in enumerate(named):
            words += [*(between if number else []), "a", c, k]
    tokens = [WORDS.index(word) for word in words] + [END]
    return np.array(tokens + [PAD] * (LONGEST - len(tokens)))
