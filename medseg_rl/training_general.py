"""From several sets of labelled cases and synthetic volumes to a bundle for any structure: voxel agents alone.

There is no automatic start for what nobody named. Everything lies in one run folder, as in `training_run`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg_rl.agent.learner import fast_precision
from medseg_rl.agent.networks import GENERAL_CHANNELS, ActorCritic, with_channels
from medseg_rl.agent.policy import Policy, build_policy
from medseg_rl.agent.ranks import Ranks
from medseg_rl.agent.refine import VoxelAgentRefiner
from medseg_rl.bundle import AgentSettings, Bundle, BundleCard, TrainingData, load_bundle, save_bundle
from medseg_rl.dataset import WHOLE, Dataset, Target, hash_lines
from medseg_rl.evaluation import Plan, load_evaluation_cases, validation_curve
from medseg_rl.evaluation.cases import StartKind
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.refiner import never_cancelled
from medseg_rl.training import ALONE, TrainedAgent, TrainingConfig, Validate, train, untrained_network
from medseg_rl.training_mixture import LabelledVolume, Mixture, MixtureConfig, labelled_volumes
from medseg_rl.training_run import RECORD, STEPS, Stage, claim_folder, stage_of
from medseg_rl.training_scenes import SceneConfig

VIEW_VOXELS = 41  # a little more than the window of training: what is seen of the surroundings does no harm
STARTS: tuple[StartKind, ...] = ("B", "C")  # empty, and a mask to be corrected


def _general_training() -> TrainingConfig:
    scenes = SceneConfig(
        automatic_share=0.4, corrupted_share=0.1, crop_voxels=(64, 64, 64), reader_share=0.1, warp_share=0.2
    )
    return TrainingConfig(
        scenes=scenes,
        window=(32, 32, 32),
        batch=12,
        zero_click_share=0.2,
        later_zero_click_share=0.1,
        updates=5000,
        validate_every=500,
        channels=GENERAL_CHANNELS,
    )


@dataclass(frozen=True)
class GeneralConfig:
    """Everything a run is configured by. Weights are chosen on `validation_cases` of each set's validation split, with
    `validation_clicks` each, from an empty and from a corrupted start, in the region that the product would choose.
    """

    training: TrainingConfig = field(default_factory=_general_training)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    validation_cases: int = 4
    validation_clicks: int = 6


def train_general(
    datasets: Sequence[Dataset],
    config: GeneralConfig,
    folder: Path,
    *,
    name: str = "general",
    initial: Bundle | None = None,
    progress: Stage = lambda stage, done, total: None,
    cancel: Callable[[], bool] = never_cancelled,
    ranks: Ranks = ALONE,
) -> Bundle:
    """Trains in `folder`, or goes on there, and writes the bundle `name` below it. No test split is opened.

    Of a set with several labels each is a target of its own, and so is their union. `initial`: agents whose weights to
    begin with; channels that they were not shown begin without a say. Raises as `train_on` does, and ValueError where
    `initial` is of another kind of network.
    """
    stage = stage_of(progress, cancel)
    torch.set_num_threads(config.training.threads)
    network = None if initial is None else _begun(initial, config.training)
    if not ranks.is_first:
        ranks.wait()
        train(
            _mixture(datasets, config, stage),
            config.training,
            folder,
            validate=_nothing,
            cancel=cancel,
            initial=network,
            ranks=ranks,
        )
        ranks.wait()
        return load_bundle(folder / "bundle" / name)
    folder.mkdir(parents=True, exist_ok=True)
    identity = _identity(datasets) | ({} if initial is None else {"initial": initial.hash})
    claim_folder(folder, identity, config)
    with atomic_path(folder / RECORD) as record:
        ranks.wait()
        agent = train(
            _mixture(datasets, config, stage),
            config.training,
            folder,
            validate=_validation(datasets, config, stage),
            progress=lambda update, updates, logged: progress("training the agents", update, updates),
            cancel=cancel,
            initial=network,
            ranks=ranks,
        )
        bundle = save_bundle(
            folder / "bundle" / name,
            _card(name, datasets, agent),
            agent=agent.network,
            agent_settings=_settings(agent),
            overwrite=True,
        )
        about = {"config": asdict(config), **identity, "best": agent.best, "bundle_hash": bundle.hash}
        record.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    ranks.wait()
    return bundle


def _begun(initial: Bundle, config: TrainingConfig) -> ActorCritic:
    """The network of a bundle, with the channels that this run shows."""
    return with_channels(
        initial.refiner().network, untrained_network(config, build_policy(config.policy, config.adjustments))
    )


def _nothing(network: ActorCritic, policy: Policy) -> dict[str, float]:
    return {}


def _identity(datasets: Sequence[Dataset]) -> dict[str, Any]:
    return {
        "data": [dataset.name for dataset in datasets],
        "data_hash": hash_lines(dataset.data_hash for dataset in datasets),
        "split_hash": hash_lines(dataset.split_hash for dataset in datasets),
    }


def _mixture(datasets: Sequence[Dataset], config: GeneralConfig, stage: Stage) -> Mixture:
    def volumes(dataset: Dataset, target: Target) -> list[LabelledVolume]:
        def told(done: int, total: int) -> None:
            stage(f"reading {dataset.name}", done, total)

        return labelled_volumes(dataset, "train", target, config.mixture, told)

    sets = [[volumes(dataset, target) for target in _targets(dataset)] for dataset in datasets]
    return Mixture(sets, config.mixture, config.training.seed)


def _targets(dataset: Dataset) -> list[Target]:
    """The union of all labels and, where there are several, each of them, as far as a training case has it."""
    values = sorted(value for value in dataset.labels if value > 0)
    each: list[Target] = [(value,) for value in values] if len(values) > 1 else []
    return [target for target in (WHOLE, *each) if dataset.cases("train", target)]


def _validation(datasets: Sequence[Dataset], config: GeneralConfig, stage: Stage) -> Validate:
    groups = {
        f"{dataset.folder.name}_{kind}": load_evaluation_cases(dataset, "val", kind=kind, limit=config.validation_cases)
        for dataset in datasets
        for kind in STARTS
    }

    def validate(network: ActorCritic, policy: Policy) -> dict[str, float]:
        refiner = VoxelAgentRefiner(
            copy.deepcopy(network).cpu(),
            policy,
            hints=config.training.hints,
            precision=fast_precision(),
            view_voxels=VIEW_VOXELS,
        )
        plan, clicks = Plan(steps=STEPS, roi="product"), config.validation_clicks
        found: dict[str, Mapping[str, float]] = {}
        for done, (group, cases) in enumerate(groups.items(), 1):
            found[group] = validation_curve(cases, refiner, n_clicks=clicks, plan=plan)
            stage("validation", done, len(groups))
        return _summary(found)

    return validate


def _summary(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """ "auc" and the share of lowering clicks in the mean over the groups, and the AUC of each."""
    figures = {name: float(np.mean([group[name] for group in found.values()])) for name in ("auc", "lowering")}
    return {**figures, **{f"auc_{group}": curve["auc"] for group, curve in found.items()}}


def _settings(agent: TrainedAgent) -> AgentSettings:
    config = agent.config
    return AgentSettings(
        network=config.network,
        policy=config.policy,
        adjustments=config.adjustments,
        channels=agent.network.channels,
        hints=config.hints,
        commands=config.commands,
        steps=STEPS,
        view_voxels=VIEW_VOXELS,
    )


def _card(name: str, datasets: Sequence[Dataset], agent: TrainedAgent) -> BundleCard:
    figures = {f"validation_{key}": round(value, 4) for key, value in agent.best.items()}
    sets = [f"{dataset.name} ({len(dataset.cases('train'))} volumes, {dataset.licence})" for dataset in datasets]
    lines = [
        f"# {name}",
        "",
        "Voxel agents for any structure that clicks or a given mask define, in CT, MR or PET. There is no automatic "
        "start: begin with a click inside the structure, or with a mask to be corrected. "
        "For research, not for diagnosis or treatment.",
        "",
        "## Data and licence",
        "",
        "Trained on synthetic volumes with random shapes, contrasts, resolutions and noise, and on the training splits "
        "of " + "; ".join(sets) + ". The terms of the data go with the weights. Please cite:",
        "",
        *(f"- {dataset.name}: {dataset.reference or 'its makers'}." for dataset in datasets),
        "",
        "## Figures on the validation splits",
        "",
        "Weights were chosen on these cases, so the figures flatter; one training run, one seed. "
        "B: from an empty start, C: from a corrupted reference.",
        "",
        *(f"- {key.removeprefix('validation_')}: {value}" for key, value in figures.items()),
        "",
        "## Limits",
        "",
        "Real volumes show one brain structure and soft-tissue tumours only; how it does on other structures is a "
        "matter of measurement, see the tables. Clicks were simulated.",
        "",
    ]
    return BundleCard(
        name=name,
        version="0.1.0",
        description="Interactive refinement of any structure",
        model_card="\n".join(lines),
        licence="".join(f"Weights trained on {dataset.name}: {dataset.licence}.\n" for dataset in datasets),
        licence_name=", ".join(dict.fromkeys(dataset.licence for dataset in datasets)) or "Apache-2.0",
        training_data=tuple(
            TrainingData(dataset.name, dataset.licence, dataset.reference, dataset.data_hash, dataset.split_hash)
            for dataset in datasets
        ),
        metrics=figures,
    )
