"""A folder in the layout of the Medical Segmentation Decathlon as cases with a split by subject.

Opens files through `imageio` alone, changes none, and never splits anew where `splits.json` says how. Knows no network.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.imageio import read_mask, read_volume
from medseg_rl.volume import Volume

Target = Literal["whole"] | tuple[int, ...]
WHOLE: Literal["whole"] = "whole"
SPLITS = ("train", "val", "test")
DATA_VARIABLE = "MEDSEG_RL_DATA"

_SPLIT_SEED = 20260101
_HELD_OUT_SHARE = 0.15  # of the subjects, for validation and again for the test
_MODALITIES = {"MRI": "MR", "MR": "MR", "CT": "CT", "PET": "PT", "PT": "PT"}
_HASH_BLOCK = 1 << 20


@dataclass(frozen=True)
class Case:
    """One image with its reference. `group` is the subject; `label_voxels` counts the voxels of each label value."""

    id: str
    image_path: Path
    label_path: Path
    group: str
    split: str
    modality: str | None = None
    label_voxels: Mapping[int, int] = field(default_factory=dict, compare=False)

    def has(self, target: Target) -> bool:
        """Whether the reference holds a voxel of `target`."""
        return any(self.label_voxels.get(value, 0) for value in self.label_voxels if is_target(value, target))

    def load(self, target: Target = WHOLE) -> tuple[Volume, npt.NDArray[np.bool_]]:
        """Image with its modality, and the reference of its shape: True inside `target`."""
        image = read_volume(self.image_path)
        image = Volume(image.array, image.affine, image.modality or self.modality, image.source)
        label_map = read_mask(self.label_path).array
        if label_map.shape != image.shape:
            raise GeometryError(f"{self.id}: image is {image.shape} voxels but label is {label_map.shape}")
        return image, label_map > 0 if target == WHOLE else np.isin(label_map, target)


@dataclass(frozen=True)
class Dataset:
    """Cases of one folder, sorted by id. `labels` names the label values.

    `licence` and `reference` are what dataset.json states.
    """

    folder: Path
    name: str
    all_cases: tuple[Case, ...]
    labels: Mapping[int, str]
    licence: str
    reference: str = ""

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
        raise InputFileError(f"{self.folder} has no case {case_id!r}; look into its dataset.json for the ids")

    def __iter__(self) -> Iterator[Case]:
        return iter(self.all_cases)

    def __len__(self) -> int:
        return len(self.all_cases)

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 over sorted lines "relative path, file SHA-256" of every image and label (protocol section 9)."""
        paths = [path for case in self.all_cases for path in (case.image_path, case.label_path)]
        return hash_lines(f"{path.relative_to(self.folder).as_posix()}, {hash_file(path)}" for path in paths)

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


def find_data_root(explicit: Path | str | None = None) -> Path:
    """Folder of the data sets: `explicit`, else $MEDSEG_RL_DATA, else `shared/data` beside a source checkout."""
    if explicit is not None or os.environ.get(DATA_VARIABLE):
        root = Path(explicit if explicit is not None else os.environ[DATA_VARIABLE])
        if not root.is_dir():
            raise InputFileError(f"{root} is not a folder; give the folder of the data sets with --data")
        return root
    checkout = Path(__file__).resolve().parents[1]
    beside = checkout.parent / "shared" / "data"
    if (checkout / "pyproject.toml").is_file() and beside.is_dir():
        return beside
    raise InputFileError(f"no data folder is known; give it with --data or set {DATA_VARIABLE}")


def load_dataset(folder: Path | str) -> Dataset:
    """Reads and checks a folder: every pair there, shapes agree, counts as stated, no subject in two splits.

    The split is `splits.json` (lists of ids under train, val, test). Without one it is drawn by subject, 70 / 15 / 15,
    the same at each call. The subject is the case's `group` in `splits.json` ("groups": {id: group}) or in an
    `index.json` in the folder or beside it, else the case itself.
    Raises `InputFileError`, or `GeometryError` where an image and its label disagree.
    """
    folder = Path(folder)
    description = _read_json(folder / "dataset.json")
    pairs = _pairs(folder, description)
    splits_path = folder / "splits.json"
    stated = _read_json(splits_path) if splits_path.is_file() else {}
    groups = _groups(folder, stated, pairs)
    splits = _splits(stated, splits_path, groups) if stated else _draw_splits(groups)
    _check_subjects(splits, groups)
    modality = _MODALITIES.get(str(next(iter(description.get("modality", {}).values()), "")).upper())
    cases = tuple(
        Case(
            case_id,
            *pairs[case_id],
            groups[case_id],
            splits[case_id],
            modality,
            _count_labels(folder, case_id, *pairs[case_id]),
        )
        for case_id in sorted(pairs)
        if case_id in splits
    )
    labels = {int(value): str(name) for value, name in description.get("labels", {}).items()}
    return Dataset(
        folder,
        str(description.get("name") or folder.name),
        cases,
        labels,
        str(description.get("licence", "not stated")),
        str(description.get("reference", "")),
    )


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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputFileError(f"{path} is missing; a data set needs dataset.json, imagesTr and labelsTr") from None
    except (OSError, ValueError) as error:
        raise InputFileError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputFileError(f"{path} must hold one JSON object")
    return content


