"""`medseg-rl train`: a bundle from a folder of labelled cases. Whatever stops it, the same command goes on."""

from __future__ import annotations

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
from medseg_rl.errors import Cancelled

STOPPED = "stopping after this step; the same command goes on from the last checkpoint"


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("train")(train)


@guarded
def train(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Run folder: checkpoints, TensorBoard, bundle.", show_default=False)
    ],
    data: DataOption = None,
    dataset: DatasetOption = "hippocampus",
    channel: ChannelOption = None,
    splits: SplitsOption = None,
    target: TargetOption = "whole",
    preset: Annotated[
        str,
        typer.Option(help='"product", "small", "itermrl" (published), "rnet_style", "intercnn_style" (comparators).'),
    ] = "product",
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.", show_default=False)] = None,
    changes: ChangesOption = None,
    device: Annotated[str, typer.Option(help='"cpu", or "cuda": one GPU for each process of torchrun.')] = "cpu",
    name: Annotated[str | None, typer.Option(help="Name of the bundle.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Train voxel agents and their automatic start; write a bundle below the run folder.

    Several processes: torchrun --standalone --nproc-per-node 2 -m medseg_rl.cli train ... (on several machines the run
    folder must be shared). Each advances a batch of its own, gradients are averaged.

    --set changes a setting, such as training.updates=500, training.learner.discount=0.9, automatic.seed=2.
    """
    from medseg_rl.config import run_config

    wanted = parse_target(target)
    settings = run_config(preset, config, changes or ())
    with interruptible(STOPPED) as cancel, progress("reading the data set") as bar:
        from medseg_rl.agent.ranks import joined_ranks
        from medseg_rl.dataset import find_dataset, load_dataset
        from medseg_rl.training_run import train_on

        folder = find_dataset(data, dataset)

        def shown(stage: str, done: int, total: int) -> None:
            bar.rename(stage)
            bar.show(done, total)

        cases = load_dataset(folder, channel=channel, splits=splits)
        if cancel():
            raise Cancelled("stopped before the training began")
        with joined_ranks(device) as ranks:
            bundle = train_on(
                cases, settings, output, target=wanted, name=name, progress=shown, cancel=cancel, ranks=ranks
            )
    if not ranks.is_first:
        return
    figures = bundle.metadata["eval_metrics"]
    if as_json:
        print_json({"bundle": bundle.folder, "name": bundle.name, "hash": bundle.hash, "validation": figures})
        return
    print(f"{bundle.folder}: bundle {bundle.name}")
    for key, value in figures.items():
        print(f"  {key}: {value}")
