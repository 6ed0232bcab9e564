"""Intervals of proportions: what rates of refusals, wins and use cases are printed with."""

from __future__ import annotations

import math
from typing import NamedTuple

NORMAL_95 = 1.959963984540054


class Proportion(NamedTuple):
    """A rate with its 95 % interval; all NaN where nothing was counted."""

    rate: float
    low: float
    high: float
    total: int


def wilson(successes: float, count: int, *, z: float = NORMAL_95) -> Proportion:
    """Wilson's score interval (1927). Half successes (draws) are allowed."""
    if count == 0:
        return Proportion(math.nan, math.nan, math.nan, 0)
    p, shrink = successes / count, 1 + z**2 / count
    centre = (p + z**2 / (2 * count)) / shrink
    half = z * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2)) / shrink
    return Proportion(p, max(0.0, centre - half), min(1.0, centre + half), count)
