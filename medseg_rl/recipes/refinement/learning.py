"""`medseg-rl learn`: from feedback stores to a candidate bundle, its card and its place in the league. START HERE.

Supervised learning from accepted masks with pretraining cases mixed in (InstructGPT step 1 and ptx), then what reward
says of them, by the product's own loop in `medseg_rl.training`. Then strokes into running refinements, each voxel with
its dynamic weight (`guided.py`). Rankings and commands are counted, not learned from.
"The target is not here" teaches the automatic start to give nothing there, and both ways to abstain wrongly are gates
of the promotion.

Two outputs where `annotator` is named: the candidate, whose automatic start is the incumbent's, since it serves every
user alike; and a model of the annotator's own, with a start learned from the records, which never takes a place that
others share. Whatever stops it, it goes on in its folder.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg_rl.agent.learner import LearnerConfig, fast_precision
from medseg_rl.agent.networks import ActorCritic
from medseg_rl.agent.policy import AdjustmentPolicy, Policy, build_policy
from medseg_rl.agent.refine import VoxelAgentRefiner
from medseg_rl.automatic.learning import Sample, train_automatic
from medseg_rl.automatic.segmenter import AutomaticSegmenter, centred
from medseg_rl.bundle import Bundle, save_bundle
from medseg_rl.dataset import Dataset
from medseg_rl.errors import InputFileError
from medseg_rl.recipes.recipe import Result, Work
from medseg_rl.recipes.refinement.candidate import Figures, candidate_card, judge
from medseg_rl.recipes.refinement.guided import GuidedConfig, guided
from medseg_rl.recipes.refinement.material import Material, read_material
from medseg_rl.recipes.refinement.playing import curves, with_start_of
from medseg_rl.refiner import MASK_THRESHOLD
from medseg_rl.training import TrainingConfig, train
from medseg_rl.training_cases import load_training_cases
from medseg_rl.training_scenes import SceneConfig, TrainingCase

MIXED = 200  # places in the list that scenes are drawn from, shared out between records and pretraining cases
SAME_GRID = 0.05  # mm
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
START_UPDATES = 40  # of an annotator's start, where none are given


@dataclass(frozen=True)
class LearnConfig:
    """How much is learned: 0 `updates` nothing of accepted masks, 0 `guidance_updates` nothing of strokes, 0
    `start_updates` no automatic start.

    `annotator`: whose model the learned start belongs to; empty, the candidate itself has it, for every user alike.
    `ptx_share` of the scenes are pretraining cases, where there are any; at most `ptx_cases` of them are read.
    `clicks`: of a validation and of a game. `benchmark_cases`: first ones of the public validation split.
    """

    annotator: str = ""
    updates: int = 240
    learning_rate: float = 1e-3
    belief_first: float = 0.6
    batch: int = 16
    pool: int = 32
    start_updates: int = 0
    start_learning_rate: float = 5e-4
    guidance_updates: int = 40
    guidance_learning_rate: float = 1e-4
    ptx_share: float = 0.5
    ptx_cases: int = 40
    held_out_share: float = 0.2
    clicks: int = 5
    benchmark_cases: int = 12
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Learned:
    """What came of it. `verdict`: gates of the promotion; `games`: file for `medseg-rl league`.

    `own`: the annotator's model, `own_verdict` the same gates for it: what it would cost others stands among them.
    """

    bundle: Bundle
    material: Material
    verdict: Result
    games: Path
    registry: Path
    own: Bundle | None = None
    own_verdict: Result | None = None


def learn(
    stores: Sequence[Path], incumbent: Bundle, config: LearnConfig, work: Work, *, dataset: Dataset | None = None
) -> Learned:
    """Trains a candidate of `incumbent` in `work.folder`, or goes on there. `dataset`: public cases, for ptx and gates.

    Raises InputFileError and RecordError as `read_material`, or at a name of an annotator that is no folder's name or
    has nothing to be learned for him; BundleError where the incumbent cannot refine; Cancelled.
    """
    _check_annotator(config, incumbent)
    torch.set_num_threads(1)  # sums depend on it in their last digits
    work.folder.mkdir(parents=True, exist_ok=True)
    material = read_material(stores, work.folder / "unpacked", held_out_share=config.held_out_share, seed=config.seed)
    work.open(
        {
            "learn": asdict(config),
            "incumbent": incumbent.hash,
            "records": material.fingerprint,
            "data": None if dataset is None else dataset.data_hash,
        }
    )
    automatic = incumbent.automatic() if incumbent.has_automatic else None
    material = replace(
        material, train=_started(material.train, automatic), held_out=_started(material.held_out, automatic)
    )
    public = _public(dataset, "train", config.ptx_cases, automatic, work) if config.ptx_share and config.updates else []
    start = _learned_start(material, automatic, config, work)
    network = _guided(_learned_agent(material, public, incumbent, config, work), material, incumbent, config, work)
    candidate = Written(incumbent, material, dataset, config, len(public), work.folder / "bundle")
    bundle = candidate.save(f"{incumbent.name}_candidate", network, automatic if config.annotator else start)
    verdict, games, registry = _judged(material, bundle, incumbent, dataset, config, work, work.folder)
    if not config.annotator:
        return Learned(bundle, material, verdict, games, registry)
    own = candidate.save(incumbent.name + _own(config), network, start)
    own_verdict, _, _ = _judged(material, own, incumbent, dataset, config, work, work.folder / "own")
    return Learned(bundle, material, verdict, games, registry, own, own_verdict)


@dataclass(frozen=True, eq=False)
class Written:
    """What all bundles of one run are written with."""

    incumbent: Bundle
    material: Material
    dataset: Dataset | None
    config: LearnConfig
    public_cases: int
    folder: Path

    def save(self, name: str, network: ActorCritic, start: AutomaticSegmenter | None) -> Bundle:
        """A bundle of these weights with its card."""
        config = asdict(self.config)
        role = f"the annotator {config['annotator']}, and nobody else," if name.endswith(_own(self.config)) else ""
        card = candidate_card(
            name, self.incumbent, self.material, self.dataset, config, self.public_cases, belongs_to=role
        )
        settings = self.incumbent.agent_settings
        return save_bundle(
            self.folder / name, card, agent=network, agent_settings=settings, automatic=start, overwrite=True
        )


def _own(config: LearnConfig) -> str:
    return f"_for_{config.annotator}"


def _check_annotator(config: LearnConfig, incumbent: Bundle) -> None:
    name = config.annotator
    if not name:
        return
    if not NAME.fullmatch(name):
        raise InputFileError(f"the annotator {name!r} names a folder: choose letters, digits, - and _ (40 at most)")
    if not config.start_updates:
        raise InputFileError(f"nothing is learned for {name} with start_updates 0; set it to {START_UPDATES}, say")
    if not incumbent.has_automatic:
        raise InputFileError(f"{incumbent.name} gives no automatic start that could become {name}'s; choose another")


def _public(
    dataset: Dataset | None, split: str, limit: int, automatic: AutomaticSegmenter | None, work: Work
) -> list[TrainingCase]:
    """The first `limit` public cases with the incumbent's automatic start; reads no other."""
    if dataset is None:
        return []
    chosen = dataset.cases(split)[:limit]
    few = replace(dataset, all_cases=chosen)
    cases = load_training_cases(few, split, progress=lambda done, total: _told(work, f"reading {split}", done, total))
    if automatic is None:
        return cases
    started = []
    for done, case in enumerate(cases, 1):
        started.append(with_start_of(case, automatic))
        _told(work, f"starts of {split}", done, len(cases))
    return started


