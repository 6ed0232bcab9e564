"""The inner loops of hints and robots, compiled by numba on the user's machine (no compiler needed) and kept on disk.

Plain float arithmetic without reordering: the same input gives the same bits on every call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

FloatMap = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

Compiled = TypeVar("Compiled", bound=Callable[..., Any])


def compiled(function: Compiled) -> Compiled:
    """Compile at the first call, without the GIL; keep the machine code on disk where any folder can be written."""
    try:
        return cast(Compiled, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # installed read-only and no cache folder of the user: compile again in every process
        return cast(Compiled, numba.njit(nogil=True)(function))


@compiled
def squared_depth(region: npt.NDArray[np.bool_], squared_spacing: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Exact squared distance in mm2 of each True voxel to the nearest voxel that is not; outside the array is not.

    `region`: (x, y, z), C order. One axis after the other; along each, the search ends where distance alone exceeds the
    best found, so thin regions, the usual error of a mask, cost least.
    """
    nx, ny, nz = region.shape
    first = np.zeros((nx, ny, nz))
    for x in range(nx):
        for y in range(ny):
            steps = 0
            for z in range(nz):
                steps = steps + 1 if region[x, y, z] else 0
                first[x, y, z] = steps
            steps = 0
            for z in range(nz - 1, -1, -1):
                steps = steps + 1 if region[x, y, z] else 0
                nearest = min(first[x, y, z], float(steps))
                first[x, y, z] = nearest * nearest * squared_spacing[2]
    second = np.zeros((nx, ny, nz))
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                best = first[x, y, z]
                step = 1
                while step * step * squared_spacing[1] < best:
                    below = first[x, y - step, z] if y >= step else 0.0
                    above = first[x, y + step, z] if y + step < ny else 0.0
                    best = min(best, min(below, above) + step * step * squared_spacing[1])
                    step += 1
                second[x, y, z] = best
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                best = second[x, y, z]
                step = 1
                while step * step * squared_spacing[0] < best:
                    below = second[x - step, y, z] if x >= step else 0.0
                    above = second[x + step, y, z] if x + step < nx else 0.0
                    best = min(best, min(below, above) + step * step * squared_spacing[0])
                    step += 1
                first[x, y, z] = best
    return first


@compiled
def squared_distance_to_other(
    mask: npt.NDArray[np.bool_], squared_spacing: npt.NDArray[np.float64], squared_limit: float
) -> npt.NDArray[np.float64]:
    """Exact squared distance in mm2 of each voxel to the nearest one of the other kind, at most `squared_limit`.

    `mask`: (x, y, z), C order; nothing lies outside the array. One axis after the other: along each, a voxel of the
    other kind is as near as the steps to it, one of the same kind adds what it found itself.
    """
    nx, ny, nz = mask.shape
    first = np.full((nx, ny, nz), squared_limit)
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                step = 1
                while step * step * squared_spacing[2] < first[x, y, z] and (step <= z or z + step < nz):
                    kind = mask[x, y, z]
                    if (step <= z and mask[x, y, z - step] != kind) or (z + step < nz and mask[x, y, z + step] != kind):
                        first[x, y, z] = step * step * squared_spacing[2]
                    step += 1
    second = first.copy()
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                best, step = first[x, y, z], 1
                while step * step * squared_spacing[1] < best and (step <= y or y + step < ny):
                    further = step * step * squared_spacing[1]
                    for place in (y - step, y + step):
                        if 0 <= place < ny:
                            same = mask[x, place, z] == mask[x, y, z]
                            best = min(best, further + (first[x, place, z] if same else 0.0))
                    step += 1
                second[x, y, z] = best
    third = second.copy()
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                best, step = second[x, y, z], 1
                while step * step * squared_spacing[0] < best and (step <= x or x + step < nx):
                    further = step * step * squared_spacing[0]
                    for place in (x - step, x + step):
                        if 0 <= place < nx:
                            same = mask[place, y, z] == mask[x, y, z]
                            best = min(best, further + (second[place, y, z] if same else 0.0))
                    step += 1
                third[x, y, z] = best
    return third


