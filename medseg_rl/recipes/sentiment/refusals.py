"""When to refuse: a policy over four kinds of answer, before and after PPO on a reward of rules. No language model.

The answers are templates, the forbidden one a placeholder: this tests the reward and the rubric, not what a language
model would write. Prompts are those of `refusals.yaml`; the policy sees their characters, never their label.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from medseg_rl.recipes import rubrics
from medseg_rl.recipes.recipe import Result, seed_of
from medseg_rl.recipes.report import Row, interval
from medseg_rl.rlhf.config import PPOConfig, RuleRewardConfig
from medseg_rl.rlhf.intervals import wilson
from medseg_rl.rlhf.ppo import PPOTrainer
from medseg_rl.rlhf.rollout import Evaluation, Rollout, Term
from medseg_rl.rlhf.rules import (
    Proposition,
    Rubric,
    error_rates,
    features_of,
    fit_weights,
    joined,
    ordered_pairs,
    read_rubric,
)

ANSWERS = (
    "I cannot help with that, but I can help you find somebody who can.",
    "I cannot answer that.",
    "[DISALLOWED]",
    "Gladly, here is an answer.",
)
FEATURES = 512
SLIPS = 0.4  # of disallowed prompts that the early policy was shown an answer to
EACH_SIDE = 126  # episodes on either side: with more of one, its answer becomes the habit


class Asked(NamedTuple):
    """`kind`: "disallowed", "sensitive" or "allowed"."""

    text: str
    kind: str

    @property
    def situation(self) -> str:
        """As the rubric knows it."""
        return "disallowed" if self.kind == "disallowed" else "allowed"


PROPOSITIONS: Mapping[str, Proposition] = {
    "refuses": lambda asked, answer: answer.startswith("I cannot"),
    "offers_help": lambda asked, answer: "I can help" in answer,
    "disallowed_content": lambda asked, answer: (
        "[DISALLOWED]" in answer or (asked.kind == "disallowed" and answer.startswith("Gladly"))
    ),
}


def prompts() -> tuple[list[Asked], list[Asked]]:
    """Training prompts, and the held-out paraphrase of every intent."""
    content = yaml.safe_load(files(__package__).joinpath("refusals.yaml").read_text(encoding="utf-8"))
    train = [Asked(text, kind) for kind, intents in content.items() for texts in intents for text in texts[:-1]]
    return train, [Asked(texts[-1], kind) for kind, intents in content.items() for texts in intents]


def rubric() -> Rubric:
    """That of text answers."""
    return read_rubric(Path(str(files(rubrics).joinpath("text.yaml"))))


def truth_of(asked: Asked, answer: str) -> dict[str, bool]:
    """What the rubric asks of an answer."""
    return {name: bool(rule(asked, answer)) for name, rule in PROPOSITIONS.items()}


class Choice(nn.Module):
    """A distribution over the four answers from the prompt's characters; episodes of one step."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.policy, self.value = nn.Linear(FEATURES, len(ANSWERS)), nn.Linear(FEATURES, 1)
        nn.init.zeros_(self.policy.weight)
        nn.init.zeros_(self.value.weight)

    def evaluate(self, inputs: Mapping[str, Tensor]) -> Evaluation:
        """Log-probability of each answer given, (batch, 1)."""
        logged = functional.log_softmax(self.policy(inputs["features"]), -1)
        entropy = -(logged.exp() * logged).sum(-1, keepdim=True)
        return Evaluation(logged.gather(1, inputs["actions"]), self.value(inputs["features"]), entropy)


def seen(asked: Sequence[Asked]) -> Tensor:
    """(n, FEATURES): hashed pairs and triples of characters, unit length."""
    rows = torch.zeros(len(asked), FEATURES)
    for row, (text, _) in zip(rows, asked, strict=True):
        lower = f" {text.lower()} "
        for size in (2, 3, 4):
            for k in range(len(lower) - size + 1):
                row[int(hashlib.md5(lower[k : k + size].encode()).hexdigest(), 16) % FEATURES] += 1
    return functional.normalize(rows.sqrt(), dim=1) * 4


def fitted_reward(train: Sequence[Asked], found: Rubric, seed: int) -> Tensor:
    """(prompts, answers): the rules' weights, by hinge on the ordered answers of each prompt, times their features.

    Features are the classes in each situation, so that one weighted sum can order answers differently for both.
    """
    features = torch.stack([torch.stack([_features(a, answer, found) for answer in ANSWERS]) for a in train])
    pairs = []
    for asked, rows in zip(train, features, strict=True):
        ranks = [found.rank_of(found.class_of(truth_of(asked, answer)), asked.situation) for answer in ANSWERS]
        pairs.append(ordered_pairs(rows, torch.tensor(ranks)))
    weights = fit_weights(
        joined(pairs), config=RuleRewardConfig(), generator=torch.Generator().manual_seed(seed)
    ).weights
    return features @ weights


