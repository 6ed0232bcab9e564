"""Does the loop turn? A synthetic clinician with a style corrects cases, `learn` learns, he counts his clicks again.

His corrections go through the real session, its recorder and a store; new cases through the session too. Beside him
stand the same pipeline fed no records, records of another style, and records whose masks were exchanged. What is
learned comes in two models: his own, with a start as he draws, and the candidate for everybody, whose start is the
public one. Both are judged on public masks too, so that what his own would cost others stands in the table. Corrected
cases are of the training split, new ones of the validation split; the test split is never opened.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from medseg_rl import metrics
from medseg_rl.bundle import Bundle, load_bundle
from medseg_rl.config import with_changes
from medseg_rl.dataset import DATA_VARIABLE, Dataset, find_dataset, load_dataset
from medseg_rl.errors import InputFileError
from medseg_rl.evaluation import EvaluationCase, Plan
from medseg_rl.evaluation.manifest import source_state
from medseg_rl.evaluation.statistics import bootstrap_interval
from medseg_rl.evaluation.turns import drive
from medseg_rl.hints.robots import LargestRegion
from medseg_rl.recipes.recipe import Result, Work, seed_of
from medseg_rl.recipes.refinement.clinician import STYLES, Mask, corrects
from medseg_rl.recipes.refinement.labelled import Labelled, few_seeds, labelled_cases, phantom_cases
from medseg_rl.recipes.refinement.learning import LearnConfig, learn
from medseg_rl.recipes.refinement.playing import curves, with_start_of
from medseg_rl.recipes.report import Cell, Curve, Report
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.training_cases import load_training_cases

SUMMARY = "A synthetic clinician with a style: his clicks before and after the product learned from his corrections"
LEVEL = 0.9  # Dice with his masks
WANTED = 0.3  # fewer clicks, relative: what the claim asks for
OTHER = {"wide": "narrow", "narrow": "wide", "short": "wide"}  # whose records are the control
CLINICIAN = "clinician"  # the annotator, in the names of bundles


@dataclass(frozen=True)
class Settings:
    """`styles`: names with commas between. `control_seeds`: of the two controls. `corrected`: cases he corrects.

    `new_cases`: of the validation split. `clicks`: most he gives on one. The other fields are those of `LearnConfig`:
    `updates` 0 leaves the agents alone, and with them the candidate for everybody. `data`: folder of data sets,
    MEDSEG_RL_DATA unless given.
    """

    styles: str = "wide,narrow,short"
    seeds: int = 3
    control_seeds: int = 3
    corrected: int = 20
    new_cases: int = 29
    clicks: int = 20
    updates: int = 240
    start_updates: int = 40
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
        same = {name: getattr(self, name) for name in shared if name != "clicks"}
        return LearnConfig(**same, annotator=CLINICIAN, seed=seed)


SMOKE = Settings(
    styles="wide", seeds=1, corrected=4, new_cases=2, clicks=2, updates=2, start_updates=1, ptx_cases=2,
    benchmark_cases=1,
)  # fmt: skip


class Arm(NamedTuple):
    """`records`: of whom the pipeline was fed. `own`: whether he works with the model that is his alone."""

    label: str
    records: str | None
    own: bool = True


NOTHING = Arm("no records", None, own=False)
HIS = Arm("his records: his own model", "his")
EVERYBODY = Arm("his records: the candidate for everybody", "his", own=False)
ARMS = (NOTHING, HIS, EVERYBODY, Arm("another style: its own model", "other"), Arm("shuffled masks", "shuffled"))


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
    work.open(
        dataclasses.asdict(settings)
        | facts
        | {"seeds": None, "control_seeds": None, "data": facts["data"], "smoke": work.smoke}
    )
    needed = [
        (style, seed, arm)
        for seed in range(settings.seeds)
        for style in _styles(settings)
        for arm in ARMS
        if seed in _seeds(settings, arm)
    ]
    learned = work.jobs(
        "learning",
        {
            _learned(style, seed, arm.records): functools.partial(_learn, bench, *_source(style, arm.records), seed)
            for style, seed, arm in needed
            if arm.records
        },
    )
    played = work.jobs(
        "his clicks",
        {
            _played(style, seed, arm): functools.partial(_play, bench, style, seed, arm, learned)
            for style, seed, arm in needed
        },
    )
    return _reported(bench, learned, played)


def _seeds(settings: Settings, arm: Arm) -> range:
    """The incumbent plays alike whatever the seed; the controls may have fewer than his own records."""
    if arm.records is None:
        return range(1)
    return range(settings.seeds if arm.records == "his" else min(settings.seeds, settings.control_seeds))


def _source(style: str, records: str) -> tuple[str, bool]:
    """Whose records these are, and whether their masks are exchanged among the cases."""
    return (OTHER[style] if records == "other" else style), records == "shuffled"


def _learned(style: str, seed: int, records: str) -> str:
    """Name of the job: what one style's records taught is the control of another."""
    whose, shuffled = _source(style, records)
    return f"learned_{whose}_{seed}{'_shuffled' if shuffled else ''}"


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


