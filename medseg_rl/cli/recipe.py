"""`medseg-rl recipe`: runs one recipe, writes its table, curves and card. Whatever stops it, it goes on next time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg_rl.cli.options import ChangesOption
from medseg_rl.cli.terminal import JsonOption, guarded, interruptible, print_json, print_table, progress

STOPPED = "stopping after this step; the same command goes on from here"


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("recipe")(recipe)


@guarded
def recipe(
    name: Annotated[str | None, typer.Argument(help="Which; left out, they are listed.", show_default=False)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder [out/recipes/NAME].", show_default=False)
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds instead of hours; claims nothing.")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Fewer or more seeds.", show_default=False)] = None,
    changes: ChangesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn from feedback in the domain of a published system, at small scale; write table, curves and card.

    A second command on the same folder takes the next seeds meanwhile; a stopped one goes on.
    """
    from medseg_rl.recipes.recipe import RECIPES, Work, find_recipe

    if name is None:
        print("\n".join(sorted(RECIPES)))
        return
    module = find_recipe(name)
    folder = output or Path("out/recipes") / name
    with interruptible(STOPPED) as cancel, progress(name) as bar:
        from medseg_rl.recipes.report import shown, write_report

        def report(stage: str, done: int, total: int) -> None:
            bar.rename(stage)
            bar.show(done, total)

        found = module.run(Work(folder, smoke, seeds, tuple(changes or ()), report, cancel))
        paths = write_report(folder, found)
    if as_json:
        print_json({"title": found.title, "smoke": found.smoke, "table": found.table, "files": paths})
        return
    header = list(found.table[0]) if found.table else []
    print_table(found.title, header, [[shown(row[key]) for key in header] for row in found.table])
    print("\n".join(str(path) for path in paths))
