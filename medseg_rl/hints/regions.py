"""The errors of a mask as regions, and how deep a voxel lies in one. What every simulated user looks at.

Depth is the exact Euclidean distance to the nearest voxel outside the region; outside the array is outside the region.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from medseg_rl.components import connected_components
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.kernels import squared_depth
from medseg_rl.volume import Box, Index, Spacing

Mask = npt.NDArray[np.bool_]
Depth = npt.NDArray[np.float64]

VOXEL_UNITS: Spacing = (1.0, 1.0, 1.0)
SMALLEST_REGION = 10  # voxels; smaller errors wait until nothing larger is left
DEPTH_TIE = 1e-6


def depth_mm(region: Mask, spacing: Spacing = VOXEL_UNITS) -> Depth:
    """Distance (x, y, z) in mm of each True voxel to the nearest False one or to outside the array; 0 at False."""
    squared: Depth = squared_depth(np.ascontiguousarray(region), np.square(np.asarray(spacing, dtype=np.float64)))
    return np.sqrt(squared, out=squared)


def first_deepest(depth: Depth) -> Index:
    """First index in array order whose depth is the greatest, within rounding."""
    return unravelled(int(np.argmax(depth >= depth.max() - DEPTH_TIE)), depth.shape)


def without_clicks(depth: Depth, clicks: Iterable[Click], box: Box) -> Depth:
    """A copy of the depth on `box`, 0 at clicked voxels (indices of the whole volume)."""
    depth = depth.copy()
    for click in clicks:
        if box.contains(click.index):
            i, j, k = (n - start for n, start in zip(click.index, box.start, strict=True))
            depth[i, j, k] = 0.0
    return depth


def in_volume(index: Iterable[int], box: Box) -> Index:
    """An index of the box as an index of the volume the box lies in."""
    i, j, k = (int(n) + start for n, start in zip(index, box.start, strict=True))
    return i, j, k


def unravelled(flat: int, shape: tuple[int, ...]) -> Index:
    """Flat position in array order to an index."""
    i, j, k = (int(n) for n in np.unravel_index(flat, shape))
    return i, j, k


@dataclass(frozen=True, eq=False)
class Components:
    """26-connected components of one kind of error. `numbers`: (x, y, z) of `box`, 0 outside, k + 1 for component k.

    `volumes` (n): voxels of each; `extents` (n, 6): first and last voxel of each along each axis, counted in `box`.
    `label`: what their voxels should be.
    """

    numbers: npt.NDArray[Any]
    box: Box
    volumes: npt.NDArray[np.int64]
    extents: npt.NDArray[np.int64]
    label: ClickLabel

    @classmethod
    def of(cls, wrong: Mask, label: ClickLabel) -> Components:
        """Those of the True voxels, which may be none."""
        box = Box.around_mask(wrong)
        if box is None:
            none = np.zeros((0, 6), dtype=np.int64)
            return cls(np.zeros((0, 0, 0), dtype=np.uint16), Box((0, 0, 0), (0, 0, 0)), none[:, 0], none, label)
        numbers = np.ascontiguousarray(connected_components(wrong[box.slices]))
        statistics = cc3d.statistics(numbers, no_slice_conversion=True)
        volumes = statistics["voxel_counts"][1:].astype(np.int64)
        return cls(numbers, box, volumes, statistics["bounding_boxes"][1:].astype(np.int64), label)

    def region(self, k: int, spacing: Spacing) -> Region:
        """Component k by itself."""
        low, high = self.extents[k, 0::2], self.extents[k, 1::2] + 1
        x, y, z = (slice(a, b) for a, b in zip(low, high, strict=True))
        box = Box(in_volume(low, self.box), in_volume(high, self.box))
        return Region(self.numbers[x, y, z] == k + 1, box, self.label, spacing)


@dataclass(frozen=True, eq=False)
class Region:
    """One connected error. `inside`: (x, y, z) of its `box` in the volume. `label`: what its voxels should be."""

    inside: Mask
    box: Box
    label: ClickLabel
    spacing: Spacing

    @cached_property
    def depth(self) -> Depth:
        """mm to outside the region, on its box."""
        return depth_mm(self.inside, self.spacing)

    def deepest(self) -> Index:
        """Its deepest voxel, as an index of the volume."""
        return in_volume(first_deepest(self.depth), self.box)


def largest_first(reference: Mask, mask: Mask, spacing: Spacing) -> Iterator[Region]:
    """Missed and false regions in the primary robot's order.

    Volume descending, missed before false, smallest index of the deepest voxel; without regions of fewer than 10 voxels
    unless there is none larger.
    """
    kinds = [
        Components.of(reference & ~mask, ClickLabel.FOREGROUND),
        Components.of(mask & ~reference, ClickLabel.BACKGROUND),
    ]
    entries = [(-int(volume), kind, k) for kind, c in enumerate(kinds) for k, volume in enumerate(c.volumes)]
    large = [entry for entry in entries if -entry[0] >= SMALLEST_REGION]
    for _, tied in itertools.groupby(sorted(large or entries), key=lambda entry: entry[:2]):
        regions = [kinds[kind].region(k, spacing) for _, kind, k in tied]
        yield from regions if len(regions) == 1 else sorted(regions, key=Region.deepest)
