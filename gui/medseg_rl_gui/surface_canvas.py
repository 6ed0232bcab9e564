"""The painted part of the 3D pane: the pixels of a `SurfaceScene`, the mouse for it, and marks over it.

Half resolution while dragging, full a moment after. Never draws 3D while a mouse button is down elsewhere. A click
says where it met a surface; it corrects nothing. The crosshair is painted over the picture: moving it draws no 3D.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontMetricsF,
    QGuiApplication,
    QImage,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from medseg_rl_gui.slice_geometry import Point, direction_letters
from medseg_rl_gui.slice_marks import CROSSHAIR, MARGIN, SHADE, written

if TYPE_CHECKING:
    from medseg_rl_gui.surface_scene import Drag, Side, Size, SurfaceScene

CLICK_PIXELS = 4.0  # a longer way is a drag; device-independent
COARSE = 0.5  # of the resolution, while dragging
FULL_AFTER_MS = 150
WHEEL_ZOOM = 1.1  # a notch
NOTCH = 120.0
GROUND = QColor(20, 22, 25)
CROSSHAIR_ARM, CROSSHAIR_GAP = 11.0, 3.5


class SurfaceCanvas(QWidget):
    """Shows a scene, or a message where there is none. `clicked`: RAS+ mm (x, y, z) of the surface under a click.
    `turned`: the camera stands elsewhere."""

    clicked = Signal(object)
    turned = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.scene: SurfaceScene | None = None
        self.message = ""
        self.crosshair: Point | None = None
        self.frames = 0  # 3D pictures drawn so far
        self._frame: QImage | None = None
        self._coarse = False
        self._pressed: tuple[QPointF, Qt.MouseButton] | None = None
        self._drag: Drag | None = None
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(FULL_AFTER_MS)
        self._later.timeout.connect(self._draw_full)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(80, 80)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    # --- what is shown ------------------------------------------------------------------------------------------------

    def show_scene(self, scene: SurfaceScene | None) -> None:
        """Takes a scene, or lets go of the one it had."""
        self.scene, self._frame, self._drag, self._pressed = scene, None, None, None
        self._later.stop()
        if scene is not None:
            scene.resize(self._pixels(1.0))
        self.update()

    def show_message(self, text: str) -> None:
        """Words in the middle, in place of a picture; none with an empty text."""
        if text != self.message:
            self.message = text
            self.setAccessibleDescription(text)
            self.update()

    def show_crosshair(self, world: Point | None) -> None:
        """Marks a point, RAS+ mm."""
        if world != self.crosshair:
            self.crosshair = world
            if self.isVisible():
                self.update()

    def redraw(self) -> None:
        """Something in the scene changed: draws it again when no mouse button is down."""
        if self.isVisible():
            self._later.start()
        else:
            self._frame, self._coarse = None, False

    def stop(self) -> None:
        """Draws nothing more until asked again."""
        self._later.stop()

    def _draw_full(self) -> None:
        if QGuiApplication.mouseButtons() != Qt.MouseButton.NoButton or self._drag is not None:
            self._later.start()
            return
        self._frame, self._coarse = None, False
        self.update()

    def look_from(self, side: Side) -> None:
        """Stands on one side of the patient."""
        if self.scene is not None:
            self.scene.look_from(side)
            self._camera_moved(coarse=False)

    def see_all(self) -> None:
        """Comes so near that everything is just seen."""
        if self.scene is not None:
            self.scene.see_all()
            self._camera_moved(coarse=False)

    def turn(self, azimuth: float, elevation: float) -> None:
        """Walks round by degrees."""
        if self.scene is not None:
            self.scene.turn(azimuth, elevation)
            self._camera_moved()

    def zoom(self, factor: float) -> None:
        """Above 1 comes nearer."""
        if self.scene is not None:
            self.scene.zoom(factor)
            self._camera_moved()

    def _camera_moved(self, *, coarse: bool = True) -> None:
        self._frame, self._coarse = None, coarse
        self.update()
        if coarse and self.isVisible():
            self._later.start()
        self.turned.emit()

    # --- the mouse ----------------------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        if self.scene is None or self._pressed is not None:
            return
        self._pressed = event.position(), event.button()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        if self.scene is None or self._pressed is None:
            return
        start, button = self._pressed
        if self._drag is None:
            if (event.position() - start).manhattanLength() <= CLICK_PIXELS:
                return
            self._begin(start, button, event.modifiers())
        if self._drag is not None:
            self.scene.drag_goes_on(*self._in_scene(event.position()))
            self._camera_moved()

    def _begin(self, start: QPointF, button: Qt.MouseButton, modifiers: Qt.KeyboardModifier) -> None:
        assert self.scene is not None
        self._drag = _drag_of(button, modifiers)
        if self._drag is not None:
            self.scene.resize(self._pixels(COARSE))
            self.scene.drag_begins(self._drag, *self._in_scene(start))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        if self.scene is None or self._pressed is None or event.button() != self._pressed[1]:
            return
        start, button = self._pressed
        dragged, self._pressed, self._drag = self._drag is not None, None, None
        if dragged:
            self.scene.drag_ends()
            self._later.start()
        elif button == Qt.MouseButton.LeftButton:
            self._click(start)

    def _click(self, at: QPointF) -> None:
        assert self.scene is not None
        world = self.scene.picked(*self._in_scene(at))
        if world is not None:
            self.clicked.emit(world)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        if self._pressed is None:
            self.zoom(WHEEL_ZOOM ** (event.angleDelta().y() / NOTCH))
        event.accept()

    def _in_scene(self, at: QPointF) -> tuple[float, float]:
        """A position in the widget as pixels of the scene, at the resolution that it has now."""
        assert self.scene is not None
        across, down = self.scene.size
        return at.x() * across / max(self.width(), 1), at.y() * down / max(self.height(), 1)

    # --- painting -----------------------------------------------------------------------------------------------------

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        super().resizeEvent(event)
        if self.scene is not None:
            self._camera_moved()

    def _pixels(self, part: float) -> Size:
        scale = self.devicePixelRatioF() * part
        return max(1, round(self.width() * scale)), max(1, round(self.height() * scale))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        self._paint(painter)
        painter.end()

    def _paint(self, painter: QPainter) -> None:
        if self.message or self.scene is None:
            painter.fillRect(self.rect(), GROUND)
            self._paint_message(painter)
            return
        if self._frame is None:
            self._frame = self._drawn(self.scene)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, self._coarse)
        painter.drawImage(QRectF(self.rect()), self._frame)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_crosshair(painter, self.scene)
        self._paint_letters(painter, self.scene)

    def _drawn(self, scene: SurfaceScene) -> QImage:
        scene.resize(self._pixels(COARSE if self._coarse else 1.0))
        pixels = scene.image()
        self.frames += 1
        down, across = pixels.shape[:2]
        return QImage(pixels.data, across, down, 4 * across, QImage.Format.Format_RGBX8888).copy()

    def _paint_message(self, painter: QPainter) -> None:
        painter.setPen(QColor(200, 204, 210))
        room = QRectF(self.rect()).adjusted(16, 16, -16, -16)
        flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        painter.drawText(room, int(flags), self.message)

    def _paint_crosshair(self, painter: QPainter, scene: SurfaceScene) -> None:
        """Four short strokes with a gap at the point; seen through the surfaces."""
        part = None if self.crosshair is None else scene.projected(self.crosshair)
        if part is None:
            return
        x, y = part[0] * self.width(), part[1] * self.height()
        for colour, width in ((SHADE, 3.4), (CROSSHAIR.lighter(120), 1.6)):
            painter.setPen(QPen(colour, width))
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                near = QPointF(x + dx * CROSSHAIR_GAP, y + dy * CROSSHAIR_GAP)
                painter.drawLine(near, QPointF(x + dx * CROSSHAIR_ARM, y + dy * CROSSHAIR_ARM))

    def _paint_letters(self, painter: QPainter, scene: SurfaceScene) -> None:
        """The patient directions on the four sides."""
        right, up = scene.axes
        font = QFont(self.font())
        font.setBold(True)
        metrics = QFontMetricsF(font)
        width, height = self.width(), self.height()
        tall = metrics.capHeight()
        places = (
            (-right, 0.0, (height + tall) / 2),
            (right, 1.0, (height + tall) / 2),
            (up, 0.5, MARGIN + tall),
            (-up, 0.5, height - MARGIN),
        )
        for direction, along, base in places:
            text = direction_letters(direction)
            free = width - 2 * MARGIN - metrics.horizontalAdvance(text)
            written(painter, MARGIN + along * free, base, text, font)

    def picture(self) -> QImage:
        """What is shown, at full resolution, marks and letters included."""
        self._frame, self._coarse = None, False
        size = QSize(*self._pixels(1.0))
        found = QImage(size, QImage.Format.Format_RGB32)
        found.setDevicePixelRatio(self.devicePixelRatioF())
        painter = QPainter(found)
        painter.setFont(self.font())
        self._paint(painter)
        painter.end()
        return found


def _drag_of(button: Qt.MouseButton, modifiers: Qt.KeyboardModifier) -> Drag | None:
    """What dragging with a button does."""
    if button == Qt.MouseButton.RightButton:
        return "zoom"
    if button == Qt.MouseButton.MiddleButton:
        return "pan"
    if button == Qt.MouseButton.LeftButton:
        return "pan" if modifiers & Qt.KeyboardModifier.ShiftModifier else "rotate"
    return None
