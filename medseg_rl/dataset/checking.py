"""Lists everything that is wrong with a folder of labelled images, instead of stopping at the first of it.

Reads every file once and changes none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg_rl.dataset.cases import hash_file
from medseg_rl.dataset.layouts import Listing, Pair, list_pairs, read_json
from medseg_rl.dataset.splits import SPLITS_FILE, drawn_splits, leaks, stated_splits, subject_named, subjects
from medseg_rl.errors import Cancelled, InputFileError, MedSegError
from medseg_rl.imageio import check_load, read_mask, read_volume
from medseg_rl.refiner import never_cancelled

PAIR, UNREADABLE, GRID, EMPTY, VALUES, SUBJECT, SPLIT = (
    "pair",
    "unreadable",
    "grid",
    "empty",
    "values",
    "subject",
    "split",
)
WARNINGS = (EMPTY, VALUES)  # such cases can be used, or are left out and counted


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `case` is "" where it concerns the folder. `fatal`: it cannot be used as it is."""

    case: str
    kind: str
    problem: str

    @property
    def fatal(self) -> bool:
        """Whether `load_dataset` or a training would stop at it, or be wrong without a word."""
        return self.kind not in WARNINGS


@dataclass(frozen=True)
class FolderReport:
    """What a folder holds and what is wrong with it. `splits`: cases by split; `subjects`: how many there are."""

    folder: Path
    layout: str
    name: str
    cases: int
    subjects: int
    splits: Mapping[str, int]
    split_drawn: bool
    findings: tuple[Finding, ...]

    @property
    def usable(self) -> bool:
        """Whether nothing fatal was found."""
        return not any(finding.fatal for finding in self.findings)


def check_folder(
    folder: Path,
    *,
    channel: str | None = None,
    splits: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancel: Callable[[], bool] = never_cancelled,
) -> FolderReport:
    """Pairs, files that cannot be read, grids that disagree, empty labels, unnamed label values, leaking subjects.

    Raises `InputFileError` where the folder has no layout that is known, `Cancelled`.
    """
    listing = list_pairs(folder, channel)
    findings = [Finding("", PAIR, line) for line in listing.lacking]
    images: dict[str, str] = {}
    for done, (case_id, pair) in enumerate(sorted(listing.pairs.items()), 1):
        if cancel():
            raise Cancelled("the check was stopped")
        findings += _of_pair(case_id, pair, listing)
        images[case_id] = hash_file(pair.image)
        progress(done, len(listing.pairs))
    path = splits or folder / SPLITS_FILE
    try:
        stated = read_json(path) if splits is not None or path.is_file() else {}
        groups = subjects(folder, stated, listing.pairs)
        split_of = stated_splits(stated, path, groups) if stated else drawn_splits(groups)
    except InputFileError as error:
        stated, groups, split_of = {}, {name: name for name in listing.pairs}, {}
        findings.append(Finding("", SPLIT, str(error)))
    findings += [Finding("", SUBJECT, line) for line in leaks(split_of, groups)]
    findings += _look_alike(images, groups, split_of)
    counts = {name: sum(value == name for value in split_of.values()) for name in dict.fromkeys(split_of.values())}
    return FolderReport(
        folder,
        listing.layout,
        listing.name,
        len(listing.pairs),
        len(set(groups.values())),
        dict(sorted(counts.items(), key=lambda item: ("train", "val", "test").index(item[0]))),
        not stated,
        tuple(findings),
    )


def _of_pair(case_id: str, pair: Pair, listing: Listing) -> list[Finding]:
    try:
        image = read_volume(pair.image, time_point=pair.time_point, replace_nonfinite=math.nan)
        label = read_mask(pair.label)
    except MedSegError as error:
        return [Finding(case_id, UNREADABLE, str(error))]
    found = []
    nonfinite = int(np.count_nonzero(~np.isfinite(image.array))) if image.array.dtype.kind == "f" else 0
    if nonfinite:
        found.append(Finding(case_id, UNREADABLE, f"{pair.image.name}: {nonfinite} voxels are NaN or infinite"))
    if label.shape != image.shape:
        sizes = f"image is {image.shape} voxels but label is {label.shape}"
        found.append(Finding(case_id, GRID, sizes))
    else:
        check = check_load(label, image)
        same_order = np.allclose(label.affine, image.affine, atol=0.05 * min(image.spacing))
        if check.verdict != "same":
            apart = "elsewhere" if check.shift_mm is None else f"{check.shift_mm:.3g} mm apart at the corners"
            found.append(Finding(case_id, GRID, f"image and label have one shape but lie {apart}"))
        elif not same_order:
            found.append(Finding(case_id, GRID, "image and label have their axes in another order or sense"))
    found += _of_values(case_id, label.array, listing.labels)
    return found


def _of_values(case_id: str, label: np.ndarray[Any, np.dtype[Any]], names: Mapping[int, str]) -> list[Finding]:
    values = [int(value) for value in np.unique(label) if value != 0]
    if not values:
        return [Finding(case_id, EMPTY, "the label is empty; the case is left out and counted")]
    unnamed = [value for value in values if names and value not in names]
    if not unnamed:
        return []
    return [Finding(case_id, VALUES, f"label values {', '.join(map(str, unnamed))} have no name in dataset.json")]


def _look_alike(images: Mapping[str, str], groups: Mapping[str, str], split_of: Mapping[str, str]) -> list[Finding]:
    """Cases that are one subject by their very image or by their name, and are in two splits as two subjects."""
    found = []
    for kind, key_of in (("the same image file", images), ("one subject by their names", _named(images))):
        first: dict[str, str] = {}
        for case_id, key in sorted(key_of.items()):
            other = first.setdefault(key, case_id)
            apart = split_of.get(other) != split_of.get(case_id)
            if other != case_id and groups[other] != groups[case_id] and apart:
                places = f"{other} ({split_of[other]}) and {case_id} ({split_of[case_id]})"
                found.append(Finding(case_id, SUBJECT, f"{places} are {kind}; give them one group in {SPLITS_FILE}"))
    return found


def _named(images: Mapping[str, str]) -> dict[str, str]:
    return {case_id: subject_named(case_id) for case_id in images}
