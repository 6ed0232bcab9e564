"""One label's voxels, cut to their box, so that measuring a small structure in a large volume stays cheap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import AxisOrder, Box, FloatArray, Index, Volume

LARGEST_LISTED = 2**16  # values above are looked for one by one, since the list of boxes grows with the value
SIDES = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True, eq=False)
class Region:
    """`mask`: True inside, only the part in `box`, which is None (and `mask` without voxels) where nothing is inside.

    `shape` and `affine` are those of the whole grid; indices count from its first voxel.
    """

    mask: npt.NDArray[np.bool_]
    box: Box | None
    shape: Index
    affine: FloatArray

    @property
    def voxels(self) -> int:
        """How many are inside."""
        return int(np.count_nonzero(self.mask))

    @property
    def cut_off(self) -> tuple[str, ...]:
        """The sides of the volume that the mask touches, where it may go on unseen: "R" of the patient, and so on."""
        if self.box is None:
            return ()
        order = AxisOrder.of(self.affine)
        touched = []
        for world, (axis, flipped) in enumerate(zip(order.permutation, order.flipped, strict=True)):
            ends = (self.box.start[axis] == 0, self.box.stop[axis] == self.shape[axis])
            low, high = reversed(ends) if flipped else ends
            touched += [side for side, touches in zip(SIDES[world], (low, high), strict=True) if touches]
        return tuple(touched)

    def within(self, box: Box) -> npt.NDArray[np.bool_]:
        """The mask in another box that holds it."""
        wide = np.zeros(box.shape, bool)
        if self.box is not None:
            a, b, c = box.start
            wide[self.box.shifted((-a, -b, -c)).slices] = self.mask
        return wide


def region_of(mask: npt.NDArray[np.bool_], affine: FloatArray) -> Region:
    """The region of a mask (x, y, z)."""
    box = Box.around_mask(mask)
    shape = Volume(mask, affine).shape
    return Region(np.zeros((0, 0, 0), bool) if box is None else mask[box.slices], box, shape, affine)


def regions_of(segmentation: Segmentation, values: Iterable[int]) -> dict[int, Region]:
    """The regions of some labels; an empty one for a value that no label has."""
    boxes = _boxes(segmentation)
    found = {}
    for value in values:
        layer = segmentation.labels[value].layer if value in segmentation.labels else 0
        array = segmentation.layers[layer].array
        box = boxes[layer].get(value)
        if value not in segmentation.labels or (box is None and _is_listed(value)):
            found[value] = Region(np.zeros((0, 0, 0), bool), None, segmentation.shape, segmentation.grid.affine)
        elif box is None:
            found[value] = region_of(array == value, segmentation.grid.affine)
        else:
            found[value] = Region(array[box.slices] == value, box, segmentation.shape, segmentation.grid.affine)
    return found


def _is_listed(value: int) -> bool:
    return 0 < value <= LARGEST_LISTED


def _boxes(segmentation: Segmentation) -> list[dict[int, Box]]:
    """For each layer the boxes of its listed values, found in one pass."""
    from scipy.ndimage import find_objects

    boxes = []
    for layer in segmentation.layers:
        found = find_objects(_listed(layer.array))
        boxes.append({n: _box(place) for n, place in enumerate(found, 1) if place is not None})
    return boxes


def _listed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype.itemsize <= 2 or (array.min() >= 0 and array.max() <= LARGEST_LISTED):
        return array
    return np.where((array > 0) & (array <= LARGEST_LISTED), array, 0).astype(np.int32)


def _box(place: tuple[slice, slice, slice]) -> Box:
    starts, stops = zip(*((s.start, s.stop) for s in place), strict=True)
    return Box(tuple(starts), tuple(stops))
