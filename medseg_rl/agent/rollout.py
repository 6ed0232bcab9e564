"""Collects what the agents saw and did: episodes in numpy on one side, batches of tensors on the other.

No gradient here: states carry none, and the learner recomputes one step at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medseg_rl.agent.networks import ActorCritic, Heads, no_mask
from medseg_rl.agent.policy import Policy
from medseg_rl.environment.click_relations import FARTHEST_MM
from medseg_rl.environment.episode import Episode
from medseg_rl.hints.clicks import Click
from medseg_rl.volume import Box

UNCONCERNED = 0.05  # weight of voxels that no new click concerns
CONCERNED_MM = 10.0  # how far a click concerns

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
    interaction: int


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
    forward: Callable[..., tuple[Tensor | None, Heads]],
    window: tuple[int, int, int],
    bootstrap: bool = False,
) -> Rollout:
    """Advances every episode by `interactions` of `steps` each: observe, act, step, store.

    Scenes of different shapes are padded with zeros at their far ends, where their weight is zero.
    `window`: how much of a region, in voxels, the network is shown of it, around the newest click.
    """
    transitions: list[Transition] = []
    boxes: list[Box] = []
    device = network.locality.device
    with torch.no_grad():
        for interaction in range(interactions):
            for episode in episodes:
                episode.interact(clicks(episode))
            boxes = boxes or [_window(episode, window) for episode in episodes]
            fixed = _seen(boxes, [e.fixed_voxels for e in episodes])
            weights = (_seen(boxes, [e.scene.weights for e in episodes]) * ~fixed).to(device)
            features = None
            for _ in range(steps):
                observation = _seen(boxes, [e.observation(network.channels) for e in episodes]).to(device)
                before = _seen(boxes, [e.percent for e in episodes]).to(device)
                features, heads = forward(network, observation, features=features)
                told = weights * concern(observation, network.channels) if network.belief else weights
                decision = policy.sample(heads, before, generator)
                for episode, box, percent in zip(episodes, boxes, decision.percent.cpu(), strict=True):
                    wanted = episode.percent.copy()
                    wanted[box.slices] = percent[tuple(slice(n) for n in box.shape)].numpy()
                    episode.step(wanted)
                after = _seen(boxes, [e.percent for e in episodes]).to(device)
                actions = decision.actions.to(torch.uint8)
                transitions.append(Transition(observation, before, after, actions, told, interaction))
        value = None
        if bootstrap:
            last = _seen(boxes, [e.observation(network.channels) for e in episodes]).to(device)
            value = forward(network, last)[1].value
        reference = _seen(boxes, [e.scene.reference for e in episodes]).to(device)
    return Rollout(transitions, reference, value)


def concern(observation: Tensor, channels: Sequence[str]) -> Tensor:
    """How much the newest clicks concern each voxel (batch, x, y, z): 1 or `UNCONCERNED`.

    They concern what lies within 10 mm of one and near the surface of the mask, or anything there where the click
    itself lies deep; and everything where there is no mask yet. All of it is observed: weights that knew the reference
    would teach to believe in it.
    """
    nearness, boundary, depth = (
        observation[:, channels.index(name)] for name in ("click_nearness", "boundary", "click_boundary")
    )
    near = nearness > 1 - CONCERNED_MM / FARTHEST_MM
    nothing = no_mask(observation, channels)[:, None, None, None]
    return (nothing | (near & ((boundary.abs() < 1) | (depth.abs() >= 1)))).float().clamp_min(UNCONCERNED)


def _seen(boxes: Sequence[Box], arrays: Sequence[np.ndarray]) -> Tensor:
    """What lies in the boxes of arrays (..., x, y, z), as one tensor; zero beyond the extent of each."""
    shape = np.max([box.shape for box in boxes], axis=0)
    return _stack([array[(..., *box.slices)] for array, box in zip(arrays, boxes, strict=True)], shape)


def _stack(arrays: Sequence[np.ndarray], shape: np.ndarray) -> Tensor:
    """Arrays (..., x, y, z) of different extent to one tensor, zero beyond the extent of each."""
    out = np.zeros((len(arrays), *arrays[0].shape[:-3], *shape), arrays[0].dtype)
    for target, array in zip(out, arrays, strict=True):
        target[(..., *(slice(n) for n in array.shape[-3:]))] = array
    return torch.from_numpy(out)


def _window(episode: Episode, voxels: tuple[int, int, int]) -> Box:
    """The part of a region that the network is shown: around the newest click, else around the mask."""
    shape = episode.percent.shape
    looked_at = Box.around_mask(episode.mask) or Box.whole(shape)
    if episode.new_clicks:
        looked_at = Box.around_indices([episode.new_clicks[-1].index])
    centre = [(a + b) // 2 for a, b in zip(looked_at.start, looked_at.stop, strict=True)]
    start = [max(0, min(c - n // 2, size - n)) for c, n, size in zip(centre, voxels, shape, strict=True)]
    stop = [min(a + n, size) for a, n, size in zip(start, voxels, shape, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
