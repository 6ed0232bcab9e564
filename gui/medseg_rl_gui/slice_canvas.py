"""The painted part of a slice view: a `ViewModel` on the screen, mouse, wheel and pen as `SlicePointer` values.

Knows where things are and how they look, not what they are for. Caches the slice; repaints the changed box alone.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, Qt, Signal, SignalInstance
from PySide6.QtGui import (
    QColor,
    QContextMenuEvent,
    QEnterEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QRegion,
    QResizeEvent,
    QTabletEvent,
    QTransform,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from medseg_rl.labels import default_colour
from medseg_rl.volume import Box
from medseg_rl_gui.slice_geometry import Placement, Plane, SliceGeometry
from medseg_rl_gui.slice_marks import SliceMarks, crosshair_strips
from medseg_rl_gui.slice_pictures import SlicePictures
from medseg_rl_gui.view_model import Button, Modifier, PointerLook, SlicePointer, ViewModel

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
_CURSORS = {
    "arrow": Qt.CursorShape.ArrowCursor,
    "cross": Qt.CursorShape.CrossCursor,
    "blocked": Qt.CursorShape.ForbiddenCursor,
    "brush": Qt.CursorShape.CrossCursor,
    "hand": Qt.CursorShape.OpenHandCursor,
}


_FIELDS = tuple(field.name for field in fields(ViewModel))


class SliceCanvas(QWidget):
    """Paints one slice and says where the pointer is. Signals as those of `SliceView`."""

    pressed = Signal(object)
    moved = Signal(object)
    released = Signal(object)
    scrolled = Signal(object, int)
    left = Signal()
    menu_requested = Signal(object, object)
    placement_changed = Signal()

    def __init__(self, plane: Plane, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plane: Plane = plane
        self.model = ViewModel()
        self.geometry_shown: SliceGeometry | None = None
        self.placement: Placement | None = None
        self.has_scale_bar = True  # not where the picture is too small for it
        self._resting: QPointF | None = None
        self._fitted = True
        self._pictures = SlicePictures()
        self.setMouseTracking(True)
        self.setTabletTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(80, 80)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    def show_model(self, model: ViewModel, changed: Box | None = None) -> None:
        """Paints another model; `changed` is the box written in place since."""
        before, self.model = self.model, model
        regridded = before.image is not model.image or before.convention != model.convention
        if model.image is None:
            self.geometry_shown = self.placement = None
        elif self.geometry_shown is None or regridded:
            self._regrid(model.geometry(self.plane), same_image=before.image is model.image)
        little = self._pictures.show(model, self.geometry_shown, changed)
        strips = self._strips(before) if changed is None else None
        if strips is not None:
            self.update(strips)
            return
        if before.pointer != model.pointer:
            self._take_pointer(model.pointer)
        elif little is not None:
            self._update_voxels(little)
        else:
            self.update()

    def _strips(self, before: ViewModel) -> QRegion | None:
        """What the crosshair left and entered, where nothing else that is seen here differs between two models."""
        model, geometry, placement = self.model, self.geometry_shown, self.placement
        if geometry is None or placement is None or before.crosshair is None or model.crosshair is None:
            return None
        changes = [name for name in _FIELDS if not _same(getattr(before, name), getattr(model, name))]
        if changes not in (["crosshair"], ["crosshair", "slices"]):
            return None
        if before.slices[self.plane] != model.slices[self.plane]:
            return None
        region = QRegion()
        for world in (before.crosshair, model.crosshair):
            strips = crosshair_strips(geometry, placement, world, self._size)
            if strips is None:
                return None
            for strip in strips:
                region += strip
        return region

    def _regrid(self, geometry: SliceGeometry, *, same_image: bool) -> None:
        """Takes other geometry; another image on the grid shown before keeps zoom and pan."""
        shown, self.geometry_shown = self.geometry_shown, geometry
        same_grid = shown is not None and shown.shape == geometry.shape and np.allclose(shown.affine, geometry.affine)
        if not same_grid or same_image or self.placement is None:
            self.fit()

    def _take_pointer(self, look: PointerLook) -> None:
        self.setCursor(_CURSORS[look.shape])
        self.update()

    def _update_voxels(self, part: QRect) -> None:
        """Asks to paint some columns and rows again, with room for the outlines on their edges."""
        if not part.isEmpty():
            self.update(self._texture().mapRect(QRectF(part)).toAlignedRect().adjusted(-4, -4, 4, 4))

    # --- zoom and pan -------------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """The whole slice in the middle, also when the view is resized later."""
        if self.geometry_shown is not None:
            self.place(Placement.fitting(self.geometry_shown, self._size))
            self._fitted = True

    def place(self, placement: Placement) -> None:
        """Takes zoom and pan."""
        self.placement, self._fitted = placement.resized(self._size), False
        self.update()
        self.placement_changed.emit()

    @property
    def _size(self) -> tuple[float, float]:
        return float(self.width()), float(self.height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        if self.placement is None:
            return
        if self._fitted:
            self.fit()
        else:
            self.place(self.placement.resized(self._size))

    # --- painting -----------------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        painter.fillRect(event.rect(), Qt.GlobalColor.black)
        if self.geometry_shown is not None and self.placement is not None:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            self._paint_voxels(painter)
            self._paint_marks(painter, SliceMarks(painter, self.geometry_shown, self.placement, self._index))
        if self.hasFocus():
            painter.setPen(QPen(self.palette().highlight().color(), 2))
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))

    def _paint_voxels(self, painter: QPainter) -> None:
        painter.save()
        painter.setTransform(self._texture(), True)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, self.model.smooth)
        painter.drawImage(0, 0, self._pictures.grey)
        labels = self._pictures.labels
        if labels is not None:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
            painter.drawImage(0, 0, labels)
        painter.restore()

    def _paint_marks(self, painter: QPainter, marks: SliceMarks) -> None:
        model, texture = self.model, self._texture()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)  # voxel edges are straight; this is faster
        marks.outlines(self._pictures.outlines, texture)
        proposal = self._pictures.proposal
        if proposal is not None and model.proposal is not None:
            marks.proposal(proposal, self._colour_of(model.proposal.label), texture)
        if model.crosshair_shown and model.crosshair is not None:
            marks.crosshair(model.crosshair, self._size)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        marks.balls(model.balls)
        marks.sketches(model.sketches)
        marks.clicks(model.clicks)
        marks.letters(self._size)
        if self.has_scale_bar:
            marks.scale_bar(self._size)
        if self._resting is not None and model.pointer.shape == "brush":
            marks.brush(self._resting, model.pointer)

    def _colour_of(self, label: int) -> QColor:
        labels = self.model.labels
        return QColor(*(labels[label].colour if label in labels else default_colour(label)))

    def _texture(self) -> QTransform:
        assert self.placement is not None
        assert self.geometry_shown is not None
        return QTransform(*self.placement.texture(self.geometry_shown).tolist())

    @property
    def _index(self) -> int:
        assert self.geometry_shown is not None
        return min(max(self.model.slices[self.plane], 0), self.geometry_shown.slices - 1)

    def _repaint_brush(self, *places: QPointF | None) -> None:
        """The discs that the brush leaves and enters, no more."""
        if self.placement is None or self.model.pointer.shape != "brush":
            return
        reach = self.model.pointer.radius_mm * self.placement.scale + 4
        for place in places:
            if place is not None:
                self.update(QRectF(place.x() - reach, place.y() - reach, 2 * reach, 2 * reach).toAlignedRect())

    # --- input --------------------------------------------------------------------------------------------------------

    def pointer_now(self) -> SlicePointer | None:
        """Where the pointer rests, on the slice shown now."""
        return None if self._resting is None else self._pointer(self._resting)

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
        screen, index = (position.x(), position.y()), self._index
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
        before, self._resting = self._resting, position
        self._repaint_brush(before, position)

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
        position = self._resting or QPointF(self.rect().center())
        pointer = self._pointer(position)
        if pointer is not None:
            self.menu_requested.emit(pointer, self.mapToGlobal(position.toPoint()))


def _same(one: object, other: object) -> bool:
    """Whether two values of a model's field are one; layers hold arrays, which are not compared voxel by voxel."""
    if one is other:
        return True
    if isinstance(one, tuple) and isinstance(other, tuple) and any(isinstance(v, np.ndarray) for v in (*one, *other)):
        return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
    return bool(one == other)
