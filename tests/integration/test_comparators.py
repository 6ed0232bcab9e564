"""All comparators on a tiny data set: tuned with equal trials, run side by side, a refiner of one's own among them."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from benchmarks import compare, pilot
from benchmarks.deepedit_style import DeepEditConfig, Weights, build_network, grid_input, refiner, train
from medseg_rl.automatic.starts import hash_voxels
from medseg_rl.dataset import Dataset, load_dataset
from medseg_rl.errors import BundleError, InputFileError, MissingExtraError
from medseg_rl.evaluation import parse_method
from medseg_rl.evaluation.tuning import GRIDS, Trial
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.imageio import write_mask
from medseg_rl.refiner import HIGHEST, LOWEST, RefinementRequest
from medseg_rl.refiners.registry import CLASSICAL

SHAPE = (20, 18, 16)
TINY = DeepEditConfig(
    grid=(8, 8, 8), features=(4, 8, 8), updates=3, batch=2, pool=3, generation=1, validate_every=2, validation_cases=1
)


def write_set(folder: Path, cases: int = 3) -> Path:
    """Bright balls in noise, MSD layout; the first case is for training, the others for validation and test."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    names = [f"ball_{number:02d}" for number in range(cases)]
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        grid = np.indices(SHAPE) - np.reshape((9 + number % 2, 9, 8), (3, 1, 1, 1))
        reference = (grid**2).sum(0) <= 25
        image = (100 * reference + rng.normal(0, 10, SHAPE)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / "imagesTr" / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(reference.astype(np.uint8), np.eye(4)), folder / "labelsTr" / f"{name}.nii.gz")
    about = {"name": "balls", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "ball"}}
    about["training"] = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    about |= {"numTraining": cases}
    (folder / "dataset.json").write_text(json.dumps(about))
    (folder / "splits.json").write_text(json.dumps({"train": names[:1], "val": names[1:2], "test": names[2:]}))
    return folder


def run(*words: str) -> int:
    return compare.main(list(words))


def test_all_classical_comparators_are_tuned_and_stand_in_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(compare, "GRIDS", GRIDS)
    for method, grid in GRIDS.items():
        monkeypatch.setitem(GRIDS, method, {start: options[:2] for start, options in grid.items()})  # type: ignore[index]
    data, out = write_set(tmp_path / "balls"), tmp_path / "out"
    shared = ("--data", str(data), "--output", str(out), "--start", "B")
    assert run("tune", *shared) == 0
    trials = json.loads((out / "tuning.json").read_text())
    counts = {method: sum(trial["method"] == method for trial in trials) for method in GRIDS}
    assert set(counts.values()) == {2}
    assert {trial["volumes"] for trial in trials} == {1}
    assert run("tune", *shared) == 0  # nothing is left to try
    assert json.loads((out / "tuning.json").read_text()) == trials
    own = "own=python:medseg_rl.refiners.paint_ball:PaintBall"
    assert run("run", *shared, "--method", own) == 0
    report = capsys.readouterr().out
    assert all(f"| {name} |" in report for name in (*GRIDS, "own", "enforce_only"))
    manifest = json.loads((out / "balls_val_whole_B_primary_common.json").read_text())
    assert manifest["not_run"]["rnet_style"] == "no model was given"


def test_trials_on_another_number_of_volumes_do_not_mix(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data, out = write_set(tmp_path / "balls"), tmp_path / "out"
    out.mkdir()
    trial = {"method": "paint_ball", "start": "B", "options": "radius_mm=1", "figures": {"auc": 0.1}, "volumes": 7}
    (out / "tuning.json").write_text(json.dumps([trial]))
    assert run("tune", "--data", str(data), "--output", str(out), "--start", "B", "--classical", "paint_ball") != 0
    assert "another number of volumes" in capsys.readouterr().err


def test_a_comparator_without_its_library_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch):
    def missing(**options: float) -> Any:
        raise MissingExtraError("grow_cut needs a library")

    monkeypatch.setitem(CLASSICAL, "grow_cut", type(CLASSICAL["grow_cut"])(missing, CLASSICAL["grow_cut"].options))  # type: ignore[index]
    trials = [Trial("grow_cut", "A", "reach_mm=2", {"auc": 0.5}), Trial("paint_ball", "A", "radius_mm=2", {"auc": 0.5})]
    methods, not_run = compare.chosen_methods(trials, "A", [], ("grow_cut", "paint_ball", "graph_cut"))
    assert [method.name for method in methods] == ["paint_ball", "enforce_only", "automatic"]
    assert not_run["grow_cut"] == "grow_cut needs a library"
    assert not_run["graph_cut"] == "no parameters: tune first"


