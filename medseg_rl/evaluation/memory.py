"""How much memory a process took at most since a moment. Right only in a process that did nothing before."""

from __future__ import annotations

import sys
from pathlib import Path


class PeakMemory:
    """Peak resident set minus the resident set when this was made, of this process."""

    def __init__(self) -> None:
        self._start_mb = _resident_mb()

    def since_start_mb(self) -> float | None:
        """MB; None where the system does not tell."""
        if self._start_mb is None:
            return None
        peak = _peak_mb()
        return None if peak is None else max(0.0, peak - self._start_mb)


def _resident_mb() -> float | None:
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 1e6
    except (ImportError, OSError, ValueError):
        return _peak_mb()


def _peak_mb() -> float | None:
    """Of this program alone where /proc tells: what `getrusage` says counts the parent's memory before the exec."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        import resource
    except ImportError:  # not POSIX
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
