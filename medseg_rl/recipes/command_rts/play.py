"""Plays batches of games and keeps what trainers need of them as tensors (games, ticks, ...). Trains nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medseg_rl.recipes.command_rts.commanders import (
    COMMAND_TICKS,
    EXECUTOR_NOISE,
    HEAD_START,
    NA,
    Commander,
    Minds,
    obey,
    premise_fails,
    proxy,
    rush,
    silent,
)
from medseg_rl.recipes.command_rts.game import BASE_HEALTH, Board, Bools, Games, Ints, Orders
from medseg_rl.recipes.command_rts.policy import Player, Seen
from medseg_rl.rlhf.rollout import Rollout


class Episodes(NamedTuple):
    """`inputs`: features, command, permitted, select, kind, cell, each (games, ticks, ...). `mask`: ticks played.

    `score`: 1 won, 0 lost, 0.5 neither. `reward`: mean of that and of how much more of the own base is left than of
    the other, -1..1 brought to 0..1: a player that never wins yet learns to lose later. `false_premise`: the command
    asked for what could not be done.
    """

    inputs: Mapping[str, Tensor]
    mask: Tensor
    score: Tensor
    reward: Tensor
    false_premise: Tensor

    @property
    def won(self) -> Tensor:
        """(games,) bool."""
        return self.score == 1


class _Book:
    """Collects tick by tick."""

    def __init__(self) -> None:
        self.ticks: list[dict[str, np.ndarray]] = []

    def add(self, seen: Seen, commands: Ints, orders: Orders, running: Bools, failing: Bools) -> None:
        self.ticks.append(
            {
                "features": seen.features,
                "permitted": seen.permitted,
                "command": commands,
                "select": orders.select,
                "kind": orders.kind,
                "cell": orders.cell,
                "mask": running,
                "false_premise": failing,
            }
        )

    def _stacked(self, name: str, horizon: int) -> np.ndarray:
        """(games, horizon, ...), zero after the last tick, so that batches fit together however soon they end."""
        found = np.zeros((len(self.ticks[0][name]), horizon, *self.ticks[0][name].shape[1:]), self.ticks[0][name].dtype)
        for number, tick in enumerate(self.ticks):
            found[:, number] = tick[name]
        return found

    def episodes(self, games: Games) -> Episodes:
        horizon = games.board.horizon
        stacked = {name: torch.from_numpy(self._stacked(name, horizon)) for name in self.ticks[0]}
        mask, failing = stacked.pop("mask"), stacked.pop("false_premise")
        score = np.select([games.winner == 0, games.winner == 1], [1.0, 0.0], 0.5)
        kept = np.maximum(games.base_health, 0) / BASE_HEALTH
        reward = (score + (1 + kept[:, 0] - kept[:, 1]) / 2) / 2
        return Episodes(
            stacked, mask, torch.from_numpy(score).float(), torch.from_numpy(reward).float(), failing & mask
        )


def play(
    player: Player | None,
    commander: Commander,
    *,
    games: int,
    board: Board,
    rng: np.random.Generator,
    silent_player: Player | None = None,
) -> Episodes:
    """A commanded player against the scripted rush and its head start. `silent_player`: acts where nobody commands.

    `player` None: the noisy script that makes the demonstrations.
    """
    state, minds, book = Games(games, board), Minds(games, rng), _Book()
    commands = np.full(games, NA)
    state.resources[:, 1] += HEAD_START
    while not state.over.all():
        if state.tick % COMMAND_TICKS == 0:
            commands = commander(state, 0, minds)
        acting = silent_player if silent_player is not None and commander is silent else player
        failing = premise_fails(state, 0, commands)
        if acting is None:
            seen = Seen(state.observe(0), state.permitted(0))
            orders = obey(state, 0, commands, rng, noise=EXECUTOR_NOISE)
        else:
            orders, seen = acting.orders(state, 0, commands, rng)
        book.add(seen, commands, orders, ~state.over, failing)
        state.step(orders, rush(state, 1, minds))
    return book.episodes(state)


def demonstrations(games: int, board: Board, rng: np.random.Generator) -> Episodes:
    """Games of the noisy script under the commander with a favourite: no "na" among the commands."""
    return play(None, proxy, games=games, board=board, rng=rng)


def duel(first: Player, second: Player, *, games: int, board: Board, rng: np.random.Generator) -> Ints:
    """Two uncommanded players against each other. The winner of each game: 0, 1, or -1 for a draw."""
    state = Games(games, board)
    commands = np.full(games, NA)
    while not state.over.all():
        orders = [player.orders(state, side, commands, rng)[0] for side, player in enumerate((first, second))]
        state.step(orders[0], orders[1])
    return state.winner


def rollout_of(player: Player, episodes: Episodes) -> Rollout:
    """What PPO learns from. There is no reference policy: the KL is zero by construction."""
    with torch.no_grad():
        found = player.evaluate(episodes.inputs)
    extra = {"reward": episodes.reward}
    return Rollout(
        dict(episodes.inputs), found.logprobs, found.logprobs, found.values, found.entropy, episodes.mask, extra=extra
    )
