"""The Learn tab: candidates to rank, where to look next, commands, "not here", blind comparison, feedback store.

Emits what was meant to the engine and shows what came of it; records nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from medseg_rl.refiner import COMMANDS
from medseg_rl_gui.i18n import mark, number, tr, whole
from medseg_rl_gui.learning.blind import REASONS
from medseg_rl_gui.panels.feedback_section import FeedbackSection
from medseg_rl_gui.panels.learn_blind import BlindSection
from medseg_rl_gui.panels.learn_ranking import RankingSection
from medseg_rl_gui.panels.parts import ActionButton, ButtonGrid, ChoiceBox, Section, button, grey, words

if TYPE_CHECKING:
    from medseg_rl.session import Suggestion
    from medseg_rl_gui.controller import Controller

COMMAND_WORDS = {
    "grow": mark("Grow"),
    "shrink": mark("Shrink"),
    "smooth": mark("Smooth"),
    "fill_holes": mark("Fill holes"),
    "remove_islands": mark("Remove islands"),
    "sharpen": mark("Sharpen"),
    "follow_slice_above": mark("Follow slice above"),
    "na": mark("None (refine)"),
}


class LearnPanel(QWidget):
    """Sections one below the other; each knows its part of the engine."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.suggestions = SuggestionSection(controller)
        self.ranking = RankingSection(controller)
        self.commands = CommandSection(controller)
        self.presence = PresenceSection(controller)
        self.blind = BlindSection(controller)
        self.feedback = FeedbackSection(controller.learning.feedback, controller.window.dialogs)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        sections = (self.ranking, self.suggestions, self.commands, self.presence, self.blind, self.feedback)
        for section in sections:
            column.addWidget(section)
        column.addStretch(1)


class SuggestionSection(Section):
    """Where a click helps most. Leads there; never places a click."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(tr("Where to look next"))
        acts = controller.window.acts
        self.next = ActionButton(acts, "model.suggest_next")
        self.previous = ActionButton(acts, "model.suggest_previous")
        self.column.addWidget(ButtonGrid([self.next, self.previous]))
        self.place = words()
        self.column.addWidget(self.place)
        self.column.addWidget(words(tr("Errors that the model is sure of are not suggested."), faint=True))
        controller.asking.suggestion_changed.connect(self._show)
        self._show(None)

    def _show(self, found: Suggestion | None) -> None:
        if found is None:
            self.place.setText(tr("No suggestion is shown."))
            return
        plane = {"axial": tr("Axial"), "coronal": tr("Coronal"), "sagittal": tr("Sagittal")}[found.plane]
        measures = {"value": tr("gain the critic expects"), "uncertainty": tr("uncertainty of the model")}
        text = tr("{plane} slice {slice}: score {score} mm², by the {measure}. The dashed circle marks the peak.")
        self.place.setText(
            text.format(
                plane=plane,
                slice=whole(found.slice_index + 1),
                score=number(found.score, 1),
                measure=measures[found.measure],
            )
        )


class CommandSection(Section):
    """Asks the model for a refinement with an intent. Where it knows none, the verbs are greyed with that reason."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(tr("Ask the model to…"))
        self._desk, self._refining = controller.desk, controller.refining
        self.buttons: dict[str, QPushButton] = {}
        for command, text in COMMAND_WORDS.items():
            self.buttons[command] = button(tr(text), lambda command=command: self._ask(command))  # type: ignore[misc]
        self.column.addWidget(ButtonGrid(list(self.buttons.values())))
        self.reason = words(faint=True)
        self.column.addWidget(self.reason)
        for signal in (self._desk.session_changed, self._desk.settings_changed):
            signal.connect(self._follow)
        self._desk.case_changed.connect(lambda _: self._follow())
        self._follow()

    def _ask(self, command: str) -> None:
        self._refining.refine("" if command == COMMANDS[0] else command)

    def _follow(self) -> None:
        why = self._desk.why_not()
        image = self._desk.view.image
        bundle = None if image is None else self._desk.models.fitting(image)
        known = () if image is None else self._desk.models.commands_for(image)
        if not why and bundle is None:
            why = tr("There is no model on this computer")
        lacks = ""
        if not why and not known and bundle is not None:
            lacks = tr("The model {name} takes no commands").format(name=bundle.name)
        for command, made in self.buttons.items():
            unknown = lacks or tr("The model does not know this command")
            fits = command == COMMANDS[0] or command in known
            grey(made, why or ("" if fits else unknown), tr("A refinement with this intent, as a proposal"))
        exact = tr("The exact operations stand in the Edit tab.")
        self.reason.setText(f"{lacks}. {exact}" if lacks else exact)


class PresenceSection(Section):
    """ "Target is not here", with its reason; and that it is, where the model shows nothing."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(tr("Is the target here?"))
        self._desk, self._presence = controller.desk, controller.learning.presence
        self.reasons = ChoiceBox(tr("Reason"))
        for token, text in REASONS.items():
            self.reasons.addItem(tr(text), token)
        self.absent = button(tr("Target is not here"), self._absent)
        self.present = button(tr("It is here"), self._presence.target_is_here)
        self.column.addWidget(self.reasons)
        self.column.addWidget(ButtonGrid([self.absent, self.present]))
        self._desk.session_changed.connect(self._follow)
        self._desk.case_changed.connect(lambda _: self._follow())
        self._follow()

    def _absent(self) -> None:
        self._presence.target_not_here(self.reasons.currentData())

    def _follow(self) -> None:
        why = self._desk.why_not()
        grey(self.absent, why, tr("Records that the target is not in this image, and why"))
        usual = tr("Records that the model missed it")
        grey(self.present, why or self._presence.why_not_here(), usual)
