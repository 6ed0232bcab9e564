"""Ratings of checkpoints from their games: a batch Bradley-Terry fit with virtual draws, and intervals of it.

A draw is half a win to each. Prior: virtual draws against the parent, as KataGo's distributed training has them; where
the parent is not known, 0.01 / (n - 1) draws against every other. One checkpoint is the anchor at 0, and every interval
is relative to it unless it says "conditional". Reads no file: `league.py` says what games there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medseg_rl.rlhf.config import LeagueConfig

Array = npt.NDArray[np.float64]

ELO_PER_NAT = 400 / math.log(10)
LONELY_DRAWS = 0.01  # shared among all others by a checkpoint without a parent
MOST_UNCERTAIN = 10.0  # nats: the conditional uncertainty of who has hardly played
CONVERGED, MOST_STEPS = 1e-10, 200


class GameResult(NamedTuple):
    """One game. `score`: 1 the first won, 0 the second, 0.5 a draw. `case`: games on one case hang together."""

    first: str
    second: str
    score: float
    case: str


@dataclass(frozen=True)
class Ratings:
    """`log_gamma` in nats, the anchor's 0. `information`: Fisher's, of all players. `games`: played by each."""

    players: tuple[str, ...]
    anchor: str
    log_gamma: Array
    information: Array
    games: tuple[int, ...]

    @property
    def elo(self) -> Array:
        """In Elo: 173.72 to a nat."""
        return self.log_gamma * ELO_PER_NAT

    @property
    def conditional(self) -> Array:
        """Uncertainty of each in nats if all other ratings were known; KataGo shows twice this."""
        total = np.diag(self.information)
        return np.minimum(1 / np.sqrt(np.maximum(total, 1e-12)), MOST_UNCERTAIN)

    @property
    def covariance(self) -> Array:
        """(n, n) in nats squared, relative to the anchor, whose row and column are 0: the marginal uncertainty."""
        n, fixed = len(self.players), self.players.index(self.anchor)
        free = [i for i in range(n) if i != fixed]
        found = np.zeros((n, n))
        found[np.ix_(free, free)] = np.linalg.inv(self.information[np.ix_(free, free)])
        return found

    @property
    def marginal(self) -> Array:
        """Standard deviation of each in nats, relative to the anchor."""
        return np.sqrt(np.diag(self.covariance))

    def difference(self, first: str, second: str) -> tuple[float, float]:
        """Rating of the first minus the second and its standard deviation, in Elo; the anchor does not matter."""
        i, j = self.players.index(first), self.players.index(second)
        covariance = self.covariance
        variance = covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]
        return float(self.elo[i] - self.elo[j]), ELO_PER_NAT * math.sqrt(max(variance, 0.0))

    def superiority(self) -> Array:
        """(n, n): how likely the row is better than the column, by the normal approximation; 0.5 on the diagonal."""
        covariance, gap = self.covariance, self.log_gamma[:, None] - self.log_gamma
        variances = np.diag(covariance)
        deviation = np.sqrt(np.maximum(variances[:, None] + variances - 2 * covariance, 1e-18))
        found = np.vectorize(normal_cdf)(gap / deviation)
        np.fill_diagonal(found, 0.5)
        return np.asarray(found, np.float64)


def normal_cdf(z: float) -> float:
    """P(Z <= z) of a standard normal variable."""
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def normal_quantile(confidence: float) -> float:
    """z of a two-sided interval: 1.96 for 0.95."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + confidence / 2))


def players_of(games: Sequence[GameResult]) -> tuple[str, ...]:
    """Everyone who played, in order of first appearance."""
    return tuple(dict.fromkeys(name for game in games for name in (game.first, game.second)))


def win_matrix(games: Sequence[GameResult], players: Sequence[str]) -> Array:
    """(n, n): wins of the row over the column, draws half to each. No prior."""
    place = {name: i for i, name in enumerate(players)}
    wins = np.zeros((len(players), len(players)))
    for game in games:
        i, j = place[game.first], place[game.second]
        wins[i, j] += game.score
        wins[j, i] += 1 - game.score
    return wins


def virtual_draws(players: Sequence[str], parents: Mapping[str, str], *, strength: float) -> Array:
    """(n, n) half-wins of the prior: `strength` draws with the parent, else a trace with everyone."""
    n = len(players)
    place = {name: i for i, name in enumerate(players)}
    prior = np.zeros((n, n))
    for i, name in enumerate(players):
        parent = place.get(parents.get(name, ""))
        if parent is not None and parent != i:
            prior[i, parent] += strength / 2
            prior[parent, i] += strength / 2
        elif n > 1:
            trace = np.full(n, LONELY_DRAWS / (n - 1) / 2)
            trace[i] = 0
            prior[i] += trace
            prior[:, i] += trace
    return prior


def fit(wins: Array, *, anchor: int = 0) -> Array:
    """Log-gammas (n,) in nats that maximise the likelihood of `wins` (prior included), the anchor's 0.

    Newton's method on a strictly concave function; a step that does not improve is halved. Raises ValueError where
    somebody is connected to nobody, which virtual draws prevent.
    """
    n = len(wins)
    games = wins + wins.T
    if n < 2:
        return np.zeros(n)
    if (games.sum(1) == 0).any():
        raise ValueError("a player has no game and no virtual draw, so no rating; give it one")
    free = np.delete(np.arange(n), anchor)
    rating = np.zeros(n)
    value = _likelihood(wins, rating)
    for _ in range(MOST_STEPS):
        expected = games / (1 + np.exp(rating[None, :] - rating[:, None]))
        gradient = (wins - expected).sum(1)[free]
        step = np.zeros(n)
        step[free] = np.linalg.solve(information_of(games, rating)[np.ix_(free, free)], gradient)
        scale = 1.0
        while (new := _likelihood(wins, rating + scale * step)) < value - 1e-12 and scale > 1e-9:
            scale /= 2
        rating, value = rating + scale * step, new
        if np.abs(scale * step).max() < CONVERGED:
            break
    return rating


