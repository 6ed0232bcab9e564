"""Rewards from rules: propositions, classes of answers in a rubric, weights from ordered answers, and both error rates.

Sources: the refusal classes of the GPT-4 technical report (2023); Mu et al. 2024, rule-based rewards (hinge loss).
What a proposition looks at is the task's; a rubric is a YAML file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from medseg_rl.errors import InputFileError
from medseg_rl.rlhf.config import RuleRewardConfig
from medseg_rl.rlhf.intervals import Proportion, wilson

MOST_PROPOSITIONS = 16  # 2^n combinations are checked

Proposition = Callable[[Any, Any], bool | float]  # (prompt, answer) -> True, False or a degree in 0..1
Truth = Mapping[str, bool]


@dataclass(frozen=True)
class Rubric:
    """`classes`: each a list of alternatives, an alternative a table of propositions that must all be so.

    `orders`: for each situation the classes from best to worst. `over` and `under`: situation and classes of the two
    ways to go wrong. Raises InputFileError unless exactly one class fits every combination.
    """

    classes: Mapping[str, Sequence[Truth]]
    orders: Mapping[str, Sequence[str]]
    over: tuple[str, tuple[str, ...]]
    under: tuple[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        names = self.propositions
        if len(names) > MOST_PROPOSITIONS:
            raise InputFileError(f"{len(names)} propositions define the classes; {MOST_PROPOSITIONS} can be checked")
        for values in itertools.product((False, True), repeat=len(names)):
            self.class_of(dict(zip(names, values, strict=True)))
        for situation, order in self.orders.items():
            if sorted(order) != sorted(self.classes):
                raise InputFileError(f"the order for {situation} is {list(order)}; it must hold every class once")
        for situation, wrong in (self.over, self.under):
            if situation not in self.orders or not set(wrong) <= set(self.classes):
                raise InputFileError(f"{list(wrong)} when {situation} names a class or a situation that is not there")

    @property
    def propositions(self) -> tuple[str, ...]:
        """Those that define classes, sorted; all others may only be features."""
        return tuple(sorted({name for rows in self.classes.values() for row in rows for name in row}))

    def class_of(self, truth: Truth) -> str:
        """The one class that fits. Raises InputFileError where none or more than one does."""
        fitting = [
            name
            for name, alternatives in self.classes.items()
            if any(all(truth[p] == wanted for p, wanted in row.items()) for row in alternatives)
        ]
        if len(fitting) != 1:
            shown = ", ".join(f"{p} {'yes' if v else 'no'}" for p, v in truth.items())
            raise InputFileError(f"the rubric gives {' and '.join(fitting) or 'no class'} to: {shown}")
        return fitting[0]

    def rank_of(self, name: str, situation: str) -> int:
        """0 for the best class in that situation."""
        return list(self.orders[situation]).index(name)


def read_rubric(path: Path) -> Rubric:
    """A rubric from YAML. Raises InputFileError naming the file and what is wrong with it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        unknown = set(content) - {"classes", "orders", "over", "under"}
        if unknown:
            raise InputFileError(f"unknown key {sorted(unknown)[0]!r}")
        over, under = ((content[key]["when"], tuple(content[key]["classes"])) for key in ("over", "under"))
        return Rubric(content["classes"], content["orders"], over, under)
    except InputFileError as error:
        raise InputFileError(f"{path.name}: {error}") from None
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputFileError(f"{path.name} is no rubric: {' '.join(str(error).split())}") from None


def features_of(
    propositions: Mapping[str, Proposition], prompt: Any, answer: Any, *, ignore: Sequence[str] = ()
) -> Tensor:
    """phi (propositions,) float32 in the order of the mapping; ignored ones are 0."""
    values = [0.0 if name in ignore else float(rule(prompt, answer)) for name, rule in propositions.items()]
    return torch.tensor(values, dtype=torch.float32)


class OrderedPairs(NamedTuple):
    """`better`, `worse` (n, features) of the same prompt; `base_better`, `base_worse` (n,): reward before the rules."""

    better: Tensor
    worse: Tensor
    base_better: Tensor
    base_worse: Tensor


class FittedWeights(NamedTuple):
    """`weights` (features,); the losses are means of the hinge, NaN on an empty share."""

    weights: Tensor
    train_loss: float
    valid_loss: float


def hinge(pairs: OrderedPairs, weights: Tensor, *, margin: float) -> Tensor:
    """relu(margin + s_worse - s_better) of every pair, s = base + phi . w."""
    better = pairs.base_better + pairs.better @ weights
    worse = pairs.base_worse + pairs.worse @ weights
    return torch.relu(margin + worse - better)


def fit_weights(pairs: OrderedPairs, *, config: RuleRewardConfig, generator: torch.Generator) -> FittedWeights:
    """Weights by AdamW from zero on all but `validation_fraction` of the pairs."""
    count = len(pairs.better)
    order = torch.randperm(count, generator=generator)
    kept_back = round(config.validation_fraction * count)
    valid, train = (OrderedPairs(*(part[rows] for part in pairs)) for rows in (order[:kept_back], order[kept_back:]))
    weights = torch.zeros(pairs.better.shape[1], requires_grad=True)
    optimiser = torch.optim.AdamW([weights], lr=config.learning_rate, weight_decay=config.weight_decay)
    for _ in range(config.num_iterations):
        optimiser.zero_grad()
        hinge(train, weights, margin=config.margin).mean().backward()
        optimiser.step()
    found = weights.detach()
    losses = [float(hinge(part, found, margin=config.margin).mean()) for part in (train, valid)]
    return FittedWeights(found, losses[0], losses[1])


def ordered_pairs(features: Tensor, ranks: Tensor, base: Tensor | None = None) -> OrderedPairs:
    """All strict pairs of one prompt's answers: `features` (K, f), `ranks` (K,) with 0 or 1 the best, `base` (K,)."""
    base = torch.zeros(len(ranks)) if base is None else base
    better, worse = torch.nonzero(ranks[:, None] < ranks[None, :], as_tuple=True)
    return OrderedPairs(features[better], features[worse], base[better], base[worse])


def joined(pairs: Sequence[OrderedPairs]) -> OrderedPairs:
    """The pairs of many prompts."""
    return OrderedPairs(*(torch.cat(parts) for parts in zip(*pairs, strict=True)))


class ErrorRates(NamedTuple):
    """Both ways to go wrong with their intervals; `f1` is the harmonic mean of (1 - over) and (1 - under)."""

    over: Proportion
    under: Proportion
    f1: float


def error_rates(rubric: Rubric, found: Sequence[tuple[str, str]]) -> ErrorRates:
    """Rates from (situation, class) of every answer."""
    over, under = (_rate(found, *side) for side in (rubric.over, rubric.under))
    good = (1 - over.rate, 1 - under.rate)
    return ErrorRates(over, under, 2 * good[0] * good[1] / sum(good) if sum(good) > 0 else 0.0)


def _rate(found: Sequence[tuple[str, str]], situation: str, wrong: tuple[str, ...]) -> Proportion:
    there = [name for place, name in found if place == situation]
    return wilson(sum(name in wrong for name in there), len(there))
