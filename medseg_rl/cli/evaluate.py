"""`medseg-rl evaluate`: simulated users drive the session with each method; tables and curves of Dice by click."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from medseg_rl.cli.options import (
    ChangesOption,
    ChannelOption,
    DataOption,
    DatasetOption,
    SplitsOption,
    TargetOption,
    parse_target,
)
from medseg_rl.cli.terminal import JsonOption, guarded, interruptible, print_json, progress

STOPPED = "stopping after this click; finished cases are kept and the same command goes on"


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("evaluate")(evaluate)


@guarded
def evaluate(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for rows, manifests, tables, curves.", show_default=False),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="[NAME=]automatic, enforce_only, paint_ball:radius_mm=4, geodesic_threshold, graph_cut, "
            "random_walker, grow_cut, python:MODULE:FUNCTION[:ARGUMENT] for one of your own, or a bundle; repeat it.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Compare two finished runs (folders) instead, A minus B; --method NAME or NAME_IN_A=NAME_IN_B.",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
    dataset: DatasetOption = "hippocampus",
    channel: ChannelOption = None,
    splits: SplitsOption = None,
    target: TargetOption = "whole",
    split: Annotated[str, typer.Option(help="train, val or test. Tune on val; run test once.")] = "val",
    start: Annotated[
        list[str] | None,
        typer.Option(help="A automatic (needs --starts), B empty, C corrupted reference; repeat it.  [default: B]"),
    ] = None,
    starts: Annotated[
        Path | None, typer.Option(help="Automatic starts: the folder starts of a training run.", show_default=False)
    ] = None,
    robot: Annotated[list[str] | None, typer.Option(help="Simulated user; repeat it.  [default: primary]")] = None,
    clicks: Annotated[
        int | None, typer.Option(min=1, help="Turns after the start; the robot's own by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first cases alone, for a trial.")] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="This process's share, such as 2/8; under torchrun its own by itself.", show_default=False),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes side by side; latencies compare with 1 alone.")] = 1,
    changes: ChangesOption = None,
    reference: Annotated[
        str | None, typer.Option(help="Method the others are tested against in the tables.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let simulated users click on every case of a split with each method; finished cases are not run again.

    --set changes a rule, such as roi=product, guard_mm=40, steps=1, enforce_clicks=false, robot_seeds=[0,1], threads=2.
    """
    from medseg_rl.config import changed, with_changes
    from medseg_rl.dataset import find_dataset, load_dataset
    from medseg_rl.evaluation import EvaluationConfig, own_shard, parse_method, patiently, write_report
    from medseg_rl.evaluation import evaluate as run

    if compare is not None:
        _compare(*compare, method or (), output, as_json)
        return
    if output is None or not method:
        raise typer.BadParameter("an evaluation needs --output and at least one --method (or --compare A B)")
    methods = tuple(parse_method(text) for text in method)
    if reference is not None and reference not in {given.name for given in methods}:
        raise typer.BadParameter(f"--reference {reference} is none of the methods given; name one of them")
    shared = EvaluationConfig(
        methods,
        target=parse_target(target),
        starts=starts,
        interactions=clicks,
        limit=limit,
        jobs=jobs,
        shard=own_shard(shard),
    )
    shared = with_changes(shared, changes or ())
    done = []
    with interruptible(STOPPED) as cancel, progress("reading the data set") as bar:
        cases = load_dataset(find_dataset(data, dataset), channel=channel, splits=splits)
        for kind, user in [(kind, user) for kind in start or ["B"] for user in robot or ["primary"]]:
            bar.rename(f"start {kind}, robot {user}")
            config = changed(shared, {"split": split, "start": kind, "robot": user}, where="evaluate")
            done.append(run(cases, config, output, command=sys.argv, progress=bar.show, cancel=cancel))
    still_open = sum(evaluation.open_runs for evaluation in done)
    if still_open:
        _wait_for_others(still_open, output, as_json)
        return
    report = patiently(lambda: write_report(output, reference=reference), shared.shard)
    failures = [failure for evaluation in done for failure in evaluation.failures]
    if as_json:
        files = {"rows": [e.csv for e in done], "manifests": [e.manifest for e in done], "report": report}
        print_json({**files, "failures": failures})
        return
    print(report[0].read_text(encoding="utf-8"))
    print(f"Rows, manifests and curves are in {output}; {len(failures)} interaction(s) failed.")


def _wait_for_others(open_runs: int, output: Path, as_json: bool) -> None:
    if as_json:
        print_json({"open_runs": open_runs, "rows": [], "manifests": [], "report": [], "failures": []})
        return
    print(f"This share is done; {open_runs} run(s) of others are still open. Whoever ends last writes into {output};")
    print("the same command goes on with what is open.")


def _compare(a: Path, b: Path, methods: Sequence[str], output: Path | None, as_json: bool) -> None:
    from medseg_rl.evaluation.compare import compare_runs
    from medseg_rl.evaluation.compare_report import comparison_json, comparison_table, write_comparison

    pairs = [(name.partition("=")[0], name.partition("=")[2] or name) for name in methods]
    found = compare_runs(a, b, pairs)
    if output is not None:
        write_comparison(output, a, b, found)
    if as_json:
        print_json(comparison_json(a, b, found))
    else:
        print(comparison_table(a, b, found))
