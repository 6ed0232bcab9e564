"""Which voxels are known beyond doubt before anything is solved: evaluation protocol section 7.3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, Percent
from medseg_rl.volume import Spacing

Region = npt.NDArray[np.bool_]


class SeedLengths(Protocol):
    """Where a mask is sure of itself, in mm.

    `core_mm`: deeper inside it is object; `outside_mm`: farther outside it is background; `override_mm`: nearer to a
    click neither holds.
    """

    @property
    def core_mm(self) -> float: ...

    @property
    def outside_mm(self) -> float: ...

    @property
    def override_mm(self) -> float: ...


def seed_regions(
    percent: Percent, clicks: Iterable[Click], spacing: Spacing, lengths: SeedLengths, *, informed: bool | None = None
) -> dict[ClickLabel, Region]:
    """Seed voxels of each label (x, y, z): what the mask is sure of, the border of the region, and the clicks.

    `informed`: whether the mask knows more than clicks said; None: `knows_the_object`. Otherwise only clicks and border
    seed, as a mask made of them says nothing of where the object ends.
    """
    clicks = tuple(clicks)
    informed = knows_the_object(percent) if informed is None else informed
    mask = percent > MASK_THRESHOLD
    background = border(mask.shape) & ~mask
    core = np.zeros_like(mask)
    if mask.any() and informed:
        depth = depth_inside_mm(mask, spacing)
        core = depth > lengths.core_mm
        if not core.any():
            core = depth >= depth.max()
        background |= ndimage.distance_transform_edt(~mask, sampling=spacing) > lengths.outside_mm
    clicked = at(mask.shape, clicks)
    if clicked.any():
        overridden = ndimage.distance_transform_edt(~clicked, sampling=spacing) <= lengths.override_mm
        core &= ~overridden
        background &= ~overridden
    return {
        ClickLabel.FOREGROUND: core | at(mask.shape, (c for c in clicks if c.label == ClickLabel.FOREGROUND)),
        ClickLabel.BACKGROUND: background | at(mask.shape, (c for c in clicks if c.label == ClickLabel.BACKGROUND)),
    }


def knows_the_object(percent: Percent) -> bool:
    """Whether a state came from somewhere: an empty start, and what clicks alone made of it, has no doubt in it."""
    return bool(((percent > LOWEST) & (percent < HIGHEST)).any())


def depth_inside_mm(mask: Region, spacing: Spacing) -> npt.NDArray[np.float64]:
    """Distance in mm from each voxel of the mask to the nearest one outside it; beyond the region counts as outside."""
    return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing))[1:-1, 1:-1, 1:-1]


def border(shape: tuple[int, ...]) -> Region:
    """The outermost voxels of an array of that shape."""
    outermost = np.ones(shape, dtype=bool)
    outermost[1:-1, 1:-1, 1:-1] = False
    return outermost


def at(shape: tuple[int, ...], clicks: Iterable[Click]) -> Region:
    """True at the clicked voxels of an array of that shape."""
    region = np.zeros(shape, dtype=bool)
    for click in clicks:
        region[click.index] = True
    return region
