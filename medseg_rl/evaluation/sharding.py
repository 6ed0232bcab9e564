"""Which share of an evaluation is this process's own: `2/8` as told, or its rank under torchrun.

Shares need nothing of each other but one folder: every finished run is a file of its own there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

from medseg_rl.errors import InputFileError, OutputError

Shard = tuple[int, int]  # which, from 1, of how many
ALL: Shard = (1, 1)
PATIENCE_S = 60.0

Answer = TypeVar("Answer")


def own_shard(text: str | None = None) -> Shard:
    """(which, of how many) from "2/8", else from the environment that torchrun sets, else (1, 1).

    Raises `InputFileError` where the text is no share.
    """
    if text is None:
        return int(os.environ.get("RANK", "0")) + 1, int(os.environ.get("WORLD_SIZE", "1"))
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputFileError(f"{text!r} is no share; write 2/8 for the second of eight")
    return int(match[1]), int(match[2])


def patiently(write: Callable[[], Answer], shard: Shard) -> Answer:
    """`write`, again where another share is writing the same file just then. Raises the last `OutputError`."""
    limit = time.monotonic() + (PATIENCE_S if shard != ALL else 0)
    while True:
        try:
            return write()
        except OutputError:
            if time.monotonic() >= limit:
                raise
            time.sleep(0.2)
