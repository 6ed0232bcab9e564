"""Ranking candidates: from the keys to an order, and from the order to a record and the proposal.

Ranking works without storing: then the journal notes the chosen one alone. Says nothing of how a candidate was made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from PySide6.QtCore import QObject, Signal

from medseg_rl.session import Candidates
from medseg_rl_gui.asking import Asking
from medseg_rl_gui.desk import Desk
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.learning.disputed import Disputed
from medseg_rl_gui.learning.feedback import Feedback
from medseg_rl_gui.learning.rank_order import RankOrder
from medseg_rl_gui.view_model import ProposalView

NUMBERS = 9


class Ranking(QObject):
    """`opened`: candidates are there to be ranked, see `shown`. `order_changed`: the `RankOrder`. `closed`: no more.

    `candidates` is None while nothing is ranked; the tiles stand in their order, which was drawn at random.
    """

    opened = Signal()
    order_changed = Signal(object)
    closed = Signal()

    def __init__(self, desk: Desk, asking: Asking, feedback: Feedback) -> None:
        super().__init__(desk)
        self._desk, self._asking, self._feedback = desk, asking, feedback
        self.candidates: Candidates | None = None
        self.order = RankOrder(0)
        self.shown: tuple[ProposalView, ...] = ()
        self._since = 0.0
        asking.candidates_ready.connect(self._begin)
        desk.session_changed.connect(self._check)
        desk.case_changed.connect(lambda _: self._end())
        self._say_possible()

    def handlers(self) -> Mapping[str, Callable[..., object]]:
        """By action id."""
        found: dict[str, Callable[..., object]] = {
            "rank.tie": lambda: self._order(self.order.tied()),
            "rank.none": lambda: self._order(self.order.without_any()),
            "rank.back": lambda: self._order(self.order.back()),
            "rank.submit": self.submit,
            "rank.cancel": self.leave,
        }
        for number in range(NUMBERS):
            found[f"rank.{number + 1}"] = lambda number=number: self.rank(number)
        return found

    @property
    def is_open(self) -> bool:
        """Whether candidates wait to be ranked."""
        return self.candidates is not None

    def _begin(self, candidates: Candidates, disputed: Disputed | None) -> None:
        self.shown = tuple(ProposalView(candidates.label, candidates.box, mask) for mask in candidates.masks)
        self.candidates, self.order, self._since = candidates, RankOrder(len(candidates)), time.monotonic()
        self._desk.window.acts.enter("ranking")
        self._show_difference(disputed)
        self._say_possible()
        self.opened.emit()
        self.order_changed.emit(self.order)

    def _show_difference(self, disputed: Disputed | None) -> None:
        """Leads to a slice on which the candidates differ, unless the one that is shown does already."""
        view, plane = self._desk.view, self._desk.window.views.active_view.plane
        image, axis = view.image, view.geometry(plane).axes[0]
        found = None if disputed is None else disputed.where_to_look(axis, view.slices[plane])
        if found is not None and image is not None:
            x, y, z = (float(v) for v in image.index_to_world(found))
            self._desk.go_to((x, y, z))

    def rank(self, number: int) -> None:
        """This one, by its number from 0, comes next."""
        if number >= self.order.count:
            self._desk.say(tr("There is no candidate {n}").format(n=number + 1))
        self._order(self.order.ranked(number))

    def _order(self, order: RankOrder) -> None:
        if self.is_open:
            self.order = order
            self._say_possible()
            self.order_changed.emit(order)

    def submit(self) -> bool:
        """Records the order where that is allowed; the best becomes the proposal. False where nothing was said yet."""
        candidates, order, shown = self.candidates, self.order, self._order_shown
        if candidates is None or not order.can_be_submitted:
            self._desk.say(tr("Press the number of the best candidate first, or U where none is usable"))
            return False
        took = round(1000 * (time.monotonic() - self._since))
        if len(candidates) >= 2:
            self._feedback.record(
                lambda recorder: recorder.rank(
                    candidates, order.groups, shown=shown, decision_ms=took, none_acceptable=order.none_usable
                )
            )
        if self.candidates is not candidates:  # the work changed under the question
            return False
        self._end()
        if order.best is not None:
            return self._choose(candidates, order.best)
        self._desk.say(tr("No candidate is used; what was there before stays"))
        return True

    @property
    def _order_shown(self) -> tuple[int, ...]:
        """Which candidate stood first, second, ... on the screen: they were drawn at random when they were made."""
        return tuple(range(self.order.count))

    def _choose(self, candidates: Candidates, number: int) -> bool:
        if not self._asking.choose(candidates, number):
            return False
        self._desk.say(tr("Candidate {n} is the proposal; Enter accepts it").format(n=number + 1))
        return True

    def leave(self) -> None:
        """Puts the candidates away; what was there before stays."""
        if self.is_open:
            self._end()
            self._desk.say(tr("The candidates were put away"))

    def peek(self, number: int | None) -> None:
        """Shows a candidate in the views, by its number from 0; None shows what is really there."""
        case = self._desk.case
        if case is not None and self.is_open:
            self._desk.show(proposal=case.proposal_view() if number is None else self.shown[number])

    def _check(self) -> None:
        case = self._desk.case
        if self.candidates is not None and case is not None:
            stale = case.session.version != self.candidates.base_version
            if stale or case.session.active_label != self.candidates.label:
                self._end()
                self._desk.say(tr("The work changed; the candidates were put away"))

    def _end(self) -> None:
        if self.is_open:
            self.peek(None)
            self.candidates, self.shown, self.order = None, (), RankOrder(0)
            self._desk.window.acts.enter("view")
            self._say_possible()
            self.closed.emit()

    def _say_possible(self) -> None:
        """Greys what cannot be said now, with the reason."""
        acts, order = self._desk.window.acts, self.order
        closed = "" if self.is_open else tr("There are no candidates to rank")
        for number in range(NUMBERS):
            missing = "" if number < order.count else tr("There is no such candidate")
            acts.set_reason(f"rank.{number + 1}", closed or missing)
        acts.set_reason("rank.tie", closed or ("" if order.groups else tr("Nothing is ranked yet")))
        for id_ in ("rank.none", "rank.cancel", "rank.back"):
            acts.set_reason(id_, closed)
        acts.set_reason("rank.submit", closed or ("" if order.can_be_submitted else tr("Nothing is ranked yet")))
