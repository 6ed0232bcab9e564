"""Chooses the parameters of classical methods on validation: the same number of trials for each, every trial kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.cases import EvaluationCase
from medseg_rl.evaluation.methods import Method, parse_method
from medseg_rl.evaluation.turns import Plan
from medseg_rl.evaluation.validation import validation_curve
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.refiner import never_cancelled

# Eight trials a method and start. A start that is nearly right asks for small changes, an empty one for large ones.
GRIDS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "paint_ball": {
        start: tuple(f"radius_mm={radius:g}" for radius in (1, 1.5, 2, 3, 4, 5, 6, 8)) for start in ("A", "B")
    },
    "geodesic_threshold": {
        "A": tuple(
            f"kappa_mm={kappa},lam={lam},reach_mm={reach}"
            for kappa, lam, reach in (
                (10, 0.5, 5),
                (20, 0.5, 2),
                (20, 0.3, 2),
                (40, 0.5, 2),
                (40, 0.5, 3),
                (20, 0.5, 1.5),
                (40, 0.3, 3),
                (80, 0.5, 3),
            )
        ),
        "B": tuple(
            f"kappa_mm={kappa},lam={lam},reach_mm=60"
            for kappa, lam in ((5, 0.5), (10, 0.5), (20, 0.5), (40, 0.5), (20, 0.3), (40, 0.3), (10, 0.3), (10, 0.65))
        ),
    },
    "graph_cut": {
        "A": tuple(
            f"clicks={clicks},intensity={intensity},prior={prior},reach_mm={reach},smoothness={smoothness},tau_mm={tau}"
            for clicks, tau, reach, smoothness, prior, intensity in (
                (4, 2, 6, 2, 1, 0.5),
                (12, 4, 8, 4, 2, 0),
                (12, 6, 10, 4, 2, 0.25),
                (16, 4, 10, 4, 2, 0.25),
                (16, 6, 10, 4, 3, 0),
                (16, 6, 10, 6, 3, 0.25),
                (24, 4, 10, 4, 3, 0),
                (24, 6, 12, 6, 3, 0.25),
            )
        ),
        "B": tuple(
            f"empty_reach_mm={reach},geodesic={geodesic},intensity={intensity},kappa_mm={kappa},smoothness={smoothness}"
            for kappa, intensity, geodesic, smoothness, reach in (
                (20, 0.1, 4, 2, 1000),
                (40, 0, 4, 2, 1000),
                (40, 0.1, 4, 2, 1000),
                (40, 0.25, 4, 2, 1000),
                (40, 0.1, 4, 1, 1000),
                (40, 0.1, 6, 2, 1000),
                (80, 0.1, 4, 2, 1000),
                (40, 0.25, 4, 2, 12),
            )
        ),
    },
    "random_walker": {
        "A": tuple(
            f"beta={beta},prior={prior},reach_mm={reach}"
            for beta, prior, reach in (
                (130, 0.5, 6),
                (130, 1, 6),
                (30, 0.7, 6),
                (30, 1, 8),
                (130, 1, 10),
                (130, 0.7, 4),
                (250, 1, 8),
                (130, 1.5, 10),
            )
        ),
        "B": tuple(
            f"ball_mm={ball},beta={beta},empty_reach_mm={reach}"
            for beta, ball, reach in (
                (130, 3, 1000),
                (250, 3, 1000),
                (500, 3, 1000),
                (250, 4, 1000),
                (500, 4, 1000),
                (500, 3, 12),
                (500, 0, 1000),
                (250, 10, 1000),
            )
        ),
    },
    "grow_cut": {
        "A": tuple(
            f"distance_penalty={penalty},reach_mm={reach}"
            for reach, penalty in (
                (1.5, 0.1),
                (2, 0.03),
                (2, 0.1),
                (2, 0.5),
                (2.5, 0.1),
                (3, 0.1),
                (3, 0.5),
                (6, 0.1),
            )
        ),
        "B": tuple(
            f"ball_mm={ball},distance_penalty={penalty}"
            for penalty, ball in (
                (0.01, 0),
                (0.03, 0),
                (0.05, 0),
                (0.1, 0),
                (0.2, 0),
                (0.05, 2),
                (0.1, 2),
                (0.1, 3),
            )
        ),
    },
}


@dataclass(frozen=True)
class Trial:
    """One parameter set on so many `volumes` of validation; `figures` as `validation_curve` gives them."""

    method: str
    start: str
    options: str
    figures: Mapping[str, float]
    volumes: int | None = None


def tune(
    cases: Sequence[EvaluationCase],
    method: str,
    start: str,
    *,
    plan: Plan,
    tried: Collection[str] = (),
    progress: Callable[[Trial], None] = lambda trial: None,
    cancel: Callable[[], bool] = never_cancelled,
) -> list[Trial]:
    """Every parameter set of `GRIDS` for that method and start, tried on `cases` with the primary robot.

    `tried`: options that need no trial any more. Raises `InputFileError` for a method or start without a grid,
    `MissingExtraError` where its library is not installed, `Cancelled`.
    """
    trials = []
    for options in (options for options in _grid(method, start) if options not in tried):
        refiner = parse_method(f"{method}:{options}").build()
        if refiner is None:
            raise InputFileError(f"{method} has no parameter")
        figures = validation_curve(cases, refiner, plan=plan, cancel=cancel)
        trials.append(Trial(method, start, options, figures, len(cases)))
        progress(trials[-1])
    return trials


def best_method(trials: Sequence[Trial], method: str, start: str) -> Method:
    """The parameter set of highest AUC of Dice as a method named after its kind; the first of equals."""
    own = [trial for trial in trials if (trial.method, trial.start) == (method, start)]
    if not own:
        raise InputFileError(f"there is no trial of {method} with start {start}; tune first")
    best = max(own, key=lambda trial: trial.figures["auc"])
    return parse_method(f"{method}={method}:{best.options}")


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    """As JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps([asdict(trial) for trial in trials], indent=1) + "\n", encoding="utf-8")


def read_trials(path: Path) -> list[Trial]:
    """What `write_trials` wrote. Raises `InputFileError`."""
    try:
        return [Trial(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise InputFileError(f"cannot read tuning trials {path}: {error}; tune again") from error


def _grid(method: str, start: str) -> Sequence[str]:
    try:
        return GRIDS[method][start]
    except KeyError:
        raise InputFileError(
            f"there is no grid for {method} with start {start}; there are {', '.join(GRIDS)}"
        ) from None
