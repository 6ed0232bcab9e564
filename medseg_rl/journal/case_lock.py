"""Who has a case open: one program at a time may write its files. A program that died holds nothing.

The lock of the operating system decides. Where a file system knows no locks, the process id and its start time do: both
stand in the file, so that a number given to another program is not taken for the old one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from medseg_rl.errors import MedSegError, OutputError

_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class CaseBusyError(MedSegError):
    """Another window has the case open; here it can only be read."""

    exit_code = 7


@dataclass(frozen=True)
class Holder:
    """A process that has, or had, a case open. `started`: when it began, as its system tells it; "" if unknown."""

    pid: int
    started: str

    @classmethod
    def this_process(cls) -> Holder:
        """Ourselves."""
        return cls(os.getpid(), _start_of(os.getpid()))

    @property
    def is_alive(self) -> bool:
        """Whether that very process still runs. True where the system does not say."""
        if os.name == "nt":
            return True  # asking there would end it; locks work there
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        now = _start_of(self.pid)
        return not now or not self.started or now == self.started


class CaseLock:
    """The held lock of a case. `left_by`: who had it open before and never closed it, None after a clean end."""

    def __init__(self, path: Path, handle: IO[bytes], left_by: Holder | None) -> None:
        self._path = path
        self._handle = handle
        self.left_by = left_by

    @classmethod
    def take(cls, path: Path) -> CaseLock:
        """Raises CaseBusyError when a living program holds it, OutputError when the file cannot be written."""
        try:
            handle = _open(path)
        except OSError as error:
            raise OutputError(f"cannot lock {path.parent}: {error.strerror or error}; choose another place") from None
        try:
            before, by_system = _read(handle), _lock(handle)
            if by_system is False or (by_system is None and before is not None and before.is_alive):
                raise CaseBusyError(
                    f"{path.parent.name} is open in another window (process {before.pid if before else 'unknown'}); "
                    "it can only be read here"
                )
            _write(handle, Holder.this_process())
        except OSError as error:
            handle.close()
            raise OutputError(f"cannot lock {path.parent}: {error.strerror or error}; choose another place") from None
        except BaseException:
            handle.close()
            raise
        return cls(path, handle, before)

    def release(self) -> None:
        """A clean end: nothing is left behind that looks like a crash."""
        with contextlib.suppress(OSError):
            _write(self._handle, None)
        with contextlib.suppress(OSError):
            self._handle.close()


def holder_of(path: Path) -> tuple[Holder | None, bool]:
    """Who stands in a lock file, and whether that program has the case open now."""
    if not path.exists():
        return None, False
    try:
        with _open(path) as handle:
            holder, by_system = _read(handle), _lock(handle)
    except OSError:
        return None, True
    if by_system is None:
        return holder, holder is not None and holder.is_alive
    return holder, not by_system


def _open(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600), "r+b", buffering=0)


def _lock(handle: IO[bytes]) -> bool | None:
    """True when locked by us, False when another holds it, None where the file system knows no locks."""
    try:
        if os.name == "nt":
            import msvcrt  # the module exists on Windows only

            handle.seek(2**20)  # a byte that nobody reads: a locked one cannot be read there
            try:
                getattr(msvcrt, "locking")(handle.fileno(), getattr(msvcrt, "LK_NBLCK"), 1)  # noqa: B009
            finally:
                handle.seek(0)
        else:
            import fcntl  # the module exists on POSIX only

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS_HERE:
            return None
        raise
    return True


def _read(handle: IO[bytes]) -> Holder | None:
    handle.seek(0)
    try:
        content: Any = json.loads(handle.read(4096))
        return Holder(int(content["pid"]), str(content["started"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _write(handle: IO[bytes], holder: Holder | None) -> None:
    handle.seek(0)
    handle.truncate()
    if holder is not None:
        handle.write(json.dumps({"pid": holder.pid, "started": holder.started}).encode("ascii"))
    os.fsync(handle.fileno())


def _start_of(pid: int) -> str:
    """When a process began; "" where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[19]  # in ticks since the machine started
    except (OSError, IndexError):
        pass
    if os.name == "nt":
        return ""
    try:
        asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.strip()
