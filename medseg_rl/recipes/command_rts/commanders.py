"""Who commands, who obeys by a script, and the scripted opponent. Learns nothing; chance comes from a given generator.

A command holds for `COMMAND_TICKS`. The commanders see the whole state, the opponent's kind among it where it says so.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medseg_rl.recipes.command_rts.game import (
    BASE,
    COST,
    EVERYONE,
    KINDS,
    SELECTIONS,
    SLOTS,
    WORKER,
    Bools,
    Games,
    Ints,
    Orders,
)

COMMANDS = ("na", *(f"build_{kind}" for kind in KINDS), "attack", "defend", "mine")
NA, ATTACK, DEFEND, MINE = 0, 4, 5, 6
COMMAND_TICKS = 4
RUSH_SIZE = 2  # fighters with which the opponent sets out
HEAD_START = 4.0  # resources that the opponent begins with beyond the usual: most players cannot just outnumber it
EXECUTOR_NOISE = 0.3  # share of arbitrary orders in the demonstrations
COMMANDER_NOISE = 0.1  # share of arbitrary commands of the demonstrating commander
GOOD_GUESS = 0.5  # share of games in which that commander's favourite is the counter for certain, else any kind

Commander = Callable[[Games, int, "Minds"], Ints]


class Minds:
    """What the players of many games have in mind: the kind the opponent builds, the kind its commander likes."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.opponent_kind: Ints = rng.integers(0, 3, count)
        guesses = rng.random(count) < GOOD_GUESS
        self.favourite: Ints = np.where(guesses, counter_of(self.opponent_kind), rng.integers(0, 3, count))


def counter_of(kind: Ints) -> Ints:
    """The kind that beats it."""
    return (kind + 2) % 3


def beaten_by(kind: Ints) -> Ints:
    """The kind that it beats."""
    return (kind + 1) % 3


def oracle(games: Games, side: int, minds: Minds) -> Ints:
    """Knows what the opponent builds: mines first, builds the counter, defends when pressed, attacks when stronger."""
    return _sensible(games, side, counter_of(minds.opponent_kind), attack_with=3)


def proxy(games: Games, side: int, minds: Minds) -> Ints:
    """The commander of the demonstrations: has a favourite kind, guessed before the game, and errs now and then."""
    wanted = _sensible(games, side, minds.favourite, attack_with=2)
    erring = minds.rng.random(games.count) < COMMANDER_NOISE
    return np.where(erring, random(games, side, minds), wanted)


def random(games: Games, side: int, minds: Minds) -> Ints:
    """Any command but none."""
    return minds.rng.integers(1, len(COMMANDS), games.count)


def adversarial(games: Games, side: int, minds: Minds) -> Ints:
    """Knows what the opponent builds, and has built what it beats, or none at all; never attacks."""
    loser = 1 + beaten_by(minds.opponent_kind)
    return np.where(minds.rng.random(games.count) < 0.25, loser, MINE)


def silent(games: Games, side: int, minds: Minds) -> Ints:
    """No command."""
    return np.full(games.count, NA)


COMMANDERS: dict[str, Commander] = {
    "Oracle": oracle, "NA": silent, "Random": random, "Proxy": proxy, "Adversarial": adversarial
}  # fmt: skip


def _sensible(games: Games, side: int, kind: Ints, *, attack_with: int) -> Ints:
    army, enemies = games.alive[:, side].sum(1), games.alive[:, 1 - side].sum(1)
    away = np.abs(games.place[:, 1 - side] - games.bases[side]).max(-1)
    pressed = (games.alive[:, 1 - side] & (away <= 3)).any(1) & (army > 0)
    idle = (games.worker_target[:, side] != games.mines[side]).any(-1)
    can_build = (games.resources[:, side] >= COST) & (army < SLOTS)
    strong = (army >= attack_with) & (army >= enemies)
    found = np.where(strong, ATTACK, 1 + kind)
    found = np.where(pressed & ~strong, DEFEND, found)
    return np.where(idle, MINE, np.where(can_build, 1 + kind, found))


def obey(games: Games, side: int, commands: Ints, rng: np.random.Generator, *, noise: float) -> Orders:
    """Do what is commanded and nothing beyond it; without a command, nothing. `noise`: share of arbitrary orders."""
    board = games.board
    builds = (commands >= 1) & (commands <= 3)
    fights = (commands == ATTACK) | (commands == DEFEND)
    select = np.where(builds, BASE, np.where(fights, EVERYONE, np.where(commands == MINE, WORKER, 0)))
    goals = {ATTACK: board.enemy_base, DEFEND: board.base, MINE: board.mine}
    cell = np.zeros(games.count, np.int64)
    for command, place in goals.items():
        cell[commands == command] = board.cell(place)
    select = np.where(_done_already(games, side, commands), 0, select)
    orders = Orders(select, np.clip(commands - 1, 0, 2), cell)
    arbitrary = rng.random(games.count) < noise
    chosen = _arbitrary(games, side, rng)
    mixed = [np.where(arbitrary, getattr(chosen, n), getattr(orders, n)) for n in ("select", "kind", "cell")]
    select = np.where(games.permitted(side)[np.arange(games.count), mixed[0]], mixed[0], 0)
    return Orders(select, mixed[1], mixed[2])


def premise_fails(games: Games, side: int, commands: Ints) -> Bools:
    """Commands that ask for what cannot be: to attack or defend without a fighter, to build without means or room."""
    permitted = games.permitted(side)
    no_army = ((commands == ATTACK) | (commands == DEFEND)) & ~permitted[:, EVERYONE]
    fails: Bools = no_army | ((commands >= 1) & (commands <= 3) & ~permitted[:, BASE])
    return fails


def rush(games: Games, side: int, minds: Minds) -> Orders:
    """The opponent: mines, builds its one kind, sets out with `RUSH_SIZE` fighters and never turns back."""
    army = games.alive[:, side]
    idle = (games.worker_target[:, side] != games.mines[side]).any(-1)
    can_build = games.permitted(side)[:, BASE]
    waiting = army & (games.target[:, side] != games.bases[1 - side]).any(-1)
    sets_out = (army.sum(1) >= RUSH_SIZE) & waiting.any(1)
    select = np.where(idle, WORKER, np.where(can_build, BASE, np.where(sets_out, EVERYONE, 0)))
    board = games.board
    cell = np.where(select == WORKER, board.cell(board.mine), board.cell(board.enemy_base))
    return Orders(select, minds.opponent_kind, cell)


def _done_already(games: Games, side: int, commands: Ints) -> Bools:
    """Whoever is meant goes there already."""
    army = games.alive[:, side]

    def sent(goal: Ints) -> Bools:
        found: Bools = (~army | (games.target[:, side] == goal).all(-1)).all(1)
        return found

    at_work = (games.worker_target[:, side] == games.mines[side]).all(-1)
    found: Bools = (commands == ATTACK) & sent(games.bases[1 - side])
    found |= (commands == DEFEND) & sent(games.bases[side])
    found |= (commands == MINE) & at_work
    return found


def _arbitrary(games: Games, side: int, rng: np.random.Generator) -> Orders:
    scores = np.where(games.permitted(side), rng.random((games.count, SELECTIONS)), -1)
    return Orders(scores.argmax(1), rng.integers(0, 3, games.count), rng.integers(0, games.board.cells, games.count))
