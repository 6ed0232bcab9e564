"""Automatic starts that no network saw the subject of: out of fold on the training split, plain on the others.

Makes them once, keeps them as files with hashes, and reads them back, so that every method begins from the same start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg_rl.dataset import WHOLE, Case, Dataset, Target, hash_lines, target_name
from medseg_rl.errors import InputFileError
from medseg_rl.imageio import read_mask, write_mask
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.refiner import MASK_THRESHOLD, Percent

if TYPE_CHECKING:
    from medseg_rl.automatic.learning import Progress
    from medseg_rl.automatic.segmenter import AutomaticConfig, AutomaticSegmenter

FOLDS = 4
MANIFEST = "starts.json"
WHOLE_SPLIT = "all"  # the network trained on the whole training split: the product's automatic start


@dataclass(frozen=True)
class Starts:
    """Stored starts of one data set and target. `manifest` is the content of `starts.json`."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def start_hash(self) -> str:
        """SHA-256 over sorted lines "id, hash of the voxels": identifies the starts in manifests."""
        return str(self.manifest["start_hash"])

    def percent(self, case_id: str) -> Percent:
        """Percent 1..99 (x, y, z) in the array order of the case's image. Raises `InputFileError` if it was changed."""
        try:
            entry = self.manifest["cases"][case_id]
        except KeyError:
            raise InputFileError(
                f"{self.folder} holds no automatic start of {case_id}; make the starts again"
            ) from None
        path = self.folder / entry["file"]
        percent = read_mask(path).array.astype(np.uint8)
        if hash_voxels(percent) != entry["voxels_sha256"]:
            raise InputFileError(f"{path} is not what {MANIFEST} says it was; make the starts again")
        return percent

    def weights_hash(self, case_id: str) -> str:
        """Hash of the network that gave this case's start."""
        return str(self.manifest["networks"][self.manifest["cases"][case_id]["fold"]]["weights_hash"])


def out_of_fold_starts(
    dataset: Dataset,
    config: AutomaticConfig,
    folder: Path,
    *,
    target: Target = WHOLE,
    folds: int = FOLDS,
    progress: Progress | None = None,
) -> Starts:
    """Trains `folds` + 1 networks and stores the start of every case in `folder`; what is there is not redone.

    Training cases are predicted by the network of the fold that left their subject out, validation and test cases by
    the network of the whole training split. That one's weights lie beside the starts, in its checkpoint folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    identity = _identity(dataset, config, target, folds)
    if (folder / MANIFEST).is_file():
        stored = load_starts(folder)
        if stored.manifest["identity"] == identity:
            return stored
    fold_of = folds_by_subject(dataset.cases("train", target), folds, config.seed)
    cases: dict[str, dict[str, Any]] = {}
    networks: dict[str, dict[str, Any]] = {}
    for fold in [*(str(k) for k in range(folds)), WHOLE_SPLIT]:
        segmenter = fold_network(dataset, config, folder, fold, target=target, folds=folds, progress=progress)
        networks[fold] = {"weights_hash": segmenter.weights_hash}
        for case in _predicted_by(dataset, target, fold, fold_of):
            cases[case.id] = _store(case, segmenter, folder, target) | {"fold": fold, "split": case.split}
    manifest = {
        "identity": identity,
        "start_hash": hash_lines(f"{case_id}, {entry['voxels_sha256']}" for case_id, entry in cases.items()),
        "networks": networks,
        "mean_dice": {split: _mean_dice(cases, split) for split in ("train", "val", "test")},
        "cases": cases,
    }
    with atomic_path(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return Starts(folder, manifest)


def fold_network(
    dataset: Dataset,
    config: AutomaticConfig,
    folder: Path,
    fold: str,
    *,
    target: Target = WHOLE,
    folds: int = FOLDS,
    progress: Progress | None = None,
) -> AutomaticSegmenter:
    """The network of one fold ("0", "1", ..., or "all"), trained or taken up from its checkpoint in `folder`."""
    from medseg_rl.automatic.learning import no_progress, prepare_samples, train_automatic

    train = dataset.cases("train", target)
    fold_of = folds_by_subject(train, folds, config.seed)
    seen = [case for case in train if fold_of[case.id] != fold]
    number = folds if fold == WHOLE_SPLIT else int(fold)
    own = replace(config, seed=config.seed * 100 + number)
    return train_automatic(
        prepare_samples(seen, own, target),
        own,
        checkpoint=folder / "networks" / f"{fold}.pt",
        progress=progress or no_progress,
        stage=f"automatic network {number + 1} of {folds + 1}",
    )


def load_starts(folder: Path | str) -> Starts:
    """Reads stored starts; the voxels are checked when they are asked for. Raises `InputFileError`."""
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputFileError(f"{path} is missing; make the automatic starts first") from None
    except (OSError, ValueError) as error:
        raise InputFileError(f"{path} cannot be read: {error}; make the starts again") from None
    return Starts(Path(folder), manifest)


def folds_by_subject(cases: Sequence[Case], folds: int, seed: int) -> dict[str, str]:
    """Fold ("0", "1", ...) of each case id, a subject's cases in one; subjects shuffled by `seed`, then dealt."""
    subjects = sorted({case.group for case in cases})
    if len(subjects) < folds:
        raise InputFileError(f"{len(subjects)} subjects cannot make {folds} folds; ask for fewer")
    order = np.random.default_rng(seed).permutation(len(subjects))
    fold_of = {subjects[int(subject)]: str(place % folds) for place, subject in enumerate(order)}
    return {case.id: fold_of[case.group] for case in cases}


def hash_voxels(percent: Percent) -> str:
    """SHA-256 of shape and values, whatever the file's compression."""
    digest = hashlib.sha256(f"{percent.shape}".encode())
    digest.update(np.ascontiguousarray(percent).tobytes())
    return digest.hexdigest()


def _identity(dataset: Dataset, config: AutomaticConfig, target: Target, folds: int) -> dict[str, Any]:
    settings = json.loads(json.dumps(config.as_dict()))
    return {
        "dataset": dataset.name,
        "data_hash": dataset.data_hash,
        "split_hash": dataset.split_hash,
        "target": target_name(target),
        "folds": folds,
        "config": settings,
    }


def _predicted_by(dataset: Dataset, target: Target, fold: str, fold_of: dict[str, str]) -> list[Case]:
    if fold == WHOLE_SPLIT:
        return [*dataset.cases("val", target), *dataset.cases("test", target)]
    return [case for case in dataset.cases("train", target) if fold_of[case.id] == fold]


def _store(case: Case, segmenter: AutomaticSegmenter, folder: Path, target: Target) -> dict[str, Any]:
    volume, reference = case.load(target)
    percent = segmenter.predict(volume)
    path = folder / f"{case.id}.nii.gz"
    write_mask(path, volume.with_array(percent), like=volume)
    mask = percent > MASK_THRESHOLD
    dice = 2 * float((mask & reference).sum()) / float(mask.sum() + reference.sum())
    return {"file": path.name, "voxels_sha256": hash_voxels(percent), "dice": round(dice, 4)}


def _mean_dice(cases: dict[str, dict[str, Any]], split: str) -> float | None:
    values = [entry["dice"] for entry in cases.values() if entry["split"] == split]
    return round(float(np.mean(values)), 4) if values else None
