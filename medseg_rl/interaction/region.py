"""Where a turn works: the region of interest, how it grows, and what the locality guard holds fixed.

Decided from clicks, the box of the mask and the mask inside it; no reference can be passed. All decisions are the same
under flips and permutations of the axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from medseg_rl.components import connected_components
from medseg_rl.hints.clicks import Click
from medseg_rl.interaction.config import InteractionConfig
from medseg_rl.volume import Box, Index, Spacing

Mask = npt.NDArray[np.bool_]

MARGIN_MM = 10.0
LEAST_SIDE_MM = 32.0
GROWTH = 1.5
FIRST_WINDOW_MM = 4.0


def guard_radius(config: InteractionConfig, mask_box: Box | None, n_new: int) -> float | None:
    """Radius in mm of the locality guard of a turn; None while the mask is empty or no click was given."""
    return config.edit_radius_mm if mask_box is not None and n_new else None


def guard_box(new_clicks: Sequence[Click], radius_mm: float, spacing: Spacing, shape: Index) -> Box:
    """Box of everything the guard lets change, with a margin for the refiner to see."""
    return _box_of(new_clicks).grown_mm(radius_mm + MARGIN_MM, spacing, shape)


def held_by_guard(new_clicks: Sequence[Click], radius_mm: float, spacing: Spacing, box: Box) -> Mask | None:
    """True where a voxel centre of `box` is farther than `radius_mm` from every new click; None if none is.

    Distances are those of the spacing, in mm.
    """
    corners = np.array([box.start, np.asarray(box.stop) - 1], dtype=np.float64)
    for click in new_clicks:
        reach = (np.abs(corners - click.index).max(axis=0) * spacing) ** 2
        if reach.sum() <= radius_mm**2:
            return None
    free = np.zeros(box.shape, dtype=np.bool_)
    for click in new_clicks:
        x, y, z = (
            ((np.arange(a, b) - c) * s) ** 2
            for a, b, c, s in zip(box.start, box.stop, click.index, spacing, strict=True)
        )
        free |= x[:, None, None] + y[None, :, None] + z[None, None, :] <= radius_mm**2
    return ~free


def reach(
    config: InteractionConfig,
    *,
    mask_box: Box | None,
    start_box: Box | None,
    clicks: Sequence[Click],
    n_new: int,
    spacing: Spacing,
    shape: Index,
) -> Box:
    """A box that holds every region the turn may come to read, growth included. From boxes alone: costs nothing."""
    if config.roi == "whole":
        return Box.whole(shape)
    if config.roi == "common":
        return common_region(start_box, clicks, spacing, shape, config.empty_start_side_mm)
    new = clicks[len(clicks) - n_new :]
    radius = guard_radius(config, mask_box, n_new)
    if radius is not None:
        return guard_box(new, radius, spacing, shape)
    parts = [box for box in (mask_box, _box_of(new or clicks) if clicks else None) if box is not None]
    box = parts[0] if len(parts) == 1 else parts[0].union(parts[1])
    box = box.grown_mm(max(MARGIN_MM, LEAST_SIDE_MM), spacing, shape)
    for _ in range(config.max_growths):
        box = grown(box, shape)
    return box


def common_region(
    start_box: Box | None, clicks: Sequence[Click], spacing: Spacing, shape: Index, empty_start_side_mm: float | None
) -> Box:
    """The protocol's region: start mask and clicks + 10 mm, or a fixed box round the first click of an empty start."""
    around = _box_of(clicks).grown_mm(MARGIN_MM, spacing, shape) if clicks else None
    if start_box is not None:
        box = start_box.grown_mm(MARGIN_MM, spacing, shape)
    elif empty_start_side_mm is None:
        raise ValueError("the common region of an empty start needs empty_start_side_mm, measured on the training set")
    else:
        box = _box_of(clicks[:1]).grown_mm(empty_start_side_mm / 2, spacing, shape)
    return at_least(box if around is None else box.union(around), LEAST_SIDE_MM, spacing, shape)


