"""Writes what a clinician does in a session as feedback records. An observer: the session knows nothing of it.

    recorder = FeedbackRecorder(FeedbackStore(), CaseIdentity.of("case-0a1b2c3d", session.image))
    recorder.watch(session)
    ...
    recorder.finish()

By itself it records accepted masks, undone model actions, interventions and commands; rankings, abstentions and games
are handed to it. Without consent it records nothing, and it never stops anybody's work: see `problems`. It keeps in
memory which records an undo takes back; those of a session opened again stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from medseg_rl.history import UndoEntry
from medseg_rl.rlhf.records import Abstention, AnswerClass, CommandOutcome, Game
from medseg_rl.session.candidates import Candidates
from medseg_rl.session.events import SessionEvent
from medseg_rl.session.feedback_acts import (
    DemonstrationDraft,
    StepDraft,
    accepted_proposal,
    dice_of,
    drawn_by_hand,
    ranking_of,
    ranks_of,
    step_of,
)
from medseg_rl.session.feedback_filing import CaseIdentity, FeedbackFiling, Filed, Pack, Submit, at_once
from medseg_rl.session.feedback_strokes import Painted, interventions_of, painted_by
from medseg_rl.session.feedback_view import CaseView, RegionView
from medseg_rl.session.state import Ledger

if TYPE_CHECKING:
    from medseg_rl.rlhf.store import FeedbackStore
    from medseg_rl.session.segmentation import SegmentationSession

REFINEMENTS = ("click", "scribble", "refine", "command", "candidate")  # what an undo of says that it was no good
BY_HAND = "edit"
INTERACTIONS = (*REFINEMENTS, "delete_click", "start", BY_HAND)
WINNING_DICE = 0.9
OVERPAINTED = 0.5  # of a stroke's voxels: beyond that it counts as taken back


@dataclass(eq=False)
class _Tally:
    """What went on with one label since it was last accepted. `started`: on the recorder's clock."""

    started: float
    interactions: int = 0
    by_hand: bool = False
    commands: list[tuple[StepDraft, Filed]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Stroke:
    """A stroke into a refinement that is on record."""

    label: int
    painted: Painted
    filed: Filed


class FeedbackRecorder:
    """Records one case into `store`.

    `submit` takes the packing and writing of records to a worker thread that keeps their order; without it they are
    done at once. `case_index`: how many cases were finished before this one; counted in the store unless given.
    """

    def __init__(
        self,
        store: FeedbackStore,
        identity: CaseIdentity,
        *,
        submit: Submit = at_once,
        case_index: int | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._filing = FeedbackFiling(store, identity, submit)
        self._clock = clock
        self._case_index = case_index
        self._case: CaseView | None = None
        self._tallies: dict[int, _Tally] = {}
        self._accepted: dict[int, list[tuple[DemonstrationDraft, Filed]]] = {}
        self._strokes: list[_Stroke] = []

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be recorded, one line each, for the screen."""
        return tuple(self._filing.problems)

    def watch(self, session: SegmentationSession) -> None:
        """Record this session from now on."""
        self._case = CaseView(session)
        self._filing.policy_id = self._case.policy_id
        session.observers.append(self)

    def __call__(self, event: SessionEvent) -> None:
        """Take note of one step of the session."""
        self._note(lambda case: self._step(case, event, event.label))

    # --- what is handed in --------------------------------------------------------------------------------------------

    def rank(
        self,
        candidates: Candidates,
        order: Sequence[Sequence[int]],
        *,
        shown: Sequence[int] | None = None,
        decision_ms: int | None = None,
        none_acceptable: bool = False,
    ) -> None:
        """Candidates as the user ordered them: groups of their numbers from 0, best first, ties in one group.

        To be called before one of them is chosen. `shown`: their numbers as they stood on screen, in their own order
        unless given. Fewer than two are no ranking. Raises ValueError when `order` names what is not there.
        """
        count = len(candidates)
        ranks, seen = ranks_of(order, count), tuple(range(count) if shown is None else shown)

        def note(case: CaseView) -> None:
            if count >= 2:
                draft = ranking_of(case, candidates, image=self._images)
                draft = replace(
                    draft, ranks=ranks, shown=seen, decision_ms=decision_ms, none_acceptable=none_acceptable
                )
                self._filing.file(draft.build)

        self._note(note)

    def target_not_here(self, reason: str) -> None:
        """The user says that the target is not in the image, whatever the model shows. `reason`: a short token."""

        def note(case: CaseView) -> None:
            view = case.present(image=self._images)
            self._abstention(view, "D" if view.mask.any() else "B", "A", reason)

        self._note(note)

    def target_is_here(self, reason: str, *, gave_reason: bool = True) -> None:
        """The user corrects an abstention of the model. `gave_reason`: whether it had said why it abstained."""
        said: AnswerClass = "A" if gave_reason else "B"
        self._note(lambda case: self._abstention(case.present(image=self._images), said, "D", reason))

    def game(self, first: str, second: str, result: Literal["first", "second", "draw"], *, click_budget: int) -> None:
        """A blind comparison of two checkpoints on this case; `first` stood on the left."""

        def build(_: Pack, common: dict[str, Any]) -> Game:
            return Game(**common, click_budget=click_budget, first=first, second=second, result=result)

        self._note(lambda _: self._filing.file(build))

    def finish(self) -> None:
        """The case is closed: what was drawn since the last acceptance, or without any, becomes part of the record."""
        for value in () if self._case is None else self._case.label_values:
            self._note(lambda case, value=value: self._finish(case, value))  # type: ignore[misc]

    # --- steps of the session -----------------------------------------------------------------------------------------

    def _step(self, case: CaseView, event: SessionEvent, value: int | None) -> None:
        if value is None:
            return
        if event.direction == "do":
            (self._accept if event.action == "accept" else self._act)(case, event, value)
        else:
            self._filing.moved(event.entry, event.direction)
            if event.direction == "undo" and event.action in REFINEMENTS:
                self._undone(case, event, value)

    def _act(self, case: CaseView, event: SessionEvent, value: int) -> None:
        if event.action not in INTERACTIONS:
            return
        tally = self._tally(value)
        tally.interactions += 1 + len(event.interventions)
        tally.by_hand = tally.by_hand or event.action == BY_HAND
        if event.action == "command":
            self._command(case, event, value, tally)
        if event.action == BY_HAND:
            self._painted_over(event.entry, painted_by(event.entry))
        if event.interventions:
            self._interventions(case, event, value)

    def _command(self, case: CaseView, event: SessionEvent, value: int, tally: _Tally) -> None:
        step, command = step_of(case, value, event.entry, is_done=True, image=self._images), event.parameters["command"]
        if step is not None:
            filed = self._filing.file(lambda pack, common: step.commanded(command, pack, common))
            tally.commands.append((step, filed))
            self._filing.follow(event.entry, filed, undone={"may_train": False}, done={"may_train": True})

    def _interventions(self, case: CaseView, event: SessionEvent, value: int) -> None:
        """What was painted while the model refined; a stroke may take back one of before, or of the same turn."""
        index = self._index_of_case()
        for draft in interventions_of(case, value, event, image=self._images):
            painted = Painted(value, draft.before.box, draft.voxels, draft.foreground)
            self._painted_over(event.entry, [painted])
            filed = self._filing.file(partial(draft.build, index))
            self._filing.follow(event.entry, filed, undone={"retracted": True}, done={"retracted": False})
            self._strokes.append(_Stroke(value, painted, filed))

    def _accept(self, case: CaseView, event: SessionEvent, value: int) -> None:
        tally, work = self._tally(value), event.entry.before.works[value]
        del self._tallies[value]
        elapsed = round(1000 * (self._clock() - tally.started))
        counted = {"elapsed_ms": elapsed, "interactions": tally.interactions}
        draft = accepted_proposal(case, value, work, **counted, image=self._images)
        if draft is None:
            return
        draft = replace(draft, commanded=bool(tally.commands))
        filed = self._filing.file(draft.build)
        self._accepted.setdefault(value, []).append((draft, filed))
        self._filing.follow(event.entry, filed, undone={"may_train": False}, done={"may_train": True})
        for step, command in tally.commands:
            dice = dice_of(step.after_mask, case.accepted(value, step.before.box), draft.final)
            self._filing.amend(command, outcome=CommandOutcome(dice, dice >= WINNING_DICE))

    def _undone(self, case: CaseView, event: SessionEvent, value: int) -> None:
        """An undone model action: before was liked better than after."""
        if self._filing.follows(event.entry, undone={"may_train": True}):
            return  # undone before, and done again since
        step = step_of(case, value, event.entry, is_done=False, image=self._images)
        if step is not None and step.changes_mask:
            filed = self._filing.file(step.undone)
            self._filing.follow(event.entry, filed, undone={"may_train": True}, done={"may_train": False})

    def _painted_over(self, entry: UndoEntry[Ledger], painted: Sequence[Painted]) -> None:
        """Strokes of which more than half was painted over are taken back, and stand again when that is undone."""
        for stroke in self._strokes:
            if not stroke.filed.is_undone and stroke.painted.contradicted_by(painted) > OVERPAINTED:
                self._filing.amend(stroke.filed, retracted=True)
                held = {"retracted": True}
                self._filing.follow(entry, stroke.filed, undone={"retracted": False}, done=held, is_its_own=False)

    def _finish(self, case: CaseView, value: int) -> None:
        standing = [(d, f) for d, f in self._accepted.get(value, []) if not f.is_undone]
        box, tally = case.accepted_box(value), self._tally(value)
        if standing:
            draft, filed = standing[-1]
            if case.is_accepted(value, draft.start.box, draft.final):
                return
            interactions = draft.interactions + tally.interactions
            draft = draft.with_final(case, box, interactions=interactions, image=self._images)
            self._accepted[value].append((draft, self._filing.replace(filed, draft.build)))
        elif tally.by_hand and box is not None:
            draft = drawn_by_hand(case, value, box, interactions=tally.interactions, image=self._images)
            self._accepted.setdefault(value, []).append((draft, self._filing.file(draft.build)))
        del self._tallies[value]

    # --- inside -------------------------------------------------------------------------------------------------------

    @property
    def _images(self) -> bool:
        return self._filing.consent.allows_images

    def _note(self, act: Callable[[CaseView], object]) -> None:
        """Does `act` under consent; whatever goes wrong is a line in `problems`, not the end of the user's step."""
        if self._case is None or not self._filing.consent.allows_storing:
            return
        try:
            act(self._case)
        except Exception as error:
            self._filing.problems.append(f"feedback was not recorded: {type(error).__name__}")

    def _tally(self, value: int) -> _Tally:
        return self._tallies.setdefault(value, _Tally(self._clock()))

    def _index_of_case(self) -> int:
        if self._case_index is None:
            own, records = self._filing.identity.case_id, self._filing.store.records()
            self._case_index = len({r.case_id for r in records if r.kind == "demonstration"} - {own})
        return self._case_index

    def _abstention(self, view: RegionView, predicted: AnswerClass, correct: AnswerClass, reason: str) -> None:
        def build(pack: Pack, common: dict[str, Any]) -> Abstention:
            prompt = view.prompt(pack)
            return Abstention(**common, prompt=prompt, predicted_class=predicted, correct_class=correct, reason=reason)

        self._filing.file(build)
