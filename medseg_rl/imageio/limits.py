"""Refuses a file whose header promises more voxels than it can hold, before any memory is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from medseg_rl.errors import InputFileError

MAX_VOXELS = 2**31  # 2048 x 1024 x 1024; beyond that the indices of the compiled loops would overflow
DEFLATE_LIMIT = 1032  # no deflate stream unpacks to more than this many times its size (zlib's own figure)


def check_size(path: Path, shape: Sequence[int], *, bytes_needed: int, compressed: bool) -> None:
    """Raises InputFileError when `path` cannot hold `bytes_needed` (header included), or holds too many voxels."""
    size = path.stat().st_size
    voxels = math.prod(shape)
    said = " x ".join(str(n) for n in shape)
    most = size * DEFLATE_LIMIT if compressed else size
    if bytes_needed > most:
        raise InputFileError(
            f"{path} is cut off, or its header is wrong: {said} voxels need {bytes_needed} bytes,"
            f" the file has {'at most ' if compressed else ''}{most}; get the file again"
        )
    if voxels > MAX_VOXELS:
        raise InputFileError(f"{path} holds {said} voxels, more than the {MAX_VOXELS} that can be worked on; crop it")
