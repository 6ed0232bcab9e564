"""The blind comparison of two models in the Learn tab: two tiles, three answers, and which was which afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel

from medseg_rl.bundle import Bundle
from medseg_rl.errors import MedSegError
from medseg_rl_gui.dialogs import FileQuestion
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.learning.blind import Answered
from medseg_rl_gui.panels.parts import ButtonGrid, ChoiceBox, Note, Section, button, grey, words
from medseg_rl_gui.panels.tiles import Caption, Tiles
from medseg_rl_gui.worker import reason_of

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller


class BlindSection(Section):
    """Two models on the same clicks, left and right at random; their names are told after the answer."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(tr("Compare two models blind"))
        self._controller, self._desk, self._blind = controller, controller.desk, controller.learning.blind
        self.one, self.other = ChoiceBox(tr("First model")), ChoiceBox(tr("Second model"))
        self.add = button(tr("Add model…"), self._add, tip=tr("Another model, by its folder"))
        self.compare = button(tr("Compare"), self._compare)
        self.tiles, self.result = Tiles(), Note("information")
        self.answers = [
            button(tr("Left"), lambda: self._blind.answer("first"), tip=tr("The left one is better")),
            button(tr("Draw"), lambda: self._blind.answer("draw"), tip=tr("Both are as good")),
            button(tr("Right"), lambda: self._blind.answer("second"), tip=tr("The right one is better")),
        ]
        self.question = words(tr("Which one is better?"))
        self._lay_out()
        self._connect()
        self._list()
        self._close()

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        for line, (text, box) in enumerate(((tr("One"), self.one), (tr("Other"), self.other))):
            label = QLabel(text)
            label.setBuddy(box)
            grid.addWidget(label, line, 0)
            grid.addWidget(box, line, 1)
        self.column.addLayout(grid)
        self.column.addWidget(ButtonGrid([self.compare, self.add]))
        self.reason = words(faint=True)
        for widget in (self.reason, self.tiles):
            self.column.addWidget(widget)
        self.row = ButtonGrid(self.answers, columns=3)
        self.column.addWidget(self.question)
        self.column.addWidget(self.row)
        self.column.addWidget(self.result)

    def _connect(self) -> None:
        desk, blind = self._desk, self._blind
        blind.opened.connect(self._open)
        blind.answered.connect(self._answered)
        blind.closed.connect(self._close)
        self.tiles.peeked.connect(blind.peek)
        self.tiles.scrolled.connect(self._controller.pointing.reader.scrolled)
        desk.view_changed.connect(lambda view: self.tiles.show_view(view, desk.window.views.active_view.plane))
        desk.session_changed.connect(self._follow)
        desk.settings_changed.connect(self._list)
        desk.case_changed.connect(self._another)

    def _another(self, _: object) -> None:
        self.result.say("")
        self._follow()

    def _list(self) -> None:
        """All models that can refine; the second box begins on another than the first."""
        bundles = self._desk.models.refining
        for at, box in enumerate((self.one, self.other)):
            before = box.currentData()
            box.clear()
            for number_, bundle in enumerate(bundles):
                box.addItem(_named(bundle, bundles), number_)
                box.setItemData(number_, f"{bundle.folder}\n{bundle.hash}", Qt.ItemDataRole.ToolTipRole)
            box.setCurrentIndex(
                before if isinstance(before, int) and before < len(bundles) else min(at, len(bundles) - 1)
            )
        self._follow()

    def _add(self) -> None:
        question = FileQuestion(tr("Folder of a model"), "folder")
        for folder in self._desk.window.dialogs.choose_files(question)[:1]:
            try:
                self._desk.models.add(folder)
            except MedSegError as error:
                self._desk.window.dialogs.tell(tr("Not a model"), reason_of(error), tone="error")
            self._list()

    def _follow(self) -> None:
        why = self._blind.why_not()
        grey(self.compare, why, tr("Both do the clicks made so far, from the same start"))
        self.reason.setText(why if why and self._desk.case is not None else tr("Both do the clicks made so far."))
        for box in (self.one, self.other):
            grey(box, "" if box.count() > 1 else tr("There is no other model on this computer; add one"))

    def _compare(self) -> None:
        bundles = self._desk.models.refining
        self.result.say("")
        self._blind.begin(bundles[self.one.currentData()], bundles[self.other.currentData()])

    def _open(self) -> None:
        plane = self._desk.window.views.active_view.plane
        self.tiles.show_all(self._blind.shown, [Caption(tr("Left")), Caption(tr("Right"))], plane)
        self.tiles.show_view(self._desk.view, plane)
        self.question.show()
        self.row.show()

    def _answered(self, answered: Answered) -> None:
        stored = tr("Recorded.") if answered.stored else tr("Not recorded: storing is not allowed.")
        self.result.say(f"{answered.text} {stored}")

    def _close(self) -> None:
        self.tiles.show_all((), (), "axial")
        self.question.hide()
        self.row.hide()


def _named(bundle: Bundle, among: Sequence[Bundle]) -> str:
    """Name and version, with the beginning of the hash where another is called the same."""
    name = f"{bundle.name} {bundle.version}"
    alike = [other for other in among if f"{other.name} {other.version}" == name]
    return f"{name} ({bundle.hash[:6]})" if len(alike) > 1 else name
