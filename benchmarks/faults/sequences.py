"""Random users of a session by the thousand: undo-all and redo-all are bit-identical, and locks hold.

The users, and what must hold, are those of tests/unit/session_actions.py; this only repeats them and counts.
"""

from __future__ import annotations

import importlib
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np

from benchmarks.faults.tally import Row

LONGEST = 12  # actions of one sequence
PART = 100  # sequences of one task of a worker


@dataclass
class Outcome:
    """`broken`: one trace for each sequence that did not hold, with its number."""

    sequences: int = 0
    actions: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """One row."""
        said = (
            f"{self.actions} actions of {len(self.kinds)} kinds, {self.entries} entries undone and redone bit for bit;"
            " after every action: locked labels as they were, refused actions without a trace, masks and probabilities"
            " of one mind"
        )
        return [("**random action sequences**", self.sequences, said, len(self.broken))]


def run(count: int, seed: int, *, workers: int = 1) -> Outcome:
    """That many sequences, each made from `seed` and its number alone."""
    parts = [(seed, first, min(PART, count - first)) for first in range(0, count, PART)]
    if workers == 1:
        return _together([_part(part) for part in parts])
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return _together(list(pool.map(_part, parts)))


def _together(parts: list[Outcome]) -> Outcome:
    whole = Outcome()
    for part in parts:
        whole.sequences += part.sequences
        whole.actions += part.actions
        whole.entries += part.entries
        whole.kinds += part.kinds
        whole.broken += part.broken
    return whole


def _part(given: tuple[int, int, int]) -> Outcome:
    seed, first, count = given
    outcome = Outcome()
    for number in range(first, first + count):
        outcome.sequences += 1
        try:
            _one(np.random.default_rng((seed, number)), outcome)
        except Exception:  # what is looked for; the next sequence begins anew
            outcome.broken.append(f"sequence {number}: {traceback.format_exc()}")
    return outcome


def _one(rng: np.random.Generator, outcome: Outcome) -> None:
    user: Any = importlib.import_module("tests.unit.session_actions")
    session = user.started(variant=int(rng.integers(4)))
    first = user.everything(session)
    for _ in range(int(rng.integers(1, LONGEST + 1))):
        kind, seed = user.KINDS[int(rng.integers(len(user.KINDS)))], int(rng.integers(2**32))
        user.settle(session, kind, seed)
        before = user.locked_masks(session) if kind not in ("undo", "redo") else {}
        covered = {value: _covered(session, value) for value in before}
        user.act(session, kind, seed)
        user.check(session)
        outcome.actions += 1
        outcome.kinds[kind] += 1
        now = {value: _mask(session, value) for value in before if value in session.labels}
        if not all(np.array_equal(mask, before[value]) for value, mask in now.items()):
            raise AssertionError(f"{kind} wrote into a locked label")
        if any((_covered(session, value) & ~covered[value]).any() for value in now):
            raise AssertionError(f"{kind} wrote over a locked label")
    _undo_and_redo(user, session, first, outcome)


def _undo_and_redo(user: Any, session: Any, first: object, outcome: Outcome) -> None:
    last, names = user.everything(session), session.history.undo_names
    outcome.entries += len(names)
    while session.undo():
        pass
    if user.everything(session) != first:
        raise AssertionError(f"undoing {names} did not lead back")
    for _ in names:
        session.redo()
    if user.everything(session) != last:
        raise AssertionError(f"redoing {names} did not lead there again")


def _mask(session: Any, value: int) -> Any:
    return np.any([layer == value for layer in session._arrays.layers], axis=0)


def _covered(session: Any, value: int) -> Any:
    """Where another label lies on this one, in another layer."""
    mask = _mask(session, value)
    return mask & np.any([(layer != 0) & (layer != value) for layer in session._arrays.layers], axis=0)