def product_region(
    mask: Mask | None, mask_start: Index, new_clicks: Sequence[Click], spacing: Spacing, shape: Index
) -> Box:
    """New clicks and the parts of the mask they touch or lie nearest to, + 10 mm, at least 32 mm wide.

    `mask`: part of the volume from index `mask_start` on, at least all that counts; None for an empty one. Without new
    clicks: the whole mask.
    """
    boxes = [_box_of(new_clicks)] if new_clicks else []
    if mask is not None:
        boxes += [box.shifted(mask_start) for box in _parts(mask, mask_start, new_clicks, spacing)]
    box = boxes[0]
    for other in boxes[1:]:
        box = box.union(other)
    return at_least(box.grown_mm(MARGIN_MM, spacing, shape), LEAST_SIDE_MM, spacing, shape)


def _parts(mask: Mask, start: Index, new_clicks: Sequence[Click], spacing: Spacing) -> list[Box]:
    """Boxes of the connected parts that some new click lies in or nearest to; of the whole mask without a click."""
    tight = Box.around_mask(mask)
    if tight is None or not new_clicks:
        return [] if tight is None else [tight]
    numbers = np.ascontiguousarray(connected_components(mask[tight.slices]))
    boxes = [_box_of_slices(part).shifted(tight.start) for part in cc3d.statistics(numbers)["bounding_boxes"][1:]]
    if len(boxes) == 1:
        return boxes
    corner = np.add(tight.start, start)
    chosen = {n for click in new_clicks for n in _nearest(numbers, np.subtract(click.index, corner), spacing)}
    return [boxes[n - 1] for n in sorted(chosen)]


def _nearest(numbers: npt.NDArray[Any], index: npt.NDArray[np.intp], spacing: Spacing) -> set[int]:
    """Numbers (not 0) nearest to a voxel index, in mm."""
    points, distance = _nearest_points(numbers, index, spacing)
    return {int(numbers[tuple(point)]) for point in points[distance <= distance.min() + 1e-6]}


def nearest_mm(mask: Mask, index: Index, spacing: Spacing) -> float | None:
    """Distance in mm from a voxel to the nearest True one; None where there is none."""
    _, distance = _nearest_points(mask, np.asarray(index), spacing)
    return float(distance.min()) if len(distance) else None


def _nearest_points(
    marked: npt.NDArray[Any], index: npt.NDArray[np.intp], spacing: Spacing
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Marked voxels, the nearest among them, with their distances in mm; from a window that doubles until it has it."""
    low, high = np.zeros(3, np.intp), np.asarray(marked.shape)
    radius = FIRST_WINDOW_MM
    while True:
        margin = np.ceil(radius / np.asarray(spacing)).astype(np.intp)
        start, stop = np.clip(index - margin, low, high), np.clip(index + margin + 1, low, high)
        points = np.argwhere(marked[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]]) + start
        distance = np.sqrt((((points - index) * spacing) ** 2).sum(axis=1))
        everything = bool((start == low).all() and (stop == high).all())
        if everything or (len(points) and distance.min() <= radius):
            return points, distance
        radius *= 2


def at_least(box: Box, side_mm: float, spacing: Spacing, shape: Index) -> Box:
    """Widened evenly where a side is shorter than `side_mm`; what the volume cuts off is made up on the other side."""
    while True:
        short = [max(0.0, side_mm - n * s) for n, s in zip(box.shape, spacing, strict=True)]
        wider = box.grown([math.ceil(mm / 2 / s) for mm, s in zip(short, spacing, strict=True)], shape)
        if wider == box:
            return box
        box = wider


def grown(box: Box, shape: Index) -> Box:
    """1.5 times as wide along every axis, about its middle, cut at the volume."""
    return box.grown([math.ceil(n * (GROWTH - 1) / 2) for n in box.shape], shape)


def reaches_border(changed: Mask, box: Box, shape: Index) -> bool:
    """Whether a True voxel of `changed` (over `box`) lies on a face of the box that is not the volume's own border."""
    for axis in range(3):
        first, last = changed.take(0, axis=axis), changed.take(-1, axis=axis)
        if (box.start[axis] > 0 and first.any()) or (box.stop[axis] < shape[axis] and last.any()):
            return True
    return False


def _box_of(clicks: Sequence[Click]) -> Box:
    return Box.around_indices([click.index for click in clicks])


def _box_of_slices(slices: tuple[slice, slice, slice]) -> Box:
    x, y, z = slices
    return Box((x.start, y.start, z.start), (x.stop, y.stop, z.stop))
