"""InstructGPT's three steps on the product: shipped policy, reward model from rankings, PPO and PPO-ptx against it.

A seeded synthetic clinician ranks 4 to 9 candidates by a utility that the reward model never sees. Cases for rankings
and for PPO are of the training split, judged are cases of the validation split: one half selects, the other reports.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from medseg_rl import metrics
from medseg_rl.agent.draws import smooth_draw
from medseg_rl.agent.policy import AdjustmentPolicy
from medseg_rl.bundle import load_bundle
from medseg_rl.config import with_changes
from medseg_rl.dataset import DATA_VARIABLE, find_dataset, load_dataset
from medseg_rl.environment.episode import Episode
from medseg_rl.errors import InputFileError
from medseg_rl.hints.maps import HintConfig
from medseg_rl.recipes.recipe import Result, Work, seed_of
from medseg_rl.recipes.refinement.labelled import Labelled, few_seeds, labelled_cases, normalised, phantom_cases
from medseg_rl.recipes.refinement.playing import with_start_of
from medseg_rl.recipes.refinement.voxel_policy import VoxelPolicy, masks_of, prompts_of, rolled_out
from medseg_rl.recipes.report import Cell, Curve, Report
from medseg_rl.rlhf.config import RewardConfig, voxel
from medseg_rl.rlhf.intervals import wilson
from medseg_rl.rlhf.overoptimisation import Point, gold_peak
from medseg_rl.rlhf.ppo import PPOTrainer
from medseg_rl.rlhf.preferences import simulated_ranks
from medseg_rl.rlhf.reward_model import RankedPrompt, RewardModelTrainer, telescoped
from medseg_rl.rlhf.rollout import Rollout, Term
from medseg_rl.synthetic import corrupt_mask

SUMMARY = "InstructGPT's three steps on the product: rankings, reward model, PPO and PPO-ptx of the voxel agents"
DRAW = 0.005  # of utility: less is no preference
GAIN = 100.0  # candidates differ in less than a hundredth of a crop's voxels, and the score is the mean over all


@dataclass(frozen=True)
class Settings:
    """`ranked`, `practised`: training cases that are ranked and that PPO plays; `judged`: validation cases, halved.

    `temperature`: of the clinician's choice (Plackett-Luce). `side`: crop in voxels along each axis.
    """

    seeds: int = 3
    ranked: int = 60
    practised: int = 40
    judged: int = 28
    epochs: int = 4
    iterations: int = 60
    batch: int = 4
    steps: int = 3
    every: int = 10
    temperature: float = 0.002
    kl_coef: float = 0.05
    ptx_coef: float = 1.0
    learning_rate: float = 1e-4
    reward_learning_rate: float = 2e-3
    width: int = 32
    height: int = 48
    depth: int = 32
    data: str | None = None
    dataset: str = "hippocampus"


SMOKE = Settings(
    seeds=1, ranked=3, practised=2, judged=2, epochs=1, iterations=2, batch=2, steps=2, every=1,
    width=16, height=16, depth=16,
)  # fmt: skip


class MapReward(nn.Module):
    """A reward of every voxel whose mean is the score, from the features of the supervised trunk and a mask."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Conv3d(width + 3, 16, 3, padding=1), nn.LeakyReLU(0.01), nn.Conv3d(16, 16, 3, padding=1),
            nn.LeakyReLU(0.01), nn.Conv3d(16, 1, 1),
        )  # fmt: skip

    def score(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Maps (n, x, y, z). `features` (n, width, x, y, z), `start` and `mask` (n, x, y, z)."""
        start, mask = inputs["start"], inputs["mask"].float()
        joined = torch.cat([inputs["features"], torch.stack([start, mask, mask - (start > 0.5).float()], 1)], 1)
        found: Tensor = GAIN * self.head(joined)[:, 0]
        return found


@dataclass(frozen=True, eq=False)
class Bench:
    """Networks and prompts that all jobs share."""

    work: Work
    settings: Settings
    supervised: VoxelPolicy
    ranked: Sequence[Episode]
    practised: Sequence[Episode]
    judged: Sequence[Episode]
    source: str


def utility(mask: np.ndarray[Any, Any], episode: Episode) -> float:
    """What the clinician wants: Dice + 0.5 NSD (1 mm) - 0.05 for each island beyond the first."""
    islands = max(0, int(ndimage.label(mask)[1]) - 1)
    return metrics.dice(mask, episode.scene.reference) + 0.5 * _nsd(mask, episode) - 0.05 * islands


def _nsd(mask: np.ndarray[Any, Any], episode: Episode) -> float:
    if not mask.any():
        return 0.0
    return metrics.nsd(mask, episode.scene.reference, episode.scene.spacing, tolerance_mm=1.0)


def run(work: Work) -> Report:
    """Reward model, PPO and PPO-ptx for every seed. Raises Cancelled; what was finished is kept."""
    settings = with_changes(SMOKE if work.smoke else Settings(), work.changes)
    settings = dataclasses.replace(settings, seeds=work.seeds or settings.seeds)
    torch.set_num_threads(1)
    bench = _bench(settings, work)
    work.open(dataclasses.asdict(settings) | {"seeds": None, "data": bench.source, "smoke": work.smoke})
    seeds = range(settings.seeds)
    models = work.jobs("reward model", {f"rm_{s}": functools.partial(_reward_model, bench, s) for s in seeds})
    arms = {
        f"{arm}_{s}": functools.partial(_tuned, bench, s, settings.ptx_coef if arm == "PPO-ptx" else 0.0)
        for s in seeds
        for arm in ("PPO", "PPO-ptx")
    }
    return _reported(bench, models, work.jobs("PPO", arms))


def _bench(settings: Settings, work: Work) -> Bench:
    bundle = load_bundle(automatic=True)
    network = bundle.refiner(precision="fp32").network
    policy = AdjustmentPolicy(bundle.agent_settings.adjustments)
    train: Sequence[Labelled]
    if work.smoke:
        train, new, source = phantom_cases(5, 0), phantom_cases(settings.judged, 100), "phantoms"
    else:
        folder = settings.data or os.environ.get(DATA_VARIABLE)
        if not folder:
            raise InputFileError(f'rankings need labelled cases: set {DATA_VARIABLE}, or --set data="FOLDER"')
        dataset = load_dataset(find_dataset(Path(folder), settings.dataset))
        train, new = labelled_cases(dataset.cases("train")), labelled_cases(dataset.cases("val")[: settings.judged])
        source = f"{dataset.name}, data {dataset.data_hash[:16]}"
    automatic, crop = bundle.automatic(), (settings.width, settings.height, settings.depth)
    hints: HintConfig = bundle.agent_settings.hints

    def prompts(cases: Sequence[Labelled]) -> list[Episode]:
        return prompts_of([with_start_of(normalised(case), automatic) for case in cases], crop, hints)

    last = settings.ranked + settings.practised
    return Bench(
        work, settings, VoxelPolicy(network.requires_grad_(False), policy), prompts(train[: settings.ranked]),
        prompts(train[settings.ranked : last]), prompts(new), source,
    )  # fmt: skip


# --- step 2: the reward model ---------------------------------------------------------------------------------------


def _features(bench: Bench, episodes: Sequence[Episode]) -> Tensor:
    """Of the supervised trunk, which stays as it is (n, width, x, y, z)."""
    network = bench.supervised.network
    seen = torch.from_numpy(np.stack([e.observation(network.channels) for e in episodes]))
    with torch.no_grad():
        return network.features(seen)


@torch.no_grad()
def _candidates(
    bench: Bench, episode: Episode, count: int, rng: np.random.Generator, *, edited: bool
) -> list[np.ndarray[Any, Any]]:
    """The greedy one and draws of the policy with noise alike among neighbours; a wrong edit of the label among them
    where `edited`: to train with, never to judge by.
    """
    found = [corrupt_mask(episode.scene.reference, episode.scene.spacing, rng)] if edited else []
    network, policy = bench.supervised.network, bench.supervised.policy
    features, fixed = _features(bench, [episode]), torch.from_numpy(episode.fixed_voxels)
    for number in range(count - len(found)):
        percent = torch.from_numpy(episode.percent[None].copy())
        noise = smooth_draw(percent.shape[1:], episode.scene.spacing, int(rng.integers(2**31)))  # type: ignore[arg-type]
        for _ in range(bench.settings.steps):
            kept, episode.percent = episode.percent, percent[0].numpy()
            seen = torch.from_numpy(episode.observation(network.channels)[None])
            episode.percent = kept
            heads = network.heads(features, seen)
            decision = policy.greedy(heads, percent) if number == 0 else policy.drawn(
                heads, percent, torch.from_numpy(noise[None])
            )  # fmt: skip
            percent = torch.where(fixed, percent, decision.percent)
        found.append(masks_of(percent)[0].numpy())
    return found


def _ranked(bench: Bench, episodes: Sequence[Episode], seed: int, *, training: bool) -> list[RankedPrompt]:
    """By the clinician as he is, or by his utility alone where nothing is trained."""
    temperature = bench.settings.temperature if training else 0.0
    prompts = []
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    for number, episode in enumerate(episodes):
        bench.work.report("ranking", number, len(episodes))
        bench.work.stop_if_cancelled()
        masks = _candidates(bench, episode, int(rng.integers(4, 10)), rng, edited=training)
        wanted = torch.tensor([utility(mask, episode) for mask in masks])
        ranks = simulated_ranks(wanted, temperature=temperature, generator=generator)
        prompts.append(RankedPrompt(_reward_inputs(bench, episode, torch.from_numpy(np.stack(masks))), ranks))
    return prompts


def _reward_inputs(bench: Bench, episode: Episode, masks: Tensor) -> dict[str, Tensor]:
    n = len(masks)
    start = torch.from_numpy(episode.percent.astype(np.float32) / 100)
    features = _features(bench, [episode])
    return {"features": features.expand(n, *features.shape[1:]), "start": start.expand(masks.shape), "mask": masks}


def _reward_model(bench: Bench, seed: int) -> Result:
    trainer = _fresh_reward(bench, seed)
    prompts = _ranked(bench, bench.ranked, seed_of("rankings", seed), training=True)
    trainer.fit(prompts)
    selecting = bench.judged[: len(bench.judged) // 2]
    held_out = _ranked(bench, selecting, seed_of("held out", seed), training=False)
    volume = [_volume_right(prompt) for prompt in held_out]
    labels = [_reward_inputs(bench, e, torch.from_numpy(e.scene.reference[None])) for e in bench.ranked[:8]]
    trainer.normalise({name: torch.cat([part[name] for part in labels]) for name in labels[0]})
    path = bench.work.folder / "checkpoints" / f"rm_{seed}.pt"
    torch.save({"model": trainer.model.state_dict(), "bias": trainer.bias}, path)  # type: ignore[attr-defined]
    return {
        "accuracy": trainer.accuracy(held_out)["accuracy"],
        "volume_accuracy": sum(r for r, _ in volume) / max(1, sum(n for _, n in volume)),
        "train_accuracy": trainer.accuracy(prompts)["accuracy"],
        "pairs": sum(len(p.ranks) * (len(p.ranks) - 1) // 2 for p in prompts),
    }


def _volume_right(prompt: RankedPrompt) -> tuple[int, int]:
    """Pairs that a ranker by volume alone orders right, and all."""
    volume = prompt.inputs["mask"].flatten(1).sum(1)
    worse = prompt.ranks[:, None] > prompt.ranks[None, :]
    return int((worse & (volume[:, None] < volume[None, :])).sum()), int(worse.sum())


def _fresh_reward(bench: Bench, seed: int) -> RewardModelTrainer:
    torch.manual_seed(seed_of("reward model", seed))
    settings = bench.settings
    width = _features(bench, bench.ranked[:1]).shape[1]
    config = RewardConfig(
        learning_rate=settings.reward_learning_rate, num_epochs=settings.epochs, prompts_per_batch=6, reward_map=True
    )
    return RewardModelTrainer(MapReward(width), config, seed=seed)


# --- step 3: PPO ----------------------------------------------------------------------------------------------------


def _tuned(bench: Bench, seed: int, ptx_coef: float) -> Result:
    settings = bench.settings
    trainer = _fresh_reward(bench, seed)
    stored = torch.load(bench.work.folder / "checkpoints" / f"rm_{seed}.pt", weights_only=True)
    trainer.model.load_state_dict(stored["model"])  # type: ignore[attr-defined]
    trainer.bias = stored["bias"]
    actor = VoxelPolicy(copy.deepcopy(bench.supervised.network).requires_grad_(True), bench.supervised.policy)
    config = dataclasses.replace(
        voxel(), learning_rate=settings.learning_rate, kl_coef=settings.kl_coef, ptx_coef=ptx_coef,
        num_ppo_epochs=1, num_mini_batches=2, ptx_examples_per_episode=1, seed=seed,
    )  # fmt: skip
    ppo = PPOTrainer(actor, config, [(Term("reward_model", lambda r: r.extra["reward"]), 1.0)])
    rng = np.random.default_rng(seed_of("ppo", seed))
    generator = torch.Generator().manual_seed(seed_of("ppo", seed))
    points, logged = [], []
    best: tuple[float, dict[str, Tensor]] = (-np.inf, {})
    half = len(bench.judged) // 2
    for iteration in range(settings.iterations + 1):
        bench.work.report(f"PPO{'-ptx' if ptx_coef else ''}, seed {seed}", iteration, settings.iterations)
        bench.work.stop_if_cancelled()
        if iteration % settings.every == 0:
            found = _judged(bench, trainer, actor, bench.judged[:half], seed)
            points.append(found)
            if found["gold"] > best[0]:
                best = (found["gold"], {k: v.clone() for k, v in actor.state_dict().items()})
        if iteration == settings.iterations:
            break
        chosen = [bench.practised[int(i)] for i in rng.choice(len(bench.practised), settings.batch, replace=False)]
        rollout = _rewarded(bench, trainer, actor, chosen, generator)
        logged.append(ppo.step(rollout, pretraining=functools.partial(_pretraining, bench, actor, rng)))
    last = _held(bench, actor, bench.judged[half:])
    actor.load_state_dict(best[1])
    return {
        "points": points,
        "shipped": _held(bench, actor, bench.judged[half:]),
        "last": last,
        "supervised": _held(bench, bench.supervised, bench.judged[half:]),
        "first_ratio_error": logged[0]["val/first_ratio_error"],
        "first_kl": logged[0]["objective/kl"],
    }


def _rewarded(
    bench: Bench, trainer: RewardModelTrainer, actor: VoxelPolicy, chosen: Sequence[Episode],
    generator: torch.Generator | None,
) -> Rollout:  # fmt: skip
    """A rollout with the reward of each voxel and step: by how much its place in the reward map got better."""
    rollout, states = rolled_out(actor, bench.supervised, chosen, steps=bench.settings.steps, generator=generator)
    with torch.no_grad():
        maps = torch.stack(
            [trainer.model.score(_reward_inputs(bench, e, masks_of(s))) for e, s in zip(chosen, states, strict=True)]
        )
    return dataclasses.replace(rollout, extra={"reward": telescoped(maps), "states": states})


def _pretraining(
    bench: Bench, actor: VoxelPolicy, rng: np.random.Generator, count: int
) -> Iterable[tuple[Tensor, float]]:
    """-log pi of label-consistent actions on labelled training cases, along the policy's own states."""
    for place in rng.choice(len(bench.ranked), count):
        episode = bench.ranked[int(place)]
        rollout, _ = rolled_out(actor, bench.supervised, [episode], steps=1, generator=None)
        label = torch.from_numpy(episode.scene.reference[None])
        yield actor.consistent(rollout.inputs, label), 1 / count


def _judged(
    bench: Bench, trainer: RewardModelTrainer, actor: VoxelPolicy, episodes: Sequence[Episode], seed: int
) -> dict[str, float]:
    """Proxy and gold of the greedy policy, and the KL of samples from the supervised one, summed and of a voxel."""
    found: dict[str, list[float]] = {"proxy": [], "gold": [], "kl": [], "kl_mean": []}
    generator = torch.Generator().manual_seed(seed_of("judge", seed))
    for episode in episodes:
        rollout, states = rolled_out(actor, bench.supervised, [episode], steps=bench.settings.steps, generator=None)
        mask = masks_of(states[:, -1])
        found["proxy"].append(float(trainer.rewards(_reward_inputs(bench, episode, mask))))
        found["gold"].append(utility(mask[0].numpy(), episode))
        drawn, _ = rolled_out(actor, bench.supervised, [episode], steps=bench.settings.steps, generator=generator)
        gap = drawn.logprobs - drawn.ref_logprobs
        found["kl"].append(float(gap.sum()))
        found["kl_mean"].append(float((gap * drawn.mask).sum() / drawn.mask.sum()))
        del rollout
    return {name: float(np.mean(values)) for name, values in found.items()}


def _held(bench: Bench, actor: VoxelPolicy, episodes: Sequence[Episode]) -> dict[str, list[float]]:
    """Utility, Dice and NSD of the greedy policy on every reporting case."""
    found: dict[str, list[float]] = {"utility": [], "dice": [], "nsd": []}
    for episode in episodes:
        _, states = rolled_out(actor, bench.supervised, [episode], steps=bench.settings.steps, generator=None)
        mask = masks_of(states[0, -1]).numpy()
        found["utility"].append(utility(mask, episode))
        found["dice"].append(metrics.dice(mask, episode.scene.reference))
        found["nsd"].append(_nsd(mask, episode))
    return found


# --- what came out --------------------------------------------------------------------------------------------------


def _reported(bench: Bench, models: Mapping[str, Result], tuned: Mapping[str, Result]) -> Report:
    seeds = range(bench.settings.seeds)
    rows: list[dict[str, Cell]] = []
    curves = []
    for arm in ("PPO", "PPO-ptx"):
        for which in ("shipped", "last"):
            rows.append(_row(arm, which, [tuned[f"{arm}_{s}"] for s in seeds]))
        for s in seeds:
            points = tuned[f"{arm}_{s}"]["points"]
            x = [Point(max(p["kl"], 0.0), p["proxy"], p["gold"]).root_kl for p in points]
            curves += [
                Curve(f"{name} over sqrt(KL), nats", arm, x, [p[name] for p in points]) for name in ("proxy", "gold")
            ]
    peaks = {
        name: gold_peak([Point(p["kl"], p["proxy"], p["gold"]) for p in result["points"]]) * bench.settings.every
        for name, result in tuned.items()
    }
    accuracy = [models[f"rm_{s}"] for s in seeds]
    return Report(
        title="InstructGPT's three steps on the voxel agents",
        table=rows,
        facts={
            "cases": f"{bench.source}: {len(bench.ranked)} ranked, {len(bench.practised)} for PPO (training split), "
            f"{len(bench.judged)} judged (validation split, half selects, half reports)",
            "reward model": "; ".join(
                f"seed {s}: {100 * a['accuracy']:.1f} % of held-out pairs right, by volume alone "
                f"{100 * a['volume_accuracy']:.1f} %, {a['pairs']} training pairs"
                for s, a in zip(seeds, accuracy, strict=True)
            ),
            "gold peaks at iteration": ", ".join(f"{name}: {peak}" for name, peak in peaks.items()),
            "first minibatch": f"largest ratio error {max(r['first_ratio_error'] for r in tuned.values()):.2g}, KL "
            f"{max(abs(r['first_kl']) for r in tuned.values()):.2g}",
        },
        curves=curves,
        notes=(
            *few_seeds(bench.settings.seeds),
            "The clinician is simulated. Shipped: the checkpoint at the peak of selection gold; last: the end.",
            "A win: the utility differs by more than .005; draws count half. The tax: the supervised Dice minus ours.",
        ),
        smoke=bench.work.smoke,
    )


def _row(arm: str, which: str, results: Sequence[Result]) -> dict[str, Cell]:
    ours = {key: np.concatenate([r[which][key] for r in results]) for key in ("utility", "dice", "nsd")}
    theirs = {key: np.concatenate([r["supervised"][key] for r in results]) for key in ours}
    gap = ours["utility"] - theirs["utility"]
    wins = float((gap > DRAW).sum() + 0.5 * (np.abs(gap) <= DRAW).sum())
    cases = len(results[0][which]["utility"])
    rate = wilson(wins / len(results), cases)
    return {
        "arm": arm,
        "checkpoint": which,
        "seeds": len(results),
        "wins %": 100 * rate.rate,
        "low": 100 * rate.low,
        "high": 100 * rate.high,
        "utility gain": float(gap.mean()),
        "Dice tax": float((theirs["dice"] - ours["dice"]).mean()),
        "NSD tax": float((theirs["nsd"] - ours["nsd"]).mean()),
    }
