"""What is drawn over a slice: clicks, crosshair, balls, sketches, letters, scale bar. QPainter; decides nothing.

Everything is in device-independent pixels. No meaning hangs on colour alone: signs differ by shape, strokes by dashes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from PySide6.QtCore import QLocale, QPoint, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontMetricsF,
    QImage,
    QPainter,
    QPainterPath,
    QPen,
    QPolygonF,
)

from medseg_rl.volume import FloatArray
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.slice_geometry import Placement, Point, ScreenPoint, SliceGeometry
from medseg_rl_gui.view_model import Ball, ClickMark, PointerLook, Sketch

INK, SHADE = QColor(245, 245, 245), QColor(0, 0, 0, 190)
ADDING, TAKING = QColor(80, 230, 175), QColor(255, 140, 90)
CROSSHAIR, CHOSEN, SUGGESTED = QColor(86, 180, 233, 210), QColor(255, 221, 51), QColor(255, 221, 51)
MARK_RADIUS = 8.0
MARK_OPACITY = (1.0, 0.45, 0.22)  # on its slice, one slice off, two slices off
CROSSHAIR_GAP = 9.0
SCALE_BAR_PART = 0.25  # of the view's width at most
MARGIN = 8.0
BAND = 64  # rows drawn at once
TEXT_EDGE = 3  # round a text, for its shade


def drawn_length(width: float, scale: float) -> float:
    """The longest of 1, 2 and 5 times a power of ten, in mm, that fits into a part of a view."""
    longest = max(width * SCALE_BAR_PART / scale, 1e-3)
    power = 10.0 ** math.floor(math.log10(longest))
    return power * max(step for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))


class SliceMarks:
    """Draws on one slice at one placement."""

    def __init__(self, painter: QPainter, geometry: SliceGeometry, placement: Placement, index: int) -> None:
        self._painter, self._geometry, self._placement, self._index = painter, geometry, placement, index
        self._through = geometry.axes[0]

    # --- places in the world ------------------------------------------------------------------------------------------

    def crosshair(self, world: Point, size: ScreenPoint) -> None:
        """The cuts of the two other voxel planes, along the voxel axes, with a gap at the point itself."""
        x, y = self._placement.to_screen(self._geometry.world_to_plane(world))
        middle, far = np.array([x, y]), 2.0 * (abs(x) + abs(y) + sum(size))
        self._painter.setPen(cosmetic_pen(CROSSHAIR, 1.0))
        for axis in self._geometry.pixel_matrix.T:
            direction = axis / np.linalg.norm(axis)
            for side in (direction, -direction):
                self._straight(_point(middle + side * CROSSHAIR_GAP), _point(middle + side * far), size)

    def _straight(self, one: QPointF, other: QPointF, size: ScreenPoint) -> None:
        """A line one pixel wide; along the screen it is a rectangle, which Qt fills many times faster."""
        left, right = sorted(math.floor(p.x() + 1e-6) for p in (one, other))
        top, bottom = sorted(math.floor(p.y() + 1e-6) for p in (one, other))
        if left != right and top != bottom:
            self._painter.drawLine(one, other)
            return
        seen = QRect(0, 0, *(math.ceil(length) for length in size))
        for part in bands(QRect(QPoint(left, top), QPoint(right, bottom)).intersected(seen)):
            self._painter.fillRect(part, CROSSHAIR)

    def clicks(self, clicks: Iterable[ClickMark]) -> None:
        """Plus in a circle, minus in a square; faded on the two slices either side."""
        for click in clicks:
            off = abs(click.index[self._through] - self._index)
            if off < len(MARK_OPACITY):
                self._painter.setOpacity(MARK_OPACITY[off])
                self._click(self._placement.to_screen(self._geometry.index_to_plane(click.index)), click)
        self._painter.setOpacity(1.0)

    def _click(self, at: FloatArray, click: ClickMark) -> None:
        painter, (x, y), r = self._painter, at, MARK_RADIUS
        frame = QRectF(x - r, y - r, 2 * r, 2 * r)
        draw = painter.drawEllipse if click.positive else painter.drawRect
        if click.selected:
            painter.setPen(cosmetic_pen(CHOSEN, 8.0))
            draw(frame)
        painter.setBrush(QColor(0, 0, 0, 0 if click.settled else 110))
        painter.setPen(cosmetic_pen(SHADE, 3.6))
        draw(frame)
        painter.setPen(cosmetic_pen(ADDING if click.positive else TAKING, 1.2 if click.settled else 2.0))
        draw(frame)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        arm = r * 0.55
        painter.drawLine(QPointF(x - arm, y), QPointF(x + arm, y))
        if click.positive:
            painter.drawLine(QPointF(x, y - arm), QPointF(x, y + arm))

    def balls(self, balls: Iterable[Ball]) -> None:
        """The circles in which balls cut this slice."""
        for ball in balls:
            foot, distance = self._geometry.upright(ball.centre, self._index)
            if distance >= ball.radius_mm:
                continue
            radius = math.sqrt(ball.radius_mm**2 - distance**2) * self._placement.scale
            middle = _point(self._placement.to_screen(foot))
            ink = SUGGESTED if ball.dashed else QColor(255, 255, 255, 230)
            for colour, width in ((SHADE, 2.2), (ink, 1.6 if ball.dashed else 1.0)):
                self._painter.setPen(cosmetic_pen(colour, width, ball.dashed and colour is ink))
                self._painter.drawEllipse(middle, radius, radius)

    # --- what tools draw ----------------------------------------------------------------------------------------------

    def sketches(self, sketches: Iterable[Sketch]) -> None:
        """Scribbles, lassos and boxes that are not done yet."""
        for sketch in sketches:
            points = self._corners(sketch)
            if points is None or len(points) == 0:
                continue
            screen = [_point(p) for p in self._placement.to_screen(points)]
            colour = ADDING if sketch.positive else TAKING
            for ink, width in ((SHADE, 4.0), (colour, 2.0)):
                self._painter.setPen(cosmetic_pen(ink, width, dashed=ink is colour and not sketch.positive))
                self._line(screen, closed=sketch.closed or sketch.kind == "box")
            if sketch.kind == "lasso":
                self._handles(screen, colour, closed=sketch.closed)

    def _line(self, screen: list[QPointF], *, closed: bool) -> None:
        if len(screen) == 1:
            self._painter.drawPoint(screen[0])
        elif closed:
            self._painter.drawPolygon(QPolygonF(screen))
        else:
            self._painter.drawPolyline(QPolygonF(screen))

    def _handles(self, screen: list[QPointF], colour: QColor, *, closed: bool) -> None:
        if not closed and len(screen) > 2:
            self._painter.setPen(QPen(colour, 1.0, Qt.PenStyle.DotLine))  # where Enter will close it
            self._painter.drawLine(screen[-1], screen[0])
        self._painter.setPen(cosmetic_pen(SHADE, 1.0))
        self._painter.setBrush(colour)
        for point in (screen[0], screen[-1]):
            self._painter.drawRect(QRectF(point.x() - 3, point.y() - 3, 6, 6))
        self._painter.setBrush(Qt.BrushStyle.NoBrush)

    def _corners(self, sketch: Sketch) -> FloatArray | None:
        """Plane mm of a sketch's line; None where it is not seen on this slice."""
        geometry = self._geometry
        if sketch.kind == "box" and sketch.through:
            return self._box(sketch)
        if sketch.plane != geometry.plane or (sketch.slice_index != self._index and not sketch.through):
            return None
        return self._box(sketch) if sketch.kind == "box" else geometry.world_to_plane(sketch.points)

    def _box(self, sketch: Sketch) -> FloatArray | None:
        """The rectangle along the voxel axes between two corners."""
        geometry = self._geometry
        low, high = np.sort(geometry.world_to_index(sketch.points[[0, -1]]), axis=0)
        if sketch.through and not low[self._through] - 0.5 <= self._index <= high[self._through] + 0.5:
            return None
        _, across, down = geometry.axes
        corners = np.tile(low, (4, 1))
        corners[[1, 2], across], corners[[2, 3], down] = high[across], high[down]
        return geometry.index_to_plane(corners)

    def brush(self, at: QPointF, look: PointerLook) -> None:
        """The edge of the brush; dashed for one that takes away."""
        radius = max(look.radius_mm * self._placement.scale, 1.0)
        for colour, width in ((SHADE, 3.0), (INK, 1.4)):
            self._painter.setPen(cosmetic_pen(colour, width, dashed=colour is INK and not look.positive))
            self._painter.drawEllipse(at, radius, radius)

    # --- the frame ----------------------------------------------------------------------------------------------------

    def letters(self, size: ScreenPoint) -> None:
        """The patient directions on the four sides."""
        width, height = size
        font = QFont(self._painter.font())
        font.setBold(True)
        metrics = QFontMetricsF(font)
        base = (height + metrics.capHeight()) / 2
        sides = self._geometry.sides
        below = metrics.horizontalAdvance(sides.bottom)
        over = metrics.horizontalAdvance(sides.top)
        right = metrics.horizontalAdvance(sides.right)
        written(self._painter, MARGIN, base, sides.left, font)
        written(self._painter, width - MARGIN - right, base, sides.right, font)
        written(self._painter, (width - over) / 2, MARGIN + metrics.capHeight(), sides.top, font)
        written(self._painter, (width - below) / 2, height - MARGIN, sides.bottom, font)

    def scale_bar(self, size: ScreenPoint) -> None:
        """A bar of a round length at the lower left."""
        width, height = size
        length = drawn_length(width, self._placement.scale)
        left, base = MARGIN, height - MARGIN - 2
        right = left + length * self._placement.scale
        bar = [QPointF(x, y) for x, y in ((left, base - 4), (left, base), (right, base), (right, base - 4))]
        for colour, pen_width in ((SHADE, 4.0), (INK, 2.0)):
            self._painter.setPen(cosmetic_pen(colour, pen_width))
            self._painter.drawPolyline(QPolygonF(bar))
        text = tr("{length} mm").format(length=QLocale().toString(length, "g", 6))
        written(self._painter, left, base - 9, text, self._painter.font())


