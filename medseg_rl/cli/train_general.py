"""`medseg-rl train-general`: agents for any structure, from several data sets and synthetic volumes; resumes itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg_rl.cli.options import ChangesOption, DataOption
from medseg_rl.cli.terminal import JsonOption, guarded, interruptible, print_json, progress
from medseg_rl.errors import Cancelled

STOPPED = "stopping after this step; the same command goes on from the last checkpoint"
SHIPPED_SETS = ("hippocampus", "sts_mr_t1", "sts_ct", "sts_pet")


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("train-general")(train_general)


@guarded
def train_general(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Run folder: checkpoints, TensorBoard, bundle.", show_default=False)
    ],
    data: DataOption = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help=f"A data set; repeat it. Without any: {', '.join(SHIPPED_SETS)}.")
    ] = None,
    begin_with: Annotated[
        str | None, typer.Option("--begin-with", help="A bundle, by name or folder, whose agents to begin with.")
    ] = None,
    changes: ChangesOption = None,
    device: Annotated[str, typer.Option(help='"cpu", or "cuda": one GPU for each process of torchrun.')] = "cpu",
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "general",
    as_json: JsonOption = False,
) -> None:
    """Train voxel agents for any structure that clicks or a mask define; write a bundle below the run folder.

    Several processes: torchrun --standalone --nproc-per-node 2 -m medseg_rl.cli train-general ...

    --set changes a setting, such as training.updates=500 or mixture.synthetic_share=1.
    """
    from medseg_rl.config import with_changes

    with interruptible(STOPPED) as cancel, progress("reading the data sets") as bar:
        from medseg_rl.agent.ranks import joined_ranks
        from medseg_rl.bundle import load_bundle
        from medseg_rl.dataset import find_dataset, load_dataset
        from medseg_rl.training_general import GeneralConfig, train_general

        settings = with_changes(GeneralConfig(), changes or ())
        initial = None if begin_with is None else load_bundle(begin_with)

        def shown(stage: str, done: int, total: int) -> None:
            bar.rename(stage)
            bar.show(done, total)

        sets = []
        for wanted in dataset or SHIPPED_SETS:
            sets.append(load_dataset(find_dataset(data, wanted)))
            if cancel():
                raise Cancelled("stopped before the training began")
        with joined_ranks(device) as ranks:
            bundle = train_general(
                sets, settings, output, name=name, initial=initial, progress=shown, cancel=cancel, ranks=ranks
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
