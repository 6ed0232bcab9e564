"""Task rewards on the product: likelihood first, then REINFORCE on a metric of the mask (Pinto et al. 2023).

Rewards: Dice, NSD, HD95, islands. Credit of single voxels (counterfactual, unbiased) or one number a mask with a second
sample as baseline. Controls in the same table: likelihood continued for as many updates, and REINFORCE from drawn
weights. Trained on cases of the training split, judged on the validation split; the test split is never opened.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from medseg_rl import metrics
from medseg_rl.agent.networks import build_network
from medseg_rl.agent.policy import AdjustmentPolicy
from medseg_rl.bundle import load_bundle
from medseg_rl.config import with_changes
from medseg_rl.dataset import DATA_VARIABLE, find_dataset, load_dataset
from medseg_rl.environment.episode import Episode
from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.statistics import bootstrap_interval
from medseg_rl.recipes.recipe import Result, Work, seed_of
from medseg_rl.recipes.refinement.labelled import Labelled, few_seeds, labelled_cases, normalised, phantom_cases
from medseg_rl.recipes.refinement.last_step import Before, LastStep, before_last
from medseg_rl.recipes.refinement.playing import with_start_of
from medseg_rl.recipes.refinement.voxel_policy import VoxelPolicy, acted, prompts_of
from medseg_rl.recipes.report import Cell, Curve, Report
from medseg_rl.rlhf.config import REINFORCEConfig
from medseg_rl.rlhf.marginal_credit import flip_credit
from medseg_rl.rlhf.task_reward import TaskRewardTrainer, counterfactual_dice

SUMMARY = "Task rewards on the product: likelihood, then REINFORCE on Dice, NSD, HD95 or islands of the mask"
FARTHEST_MM = 20.0  # a worse HD95 is no worse reward, an empty mask counts as this
ISLAND_COST = 0.05  # of each beyond the first, as in the utility of the rankings
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Settings:
    """`mle_updates`, `updates`: of the likelihood before, and of what is compared after it. `picks`: voxels flipped a
    sample where a reward has no closed form. `steps`: of an interaction; `batch`: cases an update.
    """

    seeds: int = 3
    practised: int = 40
    judged: int = 29
    mle_updates: int = 40
    updates: int = 60
    batch: int = 2
    steps: int = 2
    picks: int = 32
    every: int = 20
    mle_learning_rate: float = 1e-4
    learning_rate: float = 1e-4
    width: int = 32
    height: int = 48
    depth: int = 32
    data: str | None = None
    dataset: str = "hippocampus"


SMOKE = Settings(
    seeds=1, practised=2, judged=2, mle_updates=1, updates=2, batch=1, picks=3, every=1, width=16, height=16, depth=16
)


class Arm(NamedTuple):
    """`reward`: what is optimised, "" for the likelihood. `baseline`: "marginal" credit, or one number a mask."""

    label: str
    reward: str = ""
    baseline: str = "marginal"
    from_scratch: bool = False


CONTINUED = Arm("MLE continued")
ARMS = (
    CONTINUED,
    Arm("MLE, then Dice", "dice"),
    Arm("MLE, then Dice, second sample as baseline", "dice", "sample"),
    Arm("MLE, then NSD", "nsd"),
    Arm("MLE, then HD95", "hd95"),
    Arm("MLE, then islands", "islands"),
    Arm("from drawn weights: Dice", "dice", from_scratch=True),
)


@dataclass(frozen=True, eq=False)
class Bench:
    """What all jobs share. `fresh`: a network of drawn weights of the same build, from a seed."""

    work: Work
    settings: Settings
    start: VoxelPolicy
    fresh: Callable[[int], VoxelPolicy]
    practised: Sequence[Episode]
    judged: Sequence[Episode]
    groups: Sequence[str]
    source: str


# --- the rewards ----------------------------------------------------------------------------------------------------


def islands_of(mask: Mask) -> int:
    """Pieces beyond the first, neighbours by faces."""
    return max(0, int(ndimage.label(mask)[1]) - 1)


def figures(mask: Mask, episode: Episode) -> dict[str, float]:
    """The four rewards of a mask, higher is better: Dice; NSD at 1 mm; 1 - HD95 / 20 mm, not below 0; Dice less .05 for
    each island beyond the first, so that an empty mask is no way out.
    """
    return {name: reward(mask, episode) for name, reward in REWARDS.items()}


def _dice(mask: Mask, episode: Episode) -> float:
    return metrics.dice(mask, episode.scene.reference)


def _nsd(mask: Mask, episode: Episode) -> float:
    if not mask.any():
        return 0.0
    return metrics.nsd(mask, episode.scene.reference, episode.scene.spacing, tolerance_mm=1.0)


def _hd95(mask: Mask, episode: Episode) -> float:
    if not mask.any():
        return 0.0
    return 1 - min(metrics.hd95(mask, episode.scene.reference, episode.scene.spacing), FARTHEST_MM) / FARTHEST_MM


def _islands(mask: Mask, episode: Episode) -> float:
    return _dice(mask, episode) - ISLAND_COST * islands_of(mask)


REWARDS: Mapping[str, Callable[[Mask, Episode], float]] = {
    "dice": _dice, "nsd": _nsd, "hd95": _hd95, "islands": _islands,
}  # fmt: skip


def rewards_of(name: str, prompt: Before, answer: Tensor) -> Tensor:
    """(batch,) of masks (batch, x, y, z)."""
    masks = answer.numpy()
    return torch.tensor([REWARDS[name](m, e) for m, e in zip(masks, prompt.episodes, strict=True)], dtype=torch.float64)


def credit_of(
    name: str, model: LastStep, prompt: Before, answer: Tensor, *, picks: int, generator: torch.Generator
) -> Tensor:
    """Of every voxel's decision: in closed form for Dice, by flipping some for the others."""
    chance = model.probability(prompt).detach()
    if name == "dice":
        return counterfactual_dice(answer, prompt.label, chance)

    def reward(row: int, mask: Tensor) -> float:
        return REWARDS[name](mask.numpy(), prompt.episodes[row])

    return flip_credit(reward, answer, chance, picks=picks, generator=generator).to(chance.dtype)