def crosshair_strips(
    geometry: SliceGeometry, placement: Placement, world: Point, size: ScreenPoint
) -> tuple[QRect, ...] | None:
    """What the two lines of a crosshair cover; None where they do not run along the screen."""
    if not all(np.count_nonzero(np.abs(axis) > 1e-9) == 1 for axis in geometry.pixel_matrix.T):
        return None
    x, y = (round(float(v)) for v in placement.to_screen(geometry.world_to_plane(world)))
    width, height = (math.ceil(v) for v in size)
    return QRect(x - 3, 0, 7, height), QRect(0, y - 3, width, 7)


def bands(area: QRect) -> Iterator[QRect]:
    """An area in parts of few rows. More of them at once Qt hands to threads, and waits where others hold the cores."""
    for top in range(area.top(), area.bottom() + 1, BAND):
        yield QRect(area.left(), top, area.width(), min(BAND, area.bottom() + 1 - top))


def written(painter: QPainter, x: float, y: float, text: str, font: QFont) -> None:
    """Text that can be read on black and on white, its left end of the base line at x, y."""
    device = painter.device()
    picture = _text(text, font.toString(), 1.0 if device is None else device.devicePixelRatioF())
    metrics = QFontMetricsF(font)
    painter.drawImage(QPointF(round(x) - TEXT_EDGE, round(y) - math.ceil(metrics.ascent()) - TEXT_EDGE), picture)


