"""Draws prompts so that every use case has its share, exactly or on average. Knows no prompt's content.

Source of the default shares: the use cases of InstructGPT's prompt set (Ouyang et al. 2022, table 1), whose printed
percentages sum to 99.9.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np

from medseg_rl.errors import InputFileError
from medseg_rl.rlhf.config import PromptSamplerConfig
from medseg_rl.rlhf.intervals import Proportion, wilson

INSTRUCTGPT_USE_CASES: Mapping[str, float] = {
    "Generation": 45.6,
    "Open QA": 12.4,
    "Brainstorming": 11.2,
    "Chat": 8.4,
    "Rewrite": 6.6,
    "Summarization": 4.2,
    "Classification": 3.5,
    "Other": 3.5,
    "Closed QA": 2.6,
    "Extract": 1.9,
}
ENOUGH_LOGGED = 200  # cases from which a measured mix is believed

Prompt = TypeVar("Prompt")


def largest_remainder(percentages: Mapping[str, float], count: int) -> dict[str, int]:
    """`count` allotted by Hamilton's method; equal remainders go to the earlier row. Shares are normalised first."""
    total = math.fsum(percentages.values())
    exact = {name: count * share / total for name, share in percentages.items()}
    allotted = {name: math.floor(quota) for name, quota in exact.items()}
    left = count - sum(allotted.values())
    order = sorted(percentages, key=lambda name: -round(exact[name] - allotted[name], 9))  # stable: ties by row
    for name in order[:left]:
        allotted[name] += 1
    return allotted


def measured_mix(use_cases: Sequence[str], strata: Sequence[str]) -> tuple[dict[str, float], str]:
    """Percentages of logged use cases and what to call them; uniform before `ENOUGH_LOGGED`, and said so.

    Raises InputFileError at a use case that is none of the strata.
    """
    counts = Counter(use_cases)
    unknown = sorted(set(counts) - set(strata))
    if unknown:
        raise InputFileError(f"use case {unknown[0]!r} is none of {', '.join(strata)}")
    if len(use_cases) < ENOUGH_LOGGED:
        return dict.fromkeys(strata, 100 / len(strata)), "uniform, not measured"
    return {name: 100 * counts[name] / len(use_cases) for name in strata}, f"measured on {len(use_cases)} logged cases"


def mix_intervals(use_cases: Sequence[str]) -> dict[str, Proportion]:
    """Share of each use case with its Wilson interval."""
    return {name: wilson(n, len(use_cases)) for name, n in Counter(use_cases).items()}


class StratifiedPromptSampler(Generic[Prompt]):
    """Draws from `prompts` (use case -> prompts) with the given percentages; `seed` fixes every draw in turn."""

    def __init__(self, config: PromptSamplerConfig, prompts: Mapping[str, Sequence[Prompt]]) -> None:
        for name, share in config.percentages.items():
            if share > 0 and not prompts.get(name):
                raise InputFileError(f'use case "{name}" has {share} % of the prompts and none to draw from')
        self.config, self.prompts = config, prompts
        self.rng = np.random.default_rng(config.seed)

    def allotted(self, count: int) -> dict[str, int]:
        """How many of each use case the next `count` draws hold."""
        shares = self.config.percentages
        if self.config.allocation == "largest_remainder":
            return largest_remainder(shares, count)
        weights = np.array(list(shares.values())) / math.fsum(shares.values())
        drawn = self.rng.multinomial(count, weights)
        return {name: int(n) for name, n in zip(shares, drawn, strict=True)}

    def draw(self, count: int) -> list[tuple[str, Prompt]]:
        """`count` prompts with their use case, in random order. Within a use case none comes twice before all came."""
        drawn = [(name, prompt) for name, wanted in self.allotted(count).items() for prompt in self._of(name, wanted)]
        return [drawn[i] for i in self.rng.permutation(len(drawn))]

    def _of(self, name: str, wanted: int) -> list[Prompt]:
        found: list[Prompt] = []
        while len(found) < wanted:
            order = self.rng.permutation(len(self.prompts[name]))
            found += [self.prompts[name][i] for i in order[: wanted - len(found)]]
        return found
