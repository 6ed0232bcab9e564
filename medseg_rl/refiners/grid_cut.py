"""Minimum cut of a 3D grid whose voxels are joined to their six neighbours and to two terminals: exact, no library.

Two search trees grow from the terminals until they touch, flow is pushed along the path found, and the voxels cut off
look for another parent (Boykov and Kolmogorov, IEEE TPAMI 26(9), 2004, sections 3 and 4; the marks of distance from
their section 3.2.3). Written from the paper, since the public libraries are GPL or built against NumPy 1. Capacities
are whole numbers, so the same grid gives the same cut on every machine. Knows nothing of images.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.kernels import compiled

Capacities = npt.NDArray[np.int32]

FREE, OBJECT, BACKGROUND = 0, 1, 2  # the tree a voxel belongs to
TERMINAL, ORPHAN, NOBODY = 6, 7, 8  # parents beside the six directions


def minimum_cut(
    terminal: Capacities, along: tuple[Capacities, Capacities, Capacities]
) -> tuple[npt.NDArray[np.bool_], int]:
    """True on the object's side of a cut of least cost (x, y, z), and what flowed: that cost, apart from a constant.

    `terminal` (x, y, z): capacity from the object's terminal where positive, to the background's where negative; a
    voxel on the other side pays its size. `along`: for each axis what it costs to cut between a voxel and the next
    along that axis, >= 0, of the same shape; the last plane of that axis counts for nothing. Voxels that no path joins
    to a terminal are background. Sums along an edge must stay below 2^31: keep capacities below 2^29.
    """
    padded = np.pad(np.asarray(terminal, np.int32), 1)
    strides = (padded.shape[1] * padded.shape[2], padded.shape[2], 1)
    capacity = np.zeros((6, padded.size), np.int32)
    for axis, cost in enumerate(along):
        forth = np.array(cost, np.int32)
        forth[tuple(-1 if a == axis else slice(None) for a in range(3))] = 0
        capacity[2 * axis] = np.pad(forth, 1).reshape(-1)
        capacity[2 * axis + 1] = np.roll(capacity[2 * axis], strides[axis])
    offsets = np.array([sign * stride for stride in strides for sign in (1, -1)], np.int64)
    tree, flow = _cut(padded.reshape(-1), capacity, offsets)
    return (tree == OBJECT).reshape(padded.shape)[1:-1, 1:-1, 1:-1], int(flow)


@compiled
def _cut(
    terminal: Capacities, capacity: Capacities, offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int8], int]:
    """The tree of every voxel of a flattened padded grid, and the flow. `capacity` (6, n) and `terminal` are used up.

    Direction d leads to voxel + offsets[d]; d ^ 1 leads back. Padding has no capacity, so no path enters it.
    """
    size = terminal.size
    tree = np.zeros(size, np.int8)
    parent = np.full(size, NOBODY, np.int8)
    marked = np.zeros(size, np.int32)  # when a voxel was last known to hang on its terminal
    distance = np.zeros(size, np.int32)  # and by how many steps
    queue = np.empty(size + 1, np.int32)  # active voxels, a ring
    queued = np.zeros(size, np.bool_)
    orphans = np.empty(size + 1, np.int32)  # a ring too
    head, tail, time, flow = 0, 0, 0, 0
    for voxel in range(size):
        if terminal[voxel] != 0:
            tree[voxel] = OBJECT if terminal[voxel] > 0 else BACKGROUND
            parent[voxel] = TERMINAL
            distance[voxel] = 1
            queue[tail] = voxel
            tail += 1
            queued[voxel] = True
    while head != tail:
        here = queue[head]
        if tree[here] == FREE:
            queued[here] = False
            head = head + 1 if head < size else 0
            continue
        # Growth: take in free neighbours until one of the other tree is met.
        meets, there = -1, here
        for d in range(6):
            there = here + offsets[d]
            left = capacity[d, here] if tree[here] == OBJECT else (capacity[d ^ 1, there] if 0 <= there < size else 0)
            if left <= 0:
                continue
            if tree[there] == FREE:
                tree[there] = tree[here]
                parent[there] = d ^ 1
                marked[there] = marked[here]
                distance[there] = distance[here] + 1
                if not queued[there]:
                    queued[there] = True
                    queue[tail] = there
                    tail = tail + 1 if tail < size else 0
            elif tree[there] != tree[here]:
                meets = d
                break
            elif marked[there] <= marked[here] and distance[there] > distance[here] + 1:
                parent[there] = d ^ 1  # a shorter way to the terminal
                marked[there] = marked[here]
                distance[there] = distance[here] + 1
        if meets < 0:
            queued[here] = False
            head = head + 1 if head < size else 0
            continue
        time += 1
        object_end, background_end, bridge = here, there, meets
        if tree[here] == BACKGROUND:
            object_end, background_end, bridge = there, here, meets ^ 1
        # Augmentation: the narrowest place of the path decides.
        narrowest = capacity[bridge, object_end]
        voxel = object_end
        while parent[voxel] != TERMINAL:
            d = parent[voxel]
            voxel += offsets[d]
            narrowest = min(narrowest, capacity[d ^ 1, voxel])
        narrowest = min(narrowest, terminal[voxel])
        voxel = background_end
        while parent[voxel] != TERMINAL:
            d = parent[voxel]
            narrowest = min(narrowest, capacity[d, voxel])
            voxel += offsets[d]
        narrowest = min(narrowest, -terminal[voxel])
        flow += narrowest
        first, last = 0, 0
        capacity[bridge, object_end] -= narrowest
        capacity[bridge ^ 1, background_end] += narrowest
        voxel = object_end
        while parent[voxel] != TERMINAL:
            d = parent[voxel]
            above = voxel + offsets[d]
            capacity[d ^ 1, above] -= narrowest
            capacity[d, voxel] += narrowest
            if capacity[d ^ 1, above] == 0:
                parent[voxel] = ORPHAN
                orphans[last] = voxel
                last += 1
            voxel = above
        terminal[voxel] -= narrowest
        if terminal[voxel] == 0:
            parent[voxel] = ORPHAN
            orphans[last] = voxel
            last += 1
        voxel = background_end
        while parent[voxel] != TERMINAL:
            d = parent[voxel]
            above = voxel + offsets[d]
            capacity[d, voxel] -= narrowest
            capacity[d ^ 1, above] += narrowest
            if capacity[d, voxel] == 0:
                parent[voxel] = ORPHAN
                orphans[last] = voxel
                last += 1
            voxel = above
        terminal[voxel] += narrowest
        if terminal[voxel] == 0:
            parent[voxel] = ORPHAN
            orphans[last] = voxel
            last += 1
        # Adoption: whoever lost its parent looks for the nearest one that still hangs on the terminal.
        while first != last:
            orphan = orphans[first]
            first = first + 1 if first < size else 0
            nearest, adopter = np.int32(2147483647), -1
            for d in range(6):
                there = orphan + offsets[d]
                if not 0 <= there < size or tree[there] != tree[orphan]:
                    continue
                left = capacity[d ^ 1, there] if tree[orphan] == OBJECT else capacity[d, orphan]
                if left <= 0:
                    continue
                steps, above = 0, there
                rooted = True
                while marked[above] != time or parent[above] == ORPHAN:
                    way = parent[above]
                    if way == TERMINAL:
                        marked[above] = time
                        distance[above] = 1
                        break
                    if way >= ORPHAN:  # or nobody
                        rooted = False
                        break
                    steps += 1
                    above += offsets[way]
                if not rooted:
                    continue
                total = distance[above] + steps
                if total < nearest:
                    nearest, adopter = np.int32(total), d
                while marked[there] != time:
                    marked[there] = time
                    distance[there] = total
                    total -= 1
                    there += offsets[parent[there]]
            if adopter >= 0:
                parent[orphan] = adopter
                marked[orphan] = time
                distance[orphan] = nearest + 1
                continue
            for d in range(6):
                there = orphan + offsets[d]
                if not 0 <= there < size or tree[there] != tree[orphan]:
                    continue
                left = capacity[d ^ 1, there] if tree[orphan] == OBJECT else capacity[d, orphan]
                if left > 0 and not queued[there]:
                    queued[there] = True
                    queue[tail] = there
                    tail = tail + 1 if tail < size else 0
                if parent[there] == d ^ 1:
                    parent[there] = ORPHAN
                    orphans[last] = there
                    last = last + 1 if last < size else 0
            tree[orphan] = FREE
            parent[orphan] = NOBODY
    return tree, flow
