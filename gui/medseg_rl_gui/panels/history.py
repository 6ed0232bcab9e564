"""The History tab: the undo stack as a list. A click goes back or on to that entry; what was undone is faint.

Says how much memory the list takes and what its cap has dropped. Undoes nothing itself: the engine does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QModelIndex, QSignalBlocker, Qt
from PySide6.QtWidgets import QAbstractItemView, QHBoxLayout, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from medseg_rl_gui.i18n import number, tr, whole
from medseg_rl_gui.icons import icon
from medseg_rl_gui.panels.parts import ActionButton, Note, words

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller

MEGABYTE = 2**20
DONE = Qt.ItemDataRole.UserRole  # how many entries are done where the user goes to this row


class HistoryPanel(QWidget):
    """Rows: the beginning, then the entries, oldest first; the row of the present state is bold and marked."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._desk, self._editing = controller.desk, controller.editing
        acts = controller.window.acts
        self.undo = ActionButton(acts, "edit.undo", icon_only=True)
        self.redo = ActionButton(acts, "edit.redo", icon_only=True)
        self.dropped = Note("warning")
        self.memory = words(faint=True)
        self.list = QListWidget()
        self.list.setAccessibleName(tr("What was done, oldest first"))
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.list.setUniformItemSizes(True)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
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

    def _show(self) -> None:
        case = self._desk.case
        with QSignalBlocker(self.list):
            self.list.clear()
            if case is not None:
                self._fill()
        self._say(case is not None)

    def _fill(self) -> None:
        history = self._desk.session.history
        done = len(history.done)
        first = tr("Oldest entry that is kept") if history.dropped else tr("Beginning")
        self._add(first, 0, done, "")
        entries = [*history.done, *reversed(history.undone)]
        for number_, entry in enumerate(entries, 1):
            size = tr("{kb} kB in memory").format(kb=number(entry.nbytes / 1024, 1))
            self._add(entry.name, number_, done, size)
        self.list.setCurrentRow(done)
        self.list.scrollToItem(self.list.item(done))

    def _add(self, name: str, at: int, done: int, size: str) -> None:
        item = QListWidgetItem(name)
        item.setData(DONE, at)
        said = (
            tr("Done") if at < done else tr("The present state") if at == done else tr("Undone; a click does it again")
        )
        item.setToolTip("\n".join(line for line in (name, said, size) if line))
        font = item.font()
        font.setBold(at == done)
        font.setItalic(at > done)
        item.setFont(font)
        if at > done:
            item.setForeground(self.palette().placeholderText())
        if at == done:
            item.setIcon(icon("accept", self.palette().text().color().name()))
        self.list.addItem(item)

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
        done = index.data(DONE)
        reason = self._desk.why_not()
        if reason:
            self._desk.say(reason)
            self._show()
        elif done is not None and self._desk.case is not None and done != len(self._desk.session.history.done):
            self._editing.go_back_to(int(done))

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "list"):
            self._show()
