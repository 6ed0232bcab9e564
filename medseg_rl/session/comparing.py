"""Two models on one state, side by side and blind: the same clicks from the same start, refined by either of them.

Changes nothing of the session: what is shown is compared, and which one is better is said elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from medseg_rl.errors import MedSegError
from medseg_rl.refiner import MASK_THRESHOLD, Refiner, never_cancelled
from medseg_rl.session.arrays import Mask
from medseg_rl.session.case import Case
from medseg_rl.session.feedback_view import policy_of
from medseg_rl.session.jobs import Cancel, Job, SessionDelta, Snapshot
from medseg_rl.session.preparing import check_open_label, copied, live
from medseg_rl.session.state import union_of
from medseg_rl.session.turns import once_more
from medseg_rl.session.working import LazyRefiner, box_in_file_order
from medseg_rl.volume import Box

Source = Refiner | Callable[[], Refiner]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two models make of one state. `deltas`: the change each comes to; `policies`: their name and hash.

    `click_budget`: how many clicks both were given. `masks`: what the label would be with each, over `box`, in file
    order; outside it is as accepted.
    """

    base_version: int
    label: int
    click_budget: int
    policies: tuple[str, str]
    deltas: tuple[SessionDelta, SessionDelta]
    box: Box
    masks: tuple[Mask, Mask]


@dataclass(frozen=True, eq=False)
class ComparisonJob:
    """`jobs`: one for each model, on one snapshot. Any thread may run it."""

    jobs: tuple[Job, Job]
    click_budget: int

    def run(self, cancel: Cancel = never_cancelled) -> Comparison:
        """One after the other. Raises `Cancelled`, what the models raise, and MedSegError where both are the same."""
        first, second = (job.run(cancel) for job in self.jobs)
        policies = tuple(policy_of(job.snapshot.refiner.get()) for job in self.jobs)
        if policies[0] == policies[1]:
            raise MedSegError(f"both are {policies[0]}; choose two different models")
        snapshot = self.jobs[0].snapshot
        both = (policies[0], policies[1]), (first, second)
        return Comparison(
            snapshot.base_version, snapshot.label, self.click_budget, *both, *_shown(snapshot, first, second)
        )


def _shown(snapshot: Snapshot, first: SessionDelta, second: SessionDelta) -> tuple[Box, tuple[Mask, Mask]]:
    """What there is to see of both: a box in file order, and the masks."""
    changes = [delta.percent for delta in (first, second) if delta.percent is not None]
    boxes = (snapshot.extent.box, snapshot.work.open_box, *(change.box for change in changes))
    box = union_of(box for box in boxes if box is not None) or Box((0, 0, 0), (1, 1, 1))
    order = snapshot.image.order

    def mask(delta: SessionDelta) -> Mask:
        percent = snapshot.percent[box.slices].copy()
        if delta.percent is not None:
            delta.percent.apply(percent, box.start)
        return order.undo(percent > MASK_THRESHOLD)

    return box_in_file_order(box, order, snapshot.image.shape), (mask(first), mask(second))


def prepare_comparison(session: Case, models: Sequence[Source]) -> ComparisonJob:
    """The job for the active label. Raises MedSegError without a click to go by, or unless there are two models."""
    if len(models) != 2:
        raise MedSegError(f"two models are compared, not {len(models)}")
    value = session.active_label
    check_open_label(session, value)
    session.labels.check_writable(value)
    snapshot = live(session, value)
    if not snapshot.work.clicks:
        raise MedSegError(f"there is no click on {snapshot.label_name} yet; place one, so that both models have a task")
    snapshot = copied(session, snapshot, Box.whole(snapshot.percent.shape))
    first, second = (Job(replace(snapshot, refiner=LazyRefiner(m)), once_more, "comparison") for m in models)
    return ComparisonJob((first, second), len(snapshot.work.clicks))
