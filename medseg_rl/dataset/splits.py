"""Who is in which split: as a file says, else drawn by subject, the same at each call. Opens no image."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medseg_rl.dataset.cases import SPLITS, Dataset
from medseg_rl.dataset.layouts import list_pairs, read_json
from medseg_rl.errors import InputFileError
from medseg_rl.imageio.atomic import atomic_path

SPLITS_FILE = "splits.json"
SPLIT_SEED = 20260101
HELD_OUT_SHARE = 0.15  # of the subjects, for validation and again for the test
DRAWN = f"drawn by subject, seed {SPLIT_SEED}"

_SUBJECT_NAMES = (
    re.compile(r"^(sub-[A-Za-z0-9]+)(?:_|$)"),  # BIDS: sub-01_ses-2_T1w
    re.compile(r"^(BraTS-[A-Za-z]+-\d+)-\d+$"),  # BraTS 2023 on: the last number is the visit
)


def subject_named(case_id: str) -> str:
    """The subject that a name says by a known custom (BIDS, BraTS), else the name itself."""
    for pattern in _SUBJECT_NAMES:
        match = pattern.match(case_id)
        if match is not None:
            return match[1]
    return case_id


def subjects(folder: Path, stated: Mapping[str, Any], ids: Iterable[str]) -> dict[str, str]:
    """Subject of each case: "groups" of the splits file, else of an index.json there or beside it, else by name."""
    known: dict[str, str] = {}
    for path in (folder / "index.json", folder.parent / "index.json"):
        if path.is_file():
            index = read_json(path)
            entry = index.get("sets", {}).get(folder.resolve().name, {}) if "sets" in index else index
            known = {case["id"]: str(case.get("group", case["id"])) for case in entry.get("cases", [])}
            break
    known |= {case_id: str(group) for case_id, group in stated.get("groups", {}).items()}
    return {case_id: known.get(case_id) or subject_named(case_id) for case_id in ids}


def stated_splits(stated: Mapping[str, Any], path: Path, groups: Mapping[str, str]) -> dict[str, str]:
    """Split of each case as the file says. Raises `InputFileError` where a case has two, none, or is not there."""
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


def drawn_splits(groups: Mapping[str, str]) -> dict[str, str]:
    """Whole subjects dealt 70 / 15 / 15, the same at each call. Raises `InputFileError` for fewer than three."""
    names = sorted(set(groups.values()))
    random.Random(SPLIT_SEED).shuffle(names)
    held_out = max(1, round(len(names) * HELD_OUT_SHARE))
    train, val = len(names) - 2 * held_out, len(names) - held_out
    if train < 1:
        raise InputFileError(f"{len(names)} subjects cannot be split into train, val and test; write a splits.json")
    split_of = {
        subject: "train" if place < train else "val" if place < val else "test" for place, subject in enumerate(names)
    }
    return {case_id: split_of[group] for case_id, group in groups.items()}


def leaks(splits: Mapping[str, str], groups: Mapping[str, str]) -> list[str]:
    """One line for each subject that is in two splits."""
    seen: dict[str, tuple[str, str]] = {}
    found: dict[str, str] = {}
    for case_id, split in splits.items():
        subject = groups[case_id]
        other_id, other = seen.setdefault(subject, (case_id, split))
        if other != split:
            line = f"subject {subject} is in two splits: {other_id} in {other}, {case_id} in {split}"
            found.setdefault(subject, line)
    return list(found.values())


def write_splits(path: Path, dataset: Dataset) -> None:
    """Writes a data set's split and subjects in the form that is read back, atomically."""
    how = DRAWN if dataset.split_drawn else "as the data set's own file said"
    _write(path, {case.id: case.split for case in dataset}, {case.id: case.group for case in dataset}, how)


def keep_drawn_split(folder: Path, dataset: Dataset) -> None:
    """Writes a split that was drawn here into `folder`, once: what a run was made with must be there to read."""
    path = folder / SPLITS_FILE
    if dataset.split_drawn and not path.exists():
        write_splits(path, dataset)


def write_drawn_splits(path: Path, folder: Path, groups: Mapping[str, str]) -> None:
    """Draws and writes the split of a folder before any of its images is read; `groups`: subjects that are known."""
    found = subjects(folder, {"groups": groups}, list_pairs(folder).pairs)
    _write(path, drawn_splits(found), found, DRAWN)


def _write(path: Path, split_of: Mapping[str, str], groups: Mapping[str, str], how: str) -> None:
    ids = sorted(split_of)
    content: dict[str, Any] = {split: [name for name in ids if split_of[name] == split] for split in SPLITS}
    content |= {"groups": {name: groups[name] for name in ids}, "how": how}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
