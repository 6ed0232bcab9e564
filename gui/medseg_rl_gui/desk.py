"""What all parts of the engine share: the open case, what the views show of it, and what there is to be done with it.

Panels listen here: `case_changed`, `session_changed`, `view_changed`, `counts_changed`, `question_changed`,
`settings_changed`. Changes no mask: that is `Refining` and `Editing`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from medseg_rl.session import SegmentationSession
from medseg_rl.volume import Box
from medseg_rl_gui.actions import Need
from medseg_rl_gui.case import CaseInHand
from medseg_rl_gui.counts import counts_of
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.models import Models
from medseg_rl_gui.slice_geometry import PLANES, Plane, Point
from medseg_rl_gui.tools import ToolSettings
from medseg_rl_gui.view_model import ViewModel
from medseg_rl_gui.worker import Worker

if TYPE_CHECKING:
    from medseg_rl_gui.main_window import MainWindow
    from medseg_rl_gui.surface_view import SurfaceView

NOT_SAFE = "not-safe"
REFINING, EDITING, ASKING = "refining", "editing", "asking"  # of `Desk.jobs`
CHANGING = (
    "click.delete",
    "click.delete_last",
    "click.at_crosshair",
    "edit.fill_holes",
    "edit.islands",
    "edit.undo",
    "edit.redo",
    "proposal.accept",
    "proposal.discard",
    "label.new",
    "label.lock",
    "model.start",
    "model.refine",
    "model.candidates",
    "file.load_mask",
)


class Desk(QObject):
    """`case_changed`: the `CaseInHand` or None. `session_changed`: labels, clicks, proposal, undo list or active label.
    `view_changed`: the `ViewModel`. `counts_changed`: `ProposalCounts` or None, after each refinement step as well.
    `question_changed`: why the open proposal has to be accepted or discarded first; empty when no more.
    `settings_changed`: sign, guard, overwrite policy, or how the tools draw. `work_began`: an edit or a turn of the
    model; what was only asked for, such as candidates, is of no use any more.
    """

    case_changed = Signal(object)
    session_changed = Signal()
    view_changed = Signal(object)
    counts_changed = Signal(object)
    question_changed = Signal(str)
    settings_changed = Signal()
    work_began = Signal()

    def __init__(self, window: MainWindow, worker: Worker, models: Models) -> None:
        super().__init__(window)
        self.window, self.worker, self.models = window, worker, models
        self.surface: SurfaceView | None = None  # the 3D pane, where there is one
        self.case: CaseInHand | None = None
        self.positive = True
        edit = window.store.current.edit
        self.tools = ToolSettings(radius_mm=edit.brush_mm, sphere=edit.brush_sphere)
        self.jobs: set[str] = set()  # what runs or waits on the worker: REFINING, EDITING, ASKING
        self.question = ""
        self._then: Callable[[], object] | None = None

    @property
    def session(self) -> SegmentationSession:
        """That of the open case; there must be one."""
        assert self.case is not None, "no case is open"
        return self.case.session

    @property
    def view(self) -> ViewModel:
        """What the views show."""
        return ViewModel() if self.case is None else self.case.view

    def say(self, text: str) -> None:
        """A passing message in the status bar."""
        self.window.status.say(text)

    # --- what is shown ------------------------------------------------------------------------------------------------

    def take(self, case: CaseInHand | None) -> None:
        """Another case, or none."""
        self.case, self.positive, self.question, self._then = case, True, "", None
        self.window.show_case("" if case is None else case.opened.case_id)
        if case is not None:
            opened = case.opened.opened
            self.window.case_panel.show_case(case.opened.case_id, opened.lines, opened.verdict)
        self._paint(self.view)
        self.case_changed.emit(case)
        self.refresh()

    def show(self, changed: Box | None = None, **changes: Any) -> None:
        """Other values in some fields of the view; `changed`: the box of voxels written in place."""
        if changes:
            self.show_view(self.view.changing(**changes), changed)
        else:
            self.show_view(self.view, changed)

    def show_view(self, view: ViewModel, changed: Box | None = None) -> None:
        """Another view of the same case."""
        if self.case is None:
            return
        self.case.view = view
        self._paint(view, changed)
        self.view_changed.emit(view)

    def _paint(self, view: ViewModel, changed: Box | None = None) -> None:
        self.window.views.show_model(view, changed)
        if self.surface is not None:
            self.surface.show_model(view, changed)

    def go_to(self, world: Point, planes: tuple[Plane, ...] = PLANES) -> None:
        """The crosshair, and in those planes the slices, at a world point; held inside the image."""
        if self.case is not None:
            self.show_view(self.view.at(world, planes))

    def refresh(self, box: Box | None = None) -> None:
        """The session changed, inside `box` where it is given. Paints, greys, counts, tells the panels."""
        case = self.case
        if case is not None:
            painted = case.layers.follow(box)
            if case.selected_click is not None and case.selected_click >= len(case.session.clicks):
                case.selected_click = None
            self.show_view(case.with_session(case.view), painted)
            self.warn_of(case)
        if self.question and (case is None or case.session.proposal is None):
            self.take_question()
        self.say_there()
        self.tell_counts()
        self.session_changed.emit()

    def tell_counts(self) -> None:
        """What the open proposal, or the step that was just done, comes to."""
        self.counts_changed.emit(None if self.case is None else counts_of(self.case))

    def show_preview(self) -> None:
        """A refinement step was done: what it came to so far."""
        if self.case is not None:
            self.show(proposal=self.case.proposal_view())
            self.tell_counts()

    def warn_of(self, case: CaseInHand) -> None:
        """A banner that lasts while the newest work is not on the disk."""
        problem, banners = case.problem, self.window.banners
        if problem and NOT_SAFE not in banners.shown:
            text = tr("The newest work could not be kept safe: {why}. It is tried again.").format(why=problem)
            banners.show_banner(NOT_SAFE, text, tone="error")
        elif not problem:
            banners.put_away(NOT_SAFE)

    # --- what is possible ---------------------------------------------------------------------------------------------

    def say_there(self) -> None:
        """Greys what cannot be done now, each with its reason."""
        acts, case = self.window.acts, self.case
        acts.say_there(() if case is None else self._there(case))
        reason = "" if case is None else case.session.read_only
        said = tr("Read only: {why}").format(why=reason) if reason else ""
        for id_ in CHANGING:
            acts.set_reason(id_, said)
        if case is not None and not said:
            acts.set_reason("model.start", self.models.why_no_start(case.session.image))
            acts.rename("model.start", self._name_of_start(case))
            is_empty = case.session.mask_box is None and not case.session.clicks
            for id_ in ("model.refine", "model.candidates"):
                acts.set_reason(id_, tr("Click inside the target first") if is_empty else "")
        if case is not None and not said and case.selected_click is None:
            acts.set_reason("click.delete", tr("Select a click in the list first"))
        undo = () if case is None else case.session.history.undo_names[:1]
        redo = () if case is None else case.session.history.redo_names[:1]
        acts.rename("edit.undo", tr("Undo: {name}").format(name=undo[0]) if undo else "")
        acts.rename("edit.redo", tr("Redo: {name}").format(name=redo[0]) if redo else "")
        if case is not None:
            acts.set_on("label.lock", case.session.labels[case.session.active_label].locked)
            acts.set_on("model.guard", case.session.config.edit_radius_mm is not None)

    def _name_of_start(self, case: CaseInHand) -> str:
        """Says whose the automatic start is, where it is not of the model that refines; empty otherwise."""
        image = case.session.image
        starting = self.models.starting(image)
        if starting is None or starting is self.models.fitting(image):
            return ""
        return tr("Automatic start: {name}").format(name=starting.name)

    def _there(self, case: CaseInHand) -> set[Need]:
        session = case.session
        has_model = self.models.fitting(session.image) is not None
        found: dict[Need, bool] = {
            "image": True,
            "proposal": session.proposal is not None or REFINING in self.jobs,
            "clicks": bool(session.clicks),
            "undo": bool(session.history.done) or bool(self.jobs),
            "redo": bool(session.history.undone),
            "model": has_model,
            "suggestion": has_model and (bool(session.clicks) or session.proposal is not None),
            "mask": session.mask_box is not None,
            "hounsfield": case.is_hounsfield,
            "job": bool(self.jobs),
        }
        return {need for need, there in found.items() if there}

    def why_not(self) -> str:
        """Why nothing may be changed; empty where it may."""
        if self.case is None:
            return tr("Open an image first")
        reason = self.case.session.read_only
        return tr("Read only: {why}").format(why=reason) if reason else ""

    # --- an open proposal in the way ----------------------------------------------------------------------------------

    def ask_first(self, reason: str, then: Callable[[], object] | None = None) -> None:
        """The open proposal stands in the way: the proposal bar asks; `then` is done once it was accepted or discarded.

        Where it goes in another way, such as by undo, nothing is done.
        """
        self.question, self._then = reason, then
        self.say(reason)
        self.question_changed.emit(reason)

    def take_question(self) -> Callable[[], object] | None:
        """Nothing is asked any more; what waited for the answer, for whoever gave it."""
        then, self._then, self.question = self._then, None, ""
        self.question_changed.emit("")
        return then

    # --- settings -----------------------------------------------------------------------------------------------------

    def set_positive(self, positive: bool) -> None:
        """Whether a plain click or stroke adds."""
        if positive != self.positive:
            self.positive = positive
            self.settings_changed.emit()

    def set_tools(self, **changes: Any) -> None:
        """How the tools draw, see `ToolSettings`."""
        self.tools = replace(self.tools, **changes)
        self.settings_changed.emit()
