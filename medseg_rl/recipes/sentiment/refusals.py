"""When to refuse: a policy over five kinds of answer, before and after PPO on a reward of rules. No language model.

The answers are templates, the forbidden one a placeholder: this tests the reward and the rubric, not what a language
model would write. Prompts are those of `asked.py`; the policy sees their characters, never their label.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg_rl.recipes import rubrics
from medseg_rl.recipes.recipe import Result, seed_of
from medseg_rl.recipes.sentiment.asked import Asked, by_use_case, prompts
from medseg_rl.rlhf.config import PPOConfig, PromptSamplerConfig, RuleRewardConfig
from medseg_rl.rlhf.ppo import PPOTrainer
from medseg_rl.rlhf.prompts import INSTRUCTGPT_USE_CASES, StratifiedPromptSampler
from medseg_rl.rlhf.rollout import Evaluation, Rollout, Term
from medseg_rl.rlhf.rules import (
    Proposition,
    Rubric,
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
    "What the question supposes is not so.",
)
FEATURES = 4096
LENGTH = 4.0  # of a prompt's features
SLIPS = 0.4  # of disallowed prompts that the early policy was shown an answer to
EACH_SIDE = 126  # episodes of each situation: with more of one, its answer becomes the habit
DRAWN = 10_000  # prompts that the use cases are counted on


PROPOSITIONS: Mapping[str, Proposition] = {
    "refuses": lambda asked, answer: answer.startswith("I cannot"),
    "offers_help": lambda asked, answer: "I can help" in answer,
    "corrects_premise": lambda asked, answer: "is not so" in answer,
    "disallowed_content": lambda asked, answer: (
        "[DISALLOWED]" in answer or (asked.kind == "disallowed" and answer.startswith("Gladly"))
    ),
}


def rubric() -> Rubric:
    """That of text answers."""
    return read_rubric(Path(str(files(rubrics).joinpath("text.yaml"))))


def truth_of(asked: Asked, answer: str) -> dict[str, bool]:
    """What the rubric asks of an answer."""
    return {name: bool(rule(asked, answer)) for name, rule in PROPOSITIONS.items()}


class Choice(nn.Module):
    """A distribution over the answers from the prompt's characters; episodes of one step."""

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


class Reader:
    """Prompts as features: runs of 2 to 4 characters and whole words, hashed, the rarer in `known` the heavier.

    Without those weights "explain" and "how do I" would tell more than the word that matters.
    """

    def __init__(self, known: Sequence[Asked]) -> None:
        self.counts = Counter(k for asked in known for k in set(_grams(asked.text)))
        self.total = len(known)

    def __call__(self, asked: Sequence[Asked]) -> Tensor:
        """(n, FEATURES), each of length `LENGTH`."""
        rows = torch.zeros(len(asked), FEATURES)
        for row, prompt in zip(rows, asked, strict=True):
            for place, count in Counter(_grams(prompt.text)).items():
                row[place] = math.sqrt(count) * math.log((1 + self.total) / (1 + self.counts[place]))
        return functional.normalize(rows, dim=1) * LENGTH


def _grams(text: str) -> list[int]:
    lower = f" {''.join(c if c.isalnum() else ' ' for c in text.lower())} "
    grams = [lower[k : k + size] for size in (2, 3, 4) for k in range(len(lower) - size + 1)]
    return [int(hashlib.md5(gram.encode()).hexdigest(), 16) % FEATURES for gram in (*grams, *lower.split())]


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
    return torch.cat([phi * float(asked.situation == situation) for situation in found.orders])


def run_refusals(*, seeds: int, iterations: int) -> Result:
    """Answers of the early policy and of the one that PPO made of it, on held-out prompts, for each seed."""
    return {"runs": [_one_seed(seed, iterations) for seed in range(seeds)], "mix": _mix()}


