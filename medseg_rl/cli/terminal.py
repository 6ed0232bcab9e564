"""How the commands speak: results on stdout (text or JSON), progress and errors on stderr, one exit code each."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from medseg_rl.errors import Cancelled, MedSegError

Parameters = ParamSpec("Parameters")

DEFECT = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130
OUT_OF_MEMORY = 71
EXIT_CODES = (
    "0 done, 1 refused or something lacking, 2 wrong use, 3 input file, 4 geometry, 5 click, 6 bundle or checkpoint, "
    "7 output, 8 a replay differs, 70 a defect of the program, 71 out of memory, 130 stopped with Ctrl-C"
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]

_shows_traces = False


def show_traces(wanted: bool) -> None:
    """Whether an error prints its trace (`--debug`)."""
    global _shows_traces
    _shows_traces = wanted


def guarded(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """A command whose errors end in one line on stderr and their exit code; with `as_json`, in JSON on stdout too."""

    @functools.wraps(function)
    def run(*args: Parameters.args, **options: Parameters.kwargs) -> None:
        try:
            function(*args, **options)
        except MedSegError as error:
            _leave(error, str(error), error.exit_code, options)
        except KeyboardInterrupt as error:
            _leave(error, "stopped", INTERRUPTED, options)
        except MemoryError as error:
            _leave(error, f"out of memory ({error}); crop the image or close other programs", OUT_OF_MEMORY, options)
        except BrokenPipeError:  # the reader of our output has gone, as in `medseg-rl info x | head -1`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:  # whatever is left is a defect of ours
            line = f"{type(error).__name__}: {error}".splitlines()[0]
            _leave(error, f"unexpected {line}; run again with --debug for the trace and report it", DEFECT, options)

    return run


def _leave(error: BaseException, message: str, code: int, options: Mapping[str, Any]) -> None:
    if _shows_traces:
        traceback.print_exception(error, file=sys.stderr)
    line = " ".join(message.split())
    print(f"medseg-rl: {line}", file=sys.stderr)
    if options.get("as_json"):
        print_json({"error": {"kind": type(error).__name__, "message": line, "exit_code": code}})
    raise typer.Exit(code) from None


def warn(message: str) -> str:
    """Says a warning on stderr and returns it, for the report."""
    print(f"medseg-rl: warning: {message}", file=sys.stderr)
    return message


def print_json(content: Mapping[str, Any]) -> None:
    """One JSON object on stdout; paths as text, NumPy numbers as numbers, NaN as null."""
    print(json.dumps(_plain(content), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value - value != 0:  # NaN or infinite: JSON has no word for it
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout, as wide as the terminal or, in a pipe, as its content."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    if title:
        print(title)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


class Progress:
    """A bar on stderr for one long piece of work."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task

    def show(self, done: float, total: float, note: str = "") -> None:
        """`done` of `total` steps are done; `note` stands behind the bar."""
        self._bar.update(self._task, completed=done, total=total, note=note)

    def rename(self, description: str) -> None:
        """What is being done now."""
        self._bar.update(self._task, description=description)


@contextlib.contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Progress]:
    """Shows a bar (without `total` a spinner) until the block ends. Where stderr is no terminal it shows nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    bar = Bar(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console, transient=True)
    bar.disable = not console.is_terminal
    with bar:
        yield Progress(bar, bar.add_task(description, total=total, note=""))


@contextlib.contextmanager
def interruptible(message: str) -> Iterator[Callable[[], bool]]:
    """Gives the `cancel` that long work asks: True after Ctrl-C or SIGTERM. The second Ctrl-C stops at once."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals belong to the main thread
        yield stopped.is_set
        return

    def stop(number: int, _frame: Any) -> None:
        stopped.set()
        print(f"medseg-rl: {message}", file=sys.stderr)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_if(cancel: Callable[[], bool]) -> None:
    """Raises `Cancelled` after Ctrl-C: for between two pieces of work, before anything is written."""
    if cancel():
        raise Cancelled("stopped; nothing was written")