# --- the run --------------------------------------------------------------------------------------------------------


def run(work: Work) -> Report:
    """All arms and seeds. Raises Cancelled; what was finished is kept, an unfinished arm goes on where it was."""
    settings = with_changes(SMOKE if work.smoke else Settings(), work.changes)
    settings = dataclasses.replace(settings, seeds=work.seeds or settings.seeds)
    torch.set_num_threads(1)
    bench = _bench(settings, work)
    work.open(dataclasses.asdict(settings) | {"seeds": None, "data": bench.source, "smoke": work.smoke})
    seeds = range(settings.seeds)
    before = work.job("before", lambda: _judged(bench, bench.start))
    first = work.jobs("likelihood", {f"mle_{s}": functools.partial(_likelihood, bench, s) for s in seeds})
    tuned = work.jobs(
        "rewards", {_job(arm, s): functools.partial(_tuned, bench, arm, s) for s in seeds for arm in ARMS}
    )
    return _reported(bench, before, first, tuned)


def _job(arm: Arm, seed: int) -> str:
    return f"{''.join(c if c.isalnum() else '_' for c in arm.label)}_{seed}"


def _bench(settings: Settings, work: Work) -> Bench:
    bundle = load_bundle(automatic=True)
    agent = bundle.agent_settings
    policy = AdjustmentPolicy(agent.adjustments)
    known = bundle.refiner(precision="fp32").network
    train: Sequence[Labelled]
    if work.smoke:
        train, new, source = phantom_cases(settings.practised, 0), phantom_cases(settings.judged, 100), "phantoms"
    else:
        folder = settings.data or os.environ.get(DATA_VARIABLE)
        if not folder:
            raise InputFileError(f"task rewards need labelled cases: set {DATA_VARIABLE}, or --set data=FOLDER")
        dataset = load_dataset(find_dataset(Path(folder), settings.dataset))
        train = labelled_cases(dataset.cases("train")[: settings.practised])
        new = labelled_cases(dataset.cases("val")[: settings.judged])
        source = f"{dataset.name}, data {dataset.data_hash[:16]}"
    automatic, crop = bundle.automatic(), (settings.width, settings.height, settings.depth)

    def prompts(cases: Sequence[Labelled]) -> list[Episode]:
        return prompts_of([with_start_of(normalised(case), automatic) for case in cases], crop, agent.hints)

    def fresh(seed: int) -> VoxelPolicy:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_network(agent.network, channels=agent.channels, actions=policy.outputs)
        network.locality.copy_(known.locality)
        return VoxelPolicy(network.eval(), policy)

    return Bench(
        work, settings, VoxelPolicy(known.eval(), policy), fresh, prompts(train), prompts(new),
        [case.group for case in new], source,
    )  # fmt: skip


