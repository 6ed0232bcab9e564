"""Starts the window: `medseg-rl-gui [FILE|FOLDER ...]`. Says what is missing instead of a trace; loads Qt late."""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg_rl import __version__
from medseg_rl.user_data import HOME_VARIABLE
from medseg_rl_gui.loading import without_collecting

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from medseg_rl_gui.dialogs import Dialogs
    from medseg_rl_gui.main_window import MainWindow

NEEDS_QT = 'the window needs PySide6, which cannot be loaded: {why}\nInstall it: pip install "medseg-rl[gui]"'
NEEDS_LIBRARIES = (
    "the window needs a library of the system: {why}\n"
    "Debian, Ubuntu: apt-get install libgl1 libegl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0"
)
NEEDS_FOR_PLATFORM = "the window needs libraries that are missing\nDebian, Ubuntu: apt-get install {packages}"
PLATFORM_LIBRARIES = {  # what Qt's plugins load and do not bring along; without them Qt ends the process
    "xcb": {
        "libxcb-cursor.so.0": "libxcb-cursor0",
        "libxcb-icccm.so.4": "libxcb-icccm4",
        "libxcb-keysyms.so.1": "libxcb-keysyms1",
        "libxcb-shape.so.0": "libxcb-shape0",
        "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    },
    "wayland": {"libwayland-client.so.0": "libwayland-client0", "libwayland-cursor.so.0": "libwayland-cursor0"},
}
NEEDS_DISPLAY = "there is no display to open a window on: neither WAYLAND_DISPLAY nor DISPLAY is set"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="medseg-rl-gui", description="Segment CT and MR volumes with clicks. For research, not for diagnosis."
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="FILE|FOLDER", help="what to open")
    parser.add_argument("--version", action="version", version=f"medseg-rl {__version__}")
    options = parser.parse_args(arguments)
    lacking = what_is_missing()
    if lacking:
        print(lacking, file=sys.stderr)
        return 1
    return _run(options.paths)


def what_is_missing() -> str:
    """Why no window can be opened here, with the way out; empty when one can."""
    if sys.platform.startswith("linux") and not any(
        os.environ.get(name) for name in ("WAYLAND_DISPLAY", "DISPLAY", "QT_QPA_PLATFORM")
    ):
        return NEEDS_DISPLAY
    try:
        import PySide6.QtSvg
        import PySide6.QtWidgets  # noqa: F401
    except ModuleNotFoundError as error:
        return NEEDS_QT.format(why=error)
    except ImportError as error:
        return NEEDS_LIBRARIES.format(why=error)
    lacking = [_missing_for(platform) for platform in _platforms()]
    return NEEDS_FOR_PLATFORM.format(packages=" ".join(lacking[0])) if lacking and all(lacking) else ""


def _platforms() -> list[str]:
    """Qt's names of what it will try, in its order: Wayland goes first where there is one."""
    chosen = os.environ.get("QT_QPA_PLATFORM")
    if chosen:
        return [chosen.partition(":")[0]]
    displays = {"WAYLAND_DISPLAY": "wayland", "DISPLAY": "xcb"}
    return [platform for variable, platform in displays.items() if os.environ.get(variable)]


def _missing_for(platform: str) -> list[str]:
    """Debian's packages of the libraries that cannot be loaded."""
    return [package for library, package in PLATFORM_LIBRARIES.get(platform, {}).items() if not _loads(library)]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _run(paths: Sequence[Path]) -> int:
    from PySide6.QtWidgets import QApplication

    from medseg_rl_gui.preferences import portable_folder
    from medseg_rl_gui.qt_dialogs import QtDialogs

    portable = portable_folder()
    if portable is not None:
        os.environ.setdefault(HOME_VARIABLE, str(portable))  # cases and feedback go with the preferences
    application = QApplication(sys.argv[:1])
    dialogs = QtDialogs()
    window = build_window(application, dialogs)
    dialogs.parent = window
    window.show()
    if not window.window_actions.accept_notice():
        return 0
    tell_problems(window)
    if paths:
        window.open_paths(paths)
    elif window.controller is not None:
        window.controller.recover()
    return application.exec()


def build_window(application: QApplication, dialogs: Dialogs) -> MainWindow:
    """The window with preferences, theme, controller and panels; not shown yet."""
    with without_collecting():
        return _built(application, dialogs)


def _built(application: QApplication, dialogs: Dialogs) -> MainWindow:
    from medseg_rl_gui.controller import Controller
    from medseg_rl_gui.main_window import MainWindow
    from medseg_rl_gui.panels import build_panels
    from medseg_rl_gui.preferences import PreferenceStore
    from medseg_rl_gui.surface_view import SurfaceView
    from medseg_rl_gui.theme import apply_theme

    application.setApplicationName("medseg-rl")
    application.setApplicationDisplayName("MedSeg-RL")
    application.setDesktopFileName("medseg-rl")
    store = PreferenceStore.open()
    apply_theme(application, store.current.view.theme, store.current.view.font_points)
    window = MainWindow(store, dialogs, surface=SurfaceView())
    build_panels(window, Controller(window))  # which attaches itself to the window
    return window


def tell_problems(window: MainWindow) -> None:
    """Says which preferences and keys were refused."""
    problems = [*window.store.problems, *window.problems]
    if problems:
        window.banners.show_banner("preferences", "\n".join(problems), tone="warning")


if __name__ == "__main__":
    sys.exit(main())
