"""The section that says which case is open: number, image, verdict on the geometry; identifiers only where asked for.

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

IDENTIFIERS = "identifiers"  # the name of what pictures leave out
Verdict = Literal["green", "amber", "red"]
_VERDICTS: Mapping[Verdict, tuple[str, str, str]] = {  # words, icon, tone: never colour alone
    "green": (mark("Geometry is sound"), "accept", "good"),
    "amber": (mark("Geometry: look at the notes"), "warning", "warning"),
    "red": (mark("Geometry is not sound"), "discard", "error"),
}
_PATIENT = {
    "PatientName": mark("Name"),
    "PatientID": mark("ID"),
    "PatientBirthDate": mark("Born"),
    "StudyDate": mark("Study"),
}


class CasePanel(QWidget):
    """Number of the case, lines about its image, verdict; `shown_verdict` is None while no case is open."""

    def __init__(self) -> None:
        super().__init__()
        self.shown_verdict: Verdict | None = None
        self.name, self.lines, self.sign, self.words = QLabel(), QLabel(), QLabel(), QLabel()
        self.patient = QLabel()
        self.patient.setObjectName(IDENTIFIERS)
        self.patient.setTextFormat(Qt.TextFormat.PlainText)
        self.patient.setWordWrap(True)
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
        grid.setRowStretch(4, 1)
        grid.addWidget(self.name, 0, 0, 1, 2)
        grid.addWidget(self.patient, 1, 0, 1, 2)
        grid.addWidget(self.lines, 2, 0, 1, 2)
        grid.addWidget(self.sign, 3, 0)
        grid.addWidget(self.words, 3, 1)
        self.show_nothing()

    def show_case(self, name: str, lines: Sequence[str], verdict: Verdict) -> None:
        """`name`: the salted number, never that of the patient. `lines`: what is known of the image."""
        self.name.setText(name)
        self.lines.setText("\n".join(lines))
        self.shown_verdict = verdict
        self.words.setText(tr(_VERDICTS[verdict][0]))
        self.words.show()
        self.show_patient({})
        self.dress()

    def show_patient(self, words: Mapping[str, str]) -> None:
        """By DICOM keyword; nothing for an empty mapping, as is usual. Pictures of the window leave it out."""
        lines = [f"{tr(text)}: {_readable(key, words[key])}" for key, text in _PATIENT.items() if key in words]
        self.patient.setText("\n".join(lines))
        self.patient.setVisible(bool(lines))
        self._make_room()

    def show_nothing(self) -> None:
        """No case is open."""
        self.shown_verdict = None
        self.name.setText(tr("No case is open"))
        self.lines.clear()
        self.show_patient({})
        self.sign.clear()
        self.words.hide()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        super().resizeEvent(event)
        self._make_room()

    def _make_room(self) -> None:
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


def _readable(key: str, text: str) -> str:
    """DICOM's names with spaces, its dates with lines between: "Doe^Jane" and "19600131"."""
    if key.endswith("Date") and len(text) == 8 and text.isdigit():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return " ".join(text.replace("^", " ").split())
