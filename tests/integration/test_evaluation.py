"""The evaluation on small synthetic data sets: robots drive the real session, results are files."""

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import medseg_rl.evaluation.run as evaluation_run
from medseg_rl.dataset import Dataset, load_dataset
from medseg_rl.errors import BundleError, Cancelled, InputFileError
from medseg_rl.evaluation import (
    EvaluationCase,
    EvaluationConfig,
    Plan,
    drive,
    empty_start_side_mm,
    evaluate,
    own_shard,
    parse_method,
    validation_curve,
    write_report,
)
from medseg_rl.evaluation.cases import corrupted_start
from medseg_rl.evaluation.oracle import oracle_box
from medseg_rl.evaluation.tuning import GRIDS, Trial, best_method, read_trials, tune, write_trials
from medseg_rl.hints.clicks import ClickLabel
from medseg_rl.hints.robots import ROBOTS
from medseg_rl.refiner import HIGHEST, LOWEST, Percent, RefinementRequest, never_cancelled, no_preview
from medseg_rl.refiners.paint_ball import PaintBall
from medseg_rl.volume import Volume

SHAPE = (24, 22, 20)


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    axes = np.ogrid[tuple(map(slice, SHAPE))]
    return sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)) <= radius**2


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and reference: a bright ball with a smaller one beside it, in noise."""
    rng = np.random.default_rng(number)
    reference = ball((10 + number % 3, 11, 10), 6) | ball((17, 11, 10), 3)
    return (reference * 100 + rng.normal(0, 10, SHAPE)).astype(np.float32), reference


def case_in_memory(number: int = 0, start: str = "half") -> EvaluationCase:
    image, reference = scene(number)
    states = {
        "half": np.where(reference & ~ball((17, 11, 10), 4), 90, 10).astype(np.uint8),
        "perfect": np.where(reference, 90, 10).astype(np.uint8),
        "empty": None,
    }
    return EvaluationCase(f"case_{number}", str(number), Volume(image, np.eye(4)), reference, states[start])


class Obedient:
    """Knows the reference, as no refiner may: gives it back within 6 voxels of every new click."""

    name = "obedient"

    def __init__(self, reference: np.ndarray) -> None:
        self._reference = reference

    def describe(self) -> dict[str, Any]:
        return {"kind": self.name}

    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        percent = request.percent.copy()
        for click in request.clicks[len(request.clicks) - request.n_new_clicks :]:
            axes = np.ogrid[tuple(map(slice, percent.shape))]
            near = sum((a - i) ** 2 for a, i in zip(axes, click.index, strict=True)) <= 36
            percent[near] = np.where(self._reference[near], HIGHEST, LOWEST)
        return percent


class Broken(Obedient):
    """Fails in the way asked for, at its third interaction."""

    def __init__(self, reference: np.ndarray, way: str) -> None:
        super().__init__(reference)
        self._way, self._asked = way, 0

    def refine(self, request: RefinementRequest, **callbacks: Any) -> Percent:
        self._asked += 1
        if self._asked < 3:
            return super().refine(replace(request, n_new_clicks=0))
        if self._way == "crash":
            raise RuntimeError("out of ideas")
        if self._way == "shape":
            return np.full((1, 1, 1), 50, np.uint8)
        if self._way == "range":
            return np.full(request.percent.shape, 200, np.uint8)
        while not (self._way == "slow" and callbacks["cancel"]()):  # "deaf" never asks
            time.sleep(0.01)
        raise Cancelled("stopped")


WHOLE = Plan(roi="whole", interactions=8)


def last_turn(case: EvaluationCase, refiner: Any, plan: Plan = WHOLE, **options: Any) -> Any:
    return list(drive(case, refiner, ROBOTS["primary"](), plan, **options))[-1]


def test_an_obedient_refiner_reaches_the_reference_and_gets_no_click_more():
    case = case_in_memory()
    turns = list(drive(case, Obedient(case.reference), ROBOTS["primary"](), WHOLE))
    assert np.array_equal(turns[-1].mask, case.reference)
    assert 1 < len(turns) < 5


def test_a_perfect_start_gets_no_click():
    case = case_in_memory(start="perfect")
    assert [turn.number for turn in drive(case, PaintBall(4), ROBOTS["primary"](), WHOLE)] == [0]


def test_without_a_refiner_there_is_the_start_alone():
    assert [turn.number for turn in drive(case_in_memory(), None, ROBOTS["primary"](), WHOLE)] == [0]


def test_an_empty_start_is_entered_by_the_first_click():
    case = case_in_memory(start="empty")
    turns = list(drive(case, PaintBall(4), ROBOTS["primary"](), replace(WHOLE, roi="common")))
    assert not turns[0].mask.any()
    assert turns[1].clicks[0].label is ClickLabel.FOREGROUND
    assert turns[1].mask.any()


@pytest.mark.parametrize(
    ("way", "status"), [("crash", "crash"), ("shape", "invalid_mask"), ("range", "invalid_mask"), ("slow", "timeout")]
)
def test_a_failed_interaction_leaves_an_empty_mask_and_ends_the_case(way: str, status: str):
    case = case_in_memory()
    turn = last_turn(case, Broken(case.reference, way), replace(WHOLE, timeout_s=0.05))
    assert (turn.number, turn.status) == (3, status)
    assert not turn.mask.any()
    assert turn.error


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system cannot interrupt a thread")
def test_a_refiner_that_never_asks_whether_to_stop_is_stopped_by_the_alarm():
    case = case_in_memory()
    turn = last_turn(case, Broken(case.reference, "deaf"), replace(WHOLE, timeout_s=0.2), alarm=True)
    assert (turn.number, turn.status) == (3, "timeout")


def test_validation_rises_with_an_obedient_refiner_and_counts_only_numbers():
    case = case_in_memory()
    figures = validation_curve([case], Obedient(case.reference), n_clicks=6, plan=WHOLE)
    assert figures["dice_0"] < figures["dice_1"] <= figures["dice_6"] == 1.0
    assert figures["dice_0"] < figures["auc"] < 1.0
    assert figures["lowering"] == figures["failures"] == 0.0
    assert figures["respected_raw"] == 1.0
    assert all(isinstance(value, float) for value in figures.values())


def test_validation_counts_clicks_that_lower_dice_and_failures():
    case = case_in_memory()
    harmful = validation_curve([case], PaintBall(8), n_clicks=4, plan=WHOLE)
    assert harmful["lowering"] > 0
    assert validation_curve([case], Broken(case.reference, "crash"), n_clicks=6, plan=WHOLE)["failures"] == 1.0


def test_validation_stops_when_asked():
    with pytest.raises(Cancelled):
        validation_curve([case_in_memory()], PaintBall(2), cancel=lambda: True)


def test_corrupted_starts_are_the_same_each_time_and_differ_by_case():
    _, reference = scene(0)
    first = corrupted_start("a", reference, (1.0, 1.0, 1.0))
    assert np.array_equal(first, corrupted_start("a", reference, (1.0, 1.0, 1.0)))
    assert not np.array_equal(first, corrupted_start("b", reference, (1.0, 1.0, 1.0)))
    assert set(np.unique(first)) == {10, 90}


# ---- whole evaluations, from files to files ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "toy"
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    names = [f"toy_{number:02d}" for number in range(8)]
    for number, name in enumerate(names):
        image, reference = scene(number)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / "imagesTr" / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(reference.astype(np.uint8), np.eye(4)), folder / "labelsTr" / f"{name}.nii.gz")
    pairs = [{"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in names]
    listed = {"name": "toy", "labels": {"0": "background", "1": "ball"}, "numTraining": 8, "training": pairs}
    (folder / "dataset.json").write_text(json.dumps(listed | {"modality": {"0": "MRI"}}), encoding="utf-8")
    splits = {"train": names[:3], "val": names[3:7], "test": names[7:]}
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return load_dataset(folder)


CONFIG = EvaluationConfig(
    methods=tuple(parse_method(text) for text in ("enforce_only", "ball=paint_ball:radius_mm=2", "geodesic_threshold")),
    start="C",
    interactions=6,
)


def without_times(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: text for name, text in row.items() if name != "latency_ms"} for row in csv.DictReader(file)]


def test_every_method_case_and_click_has_its_row(dataset: Dataset, tmp_path: Path):
    done = evaluate(dataset, CONFIG, tmp_path)
    assert len(done.records) == 3 * 4 * 7
    assert {record.click for record in done.records} == set(range(7))
    assert {record.subject for record in done.records} == {f"toy_{number:02d}" for number in range(3, 7)}
    started = [r for r in done.records if r.click == 0]
    assert len({(r.case, r.dice) for r in started}) == 4  # the same start for every method
    assert all(0.0 <= r.dice <= 1.0 and 0.0 <= r.nsd_2mm <= 1.0 for r in done.records)
    assert all(r.respected == 1.0 for r in done.records if r.n_clicks and r.status == "ok")
    assert done.csv.name == "toy_val_whole_C_primary_common.csv"


def test_painting_balls_raises_dice_on_an_empty_start(dataset: Dataset, tmp_path: Path):
    ball_4 = parse_method("paint_ball:radius_mm=4")
    done = evaluate(dataset, replace(CONFIG, start="B", methods=(ball_4,)), tmp_path)
    by_click = {n: np.mean([r.dice for r in done.records if r.click == n]) for n in (0, 1, 3)}
    assert 0.0 == by_click[0] < by_click[1] < by_click[3]


def test_a_run_stopped_between_cases_goes_on_to_the_same_rows(dataset: Dataset, tmp_path: Path):
    whole = evaluate(dataset, CONFIG, tmp_path / "whole")
    asked: list[int] = []
    with pytest.raises(Cancelled):
        evaluate(dataset, CONFIG, tmp_path / "cut", cancel=lambda: asked.append(1) or len(asked) > 25)
    kept = list((tmp_path / "cut" / "parts").glob("[!.]*.json"))
    assert 0 < len(kept) < 12
    before = {path: path.stat().st_mtime_ns for path in kept}
    seen: list[int] = []
    resumed = evaluate(dataset, CONFIG, tmp_path / "cut", progress=lambda done, total: seen.append(done))
    assert seen[0] == len(kept)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert without_times(resumed.csv) == without_times(whole.csv)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_killed_run_goes_on_to_the_same_rows(dataset: Dataset, tmp_path: Path):
    config = replace(CONFIG, methods=(parse_method("geodesic_threshold:kappa_mm=20,reach_mm=30"),), interactions=20)
    whole = evaluate(dataset, config, tmp_path / "whole")
    script = textwrap.dedent(f"""
        import pathlib
        from medseg_rl.dataset import load_dataset
        from medseg_rl.evaluation import EvaluationConfig, evaluate, parse_method
        method = parse_method("geodesic_threshold:kappa_mm=20,reach_mm=30")
        config = EvaluationConfig(methods=(method,), start="C", interactions=20)
        evaluate(load_dataset(pathlib.Path({str(dataset.folder)!r})), config, pathlib.Path({str(tmp_path / "cut")!r}))
    """)
    parts = tmp_path / "cut" / "parts"
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        deadline = time.monotonic() + 60
        while not list(parts.glob("[!.]*.json")) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.002)
        process.kill()
    assert 0 < len(list(parts.glob("[!.]*.json"))) < 4
    resumed = evaluate(dataset, config, tmp_path / "cut")
    assert without_times(resumed.csv) == without_times(whole.csv)


def test_processes_side_by_side_give_the_rows_of_one(dataset: Dataset, tmp_path: Path):
    config = replace(CONFIG, methods=CONFIG.methods[:2])
    one = evaluate(dataset, config, tmp_path / "one")
    two = evaluate(dataset, replace(config, jobs=2), tmp_path / "two")
    assert without_times(two.csv) == without_times(one.csv)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_case_that_cannot_be_read_ends_the_run_in_one_line(dataset: Dataset, tmp_path: Path, jobs: int):
    broken = replace(dataset.all_cases[4], image_path=tmp_path / "gone.nii.gz")
    cases = (*dataset.all_cases[:4], broken, *dataset.all_cases[5:])
    altered = replace(dataset, all_cases=cases)
    vars(altered)["data_hash"] = dataset.data_hash
    with pytest.raises(InputFileError) as caught:
        evaluate(altered, replace(CONFIG, methods=CONFIG.methods[:1], jobs=jobs), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_result_of_other_settings_is_not_taken_up(dataset: Dataset, tmp_path: Path):
    first = evaluate(dataset, CONFIG, tmp_path)
    other = evaluate(dataset, replace(CONFIG, interactions=3), tmp_path)
    assert len(other.records) < len(first.records)
    assert {r.config_hash for r in first.records}.isdisjoint(r.config_hash for r in other.records)


def test_a_damaged_part_is_done_again(dataset: Dataset, tmp_path: Path):
    whole = evaluate(dataset, CONFIG, tmp_path)
    lines = without_times(whole.csv)
    next((tmp_path / "parts").glob("*.json")).write_text('{"rows": [', encoding="utf-8")
    assert without_times(evaluate(dataset, CONFIG, tmp_path).csv) == lines


def test_tables_and_curves_come_from_the_files_alone_and_are_the_same_again(dataset: Dataset, tmp_path: Path):
    evaluate(dataset, CONFIG, tmp_path)
    written = write_report(tmp_path, reference="ball")
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write_report(tmp_path, reference="ball")] == first
    assert b"| ball | - | 4 (4) |" in first[0] or b"| **ball** | - | 4 (4) |" in first[0]
    assert written[1].suffix == ".png"


def test_other_rules_never_share_a_file_or_a_table(dataset: Dataset, tmp_path: Path):
    config = replace(CONFIG, methods=CONFIG.methods[:1], interactions=2)
    files = [evaluate(dataset, replace(config, guard_mm=guard), tmp_path).csv.name for guard in (None, 40.0)]
    assert files == ["toy_val_whole_C_primary_common.csv", "toy_val_whole_C_primary_common__guard40mm.csv"]
    tables = write_report(tmp_path)[0].read_text(encoding="utf-8")
    assert tables.count("### toy") == 2
    assert "ROI common, guard40mm\n" in tables


def test_training_seeds_of_one_name_become_one_row(dataset: Dataset, tmp_path: Path):
    seeds = tuple(parse_method(f"ball@{seed}=paint_ball:radius_mm={seed + 1}") for seed in (0, 1))
    done = evaluate(dataset, replace(CONFIG, methods=seeds, interactions=2), tmp_path)
    assert {record.train_seed for record in done.records} == {0, 1}
    table = write_report(tmp_path)[0].read_text(encoding="utf-8")
    assert table.count("| ball | 2 | 4 (4) |") == 1
    content = json.loads(done.manifest.read_text(encoding="utf-8"))
    assert content["train_seeds"] == {"ball seed 0": 0, "ball seed 1": 1}


def test_the_manifest_says_what_was_run(dataset: Dataset, tmp_path: Path):
    command = ["medseg-rl", "evaluate", "--data", str(dataset.folder)]
    done = evaluate(dataset, replace(CONFIG, not_run={"graph cut": "not installed"}), tmp_path, command=command)
    content = json.loads(done.manifest.read_text(encoding="utf-8"))
    assert content["data_hash"] == dataset.data_hash
    assert content["config"]["methods"]["ball"] == {"kind": "paint_ball", "radius_mm": 2.0}
    assert content["not_run"] == {"graph cut": "not installed"}
    assert content["failures"] == []
    assert content["respected_at_end"]["ball"] == 1.0
    assert content["cases"] == 4
    assert str(dataset.folder.parent) not in done.manifest.read_text(encoding="utf-8")


def test_the_automatic_start_is_a_method_of_its_own(dataset: Dataset, tmp_path: Path):
    done = evaluate(dataset, replace(CONFIG, methods=(parse_method("automatic"),)), tmp_path)
    assert [record.click for record in done.records] == [0] * 4
    assert "automatic" in write_report(tmp_path)[0].read_text(encoding="utf-8")


def test_memory_is_measured_in_fresh_processes(dataset: Dataset, tmp_path: Path):
    config = replace(CONFIG, methods=CONFIG.methods[:1], measure_memory=True, limit=1)
    done = evaluate(dataset, config, tmp_path)
    assert all(record.peak_mb is not None and 0 <= record.peak_mb < 2000 for record in done.records)


def test_the_side_of_an_empty_start_is_one_and_a_half_times_the_extent(dataset: Dataset):
    # the balls reach from x = 4, 5 or 6 to 20: 17, 16 or 15 mm; the 95th percentile is 16.9, below the least side
    assert empty_start_side_mm(dataset, "whole") == 32.0


def test_a_set_without_training_cases_is_evaluated_in_any_region_but_the_common_one(dataset: Dataset, tmp_path: Path):
    alone = replace(dataset, all_cases=tuple(c for c in dataset.all_cases if c.split != "train"))
    config = replace(CONFIG, methods=CONFIG.methods[:1], start="B")
    with pytest.raises(InputFileError, match="no training case"):
        evaluate(alone, replace(config, roi="common"), tmp_path)
    done = evaluate(alone, replace(config, roi="whole"), tmp_path)
    assert {record.status for record in done.records} == {"ok"}


@pytest.mark.parametrize(
    "changes",
    [{"robot": "nobody"}, {"start": "A"}, {"methods": ()}, {"methods": CONFIG.methods[:1] * 2}, {"target": (9,)}],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(dataset: Dataset, tmp_path: Path, changes: dict[str, Any]):
    with pytest.raises(InputFileError) as caught:
        evaluate(dataset, replace(CONFIG, **changes), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_bundle_is_refused_before_any_case(dataset: Dataset, tmp_path: Path):
    method = parse_method(f"agent={tmp_path / 'nowhere'}")
    with pytest.raises(BundleError):
        evaluate(dataset, replace(CONFIG, methods=(method,)), tmp_path)


def test_a_folder_without_results_has_no_report(tmp_path: Path):
    with pytest.raises(InputFileError, match="no result file"):
        write_report(tmp_path)


# ---- tuning --------------------------------------------------------------------------------------------------------


def test_tuning_tries_the_same_number_for_every_method_and_keeps_all(tmp_path: Path):
    assert {len(grid) for starts in GRIDS.values() for grid in starts.values()} == {8}
    trials = tune([case_in_memory()], "paint_ball", "A", plan=replace(WHOLE, interactions=2))
    write_trials(tmp_path / "tuning.json", trials)
    assert len(trials) == 8
    assert read_trials(tmp_path / "tuning.json") == trials


def test_the_parameter_set_of_highest_auc_is_chosen_under_the_plain_name():
    trials = [
        Trial("paint_ball", start, f"radius_mm={radius}", {"auc": auc})
        for start, radius, auc in (("A", 2, 0.5), ("A", 4, 0.7), ("A", 6, 0.7), ("B", 8, 0.9))
    ]
    assert best_method(trials, "paint_ball", "A") == replace(parse_method("paint_ball:radius_mm=4"), name="paint_ball")
    with pytest.raises(InputFileError, match="tune first"):
        best_method(trials, "geodesic_threshold", "A")


def test_a_method_without_a_grid_is_refused():
    with pytest.raises(InputFileError, match="no grid"):
        tune([case_in_memory()], "enforce_only", "A", plan=WHOLE)


# ---- shares, dying processes, the oracle's region -------------------------------------------------------------------


def test_shares_of_one_folder_end_with_the_rows_of_one_process(dataset: Dataset, tmp_path: Path):
    whole = evaluate(dataset, CONFIG, tmp_path / "whole")
    first = evaluate(dataset, replace(CONFIG, shard=(1, 3)), tmp_path / "shared")
    assert (first.records, first.open_runs) == ((), 8)
    assert not first.csv.exists()
    assert evaluate(dataset, replace(CONFIG, shard=(3, 3)), tmp_path / "shared").open_runs == 4
    last = evaluate(dataset, replace(CONFIG, shard=(2, 3)), tmp_path / "shared")
    assert last.open_runs == 0
    assert without_times(last.csv) == without_times(whole.csv)
    again = evaluate(dataset, replace(CONFIG, shard=(1, 3)), tmp_path / "shared")
    assert without_times(again.csv) == without_times(whole.csv)
    assert len(list((tmp_path / "shared" / "parts").glob("[!.]*.json"))) == 12


def test_a_share_is_read_from_its_text_or_from_the_launcher(monkeypatch: pytest.MonkeyPatch):
    assert own_shard("2/8") == (2, 8)
    for wrong in ("0/8", "9/8", "2", "a/b"):
        with pytest.raises(InputFileError, match="second of eight"):
            own_shard(wrong)
    assert own_shard() == (1, 1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert own_shard() == (2, 4)


def test_a_process_that_dies_is_listed_and_counts_as_empty(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The task itself cannot be made to kill its process from here, so the pool is made to say that it did."""
    victim = dataset.cases("val")[1].id
    run_alone = evaluation_run.run_task

    def pooled(tasks, places, config, cancel):
        for place in places:
            if tasks[place].case.id == victim:
                raise BrokenProcessPool("a process in the process pool was terminated abruptly")
            yield place, run_alone(tasks[place])

    monkeypatch.setattr(evaluation_run, "_pooled", pooled)
    ball = parse_method("ball=paint_ball:radius_mm=2")
    done = evaluate(dataset, replace(CONFIG, methods=(ball,), jobs=2), tmp_path)
    assert {record.case for record in done.records} == {case.id for case in dataset.cases("val")}
    rows = [record for record in done.records if record.case == victim]
    assert [row.status for row in rows] == ["ok"] + ["crash"] * 6
    assert all(row.dice == 0 for row in rows[1:])
    assert [(failure["case"], failure["status"]) for failure in done.failures] == [(victim, "crash")]
    assert "process died" in done.failures[0]["error"]


