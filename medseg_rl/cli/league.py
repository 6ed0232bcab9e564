"""`medseg-rl league`: rates checkpoints from games, and says whether a candidate may take the incumbent's place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg_rl.cli.terminal import JsonOption, guarded, print_json, print_table, progress

if TYPE_CHECKING:
    from medseg_rl.rlhf.league import SafetyFigures, Verdict
    from medseg_rl.rlhf.ratings import BootstrapRatings, GameResult, Ratings


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("league")(league)


@guarded
def league(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Feedback stores (folders), their exports (.zip), manifests (.jsonl), games (.csv)."),
    ],
    registry: Annotated[
        Path | None,
        typer.Option(help="JSON list of {name, created, file, weights, parent}.", show_default=False),
    ] = None,
    anchor: Annotated[str | None, typer.Option(help="Who stands at 0; the first to appear unless given.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the table as CSV.", show_default=False)
    ] = None,
    promote: Annotated[
        tuple[str, str] | None,
        typer.Option(help="CANDIDATE INCUMBENT: may the first replace the second?", show_default=False),
    ] = None,
    benchmark: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="With --promote: results of `medseg-rl evaluate` of both, in that order.", show_default=False
        ),
    ] = None,
    bootstraps: Annotated[int, typer.Option(min=0, help="Samples of cases; 0 leaves Fisher's interval alone.")] = 2000,
    as_json: JsonOption = False,
) -> None:
    """Rate checkpoints by their games: Elo with 95 % intervals, the wider of Fisher's and a bootstrap over cases."""
    from medseg_rl.errors import InputFileError
    from medseg_rl.rlhf.config import LeagueConfig
    from medseg_rl.rlhf.league import read_games, read_registry, table, worst_cycle
    from medseg_rl.rlhf.ratings import bootstrap, players_of, rate

    config = LeagueConfig(bootstrap_samples=bootstraps)
    games = [game for source in sources for game in read_games(source, draw_margin=config.draw_margin)]
    if not games:
        raise InputFileError(
            f"no game stands in {', '.join(map(str, sources))}; compare two models blind, or play some"
        )
    names = players_of(games)
    for name in (name for name in (anchor, *(promote or ())) if name is not None and name not in names):
        raise InputFileError(f"{name} has played no game; there are {', '.join(names)}")
    entries = read_registry(registry) if registry else {}
    parents = {entry.name: entry.parent for entry in entries.values() if entry.parent}
    with progress("rating"):
        ratings = rate(games, anchor=anchor, parents=parents, config=config)
        sampled = bootstrap(games, ratings, parents=parents, config=config) if bootstraps else None
    rows = [_shown(row) for row in table(ratings, entries, config=config, bootstrapped=sampled)]
    verdict = None
    if promote is not None:
        verdict = _verdict(promote, benchmark, ratings, sampled, config)
    if output is not None:
        _write(output, rows)
    cycle = worst_cycle(games, names)
    if as_json:
        print_json(_report(rows, ratings, games, sampled, verdict, cycle))
        return
    print_table("", HEADER, [[str(row[name]) for name in HEADER] for row in rows])
    print(f"Elo relative to {ratings.anchor} with 95 % intervals; {_kind(sampled)}; {len(games)} games")
    if cycle is not None:
        print(f"in a ring: {' > '.join(cycle[0])} > {cycle[0][0]}, each by at least {100 * cycle[1]:.0f} points")
    if verdict is not None and promote is not None:
        print_table(
            "", ("gate", "passed", "found"), [(g.name, "yes" if g.passed else "no", g.found) for g in verdict.gates]
        )
        print(f"{promote[0]} {'replaces' if verdict.promoted else 'does not replace'} {promote[1]}")


HEADER = ("Name", "Created", "Elo +- (games)", "File", "Weights")


def _shown(row: Any) -> dict[str, Any]:
    return {
        "Name": row.name,
        "Created": row.created,
        "Elo +- (games)": f"{row.elo:.1f} +- {row.half_width:.1f} ({row.games})",
        "File": row.file,
        "Weights": row.weights[:16],
        "elo": row.elo,
        "half_width": row.half_width,
        "games": row.games,
    }


def _kind(sampled: BootstrapRatings | None) -> str:
    if sampled is None:
        return "Fisher's marginal interval"
    return f"the wider of Fisher's marginal interval and the bootstrap over {sampled.cases} cases"


def _verdict(
    promote: tuple[str, str], benchmark: tuple[Path, Path] | None, ratings: Ratings, sampled: BootstrapRatings | None,
    config: Any,
) -> Verdict:  # fmt: skip
    from medseg_rl.errors import InputFileError
    from medseg_rl.rlhf.league import promotion

    if benchmark is None:
        raise InputFileError("--promote needs --benchmark: results of `medseg-rl evaluate` of candidate and incumbent")
    if sampled is None:
        raise InputFileError("--promote needs the bootstrap over cases; leave --bootstraps above 0")
    ours, theirs = _figures(benchmark)
    return promotion(*promote, ratings, sampled, candidate_figures=ours, incumbent_figures=theirs, config=config)


def _figures(benchmark: tuple[Path, Path]) -> tuple[SafetyFigures, SafetyFigures]:
    """Mean Dice and respected clicks over the same turns of the same cases. Raises InputFileError where they differ."""
    from medseg_rl.errors import InputFileError
    from medseg_rl.evaluation.records import read_records
    from medseg_rl.rlhf.league import SafetyFigures

    both = []
    for path in benchmark:
        rows = read_records(path)
        both.append(
            {(r.set, r.case, r.structure, r.start, r.robot, r.robot_seed, r.roi_kind, r.click): r for r in rows}
        )
    if set(both[0]) != set(both[1]) or not both[0]:
        raise InputFileError(
            f"{benchmark[0]} and {benchmark[1]} are not of the same cases and clicks; evaluate both alike"
        )
    found = []
    for rows_of in both:
        respected = [r.respected for r in rows_of.values() if r.respected is not None]
        dice = sum(r.dice for r in rows_of.values()) / len(rows_of)
        clicks = sum(respected) / len(respected) if respected else None
        found.append(SafetyFigures(dice, clicks_respected=clicks))
    return found[0], found[1]


def _report(
    rows: Sequence[dict[str, Any]], ratings: Ratings, games: Sequence[GameResult], sampled: BootstrapRatings | None,
    verdict: Verdict | None, cycle: Any,
) -> dict[str, Any]:  # fmt: skip
    from medseg_rl.rlhf.league import head_to_head

    content: dict[str, Any] = {
        "anchor": ratings.anchor,
        "interval": _kind(sampled),
        "confidence": 0.95,
        "table": list(rows),
        "players": ratings.players,
        "superiority": ratings.superiority(),
        "head_to_head": [
            dict(zip(("first", "second", "games", "observed", "predicted"), row, strict=True))
            for row in head_to_head(games, ratings)
        ],
        "ring": None if cycle is None else {"players": cycle[0], "least_margin": cycle[1]},
    }
    if verdict is not None:
        content["promotion"] = {"promoted": verdict.promoted, "gates": [gate._asdict() for gate in verdict.gates]}
    return content


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    import csv

    from medseg_rl.imageio.atomic import atomic_path

    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADER, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
