"""Every comparator of the evaluation protocol on one set: parameters chosen on validation, then one table for all.

    python -m benchmarks.compare tune   --dataset SET --starts DIR --output OUT [--volumes 10]   # validation only
    python -m benchmarks.compare run    --dataset SET --starts DIR --output OUT --method NAME[@SEED]=MODEL ...
    python -m benchmarks.compare report --output OUT

`tune` tries eight parameter sets of each classical method and start, and goes on where it was stopped. `run` evaluates
the methods given, the best of each classical one, the clicks alone and the start; `--method` takes bundles, such as
`agent=FOLDER` or `rnet_style=FOLDER`, and `deepedit_style=python:benchmarks.deepedit_style:refiner:RUN`. What cannot be
run stands under `not_run` in the manifest, with the reason. The test split is for one run of a frozen configuration.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg_rl.automatic.starts import load_starts
from medseg_rl.cli.options import parse_target
from medseg_rl.dataset import Dataset, Target, find_dataset, load_dataset
from medseg_rl.errors import InputFileError, MedSegError, MissingExtraError
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
from medseg_rl.hints.robots import ROBOTS

TRIALS = "tuning.json"
REFERENCE = "agent"
SHIPPED_GUARD_MM = 40.0
LEARNED = ("agent", "twin_a", "twin_b", "rnet_style", "intercnn_style", "deepedit_style")
RANDOM_ROBOTS = ("depth1", "depth4", "depth8", "jitter", "off_target", "wrong_sign")
RANDOM_SEEDS = tuple(range(5))


def tune_all(dataset: Dataset, target: Target, given: argparse.Namespace) -> None:
    """Try every parameter set that was not tried yet on the validation split; all trials stay in `tuning.json`."""
    path = given.output / TRIALS
    trials = read_trials(path) if path.exists() else []
    plan = Plan(empty_start_side_mm=empty_start_side_mm(dataset, target))
    starts = None if given.starts is None else load_starts(given.starts)
    for start in given.start:
        cases = load_evaluation_cases(dataset, "val", target=target, kind=start, starts=starts, limit=given.volumes)
        for method in given.classical:
            tried = [trial for trial in trials if (trial.method, trial.start) == (method, start)]
            if any(trial.volumes != len(cases) for trial in tried):
                raise InputFileError(f"{path} holds trials on another number of volumes; choose another folder")
            try:
                trials += tune(
                    cases, method, start, plan=plan, progress=_print_trial, tried=[trial.options for trial in tried]
                )
            except MissingExtraError as error:
                print(f"not tried: {error}", file=sys.stderr)
            write_trials(path, trials)
        for method, kept in _best(trials, start).items():
            print(f"start {start}: {method} {dict(kept.options)}")


def run(dataset: Dataset, target: Target, given: argparse.Namespace) -> None:
    """Evaluate all methods with the starts and robots asked for and write rows, manifests, tables and curves."""
    if source_state()[1]:
        print("warning: the checkout has changes; its figures are not publishable", file=sys.stderr)
    trials = read_trials(given.output / TRIALS)
    for start in given.start:
        methods, not_run = chosen_methods(trials, start, given.method, given.classical)
        for robot in given.robot:
            config = EvaluationConfig(
                methods=methods,
                split=given.split,
                target=target,
                start=start,
                starts=given.starts if start == "A" else None,
                robot=robot,
                robot_seeds=RANDOM_SEEDS if robot in RANDOM_ROBOTS else (0,),
                roi="product" if given.as_shipped else given.roi,
                guard_mm=SHIPPED_GUARD_MM if given.as_shipped else None,
                limit=given.limit,
                jobs=given.jobs,
                threads=given.threads,
                not_run=not_run,
            )
            evaluate(dataset, config, given.output, command=sys.argv, progress=_print_progress)
    print(write_report(given.output, reference=REFERENCE)[0].read_text(encoding="utf-8"))


def chosen_methods(
    trials: Sequence[Trial], start: str, given: Sequence[str], classical: Sequence[str]
) -> tuple[tuple[Method, ...], dict[str, str]]:
    """What is evaluated from that start, and why the rest of the protocol's list is not."""
    methods = [parse_method(text) for text in given]
    names = {method.name for method in methods}
    not_run = {name: "no model was given" for name in LEARNED if name not in names}
    best = _best(trials, start)
    for name in classical:
        if name not in best:
            not_run[name] = "no parameters: tune first"
            continue
        try:
            best[name].build()
            methods.append(best[name])
        except MissingExtraError as error:
            not_run[name] = str(error)
    methods += [parse_method(name) for name in ("enforce_only", "automatic")[: 2 if start == "A" else 1]]
    return tuple(methods), not_run


def _best(trials: Sequence[Trial], start: str) -> Mapping[str, Method]:
    tried = {trial.method: None for trial in trials if trial.start == start}
    return {method: best_method(trials, method, start) for method in tried}


def _print_trial(trial: Trial) -> None:
    figures = trial.figures
    clicks = " ".join(f"{figures[f'dice_{n}']:.4f}" for n in (0, 1, 3, 5, 10, 20))
    said = f"lowering {100 * figures['lowering']:.1f} % {figures['latency_ms']:.0f} ms"
    print(f"{trial.start} {trial.method} {trial.options}: AUC20 {figures['auc']:.4f} Dice {clicks} {said}", flush=True)


def _print_progress(done: int, total: int) -> None:
    print(f"\r{done} of {total} cases", end="" if done < total else "\n", file=sys.stderr, flush=True)


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    starts: tuple[StartKind, ...] = ("A", "B")
    parser.add_argument("what", choices=("tune", "run", "report"))
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--dataset", default="hippocampus")
    parser.add_argument("--target", default="whole", help='"whole" or label values such as "1"')
    parser.add_argument("--starts", type=Path, help="folder of the automatic starts; needed for start A")
    parser.add_argument("--start", nargs="+", choices=starts, default=starts)
    parser.add_argument("--classical", nargs="*", choices=tuple(GRIDS), default=tuple(GRIDS))
    parser.add_argument("--volumes", type=int, help="tune on the first validation volumes alone")
    parser.add_argument("--method", action="append", default=[], help="NAME[@SEED]=MODEL, repeat it")
    parser.add_argument("--robot", nargs="+", choices=tuple(ROBOTS), default=("primary",))
    parser.add_argument("--roi", choices=("common", "product", "whole", "oracle"), default="common")
    parser.add_argument(
        "--as-shipped", action="store_true", help="product region and locality guard, a table of its own"
    )
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--limit", type=int, help="the first cases alone, for a trial")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side; latencies compare with 1 alone")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and do one of the three."""
    given = options().parse_args(arguments)
    try:
        given.output.mkdir(parents=True, exist_ok=True)
        if given.what == "report":
            print(write_report(given.output, reference=REFERENCE)[0].read_text(encoding="utf-8"))
            return 0
        if "A" in given.start and given.starts is None:
            raise InputFileError("start A needs --starts; give it, or say --start B")
        dataset = load_dataset(find_dataset(given.data, given.dataset))
        (tune_all if given.what == "tune" else run)(dataset, parse_target(given.target), given)
    except MedSegError as error:
        print(f"compare: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
