"""Does the loop turn? A synthetic clinician with a style corrects cases, `learn` learns, he counts his clicks again.

His corrections go through the real session, its recorder and a store; new cases through the session too. Beside him
stand the same pipeline fed no records, records of another style, and records whose masks were exchanged. Corrected
cases are of the training split, new ones of the validation split; the test split is never opened.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from medseg_rl import metrics
from medseg_rl.automatic.segmenter import AutomaticSegmenter
from medseg_rl.bundle import Bundle, load_bundle
from medseg_rl.dataset import DATA_VARIABLE, Dataset, find_dataset, load_dataset
from medseg_rl.errors import InputFileError
from medseg_rl.evaluation import EvaluationCase, Plan
from medseg_rl.evaluation.manifest import source_state
from medseg_rl.evaluation.statistics import bootstrap_interval
from medseg_rl.evaluation.turns import drive
from medseg_rl.hints.robots import LargestRegion
from medseg_rl.recipes.recipe import Result, Work, seed_of, with_changes
from medseg_rl.recipes.refinement.clinician import STYLES, Mask, corrects
from medseg_rl.recipes.refinement.labelled import Labelled, few_seeds, labelled_cases, phantom_cases
from medseg_rl.recipes.refinement.learning import LearnConfig, learn
from medseg_rl.recipes.refinement.playing import curves, with_start_of
from medseg_rl.recipes.report import Cell, Report
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.training_cases import load_training_cases

SUMMARY = "A synthetic clinician with a style: his clicks before and after the product learned from his corrections"
LEVEL = 0.9  # Dice with his masks
WANTED = 0.3  # fewer clicks, relative: what the claim asks for
OTHER = {"wide": "narrow", "narrow": "wide", "short": "wide"}  # whose records are the control


@dataclass(frozen=True)
class Settings:
    """`styles`: names with commas between. `corrected`: cases he corrects. `new_cases`: of the validation split.

    `clicks`: most he gives on one. The other fields are those of `LearnConfig`. `data`: folder of data sets,
    MEDSEG_RL_DATA unless given.
    """

    styles: str = "wide,narrow,short"
    seeds: int = 3
    corrected: int = 20
    new_cases: int = 29
    clicks: int = 20
    updates: int = 240
    start_updates: int = 150
    ptx_share: float = 0.5
    ptx_cases: int = 40
    benchmark_cases: int = 29
    learning_rate: float = 1e-3
    start_learning_rate: float = 1e-3
    bundle: str | None = None
    data: str | None = None
    dataset: str = "hippocampus"

    def learning(self, seed: int) -> LearnConfig:
        """For `learn`."""
        shared = {f.name for f in dataclasses.fields(LearnConfig)} & {f.name for f in dataclasses.fields(self)}
        return LearnConfig(**{name: getattr(self, name) for name in shared if name != "clicks"}, seed=seed)


SMOKE = Settings(
    styles="wide", seeds=1, corrected=4, new_cases=2, clicks=2, updates=2, start_updates=1, ptx_cases=2,
    benchmark_cases=1,
)  # fmt: skip


class Arm(NamedTuple):
    """`records`: of whom the pipeline was fed. `start`: whether the candidate's own automatic start is used."""

    label: str
    records: str | None
    start: bool = True


ARMS = (
    Arm("no records", None),
    Arm("his records", "his"),
    Arm("his records, agents alone", "his", start=False),
    Arm("another style", "other"),
    Arm("shuffled masks", "shuffled"),
)


@dataclass(frozen=True, eq=False)
class Bench:
    """What all jobs share."""

    work: Work
    settings: Settings
    incumbent: Bundle
    train: Sequence[Labelled]
    new: Sequence[Labelled]
    dataset: Dataset | None


