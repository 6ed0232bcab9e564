"""Two small plots painted with QPainter: how often values occur, and the area on each slice, with the crosshair's.

Knows neither session nor case; a click on the second says which slice is meant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFontMetricsF, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from medseg_rl_gui.i18n import number, tr, whole
from medseg_rl_gui.measuring import Histogram, SliceAreas
from medseg_rl_gui.theme import contrast

SMALLEST_BAR_CONTRAST = 2.0


@dataclass(frozen=True)
class Scale:
    """A stretch of numbers on a stretch of pixels."""

    low: float
    high: float
    start: float
    end: float

    def pixel(self, value: float) -> float:
        """Where a number lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def value(self, pixel: float) -> float:
        """Which number lies there."""
        return self.low + (pixel - self.start) / (self.end - self.start) * (self.high - self.low)


class Plot(QWidget):
    """Bars in the colour of a label between two axes. `title` stands above, the unit of the x axis at its end."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.name = name
        self.colour = QColor("#56b4e9")
        self.empty = tr("Nothing to plot")
        self.hovered: float | None = None

    def sizeHint(self) -> QSize:  # noqa: N802
        line = self.fontMetrics().height()
        return QSize(260, 4 * line + 90)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        return QSize(180, self.sizeHint().height())

    # --- what is plotted ----------------------------------------------------------------------------------------------

    def bars(self) -> tuple[np.ndarray, np.ndarray]:
        """Edges of the bars along x, one more than heights; empty for nothing."""
        return np.zeros(0), np.zeros(0)

    def x_text(self, value: float) -> str:
        """A number on the x axis."""
        return number(value)

    def y_text(self, value: float) -> str:
        """A number on the y axis."""
        return number(value)

    def title(self) -> str:
        """The line above."""
        return self.name

    def pointed(self, value: float) -> str:
        """What the line above says while the pointer rests there."""
        return self.title()

    def mark(self) -> float | None:
        """Where a line stands, on the x axis."""
        return None

    # --- painting -----------------------------------------------------------------------------------------------------

    def _frame(self) -> QRectF:
        """Inside of the axes."""
        metrics = QFontMetricsF(self.font())
        _, heights = self.bars()
        top = float(heights.max()) if heights.size else 0.0
        left = max(metrics.horizontalAdvance(self.y_text(top)), metrics.horizontalAdvance("0")) + 8
        above, below = metrics.height() + 8, metrics.height() + 6
        return QRectF(left, above, self.width() - left - 8, self.height() - above - below)

    def _x(self) -> Scale:
        edges, frame = self.bars()[0], self._frame()
        return Scale(float(edges[0]), float(edges[-1]), frame.left(), frame.right())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        edges, heights = self.bars()
        colours = self.palette()
        painter.setPen(colours.color(QPalette.ColorRole.WindowText))
        line = QRectF(0, 0, self.width(), QFontMetricsF(self.font()).height() + 4)
        if not heights.size:
            painter.drawText(line, Qt.AlignmentFlag.AlignLeft, self.name)
            painter.setPen(colours.color(QPalette.ColorRole.PlaceholderText))
            painter.drawText(QRectF(self.rect()), Qt.AlignmentFlag.AlignCenter, self.empty)
            return
        above = self.title() if self.hovered is None else self.pointed(self.hovered)
        metrics = QFontMetricsF(self.font())
        painter.drawText(
            line, Qt.AlignmentFlag.AlignLeft, metrics.elidedText(above, Qt.TextElideMode.ElideRight, self.width())
        )
        self._paint_axes(painter, float(heights.max()))
        self._paint_bars(painter, edges, heights)
        self._paint_mark(painter)

    def _paint_axes(self, painter: QPainter, top: float) -> None:
        frame, x, metrics = self._frame(), self._x(), QFontMetricsF(self.font())
        painter.fillRect(frame, self.palette().color(QPalette.ColorRole.Base))
        painter.setPen(QPen(self.palette().color(QPalette.ColorRole.PlaceholderText), 1))
        painter.drawLine(frame.bottomLeft(), frame.bottomRight())
        painter.drawLine(frame.topLeft(), frame.bottomLeft())
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        height = metrics.height()
        for value, y in ((top, frame.top()), (0.0, frame.bottom())):
            painter.drawText(QRectF(0, y - height / 2, frame.left() - 5, height), right, self.y_text(value))
        texts = [self.x_text(value) for value in (x.low, (x.low + x.high) / 2, x.high)]
        widths = [metrics.horizontalAdvance(text) for text in texts]
        places = [frame.left(), frame.center().x() - widths[1] / 2, frame.right() - widths[2]]
        for at, (text, place) in enumerate(zip(texts, places, strict=True)):
            if at != 1 or sum(widths) + 24 < frame.width():
                painter.drawText(QPointF(place, frame.bottom() + metrics.ascent() + 3), text)

    def _paint_bars(self, painter: QPainter, edges: np.ndarray, heights: np.ndarray) -> None:
        frame, x, top = self._frame(), self._x(), float(heights.max())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        ground = self.palette().color(QPalette.ColorRole.Base)
        bar = self._seen_on(ground)
        for low, high, height in zip(edges[:-1], edges[1:], heights, strict=True):
            left, right = round(x.pixel(float(low))), round(x.pixel(float(high)))
            tall = round(float(height) / top * (frame.height() - 1)) if top else 0
            if height:
                gap = 1 if right - left > 4 else 0
                painter.fillRect(
                    QRectF(left + 1, frame.bottom() - max(tall, 1), max(right - left - gap, 1), max(tall, 1)), bar
                )
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)

    def _seen_on(self, ground: QColor) -> QColor:
        """The label's colour, darker or lighter where it would not be seen."""
        bar, away = QColor(self.colour), ground.lightness() < 128
        for _ in range(12):
            if contrast(bar, ground) >= SMALLEST_BAR_CONTRAST:
                break
            bar = bar.lighter(115) if away else bar.darker(115)
        return bar

    def _paint_mark(self, painter: QPainter) -> None:
        place, frame = self.mark(), self._frame()
        if place is None:
            return
        x = self._x().pixel(place)
        if frame.left() <= x <= frame.right():
            painter.setPen(QPen(self.palette().color(QPalette.ColorRole.WindowText), 1.6, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(x, frame.top() - 3), QPointF(x, frame.bottom()))

    # --- the pointer --------------------------------------------------------------------------------------------------

    def _value_at(self, event: QMouseEvent) -> float | None:
        frame = self._frame()
        if not self.bars()[1].size or not frame.left() <= event.position().x() <= frame.right():
            return None
        return self._x().value(event.position().x())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self.hovered = self._value_at(event)
        self.update()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        self.hovered = None
        self.update()


class HistogramPlot(Plot):
    """How often each value of the image occurs inside the mask."""

    def __init__(self) -> None:
        super().__init__(tr("Intensity histogram"))
        self.histogram: Histogram | None = None

    def show_histogram(self, histogram: Histogram | None, colour: QColor) -> None:
        """None for an empty mask."""
        self.histogram, self.colour, self.hovered = histogram, colour, None
        self.update()

    def bars(self) -> tuple[np.ndarray, np.ndarray]:
        if self.histogram is None:
            return super().bars()
        return self.histogram.edges, self.histogram.counts

    def title(self) -> str:
        unit = "" if self.histogram is None or not self.histogram.unit else f" ({self.histogram.unit})"
        return tr("Voxels by intensity") + unit

    def x_text(self, value: float) -> str:
        edges = self.bars()[0]
        return number(value, 0 if edges[-1] - edges[0] >= 10 else 2)

    def y_text(self, value: float) -> str:
        return whole(round(value))

    def pointed(self, value: float) -> str:
        edges, counts = self.bars()
        at = int(np.clip(np.searchsorted(edges, value) - 1, 0, counts.size - 1))
        text = tr("{low} to {high}: {n} voxels")
        return text.format(low=self.x_text(edges[at]), high=self.x_text(edges[at + 1]), n=whole(int(counts[at])))


class AreaPlot(Plot):
    """Area of the mask on each slice of one plane; a dashed line on the slice shown. `slice_chosen`: index, from 0."""

    slice_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__(tr("Area per slice"))
        self.areas: SliceAreas | None = None
        self.slice_index: int | None = None
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip(tr("Click to go to a slice"))

    def show_areas(self, areas: SliceAreas | None, colour: QColor) -> None:
        """None for an empty mask."""
        self.areas, self.colour, self.hovered = areas, colour, None
        self.update()

    def show_slice(self, index: int | None) -> None:
        """The slice that the view of the plane shows, from 0."""
        if index != self.slice_index:
            self.slice_index = index
            self.update()

    def bars(self) -> tuple[np.ndarray, np.ndarray]:
        if self.areas is None:
            return super().bars()
        count = self.areas.areas.size
        return np.arange(count + 1) + self.areas.first + 0.5, self.areas.areas  # slices count from 1

    def title(self) -> str:
        at = self.slice_index
        if self.areas is None or at is None:
            return tr("Area per slice (mm²)")
        return self._said(at)

    def _said(self, index: int) -> str:
        assert self.areas is not None
        place = index - self.areas.first
        area = float(self.areas.areas[place]) if 0 <= place < self.areas.areas.size else 0.0
        return tr("Slice {n}: {area} mm²").format(n=whole(index + 1), area=number(area, 1))

    def x_text(self, value: float) -> str:
        edges = self.bars()[0]
        return whole(int(np.clip(round(value), edges[0] + 0.5, edges[-1] - 0.5)))

    def pointed(self, value: float) -> str:
        return self._said(int(np.floor(value + 0.5)) - 1)

    def mark(self) -> float | None:
        return None if self.slice_index is None else self.slice_index + 1.0

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        value = self._value_at(event)
        if value is not None and event.button() == Qt.MouseButton.LeftButton:
            self.slice_chosen.emit(int(np.floor(value + 0.5)) - 1)
