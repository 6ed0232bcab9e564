"""Tables and curves of every result file in a folder, by one call and nothing else than those files."""

from __future__ import annotations

from pathlib import Path

from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.curves import draw_curves
from medseg_rl.evaluation.records import Record, read_records
from medseg_rl.evaluation.tables import result_tables
from medseg_rl.imageio.atomic import atomic_path

TABLES = "tables.md"


def write_report(folder: Path, *, reference: str | None = None) -> list[Path]:
    """Write `tables.md` and a PNG for each table from all CSV files in `folder`; return what was written.

    `reference`: the method the others are tested against. Raises `InputFileError` where there is no result file.
    """
    records = read_folder(folder)
    tables = folder / TABLES
    with atomic_path(tables) as temporary:
        temporary.write_text(result_tables(records, reference=reference), encoding="utf-8")
    return [tables, *draw_curves(records, folder)]


def read_folder(folder: Path) -> list[Record]:
    """The rows of all CSV files in a folder, in the order of their names. Raises `InputFileError`."""
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise InputFileError(f"{folder} holds no result file; run medseg-rl evaluate first")
    return [record for path in files for record in read_records(path)]
