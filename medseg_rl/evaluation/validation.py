"""A quick look at a refiner on a few cases, in this process, Dice alone: for choosing weights and parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from medseg_rl import metrics
from medseg_rl.evaluation.cases import EvaluationCase
from medseg_rl.evaluation.records import OK
from medseg_rl.evaluation.turns import Plan, Turn, drive
from medseg_rl.hints.robots import ROBOTS, Robot
from medseg_rl.refiner import Refiner, never_cancelled


def validation_curve(
    cases: Sequence[EvaluationCase],
    refiner: Refiner,
    robot: Robot | str = "primary",
    n_clicks: int = 20,
    *,
    plan: Plan | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancel: Callable[[], bool] = never_cancelled,
) -> dict[str, float]:
    """Figures of `refiner` under a robot, each a plain float, means over subjects (Dice) or over clicks (shares).

    "auc": AUC of Dice over `n_clicks`; "dice_0" to "dice_<n_clicks>"; "lowering": share of clicks that lower Dice;
    "lowering_0.001": the same ignoring drops below 0.001; "respected_raw": share of clicks followed before enforcement;
    "latency_ms": median of a turn, without the first of each case; "failures": interactions that crashed or timed out.
    `plan` gives region, steps and rules (its number of interactions is `n_clicks`); the default is the main table's.
    """
    user = ROBOTS[robot]() if isinstance(robot, str) else robot
    plan = Plan(**{**vars(plan or Plan()), "interactions": n_clicks})
    curves: dict[str, list[list[float]]] = {}
    changes: list[float] = []
    turns: list[Turn] = []
    for done, case in enumerate(cases, 1):
        dice = []
        for turn in drive(case, refiner, user, plan, cancel=cancel):
            dice.append(metrics.dice(turn.mask, case.reference))
            turns.append(turn)
        changes += np.diff(dice).tolist()
        curves.setdefault(case.subject, []).append(dice + dice[-1:] * (n_clicks + 1 - len(dice)))
        progress(done, len(cases))
    mean = np.mean([np.mean(of_subject, axis=0) for of_subject in curves.values()], axis=0)
    raw = [held for turn in turns for held in turn.respected_raw or ()]
    warm = [1000 * turn.seconds for turn in turns if turn.seconds is not None and turn.number > 1]
    return {
        "auc": metrics.auc([float(d) for d in mean], n_clicks),
        **{f"dice_{click}": float(d) for click, d in enumerate(mean)},
        "lowering": _share(change < 0 for change in changes),
        "lowering_0.001": _share(change <= -0.001 for change in changes),
        "respected_raw": _share(raw),
        "latency_ms": float(np.median(warm)) if warm else 0.0,
        "failures": float(sum(turn.status != OK for turn in turns)),
    }


def _share(answers: Iterable[bool]) -> float:
    values = list(answers)
    return float(np.mean(values)) if values else 0.0
