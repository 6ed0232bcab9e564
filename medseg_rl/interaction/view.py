"""What a turn looks at, and from how far, for refiners that know no millimetres: a view of a fixed number of voxels.

A click lies in the middle of an error. The larger its distance to the surface of the mask, the larger the error may be,
and the farther off the view: at most `DEPTH_VOXELS` of its voxels lie between the click and that surface. So a large
organ costs no more than a small lesion. Where there is no mask yet the view begins close and is moved away as long as
the object reaches its border (`turn`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click
from medseg_rl.interaction.region import nearest_mm
from medseg_rl.volume import Box, Spacing

Mask = npt.NDArray[np.bool_]

DEPTH_VOXELS = 3.0


def click_view(mask: Mask | None, within: Box, clicks: Sequence[Click], n_new: int, spacing: Spacing, side: int) -> Box:
    """Box round the last `n_new` clicks, inside `within`, to be looked at with `side` voxels along an edge.

    `mask`: the mask in `within`; None for an empty one. Where it is hard at a click alone, that is no surface.
    """
    boxes = []
    for click in clicks[len(clicks) - n_new :]:
        voxel = math.prod(spacing) ** (1 / 3)
        if mask is not None:
            voxel = max(voxel, _depth_mm(mask, within, click, clicks, spacing) / DEPTH_VOXELS)
        boxes.append(Box.around_indices([click.index]).grown_mm(voxel * side / 2, spacing, within.stop))
    view = boxes[0]
    for box in boxes[1:]:
        view = view.union(box)
    return view.intersection(within)


def _depth_mm(mask: Mask, within: Box, click: Click, clicks: Sequence[Click], spacing: Spacing) -> float:
    """Distance from a click to the nearest voxel of `within` on the other side of the mask's surface; 0 without any."""
    i, j, k = (n - start for n, start in zip(click.index, within.start, strict=True))
    other = ~mask if mask[i, j, k] else mask.copy()
    for single in clicks:
        if within.contains(single.index):
            a, b, c = (n - start for n, start in zip(single.index, within.start, strict=True))
            other[a, b, c] = False
    return nearest_mm(other, (i, j, k), spacing) or 0.0
