"""Several refinements of one state to choose from: made in different ways, near copies of another dropped."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from medseg_rl.errors import MedSegError
from medseg_rl.interaction import Variation, variations
from medseg_rl.refiner import MASK_THRESHOLD, never_cancelled
from medseg_rl.session.arrays import Mask
from medseg_rl.session.jobs import Cancel, Job, SessionDelta
from medseg_rl.session.state import union_of
from medseg_rl.session.turns import refine_turn
from medseg_rl.session.working import box_in_file_order
from medseg_rl.volume import Box

FEWEST, MOST = 2, 9
SAME_DICE = 0.99  # closer than this to another, a candidate is no other one
SURE_AFTER = 1  # so many draws that are no others: the model is sure, and more draws would take long for nothing
NOWHERE = Box((0, 0, 0), (1, 1, 1))
CORES_EACH = 2  # of this machine for each candidate that is made beside another


@dataclass(frozen=True, eq=False)
class Candidates:
    """`deltas`: what choosing each comes to, in random order. `dropped`: how many were tried and too near to another.

    `message`: why there are none, or fewer than asked for; empty where there is nothing to say. `masks`: what the label
    would be with each, over `box`, in file order; outside it is as accepted.
    """

    base_version: int
    label: int
    asked: int
    seed: int
    deltas: tuple[SessionDelta, ...]
    dropped: int
    message: str = ""
    box: Box = NOWHERE
    masks: tuple[Mask, ...] = ()

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
        found: list[_Made] = []
        dropped, alike, message = 0, 0, ""
        ways = list(variations(self.seed, self.asked))
        with ThreadPoolExecutor(_side_by_side()) as threads:
            while ways and not message and len(found) < self.asked:
                ways = [way for way in ways if not (way.is_draw and alike >= SURE_AFTER)]
                now = ways[: min(_side_by_side(), self.asked - len(found))]
                ways = ways[len(now) :]
                for way, made in zip(now, threads.map(lambda way: self._made(way, cancel), now), strict=True):
                    message = message or made.delta.report.message
                    if message:
                        break
                    if way.is_draw and alike >= SURE_AFTER:  # one after the other it would not have been made
                        continue
                    if any(self._dice(made, other) >= SAME_DICE for other in found):
                        dropped, alike = dropped + 1, alike + way.is_draw
                        continue
                    found.append(made)
                    if progress is not None:
                        progress(len(found))
        random.Random(self.seed).shuffle(found)
        if not message and len(found) < self.asked:
            message = f"{len(found)} distinct of {self.asked}: the model is sure of the rest"
        snapshot = self.refinement.snapshot
        numbered = tuple(_numbered(made.delta, number) for number, made in enumerate(found))
        of_each = (snapshot.base_version, snapshot.label, self.asked, self.seed, numbered, dropped, message)
        return Candidates(*of_each, *self._shown(found))

    def _shown(self, found: Sequence[_Made]) -> tuple[Box, tuple[Mask, ...]]:
        """What there is to see of each: a box in file order, and the masks."""
        snapshot = self.refinement.snapshot
        boxes = (snapshot.extent.box, snapshot.work.crossed_box, *(made.box for made in found))
        box = union_of(box for box in boxes if box is not None) or NOWHERE
        before, order = snapshot.percent[box.slices] > MASK_THRESHOLD, snapshot.image.order
        masks = tuple(order.undo(made.inside_of(box, before)) for made in found)
        return box_in_file_order(box, order, snapshot.image.shape), masks

    def _made(self, variation: Variation, cancel: Cancel) -> _Made:
        """One reading. On any thread: the refiner takes one request after the other, all else runs side by side."""
        delta, snapshot = self._varied(variation).run(cancel), self.refinement.snapshot
        crossing = None if delta.percent is None else delta.percent.crossing(MASK_THRESHOLD)
        if delta.percent is None or crossing is None or crossing.box is None:
            return _Made(delta, snapshot.extent.voxels)
        percent = snapshot.percent[delta.percent.box.slices].copy()
        delta.percent.apply(percent, delta.percent.box.start)
        start = delta.percent.box.start
        inside = percent[crossing.box.shifted((-start[0], -start[1], -start[2])).slices] > MASK_THRESHOLD
        return _Made(delta, snapshot.extent.voxels + crossing.entered - crossing.left, crossing.box, inside)

    def _varied(self, variation: Variation) -> Job:
        parameters = {
            "variation": {"seed": variation.seed, "step_factor": variation.step_factor, "lean": variation.lean},
            **self.refinement.parameters,
            "asked": self.asked,
            "seed": self.seed,
        }
        return Job(self.refinement.snapshot, refine_turn(variation=variation), "candidate", parameters)

    def _dice(self, one: _Made, other: _Made) -> float:
        """Dice of two candidates over the whole label."""
        box = union_of(made.box for made in (one, other) if made.box is not None)
        total = one.voxels + other.voxels
        if box is None or not total:
            return 1.0
        before = self.refinement.snapshot.percent[box.slices] > MASK_THRESHOLD
        first, second = (made.inside_of(box, before) for made in (one, other))
        outside = self.refinement.snapshot.extent.voxels - np.count_nonzero(before)
        return float(2 * (np.count_nonzero(first & second) + outside) / total)


@dataclass(frozen=True, eq=False)
class _Made:
    """A candidate: the `voxels` of its mask, the box where that differs from the mask before, what is inside there."""

    delta: SessionDelta
    voxels: int
    box: Box | None = None
    inside: Mask | None = None

    def inside_of(self, box: Box, before: Mask) -> Mask:
        """True in its mask over a larger box, in which the mask before is `before`."""
        if self.box is None or self.inside is None or self.box == box:
            return before if self.inside is None else self.inside
        mask = before.copy()
        mask[self.box.shifted((-box.start[0], -box.start[1], -box.start[2])).slices] = self.inside
        return mask


def _side_by_side() -> int:
    """How many candidates are made at a time: the window and the model need cores as well."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // CORES_EACH)


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
