"""The bar below the views: what the open proposal comes to, accept, discard; and why it has to be decided now.

It stands there without a proposal too, so that the views do not jump under the pointer when one comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QRect, QSize, Qt
from PySide6.QtGui import QColor, QGuiApplication, QPalette, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QHBoxLayout, QLabel, QSizePolicy

from medseg_rl_gui.counts import ProposalCounts
from medseg_rl_gui.desk import REFINING
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.panels.switches import NamedButton
from medseg_rl_gui.theme import TONES, current_theme

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller

WORDS = 48  # letters in a line of the bar, at least
LINES = 2


class Said(QLabel):
    """Words in one or two lines; where the bar is too narrow they end in dots, and the tooltip has all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self._whole = ""

    def say(self, text: str) -> None:
        """Other words."""
        self._whole = text
        self.setToolTip(text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """All of it where two lines hold it, else what they hold and dots."""
        text = self._whole
        while text and self._lines(text) > LINES:
            text = text.rstrip("…").rpartition(" ")[0] + "…"
        if text != self.text():
            self.setText(text)

    def _lines(self, text: str) -> int:
        wrapped = self.fontMetrics().boundingRect(QRect(0, 0, self.width(), 0), Qt.TextFlag.TextWordWrap, text)
        return round(wrapped.height() / self.fontMetrics().lineSpacing())

    def heightForWidth(self, width: int) -> int:  # noqa: N802
        return self.sizeHint().height()  # always two lines, so that the views above keep their height

    def sizeHint(self) -> QSize:  # noqa: N802
        return QSize(200, LINES * self.fontMetrics().lineSpacing())


class ProposalBar(QFrame):
    """`counts`: what is shown, None for no proposal."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._desk = controller.desk
        self.counts: ProposalCounts | None = None
        acts = controller.window.acts
        self.accept = NamedButton(acts, "proposal.accept", tr("Accept"), key=True)
        self.discard = NamedButton(acts, "proposal.discard", tr("Discard"), key=True)
        self.said = Said()
        self.setAutoFillBackground(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        buttons = QHBoxLayout()
        buttons.addWidget(self.accept)
        buttons.addWidget(self.discard)
        self._line = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._line.setContentsMargins(8, 2, 6, 2)
        self._line.setSpacing(6)
        self._line.addWidget(self.said, 1)
        self._line.addLayout(buttons)
        self._desk.counts_changed.connect(self._count)
        self._desk.question_changed.connect(lambda _: self._show())
        self._show()

    def _count(self, counts: ProposalCounts | None) -> None:
        self.counts = counts
        self._show()

    def _show(self) -> None:
        self.said.say(". ".join(part for part in (self._desk.question, self._counted()) if part))
        self._dress()

    def _counted(self) -> str:
        counts, case = self.counts, self._desk.case
        if counts is None or case is None or counts.label not in case.session.labels:
            if case is not None and REFINING in self._desk.jobs:
                return tr("Refining {name}…").format(name=case.session.labels[case.session.active_label].name)
            return "" if self._desk.question else tr("No open proposal")
        name = case.session.labels[counts.label].name
        text = tr("Refining {name}: {counts}") if counts.is_running else tr("Proposal for {name}: {counts}")
        return text.format(name=name, counts=counts.text)

    def _dress(self) -> None:
        """A question stands on the ground of a warning, a proposal on that of a notice."""
        usual = QGuiApplication.palette()
        colours = QPalette(usual)
        tone = "warning" if self._desk.question else "information" if self.counts is not None else ""
        if tone:
            ground, ink = TONES[current_theme()][tone]
            colours.setColor(QPalette.ColorRole.Window, QColor(ground))
            colours.setColor(QPalette.ColorRole.WindowText, QColor(ink))
        else:
            colours.setColor(QPalette.ColorRole.WindowText, usual.color(QPalette.ColorRole.PlaceholderText))
        self.said.setPalette(colours)
        own = QPalette(self.palette())
        own.setColor(QPalette.ColorRole.Window, colours.color(QPalette.ColorRole.Window))
        self.setPalette(own)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Where it is narrow the buttons stand below the words."""
        super().resizeEvent(event)
        needed = self.accept.sizeHint().width() + self.discard.sizeHint().width() + WORDS * self._letter
        across, down = QBoxLayout.Direction.LeftToRight, QBoxLayout.Direction.TopToBottom
        self._line.setDirection(across if self.width() >= needed else down)

    @property
    def _letter(self) -> int:
        return self.fontMetrics().averageCharWidth()

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        return QSize(self.accept.sizeHint().width() + self.discard.sizeHint().width() + 24, super().sizeHint().height())

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        super().changeEvent(event)
        if event.type() == QEvent.Type.ApplicationPaletteChange and hasattr(self, "said"):
            self._dress()
