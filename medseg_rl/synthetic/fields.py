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
Table = npt.NDArray[np.float64]

FAR_MM = 1e3

Compiled = TypeVar("Compiled", bound=Callable[..., Any])


def compiled(function: Compiled) -> Compiled:
    """Compile at the first call, without the GIL; keep the machine code on disk where any folder can be written."""
    try:
        return cast(Compiled, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # installed read-only and no cache folder of the user: compile again in every process
        return cast(Compiled, numba.njit(nogil=True)(function))


@compiled
def solid_field(positions: FloatMap, centre: Table, axes: Table, radii: Table, bend: float, power: float) -> FloatMap:
    """A bent superellipsoid. `positions`: mm (3, x, y, z). `axes`: rows are unit directions of the `radii` in mm.

    `bend`: how far, in radii of the second axis, the ends of the first axis are shifted along the second. `power` 2 is
    an ellipsoid, above it more of a box. First-order distance: value over length of the gradient.
    """
    _, nx, ny, nz = positions.shape
    field = np.empty((nx, ny, nz), np.float32)
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                x = positions[0, i, j, k] - centre[0]
                y = positions[1, i, j, k] - centre[1]
                z = positions[2, i, j, k] - centre[2]
                a = (axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z) / radii[0]
                b = (axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z) / radii[1]
                c = (axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z) / radii[2]
                b -= bend * (min(a * a, 4.0) - 0.5)
                if power == 2.0:
                    level = math.sqrt(a * a + b * b + c * c)
                else:
                    level = (abs(a) ** power + abs(b) ** power + abs(c) ** power) ** (1.0 / power)
                length = math.sqrt(a * a + b * b + c * c)
                if length < 1e-6:
                    field[i, j, k] = -min(radii[0], radii[1], radii[2])
                    continue
                slope = math.sqrt((a / radii[0]) ** 2 + (b / radii[1]) ** 2 + (c / radii[2]) ** 2) / length
                field[i, j, k] = (level - 1.0) / slope
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
