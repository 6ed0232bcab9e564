"""What a crash or a close without saving has left: offered at the start, and when its image is opened again.

Changes nothing until the user chose; what is discarded is not offered again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medseg_rl.journal import CaseReport, discard_case, find_cases
from medseg_rl_gui.dialogs import Choice, Dialogs, Question
from medseg_rl_gui.i18n import mark, tr, whole
from medseg_rl_gui.opening.images import cancel_choice
from medseg_rl_gui.opening.times import ago, ago_utc

Way = Literal["recover", "saved", "discard", "cancel"]
COLUMNS = (mark("Case"), mark("Unsaved steps"), mark("Last step"), mark("Saved"), mark("How it ended"))


@dataclass(frozen=True)
class Chosen:
    """Which case, and what is to become of its unsaved work."""

    report: CaseReport
    way: Way


class RecoveryDialog(QDialog):
    """The cases with unsaved work. `chosen`: what was asked for, once the dialog is accepted."""

    def __init__(self, reports: Sequence[CaseReport], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Unsaved work"))
        self.resize(720, 300)
        self.reports = tuple(reports)
        self.chosen: Chosen | None = None
        said = QLabel(tr("The program ended, or a case was closed, before this work was saved. It is all still here."))
        said.setWordWrap(True)
        self.table = self._made_table()
        self.buttons: dict[Way, QPushButton] = {}
        layout = QVBoxLayout(self)
        for widget in (said, self.table, self._made_buttons()):
            layout.addWidget(widget)
        self.table.selectRow(0)
        self._enable()

    def _made_table(self) -> QTableWidget:
        table = QTableWidget(len(self.reports), len(COLUMNS))
        table.setHorizontalHeaderLabels([tr(text) for text in COLUMNS])
        table.verticalHeader().hide()
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setTabKeyNavigation(False)
        table.setAccessibleName(tr("Cases with unsaved work"))
        for row, report in enumerate(self.reports):
            for column, text in enumerate(_texts(report)):
                item = QTableWidgetItem(text)
                if column == 1:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                table.setItem(row, column, item)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(len(COLUMNS) - 1, QHeaderView.ResizeMode.Stretch)
        table.currentCellChanged.connect(lambda *_: self._enable())
        return table

    def _made_buttons(self) -> QDialogButtonBox:
        box, roles = QDialogButtonBox(), QDialogButtonBox.ButtonRole
        for way, text, role in (
            ("recover", tr("Recover"), roles.AcceptRole),
            ("saved", tr("Open saved"), roles.AcceptRole),
            ("discard", tr("Discard"), roles.DestructiveRole),
        ):
            button = box.addButton(text, role)
            button.clicked.connect(lambda _=False, way=way: self.choose(way))
            self.buttons[way] = button  # type: ignore[index]  # one of the three words
        box.addButton(tr("Later"), roles.RejectRole).clicked.connect(self.reject)
        self.buttons["recover"].setDefault(True)
        return box

    def _enable(self) -> None:
        if "saved" in self.buttons:
            report = self.reports[max(0, self.table.currentRow())]
            self.buttons["saved"].setEnabled(has_saved(report))
            self.buttons["saved"].setToolTip("" if has_saved(report) else tr("This case was never saved to a file"))

    def choose(self, way: Way) -> None:
        """As if the user had pressed that button."""
        self.chosen = Chosen(self.reports[max(0, self.table.currentRow())], way)
        self.accept()


def _texts(report: CaseReport) -> tuple[str, ...]:
    ended = tr("not closed: crash or power cut") if report.crashed else tr("closed without saving")
    return (report.case_id, whole(report.unsaved_steps), ago_utc(report.last_utc), saved_ago(report), ended)


def has_saved(report: CaseReport) -> bool:
    """Whether the file that the case was saved to is still there."""
    return report.saved_path is not None and report.saved_path.is_file()


def saved_ago(report: CaseReport) -> str:
    """When that file was written."""
    if report.saved_path is None or not report.saved_path.is_file():
        return tr("never saved")
    return ago(max(0.0, time.time() - report.saved_path.stat().st_mtime))


class RecoveryFlow:
    """Asks what is to become of unsaved work. `root`: of all case folders; the user's own unless given."""

    def __init__(self, dialogs: Dialogs, *, root: Path | None = None) -> None:
        self._dialogs = dialogs
        self._root = root

    def at_start(self) -> Chosen | None:
        """For the start of the program: a case to recover or to open as saved; None for later, or when all is well."""
        while reports := find_cases(self._root):
            dialog = RecoveryDialog(reports, getattr(self._dialogs, "parent", None))
            if not self._dialogs.run(dialog) or dialog.chosen is None:
                return None
            if dialog.chosen.way != "discard":
                return dialog.chosen
            if self._is_sure(dialog.chosen.report):
                discard_case(dialog.chosen.report.folder)
        return None

    def for_image(self, report: CaseReport, opening: Path | None = None) -> Way:
        """For a case with unsaved work whose image was opened; `opening`: the session file that was asked for."""
        saved = opening if opening is not None else report.saved_path if has_saved(report) else None
        when = ago_utc(report.last_utc)
        text = tr("There is unsaved work on this image: {n} steps, the last {when}.")
        choices = [Choice("recover", tr("Recover ({when})").format(when=when))]
        if saved is not None:
            said = saved_ago(report) if opening is None else ago(max(0.0, time.time() - opening.stat().st_mtime))
            choices.append(Choice("saved", tr("Open saved ({when})").format(when=said), "destructive"))
        choices += [Choice("discard", tr("Discard and begin anew"), "destructive"), cancel_choice()]
        question = Question(
            tr("Unsaved work"),
            text.format(n=whole(report.unsaved_steps), when=when),
            tuple(choices),
            default="recover",
            tone="warning",
        )
        ways: dict[str, Way] = {"recover": "recover", "saved": "saved", "discard": "discard"}
        way = ways.get(self._dialogs.ask(question).choice, "cancel")
        return way if way in ("recover", "cancel") or self._is_sure(report) else "cancel"

    def _is_sure(self, report: CaseReport) -> bool:
        text = tr("{n} unsaved steps of {case} are removed for good.")
        question = Question(
            tr("Discard unsaved work"),
            text.format(n=whole(report.unsaved_steps), case=report.case_id),
            (Choice("discard", tr("Discard"), "destructive"), cancel_choice()),
            default="cancel",
            tone="warning",
        )
        return self._dialogs.ask(question).choice == "discard"
