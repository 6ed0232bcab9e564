"""Packs masks that come one after another into as few label maps as their overlaps need.

For readers of objects in which segments may overlap: one mask is in memory at a time, never all of them. Opens no file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import InputFileError
from medseg_rl.imageio.limits import MAX_VOXELS
from medseg_rl.labels import Label, LabelMap, label_dtype
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Box, FloatArray, Index, Volume


class LayerBuilder:
    """Layers of `shape` that grow in number as masks are added. `path` is named when there are too many."""

    def __init__(self, path: Path, shape: Index, values: Iterable[int]) -> None:
        self._path = path
        self._shape = shape
        self._dtype = label_dtype(values)
        self._labels: list[Label] = []
        self.layers = [self._empty()]

    def add(self, label: Label, box: Box | None, inside: npt.NDArray[np.bool_] | None) -> None:
        """Puts a label into the first layer that is empty under it. `inside`: True in the label, of the box's shape.

        None for a label without voxels. Raises InputFileError when so many labels overlap that they fill the memory.
        """
        layer = 0
        if box is not None and inside is not None:
            layer = self._layer_free(box, inside)
            self.layers[layer][box.slices][inside] = label.value
        self._labels.append(replace(label, layer=layer))

    def finished(self, affine: FloatArray, source: dict[str, Any], like: Volume | None = None) -> Segmentation:
        """All labels in the order in which they came."""
        modality = like.modality if like else None
        volumes = (Volume(array, affine, modality, dict(source)) for array in self.layers)
        return Segmentation(tuple(volumes), LabelMap(tuple(self._labels)))

    def _layer_free(self, box: Box, inside: npt.NDArray[np.bool_]) -> int:
        for number, array in enumerate(self.layers):
            if not array[box.slices][inside].any():
                return number
        if (len(self.layers) + 1) * math.prod(self._shape) * self._dtype.itemsize > MAX_VOXELS:
            raise InputFileError(
                f"{self._path} has more than {len(self.layers)} labels over one another, too many for a volume of"
                f" {math.prod(self._shape)} voxels; split the file"
            )
        self.layers.append(self._empty())
        return len(self.layers) - 1

    def _empty(self) -> npt.NDArray[Any]:
        return np.zeros(self._shape, self._dtype, order="F")  # x fastest, as the frames come


def unused_value(taken: Iterable[int]) -> int:
    """The smallest positive value that is not taken."""
    used = set(taken)
    return next(value for value in range(1, len(used) + 2) if value not in used)
