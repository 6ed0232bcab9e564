"""Puts a finished file in place of an old one in a single step, or leaves the old one alone.

Used by everything that writes: masks, checkpoints, bundles, tables. Knows nothing of what is in the file.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from medseg_rl.errors import MedSegError, OutputError

LONGEST_NAME = 180  # of the final name kept in the temporary one; file systems allow 255 bytes
LONGEST_SHOWN = 400  # characters of a name that is refused
SPARE_BYTES = 1 << 20  # with less free than this, any failed write is put down to the full disk
TOO_LARGE = "it is larger than a file may be here (limit of the system, `ulimit -f`, or of the file system)"
NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@contextlib.contextmanager
def atomic_path(final: Path | str) -> Iterator[Path]:
    """Gives a temporary path beside `final`, with the same ending, and moves it into place when the block ends well.

    The new file is on the disk (fsync) before it replaces the old one; whatever goes wrong, the old one is untouched
    and the temporary one is removed. Only one process at a time may write `final`.
    Raises OutputError: no such folder, read-only, disk full, or another process is writing the same file.
    """
    check_output_path(final)
    final = Path(os.path.realpath(final))  # through a link, so that the link survives
    with _one_line(final), _exclusive(final) as locked:
        name = _short(final.name)
        if locked:  # nobody else can own these: they were left by a killed process
            for stale in final.parent.glob(f".partial-*-{glob.escape(name)}"):
                stale.unlink(missing_ok=True)
        temporary = final.with_name(f".partial-{secrets.token_hex(4)}-{name}")
        try:
            yield temporary
            _flush(temporary)
            if final.exists():
                shutil.copymode(final, temporary)
            os.replace(temporary, final)  # noqa: PTH105  (os.replace is the documented atomic call)
            flush_folder(final.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def check_output_path(final: Path | str) -> None:
    """Raises OutputError now, not after an hour of work, when `final` cannot be written."""
    try:
        _check_place(Path(os.path.realpath(final)))
    except (OSError, ValueError) as error:  # a name that is too long, or holds what no name may
        said = getattr(error, "strerror", None) or "that is no name for a file"
        raise OutputError(f"cannot write {str(final)[:LONGEST_SHOWN]!r}: {said}; choose another name") from None


def _check_place(final: Path) -> None:
    if final.is_dir():
        raise OutputError(f"cannot write {final}: it is a folder; give a file name")
    if not final.parent.is_dir():
        raise OutputError(f"cannot write {final}: there is no folder {final.parent}; make it first")
    writable = os.access(final.parent, os.W_OK) and (
        not final.exists() or (os.access(final, os.W_OK) and final.stat().st_mode & 0o222 != 0)
    )
    if not writable:
        what = "the file" if final.exists() and os.access(final.parent, os.W_OK) else f"the folder {final.parent}"
        raise OutputError(f"cannot write {final}: {what} is read-only; choose another place")


@contextlib.contextmanager
def _one_line(final: Path) -> Iterator[None]:
    """Turns what the operating system says into one line for the user."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise OutputError(f"cannot write {final}: {TOO_LARGE}; the old file, if any, is unchanged") from error
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise OutputError(f"cannot write {final}: {_full(final)}; the old file, if any, is unchanged") from error
        raise OutputError(f"cannot write {final}: {error.strerror or error}; nothing was changed") from error
    except MedSegError:
        raise
    except Exception as error:  # compiled writers report a full disk each in its own way
        if shutil.disk_usage(final.parent).free < SPARE_BYTES:
            raise OutputError(f"cannot write {final}: {_full(final)}; the old file, if any, is unchanged") from error
        raise


def _full(final: Path) -> str:
    free = shutil.disk_usage(final.parent).free / 1e6
    return f"the disk or its quota is full ({free:.0f} MB free); make room or choose another place"


@contextlib.contextmanager
def _exclusive(final: Path) -> Iterator[bool]:
    """Holds the lock file of `final`; False where the file system knows no locks. A killed process frees its lock."""
    path = final.with_name(f".{_short(final.name)}.lock")
    while True:
        handle = path.open("a+b")
        try:
            locked = _lock(handle)
        except BlockingIOError:
            handle.close()
            raise OutputError(f"cannot write {final}: another process is writing it; wait for it to end") from None
        if not locked or _is_still(path, handle):
            break
        handle.close()  # the holder before us removed the file between our opening and our locking it
    try:
        yield locked
    finally:
        if os.name != "nt":
            path.unlink(missing_ok=True)  # while still locked, so that nobody locks a name about to go
        handle.close()
        if os.name == "nt":
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _lock(handle: IO[bytes]) -> bool:
    """True when locked, False where that is impossible; BlockingIOError when another holds it."""
    try:
        if os.name == "nt":
            import msvcrt  # the module exists on Windows only

            try:
                getattr(msvcrt, "locking")(handle.fileno(), getattr(msvcrt, "LK_NBLCK"), 1)  # noqa: B009
            except PermissionError as error:
                raise BlockingIOError from error
        else:
            import fcntl  # the module exists on POSIX only

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in NO_LOCKS_HERE:
            return False
        raise
    return True


def _is_still(path: Path, handle: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle.fileno()))
    except FileNotFoundError:
        return False


def _flush(path: Path) -> None:
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def _short(name: str) -> str:
    """The end of a name, which need not be UTF-8, for files of our own beside it."""
    return os.fsencode(name)[-LONGEST_NAME:].decode(errors="ignore")


def make_folder(folder: Path) -> None:
    """A folder and those above it, where they lack, each flushed into the one above: it is there after a power cut.

    Raises OSError.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in reversed(missing):
        flush_folder(place.parent)


def flush_folder(folder: Path) -> None:
    """Put the names of a folder's files on the disk, so that a file made or renamed there survives a power cut."""
    if os.name == "nt":  # a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse, the file itself is safe
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