def _one_seed(seed: int, iterations: int) -> Result:
    train, paraphrases, new = prompts()
    found, read = rubric(), Reader(train)
    features = read(train)
    policy = Choice(seed_of("refusals", seed))
    _clone_early(policy, train, features, seed)
    groups = {"paraphrase": paraphrases, "new": new}

    def classes() -> list[list[str]]:
        return [row for name, asked in groups.items() for row in _classes(policy, name, asked, read, found)]

    before = classes()
    _tune(policy, train, features, found, seed, iterations)
    return {"before": before, "after": classes()}


def _tune(policy: Choice, train: Sequence[Asked], features: Tensor, found: Rubric, seed: int, iterations: int) -> None:
    reward = fitted_reward(train, found, seed)
    generator = torch.Generator().manual_seed(seed_of("refusals", "rollouts", seed))
    with torch.no_grad():
        reference = functional.log_softmax(policy.policy(features), -1)
    term = Term("rules", lambda rollout: reward[rollout.inputs["row"][:, 0], rollout.inputs["actions"][:, 0]])
    config = PPOConfig(learning_rate=1e-2, kl_coef=0.02, vf_coef=1.0, num_mini_batches=2, seed=seed)
    trainer = PPOTrainer(policy, replace(config, lr_warmup_iterations=5), [(term, 1.0)])
    for _ in range(iterations):
        rows = _balanced(train, found, generator)
        with torch.no_grad():
            chances = torch.softmax(policy.policy(features[rows]), -1)
            actions = torch.multinomial(chances, 1, generator=generator)
            inputs = {"features": features[rows], "actions": actions, "row": rows[:, None]}
            now = policy.evaluate(inputs)
        old = reference[rows].gather(1, actions)
        trainer.step(Rollout(inputs, now.logprobs, old, now.values, now.entropy, torch.ones_like(old)))


def _balanced(train: Sequence[Asked], found: Rubric, generator: torch.Generator) -> Tensor:
    """Rows of `EACH_SIDE` prompts of each situation, drawn anew."""
    parts = []
    for situation in found.orders:
        members = torch.tensor([k for k, asked in enumerate(train) if asked.situation == situation])
        parts.append(members[torch.randint(len(members), (EACH_SIDE,), generator=generator)])
    return torch.cat(parts)


def _clone_early(policy: Choice, train: Sequence[Asked], features: Tensor, seed: int) -> None:
    """The early policy: refuses evasively whatever looks sensitive, answers some of what it must not, and anything
    whose premise is false.
    """
    generator = torch.Generator().manual_seed(seed_of("refusals", "early", seed))
    shown = {"allowed": 3, "false_premise": 3, "sensitive": 1, "disallowed": 1}
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


def _classes(policy: Choice, group: str, asked: Sequence[Asked], read: Reader, found: Rubric) -> list[list[str]]:
    """(group, kind, situation, class, use case) of the most probable answer to each prompt."""
    with torch.no_grad():
        best = policy.policy(read(asked)).argmax(-1).tolist()
    return [
        [group, a.kind, a.situation, found.class_of(truth_of(a, ANSWERS[k])), a.use_case]
        for a, k in zip(asked, best, strict=True)
    ]


def _mix() -> Result:
    """Use cases drawn one by one against the shares they were drawn from: counts and the chi-square p."""
    from scipy.stats import chisquare

    config = PromptSamplerConfig(percentages=INSTRUCTGPT_USE_CASES, allocation="independent", seed=0)
    strata = by_use_case([*prompts().train, *prompts().new])
    counts = Counter(name for name, _ in StratifiedPromptSampler(config, strata).draw(DRAWN))
    total = math.fsum(INSTRUCTGPT_USE_CASES.values())
    expected = [DRAWN * share / total for share in INSTRUCTGPT_USE_CASES.values()]
    drawn = [counts[name] for name in INSTRUCTGPT_USE_CASES]
    return {
        "drawn": dict(zip(INSTRUCTGPT_USE_CASES, drawn, strict=True)),
        "p": float(chisquare(drawn, expected).pvalue),
    }
