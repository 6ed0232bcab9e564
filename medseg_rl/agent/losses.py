"""Losses of the voxel agents and of their supervised twins. Pure functions, keyword-only after the tensors.

Every loss is a weighted sum over voxels whose weights sum to one in each sample, averaged over the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from medseg_rl.agent.networks import Heads
from medseg_rl.agent.policy import TWIN_STEP
from medseg_rl.environment.rewards import cross_entropy
from medseg_rl.refiner import HIGHEST, LOWEST

LEFT_OF_EMPTY = 0.4  # nats: about what an object of a tenth of the window leaves


class LossTerms(NamedTuple):
    """`total` is what is minimised; the others are logged."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor


class VoxelWeights(NamedTuple):
    """`voxels` (batch, x, y, z): importance of each voxel in its sample. `samples` (batch,): of each sample."""

    voxels: Tensor
    samples: Tensor | None = None


def weighted_mean(values: Tensor, weights: VoxelWeights) -> Tensor:
    """sum_i w_i v_i (batch, x, y, z) with sum_i w_i = 1 in each sample, then the (weighted) mean over samples."""
    totals = weights.voxels.flatten(1).sum(1).clamp_min(1e-8)
    means = (values * weights.voxels).flatten(1).sum(1) / totals
    if weights.samples is None:
        return means.mean()
    return (means * weights.samples).sum() / weights.samples.sum()


def relative_weights(percent: Tensor, reference: Tensor, weights: Tensor, empty: Tensor | None = None) -> VoxelWeights:
    """Samples weighed by one over their cross-entropy (nats) plus 0.1: a gain counts relative to what is left to gain.

    Without it empty starts, with errors ten times as large, drown what can be learned on good ones. Those that are
    `empty` (batch,) all weigh the same: what is left to gain there is the size of the object, and a loss in which small
    ones count more teaches that objects are small.
    """
    left = (cross_entropy(percent, reference) * weights).flatten(1).sum(1) / weights.flatten(1).sum(1).clamp_min(1e-8)
    if empty is not None:
        left = torch.where(empty, torch.full_like(left, LEFT_OF_EMPTY), left)
    return VoxelWeights(weights, 1 / (0.1 + left))


def all_action_loss(
    heads: Heads,
    *,
    actions: Tensor,
    gains: Tensor,
    returns: Tensor,
    future_returns: Tensor,
    weights: VoxelWeights,
    value_coef: float,
    entropy_coef: float,
    foresight: float,
) -> LossTerms:
    """Exact expectation over actions for the immediate gain, one sampled action for the part that follows.

    `gains` (batch, actions, x, y, z): immediate gain of every action. `returns` G(t), `future_returns`
    discount * G(t+1) and `weights` (batch, x, y, z); `actions` the sampled indices. `foresight` 0..1 weighs the
    sampled part, which is dropped at 0 (discount 0).
    L_now = -sum pi r; L_next = -log pi(a) sg[discount * G(t+1) - F]; values by least squares.
    """
    log_probabilities = functional.log_softmax(heads.logits, 1)
    probabilities = log_probabilities.exp()
    now = -weighted_mean((probabilities * gains).sum(1), weights)
    entropy = weighted_mean(-(probabilities * log_probabilities).sum(1), weights)
    value = 0.5 * weighted_mean((heads.value - returns) ** 2, weights)
    value = value + 0.5 * weighted_mean((heads.future_value - future_returns) ** 2, weights)
    policy = now
    if foresight:
        surprise = future_returns - heads.future_value.detach()  # a learned reward-map convolution hears it too
        policy = now - foresight * weighted_mean(_of_action(log_probabilities, actions) * surprise, weights)
    return LossTerms(policy + value_coef * value - entropy_coef * entropy, policy, value, entropy)


def sampled_loss(
    heads: Heads,
    *,
    actions: Tensor,
    returns: Tensor,
    weights: VoxelWeights,
    value_coef: float,
    entropy_coef: float,
) -> LossTerms:
    """Synchronous advantage actor-critic, nearest to the published description: L = -log pi(a) sg[G - V] + values."""
    log_probabilities = functional.log_softmax(heads.logits, 1)
    advantage = returns - heads.value.detach()
    policy = -weighted_mean(_of_action(log_probabilities, actions) * advantage, weights)
    entropy = weighted_mean(-(log_probabilities.exp() * log_probabilities).sum(1), weights)
    value = 0.5 * weighted_mean((heads.value - returns) ** 2, weights)
    return LossTerms(policy + value_coef * value - entropy_coef * entropy, policy, value, entropy)


def belief_loss(heads: Heads, *, reference: Tensor, weights: VoxelWeights) -> Tensor:
    """Weighted cross-entropy of the belief, a proper score: it keeps the belief the probability that it claims to be.

    The gradient of an expected gain vanishes with the probability of the better action, this one does not.
    """
    assert heads.belief is not None
    loss = functional.binary_cross_entropy_with_logits(heads.belief, reference.float(), reduction="none")
    return weighted_mean(loss, weights)


def twin_loss(heads: Heads, *, percent: Tensor, reference: Tensor, weights: VoxelWeights, bounded: bool) -> LossTerms:
    """Weighted cross-entropy of a supervised twin. `percent` (uint8) is the state before, `reference` bool.

    The unbounded twin keeps the logit for exactness; the bounded one passes its gradient straight through the clip.
    """
    target = reference.float()
    if bounded:
        free = percent.float() / 100 + TWIN_STEP * torch.tanh(heads.logits[:, 0])
        clipped = free + (free.clamp(LOWEST / 100, HIGHEST / 100) - free).detach()
        loss = functional.binary_cross_entropy(clipped, target, reduction="none")
    else:
        logit = heads.logits[:, 0] if heads.belief is None else heads.belief
        loss = functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    policy = weighted_mean(loss, weights)
    zero = policy.detach() * 0
    return LossTerms(policy, policy, zero, zero)


def _of_action(log_probabilities: Tensor, actions: Tensor) -> Tensor:
    return log_probabilities.gather(1, actions.long()[:, None])[:, 0]
