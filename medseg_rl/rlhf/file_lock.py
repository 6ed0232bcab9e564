"""Waits its turn at a file that several programs write. A killed program frees its lock. Knows nothing of the file."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from medseg_rl.errors import OutputError

PATIENCE_SECONDS = 10.0
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_threads = threading.Lock()  # a lock of the system is between programs; this one between threads


@contextlib.contextmanager
def locked(path: Path, *, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Holds the lock file `path`, made if need be and left behind. Not to be entered twice by one thread.

    Raises OutputError when another program holds it for longer than `patience` seconds.
    """
    with _threads, path.open("a+b") as handle:
        deadline = time.monotonic() + patience
        while not _taken(handle.fileno()):
            if time.monotonic() > deadline:
                raise OutputError(f"another program is writing in {path.parent}; try again when it is done")
            time.sleep(0.02)
        yield  # closing the file frees the lock


@contextlib.contextmanager
def tried(path: Path) -> Iterator[bool]:
    """Holds the lock file `path` if nobody else does; gives whether that worked. Waits for nothing."""
    with path.open("a+b") as handle:
        yield _taken(handle.fileno())


def _taken(descriptor: int) -> bool:
    """True when the lock is ours, or where the file system knows none."""
    try:
        if os.name == "nt":
            import msvcrt  # the module exists on Windows only

            getattr(msvcrt, "locking")(descriptor, getattr(msvcrt, "LK_NBLCK"), 1)  # noqa: B009
        else:
            import fcntl  # the module exists on POSIX only

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
    return True
