"""One row for each case and click, and the CSV that holds them: all that tables and curves are made from."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from medseg_rl.errors import InputFileError
from medseg_rl.imageio.atomic import atomic_path

VARIANT_MARK = "__"  # in the name of a result file, before what differs from the main table
OK, NO_CLICK_LEFT = "ok", "no_click_left"
TIMEOUT, CRASH, INVALID = "timeout", "crash", "invalid_mask"
FAILURES = (TIMEOUT, CRASH, INVALID)  # these count as an empty mask from then on


@dataclass(frozen=True)
class Record:
    """One case after `click` interactions; the fields are the columns of evaluation protocol section 8, in order.

    `n_clicks`: clicks given so far. `respected`: share of this turn's clicks whose voxel holds its label right after
    the turn; `respected_raw`: before enforcement. Both and all `*_vox`, `latency_ms`, `peak_mb` are of this turn
    and None where there was none or nothing was measured. `status`: ok, no_click_left (carried forward), or a failure.
    """

    set: str
    split: str
    case: str
    subject: str
    structure: str
    start: str
    robot: str
    robot_seed: int
    method: str
    config_hash: str
    train_seed: int | None
    roi_kind: str
    click: int
    n_clicks: int
    m_steps: int
    dice: float
    nsd_2mm: float
    nsd_1vox: float
    hd95_mm: float
    assd_mm: float
    respected: float | None
    respected_raw: float | None
    changed_vox: int | None
    far_vox: int | None
    far_wrong_vox: int | None
    latency_ms: float | None
    peak_mb: float | None
    status: str


COLUMNS = tuple(field.name for field in dataclasses.fields(Record))
RUN_COLUMNS = ("set", "split", "case", "structure", "start", "robot", "robot_seed", "method", "train_seed", "roi_kind")
_TYPES: dict[str, Any] = get_type_hints(Record)


def run_key(record: Record) -> tuple[Any, ...]:
    """What the rows of one run (one case, one method, one robot) share."""
    return (*(getattr(record, name) for name in RUN_COLUMNS), record.config_hash)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write the CSV atomically; numbers with six significant digits, None and NaN as an empty field."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for record in records:
            writer.writerow(row_of(record))


def read_records(path: Path) -> list[Record]:
    """Rows of a CSV written by `write_records`. Raises `InputFileError` on other columns or an unreadable value."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"cannot read results {path}: {error}") from error
    if not rows or tuple(rows[0]) != COLUMNS:
        raise InputFileError(f"{path} has not the columns of a result file; write it with medseg-rl evaluate")
    try:
        return [record_of(row) for row in rows[1:]]
    except ValueError as error:
        raise InputFileError(f"{path} has a row that is cut or not a number ({error}); evaluate again") from error


def row_of(record: Record) -> list[str]:
    """The fields as the file holds them."""
    return [_to_text(getattr(record, name)) for name in COLUMNS]


def record_of(row: Sequence[str]) -> Record:
    """The record of a row of the file. Raises ValueError where a field is missing or no number."""
    return Record(**{name: _from_text(text, _TYPES[name]) for name, text in zip(COLUMNS, row, strict=True)})


def _to_text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _from_text(text: str, kind: Any) -> Any:
    options = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if text == "":
        return None if type(None) in options else ("" if str in options else math.nan)
    return options[0](text)
