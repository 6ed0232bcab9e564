"""Marginal credit by flipping: against enumeration on a grid of four voxels, and against the closed form of Dice."""

from __future__ import annotations

import itertools

import pytest
import torch

from medseg_rl.rlhf.marginal_credit import flip_credit
from medseg_rl.rlhf.task_reward import counterfactual_dice, dice_of

MASKS = torch.tensor(list(itertools.product([False, True], repeat=4))).reshape(16, 2, 2, 1)
TABLE = torch.rand(16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
LOGITS = torch.tensor([0.3, -1.0, 0.8, 2.0], dtype=torch.float64).reshape(2, 2, 1)


def reward(row: int, mask: torch.Tensor) -> float:
    """Any table of rewards: no metric is assumed."""
    bits = mask.flatten().long()
    return float(TABLE[int((bits * torch.tensor([8, 4, 2, 1])).sum())])


def log_probability(logits: torch.Tensor) -> torch.Tensor:
    """Of each voxel of every mask (16, 2, 2, 1)."""
    p = torch.sigmoid(logits)
    return torch.log(torch.where(MASKS, p, 1 - p))


def test_the_gradient_by_flipping_is_the_exact_gradient_of_the_expected_reward() -> None:
    exact_logits = LOGITS.clone().requires_grad_(True)
    (log_probability(exact_logits).flatten(1).sum(1).exp() * TABLE).sum().backward()
    logits = LOGITS.clone().requires_grad_(True)
    logs = log_probability(logits)
    chance = logs.detach().flatten(1).sum(1).exp()
    credit = flip_credit(reward, MASKS, torch.sigmoid(LOGITS).expand(16, -1, -1, -1))
    (chance * (credit * logs).flatten(1).sum(1)).sum().backward()
    assert exact_logits.grad is not None
    torch.testing.assert_close(logits.grad, exact_logits.grad)


def test_the_credit_of_dice_is_its_closed_form() -> None:
    generator = torch.Generator().manual_seed(1)
    sample, label = (torch.rand((2, 3, 3, 3), generator=generator) > 0.5 for _ in range(2))
    probability = torch.rand((2, 3, 3, 3), generator=generator, dtype=torch.float64)
    found = flip_credit(lambda row, mask: float(dice_of(mask[None], label[row][None])), sample, probability)
    torch.testing.assert_close(found, counterfactual_dice(sample, label, probability))


def test_a_few_picked_voxels_give_the_credit_of_all_in_the_mean() -> None:
    sample, probability = MASKS[5:6], torch.sigmoid(LOGITS)[None]
    generator = torch.Generator().manual_seed(0)
    rounds = 4000
    total = sum(flip_credit(reward, sample, probability, picks=2, generator=generator) for _ in range(rounds))
    exact = flip_credit(reward, sample, probability)
    torch.testing.assert_close(total / rounds, exact, atol=0.02, rtol=0)


@pytest.mark.parametrize("picks", [None, 3])
def test_decided_voxels_get_no_credit_and_cost_no_evaluation(picks: int | None) -> None:
    asked: list[torch.Tensor] = []

    def counted(row: int, mask: torch.Tensor) -> float:
        asked.append(mask)
        return reward(row, mask)

    probability = torch.tensor([0.0, 1.0, 0.5, 0.0]).reshape(1, 2, 2, 1)
    credit = flip_credit(counted, MASKS[6:7], probability, picks=picks, generator=torch.Generator().manual_seed(0))
    assert torch.nonzero(credit.flatten()).flatten().tolist() == [2]
    assert len(asked) == 2


def test_an_answer_that_is_decided_everywhere_has_no_credit() -> None:
    assert not flip_credit(reward, MASKS[6:7], MASKS[6:7].double(), picks=3).any()