def run(work: Work) -> Report:
    """All styles, seeds and arms. Raises Cancelled; what was finished is kept."""
    settings = with_changes(SMOKE if work.smoke else Settings(), work.changes)
    settings = dataclasses.replace(settings, seeds=work.seeds or settings.seeds)
    torch.set_num_threads(1)
    bench = _bench(settings, work)
    facts = {"incumbent": bench.incumbent.hash, "data": bench.dataset.data_hash if bench.dataset else "phantoms"}
    work.open(dataclasses.asdict(settings) | facts | {"seeds": None, "data": facts["data"], "smoke": work.smoke})
    pairs = [(style, seed) for seed in range(settings.seeds) for style in _styles(settings)]
    learned = work.jobs(
        "learning",
        {
            f"learned_{style}_{seed}_{records}": functools.partial(_learn, bench, style, seed, records)
            for style, seed in pairs
            for records in ("his", "other", "shuffled")
        },
    )
    played = work.jobs(
        "his clicks",
        {
            _played(style, seed, arm): functools.partial(_play, bench, style, seed, arm, learned)
            for style, seed in pairs
            for arm in ARMS
        },
    )
    return _reported(bench, learned, played)


def _styles(settings: Settings) -> list[str]:
    return settings.styles.split(",")


def _bench(settings: Settings, work: Work) -> Bench:
    for style in _styles(settings):
        if style not in OTHER:
            raise InputFileError(f"there is no style {style!r}; choose {', '.join(OTHER)}")
    incumbent = load_bundle(settings.bundle, automatic=True)
    if work.smoke:
        return Bench(work, settings, incumbent, phantom_cases(settings.corrected, 0), phantom_cases(2, 100), None)
    folder = settings.data or os.environ.get(DATA_VARIABLE)
    if not folder:
        raise InputFileError(f'the flywheel needs labelled cases: set {DATA_VARIABLE}, or --set data="FOLDER"')
    dataset = load_dataset(find_dataset(Path(folder), settings.dataset))
    train, new = labelled_cases(dataset.cases("train")), labelled_cases(dataset.cases("val")[: settings.new_cases])
    return Bench(work, settings, incumbent, train, new, dataset)


# --- he corrects, it learns -----------------------------------------------------------------------------------------


def _learn(bench: Bench, style: str, seed: int, records: str) -> Result:
    """A candidate from the records of one clinician; `records`: "his", "other" or "shuffled"."""
    name = f"{style}_{seed}_{records}"
    store = _corrected(bench, style, seed, records)
    work = dataclasses.replace(bench.work, folder=bench.work.folder / "learned" / name)
    found = learn([store], bench.incumbent, bench.settings.learning(seed), work, dataset=bench.dataset)
    return {
        "bundle": str(found.bundle.folder.relative_to(bench.work.folder)),
        "verdict": found.verdict,
        "accepted_masks": len(found.material.train) + len(found.material.held_out),
    }


def _corrected(bench: Bench, style: str, seed: int, records: str) -> Path:
    """His store, made anew where it was not finished. All three kinds of records are of the same cases."""
    folder = bench.work.folder / "stores" / f"{style}_{seed}_{records}"
    made = folder / "made"
    if made.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    store = FeedbackStore(folder)
    store.set_consent(store=True, images=True)
    refiner, automatic = bench.incumbent.refiner(), bench.incumbent.automatic()
    order = np.random.default_rng(seed_of("flywheel", seed)).permutation(len(bench.train))
    chosen = [bench.train[int(place)] for place in order[: bench.settings.corrected]]
    for number, case in enumerate(chosen):
        bench.work.report(f"correcting for {style}, {records}", number, len(chosen))
        bench.work.stop_if_cancelled()
        image, reference = case.load()
        wanted = STYLES[OTHER[style] if records == "other" else style].mask(reference, image)
        if records == "shuffled":
            other_image, other = chosen[(number + 1) % len(chosen)].load()
            wanted = _fitted(STYLES[style].mask(other, other_image), image.shape)
        corrects(case.id, case.group, image, wanted, refiner=refiner, automatic=automatic, store=store)
    made.touch()
    return folder


