"""Trains the voxel agents. START HERE: `train` is the loop, in the order of the paper.

Everything random is drawn from the seed and the number of the generation (a stretch of updates between two
checkpoints), so a run that was killed goes on from its last checkpoint to the same weights. Of several processes each
has episodes of its own, by its rank; gradients are averaged, so that all hold the same weights.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from medseg_rl.agent.learner import Learner, LearnerConfig, Precision, fast_precision, run_network
from medseg_rl.agent.networks import BINARY_CHANNELS, PRODUCT_NETWORKS, ActorCritic, build_network
from medseg_rl.agent.policy import AdjustmentPolicy, TwinPolicy, build_policy
from medseg_rl.agent.ranks import Ranks
from medseg_rl.agent.rollout import collect_rollout
from medseg_rl.environment.actions import FINE_ADJUSTMENTS
from medseg_rl.environment.episode import Episode
from medseg_rl.errors import Cancelled
from medseg_rl.hints.clicks import Click
from medseg_rl.hints.maps import HintConfig
from medseg_rl.hints.robots import training_clicks
from medseg_rl.refiner import never_cancelled
from medseg_rl.training_checkpoint import load_checkpoint, save_checkpoint
from medseg_rl.training_scenes import SceneConfig, TrainingCase, draw_scene


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that shapes a run. The defaults are the product's; `updates` sets its length.

    `policy`: "adjustment" (voxel agents), "twin_a" or "twin_b" (supervised controls). `steps_choices`: refinement
    steps of an interaction, one drawn an update. `max_interactions`: an episode ends after 1..that many, more often
    early. `one_click_share` of the interactions bring one click, the others `min_clicks`..`max_clicks`; a first
    interaction on a mask brings none with `zero_click_share`, a later one with `later_zero_click_share`. `window`: how
    many voxels of a region the network is shown, around the newest click. `bootstrap`: the critic stands for the return
    after the last step of an update. `locality`: how far from its voxel a click is heard, see `ActorCritic` (0:
    everywhere). `adjustments`: finer than the published.
    `binary_state`: the network is shown the mask, not the probability, and is to be asked once an interaction: for
    comparators, with a network that has no belief. `channels`: what else than the network's own default it is shown.
    `pool` episodes live side by side; every update advances `batch` of them by `interactions_per_update`.
    """

    network: str = "pyramid"
    policy: str = "adjustment"
    adjustments: tuple[int, ...] = FINE_ADJUSTMENTS
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    scenes: SceneConfig = field(default_factory=SceneConfig)
    hints: HintConfig = field(default_factory=HintConfig)
    updates: int = 2000
    batch: int = 16
    pool: int = 48
    interactions_per_update: int = 1
    steps_choices: tuple[int, ...] = (2, 3, 3)
    max_interactions: int = 20
    one_click_share: float = 0.85
    max_clicks: int = 5
    zero_click_share: float = 0.1
    window: tuple[int, int, int] = (24, 28, 24)
    bootstrap: bool = False
    locality: float = 4.0
    commands: int = 0
    generation: int = 50
    validate_every: int = 200
    seed: int = 0
    threads: int = 2
    precision: str = "auto"
    min_clicks: int = field(default=2, metadata={"added_later": True})
    later_zero_click_share: float = field(default=0.0, metadata={"added_later": True})
    binary_state: bool = field(default=False, metadata={"added_later": True})
    channels: tuple[str, ...] = field(default=(), metadata={"added_later": True})

    def __post_init__(self) -> None:
        if not 1 <= self.min_clicks <= max(2, self.max_clicks):
            raise ValueError(f"min_clicks {self.min_clicks} must lie in 1..max_clicks, which is {self.max_clicks}")
        if self.binary_state and self.network in PRODUCT_NETWORKS:
            raise ValueError(f"binary_state needs a network that reads the state: not {self.network}, but iso or small")


@dataclass(frozen=True, eq=False)
class TrainedAgent:
    """What a run ends with: the network of the best validation, and what validation said of it."""

    network: ActorCritic
    policy: AdjustmentPolicy | TwinPolicy
    config: TrainingConfig
    best: dict[str, float]


ALONE = Ranks()
Validate = Callable[[ActorCritic, AdjustmentPolicy | TwinPolicy], dict[str, float]]
Progress = Callable[[int, int, dict[str, float]], None]


