"""Rewards that a metric gives, without a critic: score-function gradients and what is subtracted from the reward.

Sources: Williams 1992; Rennie et al. 2017 (self-critical: "greedy"); Pinto et al. 2023 (a second sample); Kool et al.
2019 (leave-one-out); Foerster et al. 2018 (counterfactual advantages of one agent). The metric itself is the task's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from medseg_rl.rlhf.config import Baseline, REINFORCEConfig

Prompt = TypeVar("Prompt", contravariant=True)


class Advantages(NamedTuple):
    """`values` (samples, batch, ...) weigh -log p; `counted` (samples,): which samples carry a gradient."""

    values: Tensor
    counted: Tensor


def advantages_over(
    rewards: Tensor,
    *,
    baseline: Baseline,
    greedy: Tensor | None = None,
    values: Tensor | None = None,
    normalize_std: bool = False,
) -> Advantages:
    """Rewards (samples, batch) minus their baseline.

    "sample": even samples against the odd one behind them, which carries no gradient. "greedy": the reward (batch,) of
    the greedy answer. "loo": mean of the other samples. "value": a critic's expectation (batch,). "none": zero.
    All are unbiased, since none depends on the sample itself; `normalize_std` divides by the deviation and is not.
    Raises ValueError: an odd number of samples or fewer than two, or a greedy reward or value that is missing.
    """
    samples = len(rewards)
    counted = torch.ones(samples, dtype=torch.bool)
    if baseline == "sample":
        if samples % 2:
            raise ValueError(f"baseline sample pairs samples, and there are {samples}; draw an even number")
        counted[1::2] = False
        subtracted = rewards.roll(-1, 0)
    elif baseline == "loo":
        if samples < 2:
            raise ValueError("baseline loo needs at least two samples")
        subtracted = (rewards.sum(0) - rewards) / (samples - 1)
    elif baseline == "none":
        subtracted = torch.zeros_like(rewards)
    else:
        given = greedy if baseline == "greedy" else values
        if given is None:
            raise ValueError(f"baseline {baseline} needs the {'greedy reward' if baseline == 'greedy' else 'values'}")
        subtracted = given.detach().expand_as(rewards)
    advantages = rewards - subtracted
    if normalize_std:
        advantages = advantages / (rewards.std(0, correction=0) + 1e-4)
    return Advantages(advantages.detach(), counted)


def reinforce_loss(logprobs: Tensor, advantages: Advantages, mask: Tensor | None = None) -> Tensor:
    """Mean over samples and batch of -A log p, summed over what follows (agents, tokens): its gradient is REINFORCE.

    `logprobs` (samples, batch, ...): of each agent or token where it has more axes than the advantage, which then
    holds for all of them; `mask` of the same shape leaves padding out.
    """
    weight = advantages.values.reshape(advantages.values.shape + (1,) * (logprobs.ndim - advantages.values.ndim))
    terms = -weight * logprobs
    if mask is not None:
        terms = terms * mask
    return terms[advantages.counted].flatten(2).sum(2).mean() if terms.ndim > 2 else terms[advantages.counted].mean()


def counterfactual_advantages(rewards_of_actions: Tensor, probabilities: Tensor, taken: Tensor) -> Tensor:
    """A_i = R(y) - sum_a pi_i(a) R(y with agent i acting a): unbiased, since the baseline does not depend on y_i.

    `rewards_of_actions`, `probabilities` (..., actions); `taken` (...) indices. The plain difference to the other of
    two actions would give twice the gradient.
    """
    got = rewards_of_actions.gather(-1, taken[..., None])[..., 0]
    return got - (probabilities * rewards_of_actions).sum(-1)


def dice_of(sample: Tensor, label: Tensor) -> Tensor:
    """Dice (batch,) of masks (batch, *agent); 1 where both are empty."""
    overlap = (sample & label).flatten(1).sum(1).double()
    total = sample.flatten(1).sum(1).double() + label.flatten(1).sum(1).double()
    return torch.where(total > 0, 2 * overlap / total.clamp_min(1), torch.ones_like(total))


def counterfactual_dice(sample: Tensor, label: Tensor, probability: Tensor) -> Tensor:
    """Counterfactual advantage of every voxel for Dice, in time linear in their number.

    `sample`, `label` bool and `probability` of "inside" (batch, *agent). Only |A and B| and |A| change with a voxel.
    """
    shape = (-1,) + (1,) * (sample.ndim - 1)
    overlap = (sample & label).flatten(1).sum(1).double().reshape(shape)
    inside = sample.flatten(1).sum(1).double().reshape(shape)
    truth = label.flatten(1).sum(1).double().reshape(shape)
    here, wanted = sample.double(), label.double()
    without, rest = overlap - here * wanted, inside - here
    off = _dice(without, rest, truth)
    on = _dice(without + wanted, rest + 1, truth)
    p = probability.double()
    return (torch.where(sample, on, off) - (p * on + (1 - p) * off)).to(probability.dtype)


def _dice(overlap: Tensor, inside: Tensor, truth: Tensor) -> Tensor:
    total = inside + truth
    return torch.where(total > 0, 2 * overlap / total.clamp_min(1), torch.ones_like(total))


class Sampler(Protocol[Prompt]):
    """A model that answers. `draw` and `greedy` run in eval mode without gradient, at full temperature."""

    def draw(self, prompt: Prompt, generator: torch.Generator) -> Any:
        """One answer for each of a batch."""

    def greedy(self, prompt: Prompt) -> Any:
        """The answers at test time."""

    def logprobs(self, prompt: Prompt, answer: Any) -> Tensor:
        """(batch, ...) with gradient: as at sampling; zero on padding."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """All that is trained."""

    def train(self, mode: bool = True) -> Any:
        """Switch between training and evaluation."""


class TaskRewardTrainer:
    """Tunes a model on a metric of its whole answers: `reward(prompt, answer)` (batch,), higher is better.

    `value(prompt)` (batch,): a critic of the task's own, for baseline "value". `credit(prompt, answer)` (batch, *agent)
    takes the place of all baselines where the config asks for counterfactual advantages.
    """

    def __init__(
        self,
        model: Sampler[Any],
        reward: Callable[[Any, Any], Tensor],
        config: REINFORCEConfig,
        *,
        seed: int = 0,
        value: Callable[[Any], Tensor] | None = None,
        credit: Callable[[Any, Any], Tensor] | None = None,
    ) -> None:
        if config.counterfactual and credit is None:
            raise ValueError("counterfactual advantages need `credit`, the advantage of every agent")
        self.model, self.reward, self.config = model, reward, config
        self.value, self.credit = value, credit
        self.optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
        self.generator = torch.Generator().manual_seed(seed)

    def step(self, prompt: Any, *, supervised: Tensor | None = None) -> dict[str, float]:
        """One update from `num_samples` answers to each prompt. `supervised`: a loss to add, with its weight in it."""
        self.model.train(False)
        with torch.no_grad():
            answers = [self.model.draw(prompt, self.generator) for _ in range(self.config.num_samples)]
            rewards = torch.stack([self.reward(prompt, answer) for answer in answers])
            greedy = self.reward(prompt, self.model.greedy(prompt)) if self.config.baseline == "greedy" else None
            values = self.value(prompt) if self.value is not None else None
        logprobs = torch.stack([self.model.logprobs(prompt, answer) for answer in answers])
        loss = reinforce_loss(logprobs, self._advantages(prompt, answers, rewards, greedy, values))
        total = loss if supervised is None else loss + supervised
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        self.optimiser.step()
        return self._metrics(rewards, greedy) | {"loss": float(total.detach())}

    def state_dict(self) -> dict[str, Any]:
        """What a stopped run needs beside the model's weights."""
        return {"optimiser": self.optimiser.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])

    def _advantages(
        self, prompt: Any, answers: list[Any], rewards: Tensor, greedy: Tensor | None, values: Tensor | None
    ) -> Advantages:
        if self.config.counterfactual and self.credit is not None:
            credits = torch.stack([self.credit(prompt, answer) for answer in answers])
            return Advantages(credits.detach(), torch.ones(len(answers), dtype=torch.bool))
        config = self.config
        return advantages_over(
            rewards, baseline=config.baseline, greedy=greedy, values=values, normalize_std=config.normalize_std
        )

    def _metrics(self, rewards: Tensor, greedy: Tensor | None) -> dict[str, float]:
        deviation = rewards.std(0, correction=0)
        metrics = {
            "reward": float(rewards.mean()),
            "reward_std": float(deviation.mean()),
            "frac_reward_zero_std": float((deviation < 1e-8).double().mean()),
        }
        if greedy is not None:
            share = float((rewards > greedy).double().mean())
            metrics["share_above_greedy"] = share
            if share in (0.0, 1.0):
                which = "no sample beats" if share == 0 else "every sample beats"
                warnings.warn(f"{which} the greedy answer: self-critical training has no signal here", stacklevel=3)
        return metrics
