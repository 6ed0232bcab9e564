"""Intervals and tests over subjects: bootstrap, paired Wilcoxon, Holm, rank-biserial. Knows no method and no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

RESAMPLES = 10_000
BOOTSTRAP_SEED = 20260101
EQUIVALENCE_MARGIN = 0.005  # "no difference" only if the whole interval lies inside, evaluation protocol section 5


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its 95 % percentile interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedComparison:
    """One method against another over the same subjects.

    `difference`: mean of reference minus other, with its interval. `p_value`: two-sided Wilcoxon signed-rank.
    `p_holm`: after Holm's step-down over the family. `rank_biserial`: matched pairs, 1 = the reference always better.
    """

    other: str
    subjects: int
    difference: Interval
    p_value: float
    p_holm: float
    rank_biserial: float

    @property
    def no_difference(self) -> bool:
        """Whether the whole interval lies within the margin of equivalence."""
        return self.difference.low >= -EQUIVALENCE_MARGIN and self.difference.high <= EQUIVALENCE_MARGIN


def bootstrap_interval(
    values: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = BOOTSTRAP_SEED, level: float = 0.95
) -> Interval:
    """Percentile bootstrap of the mean of `values` (one number a subject, (n,), n >= 1), the same for the same seed."""
    sample = np.asarray(values, dtype=np.float64).ravel()
    if sample.size == 0:
        raise ValueError("no value to resample; a table needs at least one subject")
    rng = np.random.default_rng(seed)
    means = sample[rng.integers(0, sample.size, size=(resamples, sample.size))].mean(axis=1)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(sample.mean()), float(low), float(high))


def wilcoxon_p(differences: npt.ArrayLike) -> float:
    """Two-sided Wilcoxon signed-rank p-value of paired differences (n,); zeros are dropped, 1.0 when nothing is left.

    Exact where SciPy can (few pairs without ties), else the normal approximation.
    """
    nonzero = _nonzero(differences)
    return 1.0 if nonzero.size == 0 else float(stats.wilcoxon(nonzero).pvalue)


def rank_biserial(differences: npt.ArrayLike) -> float:
    """Matched-pairs rank-biserial correlation (n,): favourable minus unfavourable rank sum over all (Kerby 2014)."""
    nonzero = _nonzero(differences)
    if nonzero.size == 0:
        return 0.0
    ranks = stats.rankdata(np.abs(nonzero))
    return float((ranks[nonzero > 0].sum() - ranks[nonzero < 0].sum()) / ranks.sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, position in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[int(position)]))
        adjusted[int(position)] = highest
    return adjusted


def compare_with_reference(
    reference: Mapping[str, float], others: Mapping[str, Mapping[str, float]]
) -> list[PairedComparison]:
    """The family of paired tests of one method against the others; each maps subject to one value, higher is better.

    Only subjects that both have are compared; Holm runs over the whole family.
    """
    paired = {}
    for name, values in others.items():
        subjects = sorted(reference.keys() & values.keys())
        if subjects:
            paired[name] = np.array([reference[s] - values[s] for s in subjects])
    p_values = [wilcoxon_p(d) for d in paired.values()]
    adjusted = holm(p_values)
    return [
        PairedComparison(name, d.size, bootstrap_interval(d), p, q, rank_biserial(d))
        for (name, d), p, q in zip(paired.items(), p_values, adjusted, strict=True)
    ]


def _nonzero(differences: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(differences, dtype=np.float64).ravel()
    rounded = np.round(values, 12)  # equal results of two methods may differ by rounding alone
    return np.asarray(rounded[rounded != 0])
