"""`medseg-rl gui [FILE|FOLDER ...]`: opens the window as a process of its own. Imports nothing of it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from medseg_rl.cli.terminal import guarded
from medseg_rl.errors import MedSegError

WINDOW = "medseg_rl_gui"


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("gui")(gui)


@guarded
def gui(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Image, DICOM folder, mask or session to open.", show_default=False)
    ] = None,
) -> None:
    """Open the window; the same as `medseg-rl-gui`."""
    if importlib.util.find_spec("PySide6") is None:
        raise MedSegError('the window needs PySide6, which is not installed: pip install "medseg-rl[gui]"')
    done = subprocess.run(command_for(paths or []), check=False)
    if done.returncode:
        raise typer.Exit(1 if done.returncode < 0 else done.returncode)


def command_for(paths: Iterable[Path]) -> list[str]:
    """The program of the window with something to open in it."""
    return [sys.executable, "-m", WINDOW, "--", *(str(path) for path in paths)]


def open_beside(path: Path) -> str:
    """Opens something in the window and does not wait for it. Returns why not, in a few words; empty where it opens."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display here"
    if importlib.util.find_spec("PySide6") is None:
        return "the window is not installed (make gui)"
    subprocess.Popen(command_for([path]), start_new_session=True)
    return ""