def _pairs(folder: Path, description: Mapping[str, Any]) -> dict[str, tuple[Path, Path]]:
    listed = description.get("training")
    if not isinstance(listed, list) or not listed:
        raise InputFileError(f"{folder / 'dataset.json'} lists no case under 'training'")
    if description.get("numTraining", len(listed)) != len(listed):
        raise InputFileError(
            f"{folder / 'dataset.json'} announces {description['numTraining']} cases but lists {len(listed)}"
        )
    pairs: dict[str, tuple[Path, Path]] = {}
    for entry in listed:
        try:
            image, label = folder / entry["image"], folder / entry["label"]
        except (TypeError, KeyError):
            raise InputFileError(f"{folder / 'dataset.json'}: {entry!r} needs an 'image' and a 'label'") from None
        for path in (image, label):
            if not path.is_file():
                raise InputFileError(f"{path} is listed in dataset.json but missing")
        case_id = image.name.removesuffix(".gz").removesuffix(".nii")
        if case_id in pairs:
            raise InputFileError(f"{folder / 'dataset.json'} lists {case_id} twice")
        pairs[case_id] = image, label
    return pairs


def _groups(folder: Path, stated: Mapping[str, Any], ids: Iterable[str]) -> dict[str, str]:
    known: dict[str, str] = {}
    for path in (folder / "index.json", folder.parent / "index.json"):
        if path.is_file():
            index = _read_json(path)
            entry = index.get("sets", {}).get(folder.resolve().name, {}) if "sets" in index else index
            known = {case["id"]: str(case.get("group", case["id"])) for case in entry.get("cases", [])}
            break
    known |= {case_id: str(group) for case_id, group in stated.get("groups", {}).items()}
    return {case_id: known.get(case_id, case_id) for case_id in ids}


def _splits(stated: Mapping[str, Any], path: Path, groups: Mapping[str, str]) -> dict[str, str]:
    splits: dict[str, str] = {}
    for split in SPLITS:
        for case_id in stated.get(split, []):
            if case_id in splits:
                raise InputFileError(f"{path} puts {case_id} in both {splits[case_id]} and {split}; keep it in one")
            if case_id not in groups:
                raise InputFileError(f"{path} names {case_id}, which dataset.json does not list")
            splits[case_id] = split
    missing = sorted(set(groups) - set(splits))
    if missing:
        raise InputFileError(f"{path} leaves out {missing[0]} ({len(missing)} in all); give every case a split")
    return splits


def _draw_splits(groups: Mapping[str, str]) -> dict[str, str]:
    subjects = sorted(set(groups.values()))
    random.Random(_SPLIT_SEED).shuffle(subjects)
    held_out = max(1, round(len(subjects) * _HELD_OUT_SHARE))
    train, val = len(subjects) - 2 * held_out, len(subjects) - held_out
    if train < 1:
        raise InputFileError(f"{len(subjects)} subjects cannot be split into train, val and test; write a splits.json")
    split_of = {
        subject: "train" if place < train else "val" if place < val else "test"
        for place, subject in enumerate(subjects)
    }
    return {case_id: split_of[group] for case_id, group in groups.items()}


def _check_subjects(splits: Mapping[str, str], groups: Mapping[str, str]) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for case_id, split in splits.items():
        other_id, other = seen.setdefault(groups[case_id], (case_id, split))
        if other != split:
            raise InputFileError(
                f"subject {groups[case_id]} is in two splits: {other_id} in {other}, {case_id} in {split}; choose one"
            )


def _count_labels(folder: Path, case_id: str, image_path: Path, label_path: Path) -> dict[int, int]:
    label = read_mask(label_path)
    image = read_volume(image_path)
    if label.shape != image.shape:
        raise GeometryError(
            f"{case_id}: image is {image.shape} voxels but label is {label.shape}; correct the pair under {folder}"
        )
    values, counts = np.unique(label.array, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True) if value != 0}
