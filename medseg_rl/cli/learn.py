"""`medseg-rl learn`: a candidate model from feedback stores and exports. Whatever stops it, it goes on next time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg_rl.cli.options import BundleOption, ChangesOption, DatasetOption
from medseg_rl.cli.terminal import JsonOption, guarded, interruptible, print_json, print_table, progress

STOPPED = "stopping after this step; the same command goes on from the last checkpoint"


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("learn")(learn)


@guarded
def learn(
    stores: Annotated[
        list[Path], typer.Argument(help="Feedback stores (folders) and exports (.zip).", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Run folder: checkpoints, candidate, games.", show_default=False)
    ],
    bundle: BundleOption = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of public cases: mixed in, and needed for a promotion.", show_default=False),
    ] = None,
    dataset: DatasetOption = "hippocampus",
    annotator: Annotated[
        str | None,
        typer.Option(
            help="Also a model of this annotator's own, with an automatic start as he draws.", show_default=False
        ),
    ] = None,
    changes: ChangesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn from accepted masks; write a candidate bundle, its card, its games, and whether it may be promoted.

    --set changes a setting, such as updates=200, ptx_share=0.3, or start_updates=60 to let the automatic start learn
    too. With --annotator, what the start learned goes into a second model for that annotator alone: the candidate for
    everybody keeps the start that it had.
    """
    from medseg_rl.config import with_changes
    from medseg_rl.recipes.recipe import Work

    with interruptible(STOPPED) as cancel, progress("reading the records") as bar:
        from medseg_rl.bundle import load_bundle
        from medseg_rl.dataset import find_dataset, load_dataset
        from medseg_rl.recipes.refinement.learning import START_UPDATES, LearnConfig, summary
        from medseg_rl.recipes.refinement.learning import learn as learned_from

        def report(stage: str, done: int, total: int) -> None:
            bar.rename(stage)
            bar.show(done, total)

        asked = LearnConfig(annotator=annotator, start_updates=START_UPDATES) if annotator else LearnConfig()
        config = with_changes(asked, changes or ())
        public = None if data is None else load_dataset(find_dataset(data, dataset))
        work = Work(output, report=report, cancel=cancel)
        found = summary(learned_from(stores, load_bundle(bundle, automatic=True), config, work, dataset=public))
    if as_json:
        print_json(found)
        return
    masks, verdict = found["accepted_masks"], found["promotion"]
    print(
        f"{found['bundle']}: candidate, from {masks['train']} accepted masks ({masks['held_out']} kept for its games), "
        f"{found['strokes']} strokes, {found['absent']['train']} regions without the target"
    )
    for source in found["sources"]:
        left = ", ".join(f"{count} {why}" for why, count in source["skipped"].items()) or "nothing"
        print(f"  {source['path']}: consent {source['consent']}; left out: {left}")
    rows = [(g["name"], "yes" if g["passed"] else "no", g["found"]) for g in verdict["gates"]]
    print_table("", ("gate", "passed", "found"), rows)
    if found["own"] is not None:
        gates = found["own"]["verdict"]["gates"]
        wins = all(gate["passed"] for gate in gates if gate["name"].startswith("wins"))
        against = "wins against" if wins else "is not shown to win against"
        print(f"{found['own']['bundle']}: for {annotator} alone; {against} {verdict['incumbent']} on held-out records")
    place = "may replace" if verdict["promoted"] else "does not replace"
    print(f"{verdict['candidate']} {place} {verdict['incumbent']}")