def information_of(games: Array, rating: Array) -> Array:
    """Fisher information (n, n): off the diagonal -n_ij / (e^(d/2) + e^(-d/2))^2, rows sum to 0."""
    gap = rating[:, None] - rating
    pair = games / (2 * np.cosh(gap / 2)) ** 2
    np.fill_diagonal(pair, 0)
    return np.asarray(np.diag(pair.sum(1)) - pair, np.float64)


def rate(
    games: Sequence[GameResult], *, anchor: str | None = None, parents: Mapping[str, str] | None = None,
    config: LeagueConfig | None = None, players: Sequence[str] | None = None,
) -> Ratings:  # fmt: skip
    """Rate everyone. `anchor`: the first to appear unless given. `players`: for a given order, or who has not played.

    Raises ValueError: an anchor or a game of somebody who is not among them.
    """
    config, parents = config or LeagueConfig(), parents or {}
    names = tuple(players) if players is not None else players_of(games)
    anchor = names[0] if anchor is None else anchor
    if anchor not in names:
        raise ValueError(f"the anchor {anchor} has played no game; choose one of {', '.join(names)}")
    own = win_matrix(games, names)
    wins = own + virtual_draws(names, parents, strength=config.virtual_draw_strength)
    rating = fit(wins, anchor=names.index(anchor))
    played = tuple(round(count) for count in (own + own.T).sum(1))
    return Ratings(names, anchor, rating, information_of(wins + wins.T, rating), played)


class BootstrapRatings(NamedTuple):
    """`draws` (samples, n) in Elo relative to the anchor, refitted on cases drawn anew; `cases`: how many there are."""

    players: tuple[str, ...]
    draws: Array
    cases: int

    def half_width(self, name: str, *, confidence: float) -> float:
        """Half the percentile interval of one rating."""
        return self._half(self.draws[:, self.players.index(name)], confidence)

    def difference(self, first: str, second: str, *, confidence: float) -> tuple[float, float]:
        """Ends of the percentile interval of first minus second, Elo."""
        gap = self.draws[:, self.players.index(first)] - self.draws[:, self.players.index(second)]
        low, high = np.quantile(gap, [(1 - confidence) / 2, (1 + confidence) / 2])
        return float(low), float(high)

    def _half(self, draws: Array, confidence: float) -> float:
        low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
        return float(high - low) / 2


def bootstrap(
    games: Sequence[GameResult], ratings: Ratings, *, parents: Mapping[str, str] | None = None,
    config: LeagueConfig | None = None, seed: int = 0,
) -> BootstrapRatings:  # fmt: skip
    """Ratings of samples of cases with replacement: games on one case are no independent evidence."""
    config, names = config or LeagueConfig(), ratings.players
    by_case: dict[str, list[GameResult]] = {}
    for game in games:
        by_case.setdefault(game.case, []).append(game)
    matrices = np.stack([win_matrix(found, names) for found in by_case.values()])
    prior = virtual_draws(names, parents or {}, strength=config.virtual_draw_strength)
    # A pair that a sample leaves unconnected must not make the fit fail: a trace that changes no figure.
    prior = prior + 1e-6 * (1 - np.eye(len(names)))
    rng, anchor = np.random.default_rng(seed), names.index(ratings.anchor)
    count = len(matrices)
    draws = np.empty((config.bootstrap_samples, len(names)))
    for sample in range(config.bootstrap_samples):
        weights = rng.multinomial(count, np.full(count, 1 / count))
        draws[sample] = fit(np.tensordot(weights, matrices, 1) + prior, anchor=anchor)
    return BootstrapRatings(names, draws * ELO_PER_NAT, count)


def simulated_coverage(
    rating: Array, games: Array, *, repeats: int, config: LeagueConfig | None = None, seed: int = 0
) -> tuple[Array, Array]:
    """How often the intervals of a planted `rating` (n,) hold it: (marginal, conditional), each (n,), the anchor's 1.

    `games` (n, n): how many each pair plays. The anchor is player 0, and no prior is used.
    """
    config = config or LeagueConfig()
    z, rng, n = normal_quantile(config.confidence), np.random.default_rng(seed), len(rating)
    chance = 1 / (1 + np.exp(rating[None, :] - rating[:, None]))
    counts = np.triu(games).astype(int)
    held = np.zeros((2, n))
    for _ in range(repeats):
        upper = np.triu(rng.binomial(counts, chance), 1)
        wins = upper + np.triu(counts - upper, 1).T + 1e-9 * ((games + games.T) > 0)
        found = fit(wins.astype(np.float64))
        names = tuple(map(str, range(n)))
        fitted = Ratings(names, "0", found, information_of(games + 0.0, found), (0,) * n)
        error = np.abs(found - (rating - rating[0]))
        held[0] += error <= z * fitted.marginal + 1e-12
        held[1] += error <= z * fitted.conditional
    return held[0] / repeats, held[1] / repeats


def _likelihood(wins: Array, rating: Array) -> float:
    return -float((wins * np.logaddexp(0, rating[None, :] - rating[:, None])).sum())
