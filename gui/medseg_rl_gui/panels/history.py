"""The History tab: the undo stack as a list. A click goes back or on to that entry; what was undone is faint.

Says how much memory the list takes and what its cap has dropped. Undoes nothing itself: the engine does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractListModel, QEvent, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QFont, QGuiApplication, QShowEvent
from PySide6.QtWidgets import QAbstractItemView, QHBoxLayout, QTreeView, QVBoxLayout, QWidget

from medseg_rl.history import UndoEntry, UndoStack
from medseg_rl_gui.i18n import number, tr, whole
from medseg_rl_gui.icons import icon
from medseg_rl_gui.panels.parts import ActionButton, Note, WrappedRows, words

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller

MEGABYTE = 2**20
PICTURE = 28  # the sign of the present state
MARGIN = 8
NOWHERE = QModelIndex()


class HistoryRows(QAbstractListModel):
    """The beginning, then the entries, oldest first. Row numbers are how many entries are done there."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: tuple[UndoEntry[Any], ...] = ()
        self._first, self._done, self._count = "", 0, 0

    def show(self, history: UndoStack[Any] | None) -> None:
        """Another stack, or what has become of it; None for no case."""
        self.beginResetModel()
        if history is None:
            self._entries, self._count = (), 0
        else:
            self._entries = (*history.done, *reversed(history.undone))
            self._first = tr("Oldest state that is kept") if history.dropped else tr("Beginning")
            self._done, self._count = len(history.done), len(self._entries) + 1
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = NOWHERE) -> int:  # noqa: N802
        return 0 if parent.isValid() else self._count

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = index.row()
        if not 0 <= row < self._count:
            return None
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self._name(row)
            case Qt.ItemDataRole.ToolTipRole:
                return self._told(row)
            case Qt.ItemDataRole.FontRole:
                font = QFont(QGuiApplication.font())
                font.setBold(row == self._done)
                font.setItalic(row > self._done)
                return font
            case Qt.ItemDataRole.ForegroundRole if row > self._done:
                return QGuiApplication.palette().placeholderText()
            case Qt.ItemDataRole.DecorationRole if row == self._done:
                return icon("accept", QGuiApplication.palette().highlightedText().color().name())
        return None

    def _name(self, row: int) -> str:
        return self._entries[row - 1].name if row else self._first

    def _told(self, row: int) -> str:
        done, here, undone = tr("Done"), tr("The present state"), tr("Undone; a click does it again")
        lines = [self._name(row), done if row < self._done else here if row == self._done else undone]
        if row:
            lines.append(tr("{kb} kB in memory").format(kb=number(self._entries[row - 1].nbytes / 1024, 1)))
        return "\n".join(lines)


class HistoryPanel(QWidget):
    """The row of the present state is bold, marked and in sight."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._desk, self._editing = controller.desk, controller.editing
        acts = controller.window.acts
        self.undo = ActionButton(acts, "edit.undo", icon_only=True)
        self.redo = ActionButton(acts, "edit.redo", icon_only=True)
        self.dropped = Note("warning")
        self.memory = words(faint=True)
        self.rows, self.list = HistoryRows(), QTreeView()
        self.list.setModel(self.rows)
        self.list.setAccessibleName(tr("What was done, oldest first"))
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.list.setWordWrap(True)
        self.list.setHeaderHidden(True)
        self.list.setRootIsDecorated(False)
        self.list.setItemDelegate(WrappedRows(self.list, self._room))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setMinimumHeight(200)
        self.list.clicked.connect(self._go_to)
        self.list.activated.connect(self._go_to)
        self._lay_out()
        self._desk.session_changed.connect(self._show)
        self._desk.case_changed.connect(lambda _: self._show())
        self._show()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        row = QHBoxLayout()
        for made in (self.undo, self.redo):
            row.addWidget(made)
        row.addWidget(words(tr("Click an entry to go back or on to it"), faint=True), 1)
        column.addLayout(row)
        column.addWidget(self.dropped)
        column.addWidget(self.list, 1)
        column.addWidget(self.memory)

    def _room(self, index: QModelIndex | QPersistentModelIndex) -> int:
        """For the words of a row."""
        has_sign = index.data(Qt.ItemDataRole.DecorationRole) is not None
        return self.list.viewport().width() - MARGIN - (PICTURE if has_sign else 0)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        super().showEvent(event)
        self._show()

    def _show(self) -> None:
        case = self._desk.case
        if case is not None and not self.isVisible():
            return  # when it is to be seen
        history = None if case is None else case.session.history
        self.rows.show(history)
        if history is not None:
            here = self.rows.index(len(history.done))
            self.list.setCurrentIndex(here)
            self.list.scrollTo(here)
        self._say(case is not None)

    def _say(self, is_open: bool) -> None:
        if not is_open:
            self.dropped.say("")
            self.memory.setText("")
            return
        history = self._desk.session.history
        used, cap = history.nbytes / MEGABYTE, history.cap_bytes / MEGABYTE
        text = tr("{done} done, {undone} undone; {used} of {cap} MB")
        self.memory.setText(
            text.format(
                done=whole(len(history.done)),
                undone=whole(len(history.undone)),
                used=number(used, 1 if used >= 0.1 else 3),
                cap=number(cap),
            )
        )
        said = tr("{n} oldest entries were dropped: the list is capped at {cap} MB (Preferences, Edit)")
        self.dropped.say(said.format(n=whole(history.dropped), cap=number(cap)) if history.dropped else "")

    def _go_to(self, index: QModelIndex) -> None:
        if self._desk.case is not None and index.row() != len(self._desk.session.history.done):
            self._editing.go_back_to(index.row())
            self._show()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "list"):
            self._show()
