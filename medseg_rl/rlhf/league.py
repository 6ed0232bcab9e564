"""The league of checkpoints: their games and registry, the table, who plays whom next, and who is promoted.

A checkpoint is promoted for what it won, never for being newer. How ratings are fitted is `ratings.py`'s.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medseg_rl.errors import InputFileError
from medseg_rl.rlhf.config import LeagueConfig, config_of
from medseg_rl.rlhf.manifest import effective, read_records
from medseg_rl.rlhf.ratings import (
    ELO_PER_NAT,
    Array,
    BootstrapRatings,
    GameResult,
    Ratings,
    normal_quantile,
    win_matrix,
)
from medseg_rl.rlhf.records import Game, Record

GAME_COLUMNS = ("first", "second", "score", "case")
SCORES = {"first": 1.0, "second": 0.0, "draw": 0.5}
MANIFEST = "records.jsonl"


@dataclass(frozen=True)
class Entry:
    """A checkpoint in the registry. `created`: as text; `file`, `weights`: where it lies and the SHA-256 of them."""

    name: str
    created: str = ""
    file: str = ""
    weights: str = ""
    parent: str | None = None


class TableRow(NamedTuple):
    """`half_width` in Elo, the wider of Fisher's marginal interval and that of the bootstrap over cases."""

    name: str
    created: str
    elo: float
    half_width: float
    games: int
    file: str
    weights: str


class Gate(NamedTuple):
    """One condition of a promotion, and what was found."""

    name: str
    passed: bool
    found: str