def _drawn(bench: Bench, seed: int, stage: str, update: int) -> list[Episode]:
    """A function of its names alone: what a stopped run goes on with needs no state."""
    rng = np.random.default_rng(seed_of("task rewards", seed, stage, update))
    size = min(bench.settings.batch, len(bench.practised))
    return [bench.practised[int(i)] for i in rng.choice(len(bench.practised), size, replace=False)]


def _copy(policy: VoxelPolicy) -> VoxelPolicy:
    return VoxelPolicy(copy.deepcopy(policy.network).requires_grad_(True).eval(), policy.policy)


# --- likelihood -----------------------------------------------------------------------------------------------------


class _Likelihood:
    """Minus the log-probability of the adjustments that lead to the label, along the policy's own rollouts."""

    def __init__(self, actor: VoxelPolicy, settings: Settings) -> None:
        self.actor, self.steps = actor, settings.steps
        self.optimiser = torch.optim.Adam(actor.parameters(), lr=settings.mle_learning_rate)

    def step(self, episodes: Sequence[Episode], seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        inputs, _ = acted(self.actor, episodes, steps=self.steps, generator=generator)
        loss = self.actor.consistent(inputs, torch.from_numpy(np.stack([e.scene.reference for e in episodes])))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])


def _likelihood(bench: Bench, seed: int) -> Result:
    """Step one, which all arms but that from drawn weights begin with. Its weights stay in the checkpoint."""
    actor = _copy(bench.start)
    learner = _Likelihood(actor, bench.settings)

    def step(update: int) -> float:
        return learner.step(_drawn(bench, seed, "mle", update), seed_of("mle", seed, update))

    losses = _through(bench, f"mle_{seed}", actor, learner, bench.settings.mle_updates, step)
    return {"loss": losses}


def _through(
    bench: Bench, name: str, actor: VoxelPolicy, learner: Any, updates: int, step: Callable[[int], float]
) -> list[float]:
    """All updates, or those that a stopped run has left; weights, optimiser and what was logged are kept."""
    kept, logged = bench.work.checkpoint(name), []
    if (state := kept.load()) is not None:
        actor.load_state_dict(state["actor"])
        learner.load_state_dict(state["learner"])
        logged = list(state["logged"])
    for update in range(len(logged), updates):
        logged.append(step(update))
        bench.work.report(name, update + 1, updates)
        if (update + 1) % bench.settings.every == 0 or update + 1 == updates:
            state = {"actor": actor.state_dict(), "learner": learner.state_dict(), "logged": logged}
            kept.save(state)
            bench.work.stop_if_cancelled()
    return logged


# --- rewards --------------------------------------------------------------------------------------------------------


def _tuned(bench: Bench, arm: Arm, seed: int) -> Result:
    if arm.from_scratch:
        actor = bench.fresh(seed_of("fresh", seed))
    else:
        actor = _copy(bench.start)
        state = bench.work.checkpoint(f"mle_{seed}").load()
        assert state is not None
        actor.load_state_dict(state["actor"])
    learner, step = _learner(bench, arm, seed, actor)
    logged = _through(bench, _job(arm, seed), actor, learner, bench.settings.updates, step)
    return _judged(bench, actor) | {"logged": logged}


def _learner(bench: Bench, arm: Arm, seed: int, actor: VoxelPolicy) -> tuple[Any, Callable[[int], float]]:
    settings = bench.settings
    if not arm.reward:
        likelihood = _Likelihood(actor, settings)
        return likelihood, lambda update: likelihood.step(
            _drawn(bench, seed, "tuned", update), seed_of("more", seed, update)
        )
    model, marginal = LastStep(actor), arm.baseline == "marginal"
    picking = torch.Generator()
    config = REINFORCEConfig(
        baseline="sample", num_samples=2, counterfactual=marginal, learning_rate=settings.learning_rate
    )
    credit = functools.partial(credit_of, arm.reward, model, picks=settings.picks, generator=picking)
    trainer = TaskRewardTrainer(
        model, functools.partial(rewards_of, arm.reward), config, seed=seed_of("task reward", seed), credit=credit
    )

    def step(update: int) -> float:
        picking.manual_seed(seed_of("picks", seed, update))
        prompt = before_last(actor, _drawn(bench, seed, "tuned", update), steps=settings.steps)
        return trainer.step(prompt)["reward"]

    return trainer, step


