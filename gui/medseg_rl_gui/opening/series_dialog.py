"""The series of a DICOM folder to choose from, each with the report on its geometry and the choices it asks for.

Reads nothing: it is given the reports, and says which series was chosen and how it is to be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import Qt
from PySide6.QtGui import QBrush, QColor
from PySide6.QtWidgets import (
    QAbstractItemView,
    QButtonGroup,
    QDialog,
    QDialogButtonBox,
    QGroupBox,
    QHeaderView,
    QLabel,
    QPlainTextEdit,
    QRadioButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medseg_rl_gui.i18n import mark, number, tr, whole
from medseg_rl_gui.opening.readings import Reading
from medseg_rl_gui.theme import TONES, current_theme

if TYPE_CHECKING:
    from medseg_rl.imageio.dicom_geometry import GeometryReport

COLUMNS = (
    mark("Description"),
    mark("Modality"),
    mark("Images"),
    mark("Spacing (mm)"),
    mark("Matrix"),
    mark("Geometry"),
)
VERDICTS = {
    "green": (mark("Regular"), "good"),
    "amber": (mark("Take note"), "warning"),
    "red": (mark("Problem"), "error"),
}
Missing = Literal["refuse", "resample", "keep"]
Tilt = Literal["keep", "resample"]


class SeriesDialog(QDialog):
    """One row a series. `reading`: what was chosen, once the dialog is accepted."""

    def __init__(self, reports: Sequence[GeometryReport], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Choose a series"))
        self.resize(820, 520)
        self.reports = tuple(reports)
        self.table = self._made_table()
        self.report = QLabel()
        self.report.setWordWrap(True)
        self.report.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.report.setMargin(8)
        self.files = QPlainTextEdit()
        self.files.setReadOnly(True)
        self.files.setMaximumHeight(72)
        self.files.setAccessibleName(tr("Files on either side of uneven gaps"))
        self.missing = _Radios(tr("Slices"), self._enable)
        self.tilt = _Radios(tr("Tilted gantry"), self._enable)
        self.buttons = self._made_buttons()
        layout = QVBoxLayout(self)
        layout.addWidget(self.table, 1)
        for widget in (self.report, self.files, self.missing, self.tilt, self.buttons):
            layout.addWidget(widget)
        self.table.selectRow(self._likely())

    def _likely(self) -> int:
        """The row of the largest series that can be opened: a scout has fewer images."""
        usable = [n for n, report in enumerate(self.reports) if report.problem is None]
        return max(usable, key=lambda n: self.reports[n].images, default=0)

    @property
    def chosen(self) -> GeometryReport:
        """The series of the selected row."""
        return self.reports[max(0, self.table.currentRow())]

    @property
    def reading(self) -> Reading:
        """How it is to be read."""
        missing: Missing = {"resample": "resample", "keep": "keep"}.get(self.missing.value, "refuse")  # type: ignore[assignment]
        tilt: Tilt = "resample" if self.tilt.value == "resample" else "keep"
        return Reading(series=self.chosen.number, missing=missing, tilt=tilt)

    def _made_table(self) -> QTableWidget:
        table = QTableWidget(len(self.reports), len(COLUMNS))
        table.setHorizontalHeaderLabels([tr(text) for text in COLUMNS])
        table.verticalHeader().hide()
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setTabKeyNavigation(False)
        table.setAccessibleName(tr("Series of the folder"))
        for row, report in enumerate(self.reports):
            self._fill(table, row, report)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        table.currentCellChanged.connect(lambda *_: self._show())
        table.cellDoubleClicked.connect(lambda *_: self._accept_if_possible())
        return table

    def _fill(self, table: QTableWidget, row: int, report: GeometryReport) -> None:
        spacing = " × ".join(number(mm, 2) for mm in report.spacing) if report.spacing else "–"
        matrix = " × ".join(whole(n) for n in report.matrix)
        texts = (report.description or tr("(no description)"), report.modality, whole(report.images), spacing, matrix)
        for column, text in enumerate(texts):
            item = QTableWidgetItem(text)
            if column in (2, 3, 4):
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            table.setItem(row, column, item)
        word, tone = VERDICTS[report.verdict]
        ground, text = TONES[current_theme()][tone]
        verdict = QTableWidgetItem(tr(word))
        verdict.setBackground(QBrush(QColor(ground)))
        verdict.setForeground(QBrush(QColor(text)))
        verdict.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
        table.setItem(row, len(texts), verdict)

    def _made_buttons(self) -> QDialogButtonBox:
        kinds = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(kinds.Open | kinds.Cancel)
        buttons.button(kinds.Open).setText(tr("Open"))
        buttons.button(kinds.Cancel).setText(tr("Cancel"))
        buttons.button(kinds.Open).setDefault(True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        return buttons

    def _show(self) -> None:
        """The report of the selected series, and the choices it asks for."""
        report = self.chosen
        ground, text = TONES[current_theme()][VERDICTS[report.verdict][1]]
        self.report.setStyleSheet(f"background: {ground}; color: {text}; border-radius: 4px;")
        self.report.setText("\n".join(report.lines))
        self.files.setPlainText("\n".join(report.file_lines()))
        self.files.setVisible(bool(report.uneven) and report.problem is None)
        can_open = report.problem is None
        self.missing.offer(_slice_choices(report) if can_open else (), "" if report.is_broken else "as_is")
        self.tilt.offer(_tilt_choices(report) if can_open else (), "keep")
        self._enable()

    def _enable(self) -> None:
        button = self.buttons.button(QDialogButtonBox.StandardButton.Open)
        is_open_question = self.chosen.is_broken and not self.missing.value
        button.setEnabled(self.chosen.problem is None and not is_open_question)
        button.setToolTip(tr("Choose first what is to be done about the slices") if is_open_question else "")

    def _accept_if_possible(self) -> None:
        if self.buttons.button(QDialogButtonBox.StandardButton.Open).isEnabled():
            self.accept()


def _slice_choices(report: GeometryReport) -> tuple[tuple[str, str], ...]:
    resample = ("resample", tr("Resample to a regular grid (linear between slices)"))
    if report.is_broken:
        return resample, ("keep", tr("Load the slices as they are; quantities are disabled"))
    if report.uneven or report.is_astray:
        return ("as_is", tr("Load the slices as they are")), resample
    return ()


def _tilt_choices(report: GeometryReport) -> tuple[tuple[str, str], ...]:
    if not report.is_tilted:
        return ()
    return (
        ("keep", tr("Keep the tilt: the grid is sheared and every voxel stays where it was measured")),
        ("resample", tr("Resample to an upright grid")),
    )


class _Radios(QGroupBox):
    """A question with radio buttons, hidden while there is nothing to choose."""

    def __init__(self, title: str, changed: Callable[[], None]) -> None:
        super().__init__(title)
        self._box = QVBoxLayout(self)
        self._group = QButtonGroup(self)
        self._group.buttonToggled.connect(lambda *_: changed())

    @property
    def value(self) -> str:
        """The chosen one; empty for none."""
        button = self._group.checkedButton()
        return button.objectName() if button is not None else ""

    def choose(self, value: str) -> None:
        """As if the user had."""
        next(button for button in self._group.buttons() if button.objectName() == value).setChecked(True)

    def offer(self, choices: Sequence[tuple[str, str]], preselected: str) -> None:
        """Other choices: value and text."""
        for button in self._group.buttons():
            self._group.removeButton(button)
            self._box.removeWidget(button)
            button.deleteLater()
        for value, text in choices:
            made = QRadioButton(text)
            made.setObjectName(value)
            self._group.addButton(made)
            self._box.addWidget(made)
            made.setChecked(value == preselected)
        self.setVisible(bool(choices))
