"""What a person painted into a running refinement or by hand afterwards, and which stroke takes back which.

Says nothing of when a stroke is recorded, or whether it may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.history import UndoEntry
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, Percent
from medseg_rl.rlhf.records import Intervention
from medseg_rl.session.events import SessionEvent
from medseg_rl.session.feedback_view import CaseView, Mask, Pack, RegionView
from medseg_rl.session.state import Ledger
from medseg_rl.volume import Box


@dataclass(frozen=True, eq=False)
class InterventionDraft:
    """A stroke into a running refinement. `before`: state that the step began with, with all clicks. `voxels`: True
    where painted. `proposed`: state after the agent's step, None where it proposed none. `foreground`: painted, not
    erased. `step`: from 0.
    """

    before: RegionView
    voxels: Mask
    foreground: bool
    proposed: Percent | None
    step: int
    first_of_event: bool = True

    def build(self, case_index: int, pack: Pack, common: dict[str, Any]) -> Intervention:
        """The record; both actions are 0 where nothing was painted."""
        painted = np.full_like(self.before.percent, HIGHEST if self.foreground else LOWEST)
        return Intervention(
            **common,
            prompt=self.before.prompt(pack),
            step=self.step,
            case_index=case_index,
            voxels=pack(self.voxels),
            label=1 if self.foreground else 0,
            proposed_action=None if self.proposed is None else pack(self._action(self.proposed)),
            executed_action=pack(self._action(painted)),
            first_of_event=self.first_of_event,
        )

    def _action(self, after: Percent) -> npt.NDArray[np.int8]:
        action = after.astype(np.int16) - self.before.percent
        return np.where(self.voxels, action, 0).astype(np.int8)


def interventions_of(case: CaseView, value: int, event: SessionEvent, *, image: bool) -> Iterator[InterventionDraft]:
    """What was painted into the refinement of an event, oldest first."""
    work, earlier = event.entry.after.works[value], -2
    n_new = len(work.turns[-1].clicks) if work.turns else 0
    for met in sorted(event.interventions, key=lambda met: met.step):
        background = work.background
        view = case.view(value, met.box, met.before, work.clicks, n_new=n_new, background=background, image=image)
        first = met.step > earlier + 1
        yield InterventionDraft(view, met.voxels, met.foreground, met.proposed, met.step, first)
        earlier = met.step


@dataclass(frozen=True, eq=False)
class Painted:
    """Voxels that a person painted or erased: True in `voxels`, over `box`."""

    label: int
    box: Box
    voxels: Mask
    foreground: bool

    def contradicted_by(self, others: Iterable[Painted]) -> float:
        """Share of the voxels that `others` say the contrary of."""
        denied = np.zeros(self.box.shape, np.bool_)
        for other in others:
            common = self.box.intersection(other.box)
            if other.label == self.label and other.foreground != self.foreground and common.voxels:
                denied[_within(common, self.box)] |= other.voxels[_within(common, other.box)]
        return float(denied[self.voxels].mean()) if self.voxels.any() else 0.0


def painted_by(entry: UndoEntry[Ledger]) -> list[Painted]:
    """What an edit by hand added to its label and to others, and what it took from them."""
    found = []
    for key, delta in entry.deltas:
        if isinstance(key, tuple):
            changed, inside = delta.changed_voxels(), delta.new_values() > MASK_THRESHOLD
            for foreground in (True, False):
                voxels = np.zeros(delta.box.shape, np.bool_)
                voxels[changed] = inside == foreground
                found.append(Painted(key[1], delta.box, voxels, foreground))
    return found


def _within(part: Box, box: Box) -> tuple[slice, slice, slice]:
    """For indexing the array of `box` with a part of it."""
    return part.shifted((-box.start[0], -box.start[1], -box.start[2])).slices
