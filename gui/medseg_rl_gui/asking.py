"""Candidates to rank and where to look next: asked of the model on the worker, shown when they are there.

The Learn panel shows and ranks candidates; here they are made, and the best of them becomes the proposal.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QObject, Signal

from medseg_rl.errors import MedSegError
from medseg_rl.refiner import Refiner
from medseg_rl.session import Candidates, Comparison, Suggestion
from medseg_rl_gui.desk import ASKING, Desk
from medseg_rl_gui.i18n import number, tr
from medseg_rl_gui.learning.disputed import Disputed
from medseg_rl_gui.refining import Refining
from medseg_rl_gui.view_model import Ball
from medseg_rl_gui.worker import Rank, Task, ignore, reason_of

CIRCLE_MM = 6.0  # of a suggestion


class Asking(QObject):
    """`candidates_ready`: `Candidates`, and where they are `Disputed` or None. `candidates_found`: how many so far.
    `suggestion_changed`: the `Suggestion` that is shown, or None. `comparison_ready`: `Comparison` of two models, the
    sides as they were given.
    """

    candidates_ready = Signal(object, object)
    candidates_found = Signal(int)
    suggestion_changed = Signal(object)
    comparison_ready = Signal(object)

    def __init__(self, desk: Desk, refining: Refining) -> None:
        super().__init__(desk)
        self._desk, self._refining = desk, refining
        self._task: Task | None = None
        self._seen: list[Suggestion] = []
        self._at = -1
        desk.case_changed.connect(self._forget)
        desk.work_began.connect(self.stop)

    # --- candidates ---------------------------------------------------------------------------------------------------

    def candidates(self, count: int | None = None) -> bool:
        """Makes several refinements of what is shown; as many as preferred."""
        wanted = count or self._desk.window.store.current.model.candidates
        if not self._may():
            return False
        try:
            job = self._desk.session.prepare_candidates(wanted, seed=secrets.randbelow(2**31))
        except MedSegError as error:
            self._desk.say(reason_of(error))
            return False

        def run(task: Task) -> tuple[Candidates, Disputed | None]:
            found = job.run(task.is_stopped, task.progress)
            return found, Disputed.of(found.box, found.masks) if found.masks else None

        self._hand_over(run, tr("Candidates"), self._candidates_done, self.candidates_found.emit)
        return True

    def _candidates_done(self, found: tuple[Candidates, Disputed | None]) -> None:
        candidates, disputed = found
        if candidates.base_version != self._desk.session.version:
            self._desk.say(tr("The work changed meanwhile; ask for candidates again"))
            return
        if candidates.message:
            self._desk.say(candidates.message[:1].upper() + candidates.message[1:])
        if len(candidates):
            self.candidates_ready.emit(candidates, disputed)

    def choose(self, candidates: Candidates, number_: int, order: Sequence[Sequence[int]] = ()) -> bool:
        """Makes a candidate, by its number from 0, the proposal. `order`: how all were ranked, for the feedback."""
        case = self._desk.case
        if case is None or self._desk.why_not():
            return False
        try:
            if order and case.recorder is not None:
                case.recorder.rank(candidates, order)
            case.session.choose(candidates, number_)
        except MedSegError as error:
            self._desk.say(reason_of(error))
            return False
        self._desk.refresh()
        return True

    def compare(self, models: Sequence[Callable[[], Refiner]]) -> bool:
        """Has two models do what was clicked, each from the same start; changes nothing of the case."""
        if not self._may():
            return False
        try:
            job = self._desk.session.prepare_comparison(models)
        except MedSegError as error:
            self._desk.say(reason_of(error))
            return False
        self._hand_over(lambda task: job.run(task.is_stopped), tr("Comparing two models"), self._compared)
        return True

    def _compared(self, found: Comparison) -> None:
        if found.base_version != self._desk.session.version:
            self._desk.say(tr("The work changed meanwhile; compare again"))
        else:
            self.comparison_ready.emit(found)

    # --- suggestions --------------------------------------------------------------------------------------------------

    def next(self) -> None:
        """The slice that most needs a click, apart from those seen."""
        if self._at + 1 < len(self._seen):
            self._show(self._at + 1)
            return
        if not self._may():
            return
        try:
            job = self._desk.session.prepare_suggestion(tuple(self._seen))
        except MedSegError as error:
            self._desk.say(reason_of(error))
            return
        self._hand_over(lambda task: job.run(task.is_stopped), tr("Looking where a click helps"), self._suggested)

    def previous(self) -> None:
        """The suggestion before."""
        if self._at > 0:
            self._show(self._at - 1)
        else:
            self._desk.say(tr("There is no suggestion before this one"))

    def _suggested(self, found: Suggestion | None) -> None:
        if found is None:
            self._desk.say(tr("Nothing more to suggest; what the model is sure of is not suggested, right or wrong"))
            return
        self._seen.append(found)
        self._show(len(self._seen) - 1)

    def _show(self, at: int) -> None:
        self._at, found = at, self._seen[at]
        self._desk.go_to(found.point_mm)
        others = tuple(ball for ball in self._desk.view.balls if not ball.dashed)
        self._desk.show(balls=(*others, Ball(found.point_mm, CIRCLE_MM, dashed=True)))
        self._desk.window.views.activate(found.plane)
        text = tr("Suggestion {n}: {plane} slice {slice}, score {score} mm²")
        plane = {"axial": tr("axial"), "coronal": tr("coronal"), "sagittal": tr("sagittal")}[found.plane]
        said = text.format(n=at + 1, plane=plane, slice=found.slice_index + 1, score=number(found.score, 1))
        self._desk.say(said)
        self.suggestion_changed.emit(found)

    def start_over(self) -> None:
        """What was seen may be suggested again: the mask has changed."""
        self._seen, self._at = [], -1
        self.suggestion_changed.emit(None)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _may(self) -> bool:
        reason = self._desk.why_not()
        if not reason and self._refining.is_running:
            reason = tr("Wait until the model is done, or stop it")
        if reason:
            self._desk.say(reason)
        return not reason

    def _hand_over(
        self,
        run: Callable[[Task], object],
        what: str,
        done: Callable[[Any], object],
        progressed: Callable[[int], object] = ignore,
    ) -> None:
        self.stop()
        task = self._task = self._desk.worker.submit(
            run,
            rank=Rank.REFINEMENT,
            what=what,
            done=lambda found: self._over(task, lambda: done(found)),
            failed=lambda error: self._over(task, lambda: self._desk.say(reason_of(error))),
            stopped=lambda: self._over(task, lambda: None),
            progressed=progressed,
        )
        self._desk.jobs.add(ASKING)
        self._desk.say_there()

    def _over(self, task: Task, then: Callable[[], object]) -> None:
        if task is self._task:
            self._clear()
            if self._desk.case is not None:
                then()

    def stop(self) -> bool:
        """Stops what is being asked. False where nothing is."""
        if self._task is None:
            return False
        self._task.stop()
        self._clear()
        return True

    def _clear(self) -> None:
        self._task = None
        self._desk.jobs.discard(ASKING)
        self._desk.say_there()

    def _forget(self) -> None:
        self.stop()
        self.start_over()
