"""Result rows as runs, and runs as one value a subject: what every table and curve is computed from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medseg_rl import metrics
from medseg_rl.evaluation.records import Record, run_key

NOC_LIMIT = 20


@dataclass(frozen=True)
class Run:
    """The rows of one case, method, robot seed and training seed, by click."""

    rows: tuple[Record, ...]

    @property
    def first(self) -> Record:
        """The row before any click."""
        return self.rows[0]

    @cached_property
    def dice(self) -> list[float]:
        """Dice after 0, 1, ... clicks."""
        return [row.dice for row in self.rows]

    @cached_property
    def nsd(self) -> list[float]:
        """NSD at 2 mm after 0, 1, ... clicks."""
        return [row.nsd_2mm for row in self.rows]

    def dice_at(self, click: int) -> float:
        """Dice after `click` clicks; the last value where the run is shorter."""
        return self.dice[min(click, len(self.dice) - 1)]

    def auc_dice(self) -> float:
        """AUC_20 of Dice."""
        return metrics.auc(self.dice, NOC_LIMIT)

    def auc_nsd(self) -> float:
        """AUC_20 of NSD at 2 mm."""
        return metrics.auc(self.nsd, NOC_LIMIT)

    def reaches(self, level: float) -> bool:
        """Whether Dice is at least `level` after some number of clicks up to 20."""
        return metrics.reaches(self.dice, level, limit=NOC_LIMIT)

    def clicks_to_reach(self, level: float) -> int:
        """NoC: the smallest number of clicks with Dice >= `level`, 20 if never."""
        return metrics.clicks_to_reach(self.dice, level, limit=NOC_LIMIT)


def group_runs(records: Iterable[Record]) -> list[Run]:
    """Records as runs, sorted by what identifies them; rows of a run in the order of their clicks."""
    grouped: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in records:
        grouped[run_key(record)].append(record)
    return [Run(tuple(sorted(grouped[key], key=lambda r: r.click))) for key in sorted(grouped, key=str)]


def by_subject(runs: Sequence[Run], value: Callable[[Run], float]) -> dict[str, float]:
    """Mean of `value` for each subject over its volumes, robot and training seeds: the unit of every statistic."""
    collected: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        collected[run.first.subject].append(value(run))
    return {subject: float(np.mean(collected[subject])) for subject in sorted(collected)}


def cover(runs: Sequence[Run], click: int) -> bool:
    """Whether every run has a row at `click`, or is the start alone: what was never tried has no place in a table."""
    return all(len(run.rows) == 1 or len(run.rows) > click for run in runs)


def mean(values: Mapping[str, float]) -> float:
    """Mean over subjects."""
    return float(np.mean(list(values.values())))


def given(runs: Sequence[Run]) -> list[tuple[Record, Record]]:
    """Rows before and after each interaction in which clicks were given."""
    return [
        (before, after)
        for run in runs
        for before, after in zip(run.rows, run.rows[1:], strict=False)
        if after.n_clicks > before.n_clicks
    ]
