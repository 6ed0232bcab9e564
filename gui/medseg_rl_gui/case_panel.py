"""The section that says which case is open: its number, the image, the verdict on its geometry. Shows no identifiers.

panel.show_case("case-1a2b3c4d", opened.lines, opened.verdict)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette, QResizeEvent
from PySide6.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from medseg_rl_gui.i18n import mark, tr
from medseg_rl_gui.icons import icon
from medseg_rl_gui.theme import TONES, current_theme

Verdict = Literal["green", "amber", "red"]
_VERDICTS: Mapping[Verdict, tuple[str, str, str]] = {  # words, icon, tone: never colour alone
    "green": (mark("Geometry is sound"), "accept", "good"),
    "amber": (mark("Geometry: look at the notes"), "warning", "warning"),
    "red": (mark("Geometry is not sound"), "discard", "error"),
}


class CasePanel(QWidget):
    """Number of the case, lines about its image, verdict; `shown_verdict` is None while no case is open."""

    def __init__(self) -> None:
        super().__init__()
        self.shown_verdict: Verdict | None = None
        self.name, self.lines, self.sign, self.words = QLabel(), QLabel(), QLabel(), QLabel()
        self.lines.setWordWrap(True)
        self.words.setWordWrap(True)
        for label in (self.name, self.lines):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.words.setContentsMargins(6, 2, 6, 2)
        self.words.setAutoFillBackground(True)
        self.words.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 4, 0)
        grid.setColumnStretch(1, 1)
        grid.setRowStretch(3, 1)
        grid.addWidget(self.name, 0, 0, 1, 2)
        grid.addWidget(self.lines, 1, 0, 1, 2)
        grid.addWidget(self.sign, 2, 0)
        grid.addWidget(self.words, 2, 1)
        self.show_nothing()

    def show_case(self, name: str, lines: Sequence[str], verdict: Verdict) -> None:
        """`name`: the salted number, never that of the patient. `lines`: what is known of the image."""
        self.name.setText(name)
        self.lines.setText("\n".join(lines))
        self.shown_verdict = verdict
        self.words.setText(tr(_VERDICTS[verdict][0]))
        self.words.show()
        self.dress()

    def show_nothing(self) -> None:
        """No case is open."""
        self.shown_verdict = None
        self.name.setText(tr("No case is open"))
        self.lines.clear()
        self.sign.clear()
        self.words.hide()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        super().resizeEvent(event)
        grid = self.layout()
        if grid is not None:
            wanted = grid.heightForWidth(self.width())  # a splitter would cut the lines that break
            self.setMinimumHeight(max(0, wanted))

    def dress(self) -> None:
        """Takes the colours of the theme in force."""
        if self.shown_verdict is None:
            return
        _, sign, tone = _VERDICTS[self.shown_verdict]
        ground, ink = TONES[current_theme()][tone]
        colours = QPalette(self.words.palette())
        colours.setColor(QPalette.ColorRole.Window, QColor(ground))
        colours.setColor(QPalette.ColorRole.WindowText, QColor(ink))
        self.words.setPalette(colours)
        text = self.palette().windowText().color().name()
        self.sign.setPixmap(icon(sign, text).pixmap(18, 18))
