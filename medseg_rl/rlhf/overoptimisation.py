"""What is optimised (proxy) beside what is believed (gold), over the distance from the reference in sqrt(KL).

Source: Gao, Schulman and Hilton 2022, with best-of-n as the yardstick (Nakano et al. 2021, appendix I). Trains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Point(NamedTuple):
    """`kl`: KL(pi || reference) summed over an episode, nats. `gold`: of the judge that selects, not that reports."""

    kl: float
    proxy: float
    gold: float

    @property
    def root_kl(self) -> float:
        """sqrt(KL), 0 where a one-sample estimate came out negative."""
        return math.sqrt(max(self.kl, 0.0))


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n from the policy it draws from: ln n - (n - 1) / n nats (an upper bound where scores tie)."""
    return math.log(n) - (n - 1) / n


def best_of_n(proxy: Tensor, judged: Tensor, n: int) -> float:
    """Expected `judged` of the best of n by `proxy`, from N >= n samples (prompts, N) each: unbiased, uses all N.

    The sample of rank k from below is the best of n with probability C(k - 1, n - 1) / C(N, n).
    """
    drawn = proxy.shape[1]
    if not 1 <= n <= drawn:
        raise ValueError(f"the best of {n} cannot be told from {drawn} samples")
    weights = torch.tensor([math.comb(k, n - 1) / math.comb(drawn, n) for k in range(drawn)], dtype=torch.float64)
    in_order = judged.double().gather(1, proxy.argsort(dim=1, stable=True))
    return float((in_order * weights).sum(1).mean())


def best_of_n_curve(proxy: Tensor, gold: Tensor, sizes: Sequence[int]) -> list[Point]:
    """Points of best-of-n for the given n, both from the same samples (prompts, N)."""
    return [Point(best_of_n_kl(n), best_of_n(proxy, proxy, n), best_of_n(proxy, gold, n)) for n in sizes]


def gold_peak(points: Sequence[Point]) -> int:
    """Index of the point to ship: where selection gold is highest; the earlier of equals."""
    return max(range(len(points)), key=lambda i: (points[i].gold, -i))


def falls_from_the_start(points: Sequence[Point]) -> bool:
    """Whether gold never rises above its first value: then the reward model is worth nothing here."""
    return len(points) > 1 and gold_peak(points) == 0
