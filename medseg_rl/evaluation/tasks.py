"""One case, one method, one robot seed: driven, scored and kept as a file of its own, so nothing is done twice."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg_rl import metrics
from medseg_rl.dataset import Case, Target, target_name
from medseg_rl.evaluation.cases import StartKind, load_evaluation_case
from medseg_rl.evaluation.memory import PeakMemory
from medseg_rl.evaluation.methods import Method
from medseg_rl.evaluation.records import CRASH, FAILURES, NO_CLICK_LEFT, OK, Record, record_of, row_of
from medseg_rl.evaluation.scoring import Scores, respected, score
from medseg_rl.evaluation.turns import Plan, Turn, drive
from medseg_rl.hints.robots import ROBOTS, robot_rng
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.refiner import Refiner, never_cancelled

if TYPE_CHECKING:
    from medseg_rl.automatic.starts import Starts


@dataclass(frozen=True)
class Task:
    """What one process does in one go; everything in it can be sent to another process.

    `path`: its result file. `fingerprint`: of all that decides the result; a file with another one is not used.
    `far_mm`: radius of the far-change figure. `starts`: folder of the automatic starts.
    """

    path: Path
    fingerprint: str
    set_name: str
    case: Case
    target: Target
    start: StartKind
    starts: Path | None
    robot: str
    method: Method
    config_hash: str
    train_seed: int | None
    plan: Plan
    far_mm: float
    threads: int = 1
    measure_memory: bool = False


@dataclass(frozen=True)
class TaskResult:
    """Rows by click; what failed, in words, or None; share of all clicks that hold their label at the end."""

    records: tuple[Record, ...]
    failure: dict[str, Any] | None
    respected_at_end: float | None


def finished(task: Task) -> TaskResult | None:
    """The stored result of a task; None where there is none, or one of other code, data or settings."""
    try:
        content = json.loads(task.path.read_text(encoding="utf-8"))
        if content["fingerprint"] != task.fingerprint:
            return None
        records = tuple(record_of(row) for row in content["rows"])
        return TaskResult(records, content["failure"], content["respected_at_end"])
    except (OSError, ValueError, KeyError):
        return None


def run_task(task: Task, cancel: Callable[[], bool] = never_cancelled) -> TaskResult:
    """Do the task, store its result, return it. Raises `Cancelled`, and what reading the case or the weights raises."""
    case = load_evaluation_case(task.case, task.target, task.start, _starts(task))
    memory = PeakMemory() if task.measure_memory else None
    refiner = _refiner(task.method, task.threads)
    records: list[Record] = []
    turns = drive(case, refiner, ROBOTS[task.robot](), task.plan, cancel=cancel, alarm=True)
    before = next(turns)
    records.append(_record(task, before, score(before.mask, case.reference, case.image.spacing), None, memory))
    for turn in turns:
        scores = score(turn.mask, case.reference, case.image.spacing)
        far = metrics.far_change(
            before.mask,
            turn.mask,
            case.reference,
            (click.index for click in turn.clicks),
            case.image.spacing,
            radius_mm=task.far_mm,
        )
        records.append(_record(task, turn, scores, far, memory))
        before = turn
    if refiner is not None:
        records += _carried(records[-1], task.plan.interactions)
    result = TaskResult(tuple(records), _failure(task, before), _respected_at_end(before))
    _store(task, result)
    return result


def died(task: Task) -> TaskResult:
    """The stored result of a task whose process died: empty from the first click on, as a crash counts."""
    case = load_evaluation_case(task.case, task.target, task.start, _starts(task))
    start = next(drive(case, None, ROBOTS[task.robot](), task.plan))
    robot, spacing = ROBOTS[task.robot](), case.image.spacing
    rng = robot_rng(case.id, task.plan.robot_seed, 1)
    clicks = robot.next_clicks(case.reference, start.mask, (), spacing, robot.clicks_per_interaction, rng)
    said = "its process died (killed or crashed); counted from the first click on"
    failed = Turn(1, np.zeros_like(start.mask), tuple(clicks), 0, CRASH, error=said)
    records = [_record(task, turn, score(turn.mask, case.reference, spacing), None, None) for turn in (start, failed)]
    records += _carried(records[-1], task.plan.interactions)
    result = TaskResult(tuple(records), _failure(task, failed), None)
    _store(task, result)
    return result


def _carried(last: Record, interactions: int) -> list[Record]:
    """The last row as the result of every interaction that did not take place."""
    status = NO_CLICK_LEFT if last.status == OK else last.status
    blank = replace(
        last,
        status=status,
        respected=None,
        respected_raw=None,
        changed_vox=None,
        far_vox=None,
        far_wrong_vox=None,
        latency_ms=None,
    )
    return [replace(blank, click=number) for number in range(last.click + 1, interactions + 1)]


_loaded: dict[Method, Refiner | None] = {}  # of this process, so that weights are read once


def _refiner(method: Method, threads: int) -> Refiner | None:
    if method not in _loaded:
        _loaded[method] = method.build()
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(threads)
    return _loaded[method]


def _starts(task: Task) -> Starts | None:
    if task.starts is None:
        return None
    from medseg_rl.automatic.starts import load_starts  # its package loads torch

    return load_starts(task.starts)


def _record(task: Task, turn: Turn, scores: Scores, far: metrics.FarChange | None, memory: PeakMemory | None) -> Record:
    held, held_raw = respected(turn)
    return Record(
        set=task.set_name,
        split=task.case.split,
        case=task.case.id,
        subject=task.case.group,
        structure=target_name(task.target),
        start=task.start,
        robot=task.robot,
        robot_seed=task.plan.robot_seed,
        method=task.method.name,
        config_hash=task.config_hash,
        train_seed=task.train_seed,
        roi_kind=task.plan.roi,
        click=turn.number,
        n_clicks=len(turn.clicks),
        m_steps=task.method.refinement_steps(task.plan.steps),
        dice=scores.dice,
        nsd_2mm=scores.nsd_2mm,
        nsd_1vox=scores.nsd_1vox,
        hd95_mm=scores.hd95_mm,
        assd_mm=scores.assd_mm,
        respected=held,
        respected_raw=held_raw,
        changed_vox=None if far is None else far.changed,
        far_vox=None if far is None else far.far,
        far_wrong_vox=None if far is None else far.far_wrong,
        latency_ms=None if turn.seconds is None else 1000 * turn.seconds,
        peak_mb=None if memory is None else memory.since_start_mb(),
        status=turn.status,
    )


def _failure(task: Task, last: Turn) -> dict[str, Any] | None:
    if last.status not in FAILURES:
        return None
    return {
        "method": task.method.name,
        "case": task.case.id,
        "robot_seed": task.plan.robot_seed,
        "click": last.number,
        "status": last.status,
        "error": last.error,
    }


def _respected_at_end(last: Turn) -> float | None:
    latest = {click.index: click.label for click in last.clicks}
    return metrics.respected(last.mask, latest.items()) if latest else None


def _store(task: Task, result: TaskResult) -> None:
    content = {
        "fingerprint": task.fingerprint,
        "failure": result.failure,
        "respected_at_end": result.respected_at_end,
        "rows": [row_of(record) for record in result.records],
    }
    with atomic_path(task.path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
