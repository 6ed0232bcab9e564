"""A click: one voxel and what the user says it is. Knows nothing of networks or files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import Box, Index


class ClickLabel(IntEnum):
    """What the clicked voxel is."""

    BACKGROUND = 0
    FOREGROUND = 1


@dataclass(frozen=True)
class Click:
    """`index`: voxel (i, j, k) in array order. `label`: what that voxel is."""

    index: Index
    label: ClickLabel


def newest_per_voxel(clicks: Iterable[Click]) -> tuple[Click, ...]:
    """Clicks in their order, without those whose voxel was clicked again later: the newest label wins."""
    latest: dict[Index, Click] = {}
    for click in clicks:
        latest.pop(click.index, None)
        latest[click.index] = click
    return tuple(latest.values())


def clicks_inside(clicks: Iterable[Click], box: Box) -> tuple[Click, ...]:
    """The clicks inside `box`, with indices counted from its start."""
    return tuple(
        Click((c.index[0] - box.start[0], c.index[1] - box.start[1], c.index[2] - box.start[2]), c.label)
        for c in clicks
        if box.contains(c.index)
    )


def click_indices(clicks: Iterable[Click], label: ClickLabel) -> npt.NDArray[np.intp]:
    """Voxel indices (n, 3) of the clicks of one label."""
    return np.array([c.index for c in clicks if c.label == label], dtype=np.intp).reshape(-1, 3)
