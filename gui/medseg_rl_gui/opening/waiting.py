"""Long work while the user waits: on the worker, with progress and Cancel once it takes longer than a moment.

The main thread stays in Qt's own loop, so the window answers. Tests hand over `AtOnce`, which works where it stands.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

from PySide6.QtCore import QEventLoop, QObject, Qt, QTimer, Signal
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QProgressBar, QVBoxLayout, QWidget

from medseg_rl.errors import Cancelled, MedSegError
from medseg_rl_gui.i18n import tr

T = TypeVar("T")
Work = Callable[[], None]
Submit = Callable[[Work], object]

MOMENT_MS = 300


class Progress:
    """What work says of itself, from its own thread, and whether it is to stop."""

    def __init__(self, said: Callable[[str], None] = lambda text: None) -> None:
        self._said = said
        self._stop = threading.Event()

    def say(self, text: str) -> None:
        """What is being done now, for the user."""
        self._said(text)

    def stop(self) -> None:
        """Asks the work to stop at its next step."""
        self._stop.set()

    def is_stopped(self) -> bool:
        """Whether the user asked to stop."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raises Cancelled once the user asked to stop."""
        if self.is_stopped():
            raise Cancelled(tr("stopped"))


class Waiting(Protocol):
    """How the flows here have long work done."""

    def wait(self, title: str, work: Callable[[Progress], T]) -> T:
        """What `work` returns or raises; Cancelled when the user stopped it. For the main thread."""


class AtOnce:
    """Works where it stands: for tests, and for work that is short."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.said: list[str] = []

    def wait(self, title: str, work: Callable[[Progress], T]) -> T:
        self.titles.append(title)
        return work(Progress(self.said.append))


class _Job(QObject):
    """Work on its way to the worker and back; its signals cross the threads."""

    said = Signal(str)
    finished = Signal()

    def __init__(self, work: Callable[[Progress], object]) -> None:
        super().__init__()
        self._work = work
        self.progress = Progress(self.said.emit)
        self.result: object = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.progress.check()
            self.result = self._work(self.progress)
        except BaseException as error:  # it is raised again where it was asked for
            self.error = error
        finally:
            self.finished.emit()


class ProgressDialog(QDialog):
    """Says what is being done. Cancel is always possible; whoever shows it says what that means."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setModal(True)
        self.text = QLabel(title)
        self.text.setMinimumWidth(360)
        self.text.setWordWrap(True)
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName(title)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        buttons.button(QDialogButtonBox.StandardButton.Cancel).setText(tr("Cancel"))
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        for widget in (self.text, self.bar, buttons):
            layout.addWidget(widget)


class OnWorker:
    """Hands work to the worker by `submit` and waits for it in a loop of its own. One at a time."""

    def __init__(self, submit: Submit, parent: QWidget | None = None) -> None:
        self.parent = parent
        self._submit = submit
        self._is_waiting = False
        self.dialog: ProgressDialog | None = None

    def wait(self, title: str, work: Callable[[Progress], T]) -> T:
        """As promised by `Waiting`. MedSegError while something else is waited for.

        Cancel answers at once: work that cannot stop, such as reading one large file, ends unheard.
        """
        if self._is_waiting:
            raise MedSegError(tr("something else is still being done; wait for it or cancel it"))
        self._is_waiting = True
        try:
            return self._waited(title, work)
        finally:
            self._is_waiting = False

    def _waited(self, title: str, work: Callable[[Progress], T]) -> T:
        job, loop = _Job(work), QEventLoop()
        dialog = self.dialog = ProgressDialog(title, self.parent)
        job.said.connect(dialog.text.setText, Qt.ConnectionType.QueuedConnection)
        job.finished.connect(loop.quit, Qt.ConnectionType.QueuedConnection)
        dialog.rejected.connect(job.progress.stop)
        dialog.rejected.connect(loop.quit)
        timer = QTimer()
        timer.setSingleShot(True)
        timer.timeout.connect(dialog.open)
        timer.start(MOMENT_MS)
        try:
            self._submit(job.run)
            loop.exec()
        finally:
            timer.stop()
            was_active = dialog.isActiveWindow()
            dialog.hide()
            dialog.deleteLater()
            self.dialog = None
            if was_active and self.parent is not None:  # where no window manager gives the keys back
                self.parent.activateWindow()
        if job.progress.is_stopped():
            raise Cancelled(tr("stopped"))
        if job.error is not None:
            raise job.error
        return cast(T, job.result)