def train(
    cases: Sequence[TrainingCase],
    config: TrainingConfig,
    folder: Path,
    *,
    validate: Validate,
    progress: Progress = lambda update, updates, logged: None,
    cancel: Callable[[], bool] = never_cancelled,
    initial: ActorCritic | None = None,
    ranks: Ranks = ALONE,
) -> TrainedAgent:
    """Trains in `folder`, or goes on where a run with the same config was stopped there. `initial`: a network to begin
    with, left as it is, in place of one with drawn weights.

    `validate` answers with "auc" (the figure the best weights are chosen by) and whatever else is to be logged. The
    first of `ranks` alone validates, logs, writes and knows the best weights; all share `folder`.
    Raises `Cancelled` (the last checkpoint stays), `BundleError` on a corrupted checkpoint or one of another config.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    policy = build_policy(config.policy, config.adjustments)
    network = (copy.deepcopy(initial) or untrained_network(config, policy)).to(ranks.device)
    precision = _precision(config.precision, ranks.device)
    spacing = cases[0].spacing
    learner = Learner(network, policy, config.learner, precision=precision, ranks=ranks)
    run = load_checkpoint(folder, learner, config)
    ranks.check_same(run.update, "update")
    with _writer(folder, run.update, ranks) as writer:
        while run.update < config.updates:
            pool = EpisodePool(cases, config, _rng(config.seed, run.update, ranks))
            generator = torch.Generator(ranks.device).manual_seed(_seed(config.seed, run.update, ranks))
            torch.manual_seed(_seed(config.seed, run.update, ranks))  # of dropout, in nets that have it
            for update in range(run.update, min(run.update + config.generation, config.updates)):
                if ranks.any(cancel()):
                    raise Cancelled(f"training stopped at update {update}; the same command goes on from {run.update}")
                started, elapsed = time.perf_counter(), update / config.updates
                rollout = collect_rollout(
                    network,
                    learner.acting(elapsed),
                    pool.take(),
                    clicks=pool.clicks,
                    interactions=config.interactions_per_update,
                    steps=1 if learner.believes(elapsed) else pool.draw_steps(),
                    generator=generator,
                    forward=partial(run_network, precision=precision, spacing=spacing),
                    window=config.window,
                    bootstrap=config.bootstrap,
                )
                logged = learner.update(rollout, progress=elapsed, spacing=spacing)
                logged["seconds"] = time.perf_counter() - started
                _log(writer, "train", logged, update)
                progress(update + 1, config.updates, logged)
            run = run.advanced(update + 1)
            due = run.update % config.validate_every < config.generation or run.update == config.updates
            if due and ranks.is_first:
                figures = validate(learner.average, policy)
                _log(writer, "validation", figures, run.update)
                progress(run.update, config.updates, figures)
                run = run.judged(figures, learner.average)
            if ranks.is_first:
                save_checkpoint(folder, run, learner, config)
            ranks.wait()
    network.load_state_dict(run.best_weights or learner.average.state_dict())
    return TrainedAgent(network.cpu().eval(), policy, config, run.best)


def untrained_network(config: TrainingConfig, policy: AdjustmentPolicy | TwinPolicy) -> ActorCritic:
    """What a run begins with that nothing else is given, drawn from torch's random numbers."""
    shown = BINARY_CHANNELS if config.binary_state else config.channels
    seen = {"channels": shown} if shown else {}
    network = build_network(config.network, actions=policy.outputs, commands=config.commands, **seen)
    network.locality.fill_(config.locality)
    return network


class EpisodePool:
    """Live episodes of one generation at every stage of their click budget, and the simulated user who clicks."""

    def __init__(self, cases: Sequence[TrainingCase], config: TrainingConfig, rng: np.random.Generator) -> None:
        self._cases, self._config, self._rng = cases, config, rng
        self._episodes = [self._fresh() for _ in range(config.pool)]

    def take(self) -> list[Episode]:
        """`batch` different episodes; those that have used up their interactions are replaced first."""
        chosen = self._rng.choice(len(self._episodes), self._config.batch, replace=False)
        for place in chosen:
            if self._episodes[place][0].interactions >= self._episodes[place][1]:
                self._episodes[place] = self._fresh()
        return [self._episodes[place][0] for place in chosen]

    def draw_steps(self) -> int:
        """Refinement steps of this update's interactions."""
        return int(self._rng.choice(self._config.steps_choices))

    def clicks(self, episode: Episode) -> list[Click]:
        """What the simulated user clicks next in `episode`."""
        config, rng = self._config, self._rng
        share = config.later_zero_click_share if episode.interactions else config.zero_click_share
        if share and episode.mask.any() and rng.random() < share:
            return []
        count = (
            1 if rng.random() < config.one_click_share else int(rng.integers(config.min_clicks, config.max_clicks + 1))
        )
        scene = episode.scene
        return training_clicks(scene.reference, episode.mask, episode.clicks, scene.spacing, count, rng)

    def _fresh(self) -> tuple[Episode, int]:
        scene = draw_scene(self._cases, self._config.scenes, self._rng)
        budget = 1 + int(self._config.max_interactions * self._rng.random() ** 2)  # the first clicks decide most
        return Episode(scene, hints=self._config.hints), budget


def _rng(seed: int, update: int, ranks: Ranks) -> np.random.Generator:
    return np.random.default_rng([seed, update, ranks.rank] if ranks.rank else [seed, update])


def _seed(seed: int, update: int, ranks: Ranks) -> int:
    return seed * 1_000_003 + update + 7_368_787 * ranks.rank


def _writer(folder: Path, update: int, ranks: Ranks) -> AbstractContextManager[SummaryWriter | None]:
    return SummaryWriter(str(folder / "tensorboard"), purge_step=update) if ranks.is_first else nullcontext()


def _precision(wanted: str, device: torch.device) -> Precision:
    if wanted == "auto":
        return fast_precision(device)
    return "bf16" if wanted == "bf16" else "fp32"


def _log(writer: SummaryWriter | None, kind: str, figures: dict[str, Any], update: int) -> None:
    if writer is None:
        return
    for name, value in figures.items():
        writer.add_scalar(f"{kind}/{name}", value, update)
