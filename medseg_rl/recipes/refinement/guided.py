"""Learns from strokes into running refinements: imitation of what was painted, each voxel with its dynamic weight.

After Hug-DRL (see `rlhf.guidance`) with what the voxel agents have: a value in place of a Q, the accepted mask in
hindsight in place of the environment's reward. Everywhere else the policy is held to what it was. Reads no store.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medseg_rl.agent.networks import ActorCritic
from medseg_rl.agent.policy import AdjustmentPolicy
from medseg_rl.environment.actions import apply_adjustments
from medseg_rl.environment.episode import Episode, Scene
from medseg_rl.environment.rewards import cross_entropy_gain
from medseg_rl.hints.maps import HintConfig
from medseg_rl.recipes.recipe import Work, seed_of
from medseg_rl.recipes.refinement.strokes import Stroke
from medseg_rl.rlhf.config import HumanGuidanceConfig
from medseg_rl.rlhf.guidance import guidance_weight, human_adjustment, imitation_loss, value_advantage

HALVINGS = 12  # then a step is 1/4096 of what it was


@dataclass(frozen=True)
class GuidedConfig:
    """`hold_coef`: of the KL to the policy before, over the voxels that no stroke touched; `most_drift`: of that KL,
    nats a voxel. A step that goes beyond it goes back towards the weights before, half of the way each time.
    """

    updates: int = 40
    batch: int = 2
    learning_rate: float = 1e-4
    hold_coef: float = 10.0
    most_drift: float = 0.01
    discount: float = 0.95
    every: int = 10
    seed: int = 0
    human: HumanGuidanceConfig = field(default_factory=HumanGuidanceConfig)


@dataclass(frozen=True, eq=False)
class Lesson:
    """A stroke as tensors: `seen` (1, channels, x, y, z), the others (1, x, y, z). `action`: index of the adjustment
    nearest to what was painted.
    """

    seen: Tensor
    percent: Tensor
    touched: Tensor
    action: Tensor
    reference: Tensor
    case_index: int


def lesson_of(stroke: Stroke, channels: Sequence[str], adjustments: Sequence[int], hints: HintConfig) -> Lesson:
    """The observation that the agents had, and what the person did there. Clicked voxels are no decision."""
    scene = Scene(
        stroke.image, stroke.reference, stroke.percent, np.ones(stroke.image.shape, np.float32), stroke.spacing
    )
    episode = Episode(scene, hints=hints)
    if stroke.clicks:
        episode.interact(stroke.clicks)
    episode.interact(stroke.new_clicks)
    percent = torch.from_numpy(episode.percent.copy())[None]
    painted = torch.full(percent.shape, int(stroke.inside))
    return Lesson(
        torch.from_numpy(episode.observation(channels))[None],
        percent,
        torch.from_numpy(stroke.voxels & ~episode.fixed_voxels)[None],
        human_adjustment(painted, percent.float() / 100, adjustments=adjustments),
        torch.from_numpy(stroke.reference)[None],
        stroke.case_index,
    )


def weight_of(
    network: ActorCritic, policy: AdjustmentPolicy, lesson: Lesson, *, discount: float, config: HumanGuidanceConfig
) -> Tensor:
    """omega of every voxel (1, x, y, z), without gradient: dQ = r(human) + discount V' - V, V' after what was executed,
    the person's adjustment where one was painted and the agents' own elsewhere.
    """
    with torch.no_grad():
        features = network.features(lesson.seen)
        heads = network.heads(features, lesson.seen)
        proposed = policy.greedy(heads, lesson.percent).percent
        human = apply_adjustments(lesson.percent, lesson.action, policy.adjustments)
        after = torch.where(lesson.touched, human, proposed)
        then = torch.cat([lesson.seen[:, :-1], after[:, None].to(lesson.seen.dtype) / 100], 1)
        gained = cross_entropy_gain(lesson.percent, human, lesson.reference)
        advantage = value_advantage(gained, network.heads(features, then).value, heads.value, discount=discount)
        return guidance_weight(advantage, cases_done=lesson.case_index, config=config)


def guided_loss(
    network: ActorCritic,
    before: ActorCritic,
    policy: AdjustmentPolicy,
    lesson: Lesson,
    weight: Tensor,
    config: GuidedConfig,
) -> Tensor:
    """Imitation where it was painted, by `weight`, plus the KL to the policy before where it was not."""
    chosen = _log_policy(network, policy, lesson).gather(1, lesson.action[:, None])[:, 0]
    imitation = imitation_loss(chosen, lesson.touched, weight)
    return config.human.guidance_coef * imitation + config.hold_coef * drift_of(network, before, policy, lesson)


def drift_of(network: ActorCritic, before: ActorCritic, policy: AdjustmentPolicy, lesson: Lesson) -> Tensor:
    """Mean KL of the policy before to that of now over the voxels that were not painted, nats."""
    with torch.no_grad():
        old = _log_policy(before, policy, lesson)
    apart = (old.exp() * (old - _log_policy(network, policy, lesson))).sum(1)
    held = ~lesson.touched
    return (apart * held).sum() / held.sum().clamp_min(1)


def _log_policy(network: ActorCritic, policy: AdjustmentPolicy, lesson: Lesson) -> Tensor:
    heads = network.heads(network.features(lesson.seen), lesson.seen)
    return functional.log_softmax(policy.logits(heads, lesson.percent), 1)


def guided(
    network: ActorCritic,
    policy: AdjustmentPolicy,
    strokes: Sequence[Stroke],
    config: GuidedConfig,
    work: Work,
    *,
    hints: HintConfig,
) -> ActorCritic:
    """A copy of the network that learned from the strokes, or goes on from its checkpoint. Raises Cancelled."""
    before = copy.deepcopy(network).eval().requires_grad_(False)
    after = copy.deepcopy(network).eval().requires_grad_(True)
    lessons = [lesson_of(stroke, network.channels, policy.adjustments, hints) for stroke in strokes]
    weights = [weight_of(before, policy, lesson, discount=config.discount, config=config.human) for lesson in lessons]
    taught = [pair for pair in zip(lessons, weights, strict=True) if bool(pair[1][pair[0].touched].any())]
    if not taught:  # no stroke helped: Adam would make steps of the rounding
        return network
    optimiser = torch.optim.Adam(after.parameters(), lr=config.learning_rate)
    kept, done = work.checkpoint("guided"), 0
    if (state := kept.load()) is not None:
        after.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        done = int(state["done"])
    for update in range(done, config.updates):
        rng = np.random.default_rng(seed_of("guided", config.seed, update))
        size = min(config.batch, len(taught))
        chosen = [taught[int(number)] for number in rng.choice(len(taught), size, replace=False)]
        optimiser.zero_grad(set_to_none=True)
        for lesson, weight in chosen:
            (guided_loss(after, before, policy, lesson, weight, config) / size).backward()
        optimiser.step()
        _hold(after, before, policy, [lesson for lesson, _ in chosen], config.most_drift)
        work.report("learning from strokes", update + 1, config.updates)
        if (update + 1) % config.every == 0 or update + 1 == config.updates:
            kept.save({"network": after.state_dict(), "optimiser": optimiser.state_dict(), "done": update + 1})
            work.stop_if_cancelled()
    return after.requires_grad_(False)


@torch.no_grad()
def _hold(
    after: ActorCritic, before: ActorCritic, policy: AdjustmentPolicy, lessons: Sequence[Lesson], most: float
) -> None:
    for _ in range(HALVINGS):
        if max(float(drift_of(after, before, policy, lesson)) for lesson in lessons) <= most:
            return
        for new, old in zip(after.parameters(), before.parameters(), strict=True):
            new.lerp_(old, 0.5)
