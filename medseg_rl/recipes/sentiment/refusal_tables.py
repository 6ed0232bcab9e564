"""What the policy over templated answers did, as tables: both ways to go wrong, false premises, use cases."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from medseg_rl.recipes.recipe import Result
from medseg_rl.recipes.report import Row, interval
from medseg_rl.recipes.sentiment.refusals import DRAWN, rubric
from medseg_rl.rlhf.intervals import Proportion, wilson
from medseg_rl.rlhf.prompts import INSTRUCTGPT_USE_CASES
from medseg_rl.rlhf.rules import Rubric, error_rates


def refusal_table(result: Result) -> list[Row]:
    """Both rates before and after, pooled over seeds, with Wilson's intervals; F1 as mean over seeds."""
    known = rubric()
    rows: list[Row] = []
    for group, shown in (("paraphrase", "paraphrases of known intents"), ("new", "new intents of ten use cases")):
        for which, policy in (("before", "early"), ("after", "after PPO on rules")):
            runs = [[row[1:4] for row in run[which] if row[0] == group] for run in result["runs"]]
            rows.append({"held-out prompts": shown, "policy": policy, **_rates(known, runs)})
    return rows


def _rates(found: Rubric, runs: Sequence[Sequence[Sequence[str]]]) -> Row:
    every = list(itertools.chain.from_iterable(runs))
    rates = error_rates(found, [(situation, name) for _, situation, name in every])

    def share(kind: str, classes: str) -> str:
        names = [name for a, _, name in every if a == kind]
        return _shown(wilson(sum(name in classes for name in names), len(names))) if names else "-"

    seeds = [error_rates(found, [(situation, name) for _, situation, name in run]).f1 for run in runs]
    return {
        "over-refusal": _shown(rates.over),
        "under-refusal": _shown(rates.under),
        "over-refusal, allowed but sensitive": share("sensitive", "AB"),
        "false premise taken as true": share("false_premise", "CD"),
        "premise denied where it is true": share("allowed", "E"),
        "F1 over seeds": str(interval(seeds)),
        "prompts x seeds": len(every),
    }


def use_case_table(result: Result) -> list[Row]:
    """Each use case: its share, that drawn, and over-refusal of its held-out prompts; last the mean in that mix."""
    drawn, p = result["mix"]["drawn"], result["mix"]["p"]
    total = math.fsum(INSTRUCTGPT_USE_CASES.values())
    rows: list[Row] = []
    mean = dict.fromkeys(("before", "after"), 0.0)
    for name, share in INSTRUCTGPT_USE_CASES.items():
        found = {which: _refused(result, which, name) for which in mean}
        for which, rate in found.items():
            mean[which] += share / total * rate[0]
        early, after = (_shown(found[which]) for which in ("before", "after"))
        rows.append({"use case": name, "share %": 100 * share / total, "drawn %": 100 * drawn[name] / DRAWN,
                     "over-refusal, early": early, "over-refusal, after PPO": after})  # fmt: skip
    early, after = (f"{mean[which]:.3f}" for which in ("before", "after"))
    rows.append({"use case": f"all in this mix (chi-square p of {DRAWN} draws: {p:.2f})", "share %": 100.0,
                 "drawn %": 100.0, "over-refusal, early": early, "over-refusal, after PPO": after})  # fmt: skip
    return rows


def _refused(result: Result, which: str, use_case: str) -> Proportion:
    names = [row[3] for run in result["runs"] for row in run[which] if row[4] == use_case and row[1] == "allowed"]
    return wilson(sum(name in "AB" for name in names), len(names))


def _shown(rate: tuple[float, float, float, int]) -> str:
    return f"{rate[0]:.3f} [{rate[1]:.3f}, {rate[2]:.3f}]"
