"""What a turn looks at, and from how far, for refiners that know no millimetres: a view of a fixed number of voxels.

A click lies in the middle of an error. The larger its distance to the surface of the mask, the larger the error may be,
and the farther off the view: at most `DEPTH_VOXELS` of its voxels lie between the click and that surface. So a large
organ costs no more than a small lesion. Where there is no mask yet nothing says how large the object is, nor where a
click lies so far from the mask that it may begin a part of its own: it is looked at from close by and from farther and
farther off, and the view counts in which what is added may hope for the best Dice. A turn without a click, such as
candidates or a command, looks at the whole mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.interaction.region import GROWTH, grown, nearest_mm
from medseg_rl.refiner import LOWEST, MASK_THRESHOLD, Percent
from medseg_rl.volume import Box, Index, Spacing

Mask = npt.NDArray[np.bool_]

DEPTH_VOXELS = 2.5
PATIENCE = 3  # views without a better hope, before the search ends, once there is any hope
COARSEST_MM = 6.0  # no object is looked at with larger voxels, unless a click lies that deep
COARSEST_VOXELS = 2.25  # or those of the file are so large that this magnification exceeds it
FAR = 1.5  # from this magnification on an object's first mask is looked at once more, at finer voxels
CLOSER = 3  # so many times as many
APART = 0.5  # so many radii of a ball as large as the mask away from it, an object click may begin another part
AS_THEY_ARE = 1.05  # a view whose voxels are hardly larger than those of the file shows these


@dataclass(frozen=True)
class View:
    """`box`: what is looked at, in voxels of the file. `magnification`: how many of their edges one of the view's has,
    in the mean of the axes.
    """

    box: Box
    magnification: float = 1.0

    @property
    def voxels(self) -> int:
        """How many voxels are shown."""
        if self.magnification <= AS_THEY_ARE:
            return self.box.voxels
        return max(1, round(self.box.voxels / self.magnification**3))

    @property
    def is_far(self) -> bool:
        """Whether the edge of what it shows is blurred by its voxels."""
        return self.magnification >= FAR

    @property
    def closer_voxels(self) -> int:
        """How many voxels a second look shows of the same box."""
        return min(self.box.voxels, CLOSER * self.voxels)

    def farther(self, within: Box, shape: Index) -> View:
        """From 1.5 times as far off, as far as `within` allows."""
        return View(grown(self.box, shape).intersection(within), self.magnification * GROWTH)


def click_view(
    mask: Mask | None, within: Box, clicks: Sequence[Click], n_new: int, spacing: Spacing, side: int
) -> View:
    """Of `side` voxels on an edge round each of the last `n_new` clicks, inside `within`; from farther off where clicks
    far from each other would need more than `CLOSER` times as many voxels.

    `mask`: the mask in `within`; None for an empty one. Where it is hard at a click alone, that is no surface.
    """
    unit = math.prod(spacing) ** (1 / 3)
    view: View | None = None
    for click in clicks[len(clicks) - n_new :]:
        deep = 0.0 if mask is None else _depth_mm(mask, within, click, clicks, spacing)
        voxel = max(unit, deep / DEPTH_VOXELS)
        box = Box.around_indices([click.index]).grown_mm(voxel * side / 2, spacing, within.stop).intersection(within)
        near = View(box, voxel / unit)
        view = near if view is None else View(view.box.union(box), max(view.magnification, near.magnification))
    assert view is not None
    crowded = (view.box.voxels / (CLOSER * side**3)) ** (1 / 3)
    return replace(view, magnification=max(view.magnification, crowded))


def mask_view(region: Box, side: int) -> View:
    """Of a whole mask, `region` being what a turn without a click may change: as near as a second look goes."""
    return View(region, max(1.0, (region.voxels / (CLOSER * side**3)) ** (1 / 3)))


def may_be_apart(view: View, mask: Mask, within: Box, click: Click) -> bool:
    """Whether nothing but its distance from `mask` (over `within`) says how much an object click has to add: `view`,
    which goes by that distance, is then the farthest one that may be right.
    """
    i, j, k = (n - start for n, start in zip(click.index, within.start, strict=True))
    if click.label != ClickLabel.FOREGROUND or mask[i, j, k] or not view.is_far:
        return False
    radius = (3 * np.count_nonzero(mask) / (4 * math.pi)) ** (1 / 3)
    return bool(view.magnification * DEPTH_VOXELS > APART * radius)


def scouted_view(
    view: View,
    within: Box,
    shape: Index,
    spacing: Spacing,
    hoped: Callable[[View], float],
    farthest: View | None = None,
) -> View:
    """The best view of a part of which there is no mask: `view` or one from farther off, at most `farthest`.

    `hoped`: the `hope` of what a view gives. Too close, it ends in doubt on all sides; from too far off what is small
    is lost.
    """
    best, most, since, last = view, hoped(view), 0, view
    for farther in _ever_farther(view, within, shape, spacing, farthest):
        if since == PATIENCE:
            break
        last, now = farther, hoped(farther)
        best, most, since = (last, now, 0) if now > most else (best, most, since + (most > 0))
    return best if most > 0 else last


def _ever_farther(view: View, within: Box, shape: Index, spacing: Spacing, farthest: View | None) -> Iterator[View]:
    if farthest is None:
        largest = max(COARSEST_MM / math.prod(spacing) ** (1 / 3), COARSEST_VOXELS)
    else:
        largest = farthest.magnification / math.sqrt(GROWTH)
    farther = view.farther(within, shape)
    while farther.box != view.box and farther.magnification <= largest:
        yield farther
        view, farther = farther, farther.farther(within, shape)
    if farthest is not None:
        yield farthest


def hope(percent: Percent, before: Percent, box: Box, shape: Index) -> float:
    """What a state of `box` promises that goes on from `before`: the Dice that the added mask may expect if its
    probabilities hold, 2 E|A and B| / (|A| + E|B|), times the square of the mean probability in it: so sure is it of
    itself. Any shape; both the same.

    Voxels of the lowest probability count as none: how many of them there are is the size of the view. Less by the
    share of the sides of the view that the added mask reaches: it goes on there.
    """
    levels, free = np.arange(101), before <= MASK_THRESHOLD
    counts = np.bincount(percent[free], minlength=101)
    inside, expected = levels > MASK_THRESHOLD, counts * levels / 100 * (levels > LOWEST)
    size = counts[inside].sum()
    if not size:
        return 0.0
    hits = expected[inside].sum()
    surely = float(2 * hits / (size + expected.sum()) * (hits / size) ** 2)
    return surely * (1 - _cut((percent > MASK_THRESHOLD) & free, box, shape))


def _cut(mask: Mask, box: Box, shape: Index) -> float:
    """Share of the sides of `box` that lie within the volume which the mask covers."""
    covered = reached = 0
    for axis, (start, stop, size) in enumerate(zip(box.start, box.stop, shape, strict=True)):
        for place in [0] * (start > 0) + [-1] * (stop < size):
            side = mask.take(place, axis)
            covered, reached = covered + side.size, reached + int(np.count_nonzero(side))
    return reached / covered if covered else 0.0


def _depth_mm(mask: Mask, within: Box, click: Click, clicks: Sequence[Click], spacing: Spacing) -> float:
    """Distance from a click to the nearest voxel of `within` on the other side of the mask's surface; 0 without any."""
    i, j, k = (n - start for n, start in zip(click.index, within.start, strict=True))
    other = ~mask if mask[i, j, k] else mask.copy()
    for single in clicks:
        if within.contains(single.index):
            a, b, c = (n - start for n, start in zip(single.index, within.start, strict=True))
            other[a, b, c] = False
    return nearest_mm(other, (i, j, k), spacing) or 0.0
