"""The hand of a user: clicks, strokes, wheel and keys go to the widgets as Qt's own events, at places in world mm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from medseg_rl_gui.main_window import MainWindow
from medseg_rl_gui.slice_geometry import Plane, Point
from medseg_rl_gui.slice_view import SliceView

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
NONE = Qt.KeyboardModifier.NoModifier


class Hand:
    """`settled`: waits until nothing runs any more."""

    def __init__(self, window: MainWindow, settled: Callable[[], None]) -> None:
        self.window = window
        self.settled = settled

    def view(self, plane: Plane) -> SliceView:
        return self.window.views.views[plane]

    def at(self, plane: Plane, world: Point) -> QPoint:
        """Where a world point is seen in a view, on the slice shown."""
        view = self.view(plane)
        assert view.placement is not None
        x, y = view.placement.to_screen(view.model.geometry(plane).world_to_plane(world))
        return QPoint(round(float(x)), round(float(y)))

    def go_to(self, plane: Plane, world: Point) -> None:
        """Turns the wheel until the slice of a point is shown."""
        view = self.view(plane)
        geometry = view.model.geometry(plane)
        for _ in range(geometry.slices):
            steps = geometry.slice_at(world) - view.slice_index
            if not steps:
                return
            self.wheel(plane, 1 if steps * geometry.forward > 0 else -1)
        raise AssertionError(f"the wheel did not lead to {world}")

    def wheel(self, plane: Plane, notches: int, modifiers: Qt.KeyboardModifier = NONE) -> None:
        canvas = self.view(plane).canvas
        middle = QPointF(canvas.rect().center())
        event = QWheelEvent(
            middle,
            QPointF(canvas.mapToGlobal(middle.toPoint())),
            QPoint(),
            QPoint(0, 120 * notches),
            Qt.MouseButton.NoButton,
            modifiers,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(canvas, event)
        QApplication.processEvents()

    def click(
        self, plane: Plane, world: Point, button: Qt.MouseButton = LEFT, modifiers: Qt.KeyboardModifier = NONE
    ) -> None:
        canvas, place = self.view(plane).canvas, self.at(plane, world)
        QTest.mouseMove(canvas, place)
        QTest.mouseClick(canvas, button, modifiers, place)
        self.settled()

    def stroke(self, plane: Plane, points: Sequence[Point], button: Qt.MouseButton = LEFT) -> None:
        canvas = self.view(plane).canvas
        places = [self.at(plane, point) for point in points]
        QTest.mousePress(canvas, button, NONE, places[0])
        for place in places[1:]:
            QTest.mouseMove(canvas, place)
            QApplication.processEvents()
        QTest.mouseRelease(canvas, button, NONE, places[-1])
        self.settled()

    def hover(self, plane: Plane, world: Point) -> None:
        QTest.mouseMove(self.view(plane).canvas, self.at(plane, world))
        QApplication.processEvents()

    def key(self, keys: str) -> None:
        """A key or combination, such as "Ctrl+Shift+L", to whatever has the keyboard."""
        *held, name = keys.split("+") if not keys.endswith("+") else [*keys[:-2].split("+"), "+"]
        modifiers = NONE
        for word in held:
            modifiers |= {"Ctrl": _M.ControlModifier, "Shift": _M.ShiftModifier, "Alt": _M.AltModifier}[word]
        code = {"Enter": Qt.Key.Key_Return, "Esc": Qt.Key.Key_Escape}.get(name) or getattr(Qt.Key, f"Key_{name}")
        QTest.keyClick(self._target(), code, modifiers)
        self.settled()

    def drop(self, paths: Sequence[Path]) -> None:
        """Files dropped on the window."""
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        place, action = self.window.rect().center(), Qt.DropAction.CopyAction
        for event in (
            QDragEnterEvent(place, action, mime, LEFT, NONE),
            QDropEvent(QPointF(place), action, mime, LEFT, NONE),
        ):
            QApplication.sendEvent(self.window, event)
        for _ in range(3):
            QApplication.processEvents()
        self.settled()

    def _target(self) -> QWidget:
        if QApplication.activeWindow() is not self.window:  # a dialog went; where there is no window manager, help
            self.window.activateWindow()
            QApplication.processEvents()
        return QApplication.focusWidget() or self.window


_M = Qt.KeyboardModifier
