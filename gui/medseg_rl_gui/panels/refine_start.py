"""How a proposal can begin without a click: by the bundle's own network, from a mask file, or from another label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QComboBox, QHBoxLayout

from medseg_rl_gui.dialogs import FileQuestion
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.panels.parts import ActionButton, ButtonGrid, ChoiceBox, Section, button, grey, words
from medseg_rl_gui.panels.quantities import MASKS

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller


class StartSection(Section):
    """Each gives a proposal for the active label, to accept or to go on from with clicks."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(tr("Start"))
        self._desk, self._starting, self._window = controller.desk, controller.starting, controller.window
        self.automatic = ActionButton(self._window.acts, "model.start")
        self.from_file = button(tr("From mask file…"), self._from_file)
        self.label = ChoiceBox(tr("Label to start from"))
        self.label.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.label.setMinimumContentsLength(8)
        self.from_label = button(tr("From label"), self._from_label)
        self.column.addWidget(ButtonGrid([self.automatic, self.from_file]))
        row = QHBoxLayout()
        row.addWidget(self.from_label)
        row.addWidget(self.label, 1)
        self.column.addLayout(row)
        self.column.addWidget(words(tr("Each gives a proposal for the active label."), faint=True))
        self._desk.session_changed.connect(self._show)
        self._desk.case_changed.connect(lambda _: self._show())
        self._desk.settings_changed.connect(self._show)
        self._show()

    def _from_file(self) -> None:
        folder = self._window.store.current.files.open_folder
        question = FileQuestion(tr("Start from a mask"), "open", ((tr("Masks"), MASKS),), folder)
        for path in self._window.dialogs.choose_files(question)[:1]:
            self._starting.from_file(path)

    def _from_label(self) -> None:
        value = self.label.currentData()
        if value is not None:
            self._starting.from_label(value)

    def _show(self) -> None:
        case, before = self._desk.case, self.label.currentData()
        self.label.clear()
        labels = () if case is None else case.session.labels.labels
        others = [label for label in labels if case is not None and label.value != case.session.active_label]
        for label in others:
            self.label.addItem(label.name, label.value)
            if label.value == before:
                self.label.setCurrentIndex(self.label.count() - 1)
        why = self._starting.why_not()
        grey(self.from_file, why, tr("A mask of this image, checked as a mask that is loaded is"))
        none = "" if others else tr("There is no other label")
        grey(self.from_label, why or none, tr("What the other label holds, as a proposal for the active one"))
        grey(self.label, why or none, tr("Label to start from"))
