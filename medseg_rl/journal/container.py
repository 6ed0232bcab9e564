"""A session file: a zip whose table of contents is checked before anything is unpacked. Knows no part's meaning."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

from medseg_rl.errors import InputFileError, MedSegError, OutputError
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.imageio.limits import DEFLATE_LIMIT

Part = bytes | Callable[[], Iterable[bytes]]  # a callable gives the part piece by piece

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9]+)?(/[a-z0-9][a-z0-9_-]*(\.[a-z0-9]+)?)?")
PACKED = re.compile(r"(^|/)array-")  # all else is stored as it is, so that it takes no more memory than its file
MOST_PARTS = 2**16
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every part: when somebody worked is nobody's business
FAST = 1  # the name of its attribute depends on the version of Python
LONGEST_REASON = 200  # characters
SHORTEST_HEADER = 30  # of a part in a zip
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    KeyError,
    IndexError,
)  # fmt: skip  (what zipfile raises on damaged files)


def write_container(path: Path, parts: Mapping[str, Part]) -> None:
    """Write the parts as one file, in one step; parts named array-* are compressed. Raises OutputError."""
    if len(parts) > MOST_PARTS:
        raise OutputError(
            f"cannot write {path}: {len(parts)} parts are more than a session file may have; delete labels"
        )
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
        for name, part in parts.items():
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name for a part")
            info = zipfile.ZipInfo(name, EPOCH)
            packed = PACKED.search(name) is not None
            info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
            setattr(info, "compress_level" if hasattr(info, "compress_level") else "_compresslevel", FAST)
            with archive.open(info, "w", force_zip64=True) as handle:
                for piece in (part,) if isinstance(part, bytes) else part():
                    handle.write(piece)


class Container:
    """An open session file whose table of contents was found harmless. Every mistake is an InputFileError."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self._parts = {info.filename: info for info in archive.infolist()}
        self.file_bytes = path.stat().st_size
        self._check()

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """The file, checked. Raises InputFileError, which names it, also for what the block finds wrong."""
        try:
            with zipfile.ZipFile(path) as archive:
                yield cls(path, archive)
        except FileNotFoundError:
            raise InputFileError(f"there is no file {path}") from None
        except IsADirectoryError:
            raise InputFileError(f"{path} is a folder, not a session file") from None
        except InputFileError as error:
            told = str(error)
            raise InputFileError(told if str(path) in told else f"{path} cannot be opened: {told}") from error
        except MedSegError:
            raise
        except OSError as error:
            raise InputFileError(f"{path} cannot be read: {error.strerror or error}") from error
        except DAMAGED as error:
            said = " ".join(str(error).split())[:LONGEST_REASON]  # zipfile puts the bytes it stumbled over into it
            raise InputFileError(f"{path} is damaged or no session file ({said}); open an earlier copy") from error

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts."""
        return tuple(self._parts)

    def size(self, name: str) -> int:
        """Bytes a part claims to unpack to. Raises InputFileError when there is none."""
        if name not in self._parts:
            raise InputFileError(f"the part {name} is missing; the file is damaged")
        return self._parts[name].file_size

    def read(self, name: str) -> bytes:
        """A part that was stored as it is."""
        with self.opened(name) as handle:
            content = handle.read(self.size(name))
        if len(content) != self.size(name):
            raise InputFileError(f"the part {name} is cut off; the file is damaged")
        return content

    @contextlib.contextmanager
    def opened(self, name: str, size: int | None = None) -> Iterator[IO[bytes]]:
        """A part to be read piece by piece. `size`: what it must unpack to; without it one that was stored as it is."""
        if size is None and self.size(name) > self.file_bytes:
            raise InputFileError(f"the part {name} is packed, which no part of its kind is; it is not opened")
        if size is not None and self.size(name) != size:
            raise InputFileError(f"the part {name} has {self.size(name)} bytes, not {size}; the file is damaged")
        with self._archive.open(self._parts[name]) as handle:
            yield handle

    def json(self, name: str) -> Any:
        """A part as JSON."""
        content = self.read(name)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputFileError(f"the part {name} is no JSON ({error}); the file is damaged") from None

    def _check(self) -> None:
        infos = sorted(self._archive.infolist(), key=lambda info: info.header_offset)
        if len(infos) > MOST_PARTS or len(self._parts) != len(infos):
            raise InputFileError(f"it holds {len(infos)} parts, too many or of one name; it is not opened")
        ends = [*(info.header_offset for info in infos[1:]), self.file_bytes]
        for info, end in zip(infos, ends, strict=True):
            if not NAME.fullmatch(info.filename):
                raise InputFileError(f"a part has the name {info.filename[:60]!r}; it is not opened")
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputFileError(f"the part {info.filename} is encrypted or of an unknown kind; it is not opened")
            if info.header_offset + SHORTEST_HEADER + len(info.filename) + info.compress_size > end:
                raise InputFileError(f"the part {info.filename} overlaps another; it is not opened")
            if info.file_size > (info.compress_size + 1) * DEFLATE_LIMIT:
                raise InputFileError(f"the part {info.filename} claims an impossible size; it is not opened")


def json_part(content: Any) -> bytes:
    """A value as a part of JSON."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def in_pieces(handle: IO[bytes], size: int = 2**20) -> Iterator[bytes]:
    """What an open file still holds, piece by piece."""
    return iter(lambda: handle.read(size), b"")
