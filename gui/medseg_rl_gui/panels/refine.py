"""The Refine tab: which model, how it starts, the open proposal, what a click may change, what is running.

Emits what was meant to the engine and shows what came of it. Ground truth is never an input here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QLabel, QProgressBar, QVBoxLayout, QWidget

from medseg_rl_gui.actions import REASONS
from medseg_rl_gui.counts import ProposalCounts
from medseg_rl_gui.desk import REFINING
from medseg_rl_gui.i18n import number, tr, whole
from medseg_rl_gui.panels.parts import ActionButton, ButtonGrid, NumberBox, Section, button, grey, words
from medseg_rl_gui.panels.refine_model import ModelSection
from medseg_rl_gui.panels.refine_start import StartSection
from medseg_rl_gui.panels.switches import ActionSwitch, NamedButton, Rows, tick
from medseg_rl_gui.refining import GUARD_MM

if TYPE_CHECKING:
    from medseg_rl.session import Suggestion
    from medseg_rl_gui.controller import Controller


class RefinePanel(QWidget):
    """Sections one below the other; each knows its part of the engine."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.model = ModelSection(controller)
        self.start = StartSection(controller)
        self.proposal = ProposalSection(controller)
        self.bounds = BoundsSection(controller)
        self.next = NextSection(controller)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        for section in (self.proposal, self.start, self.next, self.bounds, self.model):
            column.addWidget(section)
        column.addStretch(1)


