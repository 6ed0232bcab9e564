"""Rewards of the refinement: the relative gain in cross-entropy, its returns, and the credit of neighbours.

All in nats. Formulas: IteR-MRL (arXiv 1911.10334) for the reward, PixelRL for the reward-map convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg_rl.environment.actions import ADJUSTMENTS
from medseg_rl.refiner import HIGHEST, LOWEST
from medseg_rl.volume import Spacing


@cache
def cross_entropy_table() -> Tensor:
    """X[y, k] = -log p if y = 1 else -log(1 - p), p = k / 100; (2, 100) float32, k clipped to 1..99."""
    probability = torch.arange(100, dtype=torch.float64).clamp(LOWEST, HIGHEST) / 100
    return torch.stack([-torch.log1p(-probability), -torch.log(probability)]).float()


@cache
def gain_table(adjustments: tuple[int, ...] = ADJUSTMENTS) -> Tensor:
    """r[y, k, a] = X[y, k] - X[y, clip(k + a)], the gain of every action in every state; (2, 100, actions)."""
    table = cross_entropy_table()
    state = torch.arange(100).clamp(LOWEST, HIGHEST)
    after = (state[:, None] + torch.tensor(adjustments)).clamp(LOWEST, HIGHEST)
    return table[:, :, None] - table[:, after]


def cross_entropy(percent: Tensor, reference: Tensor) -> Tensor:
    """Cross-entropy of every voxel; `percent` uint8 hundredths, `reference` bool, same shape."""
    return cross_entropy_table().to(percent.device)[reference.long(), percent.long()]


def cross_entropy_gain(before: Tensor, after: Tensor, reference: Tensor) -> Tensor:
    """r(t) = X(p(t-1)) - X(p(t)) of every voxel: positive when the step brought it nearer to the reference."""
    return cross_entropy(before, reference) - cross_entropy(after, reference)


def absolute_cross_entropy(before: Tensor, after: Tensor, reference: Tensor) -> Tensor:
    """r(t) = -X(p(t)): the absolute reward, for the ablation."""
    return -cross_entropy(after, reference)


def gain_of_every_action(percent: Tensor, reference: Tensor, adjustments: Sequence[int] = ADJUSTMENTS) -> Tensor:
    """r(a) for every action in closed form, (batch, actions, x, y, z) from (batch, x, y, z)."""
    gains = gain_table(tuple(adjustments)).to(percent.device)[reference.long(), percent.long()]
    return gains.movedim(-1, 1)


def discounted_returns(
    rewards: Tensor,
    *,
    discount: float,
    credit: Callable[[Tensor], Tensor] | None = None,
    bootstrap: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns G(t) = r(t) + discount * W G(t+1) and their future parts discount * W G(t+1).

    `rewards` (steps, batch, x, y, z). `bootstrap`: expected return after the last step, zero when None. W is the
    identity unless `credit` is given. Both results have the shape of `rewards`.
    """
    following = torch.zeros_like(rewards[0]) if bootstrap is None else bootstrap
    returns, futures = [], []
    for reward in reversed(rewards):
        futures.append(discount * (credit(following) if credit is not None else following))
        following = reward + futures[-1]
        returns.append(following)
    return torch.stack(returns[::-1]), torch.stack(futures[::-1])


class NeighbourCredit:
    """Reward-map convolution W = (1 - rho) delta + rho Gaussian(sigma mm), fixed and normalised.

    Without it a voxel is never credited for what its adjustment does to neighbours in later steps.
    """

    def __init__(self, *, spacing: Spacing, rho: float = 0.5, sigma_mm: float = 3.0) -> None:
        self.rho = rho
        self._kernels = [_gaussian(sigma_mm / s) for s in spacing]

    def __call__(self, reward_map: Tensor) -> Tensor:
        """(batch, x, y, z) to the same; beyond the border counts as zero."""
        smooth = reward_map[:, None]
        for axis, kernel in enumerate(self._kernels):
            shape, padding = [1] * 5, [0] * 3
            shape[axis + 2], padding[axis] = kernel.numel(), kernel.numel() // 2
            smooth = functional.conv3d(smooth, kernel.to(reward_map).view(shape), padding=padding)
        return (1 - self.rho) * reward_map + self.rho * smooth[:, 0]


class LearnedCredit(nn.Module):
    """Reward-map convolution W = (1 - s) delta + s softmax(z) with learned s and z, `voxels` wide (odd).

    After PixelRL (Furuta et al. 2019), where W is free: trained by the value loss such a W can shrink to zero, so here
    it is a mean always. s = 0 as built: the identity. Call `project` after each optimiser step.
    """

    def __init__(self, voxels: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.zeros(()))
        self.logits = nn.Parameter(torch.zeros(voxels, voxels, voxels))

    @property
    def kernel(self) -> Tensor:
        """W (x, y, z), not negative, of sum 1: what a voxel is credited of the return of its neighbour there."""
        spread = torch.softmax(self.logits.flatten(), 0).view_as(self.logits)
        delta = torch.zeros_like(spread)
        delta[tuple(n // 2 for n in spread.shape)] = 1
        return (1 - self.share) * delta + self.share * spread

    def forward(self, reward_map: Tensor) -> Tensor:
        """(batch, x, y, z) to the same; beyond the border counts as zero."""
        padding = self.logits.shape[0] // 2
        return functional.conv3d(reward_map[:, None], self.kernel[None, None], padding=padding)[:, 0]

    def project(self) -> None:
        """Back to 0 <= s <= 1, where a step went beyond."""
        with torch.no_grad():
            self.share.clamp_(0, 1)


def _gaussian(sigma: float) -> Tensor:
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / max(sigma, 1e-3)) ** 2)
    return kernel / kernel.sum()
