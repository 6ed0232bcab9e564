"""From a folder to a checked data set, and where the folders of data sets lie."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from medseg_rl.dataset.cases import Case, Dataset
from medseg_rl.dataset.layouts import Pair, list_pairs, looks_like_a_dataset, read_json
from medseg_rl.dataset.splits import SPLITS_FILE, drawn_splits, leaks, stated_splits, subjects
from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.imageio import read_mask, read_volume

DATA_VARIABLE = "MEDSEG_RL_DATA"


def find_data_root(explicit: Path | str | None = None) -> Path:
    """Folder of the data sets: `explicit`, else $MEDSEG_RL_DATA, else `shared/data` beside a source checkout."""
    if explicit is not None or os.environ.get(DATA_VARIABLE):
        root = Path(explicit if explicit is not None else os.environ[DATA_VARIABLE])
        if not root.is_dir():
            raise InputFileError(f"{root} is not a folder; give the folder of the data sets with --data")
        return root
    checkout = Path(__file__).resolve().parents[2]
    beside = checkout.parent / "shared" / "data"
    if (checkout / "pyproject.toml").is_file() and beside.is_dir():
        return beside
    raise InputFileError(f"no data folder is known; give it with --data or set {DATA_VARIABLE}")


def find_dataset(data: Path | None, name: str) -> Path:
    """The data folder itself where it is a data set, else `name` in it, else `name` as a folder of its own."""
    if data is None and ("/" in name or os.sep in name) and Path(name).is_dir():
        return Path(name)
    root = find_data_root(data)
    return root if looks_like_a_dataset(root) else root / name


def load_dataset(folder: Path | str, *, channel: str | None = None, splits: Path | None = None) -> Dataset:
    """Reads and checks a folder: every pair there, shapes agree, counts as stated, no subject in two splits.

    Layouts: Decathlon, nnU-Net, BraTS, plain folders of images and labels. `channel`: which image, by name or number,
    where a case has several. The split is that of `splits`, else of `splits.json` in the folder (lists of ids under
    train, val, test). Without one it is drawn by subject, 70 / 15 / 15, the same at each call. The subject is the
    case's `group` in that file ("groups": {id: group}) or in an `index.json` in the folder or beside it, else what its
    name says by a known custom, else the case itself.
    Raises `InputFileError`, or `GeometryError` where an image and its label disagree.
    """
    folder = Path(folder)
    listing = list_pairs(folder, channel)
    if listing.lacking:
        more = f" ({len(listing.lacking)} such in all)" if len(listing.lacking) > 1 else ""
        raise InputFileError(f"{listing.lacking[0]}{more}; `medseg-rl data check` lists what is wrong")
    if not listing.pairs:
        raise InputFileError(f"{folder} holds no image with a label; give another folder")
    path = splits or folder / SPLITS_FILE
    stated = read_json(path) if splits is not None or path.is_file() else {}
    groups = subjects(folder, stated, listing.pairs)
    split_of = stated_splits(stated, path, groups) if stated else drawn_splits(groups)
    leaking = leaks(split_of, groups)
    if leaking:
        raise InputFileError(f"{leaking[0]}; choose one")
    cases = tuple(
        Case(
            case_id,
            pair.image,
            pair.label,
            groups[case_id],
            split_of[case_id],
            listing.modality,
            _count_labels(folder, case_id, pair),
            pair.time_point,
        )
        for case_id, pair in sorted(listing.pairs.items())
    )
    return Dataset(
        folder,
        listing.name,
        cases,
        listing.labels,
        listing.licence,
        listing.reference,
        listing.layout,
        split_drawn=not stated,
    )


def _count_labels(folder: Path, case_id: str, pair: Pair) -> dict[int, int]:
    label = read_mask(pair.label)
    image = read_volume(pair.image, time_point=pair.time_point)
    if label.shape != image.shape:
        raise GeometryError(
            f"{case_id}: image is {image.shape} voxels but label is {label.shape}; correct the pair under {folder}"
        )
    values, counts = np.unique(label.array, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True) if value != 0}
