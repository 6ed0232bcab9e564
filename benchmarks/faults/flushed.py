"""A disk that keeps nothing but what was flushed: it listens to fsync and lays out what a power cut would leave.

Names belong to folders: a file that was made, renamed or removed is so on the disk once its folder was flushed. Bytes
belong to files: they are those of the last flush of the file. Linux only (/proc).
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Self


class FlushedOnly:
    """While it is entered, every fsync below `root` is noted with what it made safe."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._bytes: dict[int, bytes] = {}  # of a file, by its inode
        self._names: dict[int, dict[str, int]] = {}  # of a folder: inodes by name
        self._folders = {self._root.stat().st_ino}
        self._lock = threading.Lock()
        self._true_fsync = os.fsync

    def __enter__(self) -> Self:
        os.fsync = self._fsync  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        os.fsync = self._true_fsync

    def _fsync(self, file: Any) -> None:
        descriptor = file if isinstance(file, int) else file.fileno()
        self._true_fsync(descriptor)
        found = Path(f"/proc/self/fd/{descriptor}").resolve()
        if not found.is_relative_to(self._root):
            return
        with self._lock:
            inode = os.fstat(descriptor).st_ino
            if found.is_dir():
                self._folders |= {child.stat().st_ino for child in found.iterdir() if child.is_dir()}
                self._names[inode] = {child.name: child.stat().st_ino for child in found.iterdir()}
            else:
                self._bytes[inode] = os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def leave_in(self, place: Path) -> None:
        """Write what is on the disk into an empty place."""
        self._leave(self._root.stat().st_ino, place)

    def _leave(self, folder: int, place: Path) -> None:
        place.mkdir()
        for name, inode in self._names.get(folder, {}).items():
            if inode in self._folders:
                self._leave(inode, place / name)
            else:
                (place / name).write_bytes(self._bytes.get(inode, b""))