def test_the_oracle_sees_the_box_of_the_reference_alone_whatever_the_axes():
    reference = np.zeros((60, 50, 70), bool)
    reference[30:40, 20:30, 10:20] = True
    image = (100 * reference + np.random.default_rng(0).normal(0, 10, reference.shape)).astype(np.float32)
    affine = np.eye(4)
    affine[0, 0] = -1  # the file runs from right to left, refiners see it turned
    case = EvaluationCase("case", "case", Volume(image, affine), reference, None)
    box = oracle_box(case.image, reference)
    assert box.shape == (32, 32, 32)  # 10 mm on each side, at least 32 mm
    asked: list[RefinementRequest] = []

    class Looks(PaintBall):
        def refine(self, request: RefinementRequest, **callbacks: Any) -> Percent:
            asked.append(request)
            return super().refine(request, **callbacks)

    turns = list(drive(case, Looks(radius_mm=4), ROBOTS["primary"](), Plan(roi="oracle", interactions=3)))
    assert [turn.status for turn in turns] == ["ok"] * 4
    assert {request.percent.shape for request in asked} == {box.shape}
    outside = np.ones(reference.shape, bool)
    outside[::-1][box.slices] = False
    assert not turns[-1].mask[outside].any()
    assert (turns[-1].mask & reference).sum() > (turns[1].mask & reference).sum() > 100
