"""What an outline drawn on a slice encloses (lasso), and the box between two points. Knows nothing of labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medseg_rl.editing.grid import Grid, Mask, Point, as_box
from medseg_rl.volume import Box, FloatArray

ON_THE_LINE = 1e-6  # voxels: a centre this near to the outline is enclosed, in whatever direction it was drawn


def lasso_mask(
    grid: Grid, points_mm: Sequence[Point], plane: str, slices_mm: tuple[Point, Point] | None = None
) -> tuple[Box, Mask]:
    """The box of an outline, cut at the volume, and True where it encloses the centre of a voxel.

    `points_mm` (n, 3): the outline, closed from the last to the first; where it crosses itself all it goes round is
    enclosed. It lies on the slice of its first point, or, repeated, on all from the slice of one point to that of
    another (`slices_mm`).
    """
    axis = grid.axis(plane)
    points = grid.to_index(points_mm)
    ends = points[:1] if slices_mm is None else grid.to_index(slices_mm)
    first, *_, last = sorted(int(n) for n in (*grid.nearest(ends)[:, axis], *grid.nearest(ends)[:, axis]))
    low, high = points.min(axis=0), points.max(axis=0)
    low[axis], high[axis] = first, last
    box = grid.box_between(low, high)
    rows, columns = (a for a in range(3) if a != axis)
    corners = points[:, [rows, columns]] - np.array([box.start[rows], box.start[columns]])
    flat = polygon_mask(corners, (box.shape[rows], box.shape[columns]))
    return box, np.repeat(np.expand_dims(flat, axis), box.shape[axis], axis=axis)


def box_between(grid: Grid, one_mm: Point, other_mm: Point, plane: str | None = None) -> Box:
    """The box from the voxel of one point to that of another, both included, cut at the volume.

    `plane`: on the slice of the first point alone.
    """
    ends = grid.nearest(grid.to_index([one_mm, other_mm]))
    if plane is not None:
        ends[1, grid.axis(plane)] = ends[0, grid.axis(plane)]
    start, stop = (np.clip(end, 0, grid.shape) for end in (ends.min(axis=0), ends.max(axis=0) + 1))
    return as_box(start, np.maximum(start, stop))


def polygon_mask(corners: FloatArray, shape: tuple[int, int]) -> Mask:
    """True (rows, columns) at whole positions inside or on a closed polygon with `corners` (n, 2: row, column).

    Inside is what the polygon goes round any number of times other than none. Corners may lie outside the array.
    """
    winding = np.zeros((shape[0], shape[1] + 1), np.int32)
    on_line = np.zeros(shape, np.bool_)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        _count_crossings(winding, a, b)
        steep = abs(b[0] - a[0]) >= abs(b[1] - a[1])
        _mark_line(on_line if steep else on_line.T, *((a, b) if steep else (a[::-1], b[::-1])))
    enclosed: Mask = np.cumsum(winding, axis=1)[:, :-1] != 0
    return enclosed | on_line


def _count_crossings(winding: np.ndarray[tuple[int, ...], np.dtype[np.int32]], a: FloatArray, b: FloatArray) -> None:
    """Every row between the ends of an edge changes its winding number where the edge crosses it."""
    low, high = sorted((float(a[0]), float(b[0])))
    rows = np.arange(max(0, math.ceil(low)), min(winding.shape[0], math.ceil(high)))
    if len(rows):
        at = a[1] + (rows - a[0]) * ((b[1] - a[1]) / (b[0] - a[0]))
        winding[rows, np.clip(np.ceil(at), 0, winding.shape[1] - 1).astype(np.intp)] += 1 if b[0] > a[0] else -1


def _mark_line(on_line: Mask, a: FloatArray, b: FloatArray) -> None:
    """Mark the whole positions that an edge steeper than 45 degrees goes through."""
    low, high = sorted((float(a[0]), float(b[0])))
    rows = np.arange(max(0, math.ceil(low - ON_THE_LINE)), min(on_line.shape[0], math.floor(high + ON_THE_LINE) + 1))
    slope = (b[1] - a[1]) / (b[0] - a[0]) if high > low else 0.0
    at = a[1] + (rows - a[0]) * slope
    near = np.round(at)
    hit = (np.abs(at - near) <= ON_THE_LINE) & (near >= 0) & (near < on_line.shape[1])
    on_line[rows[hit], near[hit].astype(np.intp)] = True