class Verdict(NamedTuple):
    """Whether the candidate takes the incumbent's place."""

    promoted: bool
    gates: tuple[Gate, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """The gates that stand in the way."""
        return tuple(gate.name for gate in self.gates if not gate.passed)


# --- games and registry -------------------------------------------------------------------------------------------


def games_of(records: Iterable[Record], *, draw_margin: float) -> list[GameResult]:
    """Game records as results. Where both scores are known, a difference up to `draw_margin` is a draw."""
    found = []
    for record in records:
        if not isinstance(record, Game):
            continue
        score = SCORES[record.result]
        if record.score_first is not None and record.score_second is not None:
            gap = record.score_first - record.score_second
            score = 0.5 if abs(gap) <= draw_margin + 1e-9 else float(gap > 0)
        found.append(GameResult(record.first, record.second, score, record.case_id))
    return found


def read_games(path: Path, *, draw_margin: float = LeagueConfig.draw_margin) -> list[GameResult]:
    """Games of a feedback store's folder, its export (.zip), a manifest (.jsonl) or a games file (.csv).

    Raises InputFileError: nothing there, or not as it should be.
    """
    if path.is_dir():
        return games_of(effective(read_records(path / MANIFEST)), draw_margin=draw_margin)
    if path.suffix == ".jsonl":
        return games_of(effective(read_records(path)), draw_margin=draw_margin)
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
                records = read_records(Path(archive.extract(MANIFEST, folder)))
            return games_of(effective(records), draw_margin=draw_margin)
        return _from_csv(path)
    except (OSError, KeyError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise InputFileError(f"cannot read games from {path}: {error}") from None


def games_csv(games: Iterable[GameResult]) -> str:
    """The text of a games file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(GAME_COLUMNS)
    writer.writerows((game.first, game.second, f"{game.score:g}", game.case) for game in games)
    return text.getvalue()


def read_registry(path: Path) -> dict[str, Entry]:
    """Checkpoints by name, from a JSON list of objects with the fields of `Entry`. Raises InputFileError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputFileError(f"cannot read the registry {path}: {error}") from None
    if not isinstance(content, list):
        raise InputFileError(f"{path} is no JSON list of checkpoints")
    entries = [config_of(Entry, item) for item in content]
    return {entry.name: entry for entry in entries}


def _from_csv(path: Path) -> list[GameResult]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and not set(GAME_COLUMNS) <= set(rows[0]):
        raise InputFileError(f"{path} has not the columns {', '.join(GAME_COLUMNS)} of a games file")
    found = []
    for number, row in enumerate(rows, 2):
        if row["score"] not in ("0", "0.5", "1"):
            raise InputFileError(f"{path}, line {number}: the score is {row['score']!r}, not 0, 0.5 or 1")
        found.append(GameResult(row["first"], row["second"], float(row["score"]), row["case"]))
    return found


# --- table and diagnostics ----------------------------------------------------------------------------------------


def table(
    ratings: Ratings, registry: Mapping[str, Entry], *, config: LeagueConfig, bootstrapped: BootstrapRatings | None
) -> list[TableRow]:
    """Best first. The interval is marginal unless the config says "conditional"; the wider one with a bootstrap."""
    z = normal_quantile(config.confidence)
    widths = (ratings.conditional if config.interval == "conditional" else ratings.marginal) * ELO_PER_NAT * z
    rows = []
    for i, name in enumerate(ratings.players):
        width = float(widths[i])
        if bootstrapped is not None and config.interval == "marginal":
            width = max(width, bootstrapped.half_width(name, confidence=config.confidence))
        entry = registry.get(name, Entry(name))
        elo = float(ratings.elo[i])
        rows.append(TableRow(name, entry.created, elo, width, ratings.games[i], entry.file, entry.weights))
    return sorted(rows, key=lambda row: -row.elo)


def head_to_head(games: Sequence[GameResult], ratings: Ratings) -> list[tuple[str, str, int, float, float]]:
    """(first, second, games, observed, predicted) score of the first, for each pair that met."""
    wins = win_matrix(games, ratings.players)
    played = wins + wins.T
    rows = []
    for i, j in itertools.combinations(range(len(ratings.players)), 2):
        if played[i, j]:
            predicted = 1 / (1 + np.exp(ratings.log_gamma[j] - ratings.log_gamma[i]))
            observed = float(wins[i, j] / played[i, j])
            rows.append((ratings.players[i], ratings.players[j], int(played[i, j]), observed, float(predicted)))
    return rows


def worst_cycle(games: Sequence[GameResult], players: Sequence[str]) -> tuple[tuple[str, str, str], float] | None:
    """The three that beat each other in a ring by the largest least margin, and that margin; None without a ring.

    A rating on one line cannot express a ring.
    """
    wins = win_matrix(games, players)
    played = wins + wins.T
    margin = np.divide(wins, played, out=np.full_like(wins, 0.5), where=played > 0) - 0.5
    best: tuple[tuple[str, str, str], float] | None = None
    for i, j, k in itertools.permutations(range(len(players)), 3):
        if i < j and i < k:
            least = float(min(margin[i, j], margin[j, k], margin[k, i]))
            if least > 0 and (best is None or least > best[1]):
                best = ((players[i], players[j], players[k]), least)
    return best


def pairing_weights(ratings: Ratings, *, config: LeagueConfig) -> Array:
    """(n, n), symmetric, sum 1: how often each pair should play next.

    Equal parts for a high upper bound, for uncertainty and for few games, times p (1 - p) of the pair; none beyond
    `max_rating_gap`.
    """
    elo, deviation = ratings.elo, ratings.conditional * ELO_PER_NAT
    upper = elo + 2 * deviation
    few = 1 / (1 + np.asarray(ratings.games, np.float64))
    wanted = sum(part / part.sum() for part in (np.exp((upper - upper.max()) / 400), deviation, few))
    gap = elo[:, None] - elo
    chance = 1 / (1 + 10 ** (-gap / 400))
    weights = np.where(np.abs(gap) <= config.max_rating_gap, chance * (1 - chance), 0) * (wanted[:, None] + wanted)
    np.fill_diagonal(weights, 0)
    total = weights.sum()
    return np.asarray(weights / total if total else weights, np.float64)


# --- promotion ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SafetyFigures:
    """Of one checkpoint. `dice`: public held-out benchmark. `over`, `under`: abstention rates, None where not
    measured. `clicks_respected`: share.
    """

    dice: float
    over: float | None = None
    under: float | None = None
    clicks_respected: float | None = None


def promotion(
    candidate: str, incumbent: str, ratings: Ratings, bootstrapped: BootstrapRatings,
    *, candidate_figures: SafetyFigures, incumbent_figures: SafetyFigures, config: LeagueConfig,
) -> Verdict:  # fmt: skip
    """Promote iff it wins by both intervals and no figure falls: Dice by more than .005, abstention rates by more than
    a point, respected clicks at all. What was not measured for both is no gate, and is said to be so.
    """
    gap, deviation = ratings.difference(candidate, incumbent)
    low = gap - normal_quantile(config.confidence) * deviation
    low_cases, _ = bootstrapped.difference(candidate, incumbent, confidence=config.confidence)
    gates = [
        Gate("wins by Fisher's interval", low > 0, f"{gap:+.1f} Elo, lower bound {low:+.1f}"),
        Gate("wins by the bootstrap over cases", low_cases > 0, f"lower bound {low_cases:+.1f} Elo"),
    ]
    ours, theirs = candidate_figures, incumbent_figures
    gates.append(_figure_gate("public benchmark keeps its Dice", ours.dice, theirs.dice, slack=config.draw_margin))
    for name, mine, other in (("over", ours.over, theirs.over), ("under", ours.under, theirs.under)):
        worse = None if mine is None else -mine
        gates.append(_figure_gate(f"{name}-abstention", worse, None if other is None else -other, slack=0.01))
    gates.append(_figure_gate("clicks respected", ours.clicks_respected, theirs.clicks_respected, slack=0.0))
    return Verdict(all(gate.passed for gate in gates), tuple(gates))


def _figure_gate(name: str, ours: float | None, theirs: float | None, *, slack: float) -> Gate:
    if ours is None or theirs is None:
        return Gate(name, True, "not measured for both")
    change = ours - theirs
    return Gate(name, change >= -slack - 1e-12, f"change {change:+.4f}, at most {slack:g} may be lost")
