"""Feedback stores and exports as cases to learn from, split by patient. Counts all that is left out, and says why.

Trains nothing. A store whose consent was taken back gives nothing; a record of a test patient never gets here.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medseg_rl.errors import InputFileError
from medseg_rl.recipes.refinement.strokes import Stroke, strokes_of
from medseg_rl.rlhf.arrays import MAX_FILE_BYTES, read_array
from medseg_rl.rlhf.consent import read_consent
from medseg_rl.rlhf.manifest import effective, read_records, usable
from medseg_rl.rlhf.records import Abstention, Demonstration, Intervention, Record, RecordError, VolumePrompt
from medseg_rl.rlhf.store import CONSENT, MANIFEST
from medseg_rl.training_scenes import TrainingCase

LEAST_PATIENTS = 3


@dataclass(frozen=True)
class Source:
    """One store or export. `consent`: its line. `kinds`: effective records of each kind. `skipped`: reason to count."""

    path: str
    consent: str
    kinds: dict[str, int]
    skipped: dict[str, int]


@dataclass(frozen=True, eq=False)
class Material:
    """`train`, `held_out`: accepted masks of different patients. `fingerprint`: SHA-256 over all records used.

    `strokes`: what was painted into running refinements, of the patients to train on. `absent`, `absent_held_out`:
    regions of which a person said that the target is not there, the mask empty.
    """

    train: tuple[TrainingCase, ...]
    held_out: tuple[TrainingCase, ...]
    patients: tuple[int, int]
    sources: tuple[Source, ...]
    fingerprint: str
    annotators: dict[str, int] = field(default_factory=dict)
    strokes: tuple[Stroke, ...] = ()
    absent: tuple[TrainingCase, ...] = ()
    absent_held_out: tuple[TrainingCase, ...] = ()


def read_material(stores: Sequence[Path], unpacked: Path, *, held_out_share: float = 0.2, seed: int = 0) -> Material:
    """All accepted masks of `stores` (folders, or exports as .zip, whose arrays are put below `unpacked`).

    Raises InputFileError: nothing there, or fewer than three patients to learn from; RecordError: a damaged store.
    """
    found: list[tuple[Demonstration, TrainingCase]] = []
    nowhere: dict[str, tuple[Abstention, TrainingCase]] = {}
    strokes: dict[str, Stroke] = {}
    sources = []
    for number, path in enumerate(stores):
        folder, records, consent = _opened(path, unpacked / str(number))
        cases, absent, painted, source = _cases(path, folder, records, consent)
        found += cases
        nowhere |= {record.record_id: (record, case) for record, case in absent}
        strokes |= {stroke.id: stroke for stroke in painted}
        sources.append(source)
    seen: dict[str, tuple[Demonstration, TrainingCase]] = {record.record_id: (record, c) for record, c in found}
    held = _held_out([*(r for r, _ in seen.values()), *(r for r, _ in nowhere.values())], held_out_share, seed)
    if len({record.group_id for record, _ in seen.values()}) < LEAST_PATIENTS:
        reasons = Counter[str]()
        for source in sources:
            reasons.update(source.skipped)
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "nothing skipped"
        raise InputFileError(
            f"accepted masks of {len({r.group_id for r, _ in seen.values()})} patients can be learned from ({why}); "
            f"{LEAST_PATIENTS} are needed, with image voxels stored"
        )
    train = [case for record, case in seen.values() if record.group_id not in held]
    others = [case for record, case in seen.values() if record.group_id in held]
    groups = {record.group_id for record, _ in seen.values()}
    if not train or not others:  # those kept are of patients without any target
        raise InputFileError("all accepted masks are on one side of the split by patient; choose another seed")
    return Material(
        tuple(train),
        tuple(others),
        (len(groups - held), len(groups & held)),
        tuple(sources),
        hashlib.sha256("\n".join(sorted({*seen, *strokes, *nowhere})).encode()).hexdigest(),
        dict(Counter(record.annotator_kind for record, _ in seen.values())),
        tuple(stroke for stroke in strokes.values() if stroke.group not in held),
        tuple(case for record, case in nowhere.values() if record.group_id not in held),
        tuple(case for record, case in nowhere.values() if record.group_id in held),
    )


def _opened(path: Path, unpacked: Path) -> tuple[Path, tuple[Record, ...], str]:
    """Folder of the arrays, records, and the line of consent; an empty one where it was taken back."""
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise InputFileError(f"{path} holds no {MANIFEST}, so it is no feedback store")
        consent = read_consent(path / CONSENT)
        if not (path / CONSENT).exists():
            line = "an export: given where it was made"
        else:
            line = consent.line if consent.allows_storing else ""
        return path, read_records(path / MANIFEST), line
    try:
        with zipfile.ZipFile(path) as archive:
            records = _unpack(archive, unpacked)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputFileError(f"{path} is no export of feedback ({error}); export it again") from None
    return unpacked, records, "an export: given where it was made"


def _unpack(archive: zipfile.ZipFile, folder: Path) -> tuple[Record, ...]:
    """Manifest and the arrays that its records name, nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    archive.extract(MANIFEST, folder)
    records = read_records(folder / MANIFEST)
    wanted = {reference.path for record in records for reference in record.references}
    if sum(archive.getinfo(name).file_size for name in wanted) > MAX_FILE_BYTES:
        raise ValueError("it unpacks to more than 4 GiB")
    for name in sorted(wanted):
        archive.extract(name, folder)
    return records


