"""The path length of the hint maps, from any set of voxels instead of from clicks: same graph, same kernel, in mm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.edges import edges_for
from medseg_rl.hints.kernels import spread
from medseg_rl.volume import Spacing

DistanceMap = npt.NDArray[np.float32]
BUCKETS = 512


def geodesic_distance(
    image: npt.NDArray[np.float32],
    sources: npt.NDArray[np.bool_],
    spacing: Spacing,
    *,
    lam: float,
    kappa_mm: float,
    cutoff_mm: float,
) -> DistanceMap:
    """Length of a shortest path from the True voxels of `sources` to each voxel (x, y, z), infinite beyond the cutoff.

    A path costs (1 - lam) x its mm plus lam x kappa_mm x the intensity changes along it, as in `hints.maps`.
    """
    edges = edges_for(spacing)
    pad = edges.reach
    padded = np.pad(np.asarray(image, dtype=np.float32), pad)
    distance = np.full(padded.shape, -1.0, dtype=np.float32)  # a path never enters the padding
    inside = tuple(slice(pad, size - pad) for size in padded.shape)
    distance[inside] = np.inf
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1], dtype=np.int64)
    lengths = ((1.0 - lam) * edges.lengths).astype(np.float32)
    spread(
        distance.reshape(-1),
        padded.reshape(-1),
        (np.argwhere(sources) + pad) @ strides,
        edges.steps @ strides,
        lengths,
        edges.ways @ strides,
        edges.way_counts,
        np.float32(lam * kappa_mm),
        np.float32(cutoff_mm),
        np.float32(max(float(lengths.min()), cutoff_mm / BUCKETS)),
    )
    return distance[inside]
