"""Tables and curves of every result file in a folder, by one call and nothing else than those files."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.curves import draw_curves
from medseg_rl.evaluation.records import VARIANT_MARK, Record, read_records
from medseg_rl.evaluation.tables import result_tables
from medseg_rl.imageio.atomic import atomic_path

TABLES = "tables.md"


def write_report(folder: Path, *, reference: str | None = None) -> list[Path]:
    """Write `tables.md` and a PNG for each table from all CSV files in `folder`; return what was written.

    `reference`: the method the others are tested against. Raises `InputFileError` where there is no result file.
    """
    variants = read_folder(folder)
    tables = folder / TABLES
    text = [result_tables(records, reference=reference, variant=variant) for variant, records in variants.items()]
    with atomic_path(tables) as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")
    curves = (draw_curves(records, folder, variant=variant) for variant, records in variants.items())
    return [tables, *(path for paths in curves for path in paths)]


def read_folder(folder: Path) -> dict[str, list[Record]]:
    """Rows of all CSV files in a folder, by variant of the rules ("" is the main table's). Raises `InputFileError`."""
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise InputFileError(f"{folder} holds no result file; run medseg-rl evaluate first")
    variants: dict[str, list[Record]] = defaultdict(list)
    for path in files:
        variants[path.stem.partition(VARIANT_MARK)[2]] += read_records(path)
    return dict(sorted(variants.items()))