@compiled
def stamp(
    hints: FloatMap, click: Integers, spacing: npt.NDArray[np.float64], shape: int, scale: float, reach: float
) -> None:
    """Raise `hints` (x, y, z) in place to the profile of one click, where its exact distance is at most `reach` mm.

    `shape` 0: exp(-distance / scale); 1: exp(-distance^2 / (2 scale^2)); 2: 1 everywhere within reach.
    """
    low = np.empty(3, np.int64)
    high = np.empty(3, np.int64)
    for axis in range(3):
        margin = int(reach / spacing[axis]) + 1
        low[axis] = max(0, click[axis] - margin)
        high[axis] = min(hints.shape[axis], click[axis] + margin + 1)
    limit = (reach + 1e-9) ** 2
    for x in range(low[0], high[0]):
        dx = ((x - click[0]) * spacing[0]) ** 2
        for y in range(low[1], high[1]):
            dy = ((y - click[1]) * spacing[1]) ** 2
            for z in range(low[2], high[2]):
                squared = dx + dy + ((z - click[2]) * spacing[2]) ** 2
                if squared <= limit:
                    value = 1.0
                    if shape == 0:
                        value = math.exp(-math.sqrt(squared) / scale)
                    elif shape == 1:
                        value = math.exp(-squared / (2.0 * scale * scale))
                    hints[x, y, z] = max(hints[x, y, z], np.float32(value))


@compiled
def spread(
    distance: FloatMap,
    image: FloatMap,
    sources: Integers,
    offsets: Integers,
    lengths: FloatMap,
    ways: Integers,
    way_counts: Integers,
    contrast: np.float32,
    cutoff: np.float32,
    bucket_width: np.float32,
) -> Integers:
    """Lower `distance` in place to the shortest paths from `sources`; return the flat indices of all voxels it lowered.

    `distance`, `image`: flattened padded grids; padding holds -1 in `distance`, so that no path enters it. `offsets`
    (m): flat step of each edge; `lengths` (m): its cost for its length. `ways` (m, 4, 2): flat steps of the two
    voxels passed on each lattice way beside an edge, `way_counts` (m) of them; the cheapest one counts, and without
    any the edge itself. A way costs `contrast` x the sum of its intensity changes. Distances of `cutoff` and more
    stay.

    Exact on this graph: buckets of distance in ascending order, and a voxel lowered again is queued again. A float sum
    along a path never falls, so the result is the minimum over all paths and sources, whatever was known before.
    """
    buckets = int(cutoff / bucket_width) + 2
    head = np.full(buckets, -1, np.int64)
    after = np.full(distance.size, -1, np.int32)
    before = np.full(distance.size, -1, np.int32)
    bucket_of = np.full(distance.size, -1, np.int32)
    was_lowered = np.zeros(distance.size, np.bool_)
    lowered = np.empty(distance.size, np.int64)
    count = 0
    for voxel in sources:
        if distance[voxel] > 0:
            distance[voxel] = 0
            bucket_of[voxel] = 0
            before[voxel] = -1
            after[voxel] = head[0]
            if head[0] >= 0:
                before[head[0]] = voxel
            head[0] = voxel
            was_lowered[voxel] = True
            lowered[count] = voxel
            count += 1
    for bucket in range(buckets):
        while head[bucket] >= 0:
            here = head[bucket]
            head[bucket] = after[here]
            if after[here] >= 0:
                before[after[here]] = -1
            bucket_of[here] = -1
            at_here = distance[here]
            value_here = image[here]
            for edge in range(offsets.size):
                there = here + offsets[edge]
                known = min(distance[there], cutoff)
                so_far = at_here + lengths[edge]
                if so_far >= known:
                    continue
                value_there = image[there]
                change = abs(value_there - value_here)
                total = so_far + contrast * change
                if total >= known:  # no way changes less than its ends differ
                    continue
                if way_counts[edge] > 0:
                    least = np.float32(np.inf)
                    for way in range(way_counts[edge]):
                        early = image[here + ways[edge, way, 0]]
                        late = image[here + ways[edge, way, 1]]
                        least = min(least, abs(early - value_here) + abs(late - early) + abs(value_there - late))
                    total = so_far + contrast * max(change, least)
                    if total >= known:
                        continue
                distance[there] = total
                target = int(total / bucket_width)
                if bucket_of[there] != target:
                    if bucket_of[there] >= 0:
                        if before[there] >= 0:
                            after[before[there]] = after[there]
                        else:
                            head[bucket_of[there]] = after[there]
                        if after[there] >= 0:
                            before[after[there]] = before[there]
                    bucket_of[there] = target
                    before[there] = -1
                    after[there] = head[target]
                    if head[target] >= 0:
                        before[head[target]] = there
                    head[target] = there
                if not was_lowered[there]:
                    was_lowered[there] = True
                    lowered[count] = there
                    count += 1
    return lowered[:count]


@compiled
def decay(hints: FloatMap, distance: FloatMap, voxels: Integers, scale: float) -> None:
    """Set `hints` (flat) at `voxels` to exp(-distance / scale)."""
    for voxel in voxels:
        hints[voxel] = np.float32(math.exp(-distance[voxel] / scale))
