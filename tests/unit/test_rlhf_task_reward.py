"""Baselines and credit: gradients by exact enumeration of all masks of a 2 x 2 x 1 grid."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg_rl.rlhf.config import Baseline, REINFORCEConfig
from medseg_rl.rlhf.task_reward import (
    Advantages,
    TaskRewardTrainer,
    advantages_over,
    counterfactual_advantages,
    counterfactual_dice,
    dice_of,
    reinforce_loss,
)

LABEL = torch.tensor([[True, True], [False, False]])[None, :, :, None]
MASKS = torch.tensor(list(itertools.product((False, True), repeat=4))).reshape(16, 2, 2, 1)
LOGITS = torch.tensor([[0.3, -0.2], [0.5, -1.0]], dtype=torch.float64).reshape(2, 2, 1)
REWARD = dice_of(MASKS, LABEL.expand_as(MASKS))


def logprobs(logits: Tensor, masks: Tensor) -> Tensor:
    return torch.where(masks, nn.functional.logsigmoid(logits), nn.functional.logsigmoid(-logits))


def chances(logits: Tensor = LOGITS) -> Tensor:
    return logprobs(logits, MASKS).flatten(1).sum(1).exp()


def exact_gradient() -> Tensor:
    logits = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((chances(logits) * REWARD).sum(), logits)
    return gradient


def gradient_of(rows: list[int], advantages: Advantages) -> Tensor:
    """Of the reward, for these masks as samples of one prompt."""
    logits = LOGITS.clone().requires_grad_()
    logged = logprobs(logits, MASKS[rows])[:, None]
    (gradient,) = torch.autograd.grad(-reinforce_loss(logged, advantages), logits)
    return gradient


def expected_gradient(baseline: Baseline, samples: int = 2) -> Tensor:
    """Over all tuples of masks, each with its probability."""
    p, total = chances(), torch.zeros_like(LOGITS)
    greedy = dice_of(LOGITS[None] > 0, LABEL)
    for rows in itertools.product(range(16), repeat=samples):
        found = advantages_over(
            REWARD[list(rows)][:, None],
            baseline=baseline,
            greedy=greedy,
            values=torch.tensor([0.7], dtype=torch.float64),
        )
        total += p[list(rows)].prod() * gradient_of(list(rows), found)
    return total


@pytest.mark.parametrize("baseline", ["sample", "greedy", "loo", "value", "none"])
def test_every_baseline_is_unbiased(baseline: Baseline) -> None:
    torch.testing.assert_close(expected_gradient(baseline), exact_gradient())


def test_a_mean_that_includes_the_own_sample_shrinks_the_gradient():
    p, total = chances(), torch.zeros_like(LOGITS)
    for rows in itertools.product(range(16), repeat=2):
        rewards = REWARD[list(rows)][:, None]
        inclusive = Advantages(rewards - rewards.mean(0), torch.ones(2, dtype=torch.bool))
        total += p[list(rows)].prod() * gradient_of(list(rows), inclusive)
    torch.testing.assert_close(total, exact_gradient() / 2)


def test_two_samples_left_out_in_turn_are_the_second_sample_symmetrised():
    rewards = torch.tensor([[0.9], [0.4]], dtype=torch.float64)
    one, other = [3, 12], [12, 3]
    loo = gradient_of(one, advantages_over(rewards, baseline="loo"))
    first = gradient_of(one, advantages_over(rewards, baseline="sample"))
    second = gradient_of(other, advantages_over(rewards.flip(0), baseline="sample"))
    torch.testing.assert_close(loo, (first + second) / 2)


def test_the_leave_one_out_advantage_is_a_centred_one_scaled():
    rewards = torch.randn(4, 3)
    k = len(rewards)
    expected = rewards - (rewards.sum(0) - rewards) / (k - 1)
    torch.testing.assert_close(advantages_over(rewards, baseline="loo").values, expected)
    torch.testing.assert_close(expected, k / (k - 1) * (rewards - rewards.mean(0)))


def test_no_gradient_where_the_sample_is_the_greedy_answer():
    found = advantages_over(torch.tensor([[0.8]]), baseline="greedy", greedy=torch.tensor([0.8]))
    assert found.values.abs().max() == 0


def test_one_voxel_costs_minus_the_log_of_its_action():
    loss = reinforce_loss(torch.tensor([[0.25]]).log(), Advantages(torch.tensor([[1.0]]), torch.tensor([True])))
    assert loss.item() == pytest.approx(1.386294)


def credit_gradients(kind: str) -> tuple[Tensor, Tensor]:
    """Mean over all masks of the gradient, and its variance summed over voxels."""
    p, probability = chances(), torch.sigmoid(LOGITS)
    gradients = []
    for mask in MASKS:
        if kind == "counterfactual":
            credit = counterfactual_dice(mask[None], LABEL, probability[None])[0]
        elif kind == "flip":
            credit = flip_difference(mask)
        else:
            credit = dice_of(mask[None], LABEL).expand(2, 2, 1) * 1.0
        gradients.append(credit * (mask.double() - probability))
    stacked = torch.stack(gradients)
    weights = p.reshape(-1, 1, 1, 1)
    mean = (weights * stacked).sum(0)
    return mean, (weights * (stacked - mean) ** 2).sum()


def flip_difference(mask: Tensor) -> Tensor:
    found = torch.zeros(2, 2, 1, dtype=torch.float64)
    for place in itertools.product(range(2), range(2), range(1)):
        flipped = mask.clone()
        flipped[place] = ~flipped[place]
        found[place] = dice_of(mask[None], LABEL)[0] - dice_of(flipped[None], LABEL)[0]
    return found


def test_the_counterfactual_advantage_is_unbiased_and_the_flip_is_twice_too_large():
    exact = exact_gradient()
    torch.testing.assert_close(credit_gradients("counterfactual")[0], exact)
    torch.testing.assert_close(credit_gradients("flip")[0], 2 * exact)


def test_the_counterfactual_advantage_has_a_fraction_of_the_variance():
    plain, counterfactual = (float(credit_gradients(kind)[1]) for kind in ("none", "counterfactual"))
    assert counterfactual < plain / 20


@given(st.integers(0, 10000))
def test_counterfactual_dice_is_that_of_brute_force(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sample, label = (torch.rand(2, 3, 2, 2, generator=generator) < 0.4 for _ in range(2))
    if seed % 5 == 0:
        label[:] = False
    probability = torch.rand(2, 3, 2, 2, generator=generator, dtype=torch.float64)
    found = counterfactual_dice(sample, label, probability)
    for place in itertools.product(range(2), range(3), range(2), range(2)):
        variants = []
        for value in (False, True):
            changed = sample[place[0]].clone()
            changed[place[1:]] = value
            variants.append(dice_of(changed[None], label[place[0]][None])[0])
        actions = torch.stack([1 - probability[place], probability[place]])
        expected = counterfactual_advantages(torch.stack(variants), actions, sample[place].long())
        assert float(found[place]) == pytest.approx(float(expected), abs=1e-12)


def test_samples_that_cannot_be_paired_or_lack_a_reward_are_refused():
    with pytest.raises(ValueError, match="even"):
        advantages_over(torch.zeros(3, 1), baseline="sample")
    with pytest.raises(ValueError, match="greedy reward"):
        advantages_over(torch.zeros(2, 1), baseline="greedy")


class Bandit(nn.Module):
    """Two actions for each of a batch of prompts."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(2))

    def draw(self, prompt: int, generator: torch.Generator) -> Tensor:
        return torch.multinomial(torch.softmax(self.logits, 0), prompt, replacement=True, generator=generator)

    def greedy(self, prompt: int) -> Tensor:
        return self.logits.argmax().expand(prompt)

    def logprobs(self, prompt: int, answer: Tensor) -> Tensor:
        return torch.log_softmax(self.logits, 0)[answer]


def paid(prompt: Any, answer: Tensor) -> Tensor:
    return answer.double()


@pytest.mark.parametrize("baseline", ["sample", "greedy", "loo", "value", "none"])
def test_the_better_of_two_actions_is_learned_with_every_baseline(baseline: Baseline) -> None:
    model = Bandit()
    config = REINFORCEConfig(baseline=baseline, learning_rate=0.05, num_samples=4)
    trainer = TaskRewardTrainer(model, paid, config, value=lambda prompt: torch.full((prompt,), 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = [trainer.step(32) for _ in range(80)]
    assert torch.softmax(model.logits.detach(), 0)[1] > 0.9
    assert metrics[-1]["reward"] > metrics[0]["reward"]
    assert metrics[0].keys() >= {"reward", "reward_std", "frac_reward_zero_std", "loss"}


def test_a_self_critical_trainer_warns_when_its_signal_is_gone():
    model = Bandit()
    model.logits.data = torch.tensor([0.0, 50.0])
    trainer = TaskRewardTrainer(model, paid, REINFORCEConfig(baseline="greedy", num_samples=1))
    with pytest.warns(UserWarning, match="no sample beats"):
        assert trainer.step(8)["share_above_greedy"] == 0