class ProposalSection(Section):
    """What the proposal comes to, step by step; accept, discard, refine again, stop."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(tr("Proposal"))
        self._desk, self._window, acts = controller.desk, controller.window, controller.window.acts
        self.said, self.steps = words(), words(faint=True)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.bar.setAccessibleName(tr("Refinement steps done"))
        self.accept = NamedButton(acts, "proposal.accept", tr("Accept"), key=True)
        self.discard = NamedButton(acts, "proposal.discard", tr("Discard"), key=True)
        self.again, self.stop = ActionButton(acts, "model.refine"), ActionButton(acts, "model.cancel")
        self.automatic = tick(tr("Accept automatically"), self._set_automatic, tip=tr("As soon as the model is done"))
        for widget in (self.said, self.bar, ButtonGrid([self.accept, self.discard, self.again, self.stop])):
            self.column.addWidget(widget)
        self.column.addWidget(self.automatic)
        self.column.addWidget(self.steps)
        self._done = 0
        self._connect()
        self._show(None)
        self._show_settings()

    def _connect(self) -> None:
        desk = self._desk
        desk.counts_changed.connect(self._show)
        desk.case_changed.connect(lambda _: self._show_settings())
        desk.settings_changed.connect(self._show_settings)
        self._window.preferences_changed.connect(lambda _: self._show_settings())

    def _set_automatic(self, on: bool) -> None:
        preferences = self._window.store.current
        self._window.show_preferences(preferences.changing("edit", auto_accept=on))

    def _show(self, counts: ProposalCounts | None) -> None:
        if counts is None:
            is_running = REFINING in self._desk.jobs
            self.said.setText(tr("The model is at work.") if is_running else tr(REASONS["proposal"]) + ".")
        else:
            clicks = tr("1 click") if counts.clicks == 1 else tr("{n} clicks").format(n=whole(counts.clicks))
            self.said.setText(tr("{counts}. {clicks}.").format(counts=counts.text, clicks=clicks))
        self._show_steps(counts)

    def _show_steps(self, counts: ProposalCounts | None) -> None:
        """One more step for each preview; a pass may be repeated on a larger region, so there may be more steps."""
        is_running = counts is not None and counts.is_running
        self._done = self._done + 1 if is_running else 0
        wanted = 3 if self._desk.case is None else self._desk.session.config.steps
        self.bar.setUpdatesEnabled(False)  # it would paint at once, and all that waits to be painted with it
        self.bar.setRange(0, max(wanted, self._done))
        self.bar.setValue(self._done)
        self.bar.setUpdatesEnabled(True)
        self.bar.setVisible(is_running)

    def _show_settings(self) -> None:
        self.automatic.setChecked(self._window.store.current.edit.auto_accept)
        case = self._desk.case
        if case is None:
            self.steps.setText("")
            return
        steps = case.session.config.steps
        text = tr("{n} refinement steps a click, as the model says. The voxel of a click keeps its sign, whatever")
        self.steps.setText(text.format(n=whole(steps)) + " " + tr("the model says; locked voxels stay fixed."))


class BoundsSection(Section):
    """What a click may change: the guard's radius, and a box outside which the model changes nothing."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(tr("What a click may change"))
        self._desk, self._refining, self._pointing = controller.desk, controller.refining, controller.pointing
        acts = controller.window.acts
        self.guard = ActionSwitch(acts, "model.guard")
        usual = controller.window.store.current.edit.guard_mm
        low, high = GUARD_MM
        self.radius = NumberBox(tr("Radius of the guard"), low, high, usual, decimals=0, suffix=tr(" mm"))
        self.radius.setSingleStep(5)
        self.box = QLabel()
        self.box.setWordWrap(True)
        self.draw = button(tr("Draw box"), self._draw, icon_name="box", tip=tr("With the Box tool, on a slice"))
        self.lift = button(tr("Lift box"), controller.pointing.lift_limit)
        rows = Rows()
        rows.add(tr("Radius"), self.radius)
        for widget in (self.guard, rows, self.box, ButtonGrid([self.draw, self.lift])):
            self.column.addWidget(widget)
        self.radius.valueChanged.connect(self._set_radius)
        for signal in (self._desk.settings_changed, self._desk.session_changed):
            signal.connect(self._show)
        self._desk.case_changed.connect(lambda _: self._show())
        self._show()

    def _set_radius(self, radius_mm: float) -> None:
        """Of this case, and of those to come."""
        store = self._desk.window.store
        store.change("edit", guard_mm=radius_mm)
        if self._desk.case is not None and self._desk.session.config.edit_radius_mm is not None:
            self._refining.set_guard(radius_mm)

    def _draw(self) -> None:
        self._desk.set_tools(box_use="limit")
        if self._pointing.tool != "box":
            self._desk.window.acts.trigger("tool.box")

    def _show(self) -> None:
        case, why = self._desk.case, self._desk.why_not()
        radius = None if case is None else case.session.config.edit_radius_mm
        limit = None if case is None else case.session.limit
        if radius is not None and radius != self.radius.value():
            self.radius.blockSignals(True)
            self.radius.setValue(radius)
            self.radius.blockSignals(False)
        off = tr("The guard is off: a click may change all of the region that is refined")
        grey(self.radius, tr("Open an image first") if case is None else "" if radius is not None else off, "")
        if limit is None:
            self.box.setText(tr("No box: the model works wherever a click leads it."))
        else:
            size = " × ".join(whole(n) for n in limit.shape)
            self.box.setText(tr("The model changes nothing outside a box of {size} voxels.").format(size=size))
        grey(self.draw, why, tr("With the Box tool, on a slice"))
        grey(self.lift, why or ("" if limit is not None else tr("There is no box")), tr("The model works everywhere"))


class NextSection(Section):
    """Other refinements to choose from, and where a click helps most. More of both stands in the Learn tab."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(tr("What next"))
        self._asking, acts = controller.asking, controller.window.acts
        self.candidates = ActionButton(acts, "model.candidates")
        self.next = ActionButton(acts, "model.suggest_next")
        self.previous = ActionButton(acts, "model.suggest_previous")
        self.place = words(faint=True)
        self.column.addWidget(ButtonGrid([self.next, self.previous, self.candidates]))
        self.column.addWidget(self.place)
        self._asking.suggestion_changed.connect(self._show)
        self._show(None)

    def _show(self, found: Suggestion | None) -> None:
        if found is None:
            self.place.setText(tr("Suggestions lead to where the model is least sure; none is shown now."))
            return
        plane = {"axial": tr("Axial"), "coronal": tr("Coronal"), "sagittal": tr("Sagittal")}[found.plane]
        text = tr("{plane} slice {slice}, score {score} mm². The dashed circle marks the peak.")
        score = number(found.score, 1)
        self.place.setText(text.format(plane=plane, slice=whole(found.slice_index + 1), score=score))
