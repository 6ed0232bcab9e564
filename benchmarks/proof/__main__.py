"""The command line of the proof; see the package."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import benchmarks.proof
from benchmarks.proof.plan import PLAN, Plan
from benchmarks.proof.reporting import proof_text
from benchmarks.proof.running import data_in, run_plan
from benchmarks.proof.standing import Folder, Shared
from benchmarks.publish import RESULTS, put_proof
from medseg_rl.cli.terminal import interruptible
from medseg_rl.errors import InputFileError, MedSegError
from medseg_rl.evaluation.manifest import source_state

STOPPED = "stopping after this step; the same command goes on"


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.proof",
        description=benchmarks.proof.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--output", type=Path, required=True, help="folder of the proof, outside the checkout")
    parser.add_argument("--budget-minutes", type=float, help="run: stop after that long, whatever is open")
    parser.add_argument("--updates", type=int, default=2000, help="run: of every training; the same each time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="a setting of all runs; repeat it")
    parser.add_argument("--into", type=Path, default=RESULTS, help="report: file with the marks")
    return parser


def main(arguments: Sequence[str] | None = None, plan: Plan = PLAN) -> int:
    """Read the command line and do one of the two."""
    given = options().parse_args(arguments)
    folder = Folder(given.output)
    try:
        if given.what == "report":
            put_proof(proof_text(plan, folder), given.into)
        else:
            _run(plan, folder, given)
    except MedSegError as error:
        print(f"proof: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _run(plan: Plan, folder: Folder, given: argparse.Namespace) -> None:
    if given.budget_minutes is None:
        raise InputFileError("say how long, with --budget-minutes; the same command goes on later")
    if source_state()[1]:
        print("warning: the checkout has changes; its figures are not publishable", file=sys.stderr)
    limit = time.monotonic() + 60 * given.budget_minutes
    shared = Shared(given.updates, given.threads, tuple(given.changes))
    with interruptible(STOPPED) as stopped:

        def cancel() -> bool:
            return stopped() or time.monotonic() >= limit

        finished = run_plan(plan, folder, shared, data_in(given.data), cancel=cancel, said=_said)
    print("all of the plan was run" if finished else "something of the plan is open; the same command goes on")


def _said(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
