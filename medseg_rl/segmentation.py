"""Labels and their voxels on one grid. Where labels overlap they lie in several layers, so that none is lost.

Opens no file and knows nothing of undo. Label values are the user's: packing into layers changes no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import GeometryError
from medseg_rl.labels import BACKGROUND, Label, LabelMap, label_dtype, translation_table, value_counts
from medseg_rl.volume import Box, Index, Spacing, Volume, corner_distance

SAME_GRID = 0.1  # of the smallest spacing, between corner voxel centres: rounding in the file


@dataclass(frozen=True, eq=False)
class Segmentation:
    """`layers`: integer volumes on one grid, at least one. `labels`: the table, values unique over all layers.

    `Label.layer` says in which layer the voxels of a value lie. A value that has no label counts as background here:
    `of_label_map` names all that occur. Warnings of a reader are in `source["warnings"]` of the first layer.
    """

    layers: tuple[Volume, ...]
    labels: LabelMap

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a segmentation needs a layer, if only an empty one")
        for layer in self.layers:
            if layer.array.dtype.kind not in "iu":
                raise ValueError(f"a layer holds integers, this one {layer.array.dtype}")
            if not is_same_grid(layer, self.grid):
                raise GeometryError("the layers of a segmentation lie on different grids; resample them to one")
        for label in self.labels.labels:
            if label.layer >= len(self.layers):
                raise ValueError(f"label {label.value} lies in layer {label.layer}, but there are {len(self.layers)}")

    @classmethod
    def of_label_map(cls, volume: Volume, labels: LabelMap | None = None) -> Self:
        """One layer from a label map (bool or integers); values without a label get one with its default name."""
        if volume.array.dtype == np.bool_:
            volume = volume.with_array(volume.array.view(np.uint8))
        single = LabelMap(tuple(replace(label, layer=0) for label in labels.labels)) if labels else LabelMap()
        return cls((volume,), single.completed(volume.array))

    @classmethod
    def of_masks(cls, masks: Sequence[tuple[Label, Volume | npt.NDArray[Any]]], like: Volume) -> Self:
        """Masks (True or not 0 inside) on the grid of `like`, each in the first layer where it overlaps no other.

        The layer a label came with does not count. Raises GeometryError when a mask lies on another grid.
        """
        dtype = label_dtype(label.value for label, _ in masks)
        arrays: list[npt.NDArray[Any]] = [np.zeros(like.shape, dtype)]
        labels = []
        for label, mask in masks:
            inside = _inside(mask, like)
            layer = _pack(arrays, inside, label.value)
            labels.append(replace(label, layer=layer))
        layers = (Volume(array, like.affine, like.modality, dict(like.source)) for array in arrays)
        return cls(tuple(layers), LabelMap(tuple(labels)))

    @property
    def grid(self) -> Volume:
        """The first layer, for its shape and affine."""
        return self.layers[0]

    @property
    def shape(self) -> Index:
        """Voxels along each axis."""
        return self.grid.shape

    @property
    def spacing(self) -> Spacing:
        """Distance in mm between neighbours along each array axis."""
        return self.grid.spacing

    @property
    def warnings(self) -> list[str]:
        """What the reader wants the user to know."""
        return list(self.grid.source.get("warnings", []))

    def mask_of(self, value: int) -> npt.NDArray[np.bool_]:
        """True inside the label of that value. Raises KeyError when there is no such label."""
        inside: npt.NDArray[np.bool_] = self.layers[self.labels[value].layer].array == value
        return inside

    @cached_property
    def voxels(self) -> dict[int, int]:
        """How many voxels each label holds, in the order of the table; 0 for a label without any."""
        counts = [value_counts(layer.array) for layer in self.layers]
        return {label.value: counts[label.layer].get(label.value, 0) for label in self.labels.labels}

    def facts(self) -> list[dict[str, Any]]:
        """One entry a label, in the order of the table, ready for JSON."""
        return [
            {
                "value": label.value,
                "name": label.name,
                "colour": list(label.colour),
                "layer": label.layer,
                "voxels": self.voxels[label.value],
                "volume_mm3": self.voxels[label.value] * self.grid.voxel_volume,
            }
            for label in self.labels.labels
        ]

    @cached_property
    def overlap_voxels(self) -> int:
        """Voxels that more than one label holds: what a single label map would lose."""
        if len(self.layers) == 1:
            return 0
        holders = np.zeros(self.shape, np.uint8)
        for layer in self.layers:
            holders += (layer.array != BACKGROUND) & (holders < 2)
        return int(np.count_nonzero(holders > 1))

    def flattened(self) -> Volume:
        """A single label map; where labels overlap the later one of the table wins. The caller warns of the loss."""
        if len(self.layers) == 1:
            return self.grid
        ends = (int(end) for layer in self.layers for end in (layer.array.min(), layer.array.max()))
        flat = self.grid.array.astype(label_dtype(ends))
        for layer in self.layers[1:]:
            held = layer.array != BACKGROUND
            contested = held & (flat != BACKGROUND)
            wins = self._rank(layer.array[contested]) > self._rank(flat[contested])
            held[contested] = wins
            flat[held] = layer.array[held]
        return self.grid.with_array(flat)

    def _rank(self, values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
        """Place in the table of each value; -1 for a value without a label."""
        known = np.array(self.labels.values, dtype=label_dtype(self.labels.values))
        order = np.argsort(known)
        found = np.searchsorted(known[order], values).clip(max=len(known) - 1)
        places: npt.NDArray[np.intp] = np.where(known[order][found] == values, order[found], -1)
        return places

    def only(self, values: Sequence[int]) -> Segmentation:
        """The labels of those values alone, in the order of the table; all else is background."""
        labels = [label for label in self.labels.labels if label.value in values]
        if len({label.layer for label in labels}) != 1:  # what lay over another label may now fit into one layer
            return Segmentation.of_masks([(label, self.mask_of(label.value)) for label in labels], self.grid)
        array = _kept(self.layers[labels[0].layer].array, [label.value for label in labels])
        layer = Volume(array, self.grid.affine, self.grid.modality, dict(self.grid.source))
        return Segmentation((layer,), LabelMap(tuple(replace(label, layer=0) for label in labels)))

    def with_labels(self, labels: LabelMap) -> Segmentation:
        """The same voxels under another table."""
        return Segmentation(self.layers, labels)


def is_same_grid(one: Volume, other: Volume) -> bool:
    """Whether two volumes differ by no more than the rounding of a file."""
    if one.shape != other.shape:
        return False
    return corner_distance(one.affine, other.affine, one.shape) <= SAME_GRID * min(other.spacing)


def _kept(array: npt.NDArray[Any], values: Sequence[int]) -> npt.NDArray[Any]:
    """The same labels where they have one of those values, else background."""
    dtype = label_dtype(values)
    if array.dtype.itemsize > 2:
        return np.where(np.isin(array, values), array, BACKGROUND).astype(dtype)
    kept: npt.NDArray[Any] = translation_table(array.dtype, {value: value for value in values}, dtype)[array]
    return kept


def _inside(mask: Volume | npt.NDArray[Any], like: Volume) -> npt.NDArray[np.bool_]:
    if isinstance(mask, Volume):
        if not is_same_grid(mask, like):
            raise GeometryError("a mask lies on another grid than its segmentation; resample it first")
        mask = mask.array
    elif mask.shape != like.shape:
        raise GeometryError(f"a mask is {mask.shape} voxels, its segmentation {like.shape}; resample it first")
    return mask if mask.dtype == np.bool_ else mask != 0


def _pack(arrays: list[npt.NDArray[Any]], inside: npt.NDArray[np.bool_], value: int) -> int:
    """Writes a mask into the first array that is empty there, a new one if need be; says into which."""
    box = Box.around_mask(inside)
    if box is None:
        return 0
    part = inside[box.slices]
    for layer, array in enumerate(arrays):
        if not array[box.slices][part].any():
            array[box.slices][part] = value
            return layer
    arrays.append(np.zeros_like(arrays[0]))
    arrays[-1][box.slices][part] = value
    return len(arrays) - 1
