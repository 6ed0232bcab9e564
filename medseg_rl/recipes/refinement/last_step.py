"""The mask that an interaction ends with as one answer of independent voxels: what task rewards are given for.

The earlier refinement steps are the policy's own greedy ones and get no gradient; in the last one, each voxel decides
whether it ends inside. That decision's probability is the sum over the adjustments that lead there, so the credit of
one voxel is exact (`rlhf.task_reward`, `rlhf.marginal_credit`). Knows no reward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medseg_rl.environment.actions import apply_adjustments
from medseg_rl.environment.episode import Episode
from medseg_rl.recipes.refinement.voxel_policy import VoxelPolicy, acted, masks_of

LEAST = 1e-6  # probability: below it a voxel counts as decided


@dataclass(frozen=True, eq=False)
class Before:
    """Prompts before their last step. `first`, `seen`: observations (batch, channels, x, y, z) of the first and of the
    last step; `percent`, `fixed`, `label` (batch, x, y, z).
    """

    episodes: Sequence[Episode]
    first: Tensor
    seen: Tensor
    percent: Tensor
    fixed: Tensor
    label: Tensor


def before_last(actor: VoxelPolicy, episodes: Sequence[Episode], *, steps: int) -> Before:
    """Where the actor's greedy steps lead to before the last one."""
    inputs, _ = acted(actor, episodes, steps=steps, generator=None)
    seen = inputs["observations"]
    fixed, label = (
        torch.from_numpy(np.stack(arrays))
        for arrays in ([e.fixed_voxels for e in episodes], [e.scene.reference for e in episodes])
    )
    return Before(episodes, seen[:, 0], seen[:, -1], inputs["percent"][:, -1], fixed, label)


class LastStep:
    """A `Sampler` of masks (batch, x, y, z)."""

    def __init__(self, actor: VoxelPolicy) -> None:
        self.actor = actor

    def probability(self, prompt: Before) -> Tensor:
        """Of ending inside, with gradient; 0 or 1 where a voxel is fixed."""
        network, policy = self.actor.network, self.actor.policy
        heads = network.heads(network.features(prompt.first), prompt.seen)
        chances = torch.softmax(policy.logits(heads, prompt.percent), 1)
        leads = torch.stack([self._inside(prompt.percent, action) for action in range(chances.shape[1])], 1)
        found = (chances * leads).sum(1).clamp(0, 1)
        return torch.where(prompt.fixed, masks_of(prompt.percent).to(found.dtype), found)

    def _inside(self, percent: Tensor, action: int) -> Tensor:
        return masks_of(apply_adjustments(percent, torch.full_like(percent, action), self.actor.policy.adjustments))

    def draw(self, prompt: Before, generator: torch.Generator) -> Tensor:
        """Each voxel by itself."""
        chance = self.probability(prompt)
        return torch.rand(chance.shape, generator=generator) < chance

    def greedy(self, prompt: Before) -> Tensor:
        """What the product would show: the most probable adjustments."""
        heads = self.actor.network.heads(self.actor.network.features(prompt.first), prompt.seen)
        after = self.actor.policy.greedy(heads, prompt.percent).percent
        return masks_of(torch.where(prompt.fixed, prompt.percent, after))

    def logprobs(self, prompt: Before, answer: Tensor) -> Tensor:
        """Of each voxel's side; zero where it is fixed."""
        chance = self.probability(prompt)
        logs = torch.log(torch.where(answer, chance, 1 - chance).clamp_min(LEAST))
        return logs.masked_fill(prompt.fixed, 0.0)

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """All that is trained."""
        return self.actor.parameters()

    def train(self, mode: bool = True) -> LastStep:
        """Of no effect: the agents have no dropout that sampling and scoring could differ in."""
        self.actor.network.eval()
        return self
