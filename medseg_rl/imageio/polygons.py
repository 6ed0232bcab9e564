"""Polygons on a grid of pixels: filled by the even-odd rule, and traced around a mask along the borders of its pixels.

Pure arrays, in pixel coordinates with the centres at whole numbers; millimetres and files are the callers'.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import FloatArray

MOST_CROSSINGS = 1 << 20  # worked on at a time, so that a hostile polygon takes time and no memory
Corner = tuple[int, int]


def filled(polygons: Sequence[FloatArray], shape: Corner) -> tuple[Corner, npt.NDArray[np.bool_]]:
    """True where a pixel centre lies inside an odd number of closed polygons (n, 2): a polygon in another is a hole.

    Returns a window cut out of the grid of `shape` and its first pixel; what lies outside the grid is left out. A
    centre exactly on an edge belongs to the side of larger coordinates: neighbours share no pixel and lose none.
    """
    points = np.concatenate(polygons)
    low = np.clip(np.floor(points.min(axis=0)), 0, shape).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + 1, low, shape).astype(int)
    rows, columns = (int(n) for n in high - low)
    toggles = np.zeros((rows, columns + 1), np.uint8)
    for polygon in polygons:
        _cross(polygon - low, toggles)
    inside = np.bitwise_xor.accumulate(toggles, axis=1)[:, :columns].astype(bool)
    return (int(low[0]), int(low[1])), inside


def _cross(polygon: FloatArray, toggles: npt.NDArray[np.uint8]) -> None:
    """Flips, in each row of centres, the first pixel right of every crossing with an edge."""
    rows, columns = toggles.shape[0], toggles.shape[1] - 1
    start, end = polygon, np.roll(polygon, -1, axis=0)
    first = np.clip(np.ceil(np.minimum(start[:, 0], end[:, 0])), 0, rows).astype(int)
    stop = np.clip(np.ceil(np.maximum(start[:, 0], end[:, 0])), 0, rows).astype(int)
    edges = np.flatnonzero(stop > first)
    numbers = np.cumsum(stop[edges] - first[edges])
    for part in np.split(edges, np.flatnonzero(np.diff(numbers // MOST_CROSSINGS)) + 1):
        counts = stop[part] - first[part]
        edge = np.repeat(part, counts)
        row = first[edge] + np.arange(edge.size) - np.repeat(np.cumsum(counts) - counts, counts)
        share = (row - start[edge, 0]) / (end[edge, 0] - start[edge, 0])
        crossing = start[edge, 1] + share * (end[edge, 1] - start[edge, 1])
        column = np.clip(np.ceil(crossing), 0, columns).astype(int)
        np.bitwise_xor.at(toggles, (row, column), np.uint8(1))


def borders(mask: npt.NDArray[np.bool_]) -> list[FloatArray]:
    """Closed polygons (n, 2) along the pixel borders of a 2D mask, corners only, outer ones and holes alike.

    Their even-odd filling is the mask again, with half a pixel to spare for the rounding of a file.
    """
    corners = _corners(mask)
    by_row = _partners(np.lexsort((corners[:, 1], corners[:, 0])))
    by_column = _partners(np.lexsort((corners[:, 0], corners[:, 1])))
    todo = dict.fromkeys(range(len(corners)))
    loops: list[FloatArray] = []
    while todo:
        here = next(iter(todo))
        loop = []
        while here in todo:
            there = by_row[here]
            del todo[here], todo[there]
            loop += [here, there]
            here = by_column[there]
        loops.append(corners[loop].astype(np.float64) - 0.5)
    return loops


def _corners(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Where the border turns (n, 2), as the indices of the pixel behind the corner; twice where two pixels touch there.

    Along a row of corners the border runs from the 1st to the 2nd, from the 3rd to the 4th, and so on; in columns too.
    """
    padded = np.pad(mask, 1)
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    once = np.argwhere(a ^ b ^ c ^ d)
    twice = np.argwhere((a == d) & (b == c) & (a != b))
    return np.concatenate([once, twice, twice])


def _partners(order: npt.NDArray[np.intp]) -> list[int]:
    partners = np.empty(order.size, np.intp)
    partners[order[0::2]], partners[order[1::2]] = order[1::2], order[0::2]
    found: list[int] = partners.tolist()
    return found
