"""Trains a model that scores answers from rankings of them. What the model looks like is the task's.

All answers to one prompt stand in one batch: shuffled pairs overfit within an epoch (Ouyang et al. 2022, section 3.5).
The loss leaves a constant open, which `normalise` settles: demonstrations score zero on average.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from medseg_rl.rlhf.config import RewardConfig
from medseg_rl.rlhf.preferences import ranking_loss, strict_pairs

LAST_SHARE = 0.1  # of the learning rate at the end of the cosine


class Scorer(Protocol):
    """A model that scores: (n,), or a map (n, *agent) whose mean is the score."""

    def score(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The score of each answer; deterministic in eval mode."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """All that is trained."""

    def train(self, mode: bool = True) -> Any:
        """Switch between training and evaluation."""


@dataclass(frozen=True, eq=False)
class RankedPrompt:
    """K answers to one prompt: `inputs` each (K, ...), `ranks` (K,) with 1 best and equals tied."""

    inputs: Mapping[str, Tensor]
    ranks: Tensor
    annotator: str = "unnamed"


def scalar(score: Tensor) -> Tensor:
    """(n,) from scores or reward maps."""
    return score if score.ndim == 1 else score.flatten(1).mean(1)


def telescoped(maps: Tensor) -> Tensor:
    """Rewards R(s_{t+1}) - R(s_t) from reward maps (batch, time + 1, *agent): their sum is the last minus the first."""
    return maps[:, 1:] - maps[:, :-1]


class RewardModelTrainer:
    """Holds the optimiser, and the bias and gain found by `normalise`."""

    def __init__(self, model: Scorer, config: RewardConfig, *, seed: int = 0) -> None:
        self.model, self.config = model, config
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
        self.generator = torch.Generator().manual_seed(seed)
        self.bias, self.gain, self.updates = 0.0, 1.0, 0

    def fit(self, prompts: Sequence[RankedPrompt]) -> list[dict[str, float]]:
        """All epochs, learning rate on a cosine to a tenth; the metrics of every batch."""
        size = self.config.prompts_per_batch
        total = self.config.num_epochs * math.ceil(len(prompts) / size)
        metrics = []
        for _ in range(self.config.num_epochs):
            order = torch.randperm(len(prompts), generator=self.generator).tolist()
            for start in range(0, len(order), size):
                progress = self.updates / max(total - 1, 1)
                share = LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
                for group in self.optimiser.param_groups:
                    group["lr"] = self.config.learning_rate * share
                metrics.append(self.update([prompts[i] for i in order[start : start + size]]))
        return metrics

    def update(self, batch: Sequence[RankedPrompt]) -> dict[str, float]:
        """One step of the optimiser; all answers of these prompts pass through the model together."""
        self.model.train()
        scores = self._scores(batch)
        if not any(len(strict_pairs(prompt.ranks).better) for prompt in batch):
            return {"rm/skipped_prompts": float(len(batch))}
        found = ranking_loss(
            scores,
            [prompt.ranks for prompt in batch],
            center_rewards_coefficient=self.config.center_rewards_coefficient,
        )
        self.optimiser.zero_grad(set_to_none=True)
        found.loss.backward()
        self.optimiser.step()
        self.updates += 1
        every = torch.cat(scores).detach()
        return {
            "loss": float(found.loss.detach()),
            "accuracy": found.correct / found.pairs,
            "min_reward": float(every.min()),
            "mean_reward": float(every.mean()),
            "max_reward": float(every.max()),
            "margin": float(
                torch.stack([_margin(s.detach(), p.ranks) for s, p in zip(scores, batch, strict=True)]).mean()
            ),
            "rm/skipped_prompts": float(found.skipped),
        }

    def normalise(self, demonstrations: Mapping[str, Tensor], *, unit_deviation: bool = False) -> None:
        """Sets the bias so that demonstrations (n, ...) score 0 on average, and optionally their deviation to 1."""
        self.bias, self.gain = 0.0, 1.0
        scores = self.rewards(demonstrations)
        self.bias = float(scores.mean())
        if unit_deviation:
            self.gain = 1 / max(float(scores.std()), 1e-8)

    def rewards(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Normalised scores (n,) in eval mode, without gradient."""
        self.model.train(False)
        with torch.no_grad():
            return (scalar(self.model.score(inputs)) - self.bias) * self.gain

    def accuracy(self, prompts: Sequence[RankedPrompt]) -> dict[str, float]:
        """Share of strict pairs ordered right: "accuracy", and "accuracy/<annotator>" of each; NaN without pairs."""
        right, pairs = Counter[str](), Counter[str]()
        for prompt in prompts:
            scores = self.rewards(prompt.inputs)
            better, worse = strict_pairs(prompt.ranks)
            correct = int((scores[better] > scores[worse]).sum())
            for key in ("accuracy", f"accuracy/{prompt.annotator}"):
                right[key] += correct
                pairs[key] += len(better)
        return {key: right[key] / pairs[key] if pairs[key] else math.nan for key in sorted(pairs)}

    def _scores(self, batch: Sequence[RankedPrompt]) -> list[Tensor]:
        joined = {name: torch.cat([prompt.inputs[name] for prompt in batch]) for name in batch[0].inputs}
        return list(scalar(self.model.score(joined)).split([len(prompt.ranks) for prompt in batch]))


def _margin(scores: Tensor, ranks: Tensor) -> Tensor:
    better, worse = strict_pairs(ranks)
    return (scores[better] - scores[worse]).mean() if len(better) else scores.sum() * 0
