"""Writes the results of an evaluation folder into benchmarks/RESULTS.md and their short form into README.md.

    python benchmarks/publish.py OUT

`OUT` is what `benchmarks/pilot.py` or `medseg-rl evaluate` wrote. Nothing in either table is typed by hand. A folder
that was made in a changed checkout ("dirty") is refused: its figures could not be made again.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from operator import methodcaller
from pathlib import Path
from typing import Any

from medseg_rl.errors import InputFileError, MedSegError
from medseg_rl.evaluation.report import TABLES, read_folder, write_report
from medseg_rl.evaluation.runs import Run, by_subject, given, group_runs, mean

ROOT = Path(__file__).resolve().parent.parent
RESULTS, CURVES, README = ROOT / "benchmarks" / "RESULTS.md", ROOT / "docs", ROOT / "README.md"
BEGIN, END = "<!-- results: benchmarks/publish.py -->", "<!-- end of results -->"
PROOF_BEGIN, PROOF_END = "<!-- proof: benchmarks/proof -->", "<!-- end of proof -->"
MADE_BY = (
    "Made by `python benchmarks/publish.py OUT` from the rows of an evaluation; nothing is typed by hand. Latencies "
    "compare within a table: several processes ran side by side."
)
CLICKS = (0, 1, 3, 5, 10, 20)
REGIONS = ("common", "whole")
SHOWN = (
    "commit",
    "config_hash",
    "data_hash",
    "split_hash",
    "start_hash",
    "weights_hash",
    "train_seeds",
    "robot_version",
)


def publish(folder: Path) -> None:
    """Replaces RESULTS.md but for its proof, its curves, and the block between the marks in README.md."""
    found = [path for region in REGIONS for path in folder.glob(f"*_{region}.json")]
    manifests = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(found)}
    if not manifests:
        raise InputFileError(f"{folder} holds no manifest; run the evaluation first")
    dirty = [name for name, manifest in manifests.items() if manifest["dirty"]]
    if dirty:
        raise InputFileError(f"{dirty[0]} was made in a checkout with changes; commit them and run it again")
    written = write_report(folder, reference="agent")
    CURVES.mkdir(exist_ok=True)
    for path in written:
        if path.suffix == ".png":
            shutil.copyfile(path, CURVES / path.name)
    pictures = [f"![Dice by click](../docs/{path.name})" for path in written if path.suffix == ".png"]
    parts = ["# Results", MADE_BY, *(_provenance(*item) for item in manifests.items())]
    parts += [(folder / TABLES).read_text(encoding="utf-8"), *pictures]
    proof = _cut_out(RESULTS, PROOF_BEGIN, PROOF_END)[1]
    RESULTS.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    if proof:
        put_proof(proof)
    before, _, after = _cut_out(README, BEGIN, END)
    if after is None:
        raise InputFileError(f"{README} lacks the marks {BEGIN} and {END}")
    README.write_text(f"{before}{BEGIN}\n\n{_short(folder)}\n\n{END}{after}", encoding="utf-8")


def put_proof(text: str, path: Path = RESULTS) -> None:
    """Puts the sections of the proof between their marks in RESULTS.md, at its end where they have no place yet."""
    before, _, after = _cut_out(path, PROOF_BEGIN, PROOF_END)
    block = "\n\n".join((before.rstrip(), PROOF_BEGIN, text.strip(), PROOF_END))
    path.write_text(block.lstrip() + ("\n" if after is None else after), encoding="utf-8")


def _cut_out(path: Path, begin: str, end: str) -> tuple[str, str, str | None]:
    """What stands before, between and after two marks; nothing between and None after where they are missing."""
    before, _, rest = (path.read_text(encoding="utf-8") if path.exists() else "").partition(begin)
    between, mark, after = rest.partition(end)
    if rest and not mark:
        raise InputFileError(f"{path} has the mark {begin} but not {end}; put it back")
    return before, between.strip(), after if mark else None


def _provenance(name: str, manifest: dict[str, Any]) -> str:
    rows = [f"| {key} | {_value(manifest[key])} |" for key in SHOWN]
    return "\n".join([f"**{name}**", "", "| | |", "|---|---|", *rows])


def _value(entry: Any) -> str:
    if isinstance(entry, dict):
        return "; ".join(f"{name}: {value}" for name, value in entry.items() if value is not None) or "-"
    return str(entry)


def _short(folder: Path) -> str:
    """One small table a start: mean Dice over subjects after some clicks, and the share of clicks that lower it.

    The other robots stand in RESULTS.md alone.
    """
    sections: dict[tuple[str, str, str, str], dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in group_runs(read_folder(folder)[""]):
        if run.first.robot != "primary":
            continue
        first = run.first
        sections[first.set, first.split, first.start, first.roi_kind][first.method].append(run)
    return "\n\n".join(_table(*key, methods) for key, methods in sorted(sections.items()))


def _table(name: str, split: str, start: str, region: str, methods: dict[str, list[Run]]) -> str:
    head = " | ".join(f"@{click}" for click in CLICKS)
    where = "" if region == "common" else f", region {region}"
    lines = [f"{name}, {split} split, start {start}{where}: Dice after n clicks of the primary robot", ""]
    lines += [f"| method | {head} | clicks that lower Dice |", "|---" * (len(CLICKS) + 2) + "|"]
    for method, runs in methods.items():
        dice = " | ".join(f"{mean(by_subject(runs, methodcaller('dice_at', click))):.3f}" for click in CLICKS)
        lines.append(f"| {method} | {dice} | {_lowering(runs)} |")
    return "\n".join(lines)


def _lowering(runs: Sequence[Run]) -> str:
    steps = given(runs)
    return f"{100 * sum(after.dice < before.dice for before, after in steps) / len(steps):.0f} %" if steps else "-"


if __name__ == "__main__":
    try:
        publish(Path(sys.argv[1]))
    except MedSegError as error:
        sys.exit(f"publish: {error}")
    except IndexError:
        sys.exit(__doc__)
