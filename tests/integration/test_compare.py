"""Two finished runs compared: paired by subject, with the rule of no difference, and refused where they disagree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.compare import compare_runs
from medseg_rl.evaluation.records import Record, write_records
from medseg_rl.evaluation.statistics import bootstrap_interval, holm, wilcoxon_p

if TYPE_CHECKING:
    from conftest import Desk

MANIFEST = {
    "data_hash": "d" * 64,
    "split_hash": "s" * 64,
    "start_hash": None,
    "robot_version": "1",
    "robot_seeds": [0],
    "empty_references": [],
    "config": {"roi": "common", "interactions": 2, "methods": {}, "steps": 3},
}
NAME = "balls_val_whole_B_primary_common"


def record(case: str, method: str, click: int, dice: float) -> Record:
    return Record(
        "balls", "val", case, case[:2], "whole", "B", "primary", 0, method, "h", None, "common", click, click, 3,
        dice, dice, dice, 1.0, 1.0, None, None, None, None, None, None, None, "ok",
    )  # fmt: skip


def run_folder(folder: Path, gains: dict[str, float], method: str = "agent", **manifest: object) -> Path:
    """Dice rises from 0.5 by the case's gain at each of two clicks."""
    folder.mkdir(parents=True)
    rows = [record(case, method, n, 0.5 + n * gain) for case, gain in gains.items() for n in range(3)]
    write_records(folder / f"{NAME}.csv", rows)
    (folder / f"{NAME}.json").write_text(json.dumps(MANIFEST | manifest))
    return folder


CASES = [f"p{k}_{side}" for k in range(8) for side in "lr"]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    gains = dict(zip(CASES, rng.uniform(0.05, 0.1, len(CASES)), strict=True))
    better = {case: gain + 0.01 * (1 + int(case[1])) for case, gain in gains.items()}
    return run_folder(tmp_path / "a", better), run_folder(tmp_path / "b", gains)


def test_subjects_are_paired_and_their_volumes_averaged_first(folders: tuple[Path, Path]) -> None:
    (found,) = compare_runs(*folders)
    assert (found.subjects, found.volumes) == (8, 16)
    expected = np.array([0.01 * (1 + k) for k in range(8)])  # AUC over two clicks of n * gain is the gain itself
    tested = found.figures[0]
    assert tested.figure == "AUC2 Dice"
    assert tested.difference.mean == pytest.approx(expected.mean(), abs=1e-5)
    assert tested.difference.low == pytest.approx(bootstrap_interval(expected).low, abs=1e-5)
    assert found.p_value == pytest.approx(wilcoxon_p(expected))
    assert found.p_value == pytest.approx(2 / 2**8)
    assert found.rank_biserial == 1.0
    assert not found.no_difference


def test_the_other_way_round_every_sign_turns(folders: tuple[Path, Path]) -> None:
    (one,), (other,) = compare_runs(*folders), compare_runs(*folders[::-1])
    for first, second in zip(one.figures, other.figures, strict=True):
        assert first.difference.mean == pytest.approx(-second.difference.mean)
    assert other.rank_biserial == -1.0


def test_holm_runs_over_all_pairs_of_the_call(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for folder, step in zip(folders, (0.0, 0.002), strict=True):
        rows = [record(case, "twin", n, 0.5 + n * step * (-1) ** k) for k, case in enumerate(CASES) for n in range(3)]
        from medseg_rl.evaluation.records import read_records

        write_records(folder / f"{NAME}.csv", [*read_records(folder / f"{NAME}.csv"), *rows])
    found = compare_runs(*folders)
    assert [c.method_a for c in found] == ["agent", "twin"]
    assert [c.p_holm for c in found] == holm([c.p_value for c in found])
    assert found[1].no_difference


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data_hash": "e" * 64}, r"differ in data \(d{12} and e{12}\)"),
        ({"start_hash": "f" * 64}, r"differ in starts \(none and f{12}\)"),
        ({"robot_seeds": [0, 1]}, r"robot seeds"),
        ({"config": {"roi": "common", "interactions": 2, "guard_mm": 40}}, r"guard_mm \(none and 40\)"),
    ],
)
def test_runs_that_disagree_are_refused_by_the_name_of_what_does(
    folders: tuple[Path, Path], tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    other = run_folder(tmp_path / "c", dict.fromkeys(CASES, 0.1), **changes)
    with pytest.raises(InputFileError, match=says):
        compare_runs(folders[0], other)


def test_a_case_that_one_lacks_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    fewer = run_folder(tmp_path / "c", dict.fromkeys(CASES[:-1], 0.1))
    with pytest.raises(InputFileError, match=r"lacks 1 run\(s\), such as p7_r"):
        compare_runs(folders[0], fewer)


def test_other_robots_have_no_table_in_common(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = run_folder(tmp_path / "c", dict.fromkeys(CASES, 0.1))
    for path in list(other.iterdir()):
        path.rename(path.with_name(path.name.replace("primary", "ritm")))
    with pytest.raises(InputFileError, match="other data, targets, starts or robots"):
        compare_runs(folders[0], other)


def test_the_only_method_of_each_is_compared_and_several_have_to_be_named(tmp_path: Path) -> None:
    gains = dict.fromkeys(CASES, 0.1)
    a, b = run_folder(tmp_path / "a", gains, "agent"), run_folder(tmp_path / "b", gains, "twin")
    (found,) = compare_runs(a, b)
    assert (found.method_a, found.method_b) == ("agent", "twin")
    assert found.no_difference
    rows = [record(case, "third", n, 0.5) for case in CASES for n in range(3)]
    rows += [replace(row, method="twin") for row in rows]
    write_records(b / f"{NAME}.csv", rows)
    with pytest.raises(InputFileError, match="NAME_IN_A=NAME_IN_B"):
        compare_runs(a, b)
    assert compare_runs(a, b, [("agent", "third")])[0].method_b == "third"


def test_the_command_prints_a_table_or_json(desk: Desk, folders: tuple[Path, Path]) -> None:
    shown = desk.run("evaluate", "--compare", *folders)
    assert shown.code == 0, shown.stderr
    assert "AUC2 Dice" in shown.stdout
    answer = desk.run("evaluate", "--compare", *folders, "--json", "--output", desk.folder / "out")
    assert answer.json["comparisons"][0]["subjects"] == 8
    assert json.loads((desk.folder / "out" / "comparison.json").read_text()) == answer.json
    assert "| AUC2 Dice |" in (desk.folder / "out" / "comparison.md").read_text()


def test_an_evaluation_needs_methods_and_a_folder(desk: Desk) -> None:
    answer = desk.run("evaluate", "--method", "paint_ball")
    assert answer.code == 2
    assert "--output" in answer.stderr


def test_a_reference_that_is_no_method_is_refused(desk: Desk, tmp_path: Path) -> None:
    answer = desk.run("evaluate", "--method", "paint_ball", "--reference", "agent", "--output", str(tmp_path))
    assert answer.code == 2
    assert "--reference agent is none of the methods" in " ".join(answer.stderr.replace("│", " ").split())