def _learn(bench: Bench, style: str, shuffled: bool, seed: int) -> Result:
    """A candidate and an own model from the records of one clinician, or from these with exchanged masks."""
    name = f"{style}_{seed}{'_shuffled' if shuffled else ''}"
    store = _corrected(bench, style, shuffled, seed, name)
    work = dataclasses.replace(bench.work, folder=bench.work.folder / "learned" / name)
    public = bench.dataset if bench.settings.updates else None  # what everybody gets has not changed
    found = learn([store], bench.incumbent, bench.settings.learning(seed), work, dataset=public)
    assert found.own is not None
    return {
        "candidate": str(found.bundle.folder.relative_to(bench.work.folder)),
        "own": str(found.own.folder.relative_to(bench.work.folder)),
        "verdict": found.verdict,
        "own_verdict": found.own_verdict,
        "accepted_masks": len(found.material.train) + len(found.material.held_out),
    }


def _corrected(bench: Bench, style: str, shuffled: bool, seed: int, name: str) -> Path:
    """His store, made anew where it was not finished. The records of all styles are of the same cases."""
    folder = bench.work.folder / "stores" / name
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
        bench.work.report(f"correcting for {name}", number, len(chosen))
        bench.work.stop_if_cancelled()
        image, reference = case.load()
        wanted = STYLES[style].mask(reference, image)
        if shuffled:
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
    """Name of the job. The incumbent plays the same whatever the seed."""
    label = "".join(letter if letter.isalnum() else "_" for letter in arm.label)
    return f"played_{style}_{label}" if arm.records is None else f"played_{style}_{seed}_{label}"


def _play(bench: Bench, style: str, seed: int, arm: Arm, learned: dict[str, Result]) -> Result:
    """Dice with his masks after each click on every new case, through the session; his patients; the public Dice."""
    bundle = bench.incumbent
    if arm.records is not None:
        found = learned[_learned(style, seed, arm.records)]
        bundle = load_bundle(bench.work.folder / found["own" if arm.own else "candidate"])
    key = hashlib.sha256("".join(_networks(bundle)).encode()).hexdigest()[:16]
    curves_of = bench.work.job(f"clicks_{style}_{key}", lambda: _new_cases(bench, style, arm, bundle))
    public = bench.work.job(f"public_{key}", lambda: {"dice": _public_dice(bench, bundle)})
    return {"curves": curves_of["curves"], "groups": curves_of["groups"], "public_dice": public["dice"]}


def _networks(bundle: Bundle) -> list[str]:
    """Hashes of the weights: models of the same play alike, and need to do so once."""
    return [digest for name, digest in sorted(bundle.files.items()) if name.endswith(".safetensors")]


def _new_cases(bench: Bench, style: str, arm: Arm, bundle: Bundle) -> Result:
    refiner, automatic = bundle.refiner(), bundle.automatic()
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
    return {"curves": found, "groups": groups, "bundle": bundle.hash}