def _fitted(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """Another case's mask in the middle of an array of another shape, cut or padded."""
    out = np.zeros(shape, np.bool_)
    ours, theirs = [], []
    for size, given in zip(shape, mask.shape, strict=True):
        common = min(size, given)
        a, b = (size - common) // 2, (given - common) // 2
        ours.append(slice(a, a + common))
        theirs.append(slice(b, b + common))
    out[tuple(ours)] = mask[tuple(theirs)]
    return out


# --- he counts his clicks -------------------------------------------------------------------------------------------


def _played(style: str, seed: int, arm: Arm) -> str:
    return f"played_{style}_{seed}_{arm.label.replace(' ', '_').replace(',', '')}"


def _play(bench: Bench, style: str, seed: int, arm: Arm, learned: dict[str, Result]) -> Result:
    """Dice with his masks after each click on every new case, through the session, and his patients."""
    bundle = bench.incumbent
    if arm.records is not None:
        bundle = load_bundle(bench.work.folder / learned[f"learned_{style}_{seed}_{arm.records}"]["bundle"])
    refiner = bundle.refiner()
    automatic: AutomaticSegmenter = (bundle if arm.start else bench.incumbent).automatic()
    found, groups = [], []
    for number, case in enumerate(bench.new):
        bench.work.report(f"his clicks: {style}, {arm.label}", number, len(bench.new))
        bench.work.stop_if_cancelled()
        image, reference = case.load()
        wanted = STYLES[style].mask(reference, image)
        task = EvaluationCase(case.id, case.group, image, wanted, automatic.predict(image))
        curve: list[float] = []
        for turn in drive(task, refiner, LargestRegion(), Plan(interactions=bench.settings.clicks)):
            curve.append(metrics.dice(turn.mask, wanted))
            if curve[-1] >= LEVEL:
                break
        found.append(curve)
        groups.append(case.group)
    result: Result = {"curves": found, "groups": groups, "bundle": bundle.hash}
    if not arm.start and bench.dataset is not None:
        result["public_dice"] = _public_dice(bench, bundle, automatic)
    return result


def _public_dice(bench: Bench, bundle: Bundle, automatic: AutomaticSegmenter) -> float:
    """As the gate of the promotion measures it, from the incumbent's start."""
    assert bench.dataset is not None
    few = dataclasses.replace(bench.dataset, all_cases=bench.dataset.cases("val")[: bench.settings.benchmark_cases])
    cases = [with_start_of(case, automatic) for case in load_training_cases(few, "val")]
    clicks = LearnConfig.clicks
    return float(np.mean(curves(cases, bundle.refiner(), clicks=clicks, steps=bundle.steps)))


# --- what came out --------------------------------------------------------------------------------------------------


def _reported(bench: Bench, learned: dict[str, Result], played: dict[str, Result]) -> Report:
    settings = bench.settings
    rows: list[dict[str, Cell]] = []
    for style in _styles(settings):
        without = _clicks(bench, style, ARMS[0], played)
        for arm in ARMS:
            rows.append(_row(bench, style, arm, without, learned, played))
    claims = [_claim(style, [row for row in rows if row["style"] == style]) for style in _styles(settings)]
    return Report(
        title="The flywheel: a clinician's corrections and his clicks afterwards",
        table=rows,
        facts=_facts(bench),
        notes=(
            *claims,
            *few_seeds(settings.seeds),
            "The clinician is simulated: his clicks are the primary robot's, his masks his style of the reference.",
            "Clicks count the limit where the level was never reached: read them with the share that failed. "
            "Intervals: 95 % bootstrap over patients, clicks of one patient's cases and seeds averaged first.",
            "The public Dice is the mean over 0 to 5 clicks with public masks, from each model's own automatic start "
            "(agents alone: from the start that all share). A start that follows a style leaves the public contour.",
            "Shuffled masks keep the size and the place of the style, and lose only whose they are.",
        ),
        smoke=bench.work.smoke,
    )


def _clicks(bench: Bench, style: str, arm: Arm, played: dict[str, Result]) -> dict[str, tuple[float, float, float]]:
    """Clicks, share that failed and Dice of the start by patient, over cases and seeds."""
    limit = bench.settings.clicks
    found: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(bench.settings.seeds):
        result = played[_played(style, seed, arm)]
        for group, curve in zip(result["groups"], result["curves"], strict=True):
            clicks = metrics.clicks_to_reach(curve, LEVEL, limit=limit)
            failed = not metrics.reaches(curve, LEVEL, limit=limit)
            found.setdefault(group, []).append((float(clicks), float(failed), curve[0]))
    return {group: tuple(np.mean(values, axis=0).tolist()) for group, values in found.items()}


def _row(
    bench: Bench,
    style: str,
    arm: Arm,
    without: dict[str, tuple[float, float, float]],
    learned: dict[str, Result],
    played: dict[str, Result],
) -> dict[str, Cell]:
    ours = _clicks(bench, style, arm, played)
    clicks = bootstrap_interval([values[0] for values in ours.values()])
    saved = bootstrap_interval([without[group][0] - values[0] for group, values in ours.items()])
    before = float(np.mean([values[0] for values in without.values()]))
    verdicts = [
        learned[f"learned_{style}_{seed}_{arm.records}"]["verdict"]
        for seed in range(bench.settings.seeds)
        if arm.records
    ]
    each = [_public_change(v, played[_played(style, seed, arm)]) for seed, v in enumerate(verdicts)]
    changes = [change for change in each if change is not None]
    return {
        "style": style,
        "fed with": arm.label,
        "seeds": bench.settings.seeds,
        "clicks": clicks.mean,
        "low": clicks.low,
        "high": clicks.high,
        "fewer %": 100 * saved.mean / before if before else 0.0,
        "fewer % low": 100 * saved.low / before if before else 0.0,
        "failed %": 100 * float(np.mean([values[1] for values in ours.values()])),
        "start Dice": float(np.mean([values[2] for values in ours.values()])),
        "public Dice change": float(np.mean(changes)) if changes else "-",
        "promoted": f"{sum(v['promoted'] for v in verdicts)} of {len(verdicts)}" if verdicts and arm.start else "-",
    }


def _public_change(verdict: dict[str, Any], result: Result) -> float | None:
    both = verdict["public_dice"]
    ours = result.get("public_dice", both["candidate"])
    return None if both["incumbent"] is None else float(ours - both["incumbent"])


def _claim(style: str, rows: Sequence[dict[str, Cell]]) -> str:
    by_arm = {row["fed with"]: row for row in rows}
    his = by_arm["his records"]
    fewer, change = float(his["fewer %"]), his["public Dice change"]
    reached = "reached" if fewer >= 100 * WANTED else "not reached"
    kept = "not measured"
    if isinstance(change, float):
        kept = f"{'kept' if change >= -0.005 else 'not kept'} within .005 ({change:+.4f})"
    return f"{style}: {fewer:.0f} % fewer clicks with his records, {100 * WANTED:.0f} % {reached}; public Dice {kept}."


def _facts(bench: Bench) -> dict[str, str]:
    settings = bench.settings
    commit, changed = source_state()
    source = "phantoms" if bench.dataset is None else f"{bench.dataset.name}, data {bench.dataset.data_hash[:16]}"
    return {
        "model": f"{bench.incumbent.name} {bench.incumbent.version}, {bench.incumbent.hash[:16]}",
        "cases": f"{source}: {settings.corrected} corrected of the training split, {len(bench.new)} new ones of the "
        f"validation split ({len({case.group for case in bench.new})} patients), the same for every arm",
        "learning": f"{settings.updates} updates of the agents, {settings.start_updates} of the automatic start, "
        f"{100 * settings.ptx_share:.0f} % pretraining scenes from {settings.ptx_cases} cases",
        "level": f"Dice {LEVEL} with his masks, at most {settings.clicks} clicks",
        "seeds": ", ".join(map(str, range(settings.seeds))),
        "code": "no checkout" if commit is None else f"commit {commit[:12]}{' with changes' if changed else ''}",
    }
