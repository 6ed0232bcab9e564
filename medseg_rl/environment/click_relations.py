"""How a voxel stands to the mask and to the click that concerns it: channels a convolution cannot compute by itself.

A click says where the mask is wrong and by how much; whether the same error reaches a voxel depends on whether the
voxel lies like the clicked one: as deep, as bright, on a surface that faces the same way. All of it is taken from the
state before the clicks, once an interaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.kernels import squared_distance_to_other
from medseg_rl.hints.maps import HintMaps
from medseg_rl.refiner import MASK_THRESHOLD, Percent
from medseg_rl.volume import Spacing

FloatMap = npt.NDArray[np.float32]

CLICK_RELATIONS = (
    "start",
    "boundary",
    "start_boundary",
    "same_hints",
    "opposite_hints",
    "click_sign",
    "click_nearness",
    "click_boundary",
    "click_contrast",
    "click_alignment",
)
DEEPEST_MM = 5.0  # distances to the boundary are clipped there
FARTHEST_MM = 12.0  # where the nearness of a click is zero
LARGEST_CONTRAST = 3.0  # standard deviations of the image
LARGEST_ODDS = 3.0  # unit of the start's log-odds


def click_relations(
    image: FloatMap,
    percent: Percent,
    start: Percent,
    hints: HintMaps,
    new_clicks: Sequence[Click],
    spacing: Spacing,
) -> dict[str, FloatMap]:
    """The channels of `CLICK_RELATIONS`, (x, y, z) float32 in about -1..1, in the frame of the click.

    In that frame a voxel's question is the same after object and background clicks: does it belong to the class that
    was clicked? "click_sign" (1 object, -1 background; 1 without clicks) of the nearest new click turns all that
    speaks of a class:
    "start" (log-odds of the state before any click, over 3), "boundary" (signed distance to the surface of the mask,
    over 5 mm), "start_boundary" (the same of the state before any click), "same_hints" and "opposite_hints" (hint maps
    of all clicks of that and of the other class). Of the nearest new click also "click_nearness" (1 at the click, 0
    from 12 mm on), "click_boundary" (its own "boundary"), "click_contrast" (how much brighter the voxel is than the
    clicked one, over three standard deviations), "click_alignment" (cosine between the directions of the boundary there
    and here).
    """
    boundary = signed_distance(percent > MASK_THRESHOLD, spacing)
    sign = np.ones(percent.shape, np.float32)
    zeros = np.zeros(percent.shape, np.float32)
    nearness, depth, contrast, alignment = zeros, zeros.copy(), zeros.copy(), zeros.copy()
    if new_clicks:
        directions = _directions(boundary, spacing)
        axes = np.ogrid[tuple(slice(n) for n in percent.shape)]
        nearest = np.full(percent.shape, np.inf, np.float32)
        for click in new_clicks:
            squares = sum(((axis - i) * mm) ** 2 for axis, i, mm in zip(axes, click.index, spacing, strict=True))
            distance = np.sqrt(np.asarray(squares, np.float32))
            nearer = distance < nearest
            nearest[nearer] = distance[nearer]
            sign[nearer] = 1 if click.label == ClickLabel.FOREGROUND else -1
            depth[nearer] = boundary[click.index]
            contrast[nearer] = image[nearer] - image[click.index]
            here = directions[(slice(None), *click.index)]
            alignment[nearer] = np.tensordot(here, directions[:, nearer], 1)
        nearness = np.clip(1 - nearest / FARTHEST_MM, 0, 1)
    return {
        "start": sign * log_odds(start) / LARGEST_ODDS,
        "boundary": sign * boundary,
        "start_boundary": sign * signed_distance(start > MASK_THRESHOLD, spacing),
        "same_hints": np.where(sign > 0, hints.foreground, hints.background),
        "opposite_hints": np.where(sign > 0, hints.background, hints.foreground),
        "click_sign": sign,
        "click_nearness": nearness,
        "click_boundary": sign * depth,
        "click_contrast": np.clip(contrast / LARGEST_CONTRAST, -1, 1),
        "click_alignment": alignment,
    }


def _directions(boundary: FloatMap, spacing: Spacing) -> FloatMap:
    """Unit vectors (3, x, y, z) along which the boundary map grows; zero where it is flat."""
    slopes = [
        np.gradient(boundary, mm, axis=axis) if boundary.shape[axis] > 1 else np.zeros_like(boundary)
        for axis, mm in enumerate(spacing)
    ]
    steepest = np.stack(slopes).astype(np.float32)
    directions: FloatMap = steepest / (np.linalg.norm(steepest, axis=0) + np.float32(1e-6))
    return directions


def log_odds(percent: Percent) -> FloatMap:
    """Log-odds (x, y, z) of a state in hundredths."""
    probability = percent.astype(np.float32) / 100
    odds: FloatMap = np.log(probability / (1 - probability))
    return odds


def signed_distance(mask: npt.NDArray[np.bool_], spacing: Spacing) -> FloatMap:
    """Distance (x, y, z) to the surface of the mask over 5 mm, clipped to -1..1, positive inside; -1 without a mask."""
    if not mask.any():
        return np.full(mask.shape, -1, np.float32)
    squared = squared_distance_to_other(
        np.ascontiguousarray(mask), np.square(np.asarray(spacing, np.float64)), DEEPEST_MM**2
    )
    distance = np.sqrt(squared, dtype=np.float32) / np.float32(DEEPEST_MM)
    signed: FloatMap = np.where(mask, distance, -distance)
    return signed
