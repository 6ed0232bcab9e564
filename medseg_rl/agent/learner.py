"""Improves a network from rollouts: returns, losses one step at a time, one optimiser step an update."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from medseg_rl.agent.losses import (
    LossTerms,
    VoxelWeights,
    all_action_loss,
    belief_loss,
    relative_weights,
    sampled_loss,
    twin_loss,
)
from medseg_rl.agent.networks import ActorCritic, Heads, no_mask
from medseg_rl.agent.policy import AdjustmentPolicy, TwinPolicy
from medseg_rl.agent.ranks import Ranks
from medseg_rl.agent.rollout import Rollout, Transition
from medseg_rl.environment.rewards import (
    LearnedCredit,
    NeighbourCredit,
    absolute_cross_entropy,
    cross_entropy_gain,
    discounted_returns,
    gain_of_every_action,
)

Precision = Literal["fp32", "bf16"]
Mode = Literal["all_action", "sampled"]
BELIEVER = TwinPolicy(bounded=False)


def fast_precision(device: torch.device | None = None) -> Precision:
    """bf16 where the processor or GPU has instructions for it, else fp32."""
    if device is not None and device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"


def run_network(
    network: ActorCritic,
    observation: Tensor,
    *,
    precision: Precision,
    spacing: Sequence[float],
    command: Tensor | None = None,
    features: Tensor | None = None,
) -> tuple[Tensor | None, Heads]:
    """Forward pass, channels last, in that precision; heads are float32. `spacing`: mm along x, y, z.

    Beside the heads: features to hand in again at the next step of the same interaction, None if that may not be.
    """
    thin = max(range(3), key=lambda axis: (spacing[axis], axis)) if network.planar else 2
    context: AbstractContextManager[object] = nullcontext()
    if precision == "bf16":
        context = torch.autocast(observation.device.type, torch.bfloat16)
    with context:
        turned = observation.transpose(thin - 3, -1).contiguous(memory_format=torch.channels_last_3d)
        features = network.features(turned, command) if features is None else features
        heads = network.heads(features, turned)
    turned_back = Heads(*(None if head is None else head.transpose(thin - 3, -1) for head in heads))  # type: ignore[arg-type]
    return features if network.belief else None, turned_back


@dataclass(frozen=True)
class LearnerConfig:
    """How an update weighs its parts. `discount` 0.95 is the published value; `credit_rho` > 0 shares returns, by a
    fixed kernel; `credit_voxels` > 0 by a learned one of that width (odd) instead, which begins as the identity.

    Agents that have a belief follow and train it alone in the first `belief_first` of a run, one step an interaction:
    supervised first, then reward, as InstructGPT does; it is also the cheaper way to see many clicks.
    The sampled part of `all_action` fades in over the next `foresight_warmup` of a run, while its baseline F learns.
    `belief_coef` weighs the loss of the belief beside the reward (0: reward alone), as PPO-ptx keeps a supervised loss
    (InstructGPT, eq. 2). `relative_samples`: see `medseg_rl.agent.losses.relative_weights`.
    `averaging`: share the averaged weights keep in an update.
    """

    mode: Mode = "all_action"
    reward: Literal["relative", "absolute"] = "relative"
    discount: float = 0.95
    belief_first: float = 0.7
    foresight_warmup: float = 0.1
    belief_coef: float = 1.0
    relative_samples: bool = True
    credit_rho: float = 0.0
    credit_sigma_mm: float = 3.0
    value_coef: float = 0.1
    entropy_coef: float = 2e-4  # gains are of the order of 0.01 nats a step: more would reward noise alone
    entropy_coef_end: float = 2e-5
    learning_rate: float = 1e-3
    warmup_updates: int = 30
    averaging: float = 0.99
    poly_power: float = 0.9
    gradient_norm: float = 1.0
    credit_voxels: int = field(default=0, metadata={"added_later": True})

    def __post_init__(self) -> None:
        if self.credit_voxels and (self.credit_voxels < 0 or self.credit_voxels % 2 == 0):
            raise ValueError(f"credit_voxels is {self.credit_voxels}; use an odd width, or 0")


class _Coefficients(NamedTuple):
    entropy: float
    foresight: float


class Learner:
    """Holds the optimiser. `progress` in 0..1 drives the schedules of learning rate and entropy."""

    def __init__(
        self,
        network: ActorCritic,
        policy: AdjustmentPolicy | TwinPolicy,
        config: LearnerConfig,
        *,
        precision: Precision,
        ranks: Ranks | None = None,
    ) -> None:
        self.network, self.policy, self.config, self.precision = network, policy, config, precision
        self.ranks = ranks or Ranks()
        self.credit = LearnedCredit(config.credit_voxels).to(self.ranks.device) if config.credit_voxels else None
        self.trained = [*network.parameters(), *(self.credit.parameters() if self.credit is not None else ())]
        self.optimiser = torch.optim.Adam(self.trained, lr=config.learning_rate)
        self.average = copy.deepcopy(network).eval().requires_grad_(False)

    def believes(self, progress: float) -> bool:
        """Whether only the belief is followed and trained at that point of a run."""
        return self.network.belief and isinstance(self.policy, AdjustmentPolicy) and progress < self.config.belief_first

    def acting(self, progress: float) -> AdjustmentPolicy | TwinPolicy:
        """Who acts in the rollouts at that point of a run, and is trained on them."""
        return BELIEVER if self.believes(progress) else self.policy

    def update(self, rollout: Rollout, *, progress: float, spacing: Sequence[float]) -> dict[str, float]:
        """One optimiser step from one rollout of `acting(progress)`; returns the means to log."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * max(1 - progress, 1e-3) ** config.poly_power * self._warmth()
        rewards = self._rewards(rollout)
        self.optimiser.zero_grad(set_to_none=True)
        credited = discounted_returns(
            rewards, discount=config.discount, credit=self._credit(spacing), bootstrap=rollout.bootstrap
        )
        # Leaves of their own: the graph of a learned credit is gone through once, after all steps.
        returns, futures = (part.detach().requires_grad_(self.credit is not None) for part in credited)
        entropy_coef = config.entropy_coef * (config.entropy_coef_end / config.entropy_coef) ** progress
        coefficients = _Coefficients(entropy_coef, self._foresight(progress) * (config.discount > 0))
        policy = self.acting(progress)
        self.network.train()
        sums = dict.fromkeys(("loss", "policy_loss", "value_loss", "entropy"), 0.0)
        steps = list(enumerate(rollout.transitions))
        features, total = None, None
        for step, transition in steps:
            features, heads = run_network(
                self.network, transition.observation, precision=self.precision, spacing=spacing, features=features
            )
            terms = self._loss(policy, heads, transition, rollout.reference, returns[step], futures[step], coefficients)
            total = terms.total if total is None else total + terms.total
            following = steps[step + 1][1] if step + 1 < len(steps) else None
            if features is None or following is None or following.interaction != transition.interaction:
                (total / len(steps)).backward()
                features, total = None, None
            for name, term in zip(sums, terms, strict=True):
                sums[name] += float(term.detach()) / len(rollout.transitions)
        if self.credit is not None:
            torch.autograd.backward(credited, [_gradient(part) for part in (returns, futures)])
        self.ranks.average_gradients(self.trained)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, config.gradient_norm)
        if torch.isfinite(norm):
            self.optimiser.step()
            if self.credit is not None:
                self.credit.project()
            self._follow()
        return {**sums, "gradient_norm": float(norm), **self._statistics(rollout, rewards)}

    def _credit(self, spacing: Sequence[float]) -> NeighbourCredit | LearnedCredit | None:
        if self.credit is not None or not self.config.credit_rho:
            return self.credit
        a, b, c = spacing
        return NeighbourCredit(spacing=(a, b, c), rho=self.config.credit_rho, sigma_mm=self.config.credit_sigma_mm)

    @property
    def _taken(self) -> float:
        return next((float(state["step"]) for state in self.optimiser.state.values()), 0.0)

    def _warmth(self) -> float:
        """Share of the learning rate while Adam's moments are young."""
        return min(1.0, (self._taken + 1) / max(self.config.warmup_updates, 1))

    def _foresight(self, progress: float) -> float:
        """Weight 0..1 of the sampled part of the loss."""
        begin = self.config.belief_first if self.network.belief else 0.0
        fading = self.config.foresight_warmup
        return min(1.0, max(0.0, progress - begin) / fading) if fading else 1.0

    def _follow(self) -> None:
        """Moves the averaged weights, the ones that are validated and shipped, a little towards the trained ones."""
        keep = min(self.config.averaging, self._taken / (10 + self._taken))
        with torch.no_grad():
            for mean, trained in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(trained, 1 - keep)

    def _rewards(self, rollout: Rollout) -> Tensor:
        reward = cross_entropy_gain if self.config.reward == "relative" else absolute_cross_entropy
        return torch.stack([reward(t.before, t.after, rollout.reference) for t in rollout.transitions])

    def _loss(
        self,
        policy: AdjustmentPolicy | TwinPolicy,
        heads: Heads,
        transition: Transition,
        reference: Tensor,
        returns: Tensor,
        futures: Tensor,
        coefficients: _Coefficients,
    ) -> LossTerms:
        config, weights = self.config, VoxelWeights(transition.weights)
        if config.relative_samples:
            channels = self.network.channels
            empty = no_mask(transition.observation, channels) if self.network.belief else None
            weights = relative_weights(transition.before, reference, transition.weights, empty)
        if isinstance(policy, TwinPolicy):
            before = transition.before
            return twin_loss(heads, percent=before, reference=reference, weights=weights, bounded=policy.bounded)
        heads = heads._replace(logits=policy.logits(heads, transition.before))
        gains = gain_of_every_action(transition.before, reference, policy.adjustments)
        known: dict[str, Any] = {"actions": transition.actions, "returns": returns, "weights": weights}
        known |= {"value_coef": config.value_coef, "entropy_coef": coefficients.entropy}
        if config.mode == "sampled":
            terms = sampled_loss(heads, **known)
        else:
            terms = all_action_loss(
                heads, **known, gains=gains, future_returns=futures, foresight=coefficients.foresight
            )
        if heads.belief is None or not config.belief_coef:
            return terms
        belief = belief_loss(heads, reference=reference, weights=weights)
        return terms._replace(total=terms.total + config.belief_coef * belief)

    @staticmethod
    def _statistics(rollout: Rollout, rewards: Tensor) -> dict[str, float]:
        weights = torch.stack([t.weights for t in rollout.transitions])
        after = rollout.transitions[-1].after
        saturated = ((after <= 1) | (after >= 99)).float().mean()
        return {
            "mean_reward": float((rewards * weights).sum() / weights.sum().clamp_min(1e-8)),
            "share_saturated": float(saturated),
        }


def _gradient(part: Tensor) -> Tensor:
    """What the losses said of a leaf, zero where no loss heard it."""
    return torch.zeros_like(part) if part.grad is None else part.grad
