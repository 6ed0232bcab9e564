"""Edits by hand, undo, and the table of labels: calls the session, short work at once and long work on the worker.

An edit stops a running refinement; an open proposal has to be accepted or discarded first, which the proposal bar asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from PySide6.QtCore import QTimer

from medseg_rl.editing import Brush, CopySlice, FillBox, FillHoles, Islands, Lasso, Operation
from medseg_rl.errors import MedSegError
from medseg_rl.labels import Colour
from medseg_rl.session import EditDelta, EditReport, Overwrite, SegmentationSession, StaleDeltaError
from medseg_rl.session.editing_actions import EditJob
from medseg_rl.volume import Box
from medseg_rl_gui.desk import EDITING, Desk
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.refining import Refining
from medseg_rl_gui.worker import Rank, Task, reason_of

A_GO_SECONDS = 0.02  # of going back through the list before the window is asked what else there is
SHORT = (Brush, Lasso, FillBox, CopySlice)


class Editing:
    """What the Edit tab, the label list and the keys ask for."""

    def __init__(self, desk: Desk, refining: Refining) -> None:
        self._desk, self._refining = desk, refining
        self._task: Task | None = None

    # --- operations ---------------------------------------------------------------------------------------------------

    def run(self, operation: Operation) -> bool:
        """An operation of `medseg_rl.editing` on the active label: one undo entry, or none. False where it may not."""
        desk = self._desk
        if not self._may(operation.name, lambda: self.run(operation)):
            return False
        self.stop()
        self._refining.stop()
        desk.work_began.emit()
        try:
            job = desk.session.prepare_edit(operation)
            if isinstance(operation, SHORT):
                self._apply(job.run())
            else:
                self._hand_over(job, operation.name)
        except MedSegError as error:
            desk.refresh()
            desk.say(reason_of(error))
            return False
        return True

    def _may(self, what: str, then: Callable[[], object]) -> bool:
        reason = self._desk.why_not()
        if reason:
            self._desk.say(reason)
            return False
        proposal = None if self._desk.case is None else self._desk.session.proposal
        if proposal is not None:
            text = tr("Accept or discard the proposal first, then: {what}")
            self._desk.ask_first(text.format(what=what), then)
            return False
        return True

    def why_no_stroke(self) -> str:
        """Why the brush may not begin now; empty where it may. Asks about an open proposal."""
        reason = self._desk.why_not()
        session = None if self._desk.case is None else self._desk.session
        if reason or session is None or self._refining.is_running:
            return reason
        if session.proposal is not None:
            return tr("Accept or discard the proposal before you paint")
        label = session.labels[session.active_label]
        return tr("{name} is locked; open its lock first").format(name=label.name) if label.locked else ""

    def _hand_over(self, job: EditJob, what: str) -> None:
        self._task = self._desk.worker.submit(
            lambda task: job.run(task.is_stopped),
            rank=Rank.REFINEMENT,
            what=what,
            done=lambda delta: self._done(task, delta),
            failed=lambda error: self._failed(task, error),
            stopped=lambda: self._failed(task, None),
        )
        task = self._task
        self._desk.jobs.add(EDITING)
        self._desk.say_there()

    def _done(self, task: Task | None, delta: EditDelta) -> None:
        if task is not self._task:
            return
        self._clear()
        try:
            self._apply(delta)
        except StaleDeltaError:
            self._desk.say(tr("The work changed meanwhile; the edit is not done. Ask for it again"))
            self._desk.say_there()
        except MedSegError as error:
            self._desk.say(reason_of(error))
            self._desk.say_there()

    def _failed(self, task: Task | None, error: Exception | None) -> None:
        if task is self._task:
            self._clear()
            self._desk.say_there()
            if error is not None:
                self._desk.say(reason_of(error))

    def _clear(self) -> None:
        self._task = None
        self._desk.jobs.discard(EDITING)

    def stop(self) -> bool:
        """Stops a long edit; the mask is as before. False where none runs."""
        if self._task is None:
            return False
        self._task.stop()
        self._clear()
        self._desk.say_there()
        return True

    def _apply(self, delta: EditDelta) -> None:
        report: EditReport = self._desk.session.apply_edit(delta)
        self._desk.refresh(report.changed_box)
        self._desk.say(said_of(report))

    def fill_holes(self) -> bool:
        """In three dimensions."""
        return self.run(FillHoles())

    def keep_largest(self) -> bool:
        """The largest island of the active label."""
        return self.run(Islands("keep_largest"))

    def set_overwrite(self, policy: Overwrite) -> None:
        """What a write does where another label lies whose lock is open."""
        self._desk.session.overwrite = policy
        self._desk.settings_changed.emit()

    # --- back and forth -----------------------------------------------------------------------------------------------

    def undo(self) -> None:
        """Takes the newest action back; what is running counts as the newest."""
        if self._refining.stop() or self.stop():
            self._desk.say(tr("Stopped; nothing was changed"))
            return
        change = self._change(self._desk.session.undo)
        if change is not None:
            self._desk.say(tr("Undone: {name}").format(name=change.name))

    def redo(self) -> None:
        """Does the action undone last again."""
        self._refining.stop()
        self.stop()
        change = self._change(self._desk.session.redo)
        if change is not None:
            self._desk.say(tr("Done again: {name}").format(name=change.name))

    def go_back_to(self, done: int) -> None:
        """Undoes or redoes until so many entries are done: what the History tab asks for. In short goes, so that the
        window answers meanwhile; whatever else changes the work ends it.
        """
        reason = self._desk.why_not()
        if reason:
            self._desk.say(reason)
            return
        self._refining.stop()
        self.stop()
        self._go_on(done, self._desk.session, self._desk.session.version, None)

    def _go_on(self, done: int, session: SegmentationSession, version: int, changed: Box | None) -> None:
        case, until = self._desk.case, time.monotonic() + A_GO_SECONDS
        if case is None or case.session is not session:
            return
        while len(session.history.done) != done and session.version == version:
            change = session.undo() if len(session.history.done) > done else session.redo()
            if change is None:
                break
            version = session.version
            if change.box is not None:
                changed = change.box if changed is None else changed.union(change.box)
            if time.monotonic() > until:
                QTimer.singleShot(0, self._desk, partial(self._go_on, done, session, version, changed))
                return
        self._desk.refresh(changed)

    # --- labels -------------------------------------------------------------------------------------------------------

    def activate(self, value: int) -> bool:
        """Makes another label the active one; plain clicks add again."""
        session = self._desk.session
        if value == session.active_label:
            return True
        self._refining.stop()
        proposal = session.proposal
        if proposal is not None and proposal.label != value:
            name = session.labels[value].name
            text = tr("Accept or discard the proposal first, then {name} becomes active").format(name=name)
            self._desk.ask_first(text, lambda: self.activate(value))
            return False
        try:
            session.activate(value)
        except MedSegError as error:
            self._desk.say(reason_of(error))
            return False
        if self._desk.case is not None:
            self._desk.case.selected_click = None
        self._desk.set_positive(True)
        self._desk.refresh()
        return True

    def step_label(self, steps: int) -> None:
        """The label so many places further in the list, round and round."""
        values = self._desk.session.labels.values
        self.activate(values[(values.index(self._desk.session.active_label) + steps) % len(values)])

    def add_label(self, name: str | None = None) -> None:
        """A new label, which becomes the active one."""
        if self._desk.session.proposal is not None:
            self._desk.ask_first(
                tr("Accept or discard the proposal first, then a label is added"), lambda: self.add_label(name)
            )
            return
        self._refining.stop()
        value = self._change(lambda: self._desk.session.add_label(name))
        if isinstance(value, int):
            self.activate(value)

    def rename_label(self, value: int, name: str) -> None:
        """Another name for a label."""
        self._change(lambda: self._desk.session.rename_label(value, name))

    def recolour_label(self, value: int, colour: Colour) -> None:
        """Another colour, red, green, blue from 0 to 255."""
        self._change(lambda: self._desk.session.recolour_label(value, colour))

    def delete_label(self, value: int) -> None:
        """With its voxels and clicks."""
        self._refining.stop()
        self._change(lambda: self._desk.session.delete_label(value))

    def set_lock(self, value: int, locked: bool | None) -> None:
        """Closes or opens the padlock of a label by hand, or leaves it to the rule (None): all but the active one."""
        self._refining.stop()
        self._change(lambda: self._desk.session.set_lock(value, locked))

    def lock_active(self, on: bool) -> None:
        """That of the active label."""
        self.set_lock(self._desk.session.active_label, on)

    def _change(self, act: Callable[[], Any]) -> Any:
        """Does something small, shows what came of it, and says why where nothing could."""
        reason = self._desk.why_not()
        if reason:
            self._desk.say(reason)
            self._desk.say_there()
            return None
        try:
            found = act()
        except MedSegError as error:
            self._desk.say(reason_of(error))
            self._desk.say_there()
            return None
        self._desk.refresh(getattr(found, "box", None))
        return found


def said_of(report: EditReport) -> str:
    """One line for the status bar."""
    parts = [part for part in (report.name, report.message) if part]
    return ". ".join(part[:1].upper() + part[1:] for part in parts)