@lru_cache(maxsize=256)
def _text(text: str, font_text: str, ratio: float) -> QImage:
    """The picture of a text, drawn once: its outline costs more than all else on a slice."""
    font = QFont()
    font.fromString(font_text)
    metrics = QFontMetricsF(font)
    width = math.ceil(metrics.horizontalAdvance(text)) + 2 * TEXT_EDGE
    height = math.ceil(metrics.ascent()) + math.ceil(metrics.descent()) + 2 * TEXT_EDGE
    format_ = QImage.Format.Format_ARGB32_Premultiplied
    picture = QImage(math.ceil(width * ratio), math.ceil(height * ratio), format_)
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    path = QPainterPath()
    path.addText(QPointF(TEXT_EDGE, math.ceil(metrics.ascent()) + TEXT_EDGE), font, text)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.strokePath(path, cosmetic_pen(SHADE, 3.0))
    painter.fillPath(path, INK)
    painter.end()
    return picture


def cosmetic_pen(colour: QColor, width: float, dashed: bool = False) -> QPen:
    """Of the same width on the screen at every zoom."""
    pen = QPen(colour, width)
    pen.setCosmetic(True)
    pen.setCapStyle(Qt.PenCapStyle.FlatCap if dashed else Qt.PenCapStyle.RoundCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    if dashed:
        pen.setDashPattern([4.0, 3.0])
    return pen


def _point(at: FloatArray) -> QPointF:
    return QPointF(float(at[0]), float(at[1]))
