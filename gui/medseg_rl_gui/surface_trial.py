"""Finds out whether 3D can be drawn, once a run of the program, while the window goes on. Draws nothing itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from PySide6.QtCore import QObject, QProcess, Signal

from medseg_rl_gui.i18n import tr
from medseg_rl_gui.surface_probe import Drawing, is_vtk_installed, probe_command, understood, ways


class Trial(QObject):
    """Tries each way to draw in a process of its own. `finished`: a `Drawing`."""

    finished = Signal(object)
    _known: Drawing | None = None  # of this run of the program

    def __init__(self, parent: QObject | None = None, command: Callable[[str], Sequence[str]] | None = None) -> None:
        super().__init__(parent)
        self._command = command
        self._left: list[str] = []
        self._process: QProcess | None = None

    @property
    def is_running(self) -> bool:
        """Whether the answer is on its way."""
        return self._process is not None

    def begin(self) -> None:
        """Asks; the answer comes by `finished`, at once where it is known."""
        if self.is_running:
            return
        if self._command is None and Trial._known is not None:
            self.finished.emit(Trial._known)
        elif not is_vtk_installed():
            self.finished.emit(Drawing(lacks="vtk"))
        else:
            self._left = list(ways(os.environ))
            self._try_next()

    def stop(self) -> None:
        """Ends without an answer."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.waitForFinished()
            process.deleteLater()

    def _try_next(self) -> None:
        way = self._left.pop(0)
        program, *arguments = (self._command or probe_command)(way)
        self._process = QProcess(self)
        self._process.finished.connect(lambda code, _: self._ended(code, way))
        self._process.errorOccurred.connect(lambda error: self._not_started(error, way))
        self._process.start(program, arguments)

    def _not_started(self, error: QProcess.ProcessError, way: str) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._ended(None, way)

    def _ended(self, code: int | None, way: str) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        said = bytes(process.readAllStandardOutput().data()).decode(errors="replace")
        found = understood(code, said, way)
        process.deleteLater()
        if not found.works and self._left:
            self._try_next()
            return
        if self._command is None:
            Trial._known = found
        self.finished.emit(found)


def says(drawing: Drawing) -> str:
    """Why there is no 3D, and the way out, for the user."""
    if drawing.lacks == "vtk":
        why = tr("3D needs VTK, which is not installed here.")
        way_out = tr('Install it with: pip install "medseg-rl[gui]"')
    elif drawing.lacks == "loading":
        why = tr("3D needs VTK, which cannot be loaded here.")
        way_out = tr("“medseg-rl doctor” says which package of the system is missing.")
    else:
        why = tr("3D needs OpenGL, which does not work here.")
        way_out = tr("“medseg-rl doctor” says what can be done.")
    detail = f"({drawing.detail})" if drawing.detail else ""
    return "\n".join(part for part in (why, detail, way_out, tr("Everything but this view works.")) if part)
