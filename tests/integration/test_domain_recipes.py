"""The recipes of driving and of the command game as a user runs them: smoke runs, a stop in between, their files."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medseg_rl.errors import Cancelled
from medseg_rl.recipes.command_rts import recipe as command_rts
from medseg_rl.recipes.command_rts.training import SMOKE, Arm, clone, load_player, train
from medseg_rl.recipes.recipe import Work
from medseg_rl.recipes.report import write_report
from medseg_rl.rlhf.league import read_games


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_game_writes_its_tables_and_games_for_the_league(tmp_path: Path) -> None:
    report = command_rts.run(Work(tmp_path, smoke=True))
    write_report(tmp_path, report)
    assert [row["arm"] for row in _rows(tmp_path / "results.csv")] == ["BC", "RL", "IRL", "Switch", "Joint", "RED"]
    assert len(read_games(tmp_path / "games.csv")) == 15 * SMOKE.duel_games
    assert len(_rows(tmp_path / "league.csv")) == 6
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "claims nothing" in card
    assert "one seed: no claim" in card
    again = command_rts.run(Work(tmp_path, smoke=True))
    assert again.table == report.table


@pytest.mark.parametrize("arm", ["RED", "IRL"])
def test_an_arm_that_was_stopped_ends_as_if_it_had_not_been(tmp_path: Path, arm: Arm) -> None:
    settings = replace(SMOKE, updates=44, bc_updates=5)
    weights = []
    for stopped in (False, True):
        folder = tmp_path / str(stopped)
        work = Work(folder)
        work.open({})
        clone(settings, 0, work)
        checkpoint = folder / "checkpoints" / f"{arm}_0.pt"
        if stopped:
            with pytest.raises(Cancelled):
                train(arm, settings, 0, Work(folder, cancel=checkpoint.exists))
        train(arm, settings, 0, work)
        assert not checkpoint.exists()
        weights.append(load_player(work, settings, arm, 0, 1.0).state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_lane_keeping_writes_its_tables(tmp_path: Path) -> None:
    pytest.importorskip("highway_env")
    pytest.importorskip("stable_baselines3")
    from medseg_rl.recipes.lane_keeping import recipe as lane_keeping

    changes = ("steps=240", "evaluations=1")
    report = lane_keeping.run(Work(tmp_path, smoke=True, changes=changes))
    write_report(tmp_path, report)
    table = _rows(tmp_path / "results.csv")
    assert [(row["arm"], row["driver"]) for row in table][:4] == [
        ("TD3", "none"), ("HI-RL", "expert"), ("IA-RL", "expert"), ("Hug-TD3", "expert"),
    ]  # fmt: skip
    assert len(table) == 10
    assert len(_rows(tmp_path / "comparisons.csv")) == 9
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert lane_keeping.run(Work(tmp_path, smoke=True, changes=changes)).table == report.table
