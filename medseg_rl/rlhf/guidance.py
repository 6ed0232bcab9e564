"""What a person's interventions teach while an agent acts: how much each weighs, the actor's loss, and their book.

Written from the formulas of Hug-DRL (Wu et al. 2023): the executed action is I a_human + (1 - I) a_agent. Where the
person acted, only imitation has a gradient; elsewhere only the critic. Knows no environment, and trains no critic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from medseg_rl.rlhf.config import HumanGuidanceConfig
from medseg_rl.rlhf.records import Demonstration, Intervention, Record

ADJUSTMENTS = (-40, -20, -10, 10, 20, 40)  # hundredths; what a stroke can ask of a voxel agent


def guidance_weight(advantage: Tensor, *, cases_done: int, config: HumanGuidanceConfig) -> Tensor:
    """Weight omega >= 0 of each intervention; carries no gradient.

    `advantage`: dQ = Q1(s, human) - Q1(s, policy), clamped to `max_exponent` from above. `cases_done`: k, finished
    episodes or cases, d = decay^k. "paper": d (max(exp dQ, 1) - 1). "handover": d w (d + (1 - d)(max(exp dQ, 1) - 1)),
    a fixed weight w first, the critic's word once it has learned. Method "ia": w always; "hi" and "none": 0.
    """
    if config.method in ("hi", "none"):
        return torch.zeros_like(advantage, requires_grad=False)
    if config.method == "ia":
        return torch.full_like(advantage, config.fixed_weight, requires_grad=False)
    filtered = torch.exp(advantage.detach().clamp(max=config.max_exponent)).clamp_min(1) - 1
    left = config.decay**cases_done
    if config.weight_schedule == "paper":
        return left * filtered
    return left * config.fixed_weight * (left + (1 - left) * filtered)


def guided_actor_loss(
    policy_value: Tensor, policy_action: Tensor, executed: Tensor, intervened: Tensor, weight: Tensor
) -> Tensor:
    """mean[ -(1 - I) Q1(s, mu(s)) + I omega |a - mu(s)|^2 ] over a batch.

    `policy_value`, `intervened` (0 or 1), `weight`: (batch,). `policy_action` mu(s), `executed` a: (batch, features).
    """
    imitation = ((executed - policy_action) ** 2).sum(1)
    return (-(1 - intervened) * policy_value + intervened * weight.detach() * imitation).mean()


def value_advantage(reward: Tensor, next_value: Tensor, value: Tensor, *, discount: float) -> Tensor:
    """dQ where there is a V and no Q: r(human) + discount V(s') - V(s), of each agent."""
    return reward + discount * next_value - value


def imitation_loss(logprobs: Tensor, intervened: Tensor, weight: Tensor) -> Tensor:
    """Mean over the touched agents of -omega log pi(human action); zero where nothing was touched.

    For policies that choose among adjustments. All the same shape, for instance (batch, time, x, y, z).
    """
    touched = intervened.to(logprobs.dtype)
    return -(touched * weight.detach() * logprobs).sum() / touched.sum().clamp_min(1)


def human_adjustment(painted: Tensor, probability: Tensor, *, adjustments: Sequence[int] = ADJUSTMENTS) -> Tensor:
    """Index of the adjustment nearest to what a stroke asked for: painted label (0 or 1) minus probability.

    `probability` in 0..1. A tie goes to the first in the list.
    """
    wanted = (painted.to(probability.dtype) - probability)[..., None]
    offered = torch.tensor(adjustments, dtype=probability.dtype) / 100
    return (wanted - offered).abs().argmin(-1)


class Takeovers:
    """Counts the steps a person acted in, and the events they form; tells what the first step of each event costs."""

    def __init__(self, penalty: float = 0.0) -> None:
        self.penalty, self.steps, self.human_steps, self.events = penalty, 0, 0, 0
        self._acting = False

    def add(self, intervened: bool) -> float:
        """Count a step. The reward to add to it: -penalty on the first step of an event, else 0."""
        begins = intervened and not self._acting
        self._acting = intervened
        self.steps += 1
        self.human_steps += intervened
        self.events += begins
        return -self.penalty if begins else 0.0

    def end_episode(self) -> None:
        """The next episode begins: an event does not reach into it."""
        self._acting = False

    @property
    def rate(self) -> float:
        """Share of the steps that a person acted in; NaN before the first."""
        return self.human_steps / self.steps if self.steps else math.nan


class Lesson(NamedTuple):
    """An intervention and the mask accepted for its case later: the label in hindsight that its reward needs."""

    stroke: Intervention
    accepted: Demonstration


@dataclass(frozen=True)
class Lessons:
    """What strokes teach, and how many do not: `retracted` by the person, of a case `never_accepted`, not allowed."""

    lessons: tuple[Lesson, ...]
    retracted: int
    never_accepted: int
    not_allowed: int

    @property
    def retracted_share(self) -> float:
        """Of all strokes; NaN without any."""
        total = len(self.lessons) + self.retracted + self.never_accepted + self.not_allowed
        return self.retracted / total if total else math.nan


def lessons_of(records: Iterable[Record]) -> Lessons:
    """Strokes that may train, each with the last accepted mask of its case. `records`: the effective ones.

    A stroke that was undone or painted over teaches nothing: it is this product's bad human.
    """
    records = tuple(records)
    accepted = {r.case_id: r for r in records if isinstance(r, Demonstration)}
    strokes = [r for r in records if isinstance(r, Intervention)]
    allowed = [s for s in strokes if s.may_train and s.has_image]
    kept = [s for s in allowed if not s.retracted]
    lessons = tuple(Lesson(s, accepted[s.case_id]) for s in kept if s.case_id in accepted)
    return Lessons(lessons, len(allowed) - len(kept), len(kept) - len(lessons), len(strokes) - len(allowed))