class _Found(NamedTuple):
    """What one store gives."""

    accepted: list[tuple[Demonstration, TrainingCase]]
    absent: list[tuple[Abstention, TrainingCase]]
    strokes: tuple[Stroke, ...]
    source: Source


def _cases(path: Path, folder: Path, records: Sequence[Record], consent: str) -> _Found:
    kinds = dict(sorted(Counter(record.kind for record in effective(records)).items()))
    if not consent:
        return _Found([], [], (), Source(path.name, "taken back", kinds, {"consent taken back": sum(kinds.values())}))
    chosen = usable(records, needs_image=True)
    painted = strokes_of(chosen.records, folder)
    skipped = Counter(chosen.skipped) + Counter(painted.skipped)
    accepted, absent = [], []
    for record in chosen.records:
        if isinstance(record, Abstention) and record.correct_class in ("A", "B"):
            absent.append((record, _absent(record, folder)))
        elif isinstance(record, Demonstration) and isinstance(record.prompt, VolumePrompt):
            case = _case(record, folder)
            if case.reference.any():
                accepted.append((record, case))
            else:
                skipped["empty mask"] += 1
        elif not isinstance(record, Intervention):
            skipped[f"{record.kind}: trains nothing here"] += 1
    return _Found(accepted, absent, painted.strokes, Source(path.name, consent, kinds, dict(sorted(skipped.items()))))


def _absent(record: Abstention, folder: Path) -> TrainingCase:
    """ "The target is not here": nothing is its mask. Raises RecordError where it names no image."""
    prompt = record.prompt
    if not isinstance(prompt, VolumePrompt) or prompt.image is None:
        raise RecordError(f"record {record.record_id}: an abstention that trains names the image of its region")
    image = np.asarray(read_array(folder, prompt.image), np.float32)
    return TrainingCase(record.record_id, image, np.zeros(image.shape, np.bool_), None, prompt.grid.spacing)


def _case(record: Demonstration, folder: Path) -> TrainingCase:
    """Raises RecordError where an array has not the shape of the region."""
    prompt = _volume(record)
    assert prompt.image is not None
    assert not isinstance(record.completion, str)
    image, mask = read_array(folder, prompt.image), read_array(folder, record.completion)
    start = None if prompt.initial_probability is None else read_array(folder, prompt.initial_probability)
    for array in (image, mask, start):
        if array is not None and array.shape != prompt.grid.shape:
            raise RecordError(f"record {record.record_id}: an array is {array.shape}, its region {prompt.grid.shape}")
    return TrainingCase(
        record.record_id,
        np.asarray(image, np.float32),
        np.asarray(mask, np.bool_),
        None if start is None else np.asarray(start, np.uint8),
        prompt.grid.spacing,
    )


def _volume(record: Demonstration) -> VolumePrompt:
    assert isinstance(record.prompt, VolumePrompt)
    return record.prompt


def _held_out(records: Sequence[Record], share: float, seed: int) -> set[str]:
    """Patients kept for choosing weights and for games: those marked so, and a share by hash, the same every time."""
    marked = {record.group_id for record in records if record.split == "validation"}
    groups = sorted({r.group_id for r in records}, key=lambda g: hashlib.sha256(f"{seed} {g}".encode()).hexdigest())
    wanted = max(1, round(share * len(groups)))
    others = [group for group in groups if group not in marked]
    return marked | set(others[: max(0, wanted - len(marked))])
