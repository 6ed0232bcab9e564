"""The command line, `medseg-rl`. Each command reads its options, calls the library and prints; the work is done below.

Heavy packages are imported inside the commands, so that `--help` answers at once and loads no torch.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from medseg_rl import __version__
from medseg_rl.cli import (
    convert,
    data,
    demo,
    doctor,
    evaluate,
    feedback,
    gui,
    info,
    labels,
    league,
    learn,
    quantities,
    recipe,
    replay,
    segment,
    train,
    train_general,
)
from medseg_rl.cli.terminal import EXIT_CODES, show_traces

app = typer.Typer(
    name="medseg-rl",
    help="Segment CT and MR volumes with clicks, refined by voxel agents. For research, not for diagnosis.",
    epilog=f"Exit codes: {EXIT_CODES}. Coordinates are world millimetres, RAS+.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    segment,
    info,
    quantities,
    convert,
    labels,
    data,
    train,
    train_general,
    evaluate,
    recipe,
    learn,
    league,
    feedback,
    replay,
    gui,
    demo,
    doctor,
)
for module in COMMANDS:
    module.add_to(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medseg-rl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the trace of an error; may stand after the command too.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    show_traces(debug)


def main() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be UTF-8: they are shown as they are
            stream.reconfigure(errors="surrogateescape")
    arguments = sys.argv[1:]
    if "--debug" in arguments:  # taken wherever it stands
        arguments = ["--debug", *(a for a in arguments if a != "--debug")]
    app(arguments)
