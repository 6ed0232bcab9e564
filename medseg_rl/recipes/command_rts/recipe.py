"""Runs the command game and reports it: five arms under five commanders, and a league of checkpoints.

Jobs: a cloned player a seed, then the arms, then the test games, then the duels. A run goes on from its checkpoint.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from medseg_rl.config import with_changes
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.recipes.command_rts.commanders import (
    ATTACK,
    COMMANDERS,
    DEFEND,
    HEAD_START,
    Commander,
    Minds,
    random,
    silent,
)
from medseg_rl.recipes.command_rts.game import NOTHING, Games, Ints
from medseg_rl.recipes.command_rts.play import Episodes, demonstrations, duel, play
from medseg_rl.recipes.command_rts.policy import Player
from medseg_rl.recipes.command_rts.training import (
    SMOKE,
    TRAINED,
    Settings,
    clone,
    data_of,
    load_player,
    player_name,
    train,
)
from medseg_rl.recipes.recipe import Result, Work, seed_of
from medseg_rl.recipes.report import Cell, Curve, Report, Row, interval
from medseg_rl.rlhf.config import LeagueConfig
from medseg_rl.rlhf.grounded import negative_log_likelihood
from medseg_rl.rlhf.league import games_csv, head_to_head, table, worst_cycle
from medseg_rl.rlhf.ratings import GameResult, bootstrap, rate

SUMMARY = "a commanded strategy game: BC, RL, IRL, Switch, Joint and RED under five commanders, and their league"
REPORTED = ("BC", "RL", "IRL", "Switch", "Joint", "RED")
ENTRANTS = (("BC", 1.0), ("RL", 0.5), ("RL", 1.0), ("Joint", 1.0), ("RED", 0.5), ("RED", 1.0))
# Commands whose premise can fail: without means or room there is no building, without a fighter no attack or defence.
PREMISES = {"build": (1, 2, 3), "attack": (ATTACK,), "defend": (DEFEND,)}
PREMISED = tuple(itertools.chain.from_iterable(PREMISES.values()))
RANDOM_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
PUBLISHED = {  # Xu et al. 2022, win % of MiniRTS; another game, another scale
    "RL": (89.3, 57.5, 53.3, 43.6, 15.9),
    "IRL": (57.3, 45.6, 47.9, 48.9, 35.0),
    "Switch": (78.7, 57.5, 12.3, 7.8, 0.2),
    "Joint": (90.2, 51.8, 32.3, 11.4, 0.4),
    "RED": (92.6, 57.8, 29.8, 11.0, 0.9),
}


def run(work: Work) -> Report:
    """All arms and seeds. Raises Cancelled; what was finished is kept."""
    settings = with_changes(SMOKE if work.smoke else Settings(), work.changes)
    seeds = range(work.seeds or settings.seeds)
    stored = {name: value for name, value in dataclasses.asdict(settings).items() if name != "leave_out"}
    work.open(stored | {"seeds": None, "smoke": work.smoke})
    arms = [arm for arm in TRAINED if arm not in settings.leave_out]
    reported = [arm for arm in REPORTED if arm not in settings.leave_out]
    torch.set_num_threads(1)
    make = functools.partial
    cloned = work.jobs("cloning", {f"BC_{s}": make(clone, settings, s, work) for s in seeds})
    trained = work.jobs("training", {f"{arm}_{s}": make(train, arm, settings, s, work) for s in seeds for arm in arms})
    tested = work.jobs(
        "testing", {f"test_{arm}_{s}": make(_tested, arm, settings, s, work) for s in seeds for arm in reported}
    )
    duels = work.jobs("duels", {f"duels_{s}": make(_duels, settings, s, work) for s in seeds})
    by_arm = {arm: [tested[f"test_{arm}_{s}"] for s in seeds] for arm in reported}
    games = [GameResult(*game) for s in seeds for game in duels[f"duels_{s}"]["games"]]
    with atomic_path(work.folder / "games.csv") as temporary:
        temporary.write_text(games_csv(games), encoding="utf-8")
    curves = [
        Curve(panel, arm, [p[0] for p in points], [p[column] for p in points])
        for panel, column in (("win rate while learning", 1), ("validation NLL, nats", 2))
        for arm in arms
        for s in seeds
        if (points := [p for p in trained[f"{arm}_{s}"]["curve"] if p[column] == p[column]])
    ]
    minutes = sum(r["cpu_seconds"] for part in (cloned, trained, tested, duels) for r in part.values()) / 60
    extra: dict[str, Sequence[Row]] = {
        "league": _league(games),
        "head_to_head": _meetings(games),
        "false_premise": _premises(by_arm),
        "random_share": _random_shares(by_arm["RED"]),
        "published": [{"arm": arm, **dict(zip(COMMANDERS, row, strict=True))} for arm, row in PUBLISHED.items()],
    }
    return Report(
        "A commanded real-time-strategy game", [_row(arm, results) for arm, results in by_arm.items()],
        _facts(settings, len(seeds), minutes, work), curves, "update",
        (*_claims(by_arm), *_cycle_note(games), *NOTES), smoke=work.smoke, extra_tables=extra,
    )  # fmt: skip


# --- jobs ---------------------------------------------------------------------------------------------------------


def _tested(arm: str, settings: Settings, seed: int, work: Work) -> Result:
    """Test games under every commander, the likelihood of unseen demonstrations, false premises."""
    spoken = load_player(work, settings, "BC" if arm == "Switch" else arm, seed, 1.0)
    unspoken = load_player(work, settings, "RL", seed, 1.0) if arm == "Switch" else None
    found: Result = {"wins": {}}
    for name, commander in COMMANDERS.items():
        work.stop_if_cancelled()
        episodes = _played(spoken, commander, name, settings, seed, unspoken)
        found["wins"][name] = float(episodes.won.float().mean())
        if name == "Random":
            found["idle"] = _idle(episodes)
    if arm == "RED":
        shares = {str(share): _mixed(share) for share in RANDOM_SHARES}
        found["shares"] = {
            share: float(_played(spoken, commander, f"mixed {share}", settings, seed).won.float().mean())
            for share, commander in shares.items()
        }
    _, validation = data_of(settings, seed)
    with torch.no_grad():
        found["nll"] = float(negative_log_likelihood(spoken, validation))
    return found


def _played(
    player: Player, commander: Commander, name: str, settings: Settings, seed: int, unspoken: Player | None = None
) -> Episodes:
    rng = np.random.default_rng(seed_of("command_rts", "test", name, seed))
    return play(player, commander, games=settings.test_games, board=settings.board, rng=rng, silent_player=unspoken)


def _idle(episodes: Episodes) -> dict[str, list[float]]:
    """Share of ticks without an order, by kind of command: where it asks for what cannot be, and where it can be."""
    still, command = episodes.inputs["select"] == NOTHING, episodes.inputs["command"]
    failing, counted = episodes.false_premise, episodes.mask
    found = {}
    for name, members in {"any": PREMISED, **PREMISES}.items():
        meant = torch.isin(command, torch.tensor(members)) & counted
        found[name] = [float(still[meant & failing].float().mean()), float(still[meant & ~failing].float().mean())]
    return found


def _mixed(share: float) -> Commander:
    """Random commands at a share of the times, none at the others."""

    def command(games: Games, side: int, minds: Minds) -> Ints:
        speaks = minds.rng.random(games.count) < share
        return np.where(speaks, random(games, side, minds), silent(games, side, minds))

    return command


def _duels(settings: Settings, seed: int, work: Work) -> Result:
    """Everyone against everyone without commands, half the games on either side."""
    entrants = {player_name(arm, seed, age): load_player(work, settings, arm, seed, age) for arm, age in ENTRANTS}
    games: list[tuple[str, str, float, str]] = []
    for one, two in itertools.combinations(entrants, 2):
        work.stop_if_cancelled()
        for first, second in ((one, two), (two, one)):
            games += _met(first, second, entrants, settings, seed)
    return {"games": games}


def _met(
    first: str, second: str, entrants: Mapping[str, Player], settings: Settings, seed: int
) -> list[tuple[str, str, float, str]]:
    rng = np.random.default_rng(seed_of("command_rts", "duel", first, second))
    count = settings.duel_games // 2
    winners = duel(entrants[first], entrants[second], games=count, board=settings.board, rng=rng)
    scores = {0: 1.0, 1: 0.0, -1: 0.5}
    return [(first, second, scores[int(w)], f"s{seed}-{first}-{second}-{i}") for i, w in enumerate(winners)]


# --- report -------------------------------------------------------------------------------------------------------


def _row(arm: str, results: Sequence[Result]) -> Row:
    row: dict[str, Cell] = {"arm": arm}
    for name in COMMANDERS:
        row[f"win % {name}"] = _percent([r["wins"][name] for r in results])
    gaps = [r["wins"]["Oracle"] - r["wins"]["Adversarial"] for r in results]
    row["Oracle - Adversarial"] = _percent(gaps)
    row["NLL, nats"] = str(interval([r["nll"] for r in results]))
    row["left alone on false premise %"] = _percent([r["idle"]["any"][0] for r in results])
    return row


def _percent(shares: Sequence[float]) -> str:
    found = interval([100 * share for share in shares])
    return f"{found.mean:.1f}" + (f" +- {found.half_width:.1f}" if found.runs > 1 else " (one seed)")


def _league(games: Sequence[GameResult]) -> list[Row]:
    """Every seed is a league of its own: its players met only each other."""
    rows: list[Row] = []
    config = LeagueConfig(bootstrap_samples=500)
    for found in _by_seed(games):
        anchor = next(name for name in (found[0].first, found[0].second) if name.startswith("BC"))
        ratings = rate(found, anchor=anchor, config=config)
        for row in table(ratings, {}, config=config, bootstrapped=bootstrap(found, ratings, config=config)):
            rows.append({"name": row.name, "Elo": f"{row.elo:.0f} +- {row.half_width:.0f}", "games": row.games})
    return rows


def _meetings(games: Sequence[GameResult]) -> list[Row]:
    rows: list[Row] = []
    for found in _by_seed(games):
        for first, second, count, seen, expected in head_to_head(found, rate(found)):
            rows.append(
                {"first": first, "second": second, "games": count, "observed": seen, "predicted": round(expected, 4)}
            )
    return rows


def _by_seed(games: Sequence[GameResult]) -> list[list[GameResult]]:
    return [list(group) for _, group in itertools.groupby(games, key=lambda game: game.case.split("-")[0])]


def _premises(by_arm: Mapping[str, Sequence[Result]]) -> list[Row]:
    return [
        {
            "arm": arm,
            "command": name,
            "no order, premise false %": _percent([r["idle"][name][0] for r in results]),
            "no order, premise true %": _percent([r["idle"][name][1] for r in results]),
        }
        for arm, results in by_arm.items()
        for name in PREMISES
    ]


def _random_shares(results: Sequence[Result]) -> list[Row]:
    return [
        {"share of random commands": float(s), "RED win %": _percent([r["shares"][str(s)] for r in results])}
        for s in RANDOM_SHARES
    ]


def _claims(by_arm: Mapping[str, Sequence[Result]]) -> list[str]:
    def gap(first: str, second: str, commander: str) -> str:
        pairs = zip(by_arm[first], by_arm[second], strict=True)
        found = interval([100 * (a["wins"][commander] - b["wins"][commander]) for a, b in pairs])
        if found.runs < 2:
            return f"{found.mean:+.1f} points, one seed: no claim"
        word = "shown here" if found.mean - found.half_width > 0 else "NOT shown here"
        return f"{found.mean:+.1f} +- {found.half_width:.1f} points, {word}"

    adversarial = _percent([r["wins"]["Adversarial"] for r in by_arm["RED"]])
    shares = [np.mean([r["shares"][str(s)] for r in by_arm["RED"]]) for s in RANDOM_SHARES]
    falls = all(a >= b for a, b in itertools.pairwise(shares))
    return [
        f"Claim of the literature, RED wins more than Joint under Oracle: {gap('RED', 'Joint', 'Oracle')}.",
        f"Claim of the literature, RED wins more than Joint without a command: {gap('RED', 'Joint', 'NA')}.",
        f"Claim of the literature, RL wins more than RED under the adversary, for it does not listen: "
        f"{gap('RL', 'RED', 'Adversarial')}.",
        f"RED under the adversary, near zero if it obeys: {adversarial} %.",
        f"More random commands make RED win less at every step: {'shown here' if falls else 'NOT shown here'}.",
    ]


def _cycle_note(games: Sequence[GameResult]) -> list[str]:
    found = [cycle for group in _by_seed(games) if (cycle := worst_cycle(group, sorted({g.first for g in group})))]
    if not found:
        return ["League: no three players beat each other in a ring."]
    names, margin = max(found, key=lambda cycle: cycle[1])
    return [f"League: {' > '.join(names)} > {names[0]} in a ring, each by at least {100 * margin:.0f} points."]


def _facts(settings: Settings, seeds: int, minutes: float, work: Work) -> dict[str, str]:
    rng = np.random.default_rng(seed_of("command_rts", "demonstrator", 0))
    shown = demonstrations(settings.test_games, settings.board, rng)
    player = Player(settings.board)
    weights = sum(p.numel() for p in player.parameters())
    trained = len(set(TRAINED) - set(settings.leave_out))
    return {
        "trained from scratch on": f"{settings.demonstrations} demonstrated games a seed (BC), then "
        f"{settings.updates} updates of {settings.games} games in each other arm; no weights or data from elsewhere",
        "runs": f"{trained} trained arms and BC x {seeds} seeds, {minutes:.1f} CPU minutes "
        "(of a run that went on, its last part)",
        "arms left out": ", ".join(settings.leave_out) or "none",
        "network": f"{weights:,} weights",
        "tests": f"{settings.test_games} games a commander, arm, seed; {settings.duel_games} duels a pair and seed",
        "demonstrator": f"simulated: a script with noise under a commander with a favourite; wins "
        f"{100 * float(shown.won.float().mean()):.1f} % of {settings.test_games} games",
        "board": f"{settings.size} x {settings.size}, {settings.horizon} ticks, scripted rush with a random kind and "
        f"{HEAD_START:.0f} more resources to begin with; fighters are seen within {settings.board.sight} cells",
    }


NOTES = (
    "Intervals are Student's 95 % over seeds of the mean of that seed's test games. A draw is no win.",
    "While learning nobody commands, but for IRL: there the commander of the demonstrations does.",
    "RED ends with a whole cycle: it saw up to seven updates of games more than the other arms.",
    "All commanders are simulated. Proxy is the commander of the demonstrations itself, not a model of people.",
    "Switch is the RL player without a command and the cloned one under a command; it has no training of its own.",
    "BC was never shown a game without a command: its NA column is what it does where it knows nothing.",
    "Reward in all arms: half the result, half the difference of what is left of the bases; the paper's is the result.",
    "The false premise: random commands to attack or defend without a fighter, to build without means or room. Orders "
    "that need a fighter or means are not permitted then; what is counted is whether anybody else is ordered about.",
    "The table `published` is of another game, another scale and real people's commands: for the pattern alone.",
)
