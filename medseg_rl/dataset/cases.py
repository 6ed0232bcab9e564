"""One labelled image as a case, a folder of them as a data set, and the hashes that identify both.

Opens files through `imageio` alone and changes none. Knows neither layouts nor how a split is drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.imageio import read_mask, read_volume
from medseg_rl.volume import Volume

Target = Literal["whole"] | tuple[int, ...]
WHOLE: Literal["whole"] = "whole"
SPLITS = ("train", "val", "test")
_HASH_BLOCK = 1 << 20


@dataclass(frozen=True)
class Case:
    """One image with its reference. `group` is the subject; `label_voxels` counts the voxels of each label value.

    `time_point`: which volume of a file with several is the image, from 0.
    """

    id: str
    image_path: Path
    label_path: Path
    group: str
    split: str
    modality: str | None = None
    label_voxels: Mapping[int, int] = field(default_factory=dict, compare=False)
    time_point: int | None = None

    def has(self, target: Target) -> bool:
        """Whether the reference holds a voxel of `target`."""
        return any(self.label_voxels.get(value, 0) for value in self.label_voxels if is_target(value, target))

    def load(self, target: Target = WHOLE) -> tuple[Volume, npt.NDArray[np.bool_]]:
        """Image with its modality, and the reference of its shape: True inside `target`."""
        image = read_volume(self.image_path, time_point=self.time_point)
        image = Volume(image.array, image.affine, image.modality or self.modality, image.source)
        label_map = read_mask(self.label_path).array
        if label_map.shape != image.shape:
            raise GeometryError(f"{self.id}: image is {image.shape} voxels but label is {label_map.shape}")
        return image, label_map > 0 if target == WHOLE else np.isin(label_map, target)


@dataclass(frozen=True)
class Dataset:
    """Cases of one folder, sorted by id. `labels` names the label values.

    `licence` and `reference` are what dataset.json states. `layout`: how the folder is arranged. `split_drawn`:
    whether the split was drawn here, as the folder states none.
    """

    folder: Path
    name: str
    all_cases: tuple[Case, ...]
    labels: Mapping[int, str]
    licence: str
    reference: str = ""
    layout: str = "Decathlon"
    split_drawn: bool = False

    def cases(self, split: str, target: Target = WHOLE) -> tuple[Case, ...]:
        """Cases of a split whose reference is not empty of `target`."""
        if split not in SPLITS:
            raise InputFileError(f"there is no split {split!r}; the splits are {', '.join(SPLITS)}")
        return tuple(case for case in self.all_cases if case.split == split and case.has(target))

    def empty(self, target: Target = WHOLE) -> tuple[Case, ...]:
        """Cases that `cases` leaves out, as their reference is empty of `target`: tables must count them."""
        return tuple(case for case in self.all_cases if not case.has(target))

    def case(self, case_id: str) -> Case:
        """The case of that id."""
        for case in self.all_cases:
            if case.id == case_id:
                return case
        raise InputFileError(f"{self.folder} has no case {case_id!r}; `medseg-rl data check` lists them")

    def __iter__(self) -> Iterator[Case]:
        return iter(self.all_cases)

    def __len__(self) -> int:
        return len(self.all_cases)

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 over sorted lines "relative path, file SHA-256" of every image and label (protocol section 9)."""
        lines = []
        for case in self.all_cases:
            for path in (case.image_path, case.label_path):
                lines.append(f"{path.relative_to(self.folder).as_posix()}, {hash_file(path)}")
            if case.time_point is not None:
                lines.append(f"{case.id}, volume {case.time_point} of its file")
        return hash_lines(lines)

    @cached_property
    def split_hash(self) -> str:
        """SHA-256 over sorted lines "id, group, split"."""
        return hash_lines(f"{case.id}, {case.group}, {case.split}" for case in self.all_cases)


def is_target(value: int, target: Target) -> bool:
    """Whether a label value belongs to the target; 0 is background always."""
    return value > 0 and (target == WHOLE or value in target)


def target_name(target: Target) -> str:
    """ "whole", or the label values joined by "+", such as "1+2"."""
    return WHOLE if target == WHOLE else "+".join(str(value) for value in sorted(target))


def hash_lines(lines: Iterable[str]) -> str:
    """SHA-256 of the sorted lines, each ended by a newline."""
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()
