"""Gradients of the losses against enumeration and sampling."""

import math

import pytest
import torch

from medseg_rl.agent.losses import (
    VoxelWeights,
    all_action_loss,
    relative_weights,
    sampled_loss,
    twin_loss,
    weighted_mean,
)
from medseg_rl.agent.networks import Heads
from medseg_rl.environment.actions import apply_adjustments, sample_actions
from medseg_rl.environment.rewards import absolute_cross_entropy, cross_entropy_gain, gain_of_every_action

SHAPE = (1, 3, 3, 3)


def heads_and_state(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, VoxelWeights]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 6, 3, 3, 3, generator=generator)
    percent = torch.randint(1, 100, SHAPE, generator=generator, dtype=torch.uint8)
    reference = torch.rand(SHAPE, generator=generator) > 0.5
    return logits.requires_grad_(), percent, reference, VoxelWeights(torch.rand(SHAPE, generator=generator))


def gradient(total: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(total, logits)
    return found


def zeros() -> torch.Tensor:
    return torch.zeros(SHAPE)


def test_the_all_action_gradient_is_the_mean_of_many_sampled_ones():
    logits, percent, reference, weights = heads_and_state()
    gains = gain_of_every_action(percent, reference)
    exact = all_action_loss(
        Heads(logits, zeros(), zeros()),
        actions=torch.zeros(SHAPE, dtype=torch.long),
        gains=gains,
        returns=zeros(),
        future_returns=zeros(),
        weights=weights,
        value_coef=0.0,
        entropy_coef=0.0,
        foresight=0.0,
    )
    exact_gradient = gradient(exact.total, logits)
    generator, sampled = torch.Generator().manual_seed(1), torch.zeros_like(exact_gradient)
    draws = 4000
    for _ in range(draws):
        actions = sample_actions(logits.detach(), generator=generator)
        returns = cross_entropy_gain(percent, apply_adjustments(percent, actions), reference)
        terms = sampled_loss(
            Heads(logits, zeros(), zeros()),
            actions=actions,
            returns=returns,
            weights=weights,
            value_coef=0.0,
            entropy_coef=0.0,
        )
        sampled += gradient(terms.total, logits) / draws
    assert float((sampled - exact_gradient).norm() / exact_gradient.norm()) < 0.06


def test_the_sampled_future_part_is_unbiased_with_any_baseline():
    logits, _, _, weights = heads_and_state()
    future = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(4))  # future return if action a is taken
    probabilities = torch.softmax(logits, 1)
    target = gradient(-weighted_mean((probabilities * future.movedim(0, 1)).sum(1), weights), logits)
    total = torch.zeros_like(target)
    for action in range(6):  # by enumeration, as voxels are independent given the state
        actions = torch.full(SHAPE, action)
        terms = all_action_loss(
            Heads(logits, zeros(), torch.full(SHAPE, 0.7)),
            actions=actions,
            gains=torch.zeros(1, 6, 3, 3, 3),
            returns=zeros(),
            future_returns=future[action],
            weights=VoxelWeights(weights.voxels * probabilities[:, action].detach()),
            value_coef=0.0,
            entropy_coef=0.0,
            foresight=1.0,
        )
        share = (weights.voxels * probabilities[:, action].detach()).sum() / weights.voxels.sum()
        total += gradient(terms.total, logits) * share
    assert torch.allclose(total, target, atol=1e-5)


def test_relative_and_absolute_reward_give_the_same_gradient_without_foresight():
    logits, percent, reference, weights = heads_and_state()
    found = []
    for reward in (cross_entropy_gain, absolute_cross_entropy):
        gains = torch.stack(
            [reward(percent, apply_adjustments(percent, torch.full(SHAPE, a)), reference) for a in range(6)], 1
        )
        terms = all_action_loss(
            Heads(logits, zeros(), zeros()),
            actions=torch.zeros(SHAPE, dtype=torch.long),
            gains=gains,
            returns=zeros(),
            future_returns=zeros(),
            weights=weights,
            value_coef=0.0,
            entropy_coef=0.0,
            foresight=0.0,
        )
        found.append(gradient(terms.total, logits))
    assert torch.allclose(*found, atol=1e-6)


def test_a_voxel_of_weight_zero_has_no_gradient():
    logits, percent, reference, weights = heads_and_state()
    weights.voxels[0, 1, 1, 1] = 0
    for bounded in (False, True):
        terms = twin_loss(
            Heads(logits, zeros(), zeros()), percent=percent, reference=reference, weights=weights, bounded=bounded
        )
        found = gradient(terms.total, logits)
        assert not found[0, :, 1, 1, 1].any()
        assert found[0, 0].count_nonzero() == 26


def test_weighted_mean_by_hand():
    values, weights = torch.tensor([[[[1.0, 3.0]]], [[[5.0, 7.0]]]]), torch.tensor([[[[1.0, 3.0]]], [[[0.0, 2.0]]]])
    assert float(weighted_mean(values, VoxelWeights(weights))) == pytest.approx((2.5 + 7.0) / 2)
    assert float(weighted_mean(values, VoxelWeights(weights, torch.tensor([3.0, 1.0])))) == pytest.approx(3.625)


def test_empty_samples_weigh_alike_so_that_no_size_of_object_is_preferred():
    percent = torch.ones(3, 8, 8, 8, dtype=torch.uint8)
    small, large = torch.zeros(8, 8, 8, dtype=torch.bool), torch.ones(8, 8, 8, dtype=torch.bool)
    small[4, 4, 4] = True
    reference = torch.stack([small, large, large])
    empty = torch.tensor([True, True, False])
    weights = relative_weights(percent, reference, torch.ones(3, 8, 8, 8), empty).samples
    assert weights[0] == weights[1] > weights[2]


def test_relative_weights_count_a_sample_by_what_is_left_to_gain():
    percent = torch.tensor([[[[50, 99]]], [[[10, 99]]]], dtype=torch.uint8)
    reference, voxels = torch.ones(2, 1, 1, 2, dtype=torch.bool), torch.tensor([[[[1.0, 0.0]]], [[[1.0, 0.0]]]])
    weights = relative_weights(percent, reference, voxels)
    assert weights.samples.tolist() == pytest.approx([1 / (0.1 + math.log(2)), 1 / (0.1 + math.log(10))])
