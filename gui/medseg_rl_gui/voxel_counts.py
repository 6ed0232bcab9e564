"""How many voxels each label of the open case has. Counted once on the worker, then kept up by what each write changed.

So no edit and no undo costs a look at the whole volume. Knows no widget.
"""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QObject, Signal

from medseg_rl.labels import BACKGROUND, value_counts
from medseg_rl.session import SegmentationSession
from medseg_rl.session.arrays import layer_of
from medseg_rl.session.events import SessionEvent
from medseg_rl_gui.case import CaseInHand
from medseg_rl_gui.desk import Desk
from medseg_rl_gui.worker import Rank, Task

Counts = dict[int, int]


class VoxelCounts(QObject):
    """`counted`: the first count of a case is there. What an edit changes is known as soon as the desk tells of it."""

    counted = Signal()

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._desk = desk
        self._session: SegmentationSession | None = None
        self._counts: Counts | None = None
        self._task: Task | None = None
        desk.case_changed.connect(self._take)

    def of(self, value: int) -> int | None:
        """Accepted voxels of a label; None while they are still being counted."""
        return None if self._counts is None else self._counts.get(value, 0)

    def _take(self, case: CaseInHand | None) -> None:
        if self._session is not None and self._follow in self._session.observers:
            self._session.observers.remove(self._follow)
        if self._task is not None:
            self._task.stop()
        self._counts, self._task = None, None
        self._session = None if case is None else case.session
        if self._session is not None:
            self._session.observers.append(self._follow)
            self._count(self._session)

    def _count(self, session: SegmentationSession) -> None:
        version, layers = session.version, session.label_layers

        def run(task: Task) -> Counts:
            found: Counts = {}
            for layer in layers:
                task.check()
                _add(found, value_counts(layer), 1)
            return found

        self._task = self._desk.worker.submit(
            run, rank=Rank.QUANTITIES, done=lambda found: self._counted(session, version, found)
        )

    def _counted(self, session: SegmentationSession, version: int, found: Counts) -> None:
        if session is not self._session:
            return
        if session.version != version:  # it was written into meanwhile
            self._count(session)
            return
        self._counts, self._task = found, None
        self.counted.emit()

    def _follow(self, event: SessionEvent) -> None:
        """The session has changed; no signal from here: whoever changed it tells the desk."""
        if self._counts is None:
            return
        sign = -1 if event.direction == "undo" else 1
        for key, delta in event.entry.deltas:
            if layer_of(key) is not None:
                _add(self._counts, value_counts(delta.new_values()), sign)
                _add(self._counts, value_counts(delta.old_values()), -sign)


def _add(counts: Counts, more: Mapping[int, int], sign: int) -> None:
    for value, voxels in more.items():
        if value != BACKGROUND:
            counts[value] = counts.get(value, 0) + sign * voxels
