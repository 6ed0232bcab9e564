"""Runs the arms and seeds of lane keeping and reports them: TD3 alone, and three methods beside three drivers.

A job is one arm with one seed, under a minute; one that was cut short is begun again and gives the same numbers.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch

from medseg_rl.config import with_changes
from medseg_rl.recipes.lane_keeping.learner import GuidedTD3, new_learner, returns_alone
from medseg_rl.recipes.lane_keeping.road import DRIVERS, MAX_STEPS, Quality, Road
from medseg_rl.recipes.recipe import Result, Work, seed_of
from medseg_rl.recipes.report import Curve, Interval, Report, Row, interval
from medseg_rl.rlhf.config import HumanGuidanceConfig

SUMMARY = "lane keeping: TD3 alone, with interventions in the buffer (HI), imitated (IA), weighted (Hug)"
EVALUATION_SEED = 10_000
LEARNT = 0.9  # of the greatest return: what "learnt" means in the table


@dataclass(frozen=True)
class Settings:
    """`steps` of 0.1 s with the person beside; after each of `evaluations` equal parts, `episodes` are driven alone.

    `takes_over_m`: at 1.5 m an expert acts in 5 to 20 % of the steps beside a learner. `decay`: of the human's weight
    per episode; .97 takes it to .05 after 100 episodes.
    """

    steps: int = 10_000
    evaluations: int = 20
    episodes: int = 5
    seeds: int = 5
    takes_over_m: float = 1.5
    decay: float = 0.97


SMOKE = Settings(steps=1000, evaluations=2, episodes=1, seeds=1)


class Arm(NamedTuple):
    """A method and who sits beside it."""

    method: Literal["none", "hi", "ia", "hug"]
    driver: Quality | None

    @property
    def label(self) -> str:
        """As tables and job names show it."""
        name = {"none": "TD3", "hi": "HI-RL", "ia": "IA-RL", "hug": "Hug-TD3"}[self.method]
        return name if self.driver is None else f"{name} {self.driver}"


ARMS = (Arm("none", None), *(Arm(method, driver) for driver in DRIVERS for method in ("hi", "ia", "hug")))


def run(work: Work) -> Report:
    """All arms and seeds. Raises Cancelled; what was finished is kept."""
    settings = with_changes(SMOKE if work.smoke else Settings(), work.changes)
    settings = dataclasses.replace(settings, seeds=work.seeds or settings.seeds)
    work.open(dataclasses.asdict(settings) | {"seeds": None, "smoke": work.smoke})
    torch.set_num_threads(1)
    wanted = {
        _job(arm, seed): functools.partial(_train, arm, seed, settings, work)
        for seed in range(settings.seeds)
        for arm in ARMS
    }
    done = work.jobs("lane keeping", wanted)
    runs = {arm: [done[_job(arm, seed)] for seed in range(settings.seeds)] for arm in ARMS}
    return _reported(runs, settings, work.smoke)


def _job(arm: Arm, seed: int) -> str:
    return f"{arm.label.replace(' ', '_')}_{seed}"


def _train(arm: Arm, seed: int, settings: Settings, work: Work) -> Result:
    driver = None
    if arm.driver is not None:
        limit = settings.takes_over_m
        driver = dataclasses.replace(DRIVERS[arm.driver], takes_over_m=limit, hands_back_m=limit / 2)
    guidance = HumanGuidanceConfig(method=arm.method, decay=settings.decay)
    road = Road(driver, guidance.intervention_penalty)
    learner = new_learner(road, guidance, steps=settings.steps, seed=seed_of("lane_keeping", seed))
    part = settings.steps // settings.evaluations
    curve = [_alone(learner, settings)]
    for _ in range(settings.evaluations):
        work.stop_if_cancelled()
        learner.learn(part, reset_num_timesteps=False)
        curve.append(_alone(learner, settings))
    taken = road.takeovers
    road.close()
    return {
        "steps": [part * k for k in range(len(curve))],
        "returns": curve,
        "human_share": taken.rate,
        "takeovers_per_1000": 1000 * taken.events / taken.steps,
        "episodes": learner.episodes_done,
    }


def _alone(learner: GuidedTD3, settings: Settings) -> float:
    returns = returns_alone(learner, episodes=settings.episodes, seed=EVALUATION_SEED)
    return sum(returns) / len(returns)


def _steps_to_learn(result: Result) -> float:
    found = [
        step for step, value in zip(result["steps"], result["returns"], strict=True) if value >= LEARNT * MAX_STEPS
    ]
    return float(found[0]) if found else float(result["steps"][-1])


def _reported(runs: dict[Arm, list[Result]], settings: Settings, smoke: bool) -> Report:
    rows = [_row(arm, results) for arm, results in runs.items()]
    curves = [
        Curve(arm.driver or "nobody", arm.label.split()[0], result["steps"], result["returns"])
        for arm, results in runs.items()
        for result in results
    ]
    curves += [
        Curve(driver, "TD3", result["steps"], result["returns"]) for driver in DRIVERS for result in runs[ARMS[0]]
    ]
    cpu = sum(result["cpu_seconds"] for results in runs.values() for result in results)
    facts = {
        "trained from scratch on": f"{settings.steps} steps of lane-keeping-v0 a run; nothing from elsewhere",
        "runs": f"{len(ARMS)} arms x {settings.seeds} seeds, {cpu / 60:.1f} CPU minutes",
        "networks": "actor and two critics of 8-64-64 units, about 5,000 weights each",
        "people": f"simulated: a PD driver, takes over beyond {settings.takes_over_m} m, hands back within half of it",
        "return": f"greedy and alone, mean of {settings.episodes} episodes; at most {MAX_STEPS}, one a step",
    }
    comparison = _comparisons(runs)
    fewer = () if settings.seeds >= Settings.seeds else (f"Only {settings.seeds} of {Settings.seeds} seeds were run.",)
    notes = (*_verdicts(comparison), *fewer, *NOTES)
    return Report(
        "Lane keeping with a person beside the wheel", rows, facts, curves, "steps", notes, smoke=smoke,
        extra_tables={"comparisons": comparison},
    )  # fmt: skip


def _row(arm: Arm, results: Sequence[Result]) -> Row:
    def shown(values: Sequence[float]) -> str:
        return str(interval(values))

    return {
        "arm": arm.label.split()[0],
        "driver": arm.driver or "none",
        "seeds": len(results),
        "mean return over the run": shown([_area(r) for r in results]),
        "last return": shown([r["returns"][-1] for r in results]),
        "steps to 90 %": shown([_steps_to_learn(r) for r in results]),
        "never reached": sum(max(r["returns"]) < LEARNT * MAX_STEPS for r in results),
        "human share": shown([r["human_share"] for r in results]),
        "takeovers a 1000 steps": shown([r["takeovers_per_1000"] for r in results]),
    }


def _area(result: Result) -> float:
    """Mean return over the evaluations after the first: how soon and how well."""
    later = result["returns"][1:]
    return float(sum(later) / len(later))


def _comparisons(runs: dict[Arm, list[Result]]) -> list[Row]:
    """Paired by seed: mean return over the run."""
    wanted = [(Arm("hug", "expert"), ARMS[0]), (Arm("hug", "noisy"), ARMS[0]), (Arm("hug", "bad"), ARMS[0])]
    wanted += [(Arm("hug", d), Arm(m, d)) for d in DRIVERS for m in ("ia", "hi")]
    return [_compared(first, second, runs) for first, second in wanted]


def _compared(first: Arm, second: Arm, runs: dict[Arm, list[Result]]) -> Row:
    found = interval([_area(a) - _area(b) for a, b in zip(runs[first], runs[second], strict=True)])
    return {"first": first.label, "second": second.label, "difference": str(found), "verdict": _verdict(found)}


def _verdict(found: Interval) -> str:
    if found.runs < 2 or abs(found.mean) <= found.half_width:
        return "not separable"
    return "first is better" if found.mean > 0 else "second is better"


def _verdicts(comparison: Sequence[Row]) -> list[str]:
    by_pair = {(row["first"], row["second"]): row for row in comparison}
    claims = {
        "beside an expert, Hug-TD3 learns faster than TD3 alone": ("Hug-TD3 expert", "TD3"),
        "beside a bad driver, Hug-TD3 does better than IA-RL": ("Hug-TD3 bad", "IA-RL bad"),
    }
    lines = []
    for claim, pair in claims.items():
        row = cast("dict[str, Any]", by_pair[pair])
        word = "shown here" if row["verdict"] == "first is better" else "NOT shown here"
        lines.append(f"Claim of the literature, {claim}: {word} (difference {row['difference']}, {row['verdict']}).")
    return lines


NOTES = (
    "Intervals are Student's 95 % over seeds; arms of one seed share the initial weights and the evaluation starts.",
    "The environment is bounded: an episode ends beyond 6 m, rewards are clipped, it starts on the winding lane, and "
    "the state is shown without its delay of one step. Returns therefore compare with no published ones.",
    "Settings differ from the authors' (replay without priorities, learning rate 1e-3, tau .005, decay of the weight "
    ".97 an episode): their decay of .997 is made for 1,000 episodes, ours hands over within 100.",
    "The human share counts while learning, with exploration; it falls as the policy stays in its lane by itself.",
    "HI-RL puts the human's actions into the buffer alone: its actor still climbs a critic that saw few other actions.",
)
