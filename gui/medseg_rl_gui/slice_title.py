"""What stands round a slice: the bar with its name, number and position, and the slider.

Texts that change with every slice keep their room, so that turning the wheel lays nothing out anew.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QLocale, QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QMouseEvent, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QSlider, QSpinBox, QWidget

from medseg_rl_gui.slice_geometry import SliceGeometry


class TitleBar(QFrame):
    """The name of a view, its convention, and which slice it shows. A double-click asks to maximise or restore."""

    maximise_requested = Signal()
    slice_chosen = Signal(int)

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("viewTitle")
        self.setAutoFillBackground(True)
        self.name = QLabel(name)
        font = self.name.font()
        font.setBold(True)
        self.name.setFont(font)
        self.convention, self.count, self.position = QLabel(), QLabel(), QLabel()
        self.spin = QSpinBox()
        self.spin.setKeyboardTracking(False)
        self.spin.setFrame(False)
        self.spin.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.spin.setAccessibleName(self.tr("Slice number, {view}").format(view=name))
        self._geometry: SliceGeometry | None = None
        self._index = 0
        self.spin.valueChanged.connect(lambda number: self.slice_chosen.emit(number - 1))
        self._lay_out()

    def _lay_out(self) -> None:
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 1, 6, 1)
        row.setSpacing(8)
        row.addWidget(self.name)
        row.addWidget(self.convention)
        row.addStretch(1)
        row.addWidget(self.spin)
        row.addWidget(self.count)
        row.addWidget(self.position)
        for label in (self.name, self.convention, self.position):
            label.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        self.position.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.spin.hide()

    def show_slice(self, geometry: SliceGeometry, index: int) -> None:
        """The slice counter, from 1, the position of the slice and the convention, in words."""
        if geometry is self._geometry and index == self._index:
            return
        regridded = geometry is not self._geometry
        self._geometry, self._index = geometry, index
        with QSignalBlocker(self.spin):
            self.spin.setRange(1, geometry.slices)
            self.spin.setValue(index + 1)
        self.position.setText(self._position(geometry, index))
        if regridded:
            self.count.setText(self.tr("/ {slices}").format(slices=QLocale().toString(geometry.slices)))
            self.convention.setText(self.tr("R on left") if geometry.right_on_left else self.tr("R on right"))
            self._keep_room(geometry)
            self._leave_out()

    def _position(self, geometry: SliceGeometry, index: int) -> str:
        letter, distance = geometry.slice_position(index)
        return self.tr("{side} {mm} mm").format(side=letter, mm=QLocale().toString(distance, "f", 1))

    def _keep_room(self, geometry: SliceGeometry) -> None:
        """For the longest position: that of the first or of the last slice."""
        metrics = self.fontMetrics()  # that of the label comes later when letters change
        ends = (self._position(geometry, index) for index in (0, geometry.slices - 1))
        width = max(metrics.horizontalAdvance(text) for text in ends)
        self.position.setFixedSize(width + 2, self.position.sizeHint().height())

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and self._geometry is not None:
            self._keep_room(self._geometry)
            self._leave_out()

    def show_nothing(self) -> None:
        """Without an image only the name stands."""
        self._geometry = None
        self.spin.hide()
        for label in (self.convention, self.count, self.position):
            label.clear()

    def _leave_out(self) -> None:
        """Where it is narrow, position, count and spin box go first: name and convention always stand whole."""
        margins = self.contentsMargins()
        row = self.layout()
        assert row is not None
        room = self.width() - 12 - margins.left() - margins.right()
        for widget in (self.name, self.convention, self.spin, self.count, self.position):
            room -= max(widget.sizeHint().width(), widget.minimumWidth()) + row.spacing()
            widget.setVisible(widget in (self.name, self.convention) or room + row.spacing() >= 0)
        row.activate()  # now: a picture taken before the next event would show names cut short

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        always = self.name.sizeHint().width() + self.convention.sizeHint().width()
        return QSize(always + 20, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        if self.convention.text():
            self._leave_out()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        if event.button() == Qt.MouseButton.LeftButton:
            self.maximise_requested.emit()


class SliceSlider(QSlider):
    """Which slice a view shows. The wheel is for the canvas: one notch is one slice there."""

    def __init__(self, name: str) -> None:
        super().__init__(Qt.Orientation.Vertical)
        self.setAccessibleName(self.tr("Slice, {view}").format(view=name))
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setPageStep(5)
        self.setEnabled(False)
        self._geometry: SliceGeometry | None = None

    def show_slice(self, geometry: SliceGeometry, index: int) -> None:
        """Right, anterior or superior is always on top."""
        with QSignalBlocker(self):
            if geometry is not self._geometry:
                self.setRange(0, geometry.slices - 1)
                self.setInvertedAppearance(geometry.forward < 0)
                self.setInvertedControls(geometry.forward < 0)
            self.setValue(index)
        self._geometry = geometry
        self.setEnabled(True)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        event.ignore()
