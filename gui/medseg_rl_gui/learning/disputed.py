"""Where candidates differ, so that ranking does not begin on a slice on which all of them look alike. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import Box, Index
from medseg_rl_gui.view_model import Mask, ProposalView


def disputed_voxels(candidates: Sequence[ProposalView], layers: Sequence[npt.NDArray[Any]]) -> tuple[Box, Mask]:
    """The box that holds all candidates, and True in it where some have a voxel and others have not."""
    box = candidates[0].box
    for candidate in candidates[1:]:
        box = box.union(candidate.box)
    masks = np.stack([_inside(candidate, box, layers) for candidate in candidates])
    disputed: Mask = np.any(masks, axis=0) & ~np.all(masks, axis=0)
    return box, disputed


def where_to_look(
    candidates: Sequence[ProposalView], layers: Sequence[npt.NDArray[Any]], axis: int, shown: int
) -> Index | None:
    """A voxel on the slice across `axis` that has most to choose between; None where slice `shown` has some already."""
    box, disputed = disputed_voxels(candidates, layers)
    if not disputed.any():
        return None
    others = tuple(a for a in range(3) if a != axis)
    by_slice = np.count_nonzero(disputed, axis=others)
    here = shown - box.start[axis]
    if 0 <= here < len(by_slice) and by_slice[here]:
        return None
    best = int(np.argmax(by_slice))
    places = np.argwhere(np.take(disputed, [best], axis=axis))
    nearest = places[np.argmin(np.sum((places - places.mean(axis=0)) ** 2, axis=1))]
    nearest[axis] = best
    i, j, k = (int(n) + start for n, start in zip(nearest, box.start, strict=True))
    return i, j, k


def _inside(candidate: ProposalView, box: Box, layers: Sequence[npt.NDArray[Any]]) -> Mask:
    """A candidate over a larger box: outside its own it is the accepted mask."""
    inside = np.zeros(box.shape, bool)
    for layer in layers:
        inside |= layer[box.slices] == candidate.label
    start = box.start
    inside[candidate.box.shifted((-start[0], -start[1], -start[2])).slices] = candidate.inside
    return inside
