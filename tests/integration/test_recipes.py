"""Recipes as a user runs them: smoke runs, a kill in between, the same command again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medseg_rl.errors import Cancelled, InputFileError
from medseg_rl.recipes.recipe import Work, find_recipe, seed_of
from medseg_rl.recipes.report import Curve, Report, card, interval, write_report

SENTIMENT = (sys.executable, "-m", "medseg_rl.cli", "recipe", "sentiment", "--smoke", "--json", "-o")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def smoke_run(folder: Path) -> dict[str, object]:
    run = subprocess.run([*SENTIMENT, str(folder)], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, object] = json.loads(run.stdout)
    return found


def test_the_text_recipe_writes_table_curves_and_card(tmp_path: Path) -> None:
    found = smoke_run(tmp_path)
    assert found["smoke"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {
        "results.csv",
        "curves.csv",
        "curves.png",
        "card.md",
        "refusals.csv",
        "use_cases.csv",
        "best_of_n.csv",
    }
    table = rows(tmp_path / "results.csv")
    assert [row["policy"] for row in table][:3] == ["untrained", "supervised, kind words first", "supervised"]
    assert len(table) == 10
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "claims nothing" in text
    assert "这部电影很" in text


@pytest.mark.slow
def test_the_text_recipe_goes_on_after_a_kill_and_ends_as_if_there_had_been_none(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    smoke_run(whole)
    stopped = subprocess.Popen(
        [*SENTIMENT, str(killed)], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not list((killed / "jobs").glob("arm-1-*.json")) and stopped.poll() is None:
        time.sleep(0.02)
    stopped.send_signal(signal.SIGKILL)
    stopped.wait()
    smoke_run(killed)
    assert rows(killed / "every_run.csv") == rows(whole / "every_run.csv")


def test_shape_scenes_run_as_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.shape_scenes", "--smoke", "--seeds", "1", "-o", str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(command, cwd=root, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert {row["task"] for row in rows(tmp_path / "results.csv")} == {"detection", "colouring", "captions"}


def test_a_finished_job_never_runs_twice(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.open({"size": 1})
    calls = []

    def make() -> dict[str, object]:
        calls.append(1)
        return {"value": 3}

    first = work.jobs("stage", {"one": make})
    assert work.jobs("stage", {"one": make}) == first
    assert first["one"]["value"] == 3
    assert len(calls) == 1


def test_a_stopped_run_keeps_what_is_done(tmp_path: Path) -> None:
    work = Work(tmp_path, cancel=lambda: (tmp_path / "jobs" / "one.json").exists())
    work.open({})
    with pytest.raises(Cancelled):
        work.jobs("stage", {"one": lambda: {"value": 1}, "two": lambda: {"value": 2}})
    assert json.loads((tmp_path / "jobs" / "one.json").read_text())["value"] == 1
    assert not (tmp_path / "jobs" / "two.json").exists()


def test_a_run_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    Work(tmp_path).open({"size": 1, "rate": 2})
    Work(tmp_path).open({"rate": 2, "size": 1})
    with pytest.raises(InputFileError, match="another size"):
        Work(tmp_path).open({"size": 3, "rate": 2})


def test_an_unknown_recipe_is_named_with_those_that_exist() -> None:
    with pytest.raises(InputFileError, match="sentiment"):
        find_recipe("sentimental")


def test_seeds_depend_on_names_alone() -> None:
    assert seed_of("a", 1) == seed_of("a", 1) != seed_of("a", 2)


def test_the_interval_over_seeds_is_students() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.runs) == (2.0, 3)
    assert found.half_width == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert "one seed" in str(interval([1.0]))


def test_a_report_is_written_with_every_single_run(tmp_path: Path) -> None:
    curves = [Curve("reward", "ours", [0, 1], [0.1, 0.2]), Curve("reward", "ours", [0, 1], [0.3, 0.4])]
    report = Report("Title", [{"arm": "ours", "gain": 0.123456}], {"seeds": "2"}, curves, notes=("a note",))
    write_report(tmp_path, report)
    assert rows(tmp_path / "results.csv") == [{"arm": "ours", "gain": "0.123456"}]
    assert len(rows(tmp_path / "curves.csv")) == 4
    assert "0.1235" in card(report)
    assert (tmp_path / "curves.png").stat().st_size > 1000