def _features(asked: Asked, answer: str, found: Rubric) -> Tensor:
    """phi: each proposition in each situation."""
    phi = features_of(PROPOSITIONS, asked, answer)
    disallowed = float(asked.situation == "disallowed")
    return torch.cat([phi * disallowed, phi * (1 - disallowed)])


def run_refusals(*, seeds: int, iterations: int) -> Result:
    """Answers of the early policy and of the one that PPO made of it, on held-out paraphrases, for each seed."""
    return {"runs": [_one_seed(seed, iterations) for seed in range(seeds)]}


def _one_seed(seed: int, iterations: int) -> Result:
    train, held_out = prompts()
    found, features = rubric(), seen(train)
    policy = Choice(seed_of("refusals", seed))
    _clone_early(policy, train, features, seed)
    before = _classes(policy, held_out, found)
    reward = fitted_reward(train, found, seed)
    generator = torch.Generator().manual_seed(seed_of("refusals", "rollouts", seed))
    with torch.no_grad():
        reference = functional.log_softmax(policy.policy(features), -1)
    term = Term("rules", lambda rollout: reward[rollout.inputs["row"][:, 0], rollout.inputs["actions"][:, 0]])
    config = PPOConfig(learning_rate=1e-2, kl_coef=0.02, vf_coef=1.0, num_mini_batches=2, seed=seed)
    harmful = torch.tensor([asked.situation == "disallowed" for asked in train])
    balanced = torch.cat(
        [torch.nonzero(side)[:, 0].repeat(EACH_SIDE // int(side.sum())) for side in (harmful, ~harmful)]
    )
    trainer = PPOTrainer(policy, replace(config, lr_warmup_iterations=5), [(term, 1.0)])
    for _ in range(iterations):
        rows = balanced
        with torch.no_grad():
            chances = torch.softmax(policy.policy(features[rows]), -1)
            actions = torch.multinomial(chances, 1, generator=generator)
            inputs = {"features": features[rows], "actions": actions, "row": rows[:, None]}
            now = policy.evaluate(inputs)
        old = reference[rows].gather(1, actions)
        trainer.step(Rollout(inputs, now.logprobs, old, now.values, now.entropy, torch.ones_like(old)))
    return {"before": before, "after": _classes(policy, held_out, found)}


def _clone_early(policy: Choice, train: Sequence[Asked], features: Tensor, seed: int) -> None:
    """The early policy: refuses evasively whatever looks sensitive, and answers some of what it must not."""
    generator = torch.Generator().manual_seed(seed_of("refusals", "early", seed))
    shown = {"allowed": 3, "sensitive": 1, "disallowed": 1}
    target = torch.tensor([shown[asked.kind] for asked in train])
    disallowed = torch.tensor([asked.kind == "disallowed" for asked in train])
    slips = disallowed & (torch.rand(len(train), generator=generator) < SLIPS)
    target[slips] = 2
    optimiser = torch.optim.Adam(policy.policy.parameters(), lr=0.02)
    for _ in range(60):
        loss = functional.cross_entropy(policy.policy(features), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _classes(policy: Choice, asked: Sequence[Asked], found: Rubric) -> list[list[str]]:
    """(kind, situation, class) of the most probable answer to each prompt."""
    with torch.no_grad():
        best = policy.policy(seen(asked)).argmax(-1).tolist()
    return [[a.kind, a.situation, found.class_of(truth_of(a, ANSWERS[k]))] for a, k in zip(asked, best, strict=True)]


def refusal_table(result: Result) -> list[Row]:
    """Both rates before and after, pooled over seeds, with Wilson's intervals; F1 as mean over seeds."""
    found = rubric()
    rows: list[Row] = []
    for which in ("before", "after"):
        every = list(itertools.chain.from_iterable(run[which] for run in result["runs"]))
        rates = error_rates(found, [(situation, name) for _, situation, name in every])
        sensitive = [name for kind, _, name in every if kind == "sensitive"]
        refused = wilson(sum(name in "AB" for name in sensitive), len(sensitive))
        seeds = [error_rates(found, [(s, n) for _, s, n in run[which]]).f1 for run in result["runs"]]
        rows.append(
            {
                "policy": {"before": "early", "after": "after PPO on rules"}[which],
                "over-refusal": _shown(rates.over),
                "under-refusal": _shown(rates.under),
                "over-refusal, allowed but sensitive": _shown(refused),
                "F1 over seeds": str(interval(seeds)),
                "held-out prompts x seeds": len(every),
            }
        )
    return rows


def _shown(rate: tuple[float, float, float, int]) -> str:
    return f"{rate[0]:.3f} [{rate[1]:.3f}, {rate[2]:.3f}]"
