"""From a network's heads to the next state: the voxel agents' policy, and the supervised twins that control for it.

A policy decides for a batch. `medseg_rl.agent.refine` wraps one as a `Refiner`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from medseg_rl.agent.networks import Heads
from medseg_rl.environment.actions import ADJUSTMENTS, apply_adjustments, greedy_actions, sample_actions
from medseg_rl.environment.rewards import gain_of_every_action
from medseg_rl.refiner import HIGHEST, LOWEST

SHARPNESS = 200.0  # logits per nat of expected gain: a needless move of 10 hundredths is drawn once in fifty
TWIN_STEP = 0.4  # largest change of probability by twin B, as large as the agents' largest adjustment


class Decision(NamedTuple):
    """`percent`: next state (batch, x, y, z) uint8. `actions`: indices of what was done, same shape (twins: zeros)."""

    percent: Tensor
    actions: Tensor


class Policy(Protocol):
    """Turns heads into the next state."""

    @property
    def outputs(self) -> int:
        """Channels it reads from the policy head."""

    def greedy(self, heads: Heads, percent: Tensor) -> Decision:
        """The deterministic decision used in the product."""

    def sample(self, heads: Heads, percent: Tensor, generator: torch.Generator) -> Decision:
        """The decision used in training rollouts."""

    def drawn(self, heads: Heads, percent: Tensor, draw: Tensor) -> Decision:
        """The decision by given uniform numbers (batch, x, y, z): for candidates."""


class AdjustmentPolicy:
    """The voxel agents: each picks one of a few adjustments of its own probability.

    Where the network has a belief, an untrained agent believes the state it finds and what the click says of it, and
    every other move loses in expectation: all that is to be learned is when to depart from that.
    """

    def __init__(self, adjustments: Sequence[int] = ADJUSTMENTS) -> None:
        self.adjustments = tuple(adjustments)

    @property
    def outputs(self) -> int:
        """One logit an adjustment."""
        return len(self.adjustments)

    def logits(self, heads: Heads, percent: Tensor) -> Tensor:
        """(batch, actions, x, y, z). With a belief: its expected immediate gain of every action, sharpened, plus the
        network's own logits, plus the will to stand still where no new click concerns the voxel.
        """
        if heads.belief is None or heads.hearing is None:
            return heads.logits
        believed = torch.sigmoid(heads.belief)[:, None]
        outside, inside = (
            gain_of_every_action(percent, torch.full_like(percent, truth, dtype=torch.bool), self.adjustments)
            for truth in (False, True)
        )
        return heads.logits * heads.hearing[:, None] + SHARPNESS * (believed * inside + (1 - believed) * outside)

    def greedy(self, heads: Heads, percent: Tensor) -> Decision:
        """Most probable adjustment; ties to the smallest change."""
        actions = greedy_actions(self.logits(heads, percent), self.adjustments)
        return Decision(apply_adjustments(percent, actions, self.adjustments), actions)

    def sample(self, heads: Heads, percent: Tensor, generator: torch.Generator) -> Decision:
        """Adjustment drawn from the softmax of the logits."""
        actions = sample_actions(self.logits(heads, percent), generator=generator)
        return Decision(apply_adjustments(percent, actions, self.adjustments), actions)

    def drawn(self, heads: Heads, percent: Tensor, draw: Tensor) -> Decision:
        """Adjustment drawn by `draw`: the higher the number, the more a voxel leans to object."""
        actions = sample_actions(self.logits(heads, percent), draw=draw)
        return Decision(apply_adjustments(percent, actions, self.adjustments), actions)


class TwinPolicy:
    """Supervised control on the same backbone, starts, clicks and steps.

    Twin A (`bounded=False`): p = sigmoid(z), the belief of networks that have one. Twin B (`bounded=True`):
    p + 0.4 tanh(z), clipped. Both rounded to hundredths.
    """

    outputs = 1

    def __init__(self, *, bounded: bool) -> None:
        self.bounded = bounded

    def probability(self, heads: Heads, percent: Tensor) -> Tensor:
        """Next probability before rounding, (batch, x, y, z) float32."""
        if self.bounded:
            return percent.float() / 100 + TWIN_STEP * torch.tanh(heads.logits[:, 0])
        return torch.sigmoid(heads.logits[:, 0] if heads.belief is None else heads.belief)

    def greedy(self, heads: Heads, percent: Tensor) -> Decision:
        """The rounded probability."""
        rounded = (self.probability(heads, percent) * 100).round().clamp(LOWEST, HIGHEST).to(torch.uint8)
        return Decision(rounded, torch.zeros_like(percent))

    def sample(self, heads: Heads, percent: Tensor, generator: torch.Generator) -> Decision:
        """The same: a twin has nothing to explore."""
        return self.greedy(heads, percent)

    def drawn(self, heads: Heads, percent: Tensor, draw: Tensor) -> Decision:
        """The same: a twin has nothing to draw."""
        return self.greedy(heads, percent)


def build_policy(kind: str, adjustments: Sequence[int] = ADJUSTMENTS) -> AdjustmentPolicy | TwinPolicy:
    """`kind`: "adjustment" (the agents), "twin_a" or "twin_b" (supervised controls)."""
    if kind == "adjustment":
        return AdjustmentPolicy(adjustments)
    if kind in ("twin_a", "twin_b"):
        return TwinPolicy(bounded=kind == "twin_b")
    raise ValueError(f"policy {kind!r} is none of adjustment, twin_a, twin_b")
