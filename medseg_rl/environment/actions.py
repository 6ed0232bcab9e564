"""Adjustments of the live state. The state is uint8 hundredths 1..99, so an update is exact integer arithmetic.

Knows nothing of networks: it takes action indices, or the logits that rank them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg_rl.refiner import HIGHEST, LOWEST

ADJUSTMENTS = (-40, -20, -10, 10, 20, 40)  # hundredths; the published six, there is no zero action
# Ours. Without the zero action only saturation stands still, without the small ones what a click says of voxels farther
# off is rounded away: both lose what the start knows of its own doubts.
FINE_ADJUSTMENTS = (-40, -20, -10, -5, -2, 0, 2, 5, 10, 20, 40)


def apply_adjustments(percent: Tensor, actions: Tensor, adjustments: Sequence[int] = ADJUSTMENTS) -> Tensor:
    """State (batch, x, y, z) uint8 after action indices (batch, x, y, z), clipped to 1..99.

    p(t) = clip(p(t-1) + a, eps, 1 - eps) with eps = 0.01.
    """
    steps = torch.tensor(tuple(adjustments), dtype=torch.int16, device=percent.device)
    moved = percent.to(torch.int16) + steps[actions.long()]
    return moved.clamp_(LOWEST, HIGHEST).to(torch.uint8)


def sample_actions(logits: Tensor, *, generator: torch.Generator | None = None, draw: Tensor | None = None) -> Tensor:
    """One action index a voxel (batch, x, y, z) drawn from softmax(logits), logits (batch, actions, x, y, z).

    `draw`: uniform numbers (batch, x, y, z) to draw by, instead of new ones of the generator.

    By the inverse of the cumulative distribution: `torch.distributions.Categorical` takes ten times as long.
    """
    cumulative = torch.softmax(logits, 1).cumsum(1)
    if draw is None:
        size = (logits.shape[0], *logits.shape[2:])
        draw = torch.rand(size, generator=generator, device=logits.device, dtype=logits.dtype)
    return (cumulative[:, :-1] < draw[:, None] * cumulative[:, -1:]).sum(1)


def greedy_actions(logits: Tensor, adjustments: Sequence[int] = ADJUSTMENTS) -> Tensor:
    """The most probable action index of every voxel; ties go to the smallest change, then to the first."""
    first, *others = sorted(range(len(adjustments)), key=lambda i: (abs(adjustments[i]), i))
    highest, best = logits[:, first], torch.full_like(logits[:, first], first, dtype=torch.long)
    for action in others:  # a running maximum; argmax over a strided axis takes twenty times as long
        better = logits[:, action] > highest
        highest, best = torch.where(better, logits[:, action], highest), best.masked_fill(better, action)
    return best
