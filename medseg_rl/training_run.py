"""From a folder of labelled cases to a bundle: automatic starts out of fold, the agents, their validation, the folder.

Everything lies in one run folder and is taken up again there, whatever stopped the run. The loop is in `training`.
Of several processes the first makes what is made once (starts, validation, bundle) while the others wait.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from medseg_rl.agent.learner import fast_precision
from medseg_rl.agent.networks import ActorCritic
from medseg_rl.agent.policy import Policy
from medseg_rl.agent.ranks import Ranks
from medseg_rl.agent.refine import VoxelAgentRefiner
from medseg_rl.automatic.segmenter import AutomaticConfig
from medseg_rl.automatic.starts import WHOLE_SPLIT, Starts, fold_network, load_starts, out_of_fold_starts
from medseg_rl.bundle import AgentSettings, Bundle, BundleCard, TrainingData, load_bundle, save_bundle
from medseg_rl.dataset import WHOLE, Dataset, Target, keep_drawn_split, target_name
from medseg_rl.errors import BundleError, Cancelled, InputFileError
from medseg_rl.evaluation import Plan, load_evaluation_cases, validation_curve
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.refiner import never_cancelled
from medseg_rl.training import ALONE, TrainedAgent, TrainingConfig, Validate, train
from medseg_rl.training_cases import load_training_cases
from medseg_rl.training_checkpoint import config_hash
from medseg_rl.training_scenes import TrainingCase

RECORD = "run.json"  # written last; its lock keeps a second process out of the folder
STEPS = 3  # refinement steps a click of the finished agent, as trained with
OLDER = dict.fromkeys(("config", "target", "split_hash", "data"))  # a claim lacks none of these
TIMED = "latency_ms"  # not in the bundle: the same run gives the same bundle, to the byte

Stage = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ValidationConfig:
    """How weights are chosen: the first `cases` of the validation split, `clicks` each, primary robot, start A."""

    cases: int = 12
    clicks: int = 20


@dataclass(frozen=True)
class RunConfig:
    """Everything a run is configured by."""

    training: TrainingConfig = field(default_factory=TrainingConfig)
    automatic: AutomaticConfig = field(default_factory=AutomaticConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)


def train_on(
    dataset: Dataset,
    config: RunConfig,
    folder: Path,
    *,
    target: Target = WHOLE,
    name: str | None = None,
    progress: Stage = lambda stage, done, total: None,
    cancel: Callable[[], bool] = never_cancelled,
    ranks: Ranks = ALONE,
) -> Bundle:
    """Trains in `folder`, or goes on there, and writes the bundle `name` below it. The test split is never opened.

    `progress` gets the stage, what is done of it, and its length. Raises `Cancelled` (all that was finished stays),
    `BundleError` when the folder belongs to a run of another config, `OutputError` when another process trains there.
    """
    name = name or f"{dataset.name.lower().replace(' ', '_')}_{target_name(target).replace('+', '_')}"
    if not dataset.cases("val", target):
        raise InputFileError(f"{dataset.folder} has no validation case, and weights are chosen there; add some")

    stage = stage_of(progress, cancel)
    torch.set_num_threads(config.training.threads)  # of all stages: sums depend on it in their last digits
    if not ranks.is_first:
        return _take_part(dataset, config, folder, target, name, stage, cancel, ranks)
    folder.mkdir(parents=True, exist_ok=True)
    claim_folder(folder, _identity(dataset, target), config)
    with atomic_path(folder / RECORD) as record:
        keep_drawn_split(folder, dataset)
        starts = out_of_fold_starts(dataset, config.automatic, folder / "starts", target=target, progress=stage)
        ranks.wait()
        cases = load_training_cases(
            dataset, "train", target=target, starts=starts, progress=lambda done, total: stage("reading", done, total)
        )
        agent = train(
            cases,
            config.training,
            folder,
            validate=_validation(dataset, config, target, starts, stage),
            progress=lambda update, updates, logged: progress("training the agents", update, updates),
            cancel=cancel,
            ranks=ranks,
        )
        automatic = fold_network(dataset, config.automatic, folder / "starts", WHOLE_SPLIT, target=target)
        bundle = save_bundle(
            folder / "bundle" / name,
            _card(name, dataset, target, cases, agent),
            agent=agent.network,
            agent_settings=_settings(agent),
            automatic=automatic,
            overwrite=True,
        )
        record.write_text(json.dumps(_record(dataset, config, target, starts, agent, bundle), indent=2) + "\n")
    ranks.wait()
    return bundle


def _take_part(
    dataset: Dataset,
    config: RunConfig,
    folder: Path,
    target: Target,
    name: str,
    stage: Stage,
    cancel: Callable[[], bool],
    ranks: Ranks,
) -> Bundle:
    """What a process that is not the first does: it trains along, writes nothing, and reads the bundle at the end."""
    ranks.wait()
    starts = load_starts(folder / "starts")
    cases = load_training_cases(
        dataset, "train", target=target, starts=starts, progress=lambda done, total: stage("reading", done, total)
    )
    train(cases, config.training, folder, validate=lambda network, policy: {}, cancel=cancel, ranks=ranks)
    ranks.wait()
    return load_bundle(folder / "bundle" / name)


def stage_of(progress: Stage, cancel: Callable[[], bool]) -> Stage:
    """`progress` that raises `Cancelled` where `cancel` answers True."""

    def stage(what: str, done: int, total: int) -> None:
        progress(what, done, total)
        if cancel():
            raise Cancelled(f"stopped during {what}; the same command goes on from what was finished")

    return stage


def _identity(dataset: Dataset, target: Target) -> dict[str, Any]:
    return {
        "target": target_name(target),
        "split_hash": dataset.split_hash,
        "data": dataset.name,
        "data_hash": dataset.data_hash,
    }


def claim_folder(folder: Path, identity: dict[str, Any], config: Any) -> None:
    """Writes what the folder belongs to, or refuses it where that is something else."""
    identity = {"config": config_hash(config), **identity}
    path = folder / "claim.json"
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BundleError(f"{path} is corrupted ({error}); choose another folder") from error
        differing = [key for key, value in identity.items() if before.get(key, OLDER.get(key, value)) != value]
        if differing:
            raise BundleError(
                f"{folder} belongs to a run of another {differing[0]}; choose another folder or delete it"
            )
    else:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")


def _validation(dataset: Dataset, config: RunConfig, target: Target, starts: Starts, stage: Stage) -> Validate:
    chosen = config.validation
    cases = load_evaluation_cases(dataset, "val", target=target, kind="A", starts=starts, limit=chosen.cases)

    def validate(network: ActorCritic, policy: Policy) -> dict[str, float]:
        network = copy.deepcopy(network).cpu()  # the session gives plain arrays
        refiner = VoxelAgentRefiner(network, policy, hints=config.training.hints, precision=fast_precision())
        return validation_curve(
            cases,
            refiner,
            n_clicks=chosen.clicks,
            plan=Plan(steps=_steps(config.training)),
            progress=lambda done, total: stage("validation", done, total),
        )

    return validate


def _steps(config: TrainingConfig) -> int:
    return 1 if config.binary_state else STEPS


def _settings(agent: TrainedAgent) -> AgentSettings:
    config = agent.config
    return AgentSettings(
        network=config.network,
        policy=config.policy,
        adjustments=config.adjustments,
        channels=agent.network.channels,
        hints=config.hints,
        commands=config.commands,
        steps=_steps(config),
    )


def _card(name: str, dataset: Dataset, target: Target, cases: list[TrainingCase], agent: TrainedAgent) -> BundleCard:
    modality = next((case.modality for case in dataset.cases("train", target) if case.modality), None)
    spacings = [length for case in cases for length in case.spacing]
    figures = {f"validation_{key}": round(value, 4) for key, value in agent.best.items() if key != TIMED}
    targets = [text for value, text in dataset.labels.items() if value and (target == WHOLE or value in target)]
    lines = [
        f"# {name}",
        "",
        f"Voxel agents and an automatic start for {' + '.join(targets) or dataset.name}, {modality or 'any modality'}. "
        "For research, not for diagnosis or treatment.",
        "",
        "## Data and licence",
        "",
        f"Trained on {len(cases)} volumes of {dataset.name} ({dataset.licence}). "
        f"The terms of the data go with the weights. Please cite: {dataset.reference or 'its makers'}.",
        "",
        "## Figures on the validation split",
        "",
        "Weights were chosen on these cases, so the figures flatter; one training run, one seed.",
        "",
        *(f"- {key.removeprefix('validation_')}: {value}" for key, value in figures.items()),
        "",
        "## Limits",
        "",
        f"Voxels of {min(spacings):.2f} to {max(spacings):.2f} mm and crops of the size of the training volumes. "
        "Other scanners, other structures, whole scans and disease that the data do not show were not tried. "
        "Clicks were simulated.",
        "",
    ]
    return BundleCard(
        name=name,
        version="0.1.0",
        description=f"Interactive refinement of {', '.join(targets) or dataset.name}",
        model_card="\n".join(lines),
        licence=f"Weights trained on {dataset.name}: {dataset.licence}.\n",
        licence_name=dataset.licence,
        modalities=(modality,) if modality else (),
        spacing_range_mm=(min(spacings), max(spacings)),
        targets=tuple(targets),
        training_data=(
            TrainingData(dataset.name, dataset.licence, dataset.reference, dataset.data_hash, dataset.split_hash),
        ),
        metrics=figures,
    )


def _record(
    dataset: Dataset, config: RunConfig, target: Target, starts: Starts, agent: TrainedAgent, bundle: Bundle
) -> dict[str, Any]:
    return {
        "config": asdict(config),
        "target": target_name(target),
        "data_hash": dataset.data_hash,
        "split_hash": dataset.split_hash,
        "start_hash": starts.start_hash,
        "best": agent.best,
        "bundle": str(bundle.folder.relative_to(bundle.folder.parents[1])),
        "bundle_hash": bundle.hash,
    }
