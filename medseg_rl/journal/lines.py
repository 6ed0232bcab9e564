"""The journal of a case: one JSON object a line in one file, the deltas it names in another; both only ever grow.

A line is on the disk, after its deltas, when `append` returns. After `write` it outlives the program, and a power cut
once its `Flush` is over. Every line ends with a checksum of itself, so that one cut off by a crash is told from a whole
one. Knows nothing of what the lines say.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from medseg_rl.errors import InputFileError, OutputError
from medseg_rl.history import BoxDelta
from medseg_rl.imageio.atomic import flush_folder
from medseg_rl.journal.deltas import record, records, unpacked

Line = dict[str, Any]

LONGEST_LINE = 2**27
_CHECKSUM = b',"crc":"'
_TAIL = len(_CHECKSUM) + 8 + len(b'"}\n')


@dataclass(frozen=True)
class JournalText:
    """What could be read. `good_bytes`: up to the end of the last whole line; `lost_bytes`: after it.

    `digest`: SHA-256 of the whole lines, by which an export names the journal.
    """

    lines: tuple[Line, ...]
    good_bytes: int
    lost_bytes: int
    digest: str


def encoded_line(content: Mapping[str, Any]) -> bytes:
    """One line with its checksum."""
    body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")[:-1]
    return body + _CHECKSUM + f"{zlib.crc32(body):08x}".encode("ascii") + b'"}\n'


def decoded_line(line: bytes) -> Line | None:
    """The content of a line without its checksum; None where it is not whole."""
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if not tail.startswith(_CHECKSUM) or not tail.endswith(b'"}\n'):
        return None
    if f"{zlib.crc32(body):08x}".encode("ascii") != tail[len(_CHECKSUM) : -3]:
        return None
    try:
        content = json.loads(body + b"}")
    except (ValueError, RecursionError):
        return None
    is_line = isinstance(content, dict) and isinstance(content.get("sequence", 0), int)
    return content if is_line else None


def read_journal(handle: IO[bytes]) -> JournalText:
    """Every line up to the first that is not whole; what comes after it cannot be trusted to follow on it."""
    lines: list[Line] = []
    digest, good, total = hashlib.sha256(), 0, 0
    whole = True
    while raw := handle.readline(LONGEST_LINE):
        total += len(raw)
        content = decoded_line(raw) if whole else None
        if content is None:
            whole = False
            continue
        lines.append(content)
        digest.update(raw)
        good += len(raw)
    return JournalText(tuple(lines), good, total - good, digest.hexdigest())


class DeltaIndex:
    """Finds the deltas of a file of records by their digest, and reads and checks each when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: dict[str, tuple[int, int]] = {}
        self.good_bytes = 0
        if path.exists():
            with path.open("rb") as handle:
                for digest, payload in records(handle):
                    self.good_bytes = handle.tell()
                    self._offsets[digest] = (self.good_bytes - len(payload), len(payload))

    def __contains__(self, digest: object) -> bool:
        return digest in self._offsets

    @property
    def digests(self) -> frozenset[str]:
        """Of all deltas there are."""
        return frozenset(self._offsets)

    def payload(self, digest: str) -> bytes:
        """A packed delta. Raises InputFileError when it is not there."""
        if digest not in self._offsets:
            raise InputFileError("the journal names a change that is not stored beside it; the file is damaged")
        at, length = self._offsets[digest]
        with self._path.open("rb") as handle:
            handle.seek(at)
            return handle.read(length)

    def delta(self, digest: str) -> BoxDelta:
        """A delta, checked. Raises InputFileError."""
        return unpacked(self.payload(digest))


@dataclass(frozen=True)
class Written:
    """What went to the files together. `text`: the lines; `digests`: of the new deltas."""

    text: bytes
    digests: frozenset[str]
    delta_bytes: int


class Flush:
    """What was written, on its way to the disk: the deltas, then the lines, on a thread that ends with it."""

    def __init__(self, path: Path, files: Sequence[IO[bytes]], written: Written) -> None:
        self.written = written
        self._path, self._files = path, files
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="journal")
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether `wait` returns at once."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Until it is on the disk. Raises OutputError; from any thread."""
        self._thread.join()
        if self._error is not None:
            with _told(self._path):
                raise self._error

    def _run(self) -> None:
        try:
            for file in self._files:
                os.fsync(file.fileno())
        except BaseException as error:  # told to whoever waits
            self._error = error


