"""Reads and writes JSONL manifests of records, and says which of the records count. Follows no array reference.

A manifest only grows: what a later record `amends` is replaced on reading, never in the file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.rlhf.records import Record, RecordError, record_of

MAX_LINE_BYTES = 16 * 2**20  # the longest record is some hundred clicks: beyond this it is none of ours


@dataclass(frozen=True)
class Usable:
    """Records that a trainer may take, and how many were left out for which reason."""

    records: tuple[Record, ...]
    skipped: Mapping[str, int]


def to_line(record: Record) -> bytes:
    """The line of a record, line break included."""
    return (json.dumps(record.to_json(), ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_records(path: Path) -> tuple[Record, ...]:
    """All records of a manifest in their order; a last line without its end, as a power cut leaves it, does not count.

    Raises RecordError, naming the line: no JSON, not UTF-8, or not a record of this schema.
    """
    records = []
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise RecordError(f"{path.name}, line {number}: longer than {MAX_LINE_BYTES} bytes, so no record")
                if line.endswith(b"\n") and line.strip():
                    records.append(_parsed(line, f"{path.name}, line {number}"))
    except OSError as error:
        raise RecordError(f"cannot read {path.name}: {error.strerror or error}") from None
    return tuple(records)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write a whole manifest in place of an old one. For derived sets; a store appends. Raises OutputError."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for record in records:
            file.write(to_line(record))


def effective(records: Sequence[Record]) -> tuple[Record, ...]:
    """The records that count: each in its latest form, at the place of the one it amends.

    Raises RecordError where a record amends one that does not stand before it or is of another kind.
    """
    place: dict[str, int] = {}
    latest: list[Record] = []
    for record in records:
        if record.amends is None:
            place.setdefault(record.record_id, len(latest))  # pairs of one ranking share theirs
            latest.append(record)
            continue
        at = place.get(record.amends)
        if at is None or latest[at].kind != record.kind:
            raise RecordError(f"record {record.record_id} amends {record.amends}, which is no earlier {record.kind}")
        latest[at] = record
        place[record.record_id] = at
    return tuple(latest)


def usable(records: Sequence[Record], *, needs_image: bool) -> Usable:
    """The effective records that may train something. Raises RecordError as `effective` does."""
    kept, skipped = [], Counter[str]()
    for record in effective(records):
        reason = _why_not(record, needs_image=needs_image)
        if reason:
            skipped[reason] += 1
        else:
            kept.append(record)
    return Usable(tuple(kept), dict(skipped))


def _why_not(record: Record, *, needs_image: bool) -> str:
    if record.split == "test":
        return "test patient"
    if not record.may_train:
        return "may not train"
    return "image not stored" if needs_image and not record.has_image else ""


def _parsed(line: bytes, where: str) -> Record:
    try:
        return record_of(json.loads(line.decode("utf-8"), parse_constant=_refuse))
    except RecordError as error:
        raise RecordError(f"{where}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where} is no JSON in UTF-8 ({type(error).__name__}); restore the file") from None


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
