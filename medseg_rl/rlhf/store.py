"""The feedback kept on this computer: appended under consent, shown, exported, deleted. Opens no network connection.

    store = FeedbackStore()
    store.set_consent(store=True)
    store.append(record, [encoded(mask)])

Holds records of volumes alone, so no free text. What `append` returned from is on the disk; what a crash cut short does
not count. Several programs may append to one store.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy.typing as npt

from medseg_rl import __version__
from medseg_rl.errors import OutputError
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.rlhf import arrays
from medseg_rl.rlhf.consent import Consent, ConsentError, read_consent, write_consent
from medseg_rl.rlhf.file_lock import locked
from medseg_rl.rlhf.manifest import effective, read_records, to_line
from medseg_rl.rlhf.records import ArrayReference, Record, RecordError, VolumePrompt
from medseg_rl.user_data import user_data_folder

MANIFEST, CONSENT, LOCK, DELETING = "records.jsonl", "consent.json", ".lock", ".deleting"
STORED_KINDS = ("demonstration", "ranking", "intervention", "command", "abstention", "game")
EXPORT_TIME = (1980, 1, 1, 0, 0, 0)  # of the entries of an export: the clock is nobody's business
EXPORT_NOTE = """\
Feedback of MedSeg-RL {version}, for research use only. records.jsonl: one JSON object a line, schema 1; a record with
`amends` takes the place of the record it names. Arrays lie beside it by relative path and SHA-256 (.npz, one array
each). Cases and patients are salted hashes, annotators are numbered, times are cut to the day.
"""

Encoded = tuple[ArrayReference, bytes]


@dataclass(frozen=True)
class StoreSummary:
    """What a store holds. `records`: lines; `kinds`: effective records of each kind; `array_bytes`: of all arrays."""

    folder: Path
    consent: Consent
    records: int
    kinds: dict[str, int]
    amended: int
    retracted: int
    with_image: int
    may_train: int
    cases: int
    patients: int
    array_files: int
    array_bytes: int
    first_utc: str | None
    last_utc: str | None


class FeedbackStore:
    """A folder with `records.jsonl`, `arrays/` and `consent.json`. Made only when consent is given."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: "feedback" in the user's data folder unless given."""
        self.folder = user_data_folder() / "feedback" if folder is None else folder

    # --- consent ------------------------------------------------------------------------------------------------------

    @property
    def consent(self) -> Consent:
        """The answer that holds now, read anew each time: another window may have changed it."""
        return read_consent(self.folder / CONSENT)

    def set_consent(self, *, store: bool, images: bool = False) -> Consent:
        """Keep an answer. What is stored already stays until it is deleted. Raises ConsentError, OutputError."""
        if not store and not images and not self.folder.exists():
            return Consent()  # nothing was ever allowed: no folder is needed to say so
        with self._held(create=True):
            return write_consent(self.folder / CONSENT, store=store, images=images)

    # --- writing ------------------------------------------------------------------------------------------------------

    def append(self, record: Record, encoded: Iterable[Encoded] = ()) -> None:
        """Add a record and the arrays it points to; both are on the disk afterwards.

        Raises ConsentError when it was not allowed, RecordError when it is no record of a volume, points to an array
        that is not there, or amends none of the store; OutputError. Nothing is added then.
        """
        _check_storable(record)
        self._check_allowed(record, self.consent)
        with self._held(create=False):
            self._check_allowed(record, self.consent)
            if record.amends is not None:
                effective([*self._read(), record])
            given = dict(encoded)
            for reference in record.references:
                if reference in given:
                    arrays.write_array(self.folder, reference, given[reference])
                else:
                    arrays.checked_path(self.folder, reference)
            _append_line(self.folder / MANIFEST, to_line(record))

    def delete_all(self) -> int:
        """Remove every record and array for good; the consent stays. How many records there were.

        Once begun it is finished, if need be by the next who opens the store. Raises OutputError.
        """
        if not self.folder.exists():
            return 0
        with self._held(create=False), _as_output_error(self.folder):
            count = _count_lines(self.folder / MANIFEST)
            (self.folder / DELETING).touch()
            self._finish_deletion()
        return count

    # --- reading ------------------------------------------------------------------------------------------------------

    def records(self) -> tuple[Record, ...]:
        """Every record in the order it came. Raises RecordError where a line is damaged."""
        return () if (self.folder / DELETING).exists() else self._read()

    def holds(self, record_id: str) -> bool:
        """Whether a record is there."""
        return any(record.record_id == record_id for record in self.records())

    def read_array(self, reference: ArrayReference) -> npt.NDArray[Any]:
        """An array of a record. Raises RecordError."""
        return arrays.read_array(self.folder, reference)

    def summary(self) -> StoreSummary:
        """What there is, counted. Raises RecordError where a line is damaged."""
        records = self.records()
        latest = effective(records)
        files = [path for path in (self.folder / arrays.FOLDER).glob("*.npz") if path.is_file()]
        times = sorted(record.created_utc for record in records)
        return StoreSummary(
            folder=self.folder,
            consent=self.consent,
            records=len(records),
            kinds=dict(sorted(Counter(record.kind for record in latest).items())),
            amended=len(records) - len(latest),
            retracted=sum(getattr(record, "retracted", False) for record in latest),
            with_image=sum(r.stores_image for r in latest),
            may_train=sum(record.may_train for record in latest),
            cases=len({record.case_id for record in latest}),
            patients=len({record.group_id for record in latest}),
            array_files=len(files),
            array_bytes=sum(path.stat().st_size for path in files),
            first_utc=times[0] if times else None,
            last_utc=times[-1] if times else None,
        )

    def export(self, path: Path, *, images: bool = False) -> int:
        """Write everything as one zip without annotators and times of day; image voxels only where asked for.

        How many records. Raises RecordError for a damaged store, OutputError.
        """
        records = _for_export(self.records(), images=images)
        references = {reference.path: reference for record in records for reference in record.references}
        with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            _add(archive, "README.txt", EXPORT_NOTE.format(version=__version__).encode())
            _add(archive, MANIFEST, b"".join(to_line(record) for record in records))
            for name in sorted(references):
                _add(archive, name, arrays.checked_path(self.folder, references[name]).read_bytes())
        return len(records)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _read(self) -> tuple[Record, ...]:
        path = self.folder / MANIFEST
        return read_records(path) if path.exists() else ()

    def _check_allowed(self, record: Record, consent: Consent) -> None:
        if not consent.allows_storing:
            raise ConsentError("storing feedback is not allowed; `medseg-rl feedback consent --store` allows it")
        if isinstance(record.prompt, VolumePrompt) and record.prompt.image is not None and not consent.allows_images:
            raise ConsentError(
                "storing image voxels is not allowed; `medseg-rl feedback consent --store --images` does"
            )

    @contextlib.contextmanager
    def _held(self, *, create: bool) -> Iterator[None]:
        """Holds the store against other programs, and finishes a deletion that was cut short."""
        with _as_output_error(self.folder):
            if create:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self.folder / LOCK):
                if (self.folder / DELETING).exists():
                    self._finish_deletion()
                yield

    def _finish_deletion(self) -> None:
        (self.folder / MANIFEST).unlink(missing_ok=True)
        if (self.folder / arrays.FOLDER).exists():
            shutil.rmtree(self.folder / arrays.FOLDER)
        (self.folder / DELETING).unlink(missing_ok=True)


