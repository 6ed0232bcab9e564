"""Two finished runs compared, paired by subject. Refuses runs that are not of the same data, starts, robot and rules.

Reads the files that an evaluation wrote and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg_rl import metrics
from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.methods import AUTOMATIC
from medseg_rl.evaluation.records import FAILURES, Record, read_records
from medseg_rl.evaluation.runs import NOC_LIMIT, Run, by_subject, group_runs
from medseg_rl.evaluation.statistics import (
    EQUIVALENCE_MARGIN,
    Interval,
    bootstrap_interval,
    holm,
    rank_biserial,
    wilcoxon_p,
)

MUST_AGREE = {  # manifest: what it is called in a message
    "data_hash": "data",
    "split_hash": "split",
    "start_hash": "starts",
    "robot_version": "robot version",
    "robot_seeds": "robot seeds",
    "empty_references": "cases with an empty reference",
}
OTHER_RULES = ("methods", "steps")  # of the config: what is to be compared, and may differ
DICE_CLICKS = (0, 1, 3, 5, 10, 20)
NOC_DICE = 0.85


@dataclass(frozen=True)
class Difference:
    """One figure, A minus B: mean difference over subjects with its 95 % interval, and both means."""

    figure: str
    mean_a: float
    mean_b: float
    difference: Interval


@dataclass(frozen=True)
class Comparison:
    """One table of one method in A against one in B. `figures`: the first is the one that is tested.

    `p_holm`: over all comparisons of the call. `rank_biserial`: 1 = A always better. `failures`: runs counted as empty.
    """

    table: str
    method_a: str
    method_b: str
    subjects: int
    volumes: int
    figures: tuple[Difference, ...]
    p_value: float
    p_holm: float
    rank_biserial: float
    failures_a: int
    failures_b: int

    @property
    def no_difference(self) -> bool:
        """Whether the whole interval of the tested figure lies within the margin of equivalence."""
        tested = self.figures[0].difference
        return tested.low >= -EQUIVALENCE_MARGIN and tested.high <= EQUIVALENCE_MARGIN

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"no_difference": self.no_difference}


@dataclass(frozen=True)
class _Result:
    path: Path
    manifest: Mapping[str, Any]
    methods: Mapping[str, Sequence[Run]]


def compare_runs(a: Path, b: Path, pairs: Sequence[tuple[str, str]] = ()) -> list[Comparison]:
    """Every table that both folders (or CSV files) hold, method against method.

    `pairs`: (method of A, method of B); without them methods of one name, or the only one of each.
    Raises `InputFileError` that names what disagrees: data, split, starts, robot, a rule, or the cases.
    """
    results_a, results_b = _read(a), _read(b)
    shared = [name for name in results_a if name in results_b]
    if not shared:
        raise InputFileError(
            f"{a} holds {_list(results_a)} and {b} holds {_list(results_b)}: other data, targets, starts or robots; "
            "evaluate both in the same way"
        )
    found: list[tuple[str, str, str, Sequence[Run], Sequence[Run]]] = []
    for name in shared:
        _check(results_a[name], results_b[name])
        for one, other in pairs or _matching(results_a[name], results_b[name]):
            runs_a, runs_b = _of(results_a[name], one), _of(results_b[name], other)
            _check_cases(results_a[name].path, results_b[name].path, runs_a, runs_b)
            found.append((name, one, other, runs_a, runs_b))
    tested = [_paired(runs_a, runs_b, _auc) for *_, runs_a, runs_b in found]
    p_values = [wilcoxon_p(one - other) for one, other in tested]
    return [
        Comparison(
            table=name,
            method_a=one,
            method_b=other,
            subjects=len(values_a),
            volumes=len({run.first.case for run in runs_a}),
            figures=_figures(runs_a, runs_b),
            p_value=p,
            p_holm=adjusted,
            rank_biserial=rank_biserial(values_a - values_b),
            failures_a=_failures(runs_a),
            failures_b=_failures(runs_b),
        )
        for (name, one, other, runs_a, runs_b), (values_a, values_b), p, adjusted in zip(
            found, tested, p_values, holm(p_values), strict=True
        )
    ]


def _read(place: Path) -> dict[str, _Result]:
    """Results by the name of their file."""
    files = sorted(place.glob("*.csv")) if place.is_dir() else [place]
    if not files:
        raise InputFileError(f"{place} holds no result file; run medseg-rl evaluate first")
    results = {}
    for path in files:
        methods: dict[str, list[Run]] = {}
        for run in group_runs(read_records(path)):
            methods.setdefault(run.first.method, []).append(run)
        beside = path.with_suffix(".json")
        try:
            manifest = json.loads(beside.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputFileError(f"{path} lacks its manifest {beside.name} ({error}); evaluate again") from None
        results[path.stem] = _Result(path, manifest, methods)
    return results


def _check(a: _Result, b: _Result) -> None:
    differing = [
        f"{said} ({_short(a.manifest.get(key))} and {_short(b.manifest.get(key))})"
        for key, said in MUST_AGREE.items()
        if a.manifest.get(key) != b.manifest.get(key)
    ]
    rules_a, rules_b = a.manifest.get("config", {}), b.manifest.get("config", {})
    for key in sorted({*rules_a, *rules_b} - set(OTHER_RULES) - set(MUST_AGREE)):
        if rules_a.get(key) != rules_b.get(key):
            differing.append(f"{key} ({_short(rules_a.get(key))} and {_short(rules_b.get(key))})")
    if differing:
        raise InputFileError(f"{a.path} and {b.path} differ in {', '.join(differing)}; evaluate both in the same way")


def _check_cases(a: Path, b: Path, runs_a: Sequence[Run], runs_b: Sequence[Run]) -> None:
    cases = [{(run.first.case, run.first.robot_seed) for run in runs} for runs in (runs_a, runs_b)]
    for path, lacking in ((a, cases[1] - cases[0]), (b, cases[0] - cases[1])):
        if lacking:
            case, seed = min(lacking)
            raise InputFileError(
                f"{path} lacks {len(lacking)} run(s), such as {case} with robot seed {seed}; finish it"
            )


def _matching(a: _Result, b: _Result) -> list[tuple[str, str]]:
    """Methods of one name; where there are none, the only one of each."""
    same = [(name, name) for name in a.methods if name in b.methods and name != AUTOMATIC]
    if same:
        return same
    own = [[name for name in result.methods if name != AUTOMATIC] for result in (a, b)]
    if len(own[0]) == len(own[1]) == 1:
        return [(own[0][0], own[1][0])]
    raise InputFileError(
        f"{a.path} has {', '.join(own[0]) or 'no method'} and {b.path} has {', '.join(own[1]) or 'no method'}: "
        "say which to compare, as --method NAME_IN_A=NAME_IN_B"
    )


def _of(result: _Result, method: str) -> Sequence[Run]:
    try:
        return result.methods[method]
    except KeyError:
        raise InputFileError(f"{result.path} has no method {method!r}; it has {', '.join(result.methods)}") from None


def _paired(
    runs_a: Sequence[Run], runs_b: Sequence[Run], value: Callable[[Run], float]
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """One value a subject of A and of B, subjects in the same order."""
    of_a, of_b = by_subject(runs_a, value), by_subject(runs_b, value)
    return np.array([of_a[subject] for subject in of_a]), np.array([of_b[subject] for subject in of_a])


def _figures(runs_a: Sequence[Run], runs_b: Sequence[Run]) -> tuple[Difference, ...]:
    length = _length(runs_a[0])
    figures: dict[str, Callable[[Run], float]] = {f"AUC{length} Dice": _auc, f"AUC{length} NSD 2 mm": _auc_nsd}
    for click in DICE_CLICKS:
        if click <= length:
            figures[f"Dice @{click}"] = _dice_at(click)
    figures[f"clicks to Dice {NOC_DICE}"] = _clicks_to_reach
    figures["share of clicks that lower Dice"] = _lowering
    differences = []
    for name, value in figures.items():
        of_a, of_b = _paired(runs_a, runs_b, value)
        differences.append(Difference(name, float(of_a.mean()), float(of_b.mean()), bootstrap_interval(of_a - of_b)))
    return tuple(differences)


def _length(run: Run) -> int:
    """Clicks over which a curve is judged: 20, or all where fewer were tried."""
    return max(1, min(NOC_LIMIT, len(run.rows) - 1))


def _auc(run: Run) -> float:
    return metrics.auc(run.dice, _length(run))


def _auc_nsd(run: Run) -> float:
    return metrics.auc(run.nsd, _length(run))


def _dice_at(click: int) -> Callable[[Run], float]:
    return lambda run: run.dice_at(click)


def _clicks_to_reach(run: Run) -> float:
    return float(metrics.clicks_to_reach(run.dice, NOC_DICE, limit=_length(run)))


def _lowering(run: Run) -> float:
    given = [(one, two) for one, two in zip(run.rows, run.rows[1:], strict=False) if two.n_clicks > one.n_clicks]
    return float(np.mean([after.dice < before.dice for before, after in given])) if given else 0.0


def _failures(runs: Sequence[Run]) -> int:
    return sum(any(_failed(row) for row in run.rows) for run in runs)


def _failed(row: Record) -> bool:
    return row.status in FAILURES


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text[:12] if len(text) == 64 else text[:60]


def _list(results: Mapping[str, _Result]) -> str:
    return ", ".join(results)
