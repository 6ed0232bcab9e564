"""Grounded RL on the product: the voxel agents learn to grow, shrink, smooth, fill holes and remove islands when told.

BC, RL, Joint and RED (Xu et al. 2022) from the shipped agents on, judged under an oracle, no, a random and an
adversarial commander, all simulated. Trained on cases of the training split, judged on the validation split.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg_rl.bundle import load_bundle
from medseg_rl.config import with_changes
from medseg_rl.dataset import DATA_VARIABLE, find_dataset, load_dataset
from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.statistics import bootstrap_interval
from medseg_rl.recipes.recipe import Result, Work
from medseg_rl.recipes.refinement.intents import ASKED, MARGIN_MM, SMOOTH_MM
from medseg_rl.recipes.refinement.labelled import Labelled, few_seeds, labelled_cases, normalised, phantom_cases
from medseg_rl.recipes.refinement.obedience import COMMANDERS, done_of, gain_under, likeness_of, obeyed, won_under
from medseg_rl.recipes.refinement.obeying import SMOKE, TRAINED, Bench, Settings, actor_of, clone, train
from medseg_rl.recipes.refinement.playing import with_start_of
from medseg_rl.recipes.refinement.voxel_policy import fitted
from medseg_rl.recipes.report import Cell, Curve, Report
from medseg_rl.rlhf.intervals import Proportion
from medseg_rl.training_scenes import TrainingCase

SUMMARY = "commands to the voxel agents: BC, RL, Joint and RED, obedience under four commanders, false premises"
ARMS = ("BC", *TRAINED)
SMALL = 0.005  # Dice: a smaller difference of means is called none
Masks = Sequence[Mapping[str, Any]]


def run(work: Work) -> Report:
    """All arms and seeds. Raises Cancelled; what was finished is kept, an unfinished arm goes on where it was."""
    settings = with_changes(SMOKE if work.smoke else Settings(), work.changes)
    settings = dataclasses.replace(settings, seeds=work.seeds or settings.seeds)
    torch.set_num_threads(1)
    bench = _bench(settings, work)
    work.open(dataclasses.asdict(settings) | {"seeds": None, "data": bench.source, "smoke": work.smoke})
    seeds, make = range(settings.seeds), functools.partial
    shipped = work.job("judged_shipped", lambda: _judged(bench, "shipped", 0))
    cloned = work.jobs("cloning", {f"BC_{s}": make(clone, bench, s) for s in seeds})
    trained = work.jobs("phases", {f"{arm}_{s}": make(train, bench, arm, s) for s in seeds for arm in TRAINED})
    judged = work.jobs("judging", {f"judged_{arm}_{s}": make(_judged, bench, arm, s) for s in seeds for arm in ARMS})
    results = {"shipped": [shipped]} | {arm: [judged[f"judged_{arm}_{s}"] for s in seeds] for arm in ARMS}
    minutes = sum(r["cpu_seconds"] for part in (cloned, trained, judged) for r in part.values()) / 60
    return Report(
        "Commands to the voxel agents",
        [_row(bench, arm, found) for arm, found in results.items()],
        _facts(bench, shipped, cloned, minutes),
        _curves(settings, cloned, trained),
        "cycle",
        (*few_seeds(settings.seeds), *_claims(results), *_notes(settings)),
        smoke=work.smoke,
        extra_tables={
            "by_command": [_command_row(arm, command, found) for arm, found in results.items() for command in ASKED],
            "every_run": [_run_row(arm, seed, r) for arm, found in results.items() for seed, r in enumerate(found)],
        },
    )


def _bench(settings: Settings, work: Work) -> Bench:
    bundle = load_bundle(automatic=True)
    train_cases: Sequence[Labelled]
    first, last = settings.practised, settings.practised + settings.watched
    if work.smoke:
        train_cases, new, source = phantom_cases(last, 0), phantom_cases(settings.judged, 100), "phantoms"
    else:
        folder = settings.data or os.environ.get(DATA_VARIABLE)
        if not folder:
            raise InputFileError(f'commands need labelled cases: set {DATA_VARIABLE}, or --set data="FOLDER"')
        dataset = load_dataset(find_dataset(Path(folder), settings.dataset))
        train_cases = labelled_cases(dataset.cases("train")[:last])
        new = labelled_cases(dataset.cases("val")[: settings.judged])
        source = f"{dataset.name}, data {dataset.data_hash[:16]}"
    automatic, crop = bundle.automatic(), (settings.width, settings.height, settings.depth)

    def ready(cases: Sequence[Labelled]) -> list[TrainingCase]:
        return [fitted(with_start_of(normalised(case), automatic), crop) for case in cases]

    practised = ready(train_cases)
    return Bench(
        work, settings, bundle.agent_settings, bundle.refiner(precision="fp32").network, practised[:first],
        practised[first:], ready(new), [case.group for case in new], source,
    )  # fmt: skip


def _judged(bench: Bench, arm: str, seed: int) -> Result:
    actor, found = actor_of(bench, arm, seed), []
    for number, case in enumerate(bench.judged):
        bench.work.report(f"judging {arm}, seed {seed}", number, len(bench.judged))
        bench.work.stop_if_cancelled()
        found.append(obeyed(actor, case, number, steps=bench.settings.steps, hints=bench.agent.hints))
    return {"cases": found}


# --- what came out --------------------------------------------------------------------------------------------------


def _masks(result: Result) -> list[Mapping[str, Any]]:
    return [mask for case in result["cases"] for mask in case["masks"]]


def _mean_gain(commander: str, results: Sequence[Result]) -> float:
    return float(np.mean([gain_under(commander, mask) for result in results for mask in _masks(result)]))


def _row(bench: Bench, arm: str, results: Sequence[Result]) -> dict[str, Cell]:
    def cell(value: Callable[[Mapping[str, Any]], float], digits: int = 3) -> str:
        """The mean over patients of a figure of a case, seeds averaged first, with its bootstrap interval."""
        by_patient: dict[str, list[float]] = {}
        for result in results:
            for group, case in zip(bench.groups, result["cases"], strict=True):
                by_patient.setdefault(group, []).append(value(case))
        found = bootstrap_interval([float(np.mean(values)) for values in by_patient.values()])
        return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"

    def under(
        commander: str, figure: Callable[[str, Mapping[str, Any]], float]
    ) -> Callable[[Mapping[str, Any]], float]:
        return lambda case: float(np.mean([figure(commander, mask) for mask in case["masks"]]))

    row: dict[str, Cell] = {"arm": arm, "seeds": len(results)}
    row |= {f"Dice gain, {name}": cell(under(name, gain_under)) for name in COMMANDERS}
    row |= {
        f"wins %, {name}": f"{100 * np.mean([won_under(name, m) for r in results for m in _masks(r)]):.0f}"
        for name in COMMANDERS
    }
    row["Dice with the commanded target"] = cell(lambda case: likeness_of(case["masks"]))
    false = [o for r in results for m in _masks(r) for o in m["orders"].values() if not o["asked"]]
    row["false premise left alone %"] = f"{100 * np.mean([o['changed'] == 0 for o in false]):.0f}" if false else "-"
    row["Dice after a click, no command"] = cell(lambda case: case["clicked"])
    return row


def _command_row(arm: str, command: str, results: Sequence[Result]) -> dict[str, Cell]:
    done = done_of(command, [mask for result in results for mask in _masks(result)])
    return {
        "arm": arm, "command": command, "orders": done.orders, "way to the target": done.progress,
        "Dice with target, before": done.dice_before, "after": done.dice_after,
        "volume went the right way": _rate(done.direction),
        "false premise left alone": _rate(done.left_alone),
        "voxels changed on it, of the mask": "-" if done.left_alone is None else f"{done.changed:.4f}",
    }  # fmt: skip


def _run_row(arm: str, seed: int, result: Result) -> dict[str, Cell]:
    masks = _masks(result)
    return {
        "arm": arm, "seed": seed, **{name: _mean_gain(name, [result]) for name in COMMANDERS},
        "Dice with the commanded target": likeness_of(masks),
        "Dice after a click": float(np.mean([case["clicked"] for case in result["cases"]])),
    }  # fmt: skip


def _rate(found: Proportion | None) -> str:
    return "-" if found is None else f"{found.rate:.2f} [{found.low:.2f}, {found.high:.2f}] of {found.total}"


def _claims(results: Mapping[str, Sequence[Result]]) -> list[str]:
    """The claims of the literature by the means over seeds; the table has the intervals. Short phases show little."""
    gain = {arm: {name: _mean_gain(name, found) for name in COMMANDERS} for arm, found in results.items()}

    def claim(text: str, value: float) -> str:
        verdict = "no difference" if abs(value) < SMALL else "seen here" if value > 0 else "NOT seen here"
        return f"{text}: {value:+.3f} Dice, {verdict}."

    over_joint = gain["RED"]["Oracle"] - gain["Joint"]["Oracle"]
    over_rl = gain["RED"]["Oracle"] - gain["RL"]["Oracle"]
    listens = gain["RED"]["NA"] - gain["RED"]["Adversarial"]
    return [
        claim("Claim of the literature, RED gains more than Joint under the oracle", over_joint),
        claim("Claim of the literature, RL forgets to listen and RED gains more under the oracle", over_rl),
        claim("RED obeys the adversary too, so loses against no command", listens),
    ]


def _facts(bench: Bench, shipped: Result, cloned: Mapping[str, Result], minutes: float) -> dict[str, str]:
    settings = bench.settings
    weights = sum(p.numel() for p in bench.shipped().parameters())
    return {
        "cases": f"{bench.source}: {len(bench.practised)} to train on and {len(bench.watched)} for the bound (training "
        f"split), {len(bench.judged)} of {len(set(bench.groups))} patients judged (validation split), crops of "
        f"{settings.width} x {settings.height} x {settings.depth} voxels, {settings.steps} refinement steps",
        "trained": f"from the shipped agents on, {weights:,} weights, the embedding of commands from zero",
        "cloning": f"{settings.demonstrations} orders carried out, {settings.cloning_updates} updates of "
        f"{settings.batch}, the first {100 * settings.belief_first:.0f} % of the belief alone; "
        "all other arms begin with that",
        "phases": f"{settings.cycles} cycles of {settings.rl_updates} updates by reward and {settings.bc_updates} by "
        f"cloning, {settings.played} episodes and {settings.batch} orders each (with as many wins); RL and Joint: as "
        "many updates by reward",
        "standing still": f"Dice {likeness_of(_masks(shipped), 'before'):.3f} with the commanded target, gain 0 under "
        "every commander",
        "seeds": str(len(cloned)),
        "CPU": f"{minutes:.1f} minutes",
    }


def _curves(settings: Settings, cloned: Mapping[str, Result], trained: Mapping[str, Result]) -> list[Curve]:
    curves = []
    for seed in range(settings.seeds):
        points = cloned[f"BC_{seed}"]["curve"]
        curves.append(Curve("NLL of orders, nats over updates of cloning", "BC", *zip(*points, strict=True)))
        for arm in TRAINED:
            found = trained[f"{arm}_{seed}"]["curve"]
            x = range(1, len(found) + 1)
            curves.append(Curve("NLL of orders, nats over cycles", arm, x, [point["nll"] for point in found]))
            curves.append(Curve("reward after a click over cycles", arm, x, [point["reward"] for point in found]))
    return curves


def _notes(settings: Settings) -> tuple[str, ...]:
    return (
        "All commanders and clicks are simulated. Each judged case is damaged in five ways, each with one remedy: the "
        "oracle commands it, the adversary the command whose exact target is least like the wanted mask, the random "
        "commander any of the five (its expectation is shown). No click is given with a command; every second case had "
        "one before.",
        f"Targets are exact edits: {MARGIN_MM:g} mm margins, a median of {SMOOTH_MM:g} mm, holes, all but the largest "
        "piece. Dice with the commanded target: the mean over commands, whether they help or harm. Way to the target: "
        "share of the voxels asked for that came right less those that went wrong. A win: half the Dice that the exact "
        "remedy brings.",
        "Brackets are 95 % bootstrap intervals over patients, seeds averaged first; in by_command Wilson's over "
        "orders, several a patient, so too narrow. Every single run is in every_run.",
        "False premise: a command whose exact target is the mask as it is. Left alone: not one voxel changed.",
        "In the phases by reward nobody commands, and the embedding has no gradient there: without a command it is "
        "zero. The value head is the shipped one and is not warmed up.",
        "Dice after a click: from the shipped automatic start, one click of the primary robot, no command; the shipped "
        "row says what the agents did before they learned commands.",
    )
