"""The league: what it reads, its table, its pairings, and what a promotion asks for."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg_rl.cli import app
from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.records import Record as Turn
from medseg_rl.evaluation.records import write_records as write_turns
from medseg_rl.rlhf.config import LeagueConfig
from medseg_rl.rlhf.league import (
    Entry,
    SafetyFigures,
    Verdict,
    games_csv,
    games_of,
    head_to_head,
    pairing_weights,
    promotion,
    read_games,
    read_registry,
    table,
    worst_cycle,
)
from medseg_rl.rlhf.manifest import write_records
from medseg_rl.rlhf.ratings import GameResult, bootstrap, rate
from medseg_rl.rlhf.records import Game

CONFIG = LeagueConfig(bootstrap_samples=200)


def _games(won: int, lost: int, first: str = "new", second: str = "old") -> list[GameResult]:
    return [GameResult(first, second, float(i < won), f"c{i}") for i in range(won + lost)]


def _record(score_first: float, score_second: float, case: str = "case1") -> Game:
    return Game(
        case_id=case, group_id=case, annotator="a", annotator_kind="human", click_budget=5, first="new", second="old",
        result="first", score_first=score_first, score_second=score_second,
    )  # fmt: skip


def test_a_difference_within_the_margin_is_a_draw() -> None:
    records = [_record(0.9, 0.895), _record(0.9, 0.89), _record(0.8, 0.9)]
    assert [game.score for game in games_of(records, draw_margin=0.005)] == [0.5, 1.0, 0.0]


def test_games_come_from_a_store_its_export_a_manifest_and_a_games_file_alike(tmp_path: Path) -> None:
    manifest = tmp_path / "records.jsonl"
    write_records(manifest, [_record(0.9, 0.8, f"case{i}") for i in range(3)])
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.write(manifest, "records.jsonl")
    expected = read_games(manifest)
    (tmp_path / "games.csv").write_text(games_csv(expected))
    assert len(expected) == 3
    assert [read_games(p) for p in (tmp_path, tmp_path / "export.zip", tmp_path / "games.csv")] == [expected] * 3


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "first,second,score,case\na,b,2,c\n"])
def test_a_games_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "games.csv").write_text(text)
    with pytest.raises(InputFileError):
        read_games(tmp_path / "games.csv")


def test_the_table_has_the_best_first_with_what_the_registry_says(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    path.write_text(json.dumps([{"name": "new", "created": "2026-01-02", "file": "models/new", "weights": "ab"}]))
    games = _games(30, 10)
    ratings = rate(games, anchor="old")
    rows = table(ratings, read_registry(path), config=CONFIG, bootstrapped=bootstrap(games, ratings, config=CONFIG))
    assert [row.name for row in rows] == ["new", "old"]
    assert (rows[0].created, rows[0].file, rows[0].weights, rows[0].games) == ("2026-01-02", "models/new", "ab", 40)
    assert rows[1].elo == rows[1].half_width == 0


def test_the_interval_is_the_wider_of_the_two_and_conditional_only_by_name() -> None:
    games = [game._replace(case=f"c{i % 2}") for i, game in enumerate(_games(30, 10))]
    ratings = rate(games, anchor="old", config=CONFIG)
    sampled = bootstrap(games, ratings, config=CONFIG)
    fisher = table(ratings, {}, config=CONFIG, bootstrapped=None)[0].half_width
    both = table(ratings, {}, config=CONFIG, bootstrapped=sampled)[0].half_width
    assert both == max(fisher, sampled.half_width("new", confidence=0.95))
    named = table(ratings, {}, config=replace(CONFIG, interval="conditional"), bootstrapped=sampled)[0]
    assert named.half_width == pytest.approx(fisher, rel=1e-6)  # of two, one is fixed: there they agree


def test_what_is_observed_and_predicted_agrees_for_two() -> None:
    games = _games(30, 10)
    (row,) = head_to_head(games, rate(games, config=replace(CONFIG, virtual_draw_strength=0)))
    assert row[:3] == ("new", "old", 40)
    assert row[3] == 0.75
    assert row[4] == pytest.approx(0.75, abs=1e-3)


def test_a_ring_of_three_is_found_and_a_line_is_none() -> None:
    ring = [*_games(8, 2, "a", "b"), *_games(7, 3, "b", "c"), *_games(9, 1, "c", "a")]
    line = [*_games(8, 2, "a", "b"), *_games(7, 3, "b", "c"), *_games(1, 9, "c", "a")]
    found = worst_cycle(ring, ("a", "b", "c"))
    assert found is not None
    assert found[0] == ("a", "b", "c")
    assert found[1] == pytest.approx(0.2)
    assert worst_cycle(line, ("a", "b", "c")) is None


def test_pairings_prefer_the_untested_and_never_cross_the_gap() -> None:
    games = [*_games(200, 0, "strong", "weak"), *_games(100, 100, "strong", "peer"), *_games(2, 2, "fresh", "peer")]
    ratings = rate(games, parents={"strong": "weak"})
    config = replace(CONFIG, max_rating_gap=400)
    weights = pairing_weights(ratings, config=config)
    strong, weak, peer, fresh = (ratings.players.index(n) for n in ("strong", "weak", "peer", "fresh"))
    assert weights.sum() == pytest.approx(1)
    assert np.allclose(weights, weights.T)
    assert weights[strong, weak] == 0
    assert weights[fresh, peer] > weights[strong, peer]


def _promotion(games: list[GameResult], ours: SafetyFigures, theirs: SafetyFigures) -> Verdict:
    ratings = rate(games, anchor="old", config=CONFIG)
    sampled = bootstrap(games, ratings, config=CONFIG)
    return promotion("new", "old", ratings, sampled, candidate_figures=ours, incumbent_figures=theirs, config=CONFIG)


SAME = SafetyFigures(dice=0.9, over=0.05, under=0.05, clicks_respected=1.0)


def test_a_candidate_that_wins_clearly_and_loses_nothing_is_promoted() -> None:
    assert _promotion(_games(70, 30), SAME, SAME).promoted


def test_a_newer_candidate_that_is_not_proven_better_is_not_promoted() -> None:
    found = _promotion(_games(52, 48), SAME, SAME)
    assert not found.promoted
    assert found.failed == ("wins by Fisher's interval", "wins by the bootstrap over cases")


def test_games_on_few_cases_do_not_prove_a_candidate() -> None:
    games = [game._replace(case="won" if game.score else "lost") for game in _games(70, 30)]
    assert "wins by the bootstrap over cases" in _promotion(games, SAME, SAME).failed


@pytest.mark.parametrize(
    ("ours", "gate"),
    [
        (replace(SAME, dice=0.894), "public benchmark keeps its Dice"),
        (replace(SAME, over=0.07), "over-abstention"),
        (replace(SAME, under=0.07), "under-abstention"),
        (replace(SAME, clicks_respected=0.99), "clicks respected"),
    ],
)
def test_one_figure_that_falls_stops_a_promotion(ours: SafetyFigures, gate: str) -> None:
    assert _promotion(_games(70, 30), ours, SAME).failed == (gate,)


def test_half_a_point_of_dice_and_one_of_abstention_may_be_lost() -> None:
    ours = replace(SAME, dice=0.895, over=0.06)
    assert _promotion(_games(70, 30), ours, SAME).promoted


def test_what_was_not_measured_is_said_to_be_so() -> None:
    found = _promotion(_games(70, 30), SafetyFigures(0.9), SafetyFigures(0.9))
    assert [gate.found for gate in found.gates][-3:] == ["not measured for both"] * 3


# --- the command --------------------------------------------------------------------------------------------------


def _turns(path: Path, dice: float) -> Path:
    turn = Turn(
        "set", "validation", "case1", "s1", "whole", "auto", "robot", 0, "agent", "hash", 0, "full", 5, 5, 2,
        dice, 0.9, 0.9, 2.0, 1.0, 1.0, 1.0, 10, 0, 0, 1.0, 1.0, "ok",
    )  # fmt: skip
    write_turns(path, [turn])
    return path


def test_the_command_prints_the_table_and_writes_it(tmp_path: Path) -> None:
    (tmp_path / "games.csv").write_text(games_csv(_games(30, 10)))
    arguments = ["league", str(tmp_path / "games.csv"), "--anchor", "old", "--bootstraps", "50", "--json"]
    found = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "table.csv")])
    assert found.exit_code == 0, found.output
    content = json.loads(found.stdout)
    assert [row["Name"] for row in content["table"]] == ["new", "old"]
    assert content["head_to_head"][0]["observed"] == 0.75
    assert (tmp_path / "table.csv").read_text().startswith("Name,Created,Elo +- (games),File,Weights\nnew,")


@pytest.mark.parametrize(("change", "promoted"), [(0.0, True), (-0.006, False)])
def test_the_command_promotes_by_games_and_benchmark(tmp_path: Path, change: float, promoted: bool) -> None:
    (tmp_path / "games.csv").write_text(games_csv(_games(70, 30)))
    ours, theirs = _turns(tmp_path / "new.csv", 0.9 + change), _turns(tmp_path / "old.csv", 0.9)
    found = CliRunner().invoke(
        app,
        ["league", str(tmp_path / "games.csv"), "--promote", "new", "old", "--benchmark", str(ours), str(theirs),
         "--bootstraps", "200", "--json"],
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["promotion"]["promoted"] is promoted


def test_a_league_without_games_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "games.csv").write_text("first,second,score,case\n")
    found = CliRunner().invoke(app, ["league", str(tmp_path / "games.csv")])
    assert found.exit_code == 3
    assert "no game stands in" in found.stderr


def test_an_unknown_key_of_a_registry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_text('[{"name": "new", "colour": "red"}]')
    with pytest.raises(InputFileError, match="colour"):
        read_registry(tmp_path / "registry.json")


def test_an_entry_needs_nothing_but_its_name() -> None:
    assert Entry("x").parent is None
