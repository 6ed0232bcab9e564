"""The player's network: a few dense layers on the board's features and an embedded command. Plays no game.

The command "na" has the embedding zero, and keeps it. An order is three choices in a row (what is selected; which kind,
if a base; which cell, if a unit), and its log-probability is the sum of those that count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg_rl.recipes.command_rts.commanders import COMMANDS, NA
from medseg_rl.recipes.command_rts.game import BASE, FEATURES, SELECTIONS, WORKER, Board, Games, Ints, Orders
from medseg_rl.rlhf.rollout import Evaluation

WIDTH = 128


class Choices(NamedTuple):
    """Log-probabilities of the three choices, (..., options), and the value (...)."""

    select: Tensor
    kind: Tensor
    cell: Tensor
    value: Tensor


class Player(nn.Module):
    """Actor and critic with a shared trunk."""

    def __init__(self, board: Board, width: int = WIDTH) -> None:
        super().__init__()
        self.board = board
        self.command = nn.Embedding(len(COMMANDS), width, padding_idx=NA)
        self.see = nn.Linear(FEATURES, width)
        self.think = nn.Linear(width, width)
        self.select, self.kind = nn.Linear(width, SELECTIONS), nn.Linear(width, 3)
        self.cell, self.value = nn.Linear(width, board.cells), nn.Linear(width, 1)
        nn.init.zeros_(self.value.weight)

    def forward(self, features: Tensor, command: Tensor, permitted: Tensor) -> Choices:
        """`features` (..., FEATURES), `command` (...), `permitted` (..., SELECTIONS) bool."""
        seen = torch.relu(self.see(features) + self.command(command))
        thought = torch.relu(self.think(seen))
        select = self.select(thought).masked_fill(~permitted, -1e9)
        select, kind, cell = (functional.log_softmax(x, -1) for x in (select, self.kind(thought), self.cell(thought)))
        return Choices(select, kind, cell, self.value(thought)[..., 0])

    def evaluate(self, inputs: Mapping[str, Tensor]) -> Evaluation:
        """Of orders that were given: (batch, time) each."""
        found = self(inputs["features"], inputs["command"], inputs["permitted"])
        picked = [
            choice.gather(-1, inputs[name][..., None])[..., 0]
            for name, choice in (("select", found.select), ("kind", found.kind), ("cell", found.cell))
        ]
        builds, goes = inputs["select"] == BASE, inputs["select"] >= WORKER
        logprobs = picked[0] + builds * picked[1] + goes * picked[2]
        return Evaluation(logprobs, found.value, _entropy(found))

    @torch.no_grad()
    def orders(self, games: Games, side: int, commands: Ints, rng: np.random.Generator) -> tuple[Orders, Seen]:
        """Drawn orders for every game, and what they were drawn from."""
        features, permitted = games.observe(side), games.permitted(side)
        found = self(torch.from_numpy(features), torch.from_numpy(commands), torch.from_numpy(permitted))
        drawn = [_drawn(choice, rng) for choice in (found.select, found.kind, found.cell)]
        return Orders(*drawn), Seen(features, permitted)


class Seen(NamedTuple):
    """What an order was given on: (games, FEATURES) and (games, SELECTIONS)."""

    features: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    permitted: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def _drawn(logprobs: Tensor, rng: np.random.Generator) -> Ints:
    """One option a row, by Gumbel noise from NumPy's generator: a game depends on no other random state."""
    noise = rng.gumbel(size=tuple(logprobs.shape))
    found: Ints = (logprobs.numpy() + noise).argmax(-1)
    return found


def _entropy(found: Choices) -> Tensor:
    """Of the whole order: H(select) + P(base) H(kind) + P(unit) H(cell), nats."""
    select, kind, cell = (-(x.exp() * x).sum(-1) for x in (found.select, found.kind, found.cell))
    chance = found.select.exp()
    return select + chance[..., BASE] * kind + chance[..., WORKER:].sum(-1) * cell
