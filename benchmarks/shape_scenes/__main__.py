"""`python -m benchmarks.shape_scenes`: task rewards on detection, colouring and captions; table, curves and card.

Whatever stops it, the same command goes on; a second one on the same folder shares the work.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.shape_scenes.training import GUARDS, METRICS, SMOKE, Sizes, baseline_of, run_task
from medseg_rl.cli.terminal import guarded, interruptible, progress
from medseg_rl.config import with_changes
from medseg_rl.recipes.recipe import Result, Work
from medseg_rl.recipes.report import Curve, Report, Row, interval, write_report

NOTES = (
    "Scenes are drawn by code: 1 to 4 shapes, three kinds, six colours, 32 x 32 pixels; six in ten scenes are pale.",
    "Figures are of greedy answers to test scenes that were never trained on. The guard is not rewarded.",
    "Colourfulness rewards vivid answers, true or not, as in the published experiment: the guard says what it costs.",
    "surplus: detections beyond those matched; reward (matches - 0.3 surplus) / shapes, averaged over IoU .5 to .95.",
    "variance: of the gradient of one update at the MLE model, two samples a scene, summed over parameters, relative "
    "to that without a baseline; sample uses one of the two samples alone.",
    "holds: tuned beats MLE continued for equally many updates on the rewarded metric, the mean over seeds.",
)


@guarded
def main() -> None:
    """Read the options, run, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shape_scenes", description=__doc__)
    parser.add_argument("--output", "-o", type=Path, default=Path("out/shape_scenes"))
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    with interruptible("stopping after this step") as cancel, progress("shape scenes") as bar:

        def report(stage: str, done: int, total: int) -> None:
            bar.rename(stage)
            bar.show(done, total)

        work = Work(options.output, options.smoke, options.seeds, tuple(options.changes), report, cancel)
        paths = write_report(options.output, run(work))
    print("\n".join(str(path) for path in paths))


def run(work: Work) -> Report:
    """All tasks and seeds, and the report."""
    torch.set_num_threads(1)
    sizes = with_changes(SMOKE if work.smoke else Sizes(), work.changes)
    work.open(asdict(sizes))
    seeds = work.seeds or 3
    jobs = {
        f"{task}-seed-{seed}": functools.partial(run_task, work, sizes, task, seed)
        for seed in range(seeds)
        for task in METRICS
    }
    runs = list(work.jobs("tasks", jobs).values())
    parameters = ", ".join(f"{task} {_of(runs, task)[0]['parameters']}" for task in METRICS)
    return Report(
        title="Task rewards on shape scenes",
        table=[row for task in METRICS for row in _rows(task, _of(runs, task))],
        facts={
            "data": f"{sizes.training_scenes} training and {sizes.test_scenes} test scenes, drawn by code",
            "models": f"convolutional nets from scratch, parameters: {parameters}",
            "updates": f"{sizes.updates} of maximum likelihood, then {sizes.tuning} of each arm, {sizes.batch} scenes "
            f"each; {sizes.samples} samples a scene",
            "baselines": ", ".join(f"{task} {baseline_of(task)}" for task in METRICS),
            "seeds": f"{seeds} (0..{seeds - 1})" + ("" if seeds >= 3 else ": fewer than three, so no claim"),
            "cost": f"{math.fsum(run['cpu_seconds'] for run in runs) / 60:.0f} CPU minutes in all",
        },
        curves=_curves(runs, sizes.samples),
        notes=NOTES,
        smoke=work.smoke,
        extra_tables={"variance_of_the_gradient": [_variance_row(task, _of(runs, task)) for task in METRICS]},
    )


def _of(runs: Sequence[Result], task: str) -> list[Result]:
    return [run for run in runs if run["task"] == task]


def _rows(task: str, runs: Sequence[Result]) -> list[Row]:
    arms = list(runs[0]["rows"])
    means = {arm: math.fsum(run["rows"][arm]["metric"] for run in runs) / len(runs) for arm in arms}
    holds = "yes" if means["MLE, then its metric"] > means["MLE continued (control)"] else "no"
    return [
        {
            "task": task,
            "arm": arm,
            "seeds": len(runs),
            "rewarded metric": METRICS[task],
            "its mean": str(interval([run["rows"][arm]["metric"] for run in runs])),
            "guard": GUARDS[task],
            "its mean ": str(interval([run["rows"][arm]["guard"] for run in runs])),
            "holds": holds if arm == "MLE, then its metric" else "-",
        }
        for arm in arms
    ]


def _variance_row(task: str, runs: Sequence[Result]) -> Row:
    names = list(runs[0]["variances"])
    return {"task": task, **{name: str(interval([run["variances"][name] for run in runs])) for name in names}}


def _curves(runs: Sequence[Result], samples: int) -> list[Curve]:
    return [
        Curve(f"{run['task']}: {METRICS[run['task']]} of samples", arm, range(len(found)), [p["reward"] for p in found])
        for run in runs
        for arm, found in run["curves"].items()
    ]


if __name__ == "__main__":
    main()
