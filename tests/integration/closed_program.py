"""Runs commands, a JSON list of argument lists on stdin, in a process that may open no socket and unpickle nothing.

Whatever asks for either is noted and refused. Prints for each command its exit code, stdout, stderr and log, as JSON.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import traceback
from typing import Any

from marked_work import FORBIDDEN, is_of_numba

refused: list[str] = []


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: even what compiled code asks the interpreter for comes by here."""
    if event in FORBIDDEN and not is_of_numba():
        frame = "".join(traceback.format_stack()[-6:-1])
        refused.append(f"{event} {arguments[1:]!r}\n{frame}")
        raise RuntimeError(f"{event} is not allowed here")


def main() -> None:
    """Reads the commands, runs them, says what came of them."""
    commands = json.load(sys.stdin)
    sys.addaudithook(refuse)
    from typer.testing import CliRunner

    from medseg_rl.cli import app

    logged = io.StringIO()
    logging.basicConfig(stream=logged, level=logging.DEBUG)
    answers = []
    for arguments in commands:
        result = CliRunner().invoke(app, arguments)
        answers.append([result.exit_code, result.stdout, result.stderr])
    json.dump({"answers": answers, "refused": refused, "log": logged.getvalue()}, sys.__stdout__)


if __name__ == "__main__":
    main()
