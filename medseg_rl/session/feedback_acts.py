"""What is recorded of each act: drafts that hold copies of a region, and turn into records when there is time to pack.

Says nothing of when an act is recorded, or whether it may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.history import UndoEntry
from medseg_rl.refiner import LOWEST, MASK_THRESHOLD, Percent
from medseg_rl.rlhf.records import Command, Demonstration, Hint, Ranking
from medseg_rl.session.arrays import percent_key
from medseg_rl.session.candidates import Candidates
from medseg_rl.session.feedback_view import CaseView, Mask, Pack, RegionView
from medseg_rl.session.state import LabelWork, Ledger
from medseg_rl.volume import Box

LEANING = 2.0  # so many times more voxels added than removed make a missing region, the other way round a leak


@dataclass(frozen=True, eq=False)
class DemonstrationDraft:
    """`start`: state before the proposal, with all clicks since. `final`: True where the accepted mask lies."""

    start: RegionView
    final: Mask
    elapsed_ms: int | None
    interactions: int
    commanded: bool = False

    def build(self, pack: Pack, common: dict[str, Any]) -> Demonstration:
        """The record."""
        return Demonstration(
            **{**common, "use_case": use_case(self.start.mask, self.final, commanded=self.commanded)},
            prompt=self.start.prompt(pack),
            completion=pack(self.final),
            elapsed_ms=self.elapsed_ms,
            interactions=self.interactions,
        )

    def with_final(self, case: CaseView, final_of: Box | None, *, interactions: int, image: bool) -> DemonstrationDraft:
        """With the mask that the label map holds now, in a region that also holds `final_of`, the box of that mask."""
        old, value = self.start, self.start.label
        box = old.box if final_of is None else old.box.union(case.with_margin(final_of))
        start = old
        if box != old.box:
            percent = np.full(box.shape, old.background, np.uint8)
            inner = old.box.shifted((-box.start[0], -box.start[1], -box.start[2]))
            percent[inner.slices] = old.percent
            hints = tuple(replace(h, index=_shifted(h, inner.start)) for h in old.hints)
            start = replace(case.view(value, box, percent, (), background=old.background, image=image), hints=hints)
        return replace(self, start=start, final=case.accepted(value, box), interactions=interactions)


def accepted_proposal(
    case: CaseView, value: int, work: LabelWork, *, elapsed_ms: int | None, interactions: int, image: bool
) -> DemonstrationDraft | None:
    """The acceptance of the proposal that `work` held open; None where there is neither mask nor click."""
    base = work.base or work
    box = case.region(value, work.clicks, [work.open_box])
    if box is None:
        return None
    undone = [turn.delta for turn in reversed(work.turns) if turn.delta is not None]
    percent = case.percent(value, box, base.background, undone=undone)
    start = case.view(value, box, percent, work.clicks, background=base.background, image=image)
    return DemonstrationDraft(start, case.accepted(value, box), elapsed_ms, interactions)


def drawn_by_hand(case: CaseView, value: int, final_of: Box, *, interactions: int, image: bool) -> DemonstrationDraft:
    """A label that was never proposed: from nothing to what the label map holds now inside `final_of`."""
    box = case.with_margin(final_of)
    percent = np.full(box.shape, LOWEST, np.uint8)
    start = case.view(value, box, percent, (), background=LOWEST, image=image)
    return DemonstrationDraft(start, case.accepted(value, box), None, interactions)


@dataclass(frozen=True, eq=False)
class StepDraft:
    """A model action: the state before it, with its new clicks, and the state after."""

    before: RegionView
    after: Percent

    @property
    def changes_mask(self) -> bool:
        """Whether a voxel of the mask changed."""
        return bool((self.before.mask != self.after_mask).any())

    @property
    def after_mask(self) -> Mask:
        """True inside the object after it."""
        return replace(self.before, percent=self.after).mask

    @property
    def action(self) -> npt.NDArray[np.int8]:
        """Hundredths added to each voxel."""
        added: npt.NDArray[np.int8] = (self.after.astype(np.int16) - self.before.percent).astype(np.int8)
        return added

    def undone(self, pack: Pack, common: dict[str, Any]) -> Ranking:
        """Its undo: before preferred to after, and no more than that."""
        return Ranking(
            **common,
            prompt=self.before.prompt(pack),
            completions=(pack(self.before.mask), pack(self.after_mask)),
            ranks=(1, 2),
            implicit=True,
        )

    def commanded(self, command: str, pack: Pack, common: dict[str, Any]) -> Command:
        """The command that caused it."""
        prompt = self.before.prompt(pack, command=command)
        assert prompt.initial_probability is not None
        observation = prompt.initial_probability
        return Command(**common, prompt=prompt, command=command, observation=observation, action=pack(self.action))


def step_of(case: CaseView, value: int, entry: UndoEntry[Ledger], *, is_done: bool, image: bool) -> StepDraft | None:
    """The model action of an undo entry, which is done or undone now; None where it changed no probability."""
    deltas = [delta for key, delta in entry.deltas if key == percent_key(value)]
    after_work = entry.after.works.get(value)
    if not deltas or after_work is None:
        return None
    before_work = entry.before.works.get(value) or after_work.base or after_work
    box = case.region(value, after_work.clicks, [delta.box for delta in deltas])
    assert box is not None
    newest_first = deltas[::-1]
    before = case.percent(value, box, before_work.background, undone=newest_first if is_done else ())
    after = case.percent(value, box, after_work.background, done=() if is_done else deltas)
    n_new = max(0, len(after_work.clicks) - len(before_work.clicks))
    view = case.view(value, box, before, after_work.clicks, n_new=n_new, background=before_work.background, image=image)
    return StepDraft(view, after)


@dataclass(frozen=True, eq=False)
class RankingDraft:
    """Candidates put in order. `masks` over the region of `view`; the rest as the record has it."""

    view: RegionView
    masks: tuple[Mask, ...]
    ranks: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    decision_ms: int | None = None
    none_acceptable: bool = False

    def build(self, pack: Pack, common: dict[str, Any]) -> Ranking:
        """The record."""
        return Ranking(
            **common,
            prompt=self.view.prompt(pack),
            completions=tuple(pack(mask) for mask in self.masks),
            ranks=self.ranks,
            presentation_order=self.shown,
            decision_ms=self.decision_ms,
            none_acceptable=self.none_acceptable,
            policy_ids=(common["policy_id"],) * len(self.masks) if common["policy_id"] else (),
        )


def ranking_of(case: CaseView, candidates: Candidates, *, image: bool) -> RankingDraft:
    """The candidates as what is shown now would become, not yet in any order. Raises StaleDeltaError."""
    case.check_current(candidates.base_version, candidates.label)
    deltas = [choice.percent for choice in candidates.deltas]
    view = case.present(image=image, beside=[delta.box for delta in deltas if delta is not None])
    states = [
        case.percent(view.label, view.box, view.background, done=() if delta is None else (delta,)) for delta in deltas
    ]
    return RankingDraft(view, tuple(state > MASK_THRESHOLD for state in states))


def dice_of(shown: Mask, accepted: Mask, whole: Mask) -> float:
    """Dice of a result with the accepted mask: `accepted` in the region of `shown`, `whole` everywhere. 1 if empty."""
    both, sizes = np.count_nonzero(shown & accepted), np.count_nonzero(shown) + np.count_nonzero(whole)
    return float(2 * both / sizes) if sizes else 1.0


def ranks_of(order: Sequence[Sequence[int]], count: int) -> tuple[int, ...]:
    """Ranks of `count` candidates from groups of their numbers (from 0), best group first, ties in one group.

    What is in no group ties behind all. Raises ValueError for a number twice or out of range.
    """
    given = [number for group in order for number in group]
    if len(set(given)) != len(given) or not all(0 <= number < count for number in given):
        raise ValueError(f"{given} names a candidate twice, or one that is not among {count}")
    ranks = dict.fromkeys(range(count), len([group for group in order if group]) + 1)
    for rank, group in enumerate((group for group in order if group), start=1):
        ranks.update(dict.fromkeys(group, rank))
    return tuple(ranks[number] for number in range(count))


def use_case(start: Mask, final: Mask, *, commanded: bool) -> str:
    """Which kind of correction it was, by the voxels that were added and removed."""
    added, removed = np.count_nonzero(final & ~start), np.count_nonzero(start & ~final)
    if commanded:
        return "command"
    if not start.any():
        return "start_from_nothing" if final.any() else "target_absent"
    if added > LEANING * removed:
        return "missing_region"
    return "leak" if removed > LEANING * added else "boundary_touch_up"


def _shifted(hint: Hint, by: tuple[int, int, int]) -> tuple[int, int, int]:
    return hint.index[0] + by[0], hint.index[1] + by[1], hint.index[2] + by[2]
