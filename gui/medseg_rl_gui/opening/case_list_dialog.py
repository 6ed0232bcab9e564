"""The case list as a dialog: which case is next, and marks for those that are done or need another look."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medseg_rl_gui.i18n import mark, tr, whole
from medseg_rl_gui.opening.case_list import CaseList, ListedCase, Status

WORDS = {
    Status.NOT_STARTED: mark("Not started"),
    Status.IN_PROGRESS: mark("In progress"),
    Status.DONE: mark("Done"),
    Status.FLAGGED: mark("Flagged"),
}
SIGNS = {Status.NOT_STARTED: "", Status.IN_PROGRESS: "…", Status.DONE: "✓", Status.FLAGGED: "!"}


class CaseListDialog(QDialog):
    """`chosen`: the case to open, once the dialog is accepted."""

    def __init__(self, cases: CaseList, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Case list"))
        self.resize(560, 460)
        self._list = cases
        self.summary = QLabel()
        self.table = QTableWidget(0, 2)
        self.table.setHorizontalHeaderLabels([tr("Case"), tr("Status")])
        self.table.verticalHeader().hide()
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)
        self.table.setAccessibleName(tr("Cases of the folder"))
        header = self.table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.table.cellDoubleClicked.connect(lambda *_: self.accept())
        self.table.currentCellChanged.connect(lambda *_: self._enable())
        self.marks = {status: QPushButton(tr(WORDS[status])) for status in Status}
        self.buttons = self._made_buttons()
        self._lay_out()
        self._fill()
        self.table.selectRow(self._next_row())

    @property
    def chosen(self) -> ListedCase | None:
        """The case of the selected row."""
        row = self.table.currentRow()
        return self._list.cases[row] if 0 <= row < len(self._list.cases) else None

    @property
    def path(self) -> Path | None:
        """Where it lies."""
        return None if self.chosen is None else self.chosen.path

    def mark(self, status: Status) -> None:
        """Marks the selected case."""
        row, case = self.table.currentRow(), self.chosen
        if case is not None:
            self._list.mark(case.name, status)
            self._fill()
            self.table.selectRow(row)

    def _made_buttons(self) -> QDialogButtonBox:
        kinds = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(kinds.Open | kinds.Close)
        buttons.button(kinds.Open).setText(tr("Open"))
        buttons.button(kinds.Close).setText(tr("Close"))
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        return buttons

    def _lay_out(self) -> None:
        marking = QHBoxLayout()
        marking.addWidget(QLabel(tr("Mark as")))
        for status, button in self.marks.items():
            button.setAutoDefault(False)
            button.clicked.connect(lambda _=False, status=status: self.mark(status))
            marking.addWidget(button)
        marking.addStretch(1)
        layout = QVBoxLayout(self)
        layout.addWidget(self.summary)
        layout.addWidget(self.table, 1)
        layout.addLayout(marking)
        layout.addWidget(self.buttons)

    def _fill(self) -> None:
        cases = self._list.cases
        self.table.setRowCount(len(cases))
        for row, case in enumerate(cases):
            status = f"{SIGNS[case.status]} {tr(WORDS[case.status])}".strip()
            for column, text in enumerate((case.name, status)):
                self.table.setItem(row, column, QTableWidgetItem(text))
        done = sum(case.status == Status.DONE for case in cases)
        self.summary.setText(tr("{done} of {n} cases are done").format(done=whole(done), n=whole(len(cases))))
        self._enable()

    def _enable(self) -> None:
        there = self.chosen is not None
        self.buttons.button(QDialogButtonBox.StandardButton.Open).setEnabled(there)
        for button in self.marks.values():
            button.setEnabled(there)

    def _next_row(self) -> int:
        """The first case that is not finished."""
        open_ = (Status.IN_PROGRESS, Status.NOT_STARTED)
        return next((row for row, case in enumerate(self._list.cases) if case.status in open_), 0)
