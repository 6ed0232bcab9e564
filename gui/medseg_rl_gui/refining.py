"""What the model is asked: clicks, refinements, commands, the automatic start. Prepared here, run by the worker.

A click while clicks are being refined stops them at the next step, and all run together. Results come back as deltas
of one version: one that is no longer fits is dropped. Candidates and suggestions stand in `asking.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medseg_rl.editing import Operation
from medseg_rl.errors import EditError, MedSegError
from medseg_rl.hints.click_files import WorldClick
from medseg_rl.hints.clicks import ClickLabel
from medseg_rl.interaction import Preview, TurnReport
from medseg_rl.session import (
    Action,
    Change,
    DeleteClick,
    Job,
    PlaceClicks,
    PlaceVoxelClicks,
    Refine,
    SessionDelta,
    StaleDeltaError,
    Start,
)
from medseg_rl.session.preparing import scribble_clicks
from medseg_rl.volume import Box
from medseg_rl_gui.desk import EDITING, REFINING, Desk
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.slice_geometry import Point
from medseg_rl_gui.tools import Scribbled
from medseg_rl_gui.view_model import Ball
from medseg_rl_gui.worker import Rank, Task, reason_of

GUARD_MM = (5.0, 100.0)


class Refining:
    """`job`: what runs or waits on the worker, None for nothing."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.job: Job | None = None
        self._task: Task | None = None
        self._clicks: tuple[WorldClick, ...] = ()  # of the job that runs
        self._later: tuple[WorldClick, ...] = ()  # placed while a start runs
        self._then: Callable[[], object] | None = None
        self._was_loaded = False  # the model, when the job began: else its time is that of loading, not of a step

    @property
    def is_running(self) -> bool:
        """Whether the model is at work on this case."""
        return self._task is not None

    # --- what a user asks ---------------------------------------------------------------------------------------------

    def click(self, world: Point, *, positive: bool) -> bool:
        """One click at RAS+ mm. False, with a message, where none can land."""
        click = WorldClick(world, ClickLabel.FOREGROUND if positive else ClickLabel.BACKGROUND)
        if self._clicks:
            return self._begin(PlaceClicks((*self._clicks, click)), tr("Refining"), (*self._clicks, click))
        if self.is_running:  # a start or a refinement: the click comes after it
            return self._after_this(click)
        return self._begin(PlaceClicks((click,)), tr("Refining"), (click,))

    def _after_this(self, click: WorldClick) -> bool:
        if not self._prepared(PlaceClicks((click,))):
            return False
        self._later = (*self._later, click)
        self._desk.say(tr("The click follows when this is done"))
        return True

    def scribble(self, drawn: Scribbled) -> bool:
        """A line of hints of one sign, as one turn."""
        label = ClickLabel.FOREGROUND if drawn.positive else ClickLabel.BACKGROUND
        if not self._may_begin():
            return False
        self.stop()
        try:
            action: PlaceVoxelClicks = scribble_clicks(self._desk.session, drawn.points, label, drawn.plane)
        except MedSegError as error:
            self._desk.say(reason_of(error))
            return False
        return self._begin(action, tr("Refining"))

    def refine(self, command: str = "") -> bool:
        """Once more without a new click; with the intent of a command, see `COMMANDS`."""
        return self._begin(Refine(command) if command else Refine(), tr("Refining"))

    def delete_click(self, number: int) -> bool:
        """Takes a click out of the list by its number; later ones of the open proposal run again."""
        return self._begin(DeleteClick(number), tr("Refining"))

    def delete_last(self) -> bool:
        """The newest click of the list; one that is being refined is taken back before it did anything."""
        if self._clicks:
            kept = self._clicks[:-1]
            self.stop()
            return self._begin(PlaceClicks(kept), tr("Refining"), kept) if kept else True
        count = len(self._desk.session.clicks)
        return bool(count) and self.delete_click(count - 1)

    def start(self) -> bool:
        """The automatic start of the bundle, as a proposal."""
        image, models = self._desk.session.image, self._desk.models
        running: list[Task] = []

        def is_stopped() -> bool:
            return bool(running) and running[0].is_stopped()

        action = Start(lambda: models.predict(image, is_stopped), tr("Automatic start"), models.used_to_start(image))
        if not self._begin(action, tr("Automatic start")):
            return False
        if self._task is not None:
            running.append(self._task)
        return True

    def start_from(self, load: Callable[[], npt.NDArray[np.bool_]], name: str) -> bool:
        """A proposal from the mask that `load` gives on the worker, file order; takes no model. `name`: its entry."""
        return self._begin(Start(load, name), name)

    def warm_up(self) -> None:
        """Loads the model while the user still looks for where to click."""
        session = self._desk.session
        if self._desk.models.fitting(session.image) is not None and session._refiner.loaded is None:
            self._desk.worker.submit(lambda task: session.warm_up(), rank=Rank.QUANTITIES)

    # --- a turn -------------------------------------------------------------------------------------------------------

    def _may_begin(self, *, takes_model: bool = True) -> bool:
        reason = self._desk.why_not()
        session = None if self._desk.case is None else self._desk.session
        if not reason and takes_model and session is not None and self._desk.models.fitting(session.image) is None:
            reason = tr("There is no model on this computer; paint by hand, or install a model")
        if not reason and EDITING in self._desk.jobs:
            reason = tr("An edit is at work; wait until it is done, or stop it")
        if reason:
            self._desk.say(reason)
        return not reason

    def _prepared(self, action: Action) -> Job | None:
        if not self._may_begin(takes_model=not isinstance(action, Start)):
            return None
        session = self._desk.session
        proposal = session.proposal
        if proposal is not None and proposal.label != session.active_label:
            name = session.labels[proposal.label].name
            self._desk.ask_first(tr("{name} has an open proposal: accept or discard it first").format(name=name))
            return None
        try:
            return session.prepare(action)
        except MedSegError as error:
            self._desk.say(reason_of(error))
            return None

    def _begin(self, action: Action, what: str, clicks: tuple[WorldClick, ...] = ()) -> bool:
        job = self._prepared(action)
        if job is None:
            return False
        if self.job is not None and self._clicks and clicks:
            job = job.with_strokes_of(self.job)
        self.stop(keep_preview=bool(clicks))
        self._desk.work_began.emit()
        self._desk.say("")  # what was said of the state before is no longer so
        self.job, self._clicks = job, clicks
        self._was_loaded = self._desk.session.refiner_is_loaded
        self._task = self._desk.worker.submit(
            lambda task: job.run(task.is_stopped, task.progress),
            rank=Rank.REFINEMENT,
            what=what,
            done=lambda delta: self._done(job, delta),
            failed=lambda error: self._failed(job, error),
            stopped=lambda: self._gone(job),
            progressed=lambda preview: self._previewed(job, preview),
        )
        self._desk.jobs.add(REFINING)
        self._show_begun(clicks)
        self._desk.say_there()
        return True

    def _show_begun(self, clicks: tuple[WorldClick, ...]) -> None:
        """The clicks stand where they were placed before anything came of them."""
        case = self._desk.case
        if case is not None:
            case.pending = clicks
            self._desk.show(clicks=case.click_marks())
        self._show_guard(clicks)
        if self._desk.view.proposal is None:
            self._desk.tell_counts()

    def _previewed(self, job: Job, preview: Preview) -> None:
        case = self._desk.case
        if job is self.job and case is not None and case.session.version == job.base_version:
            case.preview = preview
            self._desk.show_preview()

    def _done(self, job: Job, delta: SessionDelta) -> None:
        if job is not self.job:
            return
        then, later, clicks = self._then, self._later, self._clicks
        self._clear()
        session = self._desk.session
        try:
            report = session.apply(delta)
        except StaleDeltaError:
            self._desk.refresh()
            self._stale(clicks)
            return
        except MedSegError as error:
            self._desk.refresh()
            self._desk.say(reason_of(error))
            return
        self._desk.refresh(_together(report.roi, delta, session.proposal_box))
        self._say(report, delta)
        if later:
            self._begin(PlaceClicks(later), tr("Refining"), later)
        elif then is not None:
            then()
        elif self._desk.window.store.current.edit.auto_accept and session.proposal is not None:
            self.accept()

    def _stale(self, clicks: tuple[WorldClick, ...]) -> None:
        """Something small, such as a name of a label, changed meanwhile: clicks are refined again, from what is now."""
        if not (clicks and self._begin(PlaceClicks(clicks), tr("Refining"), clicks)):
            self._desk.say(tr("The work changed meanwhile; the result is not used"))

    def _say(self, report: TurnReport, delta: SessionDelta) -> None:
        """What came of it, what computed it, and how long a step took."""
        if report.message:
            self._desk.say(report.message[:1].upper() + report.message[1:])
        seconds = None
        if self._was_loaded and report.timings.refine and delta.action in ("click", "scribble", "refine", "command"):
            seconds = report.timings.refine / max(1, self._desk.session.config.steps)
        self._desk.window.status.show_device(self._desk.models.device_text, seconds)

    def _failed(self, job: Job, error: Exception) -> None:
        if job is not self.job:
            return
        self._clear()
        self._desk.refresh()
        self._desk.say(reason_of(error))
        self._desk.window.dialogs.tell(tr("The model stopped"), reason_of(error), tone="error")

    def _gone(self, job: Job) -> None:
        """It ended without being asked to from here: the window closes."""
        if job is self.job:
            self._clear()
            self._desk.refresh()

    def stop(self, *, keep_preview: bool = False) -> bool:
        """Stops what the model is doing on this case; what it came to is dropped. False where nothing ran."""
        task = self._task
        if task is None:
            return False
        task.stop()
        self._clear(keep_preview=keep_preview)
        if not keep_preview:
            self._desk.refresh()
        return True

    def _clear(self, *, keep_preview: bool = False) -> None:
        self.job = self._task = self._then = None
        self._clicks = self._later = ()
        self._desk.jobs.discard(REFINING)
        if self._desk.case is not None and not keep_preview:
            self._desk.case.preview, self._desk.case.pending = None, ()
            self._desk.case.view = self._desk.view.changing(balls=())

    # --- strokes into it ----------------------------------------------------------------------------------------------

    def paint_into(self, operation: Operation) -> bool:
        """A stroke while the model refines: its step ends, the others go on around it. False where it is too late."""
        if self.job is None:
            return False
        try:
            return self._desk.session.intervene(self.job, operation)
        except EditError:
            return False

    # --- the proposal -------------------------------------------------------------------------------------------------

    def accept(self) -> None:
        """Writes the open proposal into its label; once the model is done, where it is still at work."""
        if self.is_running:
            self._then = self.accept
            self._desk.say(tr("It is accepted when the model is done"))
            return
        self._settle(self._desk.session.accept)

    def discard(self) -> None:
        """Drops what the model is doing, else the open proposal with its clicks."""
        if not self.stop():
            self._settle(self._desk.session.discard)

    def _settle(self, act: Callable[[], Change | None]) -> None:
        reason = self._desk.why_not()
        if reason:
            self._desk.say(reason)
            return
        box = self._desk.session.proposal_box
        try:
            done = act()
        except MedSegError as error:
            self._desk.say(reason_of(error))
            return
        if done is not None:
            self._desk.say(done.name)
        case = self._desk.case
        if case is not None:
            case.view = case.view.changing(balls=())
        then = self._desk.take_question() if self._desk.question else None
        self._desk.refresh(box)
        if then is not None:
            then()

    # --- the guard ----------------------------------------------------------------------------------------------------

    def set_guard(self, radius_mm: float | None) -> None:
        """A click changes nothing farther away than this; None lifts it."""
        session = self._desk.session
        if radius_mm is not None:
            radius_mm = min(max(radius_mm, GUARD_MM[0]), GUARD_MM[1])
        session.config = replace(session.config, edit_radius_mm=radius_mm)
        self._show_guard(self._clicks)
        self._desk.say_there()
        self._desk.settings_changed.emit()

    def toggle_guard(self, on: bool) -> None:
        """With the radius of the preferences."""
        self.set_guard(self._desk.window.store.current.edit.guard_mm if on else None)

    def _show_guard(self, clicks: Sequence[WorldClick]) -> None:
        """The circle round each click that runs: not where the state is still empty, for it holds nothing there."""
        radius = self._desk.session.config.edit_radius_mm
        shown = radius is not None and self._desk.session.mask_box is not None
        balls = tuple(Ball(click.point_mm, radius or 0.0) for click in clicks) if shown else ()
        self._desk.show(balls=balls)


def _together(region: Box | None, delta: SessionDelta, proposal: Box | None) -> Box | None:
    """What to paint again: the region of the turn and all of the proposal; all of it where a region is not known."""
    if region is None or delta.action in ("start", "delete_click"):
        return None
    return region if proposal is None else region.union(proposal)
