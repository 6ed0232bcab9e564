"""Waiting for the worker: the window answers, Cancel answers at once, errors come back, nothing is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QDialogButtonBox

from medseg_rl.errors import Cancelled, InputFileError, MedSegError
from medseg_rl_gui.opening.waiting import OnWorker, Progress


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def waiting(worker: ThreadPoolExecutor) -> OnWorker:
    return OnWorker(worker.submit)


def test_what_the_worker_returns_comes_back_and_short_work_shows_nothing(waiting: OnWorker) -> None:
    seen: list[bool] = []
    QTimer.singleShot(20, lambda: seen.append(waiting.dialog is not None and waiting.dialog.isVisible()))

    def work(progress: Progress) -> str:
        time.sleep(0.06)
        return threading.current_thread().name

    assert waiting.wait("Opening", work) != threading.current_thread().name
    assert seen == [False]


def test_longer_work_shows_what_it_does_while_the_window_answers(
    waiting: OnWorker, picture: Callable[..., Path]
) -> None:
    texts: list[str] = []
    done = threading.Event()

    def look() -> None:
        assert waiting.dialog is not None
        if waiting.dialog.isVisible() and waiting.dialog.text.text() == "120 files searched":
            picture(waiting.dialog, "progress")
            texts.append(waiting.dialog.text.text())
            done.set()

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(20)

    def work(progress: Progress) -> None:
        progress.say("120 files searched")
        assert done.wait(10)

    waiting.wait("Searching for DICOM series", work)
    timer.stop()
    assert texts[0] == "120 files searched"


def test_cancel_answers_at_once_even_when_the_work_cannot_stop(waiting: OnWorker) -> None:
    let_go = threading.Event()

    def cancel() -> None:
        assert waiting.dialog is not None
        waiting.dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Cancel).click()

    def work(progress: Progress) -> None:
        let_go.wait(10)

    timer = QTimer()
    timer.setSingleShot(True)
    timer.timeout.connect(cancel)
    timer.start(400)
    with pytest.raises(Cancelled):
        waiting.wait("Reading", work)
    assert not let_go.is_set()
    let_go.set()
    assert waiting.wait("Again", lambda progress: 5) == 5


def test_errors_of_the_worker_are_raised_where_it_was_asked_for(waiting: OnWorker) -> None:
    def fail(progress: Progress) -> None:
        raise InputFileError("cut off")

    with pytest.raises(InputFileError, match="cut off"):
        waiting.wait("Reading", fail)


def test_one_thing_at_a_time(waiting: OnWorker) -> None:
    said: list[str] = []
    go_on = threading.Event()

    def second() -> None:
        try:
            waiting.wait("Second", lambda progress: None)
        except MedSegError as error:
            said.append(str(error))
        go_on.set()

    QTimer.singleShot(10, second)
    waiting.wait("First", lambda progress: go_on.wait(10))
    assert "still being done" in said[0]
