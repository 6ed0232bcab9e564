"""The worker with a session that is none: delay, failure, stop, out of memory; busy cleared, the window answers."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from PySide6.QtCore import QCoreApplication, QTimer

from medseg_rl.errors import Cancelled, MedSegError
from medseg_rl_gui.worker import Rank, Task, Worker, is_out_of_memory, reason_of

WaitUntil = Callable[..., None]


@pytest.fixture
def worker(qapp: object) -> Iterator[Worker]:
    made = Worker()
    yield made
    assert made.close()
    QCoreApplication.processEvents()
    made.deleteLater()


class Told:
    """What came back of one piece of work."""

    def __init__(self, worker: Worker, run: Callable[[Task], object], rank: Rank = Rank.REFINEMENT) -> None:
        self.found: list[object] = []
        self.errors: list[Exception] = []
        self.stops = 0
        self.previews: list[object] = []
        self.task = worker.submit(
            run,
            rank=rank,
            what="test",
            done=self.found.append,
            failed=self.errors.append,
            stopped=self._stopped,
            progressed=self.previews.append,
        )

    def _stopped(self) -> None:
        self.stops += 1

    @property
    def is_over(self) -> bool:
        return bool(self.found or self.errors or self.stops)


def steps(task: Task, *, until: threading.Event | None = None) -> str:
    """Work that asks after each short step whether it is to end."""
    end = time.monotonic() + 5
    while time.monotonic() < end and not (until is not None and until.is_set()):
        task.check()
        time.sleep(0.005)
    return "done"


def test_a_result_comes_back_on_the_main_thread(worker: Worker, wait_until: WaitUntil) -> None:
    threads: list[threading.Thread] = []

    def found(_: object) -> None:
        threads.append(threading.current_thread())

    worker.submit(lambda task: threads.append(threading.current_thread()), rank=Rank.SAVE, done=found)
    wait_until(lambda: len(threads) == 2)
    assert threads[0] is not threading.main_thread()
    assert threads[1] is threading.main_thread()


@pytest.mark.parametrize("error", [MedSegError("no"), ValueError("defect"), MemoryError("Unable to allocate 9 GiB")])
def test_a_failure_is_told_and_busy_is_cleared(worker: Worker, wait_until: WaitUntil, error: Exception) -> None:
    busy: list[object] = []
    worker.busy_changed.connect(busy.append)

    def fail(task: Task) -> None:
        raise error

    told = Told(worker, fail)
    wait_until(lambda: told.is_over)
    assert told.errors == [error]
    assert busy == [told.task, None]
    assert worker.running is None


def test_stopping_answers_within_one_step_and_clears_busy(worker: Worker, wait_until: WaitUntil) -> None:
    busy: list[object] = []
    worker.busy_changed.connect(busy.append)
    told = Told(worker, steps)
    wait_until(lambda: bool(busy))
    told.task.stop()
    wait_until(lambda: told.is_over, 1.0)
    assert (told.stops, told.found, busy[-1]) == (1, [], None)


def test_work_that_was_stopped_before_it_began_never_runs(worker: Worker, wait_until: WaitUntil) -> None:
    gate, ran = threading.Event(), []
    first = Told(worker, lambda task: gate.wait(5))
    second = Told(worker, ran.append)
    second.task.stop()
    gate.set()
    wait_until(lambda: first.is_over and second.is_over)
    assert (ran, second.stops) == ([], 1)


def test_refinement_goes_before_saving_before_surfaces_before_quantities(worker: Worker, wait_until: WaitUntil) -> None:
    gate, order = threading.Event(), []
    worker.submit(lambda task: gate.wait(5), rank=Rank.SAVE)
    for rank in (Rank.QUANTITIES, Rank.SURFACE, Rank.SAVE, Rank.REFINEMENT):
        worker.submit(lambda task, rank=rank: order.append(rank), rank=rank)
    gate.set()
    wait_until(lambda: len(order) == 4)
    assert order == [Rank.REFINEMENT, Rank.SAVE, Rank.SURFACE, Rank.QUANTITIES]


def test_a_refinement_interrupts_a_surface_which_then_runs_again(worker: Worker, wait_until: WaitUntil) -> None:
    order: list[str] = []
    may_end = threading.Event()

    def surface(task: Task) -> str:
        order.append("surface")
        return steps(task, until=may_end)

    told = Told(worker, surface, Rank.SURFACE)
    wait_until(lambda: order == ["surface"])
    worker.submit(lambda task: order.append("refinement"), rank=Rank.REFINEMENT)
    wait_until(lambda: len(order) == 3)
    may_end.set()
    wait_until(lambda: told.is_over)
    assert order == ["surface", "refinement", "surface"]
    assert (told.found, told.stops) == (["done"], 0)


def test_of_several_previews_the_newest_is_handed_on(worker: Worker, wait_until: WaitUntil) -> None:
    def preview(task: Task) -> None:
        for n in range(100):
            task.progress(n)

    told = Told(worker, preview)
    time.sleep(0.1)
    wait_until(lambda: told.is_over)
    assert told.previews[-1] == 99
    assert len(told.previews) < 100


def test_the_window_answers_within_50_ms_while_the_worker_works(worker: Worker, wait_until: WaitUntil) -> None:
    ticks: list[tuple[float, float]] = []
    timer = QTimer()
    timer.setInterval(5)
    timer.timeout.connect(lambda: ticks.append((time.perf_counter(), time.process_time())))

    def busy(task: Task) -> int:
        end, total = time.monotonic() + 0.5, 0
        while time.monotonic() < end:
            total += sum(range(1000))
            task.progress(total)
        return total

    timer.start()
    told = Told(worker, busy)
    wait_until(lambda: told.is_over)
    timer.stop()
    # What this process computed between two ticks: what other programs took of the machine is not its stall.
    gaps = sorted(min(b - a for a, b in zip(*pair, strict=True)) for pair in itertools.pairwise(ticks))
    assert len(gaps) > 3
    assert gaps[len(gaps) * 95 // 100] < 0.05


def test_closing_saves_what_waits_and_stops_the_rest(qapp: object) -> None:
    worker, saved = Worker(), []
    running = Told(worker, steps)
    waiting = Told(worker, steps, Rank.QUANTITIES)
    worker.submit_saving(lambda: saved.append(1))
    assert worker.close(5.0)
    QCoreApplication.processEvents()
    assert (saved, running.stops, waiting.stops) == ([1], 1, 1)
    worker.deleteLater()


def test_reasons_are_sentences() -> None:
    assert reason_of(MedSegError("label 2 is locked")) == "Label 2 is locked"
    assert "9 GiB" in reason_of(MemoryError("Unable to allocate 9 GiB"))
    assert "smaller region" in reason_of(RuntimeError("DefaultCPUAllocator: can't allocate memory: 12 bytes"))
    chained = MedSegError("out of memory while refining")
    chained.__cause__ = MemoryError()
    assert is_out_of_memory(chained)
    assert not is_out_of_memory(Cancelled("stopped"))
