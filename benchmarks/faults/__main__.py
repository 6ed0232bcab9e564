"""Runs the whole fault suite, prints its figures and writes benchmarks/FAULTS.md: `python -m benchmarks.faults`.

Exit code 1 when anything was lost, crashed, hung, took more memory than its cap or ended in a bare trace.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from benchmarks import session_kills
from benchmarks.faults import disk, inputs, sequences

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "benchmarks" / "FAULTS.md"
Row = tuple[str, int, str, int]  # what was tried, how often, what came of it, failures
Part = TypeVar("Part")


def main() -> int:
    """Prints the table; writes it too unless `--no-report`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--inputs", type=int, default=6000)
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--disk-trials", type=int, default=400)
    parser.add_argument("--cuts", type=int, default=600)
    parser.add_argument("--no-report", action="store_true", help="do not write benchmarks/FAULTS.md")
    options = parser.parse_args()
    seed, begun, before = options.seed, time.monotonic(), state()
    killed = _timed("kills", lambda: session_kills.kill(options.kills, seed))
    worn = _timed("disks", lambda: disk.everything(trials=options.disk_trials, cuts=options.cuts, seed=seed))
    read = _timed("inputs", lambda: inputs.run(options.inputs, seed, workers=options.workers))
    walked = _timed("sequences", lambda: sequences.run(options.sequences, seed, workers=options.workers))
    rows = [*_kill_rows(killed), *_disk_rows(worn), *_input_rows(read), *_sequence_rows(walked)]
    failures = [*killed.lost, *worn.lost, *(str(defect) for defect in read.defects), *walked.broken]
    notes = [f"Left out: {what}." for what in worn.skipped]
    notes += [f"No input had the mutation: {name}." for name in inputs.unused(read)]
    for failure in failures:
        print("FAILED:", failure, file=sys.stderr)
    text = report(rows, notes, seed, before, time.monotonic() - begun)
    print(text)
    if not options.no_report:
        REPORT.write_text(text, encoding="utf-8")
    return 1 if failures else 0


def _timed(name: str, work: Callable[[], Part]) -> Part:
    begun = time.monotonic()
    found = work()
    print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return found


def _kill_rows(found: session_kills.Outcome) -> Iterable[Row]:
    for name, count in found.during.most_common():
        yield f"kill (SIGKILL) during {name}", count, "", 0
    said = f"longest session {found.steps} steps, {found.exported} exports acknowledged; failures: losses"
    yield "**kills together**", found.kills, said, len(found.lost)


def _disk_rows(found: disk.Outcome) -> Iterable[Row]:
    for name, count in found.trials.items():
        lost = sum(line.startswith(name) for line in found.lost)
        told = "told, and safe again with room" if "under a session" in name else "refused in one line"
        yield name, count, f"{found.refused[name]} {told}", lost


def _input_rows(found: inputs.Outcome) -> Iterable[Row]:
    for kind, count in found.kinds.most_common():
        yield f"bad input: {kind}", count, "", sum(d["kind"] == kind for d in found.defects)
    for name, count in found.mutations.most_common():
        yield f"mutation: {name}", count, "", sum(d["mutation"] == name for d in found.defects)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in found.verdicts.most_common())
    grown = (found.peak_bytes - found.at_rest_bytes) / 2**20
    said = (
        f"{found.reads} readings: {verdicts}; slowest input {found.slowest[0]:.1f} s ({found.slowest[1]}); resident"
        f" memory grew by {grown:.0f} MiB at most, under a cap of {inputs.CAP_BYTES >> 20} MiB (RLIMIT_AS)"
    )
    yield "**bad inputs together**", found.inputs, said, len(found.defects)


def _sequence_rows(found: sequences.Outcome) -> Iterable[Row]:
    said = f"{found.actions} actions of {len(found.kinds)} kinds, {found.entries} entries undone and redone bit for bit"
    yield "**random action sequences**", found.sequences, f"{said}, locks intact", len(found.broken)


def state() -> str:
    """Commit of this checkout, and whether anything of the library or the suite differs from it."""
    try:
        commit = _git("rev-parse", "HEAD").strip()
        changed = _git("status", "--porcelain", "--", "medseg_rl", "benchmarks/faults", "benchmarks/session_kills.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit[:12]}{' with changes' if changed else ''}"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def report(rows: Iterable[Row], notes: Iterable[str], seed: int, commit: str, seconds: float) -> str:
    """The table in Markdown."""
    lines = [f"| {name} | {count} | {said} | {failed} |" for name, count, said, failed in rows]
    machine = f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores"
    return "\n".join(
        [
            "# Fault suite",
            "",
            "Written by `make faults`; nothing here is typed by hand.",
            "",
            f"Commit {commit}, seed {seed}, {machine}, {seconds:.0f} s.",
            "",
            "| what was tried | times | outcome | failures |",
            "|---|---:|---|---:|",
            *lines,
            "",
            *notes,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
