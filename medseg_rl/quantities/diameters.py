"""Longest chords of a mask: in space, and in each axial slice with the longest one across it.

The contour runs half-way between the centres of neighbouring voxels, as the iso-surface does, and its points are mapped
to mm by the whole affine: on a sheared grid too they lie where they are, so nothing is resampled. A chord joins two
points of the contour and may leave the mask between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.quantities.region import Region
from medseg_rl.volume import AxisOrder, FloatArray

TIE = 1e-9  # of the length: chords of equal length but for rounding
SAME_PLACE = 1e-9  # mm along the long chord
# Segments of marching squares as pairs of edges of a cell with corners a b c d in turn: 0 ab, 1 bc, 2 cd, 3 da. The
# case is a + 2 b + 4 c + 8 d. Corners that meet by the diagonal alone are cut apart, so no orientation is preferred.
_CASES: tuple[tuple[tuple[int, int], ...], ...] = (
    *((), ((3, 0),), ((0, 1),), ((3, 1),), ((1, 2),), ((3, 0), (1, 2)), ((0, 2),), ((2, 3),)),
    *(((2, 3),), ((0, 2),), ((0, 1), (2, 3)), ((1, 2),), ((1, 3),), ((0, 1),), ((3, 0),), ()),
)
_EDGES = np.array([[0.5, 0.0], [1.0, 0.5], [0.5, 1.0], [0.0, 0.5]])  # middle of each edge, from corner a
POINTS_AT_ONCE = 2048


@dataclass(frozen=True)
class Chord:
    """`length_mm` between two points in RAS+ mm."""

    length_mm: float
    start: tuple[float, float, float]
    end: tuple[float, float, float]

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"length_mm": self.length_mm, "start_mm": list(self.start), "end_mm": list(self.end)}


@dataclass(frozen=True)
class AxialDiameters:
    """One slice. `slice_index`: along the voxel axis nearest to head-foot, from 0. `across`: at right angles."""

    slice_index: int
    longest: Chord
    across: Chord

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"slice_index": self.slice_index, "longest": self.longest.as_json(), "across": self.across.as_json()}


def largest_diameter(region: Region) -> Chord | None:
    """The largest distance between vertices of the hull of the iso-surface; None where the mask is empty."""
    if region.box is None:
        return None
    corners = _hull(_crossings(region.mask)) + region.box.start  # of indices, which no affine can make flat
    first, second = _farthest(corners @ region.affine[:3, :3].T + region.affine[:3, 3])[0]
    return _chord(first, second)


def axial_diameters(region: Region) -> tuple[AxialDiameters, ...]:
    """The longest chord and the longest across it, for every slice of the voxel axis nearest to head-foot."""
    if region.box is None:
        return ()
    axis = AxisOrder.of(region.affine).permutation[2]
    found = []
    for place, plane in enumerate(np.moveaxis(region.mask, axis, 0)):
        if plane.any():
            found.append(_of_slice(region, np.ascontiguousarray(plane), axis, region.box.start[axis] + place))
    return tuple(found)


def _of_slice(region: Region, plane: npt.NDArray[np.bool_], axis: int, slice_index: int) -> AxialDiameters:
    assert region.box is not None  # the caller found voxels
    sides = [k for k in range(3) if k != axis]
    steps = region.affine[:3, sides]  # (3, 2): mm along the two axes of the plane
    origin = region.affine[:3, 3] + region.affine[:3, axis] * slice_index
    origin = origin + steps @ [region.box.start[k] for k in sides]
    frame, to_plane = np.linalg.qr(steps)  # distances within the plane are those of space
    contour = _contour(plane) @ to_plane.T  # (segments, 2 ends, 2) mm

    ends = _farthest(_hull(_crossings(plane)) @ to_plane.T)
    across = [(*_longest_across(contour, second - first), first, second) for first, second in ends]
    _, low, high, first, second = max(across, key=lambda found: found[0])
    first, second, low, high = (origin + frame @ point for point in (first, second, low, high))
    return AxialDiameters(slice_index, _chord(first, second), _chord(low, high))


def _crossings(mask: npt.NDArray[np.bool_]) -> FloatArray:
    """Index positions (n, axes) where the contour cuts each line of voxels for the first and the last time.

    The hull of these is that of the whole contour: what lies between them on a line is no corner of it.
    """
    points = []
    for axis in range(mask.ndim):
        lines = np.argwhere(mask.any(axis=axis)).astype(np.float64)
        first = mask.argmax(axis=axis)[mask.any(axis=axis)]
        last = mask.shape[axis] - 1 - np.flip(mask, axis).argmax(axis=axis)[mask.any(axis=axis)]
        points += [np.insert(lines, axis, along, axis=1) for along in (first - 0.5, last + 0.5)]
    return np.concatenate(points)


def _hull(points: FloatArray) -> FloatArray:
    """The corners of the convex hull of points (n, 2) or (n, 3), which span the plane or space."""
    from scipy.spatial import ConvexHull

    corners: FloatArray = points[ConvexHull(points - points.mean(axis=0)).vertices]
    return corners


def _farthest(points: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """The pairs of points (n, d) farthest apart; more than one where they tie."""
    from scipy.spatial.distance import cdist

    longest, pairs = 0.0, []
    for start in range(0, len(points), POINTS_AT_ONCE):
        distances = cdist(points[start : start + POINTS_AT_ONCE], points[start:])
        longest = max(longest, float(distances.max()))
        rows, columns = np.nonzero(distances >= longest * (1 - TIE))
        pairs += [(start + i, start + j, distances[i, j]) for i, j in zip(rows, columns, strict=True)]
    return [(points[i], points[j]) for i, j, length in pairs if i < j and length >= longest * (1 - TIE)]


def _contour(plane: npt.NDArray[np.bool_]) -> FloatArray:
    """Segments (n, 2 ends, 2) of the contour of a mask (u, v), in indices."""
    cells = np.pad(plane, 1).astype(np.uint8)
    a, b, c, d = cells[:-1, :-1], cells[1:, :-1], cells[1:, 1:], cells[:-1, 1:]
    case = a + 2 * b + 4 * c + 8 * d
    found = []
    for number, pairs in enumerate(_CASES):
        corners = np.argwhere(case == number) - 1.0 if pairs else np.zeros((0, 2))
        found += [corners[:, None, :] + _EDGES[list(pair)] for pair in pairs]
    return np.concatenate(found)


def _longest_across(contour: FloatArray, along: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """The longest chord of a contour (n, 2 ends, 2) perpendicular to the direction `along` (2,), with its two ends.

    On every line across, the outermost points count. Their distance changes linearly between corners of the contour,
    so it is largest on the line through one of them.
    """
    unit = along / np.linalg.norm(along)
    axes = np.array([unit, [-unit[1], unit[0]]])  # rows: along, across
    ends = contour @ axes.T
    ends = np.take_along_axis(ends, np.argsort(ends[:, :, 0], axis=1)[:, :, None], axis=1)
    lines = np.unique(np.round(ends[:, :, 0], 9))
    segment, line = _spans(ends, lines)
    (t0, y0), (t1, y1) = ends[segment, 0].T, ends[segment, 1].T
    share = np.divide(lines[line] - t0, t1 - t0, out=np.zeros_like(t0), where=t1 - t0 > SAME_PLACE)
    heights = np.where(t1 - t0 > SAME_PLACE, y0 + np.clip(share, 0, 1) * (y1 - y0), y0)
    highest, lowest = np.full(len(lines), -np.inf), np.full(len(lines), np.inf)
    for values in (heights, np.where(t1 - t0 > SAME_PLACE, heights, y1)):
        np.maximum.at(highest, line, values)
        np.minimum.at(lowest, line, values)
    best = int(np.argmax(highest - lowest))
    low, high = (np.array([lines[best], height]) @ axes for height in (lowest[best], highest[best]))
    return float(highest[best] - lowest[best]), low, high


def _spans(ends: FloatArray, lines: FloatArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which segment (its ends in order of t) meets which of the lines across at t = `lines`, as two lists."""
    first = np.searchsorted(lines, ends[:, 0, 0] - SAME_PLACE, side="left")
    stop = np.searchsorted(lines, ends[:, 1, 0] + SAME_PLACE, side="right")
    counts = stop - first
    segment = np.repeat(np.arange(len(ends)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return segment, np.repeat(first, counts) + within


def _chord(first: FloatArray, second: FloatArray) -> Chord:
    start, end = ((float(p[0]), float(p[1]), float(p[2])) for p in (first, second))
    return Chord(float(np.linalg.norm(second - first)), start, end)
