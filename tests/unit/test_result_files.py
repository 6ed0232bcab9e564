"""Rows, tables, curves and manifests from hand-made results."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.curves import draw_curves
from medseg_rl.evaluation.manifest import canonical_hash, relative_command, source_state
from medseg_rl.evaluation.methods import Method, parse_method
from medseg_rl.evaluation.records import COLUMNS, Record, read_records, write_records
from medseg_rl.evaluation.runs import by_subject, group_runs
from medseg_rl.evaluation.tables import result_tables
from medseg_rl.refiners.paint_ball import PaintBall

PROTOCOL_COLUMNS = (
    "set, split, case, subject, structure, start, robot, robot_seed, method, config_hash, train_seed, roi_kind, click, "
    "n_clicks, m_steps, dice, nsd_2mm, nsd_1vox, hd95_mm, assd_mm, respected, respected_raw, changed_vox, far_vox, "
    "far_wrong_vox, latency_ms, peak_mb, status"
)
BLANK = Record(
    set="toy",
    split="test",
    case="a",
    subject="1",
    structure="whole",
    start="A",
    robot="primary",
    robot_seed=0,
    method="m",
    config_hash="c",
    train_seed=None,
    roi_kind="common",
    click=0,
    n_clicks=0,
    m_steps=3,
    dice=0.5,
    nsd_2mm=0.5,
    nsd_1vox=0.5,
    hd95_mm=2.0,
    assd_mm=1.0,
    respected=None,
    respected_raw=None,
    changed_vox=None,
    far_vox=None,
    far_wrong_vox=None,
    latency_ms=None,
    peak_mb=None,
    status="ok",
)


def run_of(method: str, case: str, subject: str, dice: list[float], **changes: object) -> list[Record]:
    rows = [
        replace(
            BLANK,
            method=method,
            case=case,
            subject=subject,
            click=n,
            n_clicks=n,
            dice=d,
            nsd_2mm=d,
            respected=1.0 if n else None,
            respected_raw=0.5 if n else None,
            changed_vox=10 if n else None,
            far_vox=1 if n else None,
            far_wrong_vox=0 if n else None,
            latency_ms=100.0 * n if n else None,
        )
        for n, d in enumerate(dice)
    ]
    return [replace(row, **changes) for row in rows]  # type: ignore[arg-type]


def two_methods() -> list[Record]:
    rows = []
    for k in range(7):
        rows += run_of("agent", f"c{k}", str(k), [0.8] + [0.9 + 0.001 * k] * 20)
        rows += run_of("paint", f"c{k}", str(k), [0.8] + [0.82 - 0.001 * k] * 20)
    return rows


def test_the_columns_are_those_of_the_protocol():
    assert ", ".join(COLUMNS) == PROTOCOL_COLUMNS


def test_rows_survive_the_file(tmp_path: Path):
    crashed = replace(BLANK, train_seed=3, hd95_mm=math.nan, status="crash", click=2)
    rows = [*run_of("m", "a", "1", [0.25, 0.5]), crashed]
    write_records(tmp_path / "r.csv", rows)
    back = read_records(tmp_path / "r.csv")
    assert back[:2] == rows[:2]
    assert math.isnan(back[2].hd95_mm)
    assert back[2].train_seed == 3


@pytest.mark.parametrize("damage", ["set,split\n", "", ",".join(COLUMNS) + "\nx,y\n"])
def test_a_file_that_is_no_result_file_is_refused_in_one_line(tmp_path: Path, damage: str):
    path = tmp_path / "r.csv"
    path.write_text(damage, encoding="utf-8")
    with pytest.raises(InputFileError) as caught:
        read_records(path)
    assert "\n" not in str(caught.value)


def test_volumes_are_averaged_within_their_subject_first():
    rows = run_of("m", "a", "1", [0.2]) + run_of("m", "b", "1", [0.4]) + run_of("m", "c", "2", [0.9])
    values = by_subject(group_runs(rows), lambda run: run.dice_at(0))
    assert values == {"1": pytest.approx(0.3), "2": pytest.approx(0.9)}


def test_clicks_to_reach_is_zero_at_once_and_twenty_if_never():
    rows = run_of("m", "a", "1", [0.9] * 21) + run_of("m", "b", "2", [0.1] * 21)
    runs = group_runs(rows + run_of("m", "c", "3", [0.1, 0.84, 0.85, 0.2]))
    assert [run.clicks_to_reach(0.85) for run in runs] == [0, 20, 2]
    assert [run.reaches(0.85) for run in runs] == [True, False, True]


def test_a_table_prints_the_figures_and_marks_the_best_only_where_the_test_supports_it():
    table = result_tables(two_methods(), reference="agent")
    agent = next(line for line in table.splitlines() if line.startswith("| **agent**"))
    cells = [cell.strip() for cell in agent.strip("|").split("|")]
    assert cells[2] == "7 (7)"
    assert cells[3] == "0.800 [0.800, 0.800]"
    assert cells[8].startswith("0.903 [")
    assert cells[9].startswith("**0.90")
    assert cells[11] == "1.0 (0)"
    assert cells[13] == "100.0 (50.0)"
    assert cells[14] == "10.0"
    assert cells[15] == "1100 / 1940"  # 200, 300 ... 2000 in each run: the first, cold turn is left out
    assert "Holm over 1" in table


def test_too_few_clicks_for_the_tests_are_said():
    rows = run_of("agent", "a", "1", [0.8, 0.9]) + run_of("paint", "a", "1", [0.8, 0.7])
    assert "No tests against agent: AUC20 needs 20 clicks of every method." in result_tables(rows, reference="agent")


def test_nothing_is_bold_where_the_reference_method_loses():
    assert "**" not in result_tables(two_methods(), reference="paint")


def test_nothing_is_tested_without_a_reference_method():
    assert "Wilcoxon" not in result_tables(two_methods())


def test_the_same_rows_in_another_order_give_the_same_table():
    rows = two_methods()
    assert result_tables(rows[::-1], reference="agent") == result_tables(rows, reference="agent")


def test_a_failed_run_is_listed_once_with_the_click_it_failed_at():
    rows = run_of("m", "a", "1", [0.8, 0.9, 0.0, 0.0])
    rows[2:] = [replace(row, status="timeout") for row in rows[2:]]
    listed = [line for line in result_tables(rows).splitlines() if line.startswith("- counted as empty")]
    assert listed == ["- counted as empty: m, a, seed 0, from click 2 on (timeout)"]


def test_starts_robots_and_regions_never_share_a_table():
    rows = run_of("m", "a", "1", [0.5]) + run_of("m", "a", "1", [0.5], start="B")
    rows += run_of("m", "a", "1", [0.5], robot="ritm") + run_of("m", "a", "1", [0.5], roi_kind="product")
    assert result_tables(rows).count("### toy") == 4


def test_several_training_seeds_show_their_deviation():
    rows = run_of("m", "a", "1", [0.5] * 21, train_seed=0) + run_of("m", "a", "1", [0.7] * 21, train_seed=1)
    assert "(0.1414)" in result_tables(rows)


def test_clicks_that_were_never_tried_have_no_figure():
    rows = run_of("m", "a", "1", [0.5, 0.6, 0.7, 0.8]) + run_of("automatic", "a", "1", [0.5])
    table = result_tables(rows, reference="m")
    cells = [cell.strip() for cell in table.split("| m |")[1].split("|")]
    assert cells[2:8] == ["0.500 [0.500, 0.500]", "0.600 [0.600, 0.600]", "0.800 [0.800, 0.800]", "-", "-", "-"]
    assert cells[8:11] == ["-", "-", "-"]
    assert "Wilcoxon" not in table
    assert "| automatic | - | 1 (1) |" in table  # the start alone is the same at every click


def test_a_curve_is_drawn_for_each_start(tmp_path: Path):
    rows = two_methods() + run_of("agent", "a", "1", [0.1, 0.2], start="B")
    paths = draw_curves(rows, tmp_path)
    assert len(paths) == 2
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_command_names_no_folder_of_this_machine(tmp_path: Path):
    command = ["/usr/bin/medseg-rl", "evaluate", "--data", str(tmp_path), f"--starts={tmp_path}/starts"]
    assert relative_command(command, tmp_path) == "medseg-rl evaluate --data DATA --starts=DATA/starts"


def test_hashes_do_not_depend_on_the_order_of_keys():
    assert canonical_hash({"a": 1, "b": [2]}) == canonical_hash({"b": [2], "a": 1})
    assert canonical_hash({"a": 1}) != canonical_hash({"a": 2})


def test_outside_a_checkout_the_commit_is_unknown(tmp_path: Path):
    assert source_state(tmp_path) == (None, None)


def test_methods_are_named_on_the_command_line():
    assert parse_method("automatic") == Method("automatic", "automatic")
    ball = parse_method("paint_ball:radius_mm=4")
    assert ball == Method("paint_ball:radius_mm=4", "paint_ball", (("radius_mm", 4.0),))
    assert parse_method("ball=paint_ball:radius_mm=4").name == "ball"
    assert parse_method("agent=models/hippocampus") == Method("agent", "bundle", (("model", "models/hippocampus"),))
    assert parse_method("models/hippocampus/").name == "hippocampus"
    seeded = parse_method("agent@2=models/hippocampus")
    assert (seeded.name, seeded.train_seed, seeded.label) == ("agent", 2, "agent seed 2")
    built = parse_method("paint_ball:radius_mm=6").build()
    assert isinstance(built, PaintBall)
    assert built.radius_mm == 6.0


@pytest.mark.parametrize(
    "text", ["paint_ball:size=4", "paint_ball:radius_mm=big", "enforce_only:radius_mm=1", "agent@one=models/x"]
)
def test_an_unknown_option_or_a_word_for_a_number_is_refused(text: str):
    with pytest.raises(InputFileError):
        parse_method(text)


def test_a_manifest_is_json_beside_its_results(tmp_path: Path):
    from medseg_rl.evaluation.manifest import Manifest, installed_packages, machine

    manifest = Manifest(
        "abc",
        False,
        {"x": 1},
        "h",
        "d",
        "s",
        None,
        {"agent": "w"},
        {"agent": 0},
        "primary",
        1,
        [0],
        installed_packages(),
        machine(1),
        "medseg-rl evaluate",
        "2026-01-01",
        1.5,
        [],
        {"graph cut": "not installed"},
        3,
        [],
        {"agent": 1.0},
        "k",
    )
    manifest.write(tmp_path / "m.json")
    content = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    wanted = (
        "commit dirty config config_hash data_hash split_hash start_hash weights_hash train_seeds robot robot_version "
        "robot_seeds packages machine command date wall_s failures not_run"
    )
    assert set(wanted.split()) <= set(content)
    assert content["machine"]["threads"] == 1
