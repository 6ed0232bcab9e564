"""The one worker thread: it owns torch, files and long operations; results come back to the main thread.

    task = worker.submit(lambda task: job.run(task.is_stopped, task.progress), rank=Rank.REFINEMENT, done=apply)

Order: refinement, save, surface, quantities. A refinement interrupts the last two, which then run again. Writes no
session: what a task found is handed to `done` on the main thread, where its version is checked.
"""

from __future__ import annotations

import heapq
import sys
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from PySide6.QtCore import QObject, Qt, Signal

from medseg_rl.errors import Cancelled, MedSegError
from medseg_rl_gui.i18n import tr

WAIT_SECONDS = 5.0  # for work that was asked to stop, when the window closes
TURN_SECONDS = 0.001  # for which the worker may keep the interpreter while the window waits for it


class Rank(IntEnum):
    """What goes first. Only those from `SURFACE` on are interrupted by a refinement."""

    REFINEMENT = 0
    SAVE = 1
    SURFACE = 2
    QUANTITIES = 3


def ignore(_: Any = None) -> None:
    """For results that nobody waits for."""


class Task:
    """One piece of work on its way. `what`: for the progress bar, empty for what need not be shown."""

    def __init__(self, worker: Worker, run: Callable[[Task], Any], rank: Rank, what: str) -> None:
        self.run, self.rank, self.what = run, rank, what
        self.done: Callable[[Any], object] = ignore
        self.failed: Callable[[Exception], object] = ignore
        self.stopped: Callable[[], object] = ignore
        self.progressed: Callable[[Any], object] = ignore
        self._worker = worker
        self._stop, self._interrupted = threading.Event(), threading.Event()
        self._latest: list[Any] = []

    def stop(self) -> None:
        """Asks it to end at its next step; `stopped` is called, also when it had not begun."""
        self._stop.set()

    @property
    def is_given_up(self) -> bool:
        """Whether it was asked to stop for good."""
        return self._stop.is_set()

    def is_stopped(self) -> bool:
        """For the work: whether it is to end now, raising Cancelled."""
        return self._stop.is_set() or self._interrupted.is_set()

    def check(self) -> None:
        """For the work: raises Cancelled when it is to end."""
        if self.is_stopped():
            raise Cancelled(tr("stopped"))

    def progress(self, value: Any) -> None:
        """For the work: hands something to `progressed` on the main thread; the newest where several wait."""
        waiting, self._latest = bool(self._latest), [value]
        if not waiting:
            self._worker.deliver(self._hand_on)

    def _hand_on(self) -> None:
        latest, self._latest = self._latest, []
        if latest and not self._stop.is_set():
            self.progressed(latest[0])


