"""Hippocampus pilot: agent, supervised twin, paint-ball, geodesic threshold and the automatic start, starts A and B.

    python benchmarks/pilot.py tune   --starts DIR --output OUT                            # validation only
    python benchmarks/pilot.py run    --starts DIR --output OUT --agent MODEL --twin MODEL [--split test]
    python benchmarks/pilot.py report --output OUT

One training seed makes it a pilot. The test split is for one run of a frozen configuration.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from medseg_rl.automatic.starts import load_starts
from medseg_rl.dataset import Dataset, find_data_root, load_dataset
from medseg_rl.errors import MedSegError
from medseg_rl.evaluation import (
    EvaluationConfig,
    Method,
    Plan,
    empty_start_side_mm,
    evaluate,
    load_evaluation_cases,
    parse_method,
    write_report,
)
from medseg_rl.evaluation.cases import StartKind
from medseg_rl.evaluation.manifest import source_state
from medseg_rl.evaluation.tuning import GRIDS, Trial, best_method, read_trials, tune, write_trials

SET = "hippocampus"
STARTS: tuple[StartKind, ...] = ("A", "B")
TRIALS = "tuning.json"
SHIPPED_GUARD_MM = 40.0


def tune_all(dataset: Dataset, starts: Path, output: Path) -> None:
    """Try every parameter set on the validation split and keep all trials in `tuning.json`."""
    trials: list[Trial] = []
    plan = Plan(empty_start_side_mm=empty_start_side_mm(dataset, "whole"))
    for start in STARTS:
        cases = load_evaluation_cases(dataset, "val", kind=start, starts=load_starts(starts))
        for method in GRIDS:
            trials += tune(cases, method, start, plan=plan, progress=_print_trial)
            write_trials(output / TRIALS, trials)
    for start in STARTS:
        print(f"start {start}:", "; ".join(str(dict(best_method(trials, m, start).options)) for m in GRIDS))


def run(dataset: Dataset, starts: Path, output: Path, arguments: argparse.Namespace) -> None:
    """Evaluate all methods with both starts and write rows, manifests, tables and curves."""
    _, dirty = source_state()
    if dirty:
        print("warning: the checkout has changes; its figures are not publishable", file=sys.stderr)
    trials = read_trials(output / TRIALS)
    for start in STARTS:
        config = EvaluationConfig(
            methods=_methods(trials, start, arguments.agent, arguments.twin),
            split=arguments.split,
            start=start,
            starts=starts,
            roi="product" if arguments.as_shipped else "common",
            guard_mm=SHIPPED_GUARD_MM if arguments.as_shipped else None,
            jobs=arguments.jobs,
            threads=arguments.threads,
        )
        evaluate(dataset, config, output, command=sys.argv, progress=_print_progress)
    print(write_report(output, reference="agent")[0].read_text(encoding="utf-8"))


def _methods(trials: Sequence[Trial], start: str, agent: str | None, twin: str | None) -> tuple[Method, ...]:
    models = [parse_method(f"{name}={model}") for name, model in (("agent", agent), ("twin_a", twin)) if model]
    tried = {trial.method for trial in trials if trial.start == start}
    classical = [best_method(trials, method, start) for method in GRIDS if method in tried]
    return (*models, *classical, parse_method("enforce_only"), parse_method("automatic"))[
        : None if start == "A" else -1
    ]


def _print_trial(trial: Trial) -> None:
    figures = trial.figures
    clicks = " ".join(f"{figures[f'dice_{n}']:.4f}" for n in (0, 1, 3, 5, 10, 20))
    lowering = f"lowering {100 * figures['lowering']:.1f} %"
    print(
        f"{trial.start} {trial.method} {trial.options}: AUC20 {figures['auc']:.4f} Dice {clicks} {lowering}", flush=True
    )


def _print_progress(done: int, total: int) -> None:
    print(f"\r{done} of {total} cases", end="" if done < total else "\n", file=sys.stderr, flush=True)


def main() -> int:
    """Read the command line and do one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tune", "run", "report"))
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--starts", type=Path, help="folder of the automatic starts")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--agent", help="bundle of the agent")
    parser.add_argument("--twin", help="bundle of the supervised twin A")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument(
        "--as-shipped", action="store_true", help="product region and locality guard, a table of its own"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side; latencies compare with 1 alone")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    arguments = parser.parse_args()
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        if arguments.what == "report":
            print(write_report(arguments.output, reference="agent")[0].read_text(encoding="utf-8"))
            return 0
        if arguments.starts is None:
            parser.error("tune and run need --starts")
        dataset = load_dataset(find_data_root(arguments.data) / SET)
        if arguments.what == "tune":
            tune_all(dataset, arguments.starts, arguments.output)
        else:
            run(dataset, arguments.starts, arguments.output, arguments)
    except MedSegError as error:
        print(f"pilot: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
