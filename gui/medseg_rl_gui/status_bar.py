"""The line at the bottom: where the pointer is, what runs, what computes, and that this is research. Asks nobody."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QStatusBar, QToolButton, QWidget

from medseg_rl.volume import Index
from medseg_rl_gui.i18n import number, tr
from medseg_rl_gui.icons import put_icon
from medseg_rl_gui.slice_geometry import Point, position_letters

PATIENCE_MS = 300  # a job that is done sooner shows no progress
MESSAGE_MS = 8000


@dataclass(frozen=True)
class Probe:
    """What lies under the pointer. `index`, `value`, `label`: None beside the image or where there is no label."""

    world: Point
    index: Index | None = None
    value: float | None = None
    unit: str = ""
    label: str | None = None


def position_text(world: Point) -> str:
    """World mm with letters: "R 23.4 A 11.0 S 45.0 mm"."""
    parts = (f"{letter} {number(mm, 1)}" for letter, mm in position_letters(world))
    return tr("{position} mm").format(position=" ".join(parts))


class Field(QLabel):
    """A text with room for a sample; where the window is narrow it is cut with dots, and its tooltip has all of it."""

    def __init__(self, sample: str = "") -> None:
        super().__init__()
        self._sample = sample

    def setText(self, text: str) -> None:  # noqa: N802
        super().setText(text)
        self.setToolTip(text)

    def sizeHint(self) -> QSize:  # noqa: N802
        longer = max(self.fontMetrics().horizontalAdvance(text) for text in (self._sample, self.text()))
        return QSize(longer + 8 if longer else 0, super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        return QSize(min(self.sizeHint().width(), 3 * self.fontMetrics().averageCharWidth()), self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        shown = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())
        painter.setPen(self.palette().windowText().color())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)


class Progress(QWidget):
    """What runs, how far it is, and Stop. It shows itself only for what takes longer than 0.3 s."""

    cancelled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.what = Field()
        self.bar = QProgressBar()
        self.bar.setMinimumWidth(40)
        self.bar.setMaximumWidth(140)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName(tr("Progress"))
        self.stop = QToolButton()
        self.stop.setText(tr("Stop"))
        put_icon(self.stop, "stop")
        self.stop.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.stop.setAccessibleName(tr("Stop what is running"))
        self.stop.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.stop.clicked.connect(self.cancelled)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for widget in (self.what, self.bar, self.stop):
            row.addWidget(widget)
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._patience.timeout.connect(self.show)
        self.hide()

    def begin(self, what: str, *, stoppable: bool = True) -> None:
        """Something runs; how far it is, is not known yet."""
        self.what.setText(what)
        self.bar.setRange(0, 0)
        self.stop.setEnabled(stoppable)
        if not self.isVisible():
            self._patience.start()

    def advance(self, done: int, total: int, what: str = "") -> None:
        """How far it is; `total` 0: not known."""
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        if what:
            self.what.setText(what)

    def end(self) -> None:
        """Nothing runs."""
        self._patience.stop()
        self.hide()


class StatusBar(QStatusBar):
    """Position, voxel, value and label under the pointer; messages; progress; the device; the notice."""

    def __init__(self) -> None:
        super().__init__()
        self.position = Field(tr("{position} mm").format(position="R 000.0 A 000.0 S 000.0"))
        self.voxel = Field(tr("voxel {index}").format(index="000, 000, 000"))
        self.value = Field("-00000 HU")
        self.label = Field("000 000 000 000")
        self.message, self.device = Field(), Field()
        self.progress = Progress()
        self.notice = QLabel(tr("RESEARCH USE"))
        self.notice.setToolTip(tr("For research use only. Not a medical device."))
        font = self.notice.font()
        font.setBold(True)
        self.notice.setFont(font)
        self.setSizeGripEnabled(False)
        self.setContentsMargins(6, 0, 6, 0)
        self._under_pointer: list[QWidget] = []
        for field in (self.position, self.voxel, self.value, self.label):
            self._under_pointer += [field, _line()]
        for widget in self._under_pointer:
            self.addWidget(widget)
        self.addWidget(self.message, 1)
        for last in (self.progress, self.device, _line(), self.notice):
            self.addPermanentWidget(last)
        self._forget = QTimer(self)
        self._forget.setSingleShot(True)
        self._forget.timeout.connect(self._forgotten)
        self._has_case = True

    def show_fields(self, shown: bool) -> None:
        """Whether there is a case whose positions can be read."""
        self._has_case = shown
        self._share_out()

    def _share_out(self) -> None:
        """Where a message does not fit beside what is under the pointer, it stands there instead until it goes."""
        taken = sum(w.sizeHint().width() + 6 for w in (*self._under_pointer, self.device, self.notice))
        if not self.progress.isHidden():
            taken += self.progress.sizeHint().width()
        left = self.width() - taken - self.message.sizeHint().width() - 12
        for field, line in reversed(list(zip(self._under_pointer[::2], self._under_pointer[1::2], strict=True))):
            is_seen = self._has_case and (left >= 0 or not self.message.text())
            field.setVisible(is_seen)
            line.setVisible(is_seen)
            left += field.sizeHint().width() + line.sizeHint().width() + 12

    def _forgotten(self) -> None:
        self.message.clear()
        self._share_out()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        super().resizeEvent(event)
        self._share_out()

    def show_probe(self, probe: Probe | None) -> None:
        """What lies under the pointer; None when it is over no view."""
        self.position.setText("" if probe is None else position_text(probe.world))
        index = None if probe is None else probe.index
        self.voxel.setText("" if index is None else tr("voxel {index}").format(index=", ".join(map(str, index))))
        value = None if probe is None else probe.value
        text = (
            "" if value is None or probe is None else f"{number(value, 0 if value == round(value) else 2)} {probe.unit}"
        )
        self.value.setText(text.strip())
        self.label.setText((probe.label if probe is not None else None) or "")

    def say(self, text: str, *, lasting: bool = False) -> None:
        """A message for some seconds, or until the next one."""
        self.message.setText(text)
        self._share_out()
        self._forget.stop()
        if text and not lasting:
            self._forget.start(MESSAGE_MS)

    def show_device(self, device: str, seconds_per_step: float | None = None) -> None:
        """What computes, such as "CPU", and how long a refinement step took."""
        if seconds_per_step is None:
            self.device.setText(device)
            return
        text = tr("{device} {seconds} s/step")
        self.device.setText(text.format(device=device, seconds=number(seconds_per_step, 2)))

    def quiet(self) -> None:
        """Stops what would fire later; for closing."""
        self._forget.stop()
        self.progress.end()


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.VLine)
    line.setFrameShadow(QFrame.Shadow.Sunken)
    return line
