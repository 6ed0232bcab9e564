"""Proximal policy optimisation against a learned reward, with KL to a reference and supervised loss mixed in.

One core for tokens, control and voxels: everything is (batch, time, *agent) with a mask, ratios are an agent's own.
Sources: Schulman et al. 2017 (clip), Ziegler et al. 2019 (adaptive KL), Ouyang et al. 2022, eq. 2 (ptx).
Collects no rollout: that is the task's.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from medseg_rl.rlhf.config import AdaptiveKLConfig, PPOConfig
from medseg_rl.rlhf.rollout import (
    Advantages,
    Policy,
    RewardComponent,
    Rollout,
    generalised_advantages,
    masked_mean,
    masked_whiten,
    over_agents,
    placed,
)

WARMUP_START = 0.1  # of the peak learning rate (InstructGPT, appendix C.4)

# Given how many examples are wanted: parts of their mean loss, each with its share; the shares sum to one.
Pretraining = Callable[[int], Iterable[tuple[Tensor, float]]]


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, *, estimator: str) -> Tensor:
    """One-sample KL(pi || reference) of every element under samples of pi, x = logprobs - ref_logprobs, nats.

    k1 = x (unbiased, may be negative), k2 = x^2 / 2, k3 = exp(-x) - 1 + x (unbiased, >= 0).
    """
    x = logprobs - ref_logprobs
    if estimator == "k1":
        return x
    if estimator == "k2":
        return x**2 / 2
    if estimator == "k3":
        return torch.expm1(-x) + x
    raise ValueError(f"estimator {estimator!r} is none of k1, k2, k3")


def adapted(kl_coef: float, kl: float, *, config: AdaptiveKLConfig, episodes: int) -> float:
    """The next coefficient: a little more where `kl` is above the target (Ziegler et al. 2019, section 2.2)."""
    error = min(max(kl / config.target - 1, -0.2), 0.2)
    return kl_coef * (1 + error * episodes / config.horizon)


class ClippedLoss(NamedTuple):
    """`loss` is minimised, `clipfrac` is the share of elements where the clip decides."""

    loss: Tensor
    clipfrac: Tensor


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, *, cliprange: float
) -> ClippedLoss:
    """Masked mean of max(-A ratio, -A clip(ratio, 1 - c, 1 + c)); the ratio is that of each element alone."""
    ratio = torch.exp(logprobs - old_logprobs)
    free, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    return ClippedLoss(
        masked_mean(torch.maximum(free, clipped), mask), masked_mean((clipped > free).to(free.dtype), mask)
    )


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, cliprange: float) -> ClippedLoss:
    """Half the masked mean of the worse of two squared errors: of the value, and of it kept near the old one."""
    kept = old_values + (values - old_values).clamp(-cliprange, cliprange)
    free, clipped = (values - returns) ** 2, (kept - returns) ** 2
    return ClippedLoss(
        0.5 * masked_mean(torch.maximum(free, clipped), mask), masked_mean((clipped > free).to(free.dtype), mask)
    )


def micro_batched(
    loss_of: Callable[[Tensor], Tensor], examples: Tensor, *, size: int
) -> Iterable[tuple[Tensor, float]]:
    """The mean loss over `examples` (n, ...) in parts of `size`: the gradient of the whole without its memory."""
    for part in examples.split(size):
        yield loss_of(part), len(part) / len(examples)


class Rewards(NamedTuple):
    """`elements` (batch, time, *agent): what GAE gets. `scores` and `non_score` (batch,): its parts, reduced."""

    elements: Tensor
    scores: Tensor
    non_score: Tensor
    kl: Tensor
    kl_sum: Tensor
    components: Mapping[str, float]


def rewards_of(
    rollout: Rollout, components: Sequence[tuple[RewardComponent, float]], *, config: PPOConfig, kl_coef: float
) -> Rewards:
    """Weighted components plus -kl_coef times the KL of each element. `kl` and `kl_sum` (batch,) are never clamped."""
    mask = rollout.mask
    score = torch.zeros_like(rollout.logprobs)
    means: dict[str, float] = {}
    for component, weight in components:
        found = placed(component(rollout).to(score.dtype), mask)
        means[component.name] = float(over_agents(found, mask, reduction="mean_band").sum(1).mean())
        score = score + weight * found
    if config.missing_eos_penalty is not None and rollout.ended is not None:
        score = score - placed(config.missing_eos_penalty * (~rollout.ended).to(score.dtype), mask)
    element_kl = kl_estimate(rollout.logprobs, rollout.ref_logprobs, estimator=config.kl_estimator)
    kl = over_agents(element_kl, mask, reduction=config.kl_reduction).sum(1)
    kl_sum = over_agents(element_kl, mask, reduction="sum").sum(1)
    scores = over_agents(score, mask, reduction="mean_band").sum(1)
    elements = (score - kl_coef * element_kl) * (mask > 0)
    return Rewards(elements, scores, -kl_coef * kl, kl, kl_sum, means)


def advantages_of(rewards: Tensor, values: Tensor, mask: Tensor, *, config: PPOConfig) -> Advantages:
    """GAE on rewards that are whitened without a shift where asked for; advantages whitened with one."""
    if config.whiten_rewards:
        rewards = masked_whiten(rewards, mask, shift_mean=False) * (mask > 0)
    found = generalised_advantages(rewards, values, mask, discount=config.discount, gae_lambda=config.gae_lambda)
    if config.whiten_advantages:
        return found._replace(advantages=masked_whiten(found.advantages, mask) * (mask > 0))
    return found


class PPOTrainer:
    """Holds the optimiser, the KL coefficient and the averaged weights. Trains in eval mode: no dropout anywhere."""

    def __init__(
        self, policy: Policy, config: PPOConfig, components: Sequence[tuple[RewardComponent, float]] = ()
    ) -> None:
        self.policy, self.config, self.components = policy, config, tuple(components)
        self.parameters = [p for p in policy.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(self.parameters, lr=config.learning_rate, eps=config.adam_eps)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.kl_coef, self.iteration, self.episodes = config.kl_coef, 0, 0
        self.average = None if config.ema_decay is None else copy.deepcopy(policy.state_dict())

    def step(self, rollout: Rollout, *, pretraining: Pretraining | None = None) -> dict[str, float]:
        """All epochs over one rollout; returns the metrics. Raises ValueError: ptx without `pretraining`."""
        config = self.config
        if config.ptx_coef and pretraining is None:
            raise ValueError("ptx_coef is set and there is nothing to mix in; give `pretraining`")
        started = time.perf_counter()
        self.policy.eval()
        learning_rate = config.learning_rate * self._warmth()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        with torch.no_grad():
            rewards = rewards_of(rollout, self.components, config=config, kl_coef=self.kl_coef)
            advantages = advantages_of(rewards.elements, rollout.values, rollout.mask, config=config)
        passes = _Passes()
        for _ in range(config.num_ppo_epochs):
            order = torch.randperm(len(rollout), generator=self.generator)
            if config.num_mini_batches == 1:
                order = torch.arange(len(rollout))  # the whole batch, in the order in which it was scored
            for rows in order.chunk(config.num_mini_batches):
                passes.add(self._minibatch(rollout.rows(rows), advantages, rows, pretraining))
        self.iteration += 1
        self.episodes += len(rollout)
        metrics = self._metrics(rollout, rewards) | passes.means() | {"lr": learning_rate}
        metrics["eps"] = len(rollout) / (time.perf_counter() - started)  # episodes a second, as TRL logs it
        if config.adaptive_kl is not None:
            kl = metrics["objective/kl"]
            self.kl_coef = adapted(self.kl_coef, kl, config=config.adaptive_kl, episodes=len(rollout))
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """All that a stopped run needs to go on as if it had not stopped."""
        return {
            "policy": self.policy.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "numbers": {"kl_coef": self.kl_coef, "iteration": self.iteration, "episodes": self.episodes},
            "average": self.average,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.policy.load_state_dict(state["policy"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        numbers = state["numbers"]
        self.kl_coef, self.iteration, self.episodes = numbers["kl_coef"], numbers["iteration"], numbers["episodes"]
        self.average = state["average"]

    def _minibatch(
        self, part: Rollout, advantages: Advantages, rows: Tensor, pretraining: Pretraining | None
    ) -> dict[str, float]:
        config, mask = self.config, part.mask
        now = self.policy.evaluate(part.inputs)
        policy = policy_loss(now.logprobs, part.logprobs, advantages.advantages[rows], mask, cliprange=config.cliprange)
        value = value_loss(now.values, part.values, advantages.returns[rows], mask, cliprange=config.cliprange_value)
        self.optimiser.zero_grad(set_to_none=True)
        (policy.loss + config.vf_coef * value.loss).backward()
        mixed = 0.0
        if pretraining is not None and config.ptx_coef:
            for loss, share in pretraining(len(part) * config.ptx_examples_per_episode):
                (config.ptx_coef * share * loss).backward()
                mixed += share * float(loss.detach())
        self.optimiser.step()
        self._follow()
        with torch.no_grad():
            ratio = torch.exp(now.logprobs - part.logprobs)
            approximate = kl_estimate(now.logprobs, part.logprobs, estimator="k2")
            return {
                "policy/approxkl_avg": float(masked_mean(approximate, mask)),
                "policy/clipfrac_avg": float(policy.clipfrac),
                "policy/entropy_avg": float(masked_mean(now.entropy, mask)),
                "loss/policy_avg": float(policy.loss),
                "loss/value_avg": float(value.loss),
                "loss/ptx_avg": mixed,
                "val/clipfrac_avg": float(value.clipfrac),
                "val/ratio": float(masked_mean(ratio, mask)),
                "val/first_ratio_error": float(((ratio - 1).abs() * (mask > 0)).max()),
            }

    def _metrics(self, rollout: Rollout, rewards: Rewards) -> dict[str, float]:
        non_score, scores = float(rewards.non_score.mean()), float(rewards.scores.mean())
        return {
            "objective/kl": float(rewards.kl.mean()),
            "objective/kl_sum": float(rewards.kl_sum.mean()),
            "objective/kl_coef": self.kl_coef,
            "objective/entropy": float(masked_mean(rollout.entropy, rollout.mask)),
            "objective/non_score_reward": non_score,
            "objective/scores": scores,
            "objective/rlhf_reward": scores + non_score,
            "val/num_eos_tokens": float(rollout.ended.sum()) if rollout.ended is not None else 0.0,
            "episode": float(self.episodes),
            **{f"reward/{name}": mean for name, mean in rewards.components.items()},
        }

    def _warmth(self) -> float:
        warmup = self.config.lr_warmup_iterations
        return 1.0 if self.iteration >= warmup else WARMUP_START + (1 - WARMUP_START) * self.iteration / warmup

    def _follow(self) -> None:
        if self.average is None or self.config.ema_decay is None:
            return
        for name, trained in self.policy.state_dict().items():
            if trained.is_floating_point():
                self.average[name].lerp_(trained, 1 - self.config.ema_decay)
            else:
                self.average[name].copy_(trained)


class _Passes:
    """Means of the metrics over all minibatches; the ratio's variance, and its error at the first one."""

    def __init__(self) -> None:
        self.found: list[dict[str, float]] = []

    def add(self, metrics: dict[str, float]) -> None:
        self.found.append(metrics)

    def means(self) -> dict[str, float]:
        n = len(self.found)
        means = {name: math.fsum(found[name] for found in self.found) / n for name in self.found[0]}
        spread = math.fsum((found["val/ratio"] - means["val/ratio"]) ** 2 for found in self.found)
        means["val/ratio_var"] = spread / max(n - 1, 1)
        means["val/first_ratio_error"] = self.found[0]["val/first_ratio_error"]
        return means