def _check_storable(record: Record) -> None:
    if record.kind not in STORED_KINDS:
        raise RecordError(f"a {record.kind} does not belong in this store; it holds {', '.join(STORED_KINDS)}")
    values = [record.prompt, *(getattr(record, name, None) for name in ("completion", "observation", "action"))]
    values += getattr(record, "completions", ())
    if any(isinstance(value, str) for value in values):
        raise RecordError("this store holds no free text; keep records of text in a manifest of their own")


def _append_line(path: Path, line: bytes) -> None:
    """Add a line to a file of whole lines and bring it to the disk; an unfinished last line goes first."""
    is_new = not path.exists()
    with path.open("ab+") as file:
        end = _end_of_lines(file)
        file.truncate(end)
        try:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise
    if is_new and os.name != "nt":
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _end_of_lines(file: IO[bytes], step: int = 4096) -> int:
    """Position behind the last line break; 0 where there is none."""
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        start = max(0, position - step)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _for_export(records: Iterable[Record], *, images: bool) -> list[Record]:
    numbers: dict[str, str] = {}
    out = []
    for record in records:
        number = numbers.setdefault(record.annotator, f"annotator-{len(numbers) + 1}")
        prompt = record.prompt
        if isinstance(prompt, VolumePrompt) and not images:
            prompt = replace(prompt, image=None)
        out.append(replace(record, annotator=number, created_utc=f"{record.created_utc[:10]}T00:00:00Z", prompt=prompt))
    return out


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, EXPORT_TIME), content)


@contextlib.contextmanager
def _as_output_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write the feedback in {folder}: {error.strerror or error}") from error
