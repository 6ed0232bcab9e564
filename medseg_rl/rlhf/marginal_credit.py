"""What one voxel's decision did to a reward of the whole mask, for any reward: counterfactual advantages by flipping.

The sample is of independent binary decisions. Where the reward has a closed form, such as Dice, every voxel is exact
(`task_reward.counterfactual_dice`); else a few voxels are flipped, drawn in proportion to how undecided they are and
weighed so that the gradient's expectation is that of flipping all (importance sampling). Knows no metric.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

RewardOfMask = Callable[[int, Tensor], float]  # row of the batch, mask (*agent) -> reward


def flip_credit(
    reward: RewardOfMask,
    sample: Tensor,
    probability: Tensor,
    *,
    picks: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A_i = P(y_i is the other) (R(y) - R(y with i flipped)), (batch, *agent), double: zero where i was not picked.

    That is R(y) - E[R | the others], since the two terms of the expectation differ in i alone. `sample` bool and
    `probability` of True (batch, *agent). `picks`: draws with replacement a row; None flips every voxel that is not
    decided. The plain difference R(y) - R(flipped) would give twice the gradient.
    """
    credit = torch.zeros(sample.shape, dtype=torch.float64)
    other = torch.where(sample, 1 - probability.double(), probability.double())
    undecided = probability.double() * (1 - probability.double())
    for row, mask in enumerate(sample):
        weights = _weights(undecided[row].flatten(), picks, generator)
        before = reward(row, mask)
        for index in torch.nonzero(weights).flatten().tolist():
            flipped = mask.clone()
            flipped.view(-1)[index] = ~flipped.view(-1)[index]
            gained = before - reward(row, flipped)
            credit[row].view(-1)[index] = float(weights[index]) * float(other[row].view(-1)[index]) * gained
    return credit


def _weights(undecided: Tensor, picks: int | None, generator: torch.Generator | None) -> Tensor:
    """How much each voxel counts: 1 in expectation for each that is not decided."""
    total = float(undecided.sum())
    if picks is None or total <= 0:
        return (undecided > 0).double()
    share = undecided / total
    drawn = torch.multinomial(share, picks, replacement=True, generator=generator)
    counts = torch.bincount(drawn, minlength=len(share)).double()
    return torch.where(counts > 0, counts / (picks * share.clamp_min(1e-300)), torch.zeros_like(share))
