"""What `medseg-rl doctor` says of the window: its packages, the libraries of the system it loads, a display, 3D.

Loads neither Qt nor VTK, which may end the process where a library is missing: it asks in processes of their own.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping

from medseg_rl.cli.findings import Finding

EXTRA = 'pip install "medseg-rl[gui]"'
PROBE = "medseg_rl_gui.surface_probe"
SECONDS = 180.0

# Library files and the packages of Debian 12 that hold them, found by trying on a system that had nothing.
FOR_ANY_WINDOW = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libfontconfig.so.1": "libfontconfig1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
}
FOR_X11 = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
FOR_WAYLAND = {"libwayland-client.so.0": "libwayland-client0", "libwayland-cursor.so.0": "libwayland-cursor0"}


def window_findings() -> Iterator[Finding]:
    """The window is an extra: what it lacks is a note, since all else works without it."""
    try:
        version = importlib.metadata.version("PySide6-Essentials")
    except importlib.metadata.PackageNotFoundError:
        yield Finding("window", "note", f"not installed: {EXTRA}")
        return
    yield qt_finding(version)
    if sys.platform == "linux":
        yield display_finding(os.environ)
    yield surfaces_finding()


def missing_libraries(files: Iterable[str]) -> list[str]:
    """Those that the system cannot load."""
    missing = []
    for file in files:
        try:
            ctypes.CDLL(file)
        except OSError:
            missing.append(file)
    return missing


def qt_finding(version: str) -> Finding:
    """Whether Qt can be loaded at all."""
    missing = missing_libraries(FOR_ANY_WINDOW) if sys.platform == "linux" else []
    if missing:
        return Finding("window", "note", _install(missing, FOR_ANY_WINDOW))
    code = "from PySide6 import QtGui, QtSvg, QtWidgets"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        return Finding("window", "note", f"PySide6 {version} cannot be loaded: {said}")
    return Finding("window", "ok", f"PySide6 {version}")


def display_finding(environment: Mapping[str, str]) -> Finding:
    """Whether there is a display to open the window on, and all that Qt needs for that kind."""
    if environment.get("WAYLAND_DISPLAY"):
        needed, kind = FOR_WAYLAND, "Wayland"
    else:
        needed, kind = FOR_X11, "X11" if environment.get("DISPLAY") else ""
    missing = missing_libraries(needed)
    if missing:
        return Finding("display", "note", _install(missing, needed))
    if not kind:
        return Finding("display", "note", "none here: the window opens where DISPLAY or WAYLAND_DISPLAY is set")
    return Finding("display", "ok", kind)


def surfaces_finding() -> Finding:
    """Whether surfaces can be drawn in 3D, tried."""
    if importlib.util.find_spec("vtkmodules") is None:
        return Finding("3D", "note", f"VTK is not installed: {EXTRA}; all but the 3D view works")
    done = subprocess.run([sys.executable, "-m", PROBE], capture_output=True, text=True, timeout=SECONDS, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return Finding("3D", "note", f"it could not be tried, code {done.returncode}; all but the 3D view works")
    if not found["lacks"]:
        return Finding("3D", "ok", f"VTK {importlib.metadata.version('vtk')}, drawn by {found['renderer']}")
    why = {"loading": "VTK cannot be loaded", "opengl": "OpenGL does not work"}.get(found["lacks"], found["lacks"])
    return Finding("3D", "note", f"{why}: {found['detail']}; {_way_out_of_no_3d()}; all but the 3D view works")


def _way_out_of_no_3d() -> str:
    if sys.platform != "linux":
        return "install the driver of the graphics card"
    if missing := missing_libraries(["libGL.so.1", "libEGL.so.1"]):
        return _install(missing, FOR_ANY_WINDOW)
    return "apt-get install libgl1-mesa-dri, or install the driver of the graphics card"


def _install(missing: Iterable[str], packages: Mapping[str, str]) -> str:
    files = list(missing)
    verb = "is" if len(files) == 1 else "are"
    return f"{', '.join(files)} {verb} missing: apt-get install {' '.join(packages[file] for file in files)}"
