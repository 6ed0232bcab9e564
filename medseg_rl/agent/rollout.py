"""Collects what the agents saw and did: episodes in numpy on one side, batches of tensors on the other.

No gradient here: states carry none, and the learner recomputes one step at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medseg_rl.agent.networks import ActorCritic, Heads
from medseg_rl.agent.policy import Policy
from medseg_rl.environment.episode import Episode
from medseg_rl.hints.clicks import Click

ClickSource = Callable[[Episode], Sequence[Click]]


@dataclass(frozen=True, eq=False)
class Transition:
    """One refinement step of a batch. `observation` (batch, channels, x, y, z); the others (batch, x, y, z).

    `before`, `after`: uint8 states. `actions`: indices. `weights`: zero on padding, clicked and held voxels.
    """

    observation: Tensor
    before: Tensor
    after: Tensor
    actions: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class Rollout:
    """Steps in order; `reference` (batch, x, y, z) bool; `bootstrap`: expected return after the last, or None."""

    transitions: list[Transition]
    reference: Tensor
    bootstrap: Tensor | None = None


def collect_rollout(
    network: ActorCritic,
    policy: Policy,
    episodes: Sequence[Episode],
    *,
    clicks: ClickSource,
    interactions: int,
    steps: int,
    generator: torch.Generator,
    forward: Callable[[ActorCritic, Tensor], Heads],
    bootstrap: bool = False,
    new_click_weight: float = 0.0,
) -> Rollout:
    """Advances every episode by `interactions` of `steps` each: observe, act, step, store.

    Scenes of different shapes are padded with zeros at their far ends, where their weight is zero.
    `new_click_weight` c multiplies weights by 1 + c * (hint of this interaction's clicks).
    """
    shape = np.max([episode.percent.shape for episode in episodes], axis=0)
    scene_weights = _stack([e.scene.weights for e in episodes], shape)
    transitions: list[Transition] = []
    with torch.no_grad():
        for _ in range(interactions):
            for episode in episodes:
                episode.interact(clicks(episode))
            free = ~_stack([e.fixed_voxels for e in episodes], shape)
            weights = scene_weights * free
            if new_click_weight:
                near = ("new_foreground_hints", "new_background_hints")
                hints = _stack([e.observation(near).max(0) for e in episodes], shape)
                weights = weights * (1 + new_click_weight * hints)
            for _ in range(steps):
                observation = _stack([e.observation(network.channels) for e in episodes], shape)
                before = _stack([e.percent for e in episodes], shape)
                heads = forward(network, observation)
                decision = policy.sample(heads, before, generator)
                for episode, percent in zip(episodes, decision.percent, strict=True):
                    episode.step(percent[tuple(slice(n) for n in episode.percent.shape)].numpy())
                after = _stack([e.percent for e in episodes], shape)
                transitions.append(Transition(observation, before, after, decision.actions.to(torch.uint8), weights))
        value = None
        if bootstrap:
            value = forward(network, _stack([e.observation(network.channels) for e in episodes], shape)).value
    return Rollout(transitions, _stack([e.scene.reference for e in episodes], shape), value)


def _stack(arrays: Sequence[np.ndarray], shape: np.ndarray) -> Tensor:
    """Arrays (..., x, y, z) of different extent to one tensor, zero beyond the extent of each."""
    out = np.zeros((len(arrays), *arrays[0].shape[:-3], *shape), arrays[0].dtype)
    for target, array in zip(out, arrays, strict=True):
        target[(..., *(slice(n) for n in array.shape[-3:]))] = array
    return torch.from_numpy(out)