def _started(cases: Sequence[TrainingCase], automatic: AutomaticSegmenter | None) -> tuple[TrainingCase, ...]:
    """With the automatic start where a record begins with nothing: it belonged to what was accepted then."""

    def is_empty(case: TrainingCase) -> bool:
        return case.start is None or not bool((case.start > MASK_THRESHOLD).any())

    return tuple(with_start_of(case, automatic) if automatic and is_empty(case) else case for case in cases)


def _learned_agent(
    material: Material, public: Sequence[TrainingCase], incumbent: Bundle, config: LearnConfig, work: Work
) -> ActorCritic:
    settings = incumbent.agent_settings
    before: ActorCritic = incumbent.refiner(precision="fp32").network
    if not config.updates:
        return before
    training = TrainingConfig(
        network=settings.network,
        policy=settings.policy,
        adjustments=settings.adjustments,
        hints=settings.hints,
        commands=settings.commands,
        locality=float(before.locality),
        learner=LearnerConfig(
            learning_rate=config.learning_rate, belief_first=config.belief_first, warmup_updates=10, averaging=0.95
        ),
        scenes=SceneConfig(automatic_share=0.9, corrupted_share=0.05, reader_share=0.0),
        updates=config.updates,
        batch=config.batch,
        pool=config.pool,
        generation=min(20, config.updates),
        validate_every=max(1, config.updates // 3),
        max_interactions=10,
        seed=config.seed,
        threads=1,
    )

    def validate(network: ActorCritic, policy: Policy) -> dict[str, float]:
        refiner = VoxelAgentRefiner(network, policy, hints=settings.hints, precision=fast_precision())
        found = curves(
            material.held_out,
            refiner,
            clicks=config.clicks,
            steps=settings.steps,
            progress=lambda done, total: _told(work, "validation", done, total),
        )
        mean = np.mean(found, axis=0)
        return {"auc": float(mean.mean()), **{f"dice_{click}": float(d) for click, d in enumerate(mean)}}

    agent = train(
        mixed(material.train, public, config.ptx_share),
        training,
        work.folder / "agent",
        validate=validate,
        progress=lambda update, updates, _: work.report("learning from accepted masks", update, updates),
        cancel=work.cancel,
        initial=before,
    )
    return agent.network


def _guided(
    network: ActorCritic, material: Material, incumbent: Bundle, config: LearnConfig, work: Work
) -> ActorCritic:
    """After the accepted masks: what was painted meanwhile. Twins choose among no adjustments, and learn none."""
    settings = incumbent.agent_settings
    policy = build_policy(settings.policy, settings.adjustments)
    if not material.strokes or not config.guidance_updates or not isinstance(policy, AdjustmentPolicy):
        return network
    guidance = GuidedConfig(
        updates=config.guidance_updates, learning_rate=config.guidance_learning_rate, seed=config.seed
    )
    return guided(network, policy, material.strokes, guidance, work, hints=settings.hints)


def _learned_start(
    material: Material, automatic: AutomaticSegmenter | None, config: LearnConfig, work: Work
) -> AutomaticSegmenter | None:
    """Learns from the records alone: it sees no click, so other masks of such images would contradict them. Where a
    person said that the target is not there, nothing is the answer.
    """
    if automatic is None or not config.start_updates:
        return automatic
    settings = replace(
        automatic.config, updates=config.start_updates, learning_rate=config.start_learning_rate, seed=config.seed
    )
    own = [case for case in material.train if np.allclose(case.spacing, settings.spacing, atol=SAME_GRID)]
    if not own:  # no record on the grid that this network works on
        if config.annotator:
            raise InputFileError(
                f"no accepted mask has the spacing {settings.spacing} mm of the automatic start, so there is nothing "
                f"to learn one for {config.annotator} from; use a model of that spacing"
            )
        return automatic
    samples = [
        Sample(
            centred(torch.from_numpy(case.image), settings.patch)[0],
            centred(torch.from_numpy(case.reference).float(), settings.patch)[0],
        )
        for case in (*own, *(c for c in material.absent if np.allclose(c.spacing, settings.spacing, atol=SAME_GRID)))
    ]
    return train_automatic(
        samples,
        settings,
        checkpoint=work.folder / "start.pt",
        checkpoint_every=20,
        progress=lambda stage, done, total: _told(work, "learning the automatic start", done, total),
        initial=automatic.network,
    )


def mixed(own: Sequence[TrainingCase], public: Sequence[TrainingCase], share: float) -> list[TrainingCase]:
    """`MIXED` places, `share` of them for the public cases, each in turn; the own ones alone where there are none."""
    theirs = round(MIXED * share) if public else 0
    ours = MIXED - theirs if public else len(own)
    return [*itertools.islice(itertools.cycle(own), ours), *itertools.islice(itertools.cycle(public), theirs)]


def _judged(
    material: Material,
    bundle: Bundle,
    incumbent: Bundle,
    dataset: Dataset | None,
    config: LearnConfig,
    work: Work,
    folder: Path,
) -> tuple[Result, Path, Path]:
    """Both play the held-out records and the public cases, each from its own start; then the rule of promotion."""
    folder.mkdir(exist_ok=True)

    def play(player: Bundle, cases: Sequence[TrainingCase], what: str) -> Result:
        refiner, automatic = player.refiner(), player.automatic() if config.start_updates else None
        own = [with_start_of(case, automatic) for case in cases] if automatic else cases
        return {
            "curves": curves(
                own, refiner, clicks=config.clicks, steps=player.steps, progress=partial(_told, work, what)
            )
        }

    public = _public(dataset, "val", config.benchmark_cases, incumbent.automatic() if dataset else None, work)
    found: dict[str, Figures] = {}
    for role, player in (("candidate", bundle), ("incumbent", incumbent)):
        games = work.job(f"games_{_weights(player)}", lambda p=player: play(p, material.held_out, "games"))  # type: ignore[misc]
        shown = work.job(
            f"benchmark_{_weights(player)}",
            lambda p=player: play(p, public, "public benchmark") if public else {"curves": []},  # type: ignore[misc]
        )
        rates = work.job(f"abstention_{_weights(player)}", lambda p=player: abstention(p, material))  # type: ignore[misc]
        found[role] = Figures(player, games["curves"], shown["curves"], rates["over"], rates["under"])
    return judge(found["candidate"], found["incumbent"], [case.id for case in material.held_out], folder)


def abstention(player: Bundle, material: Material) -> Result:
    """How often its automatic start goes wrong on held-out records: "over", empty where the target is, and "under", a
    mask where a person said that it is not. Rates come in pairs: both None where either has no case, or there is no
    start.
    """
    if not (material.absent_held_out and material.held_out and player.has_automatic):
        return {"over": None, "under": None, "present": len(material.held_out), "absent": len(material.absent_held_out)}
    automatic = player.automatic()

    def empty(case: TrainingCase) -> bool:
        start = with_start_of(case, automatic).start
        return start is None or not bool((start > MASK_THRESHOLD).any())

    over = [empty(case) for case in material.held_out]
    under = [not empty(case) for case in material.absent_held_out]
    return {"over": float(np.mean(over)), "under": float(np.mean(under)), "present": len(over), "absent": len(under)}


def _weights(bundle: Bundle) -> str:
    """The same for bundles that act alike, whatever their names and cards."""
    return "_".join(digest[:16] for name, digest in sorted(bundle.files.items()) if name.endswith(".safetensors"))


def _told(work: Work, stage: str, done: int, total: int) -> None:
    work.report(stage, done, total)
    work.stop_if_cancelled()


def summary(learned: Learned) -> dict[str, Any]:
    """What the command prints."""
    material = learned.material
    return {
        "bundle": learned.bundle.folder,
        "hash": learned.bundle.hash,
        "patients": {"train": material.patients[0], "held_out": material.patients[1]},
        "accepted_masks": {"train": len(material.train), "held_out": len(material.held_out)},
        "strokes": len(material.strokes),
        "absent": {"train": len(material.absent), "held_out": len(material.absent_held_out)},
        "sources": [asdict(source) for source in material.sources],
        "games": learned.games,
        "registry": learned.registry,
        "promotion": _plain(learned.verdict),
        "own": None
        if learned.own is None or learned.own_verdict is None
        else {"bundle": learned.own.folder, "hash": learned.own.hash, "verdict": _plain(learned.own_verdict)},
    }


def _plain(verdict: Result) -> dict[str, Any]:
    return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in verdict.items()}