class Worker(QObject):
    """`busy_changed`: the task that runs now and is to be shown, or None; cleared whatever became of it."""

    busy_changed = Signal(object)
    _arrived = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int, Task]] = []
        self._number = 0
        self._running: Task | None = None
        self._is_closing = False
        self._arrived.connect(self._take, Qt.ConnectionType.QueuedConnection)
        sys.setswitchinterval(min(sys.getswitchinterval(), TURN_SECONDS))
        self._thread = threading.Thread(target=self._work, name="medseg-rl worker", daemon=True)
        self._thread.start()

    # --- for the main thread ------------------------------------------------------------------------------------------

    def submit(
        self,
        run: Callable[[Task], Any],
        *,
        rank: Rank,
        what: str = "",
        done: Callable[[Any], object] = ignore,
        failed: Callable[[Exception], object] = ignore,
        stopped: Callable[[], object] = ignore,
        progressed: Callable[[Any], object] = ignore,
    ) -> Task:
        """Queues work. Exactly one of `done`, `failed` and `stopped` is called on the main thread."""
        task = Task(self, run, rank, what)
        task.done, task.failed, task.stopped, task.progressed = done, failed, stopped, progressed
        with self._changed:
            self._push(task)
            running = self._running
            if rank == Rank.REFINEMENT and running is not None and running.rank >= Rank.SURFACE:
                running._interrupted.set()
            self._changed.notify_all()
        return task

    def submit_saving(self, work: Callable[[], None]) -> None:
        """Work without a result, in the order given: what autosave, feedback and files hand over."""
        self.submit(lambda task: work(), rank=Rank.SAVE, failed=_defect)

    @property
    def running(self) -> Task | None:
        """What runs now."""
        return self._running

    def finish_saving(self, seconds: float = WAIT_SECONDS) -> bool:
        """Waits until nothing is left to be saved; what else waits or runs is stopped. False when it took too long."""
        with self._changed:
            for task in self._all():
                if task.rank != Rank.SAVE:
                    task.stop()
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._all(), seconds)

    def close(self, seconds: float = WAIT_SECONDS) -> bool:
        """Stops what runs, lets what is to be saved be saved, ends the thread. False when it did not end in time."""
        began = time.monotonic()
        finished = self.finish_saving(seconds)
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(max(0.1, seconds - (time.monotonic() - began)))
        return finished and not self._thread.is_alive()

    def deliver(self, call: Callable[[], object]) -> None:
        """Has something called on the main thread, in order; from any thread."""
        try:
            self._arrived.emit(call)
        except RuntimeError:  # the window is gone already
            return

    def _take(self, call: Callable[[], object]) -> None:
        call()

    # --- on the worker ------------------------------------------------------------------------------------------------

    def _push(self, task: Task) -> None:
        self._number += 1
        heapq.heappush(self._waiting, (task.rank, self._number, task))

    def _all(self) -> list[Task]:
        running = [] if self._running is None else [self._running]
        return running + [task for _, _, task in self._waiting]

    def _next(self) -> Task | None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._is_closing)
            if not self._waiting:
                return None
            self._running = heapq.heappop(self._waiting)[2]
            return self._running

    def _work(self) -> None:
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        """One task; False when there is to be none any more. Whoever waits for the next holds nothing of the last."""
        task = self._next()
        if task is None:
            return False
        ending: Callable[[], object] | None = None
        if task.what:
            self.deliver(lambda: self.busy_changed.emit(task))
        try:
            ending = self._ending(task)
        finally:
            self._cleared(task, again=ending is None)
        if task.what:
            self.deliver(lambda: self.busy_changed.emit(None))
        if ending is not None:
            self.deliver(ending)
        return True

    def _ending(self, task: Task) -> Callable[[], object] | None:
        """Does the work, and says what is to be called on the main thread; None where it is to run again."""
        try:
            if task.is_given_up:
                return task.stopped
            found = task.run(task)
        except Cancelled:
            return task.stopped if task.is_given_up or not task._interrupted.is_set() else None
        except Exception as error:
            failure = error
            return lambda: task.failed(failure)
        return task.stopped if task.is_given_up else lambda: task.done(found)

    def _cleared(self, task: Task, *, again: bool) -> None:
        with self._changed:
            self._running = None
            task._interrupted.clear()
            if again and not self._is_closing:
                self._push(task)
            self._changed.notify_all()


def reason_of(error: Exception) -> str:
    """Why work failed, as a sentence for the user; after an exhausted memory with the size asked for."""
    if is_out_of_memory(error):
        said = str(error).splitlines()[0] if str(error) else tr("size unknown")
        text = tr("Not enough memory ({size}). Use a smaller region: lower the guard radius, or draw a box around it.")
        return text.format(size=said)
    if isinstance(error, MedSegError):
        text = str(error)
        return text[:1].upper() + text[1:]
    return tr("This went wrong inside the program: {what}").format(what=f"{type(error).__name__}: {error}")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, of this computer or of its GPU."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "can't allocate memory" in text:
            return True
        error = error.__cause__
    return False


def _defect(error: Exception) -> None:
    raise error
