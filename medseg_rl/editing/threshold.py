"""Where the intensity lets an edit write, and what grows from a seed within it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from medseg_rl.editing.checks import as_flag, as_limit
from medseg_rl.editing.grid import Mask, in_box
from medseg_rl.errors import EditError
from medseg_rl.volume import Box


@dataclass(frozen=True)
class Threshold:
    """Intensities from `low` to `high`, both included; None for no bound. `inverted`: those outside instead."""

    low: float | None = None
    high: float | None = None
    inverted: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", as_limit(self.low, "lower threshold"))
        object.__setattr__(self, "high", as_limit(self.high, "upper threshold"))
        as_flag(self.inverted, "the threshold's inversion")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise EditError(f"the lower threshold {self.low:g} is above the upper one {self.high:g}; exchange them")

    def allows(self, intensities: npt.NDArray[Any]) -> Mask:
        """True where an edit may write; never where the image has no number."""
        below = np.zeros(intensities.shape, np.bool_) if self.low is None else intensities < self.low
        above = np.zeros(intensities.shape, np.bool_) if self.high is None else intensities > self.high
        outside: Mask = below | above
        allowed: Mask = outside if self.inverted else ~outside
        return allowed & ~np.isnan(intensities) if intensities.dtype.kind == "f" else allowed


def check_threshold(value: Any, *, needed: bool = False) -> None:
    """Raises EditError when it is no threshold; None passes unless one is needed."""
    if not isinstance(value, Threshold) and (needed or value is not None):
        raise EditError(f"a threshold has a lower and an upper bound; {value!r:.40} is none")


def connected_to(allowed: Mask, box: Box, seed: tuple[int, int, int]) -> Mask:
    """The part of `allowed` (over `box`) that the seed, an index of the volume, reaches through faces of voxels.

    Faces alone, so that it leaks less than through corners. Nothing where the seed itself is not allowed.
    """
    at = in_box(box, seed)
    if not allowed[at]:
        return np.zeros_like(allowed)
    numbers = cc3d.connected_components(np.pad(allowed, 1), connectivity=6, binary_image=True)[1:-1, 1:-1, 1:-1]
    reached: Mask = numbers == numbers[at]
    return reached
