"""How much memory a case needs, estimated before anything is loaded; gives back what a closed one has freed."""

from __future__ import annotations

import ctypes
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from medseg_rl.volume import Index

SHARE = 0.8  # of the free memory
WORK_BYTES = 5  # a voxel: labels as uint16 at most, percent, a mask as shown, one layer for painting
REGION_BYTES = 400 * 2**20  # of the region of interest with the activations of a network
MEGABYTE = 2**20


@dataclass(frozen=True)
class Estimate:
    """Bytes: of the image, of everything that is made as large as it, of undo and of the region of interest."""

    image: int
    labels: int
    undo: int
    region: int = REGION_BYTES

    @classmethod
    def of(cls, shape: Index, voxel_bytes: int, undo_megabytes: int) -> Estimate:
        """For an image of `shape`; while it is read, it lies in memory twice."""
        voxels = math.prod(shape)
        return cls(2 * voxels * voxel_bytes, voxels * WORK_BYTES, undo_megabytes * MEGABYTE)

    @property
    def total(self) -> int:
        """All of it."""
        return self.image + self.labels + self.undo + self.region

    def fits(self, free: int | None) -> bool:
        """Whether it stays below the share; True where the free memory is not known."""
        return free is None or self.total <= SHARE * free

    def slices_that_fit(self, free: int, slices: int) -> int:
        """How many of `slices` could be loaded; 0 where not even one could."""
        left = SHARE * free - self.undo - self.region
        return max(0, min(slices, int(slices * left / (self.image + self.labels))))


def give_back() -> None:
    """Hands to the system what was freed: glibc keeps it otherwise, and a closed case would seem to be still there."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def free_memory() -> int | None:
    """Bytes that could be taken now, swap not counted; the limit of the group of processes counts too."""
    found = [size for size in (_available(), _left_in_group()) if size is not None]
    return min(found) if found else None


def _available() -> int | None:
    if sys.platform == "win32":
        return _available_on_windows()
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _left_in_group() -> int | None:
    """Of Linux's control group, version 2; what its files are cached in can be had back."""
    folder = Path("/sys/fs/cgroup")
    try:
        most, used = (folder / "memory.max").read_text().strip(), int((folder / "memory.current").read_text())
        cached = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return None if most == "max" else max(0, int(most) - used + int(cached.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None


def _available_on_windows() -> int | None:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "pages", "free_pages", "space", "left", "more")),
        )

    status = Status(length=ctypes.sizeof(Status))
    windows = getattr(ctypes, "windll", None)
    if windows is None or not windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.free)
