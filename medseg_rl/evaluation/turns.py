"""A robot drives the same session as the window does. One turn after the other; no metric, no file.

The session never sees the reference: the robot looks at it and clicks.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import Cancelled
from medseg_rl.evaluation.cases import EvaluationCase
from medseg_rl.evaluation.oracle import InsideBox, oracle_box
from medseg_rl.evaluation.records import CRASH, INVALID, OK, TIMEOUT
from medseg_rl.hints.clicks import Click
from medseg_rl.hints.robots import Robot, robot_rng
from medseg_rl.interaction import InteractionConfig
from medseg_rl.refiner import (
    HIGHEST,
    LOWEST,
    Percent,
    RefinementRequest,
    Refiner,
    never_cancelled,
    no_preview,
    reach_of,
    view_side,
)
from medseg_rl.session import SegmentationSession

Mask = npt.NDArray[np.bool_]
RoiKind = Literal["common", "product", "whole", "oracle"]
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Plan:
    """What every method of a table shares. `interactions`: turns after the start. `guard_mm` None: locality guard off.

    `empty_start_side_mm`: side of the common region of an empty start; no other region needs it. `timeout_s`: of one
    interaction.
    """

    robot_seed: int = 0
    interactions: int = 20
    steps: int = 3
    roi: RoiKind = "common"
    enforce_clicks: bool = True
    guard_mm: float | None = None
    empty_start_side_mm: float | None = 64.0
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True, eq=False)
class Turn:
    """The state after one interaction; `number` 0 is the start. `clicks`: all so far, the last `n_new` of this turn.

    `seconds`: click in, full-resolution mask out. `respected_raw`: for each click of this turn whether its voxel had
    the label before enforcement. `error`: what a failed interaction said.
    """

    number: int
    mask: Mask
    clicks: tuple[Click, ...]
    n_new: int
    status: str
    seconds: float | None = None
    respected_raw: tuple[bool, ...] | None = None
    error: str = ""


def drive(
    case: EvaluationCase,
    refiner: Refiner | None,
    robot: Robot,
    plan: Plan,
    *,
    cancel: Callable[[], bool] = never_cancelled,
    alarm: bool = False,
) -> Iterator[Turn]:
    """The start, then a turn for each interaction; ends early where the robot finds no click or an interaction fails.

    `refiner` None: the start alone. `alarm`: also stop a refiner that never asks `cancel` (POSIX, main thread).
    A failed turn has an empty mask and a status that says why. Raises `Cancelled` when `cancel` answers True.
    """
    if refiner is not None and plan.roi == "oracle":
        refiner = InsideBox(refiner, oracle_box(case.image, case.reference))
    watched = _Watched(refiner, plan.timeout_s) if refiner is not None else None
    session = SegmentationSession(case.image, watched or _no_refiner, _interaction_config(plan))
    if case.start is not None:
        session.set_start(case.start)
    clicks: tuple[Click, ...] = ()
    mask = session.mask
    yield Turn(0, mask, clicks, 0, OK)
    for number in range(1, plan.interactions + 1 if watched is not None else 1):
        if cancel():
            raise Cancelled("evaluation stopped; finished cases are kept and the same command goes on")
        rng = robot_rng(case.id, plan.robot_seed, number)
        new = robot.next_clicks(case.reference, mask, clicks, case.image.spacing, robot.clicks_per_interaction, rng)
        if not new:
            return
        clicks = (*clicks, *new)
        turn = _interact(session, watched, number, clicks, len(new), plan, alarm)
        yield turn
        if turn.status != OK:
            return
        mask = turn.mask


def _interact(
    session: SegmentationSession,
    watched: _Watched | None,
    number: int,
    clicks: tuple[Click, ...],
    n_new: int,
    plan: Plan,
    alarm: bool,
) -> Turn:
    started = time.perf_counter()
    try:
        with _time_limit(plan.timeout_s if alarm else None):
            report = session.click_voxels(clicks[len(clicks) - n_new :])
        seconds = time.perf_counter() - started
        if seconds <= plan.timeout_s:
            respected_raw = report.respected_raw or None
            return Turn(number, session.mask, clicks, n_new, OK, report.timings.total, respected_raw)
        status, said = TIMEOUT, f"{seconds:.0f} s"
    except Exception as error:  # whatever a method does wrong counts against it, and must not end the evaluation
        timed_out = isinstance(error, _OutOfTimeError) or (
            isinstance(error, Cancelled) and watched is not None and watched.late
        )
        status = TIMEOUT if timed_out else INVALID if isinstance(error, _InvalidMaskError) else CRASH
        said = f"{type(error).__name__}: {error}".splitlines()[0]
    return Turn(number, np.zeros(session.image.shape, np.bool_), clicks, n_new, status, error=said)


def _interaction_config(plan: Plan) -> InteractionConfig:
    return InteractionConfig(
        roi="whole" if plan.roi == "oracle" else plan.roi,
        two_scale=plan.roi != "oracle",
        steps=plan.steps,
        enforce_clicks=plan.enforce_clicks,
        edit_radius_mm=plan.guard_mm,
        empty_start_side_mm=plan.empty_start_side_mm,
    )


class _OutOfTimeError(Exception):
    """An interaction took longer than the protocol allows."""


class _InvalidMaskError(Exception):
    """A refiner returned what is no state of its region."""


class _Watched:
    """A refiner under the protocol's clock, whose answers are checked before the session may repair them."""

    def __init__(self, refiner: Refiner, timeout_s: float) -> None:
        self._refiner, self._timeout_s = refiner, timeout_s
        self.name, self.view_voxels, self.reach_mm = refiner.name, view_side(refiner), reach_of(refiner)
        self.late = False

    def describe(self) -> dict[str, Any]:
        return self._refiner.describe()

    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        deadline = time.perf_counter() + self._timeout_s
        self.late = False

        def stop() -> bool:
            self.late = time.perf_counter() > deadline
            return self.late or cancel()

        percent = self._refiner.refine(request, cancel=stop, preview=preview)
        if percent.shape != request.percent.shape or percent.dtype != np.uint8:
            raise _InvalidMaskError(f"{percent.shape} {percent.dtype} for a region of {request.percent.shape} uint8")
        if percent.size and not (percent.min() >= LOWEST and percent.max() <= HIGHEST):
            raise _InvalidMaskError(f"hundredths from {percent.min()} to {percent.max()}, not within 1..99")
        return percent


def _no_refiner() -> Refiner:
    raise RuntimeError("the automatic start has no refiner and gets no click")


@contextlib.contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Raise in the block when it takes longer. Only a main thread on POSIX can be interrupted so."""
    if seconds is None or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise _OutOfTimeError(f"no answer after {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
