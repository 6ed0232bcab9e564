"""From ranks to pairs and their loss, and people who rank by a utility that nobody else sees. Trains no model.

Sources: Bradley and Terry 1952; Ouyang et al. 2022, eq. 1 (1 / C(K, 2) for each prompt); Plackett-Luce by Gumbel noise
(Yellott 1977). Records are turned into one another by `conversion`, which reads tab-separated lists too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Pairs(NamedTuple):
    """Indices of answers of one prompt: `better[k]` is preferred to `worse[k]`."""

    better: Tensor
    worse: Tensor


def strict_pairs(ranks: Tensor) -> Pairs:
    """Every pair of (K,) ranks (1 is best) that is no tie."""
    better, worse = torch.nonzero(ranks[:, None] < ranks[None, :], as_tuple=True)
    return Pairs(better, worse)


def pairwise_loss(better: Tensor, worse: Tensor) -> Tensor:
    """-log sigmoid(r_better - r_worse) of each pair."""
    return functional.softplus(worse - better)


class RankingLoss(NamedTuple):
    """`loss`: mean over prompts; `skipped`: prompts without a strict pair; `correct` of `pairs` are ordered right."""

    loss: Tensor
    skipped: int
    correct: int
    pairs: int


def ranking_loss(
    scores: Sequence[Tensor], ranks: Sequence[Tensor], *, center_rewards_coefficient: float = 0.0
) -> RankingLoss:
    """Mean over prompts of the mean over each prompt's strict pairs: a prompt counts once, whatever its K.

    `center_rewards_coefficient` times (r_better + r_worse)^2 keeps scores near zero. Raises ValueError: all tied.
    """
    losses, skipped, correct, count = [], 0, 0, 0
    for score, rank in zip(scores, ranks, strict=True):
        pairs = strict_pairs(rank)
        if len(pairs.better) == 0:
            skipped += 1
            continue
        better, worse = score[pairs.better], score[pairs.worse]
        loss = pairwise_loss(better, worse)
        if center_rewards_coefficient:
            loss = loss + center_rewards_coefficient * (better + worse) ** 2
        losses.append(loss.mean())
        correct += int((better > worse).sum())
        count += len(pairs.better)
    if not losses:
        raise ValueError(f"{skipped} prompts and no strict pair among them; nothing can be learned from ties")
    return RankingLoss(torch.stack(losses).mean(), skipped, correct, count)


def simulated_ranks(utility: Tensor, *, temperature: float, generator: torch.Generator) -> Tensor:
    """Ranks (K,) int, 1 is best, by someone with that utility (K,).

    Plackett-Luce: P(first) = softmax(utility / temperature), and so on among the rest. Temperature 0: by the utility
    alone, equals tie.
    """
    if temperature == 0:
        return 1 + (utility[None, :] > utility[:, None]).sum(1)
    uniform = torch.rand(utility.shape, generator=generator, dtype=torch.float64).clamp_min(1e-300)
    noisy = utility.double() / temperature - torch.log(-torch.log(uniform))
    ranks = torch.empty(len(utility), dtype=torch.long)
    ranks[noisy.argsort(descending=True)] = torch.arange(1, len(utility) + 1)
    return ranks


class PositionBias(NamedTuple):
    """`bias`: log-odds by which the answer shown first is favoured; `standard_error` of it."""

    bias: float
    standard_error: float


def position_bias(score_difference: Tensor, first_won: Tensor, *, iterations: int = 25) -> PositionBias:
    """Fits b in P(first wins) = sigmoid(d + b) by Newton; d (n,): score of the answer shown first minus the other's.

    Raises ValueError where the first always, or never, won: b is then unbounded.
    """
    wins = float(first_won.double().sum())
    if not 0 < wins < len(first_won):
        raise ValueError(f"the first answer won {wins:.0f} of {len(first_won)} times; its bias has no finite estimate")
    bias, information = 0.0, 1.0
    for _ in range(iterations):
        p = torch.sigmoid(score_difference.double() + bias)
        information = max(float((p * (1 - p)).sum()), 1e-12)
        bias += (wins - float(p.sum())) / information
    return PositionBias(bias, 1 / math.sqrt(information))
