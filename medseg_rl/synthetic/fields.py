"""Distance fields of solids, tubes and cells: the inner loops of drawn anatomy, compiled by numba.

A field is float32 (x, y, z), about the distance in mm to a surface, negative inside. Solids and cells are measured at
given positions, which may be warped; tubes on the straight grid, and only near the tubes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

FloatMap = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Table = npt.NDArray[np.float64]

FAR_MM = 1e3

Compiled = TypeVar("Compiled", bound=Callable[..., Any])


def compiled(function: Compiled) -> Compiled:
    """Compile at the first call, without the GIL; keep the machine code on disk where any folder can be written."""
    try:
        return cast(Compiled, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # installed read-only and no cache folder of the user: compile again in every process
        return cast(Compiled, numba.njit(nogil=True)(function))


def solid_field(positions: FloatMap, centre: Table, axes: Table, radii: Table, bend: float, boxy: bool) -> FloatMap:
    """A bent ellipsoid. `positions`: mm (3, x, y, z). `axes`: rows are unit directions of the `radii` in mm.

    `bend`: how far, in radii of the second axis, the ends of the first axis are shifted along the second. `boxy`:
    a superellipsoid of power 4, not an ellipsoid. First-order distance: value over length of the gradient.
    """
    scaled = (np.asarray(axes) / np.asarray(radii)[:, None]).astype(np.float32)
    offset = (scaled @ np.asarray(centre, np.float32)).astype(np.float32)
    flat = positions.reshape(3, -1)
    inverse = (1 / np.asarray(radii)).astype(np.float32)
    args = (flat[0], flat[1], flat[2], scaled, offset, inverse, np.float32(bend))
    field: FloatMap = _box(*args) if boxy else _ellipsoid(*args)
    return field.reshape(positions.shape[1:])


@compiled
def _ellipsoid(
    x: FloatMap, y: FloatMap, z: FloatMap, axes: FloatMap, offset: FloatMap, inverse: FloatMap, bend: np.float32
) -> FloatMap:
    field = np.empty(x.size, np.float32)
    one, four, half, least = np.float32(1), np.float32(4), np.float32(0.5), np.float32(1e-12)
    for n in range(x.size):
        a = axes[0, 0] * x[n] + axes[0, 1] * y[n] + axes[0, 2] * z[n] - offset[0]
        b = axes[1, 0] * x[n] + axes[1, 1] * y[n] + axes[1, 2] * z[n] - offset[1]
        c = axes[2, 0] * x[n] + axes[2, 1] * y[n] + axes[2, 2] * z[n] - offset[2]
        b -= bend * (min(a * a, four) - half)
        squared = a * a + b * b + c * c + least
        a, b, c = a * inverse[0], b * inverse[1], c * inverse[2]
        length = np.sqrt(squared)
        field[n] = (length - one) * length / np.sqrt(a * a + b * b + c * c + least * inverse[0] * inverse[0])
    return field


@compiled
def _box(
    x: FloatMap, y: FloatMap, z: FloatMap, axes: FloatMap, offset: FloatMap, inverse: FloatMap, bend: np.float32
) -> FloatMap:
    field = np.empty(x.size, np.float32)
    one, four, half, least = np.float32(1), np.float32(4), np.float32(0.5), np.float32(1e-12)
    for n in range(x.size):
        a = axes[0, 0] * x[n] + axes[0, 1] * y[n] + axes[0, 2] * z[n] - offset[0]
        b = axes[1, 0] * x[n] + axes[1, 1] * y[n] + axes[1, 2] * z[n] - offset[1]
        c = axes[2, 0] * x[n] + axes[2, 1] * y[n] + axes[2, 2] * z[n] - offset[2]
        b -= bend * (min(a * a, four) - half)
        aa, bb, cc = a * a, b * b, c * c
        level = np.sqrt(np.sqrt(aa * aa + bb * bb + cc * cc))
        length = np.sqrt(aa + bb + cc + least)
        a, b, c = a * inverse[0], b * inverse[1], c * inverse[2]
        field[n] = (level - one) * length / np.sqrt(a * a + b * b + c * c + least * inverse[0] * inverse[0])
    return field


@compiled
def tube_field(shape: tuple[int, int, int], spacing: Table, segments: Table, reach: float) -> FloatMap:
    """Rounded cones. `segments` (n, 8): start (3), end (3), both in mm from the first voxel, and the radii at both.

    Beyond `reach` mm of a segment's surface the field is at least `reach`.
    """
    nx, ny, nz = shape
    field = np.full((nx, ny, nz), FAR_MM, np.float32)
    first, last = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for segment in segments:
        around = max(segment[6], segment[7]) + reach
        for axis in range(3):
            low, high = min(segment[axis], segment[axis + 3]), max(segment[axis], segment[axis + 3])
            first[axis] = max(0, math.ceil((low - around) / spacing[axis]))
            last[axis] = min(shape[axis] - 1, math.floor((high + around) / spacing[axis]))
        dx, dy, dz = segment[3] - segment[0], segment[4] - segment[1], segment[5] - segment[2]
        squared = max(dx * dx + dy * dy + dz * dz, 1e-9)
        for i in range(first[0], last[0] + 1):
            x = i * spacing[0] - segment[0]
            for j in range(first[1], last[1] + 1):
                y = j * spacing[1] - segment[1]
                for k in range(first[2], last[2] + 1):
                    z = k * spacing[2] - segment[2]
                    share = min(1.0, max(0.0, (x * dx + y * dy + z * dz) / squared))
                    u, v, w = x - share * dx, y - share * dy, z - share * dz
                    away = math.sqrt(u * u + v * v + w * w) - segment[6] - share * (segment[7] - segment[6])
                    if away < field[i, j, k]:
                        field[i, j, k] = away
    return field


@compiled
def cell_fields(positions: FloatMap, seeds: Table, stretch: Table) -> tuple[Labels, FloatMap]:
    """Which seed is nearest (uint8), and how far the wall to the next cell is, about, in mm (positive).

    `seeds`: mm (n, 3), n <= 255. `stretch` (n,): distances to a seed are divided by it, so large ones have large cells.
    """
    _, nx, ny, nz = positions.shape
    labels = np.zeros((nx, ny, nz), np.uint8)
    walls = np.empty((nx, ny, nz), np.float32)
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                best, second, nearest = 1e30, 1e30, 0
                for s in range(seeds.shape[0]):
                    x = positions[0, i, j, k] - seeds[s, 0]
                    y = positions[1, i, j, k] - seeds[s, 1]
                    z = positions[2, i, j, k] - seeds[s, 2]
                    squared = (x * x + y * y + z * z) / (stretch[s] * stretch[s])
                    if squared < best:
                        second, best, nearest = best, squared, s
                    elif squared < second:
                        second = squared
                labels[i, j, k] = nearest
                walls[i, j, k] = (math.sqrt(second) - math.sqrt(best)) / 2
    return labels, walls


def distance_field(mask: Mask, spacing: tuple[float, float, float]) -> FloatMap:
    """As `shapes.signed_distance`, in this thread alone, so that many processes may share few cores.

    mm to the boundary between voxels, negative inside; a boundary of the array is none of the object.
    """
    half, lengths = np.float32(0.5 * min(spacing)), np.asarray(spacing)
    field: FloatMap = np.sqrt(_squared_distance(mask, lengths)) - half
    box = tuple(
        slice(max(0, int(used[0]) - 1), int(used[-1]) + 2)
        for used in (np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
        if len(used)
    )
    if len(box) == 3:
        part = np.ascontiguousarray(mask[box])
        field[box] = np.where(part, half - np.sqrt(_squared_distance(~part, lengths)), field[box])
    return field


@compiled
def _squared_distance(mask: Mask, spacing: Table) -> FloatMap:
    """To the nearest True voxel; FAR_MM squared at most. Exact: lower envelopes of parabolas (Felzenszwalb 2012)."""
    nx, ny, nz = mask.shape
    squared = np.empty((nx, ny, nz), np.float32)
    line, best = np.empty(max(nx, ny), np.float64), np.empty(max(nx, ny), np.float64)
    sites, bounds = np.empty(max(nx, ny), np.int64), np.empty(max(nx, ny) + 1, np.float64)
    for i in range(nx):
        for j in range(ny):
            away = FAR_MM
            for k in range(nz):
                away = 0.0 if mask[i, j, k] else min(FAR_MM, away + spacing[2])
                squared[i, j, k] = away
            for k in range(nz - 1, -1, -1):
                away = 0.0 if mask[i, j, k] else min(FAR_MM, away + spacing[2])
                squared[i, j, k] = min(squared[i, j, k], away) ** 2
        for k in range(nz):
            line[:ny] = squared[i, :, k]
            _lower_envelope(line[:ny], spacing[1], best, sites, bounds)
            squared[i, :, k] = best[:ny]
    for j in range(ny):
        for k in range(nz):
            line[:nx] = squared[:, j, k]
            _lower_envelope(line[:nx], spacing[0], best, sites, bounds)
            squared[:, j, k] = best[:nx]
    return squared


@compiled
def _lower_envelope(line: Table, step: float, best: Table, sites: npt.NDArray[np.int64], bounds: Table) -> None:
    """`best[n]` = min over m of line[m] + (step * (n - m))^2. `sites`, `bounds`: room to work in."""
    low = high = line[0]
    for n in range(1, line.size):
        low, high = min(low, line[n]), max(high, line[n])
    if low == high:
        best[: line.size] = line
        return
    area, last = step * step, 0
    sites[0], bounds[0], bounds[1] = 0, -1e30, 1e30
    for n in range(1, line.size):
        while True:
            m = sites[last]
            cross = (line[n] - line[m]) / (2 * area * (n - m)) + 0.5 * (n + m)
            if cross > bounds[last] or last == 0:
                break
            last -= 1
        if cross <= bounds[last]:
            last = -1
            cross = -1e30
        last += 1
        sites[last], bounds[last], bounds[last + 1] = n, cross, 1e30
    last = 0
    for n in range(line.size):
        while bounds[last + 1] < n:
            last += 1
        best[n] = line[sites[last]] + area * (n - sites[last]) ** 2
