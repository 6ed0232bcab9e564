"""The whole program for the stories: window, engine and panels as they are started, driven by a `Hand`, photographed.

Dialogs are those of Qt, shown and photographed, and answered from a list instead of by a click, so that none waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication, QEvent, Qt
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QApplication, QDialog, QWidget
from shiboken6 import Shiboken

from medseg_rl.session import SegmentationSession
from medseg_rl_gui.app import build_window
from medseg_rl_gui.controller import Controller
from medseg_rl_gui.dialogs import Answer, Question, ScriptedDialogs
from medseg_rl_gui.main_window import MainWindow
from medseg_rl_gui.qt_dialogs import message_box
from tests.gui.story_hand import Hand

SIZE = (1440, 900)
FOLDER_VARIABLE = "MEDSEG_RL_SCREENSHOTS"


class Camera:
    """Numbers the pictures as they come. `folder`: where they go, below $MEDSEG_RL_SCREENSHOTS where that is set."""

    def __init__(self, story: str, otherwise: Path) -> None:
        root = os.environ.get(FOLDER_VARIABLE)
        self.folder = Path(root) / story if root else otherwise
        self.folder.mkdir(parents=True, exist_ok=True)
        self.taken: list[Path] = []

    def take(self, name: str, *widgets: QWidget) -> Path:
        """The first widget, with the others painted over its middle, as dialogs stand over a window."""
        QCoreApplication.processEvents()
        picture = widgets[0].grab().toImage()
        painter = QPainter(picture)
        for widget in widgets[1:]:
            over: QImage = widget.grab().toImage()
            left, top = (picture.width() - over.width()) // 2, (picture.height() - over.height()) // 2
            painter.fillRect(left - 1, top - 1, over.width() + 2, over.height() + 2, Qt.GlobalColor.gray)
            painter.drawImage(left, top, over)
        painter.end()
        path = self.folder / f"{len(self.taken) + 1:02d}-{name}.png"
        assert picture.save(str(path))
        self.taken.append(path)
        return path


class ParentedDialogs(ScriptedDialogs):
    """Answers from the list; dialogs of the program are children of its window."""

    parent: MainWindow | None = None


class PhotographedDialogs(ParentedDialogs):
    """Shows every question and dialog over the window, takes its picture, and answers from the list."""

    def __init__(self, camera: Camera) -> None:
        super().__init__()
        self.camera = camera
        self.names: list[str] = []

    def ask(self, question: Question) -> Answer:
        box, _ = message_box(question, self.parent)
        self._photograph(box, question.title)
        box.deleteLater()
        return super().ask(question)

    def tell(self, title: str, text: str, **how: Any) -> None:
        super().tell(title, text, **how)
        box, _ = message_box(self.asked[-1], self.parent)
        self._photograph(box, title)
        box.deleteLater()

    def run(self, dialog: QDialog) -> bool:
        self._photograph(dialog, dialog.windowTitle())
        return super().run(dialog)

    def _photograph(self, dialog: QDialog, title: str) -> None:
        dialog.setModal(False)
        dialog.show()
        self.names.append(title)
        below: tuple[QWidget, ...] = (self.parent,) if self.parent is not None and self.parent.isVisible() else ()
        name = "".join(letter if letter.isalnum() else "-" for letter in title.lower()).strip("-")
        self.camera.take(f"dialog-{name}", *below, dialog)
        dialog.hide()
        QCoreApplication.processEvents()
        if below:  # as a window manager does
            below[0].activateWindow()
            QCoreApplication.processEvents()


class Program:
    """One start of the program, as `medseg-rl-gui` makes it. `seconds`: the longest wait for anything."""

    def __init__(self, application: QApplication, dialogs: ParentedDialogs, seconds: float = 60.0) -> None:
        self._seconds, self.dialogs = seconds, dialogs
        self.window: MainWindow = build_window(application, self.dialogs)
        assert isinstance(self.window.controller, Controller)
        self.controller: Controller = self.window.controller
        self.window.resize(*SIZE)
        dialogs.parent = self.window
        self.hand = Hand(self.window, self.settled)

    def show(self) -> None:
        """The window as the active one."""
        self.window.show()
        self.window.activateWindow()
        self.settled()

    @property
    def session(self) -> SegmentationSession:
        """That of the open case."""
        return self.controller.desk.session

    def voxels(self, value: int) -> int:
        """Of a label, as accepted."""
        return self.session.segmentation.voxels.get(value, 0)

    def settled(self) -> None:
        """Waits until the worker has nothing to do and the window has done what waits."""
        controller, quiet = self.controller, 0

        def is_quiet() -> bool:
            nonlocal quiet
            busy = controller.worker._all() or controller.desk.jobs
            quiet = 0 if busy else quiet + 1
            return quiet > 3

        self.wait(is_quiet, "the worker to be done")

    def rest(self, seconds: float = 0.6) -> None:
        """As long as a surface, a table or a full picture in 3D takes to be begun, and until they are done."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end, "a moment")
        self.settled()

    def wait(self, true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + self._seconds
        while not true():
            assert time.monotonic() < end, f"waited {self._seconds} s for {what}"
            QCoreApplication.processEvents()
            time.sleep(0.002)

    def picture(self, name: str) -> None:
        """Of the whole window, where somebody takes pictures."""
        if isinstance(self.dialogs, PhotographedDialogs):
            self.dialogs.camera.take(name, self.window)

    def open_tab(self, name: str) -> None:
        self.window.right.open(name)
        self.rest(0.5)

    def close(self) -> None:
        """As with the button of the window; it must not refuse."""
        if not Shiboken.isValid(self.window):
            return
        if self.window.isVisible():
            assert self.window.close()
        self.window.deleteLater()
        for _ in range(3):
            QCoreApplication.processEvents()
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
