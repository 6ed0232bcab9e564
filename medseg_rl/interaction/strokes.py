"""Brush strokes into a running turn: the step ends, what was painted becomes hard, the other steps go on around it.

`Strokes` is the letter box between the thread that paints and the one that refines. Knows nothing of brushes: a stroke
is voxels. Whole-volume indices in the order the turn works in.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.history import BoxDelta
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, Percent
from medseg_rl.volume import Box

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Stroke:
    """`painted`: from 0 to 99 where painted and to 1 where erased. `after_step`: taken when so many steps are done."""

    painted: BoxDelta
    after_step: int = 0

    @classmethod
    def of(cls, box: Box, voxels: Mask, *, foreground: bool, after_step: int = 0) -> Stroke | None:
        """From the voxels of a box that were painted or erased; None for none."""
        values = np.where(voxels, np.uint8(HIGHEST if foreground else LOWEST), np.uint8(0))
        painted = BoxDelta.encode(box.start, np.zeros_like(values), values)
        return None if painted is None else cls(painted, after_step)

    @property
    def foreground(self) -> bool:
        """Painted, not erased."""
        return bool(self.painted.new_values()[0] > MASK_THRESHOLD)

    def apply(self, percent: Percent, box: Box) -> None:
        """Write it into the state of a region that holds it."""
        self.painted.apply(percent, box.start)

    def mark(self, mask: Mask, box: Box) -> None:
        """Set the painted voxels True in a mask of that region."""
        own = self.painted.box
        part = own.shifted((-box.start[0], -box.start[1], -box.start[2]))
        mask[part.slices] |= self.painted.changed_voxels()


@dataclass(frozen=True, eq=False)
class Intervention:
    """A stroke and what it met. Arrays over `box`, the region of the turn.

    `before`: state that the interrupted step began with; `proposed`: after that step, None where none was done yet;
    `voxels`: True where painted; `step`: number of the interrupted step, from 0.
    """

    box: Box
    before: Percent
    proposed: Percent | None
    voxels: Mask
    foreground: bool
    step: int


class Strokes:
    """Strokes on their way into a turn. `put` and `region` are for the painting thread, the rest for the turn."""

    def __init__(self, given: Iterable[tuple[Stroke, Mapping[str, Any]]] = ()) -> None:
        """`given`: strokes to be taken at their step, and what to note of each."""
        strokes = list(given)
        self._lock = threading.Lock()
        self._waiting: list[Stroke] = [stroke for stroke, _ in strokes]
        self._region: Box | None = None
        self._open = True
        self._notes: dict[int, dict[str, Any]] = {id(stroke.painted): dict(note) for stroke, note in strokes}
        self.taken: list[Stroke] = []
        self.met: list[Intervention] = []

    @property
    def region(self) -> Box | None:
        """The region that is being refined; None before it is chosen."""
        return self._region

    @property
    def are_coming(self) -> bool:
        """Whether strokes were given beforehand, to be taken at their step."""
        return bool(self._waiting)

    def put(self, stroke: Stroke, note: Mapping[str, Any] | None = None) -> bool:
        """Hand in a stroke; False where it is too late for it, or it leaves the region that is being refined.

        `note`: what it takes to paint it again, kept for `notes`.
        """
        with self._lock:
            inside = self._region is not None and stroke.painted.box.intersection(self._region) == stroke.painted.box
            if not (self._open and inside):
                return False
            self._waiting.append(stroke)
            self._notes[id(stroke.painted)] = dict(note or {})
            return True

    def start(self) -> None:
        """A run begins; what an earlier one had taken before it was stopped comes again at its step."""
        with self._lock:
            self._waiting = [*self.taken, *self._waiting]
            self.taken, self.met = [], []
            self._region, self._open = None, True

    def stop(self) -> None:
        """The run is over, whatever became of it: no stroke is taken any more."""
        with self._lock:
            self._open = False

    @property
    def handed_in(self) -> list[tuple[Stroke, dict[str, Any]]]:
        """All strokes and what to note of them, for a run in place of this one: to be taken at once."""
        with self._lock:
            strokes = [*self.taken, *self._waiting]
        return [(Stroke(stroke.painted), self._notes.get(id(stroke.painted), {})) for stroke in strokes]

    def begin(self, region: Box) -> None:
        """The turn works on this region now; the first, or a larger one that holds the last."""
        self._region = region

    def close(self) -> bool:
        """Take no more strokes; False, and still open, where one is waiting."""
        with self._lock:
            if self._waiting:
                return False
            self._open = False
            return True

    def are_due(self, steps_done: int) -> bool:
        """Whether a stroke waits that is to be taken after so many steps."""
        return any(stroke.after_step <= steps_done for stroke in self._waiting)

    def take(self, steps_done: int, before: Percent, proposed: Percent | None) -> list[Stroke]:
        """The strokes due now, noted with what they met: states over the region."""
        assert self._region is not None
        with self._lock:
            due = [stroke for stroke in self._waiting if stroke.after_step <= steps_done]
            self._waiting = [stroke for stroke in self._waiting if stroke.after_step > steps_done]
        for stroke in due:
            voxels = np.zeros(self._region.shape, np.bool_)
            stroke.mark(voxels, self._region)
            step = max(0, steps_done - 1)
            self.met.append(Intervention(self._region, before, proposed, voxels, stroke.foreground, step))
            self.taken.append(Stroke(stroke.painted, max(stroke.after_step, steps_done)))
        return due

    @property
    def notes(self) -> list[dict[str, Any]]:
        """For each stroke taken: after which step, and what it takes to paint it again."""
        return [{"after_step": s.after_step} | self._notes.get(id(s.painted), {}) for s in self.taken]

    def last(self, steps_done: int) -> int:
        """When the steps are over all that wait are due: the number that makes them so."""
        return max([steps_done, *(stroke.after_step for stroke in self._waiting)])