def _public_dice(bench: Bench, bundle: Bundle) -> float | None:
    """Mean over 0 to 5 clicks with public masks, from the model's own automatic start; None on phantoms."""
    if bench.dataset is None:
        return None
    few = dataclasses.replace(bench.dataset, all_cases=bench.dataset.cases("val")[: bench.settings.benchmark_cases])
    automatic = bundle.automatic()
    cases = [with_start_of(case, automatic) for case in load_training_cases(few, "val")]
    return float(np.mean(curves(cases, bundle.refiner(), clicks=LearnConfig.clicks, steps=bundle.steps)))


# --- what came out --------------------------------------------------------------------------------------------------


def _reported(bench: Bench, learned: dict[str, Result], played: dict[str, Result]) -> Report:
    settings = bench.settings
    rows = [_row(bench, style, arm, learned, played) for style in _styles(settings) for arm in ARMS]
    by_style = {
        style: {str(row["fed with"]): row for row in rows if row["style"] == style} for style in _styles(settings)
    }
    return Report(
        title="The flywheel: a clinician's corrections and his clicks afterwards",
        table=rows,
        facts=_facts(bench),
        curves=_drawn(bench, played),
        x_label="clicks",
        notes=(
            *(_claim(style, found) for style, found in by_style.items()),
            *few_seeds(settings.seeds),
            "His own model has the start that was learned from his records, and is chosen by its name: only he works "
            "with it. All others get the candidate, whose start is the public one; its public Dice is what the "
            ".005 are asked of. The public Dice of his own model says what it would cost somebody else.",
            *(
                ()
                if settings.updates
                else (
                    "The agents learned nothing here, so the candidate for everybody is the "
                    "incumbent: a user without a model of his own neither gains nor loses.",
                )
            ),
            "The clinician is simulated: his clicks are the primary robot's, his masks his style of the reference.",
            "Clicks count the limit where the level was never reached, which makes the saving look smaller: read them "
            "with the share that failed. Intervals: 95 % bootstrap over patients, clicks of one patient's cases and "
            "seeds averaged first.",
            "The public Dice is the mean over 0 to 5 clicks with public masks, from each model's own start.",
            "Shuffled masks keep the size and the place of the style, and lose only whose they are.",
        ),
        smoke=bench.work.smoke,
    )


def _drawn(bench: Bench, played: dict[str, Result]) -> list[Curve]:
    """Share of the new cases that are at the level after so many clicks, each seed a line."""
    limit = bench.settings.clicks
    found = []
    for style in _styles(bench.settings):
        for arm in ARMS:
            for seed in _seeds(bench.settings, arm):
                reached = [
                    len(c) - 1 if c[-1] >= LEVEL else limit + 1 for c in played[_played(style, seed, arm)]["curves"]
                ]
                shares = [float(np.mean([at <= click for at in reached])) for click in range(limit + 1)]
                found.append(Curve(f"{style}: share of cases at Dice {LEVEL}", arm.label, range(limit + 1), shares))
    return found


def _clicks(bench: Bench, style: str, arm: Arm, played: dict[str, Result]) -> dict[str, tuple[float, float, float]]:
    """Clicks, share that failed and Dice of the start by patient, over cases and seeds."""
    limit = bench.settings.clicks
    found: dict[str, list[tuple[float, float, float]]] = {}
    for seed in _seeds(bench.settings, arm):
        result = played[_played(style, seed, arm)]
        for group, curve in zip(result["groups"], result["curves"], strict=True):
            clicks = metrics.clicks_to_reach(curve, LEVEL, limit=limit)
            failed = not metrics.reaches(curve, LEVEL, limit=limit)
            found.setdefault(group, []).append((float(clicks), float(failed), curve[0]))
    return {group: tuple(np.mean(values, axis=0).tolist()) for group, values in found.items()}