class JournalWriter:
    """Appends to the two files of a journal. What was cut off at their ends is cut away first."""

    def __init__(self, lines: Path, deltas: Path) -> None:
        """Raises OutputError when the files cannot be opened for writing."""
        self._path = lines
        with _told(lines):
            text = read_lines(lines)
            index = DeltaIndex(deltas)
            self._deltas = _GrowingFile(deltas, index.good_bytes)
            self._lines = _GrowingFile(lines, text.good_bytes)
            self._digest = hashlib.sha256(lines.read_bytes())
            self._stored = set(index.digests)

    @property
    def digest(self) -> str:
        """SHA-256 of all lines so far."""
        return self._digest.hexdigest()

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of the lines and of the deltas so far."""
        return self._lines.size, self._deltas.size

    @property
    def digests(self) -> frozenset[str]:
        """Of all deltas so far."""
        return frozenset(self._stored)

    def append(self, lines: Iterable[bytes], deltas: Mapping[str, bytes], *, durable: bool = True) -> None:
        """Write the deltas that are not there yet, then the lines, and wait for the disk unless not `durable`.

        Raises OutputError; nothing was added then.
        """
        self.keep(self._written(lines, deltas, durable=durable))

    def write(self, lines: Iterable[bytes], deltas: Mapping[str, bytes]) -> Flush:
        """The same without waiting for the disk: that goes on beside the work. Raises OutputError; nothing was added.

        Once its flush is over, in the order of writing, `keep` it; or `take_back` one that failed, all that was written
        after it first. `digest` and `digests` know only what was kept.
        """
        written = self._written(lines, deltas, durable=False)
        return Flush(self._path, [self._deltas.handle, self._lines.handle], written)

    def keep(self, written: Written) -> None:
        """What was written is on the disk: it counts."""
        self._digest.update(written.text)
        self._stored.update(written.digests)

    def take_back(self, written: Written) -> None:
        """What was written last of all could not be flushed: it is no part of the journal."""
        self._lines.take_back(len(written.text))
        self._deltas.take_back(written.delta_bytes)

    def _written(self, lines: Iterable[bytes], deltas: Mapping[str, bytes], *, durable: bool) -> Written:
        new = {digest: payload for digest, payload in deltas.items() if digest not in self._stored}
        packed, text = b"".join(record(payload) for payload in new.values()), b"".join(lines)
        with _told(self._path):
            self._deltas.write(packed, durable=durable)
            try:
                self._lines.write(text, durable=durable)
            except BaseException:
                self._deltas.take_back(len(packed))
                raise
        return Written(text, frozenset(new), len(packed))

    def close(self) -> None:
        """Let go of the files."""
        for file in (self._lines, self._deltas):
            with contextlib.suppress(OSError):
                file.handle.close()


class _GrowingFile:
    """A file without buffer of which only the first `size` bytes count: whatever stands behind them is overwritten."""

    def __init__(self, path: Path, good_bytes: int) -> None:
        new = not path.exists()
        self.handle: IO[bytes] = path.open("w+b" if new else "r+b", buffering=0)
        self.size = good_bytes
        self._cut()
        if new:
            flush_folder(path.parent)

    def write(self, content: bytes, *, durable: bool) -> None:
        if not content:
            return
        self._cut()
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[self.handle.write(rest) :]
            if durable:
                os.fsync(self.handle.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                self._cut()
            raise
        self.size += len(content)

    def take_back(self, count: int) -> None:
        self.size -= count
        with contextlib.suppress(OSError):  # if this fails, the next write does it
            self._cut()

    def _cut(self) -> None:
        if self.handle.seek(0, os.SEEK_END) != self.size:
            self.handle.truncate(self.size)
            self.handle.seek(self.size)


def read_lines(path: Path) -> JournalText:
    """The journal of a file; an empty one where there is none."""
    if not path.exists():
        return read_journal(io.BytesIO())
    with path.open("rb") as handle:
        return read_journal(handle)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"the journal in {path.parent} cannot be written: {error.strerror or error}; "
            "make room or choose another place, and save the session"
        ) from error
