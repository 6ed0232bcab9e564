"""The part of a slice view that mouse, wheel and pen act on: its events as `SlicePointer` values.

Knows where on which slice something happened, not what it is for, and paints nothing.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, Qt, Signal, SignalInstance
from PySide6.QtGui import QContextMenuEvent, QEnterEvent, QMouseEvent, QTabletEvent, QWheelEvent
from PySide6.QtWidgets import QWidget

from medseg_rl_gui.slice_geometry import Placement, Plane, SliceGeometry
from medseg_rl_gui.view_model import Button, Modifier, SlicePointer

_BUTTONS = {
    Qt.MouseButton.LeftButton: Button.LEFT,
    Qt.MouseButton.MiddleButton: Button.MIDDLE,
    Qt.MouseButton.RightButton: Button.RIGHT,
}
_MODIFIERS = {
    Qt.KeyboardModifier.ShiftModifier: Modifier.SHIFT,
    Qt.KeyboardModifier.ControlModifier: Modifier.CTRL,
    Qt.KeyboardModifier.AltModifier: Modifier.ALT,
}


class SliceInput(QWidget):
    """Says where the pointer is. Signals as those of `SliceView`. `resting`: where it was last, None when elsewhere."""

    pressed = Signal(object)
    moved = Signal(object)
    released = Signal(object)
    scrolled = Signal(object, int)
    left = Signal()
    menu_requested = Signal(object, object)

    def __init__(self, plane: Plane, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plane: Plane = plane
        self.geometry_shown: SliceGeometry | None = None
        self.placement: Placement | None = None
        self.resting: QPointF | None = None
        self.setMouseTracking(True)
        self.setTabletTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    @property
    def shown_index(self) -> int:
        """The slice on the screen; there must be an image."""
        raise NotImplementedError

    def pointer_moved(self, *places: QPointF | None) -> None:
        """The pointer left one place and entered another."""

    def pointer_now(self) -> SlicePointer | None:
        """Where the pointer rests, on the slice shown now."""
        return None if self.resting is None else self._pointer(self.resting)

    def _pointer(
        self,
        position: QPointF,
        button: Button | None = None,
        held: Qt.MouseButton = Qt.MouseButton.NoButton,
        modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
        pressure: float = 1.0,
    ) -> SlicePointer | None:
        geometry, placement = self.geometry_shown, self.placement
        if geometry is None or placement is None:
            return None
        screen, index = (position.x(), position.y()), self.shown_index
        drawn = placement.to_plane(screen)
        x, y, z = (float(v) for v in geometry.plane_to_world(drawn, index))
        return SlicePointer(
            plane=self.plane,
            slice_index=index,
            screen=screen,
            world=(x, y, z),
            index=geometry.voxel_at(drawn, index),
            button=button,
            held=frozenset(name for flag, name in _BUTTONS.items() if held & flag),
            modifiers=frozenset(name for flag, name in _MODIFIERS.items() if modifiers & flag),
            pressure=pressure,
            scale=placement.scale,
        )

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self._send(self.pressed, event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self._send(self.pressed, event)  # the second of two quick clicks is a click like any other

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self._send(self.released, event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self._send(self.moved, event)

    def _rest(self, position: QPointF | None) -> None:
        before, self.resting = self.resting, position
        self.pointer_moved(before, position)

    def _send(self, signal: SignalInstance, event: QMouseEvent) -> None:
        self._rest(event.position())
        pressed_or_released = _BUTTONS.get(event.button())
        if event.button() != Qt.MouseButton.NoButton and pressed_or_released is None:
            return
        pointer = self._pointer(event.position(), pressed_or_released, event.buttons(), event.modifiers())
        if pointer is not None:
            signal.emit(pointer)

    def tabletEvent(self, event: QTabletEvent) -> None:  # noqa: N802
        signals = {
            QEvent.Type.TabletPress: self.pressed,
            QEvent.Type.TabletMove: self.moved,
            QEvent.Type.TabletRelease: self.released,
        }
        self._rest(event.position())
        button = _BUTTONS.get(event.button())
        pointer = self._pointer(event.position(), button, event.buttons(), event.modifiers(), event.pressure())
        if pointer is not None and event.type() in signals:  # hovering pens move too
            signals[event.type()].emit(pointer)
        event.accept()  # else Qt makes a mouse event of it as well

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        event.accept()
        turned = event.angleDelta()
        units = turned.y() or turned.x()  # Alt, and Shift on some systems, turn the wheel sideways
        pointer = self._pointer(event.position(), None, event.buttons(), event.modifiers())
        if pointer is not None and not pointer.held and units:
            self.scrolled.emit(pointer, units)

    def enterEvent(self, event: QEnterEvent) -> None:  # noqa: N802
        self._rest(event.position())

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        self._rest(None)
        self.left.emit()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:  # noqa: N802
        if event.reason() == QContextMenuEvent.Reason.Mouse:
            return  # the right button is a click
        position = self.resting or QPointF(self.rect().center())
        pointer = self._pointer(position)
        if pointer is not None:
            self.menu_requested.emit(pointer, self.mapToGlobal(position.toPoint()))
