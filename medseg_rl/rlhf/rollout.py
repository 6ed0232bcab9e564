"""What was done and with which probability, as tensors (batch, time, *agent) with a mask; means and advantages of it.

One shape serves all: tokens have time alone, voxels have time = refinement step and agents (x, y, z). The mask is bool
or a weight in 0..1 (0: padding). Time is axis 1, and every mean is a masked mean. Knows no policy's inside and no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor

TINY = 1e-8


class Evaluation(NamedTuple):
    """What a policy says of actions that were taken; each (batch, time, *agent). `entropy` in nats."""

    logprobs: Tensor
    values: Tensor
    entropy: Tensor


class Policy(Protocol):
    """A policy and its value head, as trainers here see them. In eval mode it must be deterministic."""

    def evaluate(self, inputs: Mapping[str, Tensor]) -> Evaluation:
        """Re-score the actions in `inputs`, at the temperature of the rollout and without truncation."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """All that is trained."""

    def state_dict(self) -> dict[str, Tensor]:
        """Its weights."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take weights."""

    def eval(self) -> Self:
        """Switch dropout off."""


@dataclass(frozen=True, eq=False)
class Rollout:
    """Episodes of the policy as it was. `inputs`: what `evaluate` needs, each with the batch as first axis.

    `logprobs`, `ref_logprobs` (of the reference policy), `values`, `entropy` and `mask`: (batch, time, *agent), nats.
    `ended` (batch,): whether the end token was drawn; None where there is none.
    """

    inputs: Mapping[str, Tensor]
    logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    entropy: Tensor
    mask: Tensor
    ended: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.logprobs.shape
        for entry in ("ref_logprobs", "values", "entropy", "mask"):
            found = getattr(self, entry).shape
            if found != shape:
                raise ValueError(f"{entry} has the shape {tuple(found)} beside log-probabilities of {tuple(shape)}")

    def __len__(self) -> int:
        return int(self.logprobs.shape[0])

    def rows(self, index: Tensor) -> Rollout:
        """Some of the episodes."""
        picked: dict[str, object] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Mapping):
                picked[entry.name] = {name: tensor[index] for name, tensor in value.items()}
            elif value is not None:
                picked[entry.name] = value[index]
        return replace(self, **picked)  # type: ignore[arg-type]


class RewardComponent(Protocol):
    """One named term of the reward: (batch,) for the whole episode, (batch, time), or the full shape."""

    @property
    def name(self) -> str:
        """Under "reward/<name>" its mean is logged."""

    def __call__(self, rollout: Rollout) -> Tensor:
        """The reward of every episode, without its weight."""


Judge = Callable[[Rollout], Tensor]  # (batch,): what is believed, never what is optimised


class Term(NamedTuple):
    """A reward component from a function."""

    name: str
    function: Callable[[Rollout], Tensor]

    def __call__(self, rollout: Rollout) -> Tensor:
        """The reward of every episode."""
        return self.function(rollout)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Sum of mask * values over sum of mask; 0 where nothing counts."""
    weight = mask.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp_min(TINY)


def masked_whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """To variance one, and to mean zero where `shift_mean` (advantages yes, rewards no). Population variance."""
    mean = masked_mean(values, mask)
    deviation = (masked_mean((values - mean) ** 2, mask) + TINY).sqrt()
    whitened = (values - mean) / deviation
    return whitened if shift_mean else whitened + mean


def over_agents(values: Tensor, mask: Tensor, *, reduction: str) -> Tensor:
    """(batch, time): sum over the agents that count ("sum"), or their weighted mean ("mean_band").

    Without agent axes both are the value itself, 0 on padding. A weight below one changes the mean, not the sum.
    """
    counted = (values * (mask > 0)).flatten(2).sum(2) if values.ndim > 2 else values * (mask > 0)
    if reduction == "sum" or values.ndim == 2:
        return counted
    weight = mask.to(values.dtype).flatten(2)
    return (values.flatten(2) * weight).sum(2) / weight.sum(2).clamp_min(TINY)


def placed(reward: Tensor, mask: Tensor) -> Tensor:
    """A reward of an episode (batch,), a step (batch, time) or each agent, as the full shape of `mask`.

    That of an episode stands on its last valid step; agents each get the whole of it.
    """
    if reward.ndim == 1:
        valid = (mask > 0).flatten(2).any(2) if mask.ndim > 2 else mask > 0
        steps = torch.arange(mask.shape[1], device=mask.device)
        last = (valid * (steps + 1)).amax(1) - 1
        reward = reward[:, None] * (steps == last[:, None])
    if reward.ndim == 2 and mask.ndim > 2:
        reward = reward.reshape(*reward.shape, *([1] * (mask.ndim - 2)))
    try:
        return reward.expand(mask.shape) * (mask > 0)
    except RuntimeError:
        raise ValueError(f"a reward of {tuple(reward.shape)} fits no rollout of {tuple(mask.shape)}") from None


class Advantages(NamedTuple):
    """Both (batch, time, *agent). `returns` are what the value head learns."""

    advantages: Tensor
    returns: Tensor


def generalised_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, discount: float, gae_lambda: float
) -> Advantages:
    """GAE (Schulman et al. 2016, eq. 16) along axis 1; after the last valid step the value is zero.

    delta_t = r_t + discount V_{t+1} - V_t; A_t = delta_t + discount * gae_lambda A_{t+1}. Padding stands at the end.
    """
    valid = (mask > 0).to(rewards.dtype)
    values, rewards = values * valid, rewards * valid
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    for step in range(rewards.shape[1] - 1, -1, -1):
        after = values[:, step + 1] if step + 1 < rewards.shape[1] else torch.zeros_like(following)
        delta = rewards[:, step] + discount * after - values[:, step]
        following = (delta + discount * gae_lambda * following) * valid[:, step]
        advantages[:, step] = following
    return Advantages(advantages, advantages + values)
