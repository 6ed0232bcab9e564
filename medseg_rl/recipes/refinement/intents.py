"""What commands ask of a mask, by the exact edits, and masks in the want of one: the tasks of learning to obey.

A command's target is what the library's own editing makes of the mask, in millimetres, whatever the image shows: grow
means grow, even where it does harm. Knows no policy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.editing.grid import Grid
from medseg_rl.editing.islands import filled_holes, largest_island
from medseg_rl.editing.smoothing import grown, median, shrunk
from medseg_rl.refiner import COMMANDS, HIGHEST, LOWEST, MASK_THRESHOLD, Percent
from medseg_rl.volume import Spacing

Mask = npt.NDArray[np.bool_]
ASKED = COMMANDS[1:6]  # grow, shrink, smooth, fill holes, remove islands
MARGIN_MM = 1.0  # by which to grow and to shrink
SMOOTH_MM = 2.0  # radius of the median
ROUGHNESS = 0.35  # share of the voxels at the surface that change sides
HOLE_MM = (1.0, 2.0)  # radii of balls
ISLAND_MM = (1.0, 2.2)
APART_MM = 2.0  # between an island and the mask
SOFTNESS_MM = (0.3, 1.0)  # how fast a state grows sure of itself away from the surface


def target_of(command: str, mask: Mask, spacing: Spacing) -> Mask:
    """What the command asks for; the mask itself where it asks for nothing that is not so already."""
    grid = grid_of(mask, spacing)
    if command == "grow":
        return grown(mask, grid, _margin(spacing))
    if command == "shrink":
        return shrunk(mask, grid, _margin(spacing))
    if command == "smooth":
        return median(mask, grid, max(SMOOTH_MM, _margin(spacing)))
    if command == "fill_holes":
        return filled_holes(mask)
    if command == "remove_islands":
        return largest_island(mask, grid.order)
    raise ValueError(f"no edit says what {command!r} asks for")


def most_harmful(mask: Mask, wanted: Mask, spacing: Spacing) -> str:
    """The command whose target is least like the wanted mask: what an adversary gives. The first of equals."""
    return min(ASKED, key=lambda command: overlap(target_of(command, mask, spacing), wanted))


def overlap(one: Mask, other: Mask) -> float:
    """Dice; 1 where both are empty, since a command may ask for nothing to be left."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def clean(reference: Mask, spacing: Spacing) -> Mask:
    """One piece without holes: what is wanted of every damaged mask, so that each damage has one remedy."""
    return filled_holes(largest_island(reference, grid_of(reference, spacing).order))


def damaged(wanted: Mask, spacing: Spacing, remedy: str, rng: np.random.Generator) -> Mask:
    """The wanted mask in the want of `remedy`. Exact for holes and islands, nearly so for the others."""
    return _DAMAGES[remedy](wanted, spacing, rng)


def soft_state(mask: Mask, spacing: Spacing, rng: np.random.Generator) -> Percent:
    """Hundredths that have this mask, unsure at its surface as an automatic start is."""
    inside = ndimage.distance_transform_edt(mask, sampling=spacing) if mask.any() else np.zeros(mask.shape)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing) if not mask.all() else np.zeros(mask.shape)
    certainty = np.tanh((inside - outside) / rng.uniform(*SOFTNESS_MM) / 2)
    percent: Percent = np.clip(np.rint(50 + 49 * certainty), LOWEST, HIGHEST).astype(np.uint8)
    percent[mask] = np.maximum(percent[mask], MASK_THRESHOLD + 1)
    percent[~mask] = np.minimum(percent[~mask], MASK_THRESHOLD)
    return percent


def grid_of(mask: Mask, spacing: Spacing) -> Grid:
    """A grid along the axes of the world."""
    a, b, c = mask.shape
    return Grid(np.diag((*spacing, 1.0)), (a, b, c))


def _margin(spacing: Spacing) -> float:
    return max(MARGIN_MM, *spacing)


def _grow_wanted(wanted: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    return shrunk(wanted, grid_of(wanted, spacing), _margin(spacing))


def _shrink_wanted(wanted: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    return grown(wanted, grid_of(wanted, spacing), _margin(spacing))


def _smooth_wanted(wanted: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    grid = grid_of(wanted, spacing)
    surface = grown(wanted, grid, _margin(spacing)) & ~shrunk(wanted, grid, _margin(spacing))
    return clean(wanted ^ (surface & (rng.random(wanted.shape) < ROUGHNESS)), spacing)


def _filling_wanted(wanted: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    depth = ndimage.distance_transform_edt(np.pad(wanted, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    found = wanted.copy()
    for _ in range(int(rng.integers(1, 4))):
        radius = rng.uniform(*HOLE_MM)
        places = np.argwhere(depth > radius + max(spacing))
        if not len(places):  # too thin for it: the smallest hole there is
            radius, places = 0.0, np.argwhere(depth == depth.max())
        found &= ~_ball(places[int(rng.integers(len(places)))], radius, wanted.shape, spacing)
    return found


def _removal_wanted(wanted: Mask, spacing: Spacing, rng: np.random.Generator) -> Mask:
    away = ndimage.distance_transform_edt(~wanted, sampling=spacing)
    found = wanted.copy()
    for _ in range(int(rng.integers(1, 4))):
        radius = rng.uniform(*ISLAND_MM)
        places = np.argwhere(away > radius + APART_MM)
        if len(places):
            found |= _ball(places[int(rng.integers(len(places)))], radius, wanted.shape, spacing)
    return found


def _ball(centre: npt.NDArray[np.int64], radius: float, shape: tuple[int, ...], spacing: Spacing) -> Mask:
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    squares = sum(((axis - i) * mm) ** 2 for axis, i, mm in zip(axes, centre, spacing, strict=True))
    return np.asarray(squares <= radius**2, np.bool_)


_DAMAGES: dict[str, Callable[[Mask, Spacing, np.random.Generator], Mask]] = {
    "grow": _grow_wanted,
    "shrink": _shrink_wanted,
    "smooth": _smooth_wanted,
    "fill_holes": _filling_wanted,
    "remove_islands": _removal_wanted,
}