def test_start_a_without_starts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("tune", "--output", str(tmp_path)) == 3
    assert "start A needs --starts" in capsys.readouterr().err


def test_the_first_command_line_still_means_the_same():
    words = ["run", "--agent", "a", "--twin=b", "--starts", "s"]
    assert pilot.translated(words) == ["run", "--method", "agent=a", "--method", "twin_a=b", "--starts", "s"]


def test_a_refiner_of_ones_own_is_named_by_its_function():
    method = parse_method("mine=python:medseg_rl.refiners.registry:classical_refiner:paint_ball")
    refining = method.build()
    assert method.name == "mine"
    assert refining is not None
    assert refining.name == "paint_ball"
    assert method.refinement_steps(3) == 1


@pytest.mark.parametrize("text", ["python:", "python:module", "python:no.such.module:f", "python:medseg_rl:nothing"])
def test_a_refiner_that_is_not_there_is_named(text: str):
    with pytest.raises(InputFileError, match=r"python:.*(names no refiner|cannot be loaded)"):
        parse_method(text).build()


# ---- DeepEdit style --------------------------------------------------------------------------------------------------


def test_a_click_is_a_gaussian_at_its_place_on_the_grid():
    clicks = [Click((3, 8, 0), ClickLabel.FOREGROUND), Click((19, 0, 15), ClickLabel.BACKGROUND)]
    seen = grid_input(np.zeros(SHAPE, np.float32), clicks, (10, 9, 8))
    assert seen.shape == (3, 10, 9, 8)
    assert np.unravel_index(int(seen[1].argmax()), (10, 9, 8)) == (1, 4, 0)  # 3.5 of 20 voxels is 1.75 of 10
    assert np.unravel_index(int(seen[2].argmax()), (10, 9, 8)) == (9, 0, 7)
    assert 0.9 < float(seen[1:].max()) <= 1


def test_it_trains_without_previous_masks_resumes_and_refines_under_the_rules(tmp_path: Path):
    dataset = load_dataset(write_set(tmp_path / "balls"))
    starts = tmp_path / "starts"
    write_starts(starts, dataset)
    train(dataset, TINY, starts, tmp_path / "run")
    first = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    train(dataset, TINY, starts, tmp_path / "run")  # finished: nothing is trained again
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == first
    refining = refiner(str(tmp_path / "run"))
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    held = np.zeros(SHAPE, bool)
    held[:4] = True
    clicks = (Click((10, 9, 8), ClickLabel.FOREGROUND), Click((15, 2, 3), ClickLabel.BACKGROUND))
    states = [np.full(SHAPE, value, np.uint8) for value in (10, 90)]
    answers = [refining.refine(RefinementRequest(image, (1, 1, 1), state, clicks, 1, held)) for state in states]
    assert np.array_equal(answers[0][~held], answers[1][~held])  # no previous mask
    assert [answers[0][click.index] for click in clicks] == [HIGHEST, LOWEST]
    assert (answers[1][held] == 90).all()
    assert refining.describe()["grid"] == (8, 8, 8)


def test_weights_are_kept_once_though_modules_have_two_names():
    one, other = (build_network(TINY) for _ in range(2))
    Weights(other).load_state_dict(Weights(one).state_dict())
    seen = torch.randn(1, 3, 8, 8, 8)
    assert torch.equal(one(seen), other(seen))


def test_a_folder_without_a_finished_run_is_named(tmp_path: Path):
    with pytest.raises(BundleError, match="holds no finished run"):
        refiner(str(tmp_path))


def write_starts(folder: Path, dataset: Dataset) -> None:
    """Automatic starts as `load_starts` reads them: the references, a voxel off."""
    folder.mkdir()
    cases = {}
    for case in (case for split in ("train", "val") for case in dataset.cases(split, "whole")):
        image, reference = case.load("whole")
        percent = np.where(np.roll(reference, 1, 0), 80, 20).astype(np.uint8)
        write_mask(folder / f"{case.id}.nii.gz", image.with_array(percent), like=image)
        cases[case.id] = {"file": f"{case.id}.nii.gz", "voxels_sha256": hash_voxels(percent)}
    (folder / "starts.json").write_text(json.dumps({"start_hash": "made for a test", "cases": cases}))
