"""The rules: two bases, a worker each, three kinds of fighter that beat each other in a ring. Many games at once.

Deterministic: chance lies in the players alone. Each side gives one order a tick; it sees the board from its corner.
Arrays have the axes (game, side, unit, ...); cells are (x, y) from the corner of side 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SLOTS = 5  # fighters of a side
NOTHING, BASE, WORKER, FIRST_FIGHTER = 0, 1, 2, 3  # what an order selects; after the fighters: all of them
EVERYONE = FIRST_FIGHTER + SLOTS
SELECTIONS = EVERYONE + 1
KINDS = ("sword", "spear", "cavalry")  # each beats the next, cavalry beats the sword
COST, START_RESOURCES, INCOME, MINED = 4.0, 4.0, 0.25, 0.25
FIGHTER_HEALTH, BASE_HEALTH = 6.0, 20.0
DAMAGE = np.array([[1.0, 2.0, 0.5], [0.5, 1.0, 2.0], [2.0, 0.5, 1.0]])  # of row on column, a tick
OWN_FEATURES, ENEMY_FEATURES, REST = 9, 7, 9
FEATURES = SLOTS * (OWN_FEATURES + ENEMY_FEATURES) + REST


@dataclass(frozen=True)
class Board:
    """`size` cells a side, at most `horizon` ticks; a side sees fighters within `sight` cells of its own people."""

    size: int = 10
    horizon: int = 64
    sight: int = 7

    @property
    def cells(self) -> int:
        """How many targets an order can name."""
        return self.size**2

    @property
    def base(self) -> tuple[int, int]:
        """Own base, from the own corner."""
        return (1, 1)

    @property
    def mine(self) -> tuple[int, int]:
        """Own mine, from the own corner."""
        return (1, self.size // 2)

    @property
    def enemy_base(self) -> tuple[int, int]:
        """The other base, from the own corner."""
        return (self.size - 2, self.size - 2)

    def cell(self, place: tuple[int, int]) -> int:
        """Its number as orders name it."""
        return place[0] * self.size + place[1]


@dataclass(frozen=True)
class Orders:
    """One order a game: what is selected, which kind a base builds, which cell the selected go to; each (games,)."""

    select: Ints
    kind: Ints
    cell: Ints

    @classmethod
    def none(cls, games: int) -> Orders:
        """Nobody does anything new."""
        return cls(np.zeros(games, np.int64), np.zeros(games, np.int64), np.zeros(games, np.int64))


class Games:
    """The state of `count` games. `winner` (count,): 0 or 1, -1 draw or not over; `over` (count,)."""

    def __init__(self, count: int, board: Board) -> None:
        self.board, self.count, self.tick = board, count, 0
        self.kind: Ints = np.full((count, 2, SLOTS), -1)  # -1: no fighter in this slot
        self.health: Floats = np.zeros((count, 2, SLOTS))
        self.place: Ints = np.zeros((count, 2, SLOTS, 2), np.int64)
        self.target: Ints = np.zeros((count, 2, SLOTS, 2), np.int64)
        corner = np.array([board.base, board.enemy_base])
        self.bases: Ints = corner
        self.mines: Ints = np.array([board.mine, self._turned(np.array(board.mine))])
        self.worker: Ints = np.tile(corner, (count, 1, 1))
        self.worker_target: Ints = self.worker.copy()
        self.resources: Floats = np.full((count, 2), START_RESOURCES)
        self.base_health: Floats = np.full((count, 2), BASE_HEALTH)
        self.over: Bools = np.zeros(count, bool)
        self.winner: Ints = np.full(count, -1)

    @property
    def alive(self) -> Bools:
        """(games, side, unit)."""
        return self.kind >= 0

    def step(self, first: Orders, second: Orders) -> None:
        """One tick of every game that is not over."""
        for side, orders in enumerate((first, second)):
            self._order(side, orders)
        at_mine = (self.worker == self.mines).all(-1)
        self.resources += np.where(self.over[:, None], 0, INCOME + MINED * at_mine)
        self._move()
        self._fight()
        self.tick += 1
        self._judge()

    def permitted(self, side: int) -> Bools:
        """(games, SELECTIONS): an empty slot, a base that cannot pay or has no room, cannot be selected."""
        alive = self.alive[:, side]
        can_build = (self.resources[:, side] >= COST) & ~alive.all(1)
        always = np.ones(self.count, bool)
        return np.column_stack([always, can_build, always, alive, alive.any(1)])

    def observe(self, side: int) -> npt.NDArray[np.float32]:
        """(games, FEATURES) from the corner of `side`, each feature about 0..1.

        Of the other side: its base, and the fighters within sight of an own fighter, worker or base. Not its resources.
        """
        games, size = self.count, self.board.size - 1
        found = []
        for who in (side, 1 - side):
            alive = self.alive[:, who] if who == side else self._seen(side)
            kinds = self.kind[:, who, :, None] == np.arange(3)
            parts = [alive[..., None], kinds, self.health[:, who, :, None] / FIGHTER_HEALTH]
            parts.append(self.seen_from(side, self.place[:, who]) / size)
            if who == side:
                parts.append(self.seen_from(side, self.target[:, who]) / size)
            found.append((np.concatenate(parts, -1) * alive[..., None]).reshape(games, -1))
        worker = self.seen_from(side, self.worker[:, side]) / size
        going = self.seen_from(side, self.worker_target[:, side]) / size
        mining = (self.worker[:, side] == self.mines[side]).all(-1)
        health = self.base_health[:, [side, 1 - side]] / BASE_HEALTH
        clock = np.full(games, self.tick / self.board.horizon)
        rest = [worker, going, mining, self.resources[:, side] / 8, health, clock]
        return np.column_stack([*found, *rest]).astype(np.float32)

    def _seen(self, side: int) -> Bools:
        """(games, unit): which fighters of the other side are in sight."""
        base = np.broadcast_to(self.bases[side], (self.count, 1, 2))
        eyes = np.concatenate([self.place[:, side], self.worker[:, side, None], base], 1)
        open_eyes = np.column_stack([self.alive[:, side], np.ones((self.count, 2), bool)])
        away = np.abs(self.place[:, 1 - side, :, None] - eyes[:, None]).max(-1)
        found: Bools = ((away <= self.board.sight) & open_eyes[:, None]).any(2) & self.alive[:, 1 - side]
        return found

    def seen_from(self, side: int, place: Ints) -> Ints:
        """Cells (..., 2) from the corner of a side."""
        return place if side == 0 else self._turned(place)

    def _turned(self, place: Ints) -> Ints:
        return self.board.size - 1 - place

    def _order(self, side: int, orders: Orders) -> None:
        permitted = self.permitted(side) & ~self.over[:, None]
        select = np.where(permitted[np.arange(self.count), orders.select], orders.select, NOTHING)
        goal = self.seen_from(side, np.stack(np.divmod(orders.cell, self.board.size), -1))
        builds = np.flatnonzero(select == BASE)
        slot = np.argmin(self.alive[builds, side], 1)
        self.kind[builds, side, slot] = orders.kind[builds]
        self.health[builds, side, slot] = FIGHTER_HEALTH
        self.place[builds, side, slot] = self.target[builds, side, slot] = self.bases[side]
        self.resources[builds, side] -= COST
        sends = np.flatnonzero(select == WORKER)
        self.worker_target[sends, side] = goal[sends]
        slots = FIRST_FIGHTER + np.arange(SLOTS)
        ordered = (select[:, None] == slots) | (select == EVERYONE)[:, None]
        self.target[:, side] = np.where(ordered[..., None], goal[:, None], self.target[:, side])

    def _move(self) -> None:
        going = ~self.over[:, None]
        self.worker += np.where(going[..., None], np.sign(self.worker_target - self.worker), 0)
        engaged = np.stack([self._near(0).any(2), self._near(1).any(2)], 1)  # who fights stands
        walks = self.alive & ~engaged & going[..., None]
        self.place += np.where(walks[..., None], np.sign(self.target - self.place), 0)

    def _near(self, side: int) -> Bools:
        """(games, unit, enemy): alive both and at most one cell apart."""
        apart = np.abs(self.place[:, side, :, None] - self.place[:, 1 - side, None]).max(-1)
        found: Bools = (apart <= 1) & self.alive[:, side, :, None] & self.alive[:, 1 - side, None]
        return found

    def _fight(self) -> None:
        hurt = np.zeros_like(self.health)
        for side in (0, 1):
            near = self._near(side) & ~self.over[:, None, None]
            victim = np.argmax(near, 2)
            fights = near.any(2)
            kinds = np.take_along_axis(self.kind[:, 1 - side], victim, 1)
            damage = np.where(fights, DAMAGE[self.kind[:, side], kinds], 0)
            for unit in range(SLOTS):
                hurt[np.arange(self.count), 1 - side, victim[:, unit]] += damage[:, unit]
            at_base = np.abs(self.place[:, side] - self.bases[1 - side]).max(-1) <= 1
            razing = self.alive[:, side] & ~fights & at_base & ~self.over[:, None]
            self.base_health[:, 1 - side] -= razing.sum(1)
        self.health -= hurt
        dead = self.alive & (self.health <= 0)
        self.kind[dead], self.health[dead] = -1, 0

    def _judge(self) -> None:
        health = self.base_health
        ends = ~self.over & ((health <= 0).any(1) | (self.tick >= self.board.horizon))
        kept = np.maximum(health, 0)
        better = np.where(kept[:, 0] > kept[:, 1], 0, np.where(kept[:, 1] > kept[:, 0], 1, -1))
        self.winner[ends] = better[ends]
        self.over |= ends
