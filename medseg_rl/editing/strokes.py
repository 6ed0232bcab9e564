"""What a stroke of the brush covers, and the voxels a scribble passes. Knows nothing of labels.

Between two samples of the pointer a capsule is filled, so that a fast stroke has no gaps. A voxel belongs to a brush
when its centre does; the voxels that the pointer itself passed belong always, however small the brush.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medseg_rl.editing.grid import Grid, Mask, Point
from medseg_rl.volume import Box, FloatArray

Indices = npt.NDArray[np.int64]
Interval = tuple[FloatArray, FloatArray]  # where a column enters and leaves a body; empty where the first is larger

ON_THE_RIM = 1e-9  # of the squared radius: rounding must not decide which orientation holds a voxel on the rim
SHORT = 1e-12  # mm2: a segment shorter than this is a point


def stroke_mask(grid: Grid, points_mm: Sequence[Point], radius_mm: float, plane: str | None = None) -> tuple[Box, Mask]:
    """The box of a stroke, cut at the volume, and True where it paints.

    `points_mm` (n, 3): the pointer's way, n >= 1; one point paints too. `plane`: a disc in the slice of the first
    point, onto which the others fall; None: a ball. Distances are in world mm, so spacing and shear give the shape.
    """
    points, axis = on_one_slice(grid, points_mm, plane)
    reach = grid.reach(radius_mm, axis)
    low, high = points.min(axis=0), points.max(axis=0)
    box = grid.box_between(np.minimum(low - reach, grid.nearest(low)), np.maximum(high + reach, grid.nearest(high)))
    passed = _inside(path_voxels(grid, points), box)
    if box.voxels == 0:
        return box, np.zeros(box.shape, np.bool_)
    ends = np.zeros((*box.shape[:2], box.shape[2] + 1), np.int16)  # +1 where a column enters, -1 behind where it leaves
    for p, q in itertools.pairwise(points) if len(points) > 1 else [(points[0], points[0])]:
        part = grid.box_between(np.minimum(p, q) - reach, np.maximum(p, q) + reach)
        if part.voxels:
            _mark_capsule(ends, box, part, grid.metric, p, q, radius_mm**2 * (1 + ON_THE_RIM))
    painted: Mask = np.cumsum(ends, axis=2, dtype=np.int16, out=ends)[:, :, :-1] > 0
    painted[tuple((passed - box.start).T)] = True
    return box, painted


def scribble_voxels(grid: Grid, points_mm: Sequence[Point], plane: str | None = None) -> Indices:
    """Voxels (n, 3) that a drawn line passes inside the volume, in its order, each once: a line one voxel thick.

    `plane`: in the slice of the first point. Neighbours along the line touch by a face, an edge or a corner.
    """
    points, _ = on_one_slice(grid, points_mm, plane)
    passed = _thinned(path_voxels(grid, points))
    passed = _inside(passed, Box.whole(grid.shape))
    _, first = np.unique(passed, axis=0, return_index=True)
    return passed[np.sort(first)]


def on_one_slice(grid: Grid, points_mm: Sequence[Point], plane: str | None) -> tuple[FloatArray, int | None]:
    """Points as voxel indices (n, 3), those of a plane on the slice of the first; and the axis through that plane."""
    points = grid.to_index(points_mm)
    if plane is None:
        return points, None
    axis = grid.axis(plane)
    points[:, axis] = grid.nearest(points[0])[axis]
    return points, axis


def path_voxels(grid: Grid, points: FloatArray) -> Indices:
    """Voxels (n, 3) along the straight lines between points (m, 3, voxel indices), in order; far ones left out."""
    corners = grid.nearest(points)
    if len(corners) == 1:
        return corners
    lines = [_line(grid, a, b) for a, b in itertools.pairwise(corners)]
    path = np.concatenate(lines)
    if len(path) == 0:
        return path
    moved = np.concatenate([[True], (np.diff(path, axis=0) != 0).any(axis=1)])
    distinct: Indices = path[moved]
    return distinct


def _line(grid: Grid, a: Indices, b: Indices) -> Indices:
    """Voxels from one to another, both included, as far as they can lie in the volume: one for each longest step."""
    steps = max(1, int(np.abs(b - a).max()))
    first, last = 0.0, float(steps)
    for start, end, size in zip(a.tolist(), b.tolist(), grid.shape, strict=True):
        slope = (end - start) / steps
        if slope == 0:
            if not -1 <= start <= size:
                return np.zeros((0, 3), np.int64)
            continue
        low, high = sorted(((-1 - start) / slope, (size - start) / slope))
        first, last = max(first, low), min(last, high)
    at = np.arange(math.ceil(first), math.floor(last) + 1)
    return grid.nearest(a + (b - a) * (at[:, None] / steps))


def _thinned(path: Indices) -> Indices:
    """The path without voxels that only turn a corner: their neighbours touch by an edge without them."""
    if len(path) < 3:
        return path
    kept = [path[0]]
    for here, follows in itertools.pairwise(path[1:]):
        jump = follows - kept[-1]
        widest = max(np.count_nonzero(here - kept[-1]), np.count_nonzero(follows - here))
        if np.abs(jump).max() > 1 or np.count_nonzero(jump) <= widest:
            kept.append(here)
    return np.array([*kept, path[-1]])


def _inside(indices: Indices, box: Box) -> Indices:
    return indices[((indices >= box.start) & (indices < box.stop)).all(axis=1)]


def _mark_capsule(
    ends: npt.NDArray[np.int16], box: Box, part: Box, metric: FloatArray, p: FloatArray, q: FloatArray, limit: float
) -> None:
    """Note where each column (along z) of `part` enters and leaves the capsule of squared radius `limit` mm2.

    A capsule is convex, so a column meets it in one piece: from where it enters the first of the two balls and the
    cylinder between them to where it leaves the last.
    """
    x, y = (np.arange(part.start[a], part.stop[a], dtype=np.float64) for a in range(2))
    step = q - p
    enter, leave = _in_ball(metric, x, y, p, limit)
    if step @ metric @ step > SHORT:
        for low, high in (_in_ball(metric, x, y, q, limit), _in_cylinder(metric, x, y, p, step, limit)):
            holds = low <= high
            enter, leave = (
                np.where(holds, np.minimum(enter, low), enter),
                np.where(holds, np.maximum(leave, high), leave),
            )
    bottom, top = part.start[2], part.stop[2] - 1
    meets = enter <= leave
    first = np.clip(np.ceil(np.where(meets, enter, top + 1)), bottom, top + 1).astype(np.intp)
    last = np.clip(np.floor(np.where(meets, leave, bottom - 1)), bottom - 1, top).astype(np.intp)
    columns = np.nonzero(first <= last)
    i, j, offset = columns[0] + part.start[0] - box.start[0], columns[1] + part.start[1] - box.start[1], box.start[2]
    ends[i, j, first[columns] - offset] += 1
    ends[i, j, last[columns] + 1 - offset] -= 1


def _in_ball(metric: FloatArray, x: FloatArray, y: FloatArray, centre: FloatArray, limit: float) -> Interval:
    """Where each column (x, y) runs within the ball, in voxels along z."""
    low, high = _between_roots(metric, x - centre[0], y - centre[1], limit)
    return low + centre[2], high + centre[2]


def _in_cylinder(
    metric: FloatArray, x: FloatArray, y: FloatArray, p: FloatArray, step: FloatArray, limit: float
) -> Interval:
    """Where each column runs within the endless cylinder around p + t step between its ends, 0 <= t <= 1."""
    dual = metric @ step
    length = float(step @ dual)
    across = metric - np.outer(dual, dual) / length  # squared length of a step's part across the axis
    dx, dy = x - p[0], y - p[1]
    low, high = _between_roots(across, dx, dy, limit)
    flat = dual[0] * dx[:, None] + dual[1] * dy[None, :]  # t * length = flat + dual[2] * dz
    if abs(dual[2]) * max(1.0, abs(step[2])) <= 1e-12 * length:
        beyond = (flat < -1e-9 * length) | (flat > length * (1 + 1e-9))
        return np.where(beyond, np.inf, low + p[2]), np.where(beyond, -np.inf, high + p[2])
    one, other = -flat / dual[2], (length - flat) / dual[2]
    return np.maximum(low, np.minimum(one, other)) + p[2], np.minimum(high, np.maximum(one, other)) + p[2]


def _between_roots(form: FloatArray, dx: FloatArray, dy: FloatArray, limit: float) -> Interval:
    """Where the quadratic form of (dx, dy, z) is at most `limit`, as an interval of z for each column."""
    a = form[2, 2]
    b = form[0, 2] * dx[:, None] + form[1, 2] * dy[None, :]
    c = (form[0, 0] * dx**2)[:, None] + (form[1, 1] * dy**2)[None, :] + 2 * form[0, 1] * np.outer(dx, dy) - limit
    if a <= 1e-12 * max(form[0, 0], form[1, 1]):  # the columns run along the axis of the cylinder
        return np.where(c <= 0, -np.inf, np.inf), np.where(c <= 0, np.inf, -np.inf)
    under = b * b - a * c
    root = np.sqrt(np.maximum(under, 0.0))
    return np.where(under >= 0, (-b - root) / a, np.inf), np.where(under >= 0, (-b + root) / a, -np.inf)
