"""Teaches the voxel agents commands: clones orders carried out, then phases of reward without a command and of cloning.

The arms: BC clones; RL goes on from it by reward alone; Joint has one loss of both; RED alternates (`rlhf.grounded`).
Only cloning has a gradient for the command's embedding, since without a command it is zero and stays so. The reward is
the relative gain in cross-entropy of each voxel after a click. Judges nothing.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg_rl.agent.networks import ActorCritic, build_network
from medseg_rl.agent.policy import AdjustmentPolicy
from medseg_rl.bundle.settings import AgentSettings
from medseg_rl.environment.episode import Episode
from medseg_rl.environment.rewards import cross_entropy_gain
from medseg_rl.recipes.recipe import Result, Work, seed_of
from medseg_rl.recipes.refinement.intents import ASKED, clean, damaged, overlap, soft_state
from medseg_rl.recipes.refinement.orders import BELIEF, belief_loss, demonstrated, drawn_orders, evenly
from medseg_rl.recipes.refinement.voxel_policy import VoxelPolicy, masks_of, prompts_of, rolled_out
from medseg_rl.rlhf.config import REDConfig, voxel
from medseg_rl.rlhf.grounded import Beside, CloningTrainer, Examples, GroundedTrainer, negative_log_likelihood
from medseg_rl.rlhf.ppo import PPOTrainer
from medseg_rl.rlhf.rollout import Rollout, Term
from medseg_rl.training_scenes import TrainingCase

TRAINED = ("RL", "Joint", "RED")
WIN = 0.01  # Dice that a click must bring


@dataclass(frozen=True)
class Settings:
    """`practised`, `watched`, `judged`: cases to train on, for the likelihood that bounds RL, and to judge by.

    `demonstrations`: orders carried out. `cycles`, each of `rl_updates` and `bc_updates`; the other arms have as many
    updates by reward. `batch`: orders an update, `played`: episodes without a command. `joint_beta`: weight of cloning
    in Joint. `belief_first`: share of the first cloning that teaches the belief alone, at `cloning_rate`;
    `belief_coef`: its weight beside the likelihood after it, whose gradient is far steeper.
    """

    seeds: int = 3
    practised: int = 24
    watched: int = 6
    judged: int = 6
    demonstrations: int = 120
    validation: int = 15
    cloning_updates: int = 600
    belief_first: float = 0.85
    belief_coef: float = 30.0
    cycles: int = 2
    rl_updates: int = 4
    bc_updates: int = 8
    batch: int = 2
    played: int = 3
    steps: int = 2
    wins: int = 24
    cloning_rate: float = 2e-3
    likelihood_rate: float = 2.5e-4
    learning_rate: float = 1e-4
    kl_coef: float = 0.05
    joint_beta: float = 1.0
    every: int = 100
    width: int = 24
    height: int = 40
    depth: int = 28
    data: str | None = None
    dataset: str = "hippocampus"


SMOKE = Settings(
    seeds=1, practised=2, watched=1, judged=1, demonstrations=5, validation=5, cloning_updates=2, cycles=1, played=1,
    rl_updates=1, bc_updates=1, batch=1, wins=2, every=1, width=16, height=16, depth=16,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Bench:
    """What all jobs share. The cases have one shape and the shipped automatic start; `known`: the shipped agents."""

    work: Work
    settings: Settings
    agent: AgentSettings
    known: ActorCritic
    practised: Sequence[TrainingCase]
    watched: Sequence[TrainingCase]
    judged: Sequence[TrainingCase]
    groups: Sequence[str]
    source: str

    @property
    def policy(self) -> AdjustmentPolicy:
        """Of the shipped agents."""
        return AdjustmentPolicy(self.agent.adjustments)

    def shipped(self) -> VoxelPolicy:
        """The shipped agents with an embedding of commands that are all alike yet: none is heard."""
        return VoxelPolicy(with_commands(self.known, self.agent).requires_grad_(True).eval(), self.policy)


def with_commands(known: ActorCritic, agent: AgentSettings) -> ActorCritic:
    """A network that answers as `known` does, whatever the command, and can learn to tell commands apart."""
    outputs = AdjustmentPolicy(agent.adjustments).outputs
    network = build_network(agent.network, channels=agent.channels, actions=outputs, commands=len(ASKED) + 1)
    missing, unexpected = network.load_state_dict(known.state_dict(), strict=False)
    assert list(missing) == ["command.weight"]
    assert not unexpected
    assert network.command is not None
    torch.nn.init.zeros_(network.command.weight)
    return network


def _demonstrations(bench: Bench, seed: int) -> tuple[Examples, Examples]:
    """Of practised cases to clone, of watched ones for the bound."""
    settings, policy, channels = bench.settings, bench.policy, bench.agent.channels
    parts = []
    for cases, count in ((bench.practised, settings.demonstrations), (bench.watched, settings.validation)):
        orders = drawn_orders(cases, count, seed_of("orders", seed, count), bench.agent.hints)
        parts.append(demonstrated(orders, policy, channels, steps=settings.steps))
    return parts[0], parts[1]


def _prompts(bench: Bench, seed: int) -> list[Episode]:
    """Clicks without a command: every practised case from its automatic start and from a damaged mask."""
    rng = np.random.default_rng(seed_of("prompts", seed))
    cases = []
    for case in bench.practised:
        remedy = ASKED[int(rng.integers(len(ASKED)))]
        wanted = clean(case.reference, case.spacing)
        start = soft_state(damaged(wanted, case.spacing, remedy, rng), case.spacing, rng)
        cases += [case, TrainingCase(case.id, case.image, wanted, start, case.spacing)]
    return prompts_of(cases, bench.practised[0].image.shape, bench.agent.hints)


def clone(bench: Bench, seed: int) -> Result:
    """Pure cloning of the demonstrations, from the shipped agents on; its weights stay in the checkpoint."""
    settings, actor = bench.settings, bench.shipped()
    data, validation = _demonstrations(bench, seed)
    trainer = CloningTrainer(actor, learning_rate=settings.cloning_rate, beside=_beside(bench, actor))
    kept, curve, done = bench.work.checkpoint(f"BC_{seed}"), [], 0
    if (state := kept.load()) is not None:
        actor.load_state_dict(state["actor"])
        trainer.optimiser.load_state_dict(state["optimiser"])
        curve, done = list(state["curve"]), int(state["done"])
    for update in range(done, settings.cloning_updates):
        generator = torch.Generator().manual_seed(seed_of("cloning", seed, update))
        examples = data.rows(torch.randint(data.episodes, (settings.batch,), generator=generator))
        if update < settings.belief_first * settings.cloning_updates:
            trainer.descend(belief_loss(actor, examples))
        else:
            trainer.optimiser.param_groups[0]["lr"] = settings.likelihood_rate
            trainer.step(examples)
        bench.work.report(f"cloning, seed {seed}", update + 1, settings.cloning_updates)
        if (update + 1) % settings.every == 0 or update + 1 == settings.cloning_updates:
            with torch.no_grad():
                curve.append((update + 1, float(negative_log_likelihood(actor, validation))))
            state = {"actor": actor.state_dict(), "optimiser": trainer.optimiser.state_dict()}
            kept.save(state | {"curve": curve, "done": update + 1})
            bench.work.stop_if_cancelled()
    return {"curve": curve}


def train(bench: Bench, arm: str, seed: int) -> Result:
    """An arm from the cloned agents on: NLL of watched orders, reward and wins of every cycle."""
    trainer = _trainer(bench, arm, seed)
    play = _Play(bench, trainer.ppo, seed)
    kept, curve = bench.work.checkpoint(f"{arm}_{seed}"), []
    if (state := kept.load()) is not None:
        trainer.load_state_dict(state["trainer"])
        curve = list(state["curve"])
    for cycle in range(len(curve), bench.settings.cycles):
        if arm == "RED":
            found = trainer.cycle(play)
        for _ in range(bench.settings.rl_updates if arm != "RED" else 0):
            found = trainer.joint_update(play) if arm == "Joint" else trainer.ppo.step(play()[0])
        nll = trainer.validation_nll()
        curve.append({"nll": nll, "reward": found["objective/scores"], "rl_updates": found.get("red/rl_updates", 0)})
        kept.save({"trainer": trainer.state_dict(), "actor": trainer.ppo.policy.state_dict(), "curve": curve})
        bench.work.report(f"{arm}, seed {seed}", cycle + 1, bench.settings.cycles)
        bench.work.stop_if_cancelled()
    return {"curve": curve, "bound": trainer.bound}


def actor_of(bench: Bench, arm: str, seed: int) -> VoxelPolicy:
    """The agents as an arm left them; the shipped ones for any other name."""
    actor = bench.shipped()
    state = bench.work.checkpoint(f"{arm}_{seed}").load()
    if state is not None:
        actor.load_state_dict(state["actor"])
    return actor


def _trainer(bench: Bench, arm: str, seed: int) -> GroundedTrainer:
    settings = bench.settings
    data, validation = _demonstrations(bench, seed)
    config = dataclasses.replace(
        voxel(), learning_rate=settings.learning_rate, kl_coef=settings.kl_coef, num_ppo_epochs=1, num_mini_batches=1,
        lr_warmup_iterations=4, ptx_coef=settings.joint_beta if arm == "Joint" else 0.0, ptx_examples_per_episode=1,
        seed=seed,
    )  # fmt: skip
    ppo = PPOTrainer(actor_of(bench, "BC", seed), config, [(Term("task", lambda r: r.extra["gain"]), 1.0)])
    red = REDConfig(
        rl_updates=settings.rl_updates, bc_updates=settings.bc_updates, win_queue_size=settings.wins,
        joint_beta=settings.joint_beta if arm == "Joint" else None,
    )  # fmt: skip
    actor: Any = ppo.policy
    return GroundedTrainer(
        ppo, red, data, validation, batch=settings.batch, learning_rate=settings.likelihood_rate, seed=seed,
        beside=_beside(bench, actor),
    )  # fmt: skip


def _beside(bench: Bench, actor: VoxelPolicy) -> Beside:
    return lambda examples: bench.settings.belief_coef * belief_loss(actor, examples)


class _Play:
    """Episodes without a command under the agents as they are; which of them depends on the number of the update."""

    def __init__(self, bench: Bench, ppo: PPOTrainer, seed: int) -> None:
        self.bench, self.ppo, self.seed = bench, ppo, seed
        self.prompts = _prompts(bench, seed)
        actor: Any = ppo.policy
        self.actor: VoxelPolicy = actor
        self.before = VoxelPolicy(copy.deepcopy(self.actor.network).requires_grad_(False), bench.policy)

    def __call__(self) -> tuple[Rollout, Tensor]:
        number = seed_of("play", self.seed, self.ppo.iteration)
        size = min(self.bench.settings.played, len(self.prompts))
        chosen = np.random.default_rng(number).choice(len(self.prompts), size, replace=False)
        prompts = [self.prompts[int(i)] for i in chosen]
        generator = torch.Generator().manual_seed(number)
        rollout, states = rolled_out(
            self.actor, self.before, prompts, steps=self.bench.settings.steps, generator=generator
        )
        labels = torch.from_numpy(np.stack([prompt.scene.reference for prompt in prompts]))
        steps = range(states.shape[1] - 1)
        gain = torch.stack([cross_entropy_gain(states[:, t], states[:, t + 1], labels) for t in steps], 1)
        won = [_gained(s, label) >= WIN for s, label in zip(states, labels, strict=True)]
        inputs = {name: tensor for name, tensor in rollout.inputs.items() if name != "mask"}
        inputs[BELIEF] = masks_of(states[:, -1])[:, None].float()
        rollout = dataclasses.replace(rollout, inputs=inputs, mask=evenly(rollout.mask), extra={"gain": gain})
        return rollout, torch.tensor(won)


def _gained(states: Tensor, label: Tensor) -> float:
    before, after = masks_of(states[0]).numpy(), masks_of(states[-1]).numpy()
    return overlap(after, label.numpy()) - overlap(before, label.numpy())
