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
from collections.abc import Iterable
from pathlib import Path

from benchmarks.faults import disk, inputs, kills, power, sequences
from benchmarks.faults.tally import Row

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / "benchmarks" / "FAULTS.md"
PARTS = ("kills", "disks", "power", "inputs", "sequences")
Part = tuple[list[Row], list[str], list[str]]  # rows, failures, notes


def main() -> int:
    """Prints the table; writes it too when all of it was run, unless `--no-report`."""
    options = _options()
    before, begun = state(), time.monotonic()
    rows, failures, notes = [], [], []
    for name in options.only or PARTS:
        begun_part = time.monotonic()
        found = run(name, options)
        print(f"{name}: {time.monotonic() - begun_part:.0f} s", file=sys.stderr, flush=True)
        rows += found[0]
        failures += found[1]
        notes += found[2]
    for failure in failures:
        print("FAILED:", failure, file=sys.stderr)
    text = report(rows, notes, options.seed, before, time.monotonic() - begun)
    print(text)
    if not options.no_report and not options.only:
        REPORT.write_text(text, encoding="utf-8")
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="one part (repeatable); writes no report")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--disk-trials", type=int, default=400)
    parser.add_argument("--cuts", type=int, default=600)
    parser.add_argument("--inputs", type=int, default=6000)
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--no-report", action="store_true", help="do not write benchmarks/FAULTS.md")
    return parser.parse_args()


def run(name: str, options: argparse.Namespace) -> Part:
    """One part of the suite."""
    seed = options.seed
    if name == "kills":
        killed = kills.kill(options.kills, seed)
        return killed.rows, killed.lost, []
    if name in ("disks", "power"):
        tally = (
            disk.everything(trials=options.disk_trials, seed=seed)
            if name == "disks"
            else power.everything(cuts=options.cuts, seed=seed)
        )
        return tally.rows, tally.lost, [f"Left out: {what}." for what in tally.skipped]
    if name == "inputs":
        read = inputs.run(options.inputs, seed, workers=options.workers)
        unused = [f"No input had the mutation: {mutation}." for mutation in inputs.unused(read)]
        return read.rows, [str(defect) for defect in read.defects], unused
    walked = sequences.run(options.sequences, seed, workers=options.workers)
    return walked.rows, walked.broken, []


def state() -> str:
    """Commit of this checkout, and whether anything of the library or the suite differs from it."""
    try:
        commit = _git("rev-parse", "HEAD").strip()
        changed = _git("status", "--porcelain", "--", "medseg_rl", "benchmarks/faults")
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
