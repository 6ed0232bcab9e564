"""Several refinements of one state to choose from: made in different ways, near copies of another dropped."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import MedSegError
from medseg_rl.interaction import Variation, variations
from medseg_rl.refiner import MASK_THRESHOLD, never_cancelled
from medseg_rl.session.jobs import Cancel, Job, SessionDelta
from medseg_rl.session.turns import refine_turn
from medseg_rl.volume import Box

FEWEST, MOST = 2, 9
SAME_DICE = 0.99  # closer than this to another, a candidate is no other one
SURE_AFTER = 1  # so many draws that are no others: the model is sure, and more draws would take long for nothing


@dataclass(frozen=True, eq=False)
class Candidates:
    """`deltas`: what choosing each comes to, in random order. `dropped`: how many were tried and too near to another.

    `message`: why there are none, or fewer than asked for; empty where there is nothing to say.
    """

    base_version: int
    label: int
    asked: int
    seed: int
    deltas: tuple[SessionDelta, ...]
    dropped: int
    message: str = ""

    def __len__(self) -> int:
        return len(self.deltas)


@dataclass(frozen=True, eq=False)
class CandidatesJob:
    """`refinement`: the plain refinement that is varied. Reads its snapshot only, so that any thread may run it."""

    refinement: Job
    asked: int
    seed: int

    def run(self, cancel: Cancel = never_cancelled, progress: Callable[[int], None] | None = None) -> Candidates:
        """Refine in one way after the other until there are as many distinct ones as asked for.

        `progress` is told how many there are. Raises `Cancelled` between refinement steps, and what the refiner raises.
        """
        found: list[SessionDelta] = []
        dropped, alike, message = 0, 0, ""
        for variation in variations(self.seed, self.asked):
            if variation.is_draw and alike >= SURE_AFTER:
                continue
            delta = self._varied(variation).run(cancel)
            if delta.report.message:
                message = delta.report.message
                break
            if any(self._dice(delta, other) >= SAME_DICE for other in found):
                dropped, alike = dropped + 1, alike + variation.is_draw
                continue
            found.append(delta)
            if progress is not None:
                progress(len(found))
            if len(found) == self.asked:
                break
        random.Random(self.seed).shuffle(found)
        if not message and len(found) < self.asked:
            message = f"{len(found)} distinct of {self.asked}: the model is sure of the rest"
        snapshot = self.refinement.snapshot
        numbered = tuple(_numbered(delta, number) for number, delta in enumerate(found))
        return Candidates(snapshot.base_version, snapshot.label, self.asked, self.seed, numbered, dropped, message)

    def _varied(self, variation: Variation) -> Job:
        parameters = {
            "variation": {"seed": variation.seed, "step_factor": variation.step_factor, "lean": variation.lean},
            **self.refinement.parameters,
            "asked": self.asked,
            "seed": self.seed,
        }
        return Job(self.refinement.snapshot, refine_turn(variation=variation), "candidate", parameters)

    def _dice(self, one: SessionDelta, other: SessionDelta) -> float:
        """Dice of two candidates over the whole label."""
        snapshot = self.refinement.snapshot
        both = [delta.percent.box for delta in (one, other) if delta.percent is not None]
        if not both:
            return 1.0
        box = both[0].union(both[-1])
        first, second = (masks for masks in self._masks(box, one, other))
        common, sizes = np.count_nonzero(first & second), np.count_nonzero(first) + np.count_nonzero(second)
        outside = snapshot.extent.voxels - np.count_nonzero(snapshot.percent[box.slices] > MASK_THRESHOLD)
        total = sizes + 2 * outside
        return 1.0 if not total else float(2 * (common + outside) / total)

    def _masks(self, box: Box, *deltas: SessionDelta) -> Iterator[npt.NDArray[np.bool_]]:
        for delta in deltas:
            percent = self.refinement.snapshot.percent[box.slices].copy()
            if delta.percent is not None:
                delta.percent.apply(percent, box.start)
            yield percent > MASK_THRESHOLD


def _numbered(delta: SessionDelta, number: int) -> SessionDelta:
    return replace(delta, parameters={**delta.parameters, "number": number})


def check_count(count: int) -> None:
    """Raises MedSegError for a number of candidates that nobody could compare."""
    if not FEWEST <= count <= MOST:
        raise MedSegError(f"{count} candidates cannot be ranked; ask for {FEWEST} to {MOST}")


def chosen(candidates: Candidates, number: int) -> SessionDelta:
    """The change that a candidate, by its number from 0, comes to. Raises MedSegError for no such number."""
    if not 0 <= number < len(candidates):
        raise MedSegError(f"there is no candidate {number}; there are {len(candidates)}, counted from 0")
    return candidates.deltas[number]