def _row(bench: Bench, style: str, arm: Arm, learned: dict[str, Result], played: dict[str, Result]) -> dict[str, Cell]:
    ours, without = _clicks(bench, style, arm, played), _clicks(bench, style, NOTHING, played)
    clicks = bootstrap_interval([values[0] for values in ours.values()])
    saved = bootstrap_interval([without[group][0] - values[0] for group, values in ours.items()])
    before = float(np.mean([values[0] for values in without.values()]))
    seeds = _seeds(bench.settings, arm)
    verdict = "own_verdict" if arm.own else "verdict"
    verdicts = [learned[_learned(style, seed, arm.records)][verdict] for seed in seeds] if arm.records else []
    incumbent = played[_played(style, 0, NOTHING)]["public_dice"]
    public = [played[_played(style, seed, arm)]["public_dice"] for seed in seeds]
    return {
        "style": style,
        "fed with": arm.label,
        "seeds": len(seeds),
        "clicks": clicks.mean,
        "low": clicks.low,
        "high": clicks.high,
        "fewer %": 100 * saved.mean / before if before else 0.0,
        "fewer % low": 100 * saved.low / before if before else 0.0,
        "failed %": 100 * float(np.mean([values[1] for values in ours.values()])),
        "start Dice": float(np.mean([values[2] for values in ours.values()])),
        "public Dice change": "-" if incumbent is None else float(np.mean(public)) - incumbent,
        "wins on held-out records": f"{sum(_wins(v) for v in verdicts)} of {len(verdicts)}" if verdicts else "-",
    }


def _wins(verdict: Result) -> bool:
    """By both intervals: the league's, and that over cases."""
    return all(gate["passed"] for gate in verdict["gates"] if gate["name"].startswith("wins"))


def _claim(style: str, rows: Mapping[str, Mapping[str, Cell]]) -> str:
    fewer, change = float(rows[HIS.label]["fewer %"]), rows[EVERYBODY.label]["public Dice change"]
    reached = "reached" if fewer >= 100 * WANTED else "not reached"
    kept = "not measured"
    if isinstance(change, float):
        kept = f"{'kept' if change >= -0.005 else 'not kept'} within .005 ({change:+.4f})"
    others = float(rows[EVERYBODY.label]["fewer %"])
    controls = {arm.label: float(rows[arm.label]["fewer %"]) for arm in ARMS if arm.records in ("other", "shuffled")}
    told = ", ".join(f"{label} {saved:.0f} %" for label, saved in controls.items())
    if max(controls.values()) >= fewer / 2 > 0:
        told += ": a control saves half as much or more, so this is not shown to be his style"
    return (
        f"{style}: {fewer:.0f} % fewer clicks with his own model, {100 * WANTED:.0f} % {reached} (controls: {told}); "
        f"{others:.0f} % fewer with the candidate for everybody, whose public Dice is {kept}."
    )


def _facts(bench: Bench) -> dict[str, str]:
    settings = bench.settings
    commit, changed = source_state()
    source = "phantoms" if bench.dataset is None else f"{bench.dataset.name}, data {bench.dataset.data_hash[:16]}"
    return {
        "model": f"{bench.incumbent.name} {bench.incumbent.version}, {bench.incumbent.hash[:16]}",
        "cases": f"{source}: {settings.corrected} corrected of the training split, {len(bench.new)} new ones of the "
        f"validation split ({len({case.group for case in bench.new})} patients), the same for every arm",
        "learning": f"{settings.start_updates} updates of the automatic start from his records alone; "
        + (
            f"{settings.updates} of the agents, {100 * settings.ptx_share:.0f} % pretraining scenes from "
            f"{settings.ptx_cases} cases"
            if settings.updates
            else "none of the agents"
        ),
        "level": f"Dice {LEVEL} with his masks, at most {settings.clicks} clicks",
        "seeds": ", ".join(map(str, range(settings.seeds))),
        "code": "no checkout" if commit is None else f"commit {commit[:12]}{' with changes' if changed else ''}",
    }