@torch.no_grad()
def _judged(bench: Bench, actor: VoxelPolicy) -> Result:
    """The four figures of the greedy mask of every judged case after its click, and its patient."""
    found = []
    for number, episode in enumerate(bench.judged):
        bench.work.report("judging", number, len(bench.judged))
        mask = LastStep(actor).greedy(before_last(actor, [episode], steps=bench.settings.steps))[0].numpy()
        hd95 = metrics.hd95(mask, episode.scene.reference, episode.scene.spacing) if mask.any() else FARTHEST_MM
        pieces = {"pieces": float(islands_of(mask)), "hd95_mm": min(hd95, FARTHEST_MM)}
        found.append(figures(mask, episode) | pieces)
    return {"cases": found}


# --- what came out --------------------------------------------------------------------------------------------------


def _reported(bench: Bench, before: Result, first: dict[str, Result], tuned: dict[str, Result]) -> Report:
    settings = bench.settings
    seeds = range(settings.seeds)
    rows = [_row(bench, "before", "", [before], None)]
    continued = [tuned[_job(CONTINUED, seed)] for seed in seeds]
    rows += [_row(bench, arm.label, arm.reward, [tuned[_job(arm, seed)] for seed in seeds], continued) for arm in ARMS]
    curves = [
        Curve(
            "reward of the samples over updates", arm.label, range(settings.updates), tuned[_job(arm, seed)]["logged"]
        )
        for arm in ARMS
        if arm.reward == "dice"
        for seed in seeds
    ]
    seconds = sum(result.get("cpu_seconds", 0.0) for result in (*first.values(), *tuned.values()))
    return Report(
        title="Task rewards on the product: likelihood, then REINFORCE",
        table=rows,
        facts={
            "cases": f"{bench.source}: {len(bench.practised)} trained on, {len(bench.judged)} of "
            f"{len(set(bench.groups))} patients judged, crops of {settings.width} x {settings.height} x "
            f"{settings.depth} voxels, one click, {settings.steps} refinement steps",
            "likelihood": f"{settings.mle_updates} updates of the shipped agents before every arm but the last",
            "rewards": f"{settings.updates} updates of {settings.batch} cases, 2 samples each",
            "seeds": str(settings.seeds),
            "CPU": f"{seconds / 60:.0f} minutes",
        },
        curves=curves,
        x_label="update",
        notes=_notes(settings),
        smoke=bench.work.smoke,
    )


def _notes(settings: Settings) -> tuple[str, ...]:
    return (
        *few_seeds(settings.seeds),
        "The difference is of the rewarded figure (Dice for the likelihood) against MLE continued for as many "
        "updates, paired by patient, with a 95 % bootstrap interval over patients, seeds averaged first: an interval "
        "that holds zero shows nothing.",
        "Figures are of the greedy mask. NSD at 1 mm; HD95 counts 20 mm where it is more or the mask is empty; islands "
        "are pieces beyond the first, and their reward is Dice less .05 each.",
        "Credit of single voxels: closed form for Dice; for the others "
        f"{settings.picks} flipped voxels a sample, drawn by how undecided they are. Only the last refinement step is "
        "a decision with a gradient; the earlier ones are greedy.",
        "The clicks are the primary robot's, simulated.",
    )


def _row(
    bench: Bench, label: str, reward: str, results: Sequence[Result], continued: Sequence[Result] | None
) -> dict[str, Cell]:
    means = {key: float(np.mean([[c[key] for c in r["cases"]] for r in results])) for key in results[0]["cases"][0]}
    name = reward or "dice"
    row: dict[str, Cell] = {
        "arm": label, "Dice": means["dice"], "NSD": means["nsd"], "HD95 mm": means["hd95_mm"],
        "islands": means["pieces"], "rewarded": reward or "-",
    }  # fmt: skip
    if continued is None:
        return row | {"difference": "-", "low": "-", "high": "-"}
    ours, theirs = _by_patient(bench, results, name), _by_patient(bench, continued, name)
    found = bootstrap_interval([ours[group] - theirs[group] for group in ours])
    return row | {"difference": found.mean, "low": found.low, "high": found.high}


def _by_patient(bench: Bench, results: Sequence[Result], name: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for result in results:
        for group, case in zip(bench.groups, result["cases"], strict=True):
            found.setdefault(group, []).append(case[name])
    return {group: float(np.mean(values)) for group, values in found.items()}
