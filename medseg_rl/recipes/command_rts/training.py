"""Trains one arm with one seed: cloning, RL, Joint, RED, IRL. Every one starts from the cloned player of its seed.

All see equally many games but for the rest of RED's last cycle; only what is learned from them differs.
A run saves its state now and then and goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg_rl.errors import InputFileError
from medseg_rl.recipes.command_rts.commanders import COMMANDS, proxy, silent
from medseg_rl.recipes.command_rts.game import BASE, FEATURES, SELECTIONS, WORKER, Board
from medseg_rl.recipes.command_rts.play import Episodes, demonstrations, play, rollout_of
from medseg_rl.recipes.command_rts.policy import Player
from medseg_rl.recipes.recipe import Result, Work, seed_of
from medseg_rl.rlhf.config import PPOConfig, REDConfig
from medseg_rl.rlhf.grounded import CloningTrainer, Examples, GroundedTrainer, negative_log_likelihood, warm_up_values
from medseg_rl.rlhf.ppo import PPOTrainer
from medseg_rl.rlhf.rollout import Rollout, Term

Arm = Literal["RL", "IRL", "Joint", "RED"]
TRAINED: tuple[Arm, ...] = ("RL", "IRL", "Joint", "RED")
SAVE_EVERY = 20


@dataclass(frozen=True)
class Settings:
    """`demonstrations` games to clone (a fifth more to validate), `updates` of `games` games in every other arm.

    `joint_beta`, `bc_ratio`, `nll_tolerance`: as in `REDConfig`. `irl_coef`: the learned reward's largest sum a game.
    `leave_out`: arms neither run nor reported, of "IRL" and "Switch".
    """

    size: int = 10
    horizon: int = 64
    demonstrations: int = 2000
    bc_updates: int = 600
    value_warmup_updates: int = 100
    updates: int = 128
    games: int = 64
    learning_rate: float = 1e-3
    joint_beta: float = 0.3
    bc_ratio: float = 1.0
    nll_tolerance: float = 0.10
    phase_updates: int = 8
    win_queue_size: int = 1000
    irl_coef: float = 0.5
    test_games: int = 1200
    duel_games: int = 40
    seeds: int = 3
    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if unknown := set(self.leave_out) - {"IRL", "Switch"}:
            raise InputFileError(f"{sorted(unknown)[0]} cannot be left out; only IRL and Switch can")

    @property
    def board(self) -> Board:
        """Where it is played."""
        return Board(self.size, self.horizon)

    @property
    def ppo(self) -> PPOConfig:
        """Of every arm that plays."""
        return PPOConfig(
            num_ppo_epochs=2, num_mini_batches=4, learning_rate=self.learning_rate, kl_coef=0.0, vf_coef=0.5,
            discount=0.99, gae_lambda=0.95,
        )  # fmt: skip


SMOKE = Settings(
    size=6, horizon=24, demonstrations=40, bc_updates=20, value_warmup_updates=2, updates=4, games=16, phase_updates=2,
    win_queue_size=50, test_games=16, duel_games=4, seeds=1,
)  # fmt: skip


def data_of(settings: Settings, seed: int) -> tuple[Examples, Examples]:
    """Demonstrations to clone and, of other games, to validate on."""
    rng = np.random.default_rng(seed_of("command_rts", "demonstrations", seed))
    parts = [demonstrations(n, settings.board, rng) for n in (settings.demonstrations, settings.demonstrations // 5)]
    return Examples(parts[0].inputs, parts[0].mask), Examples(parts[1].inputs, parts[1].mask)


def clone(settings: Settings, seed: int, work: Work) -> Result:
    """Pure behaviour cloning; keeps the weights with the least validation NLL, then warms its value head up."""
    torch.manual_seed(seed_of("command_rts", "player", seed))
    player, (data, validation) = Player(settings.board), data_of(settings, seed)
    trainer = CloningTrainer(player, learning_rate=1e-3)
    generator = torch.Generator().manual_seed(seed)
    best, weights, curve = float("inf"), player.state_dict(), []
    for update in range(1, settings.bc_updates + 1):
        trainer.step(data.rows(torch.randint(data.episodes, (32,), generator=generator)))
        if update % max(1, settings.bc_updates // 30) == 0:
            work.stop_if_cancelled()
            work.report(f"cloning, seed {seed}", update, settings.bc_updates)
            with torch.no_grad():
                curve.append((update, float(negative_log_likelihood(player, validation))))
            if curve[-1][1] < best:
                best, weights = curve[-1][1], {k: v.clone() for k, v in player.state_dict().items()}
    player.load_state_dict(weights)
    _warm_up(player, settings, seed)
    save_player(work, "BC", seed, 1.0, player)
    return {"nll": best, "curve": curve}


def train(arm: Arm, settings: Settings, seed: int, work: Work) -> Result:
    """An arm from the cloned player on; its curve, and its weights at half time and at the end."""
    player, (data, validation) = load_player(work, settings, "BC", seed, 1.0), data_of(settings, seed)
    torch.manual_seed(seed_of("command_rts", arm, seed))  # of what IRL adds
    run = _Run(arm, settings, player, data, validation, seed)
    checkpoint = work.checkpoint(f"{arm}_{seed}")
    if state := checkpoint.load():
        run.load_state_dict(state)
    while run.done < settings.updates:
        before = run.done
        run.advance()
        work.report(f"{arm}, seed {seed}", run.done, settings.updates)
        if before < settings.updates / 2 <= run.done:
            save_player(work, arm, seed, 0.5, player)
        if run.done // SAVE_EVERY > before // SAVE_EVERY:
            checkpoint.save(run.state_dict())
            work.stop_if_cancelled()
    save_player(work, arm, seed, 1.0, player)
    checkpoint.path.unlink(missing_ok=True)
    return {"curve": run.curve, "bound": run.trainer.bound}


def save_player(work: Work, arm: str, seed: int, age: float, player: Player) -> None:
    """Keep the weights of an arm at a share of its training."""
    work.checkpoint(player_name(arm, seed, age)).save(player.state_dict())


def load_player(work: Work, settings: Settings, arm: str, seed: int, age: float) -> Player:
    """The player that `save_player` kept. It must have been saved."""
    player = Player(settings.board)
    state = work.checkpoint(player_name(arm, seed, age)).load()
    assert state is not None
    player.load_state_dict(state)
    return player.eval()


def player_name(arm: str, seed: int, age: float) -> str:
    """How tables and files call it: arm, share of its training, seed."""
    return f"{arm}-{round(100 * age)}-s{seed}"


class _Run:
    """An arm under way: what to do next, and its state."""

    def __init__(
        self, arm: Arm, settings: Settings, player: Player, data: Examples, validation: Examples, seed: int
    ) -> None:
        self.arm, self.settings, self.player, self.done = arm, settings, player, 0
        self.rng = np.random.default_rng(seed_of("command_rts", arm, seed))
        self.curve: list[list[float]] = []
        joint = settings.joint_beta if arm == "Joint" else None
        ppo = settings.ppo
        if joint is not None:
            ppo = PPOConfig(**(vars(ppo) | {"ptx_coef": joint, "ptx_examples_per_episode": 1}))
        self.critic = _Critic(data, settings) if arm == "IRL" else None
        components: list[tuple[Term, float]] = [(Term("game", _reward), 1.0)]
        if self.critic is not None:
            components.append((Term("likeness", self.critic.reward), settings.irl_coef))
        config = REDConfig(
            bc_ratio=settings.bc_ratio, nll_tolerance=settings.nll_tolerance, rl_updates=settings.phase_updates,
            bc_updates=settings.phase_updates, win_queue_size=settings.win_queue_size, joint_beta=joint,
        )  # fmt: skip
        self.trainer = GroundedTrainer(
            PPOTrainer(player, ppo, components), config, data, validation, learning_rate=settings.learning_rate,
            seed=seed,
        )  # fmt: skip
        self.recent: list[float] = []

    def advance(self) -> None:
        """One update, or with RED one cycle; adds points to the curve."""
        steps: dict[Arm, Callable[[], dict[str, float]]] = {
            "RED": lambda: self.trainer.cycle(self._play),
            "Joint": lambda: self.trainer.joint_update(self._play),
            "RL": self._plain,
            "IRL": self._plain,
        }
        self.recent = []
        metrics = steps[self.arm]()
        self.done += int(metrics.get("red/rl_updates", 1))
        nll = metrics.get("red/bc_nll", float("nan"))
        if self.arm in ("RL", "IRL"):
            nll = self.trainer.validation_nll() if self.done % 8 == 0 else float("nan")
        self.curve.append([float(self.done), sum(self.recent) / len(self.recent), nll])

    def state_dict(self) -> dict[str, Any]:
        state = {"trainer": self.trainer.state_dict(), "done": self.done, "curve": self.curve}
        state["rng"] = json.dumps(self.rng.bit_generator.state)
        return state | ({} if self.critic is None else {"critic": self.critic.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.trainer.load_state_dict(state["trainer"])
        self.done, self.curve = state["done"], state["curve"]
        self.rng.bit_generator.state = json.loads(state["rng"])
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])

    def _plain(self) -> dict[str, float]:
        rollout, _ = self._play()
        if self.critic is not None:
            self.critic.learn(rollout)
        return self.trainer.ppo.step(rollout)

    def _play(self) -> tuple[Rollout, Tensor]:
        commander = proxy if self.arm == "IRL" else silent
        settings = self.settings
        episodes = play(self.player, commander, games=settings.games, board=settings.board, rng=self.rng)
        self.recent.append(float(episodes.won.float().mean()))
        return rollout_of(self.player, episodes), episodes.won


class _Critic:
    """IRL's learned reward: tells commanded actions of the demonstrations from the policy's own (Ho and Ermon 2016)."""

    def __init__(self, data: Examples, settings: Settings) -> None:
        self.data, self.settings = data, settings
        width = FEATURES + len(COMMANDS) + SELECTIONS + 3 + 2
        self.network = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 1))
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        self.generator = torch.Generator().manual_seed(0)

    def reward(self, rollout: Rollout) -> Tensor:
        """(batch, time): 2 D - 1 over the horizon, so -1..1 a game."""
        with torch.no_grad():
            likeness: Tensor = torch.sigmoid(self.network(self._seen(rollout.inputs))[..., 0])
        return (2 * likeness - 1) / self.settings.horizon

    def learn(self, rollout: Rollout) -> None:
        """Four steps, as many demonstrations as games of the policy."""
        for _ in range(4):
            index = torch.randint(self.data.episodes, (len(rollout),), generator=self.generator)
            real = self.data.rows(index)
            found = [self.network(self._seen(x.inputs))[..., 0][x.mask] for x in (real, rollout)]
            losses = [functional.softplus(-found[0]).mean(), functional.softplus(found[1]).mean()]
            self.optimiser.zero_grad()
            torch.stack(losses).sum().backward()
            self.optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
                "generator": self.generator.get_state()}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])

    def _seen(self, inputs: Any) -> Tensor:
        select, kind, cell = inputs["select"], inputs["kind"], inputs["cell"]
        goal = torch.stack([cell // self.settings.size, cell % self.settings.size], -1) / self.settings.size
        parts = [inputs["features"], functional.one_hot(inputs["command"], len(COMMANDS))]
        parts += [functional.one_hot(select, SELECTIONS), functional.one_hot(kind, 3) * (select == BASE)[..., None]]
        return torch.cat([part.float() for part in (*parts, goal * (select >= WORKER)[..., None])], -1)


def _reward(rollout: Rollout) -> Tensor:
    return rollout.extra["reward"]


def _warm_up(player: Player, settings: Settings, seed: int) -> None:
    rng = np.random.default_rng(seed_of("command_rts", "value", seed))
    played: list[Episodes] = [
        play(player, silent, games=settings.games, board=settings.board, rng=rng) for _ in range(4)
    ]
    rollouts = [rollout_of(player, episodes) for episodes in played]
    returns = [_returns(episodes, settings.ppo.discount) for episodes in played]
    head = list(player.value.parameters())
    warm_up_values(player, head, rollouts, returns, updates=settings.value_warmup_updates)


def _returns(episodes: Episodes, discount: float) -> Tensor:
    """(games, ticks): the discounted reward of the game."""
    left = episodes.mask.sum(1, keepdim=True) - 1 - torch.arange(episodes.mask.shape[1])
    return episodes.reward[:, None] * discount ** left.clamp_min(0)
