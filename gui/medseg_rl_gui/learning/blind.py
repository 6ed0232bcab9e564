"""A blind comparison of two models on the open case, and "target is not here": each becomes a record of its own.

Which model stands on which side is drawn at random and told only after the answer. Changes nothing of the case.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QObject, Signal

from medseg_rl.bundle import Bundle
from medseg_rl.session import Comparison
from medseg_rl_gui.asking import Asking
from medseg_rl_gui.desk import Desk
from medseg_rl_gui.i18n import mark, tr
from medseg_rl_gui.learning.feedback import Feedback
from medseg_rl_gui.view_model import ProposalView

Side = Literal["first", "second", "draw"]
REASONS = {  # tokens of records, and what they say
    "not_in_image": mark("Not in this image"),
    "outside_field_of_view": mark("Outside the image"),
    "removed": mark("Removed by surgery"),
    "not_to_be_seen": mark("Cannot be made out"),
    "other_structure": mark("Something else is marked"),
}


@dataclass(frozen=True)
class Answered:
    """What was said of a comparison, and which model it was: names as records hold them. `left` stood on the left."""

    left: str
    right: str
    result: Side
    stored: bool

    @property
    def text(self) -> str:
        """Which model stood where, once the answer is given."""
        result = {"first": tr("Left is better"), "second": tr("Right is better"), "draw": tr("A draw")}[self.result]
        left, right = (name.partition("@")[0] for name in (self.left, self.right))
        if left == right:  # two of one name: told apart by the beginning of their hash
            left, right = (name[: name.find("@") + 7].replace("@", " ") for name in (self.left, self.right))
        return tr("{result}. Left was {left}, right was {right}.").format(result=result, left=left, right=right)


class BlindComparison(QObject):
    """`opened`: two results are there, see `shown`: left, right. `answered`: an `Answered`. `closed`: put away."""

    opened = Signal()
    answered = Signal(object)
    closed = Signal()

    def __init__(self, desk: Desk, asking: Asking, feedback: Feedback) -> None:
        super().__init__(desk)
        self._desk, self._asking, self._feedback = desk, asking, feedback
        self.comparison: Comparison | None = None
        self.shown: tuple[ProposalView, ...] = ()
        asking.comparison_ready.connect(self._begin)
        desk.session_changed.connect(self._check)
        desk.case_changed.connect(lambda _: self._end())

    def why_not(self) -> str:
        """Why nothing can be compared now; empty where it can."""
        if self._desk.why_not():
            return self._desk.why_not()
        if len(self._desk.models.refining) < 2:
            return tr("There is only one model on this computer; add another by its folder")
        if not self._desk.session.clicks:
            return tr("Place a click first, so that both models have the same task")
        return ""

    def begin(self, one: Bundle, other: Bundle) -> bool:
        """Has both do the same clicks. False, with a message, where that cannot be."""
        if one.hash == other.hash:
            self._desk.say(tr("Choose two different models"))
            return False
        models = [one, other]
        if secrets.randbelow(2):
            models.reverse()
        self._end()
        return self._asking.compare([self._desk.models.refiner_of(bundle) for bundle in models])

    @property
    def is_open(self) -> bool:
        """Whether two results wait for an answer."""
        return self.comparison is not None

    def _begin(self, found: Comparison) -> None:
        self.shown = tuple(ProposalView(found.label, found.box, mask) for mask in found.masks)
        self.comparison = found
        self.opened.emit()

    def answer(self, result: Side) -> bool:
        """Left ("first"), right or a draw: records the game where that is allowed, then tells which was which."""
        found = self.comparison
        if found is None:
            return False
        left, right = found.policies
        stored = self._feedback.record(
            lambda recorder: recorder.game(left, right, result, click_budget=found.click_budget)
        )
        self._end()
        self.answered.emit(Answered(left, right, result, stored))
        return True

    def peek(self, side: int | None) -> None:
        """Shows one of the two in the views, 0 for the left; None shows what is really there."""
        case = self._desk.case
        if case is not None and self.is_open:
            self._desk.show(proposal=case.proposal_view() if side is None else self.shown[side])

    def leave(self) -> None:
        """Puts both away without an answer."""
        self._end()

    def _check(self) -> None:
        case = self._desk.case
        if self.comparison is not None and case is not None and case.session.version != self.comparison.base_version:
            self._end()
            self._desk.say(tr("The work changed; the comparison was put away"))

    def _end(self) -> None:
        if self.is_open:
            self.peek(None)
            self.comparison, self.shown = None, ()
            self.closed.emit()


class Presence:
    """Whether the target is in the image at all, said against what the model shows."""

    def __init__(self, desk: Desk, feedback: Feedback) -> None:
        self._desk, self._feedback = desk, feedback

    def target_not_here(self, reason: str) -> bool:
        """The target is not in the image. `reason`: of `REASONS`. Whether it was recorded."""
        stored = self._feedback.record(lambda recorder: recorder.target_not_here(reason))
        self._say(stored)
        return stored

    def target_is_here(self) -> bool:
        """It is, though nothing is proposed: the model was wrong to abstain. Whether it was recorded."""
        stored = self._feedback.record(lambda recorder: recorder.target_is_here("missed", gave_reason=False))
        self._say(stored)
        return stored

    def why_not_here(self) -> str:
        """Why "target is here" makes no sense now: something is marked already."""
        if self._desk.case is not None and self._desk.session.mask_box is not None:
            return tr("Something is marked already; correct it with clicks")
        return ""

    def _say(self, stored: bool) -> None:
        self._desk.say(tr("Recorded on this computer") if stored else tr("Not recorded: storing is not allowed"))
