"""What every test of the window gets: no display, fresh preferences, no way to block, and nothing left behind."""

from __future__ import annotations

import os

os.environ["QT_QPA_PLATFORM"] = "offscreen"  # before Qt is imported

import gc
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    from PySide6.QtCore import (
        QCoreApplication,
        QEvent,
        QLocale,
        QMessageLogContext,
        QThread,
        QTimer,
        QtMsgType,
        qInstallMessageHandler,
    )
    from PySide6.QtWidgets import QApplication, QWidget
    from shiboken6 import Shiboken
except ImportError as error:  # PySide6 itself, or a library of the system that it loads
    collect_ignore_glob = ["test_*.py"]
    print(f"the tests of the window are left out: {error}", file=sys.stderr)
else:
    from medseg_rl_gui.dialogs import ScriptedDialogs

HERE = Path(__file__).resolve().parent
HARMLESS = ("This plugin does not support", "propagateSizeHints")  # said by the offscreen platform


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gui)


@pytest.fixture(scope="session")
def qapp() -> QApplication:
    """The one application; English numbers, whatever the machine speaks."""
    QLocale.setDefault(QLocale(QLocale.Language.English, QLocale.Country.UnitedStates))
    application = QApplication.instance() or QApplication(["medseg-rl-gui"])
    assert isinstance(application, QApplication)
    application.setQuitOnLastWindowClosed(False)
    from medseg_rl_gui.theme import apply_theme

    apply_theme(application, "dark")
    return application


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fresh preferences, cases and feedback for each test."""
    folder = tmp_path / "home"
    folder.mkdir()
    for variable in ("MEDSEG_RL_HOME", "HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that connects or listens fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the window opens no connection")

    for name in ("connect", "connect_ex", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)


@pytest.fixture(autouse=True)
def nothing_left(qapp: QApplication, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test that leaves a window, a thread or a running timer, that Qt warned of, or whose slot raised."""
    complaints: list[str] = []

    def said(kind: QtMsgType, _: QMessageLogContext, text: str) -> None:
        if kind != QtMsgType.QtDebugMsg and not text.startswith(HARMLESS):
            complaints.append(f"Qt: {text}")

    def raised(kind: type[BaseException], error: BaseException, _: Any) -> None:
        complaints.append(f"a slot raised {kind.__name__}: {error}")

    monkeypatch.setattr(sys, "excepthook", raised)
    earlier = qInstallMessageHandler(said)
    windows, threads = set(qapp.topLevelWidgets()), set(threading.enumerate())
    yield
    settle()
    complaints += _left(windows, threads)
    qInstallMessageHandler(earlier)
    assert complaints == []


def _left(windows: set[QWidget], threads: set[threading.Thread]) -> list[str]:
    """What a test has left, and makes an end of the windows, so that the next test is not blamed."""
    found = []
    for window in set(QApplication.topLevelWidgets()) - windows:
        if Shiboken.isValid(window):
            found.append(f"a window is left: {type(window).__name__} {window.objectName()!r}")
            window.deleteLater()
    settle()
    alive = [thread.name for thread in set(threading.enumerate()) - threads if thread.is_alive()]
    found += [f"a thread is left: {name}" for name in alive]
    for wrapper in Shiboken.getAllValidWrappers():
        if isinstance(wrapper, QThread) and wrapper.isRunning() and wrapper is not QThread.currentThread():
            found.append(f"a QThread is left: {wrapper.objectName()!r}")
        if isinstance(wrapper, QTimer) and wrapper.isActive():
            found.append(f"a timer is left running: {wrapper.objectName()!r} every {wrapper.interval()} ms")
            wrapper.stop()
    return found


def settle() -> None:
    """Lets Qt do what waits, deletions among it."""
    gc.collect()
    for _ in range(3):
        QCoreApplication.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Lets Qt work until something is true; fails after a while."""

    def wait(true: Callable[[], bool], seconds: float = 10.0, what: str = "") -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"waited {seconds} s for {what or true}"
            QCoreApplication.processEvents()
            time.sleep(0.002)

    return wait


@pytest.fixture
def dialogs() -> ScriptedDialogs:
    """Answers from a list; see `ScriptedDialogs`."""
    return ScriptedDialogs()


@pytest.fixture
def show(qapp: QApplication) -> Iterator[Callable[[QWidget], QWidget]]:
    """Shows a widget as the active window, and closes and deletes it after the test."""
    shown: list[QWidget] = []

    def do(widget: QWidget, size: tuple[int, int] | None = None) -> QWidget:
        if size is not None:
            widget.resize(*size)
        widget.show()
        widget.activateWindow()
        QCoreApplication.processEvents()
        shown.append(widget)
        return widget

    yield do
    for widget in shown:
        if Shiboken.isValid(widget):
            widget.close()
            widget.deleteLater()
    settle()


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[QWidget, str], Path]:
    """Saves how a widget looks for a person to see: under $MEDSEG_RL_SCREENSHOTS, else with the test's own files."""
    folder = Path(os.environ.get("MEDSEG_RL_SCREENSHOTS") or tmp_path / "screenshots")

    def save(widget: QWidget, name: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        QCoreApplication.processEvents()
        path = folder / f"{name}.png"
        assert widget.grab().save(str(path))
        return path

    return save
