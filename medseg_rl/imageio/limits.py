"""Refuses a header that promises more voxels than its file can hold, or a grid that cannot be."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

import numpy as np

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.volume import FloatArray

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

MAX_VOXELS = 2**31  # 2048 x 1024 x 1024; beyond that the indices of the compiled loops would overflow
MOST_BEHIND = 1 << 24  # bytes that a packed file may hold behind its voxels: padding, notes of other programs
DEFLATE_LIMIT = 1032  # no deflate stream unpacks to more than this many times its size (zlib's own figure)


def check_size(path: Path, shape: Sequence[int], *, bytes_needed: int, compressed: bool) -> None:
    """Raises InputFileError when `path` cannot hold `bytes_needed` (header included), or holds too many voxels.

    To be called before any memory is taken.
    """
    size = path.stat().st_size
    voxels = math.prod(shape)
    said = times(shape)
    most = size * DEFLATE_LIMIT if compressed else size
    if bytes_needed > most:
        raise InputFileError(
            f"{path} is cut off, or its header is wrong: {said} voxels need {bytes_needed} bytes,"
            f" the file has {'at most ' if compressed else ''}{most}; get the file again"
        )
    if voxels > MAX_VOXELS:
        raise InputFileError(f"{path} holds {said} voxels, more than the {MAX_VOXELS} that can be worked on; crop it")


def within_memory(reader: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A reader that raises InputFileError where its file, harmless by all checks, needs more memory than there is."""

    @functools.wraps(reader)
    def read(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        try:
            return reader(*args, **options)
        except MemoryError as error:
            path = args[0] if args else options["path"]
            raise InputFileError(f"{path} needs more memory than there is; crop it or close other programs") from error

    return read


def check_end(path: Path, stream: io.BufferedIOBase | IO[bytes], end: int) -> int:
    """Unpacks what follows to its end, where gzip keeps its checksum; returns how many bytes the file unpacks to.

    `end`: where its voxels end. Raises InputFileError where much more follows, and whatever gzip raises on damage.
    """
    while stream.read(1 << 20):
        if stream.tell() > end + MOST_BEHIND:
            raise InputFileError(f"{path} unpacks to far more than the {end} bytes of its voxels; get the file again")
    return stream.tell()


def checked_slices(path: Path, slices: tuple[int, int], count: int) -> slice:
    """The range first to one past last. Raises InputFileError unless at least two of the `count` slices lie in it."""
    first, end = slices
    if not 0 <= first < first + 1 < end <= count:
        raise InputFileError(f"{path} has slices 0 to {count - 1}; {first} to {end - 1} is no range of two or more")
    return slice(first, end)


def check_affine(path: Path, affine: FloatArray) -> None:
    """Raises GeometryError, naming the file, where an affine has a zero spacing, NaN or parallel axes."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (spacing <= 0).any():
        raise GeometryError(f"{path} has a zero or undefined spacing, {times(spacing)} mm; correct its header")
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-4:
        raise GeometryError(f"{path} has two voxel axes that point the same way; correct its header")


def times(numbers: Any) -> str:
    """Shape or spacing for a message: 4 x 5 x 6."""
    return " x ".join(f"{n:g}" for n in numbers)
