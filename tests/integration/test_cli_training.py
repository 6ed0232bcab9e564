"""Training through the command line, in seconds: a bundle comes out; whatever stops the run, the command goes on."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from medseg_rl.bundle import load_bundle
from medseg_rl.cli import app
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.training_checkpoint import CHECKPOINT

if TYPE_CHECKING:
    from conftest import Desk

SHAPE = (20, 20, 20)
TINY = (
    "training.updates=4",
    "training.generation=2",
    "training.validate_every=2",
    "training.network=small",
    "training.batch=1",
    "training.pool=2",
    "training.interactions_per_update=1",
    "training.threads=1",
    "training.precision=fp32",
    "training.scenes.crop_voxels=[16, 16, 16]",
    "automatic.updates=3",
    "automatic.batch=1",
    "automatic.patch=[24, 24, 24]",
    "automatic.precision=float32",
    "validation.cases=1",
    "validation.clicks=2",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight bright balls in noise, in the layout of the Decathlon."""
    folder = tmp_path_factory.mktemp("data") / "balls"
    ids = [f"ball_{n}" for n in range(8)]
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for seed, name in enumerate(ids):
        rng = np.random.default_rng(seed)
        grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
        inside = np.linalg.norm(grid - 10 - rng.uniform(-2, 2, 3), axis=-1) < 5
        image = (rng.normal(100, 10, SHAPE) + 60 * inside).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "imagesTr" / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(inside.astype(np.uint8), np.eye(4)), folder / "labelsTr" / f"{name}.nii.gz")
    entries = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in ids]
    description = {"name": "Balls", "modality": {"0": "MRI"}, "licence": "CC0", "labels": {"0": "none", "1": "ball"}}
    (folder / "dataset.json").write_text(json.dumps(description | {"numTraining": len(ids), "training": entries}))
    (folder / "splits.json").write_text(json.dumps({"train": ids[:5], "val": ids[5:7], "test": ids[7:]}))
    return folder.parent


def command(data: Path, output: Path, *changes: str) -> list[str]:
    """`train` with tiny settings."""
    settings = [part for change in (*TINY, *changes) for part in ("--set", change)]
    return ["train", "--data", str(data), "--dataset", "balls", "--output", str(output), "--json", *settings]


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing stopped, with its answer in answer.json; copy it before changing it."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    result = CliRunner().invoke(app, command(data, folder))
    assert result.exit_code == 0, result.stderr
    (folder / "answer.json").write_text(result.stdout)
    return folder


def answer_of(finished: Path) -> Any:
    """What that run answered."""
    return json.loads((finished / "answer.json").read_text())


def test_a_run_ends_with_a_bundle_that_segments(desk: Desk, finished: Path) -> None:
    answer = answer_of(finished)
    bundle = Path(answer["bundle"])
    assert answer["name"] == "balls_whole"
    assert 0 <= answer["validation"]["validation_auc"] <= 1
    assert "CC0" in (bundle / "docs" / "README.md").read_text()
    assert list((finished / "tensorboard").glob("events*"))
    segmented = desk.segment("--bundle", bundle, "--start", "automatic")
    assert segmented.code == 0, segmented.stderr
    assert desk.mask[12, 11, 10] == 1


def test_a_run_killed_at_any_moment_goes_on_to_the_same_weights(desk: Desk, data: Path, finished: Path) -> None:
    folder = desk.folder / "killed"
    process = desk.start(*command(data, folder))
    limit = time.monotonic() + 180
    while not (folder / CHECKPOINT).exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (folder / "run.json").exists()
    again = desk.run(*command(data, folder))
    assert again.code == 0, again.stderr
    assert again.json["hash"] == answer_of(finished)["hash"]


def test_ctrl_c_leaves_a_run_that_goes_on(desk: Desk, data: Path) -> None:
    folder = desk.folder / "run"
    process = desk.start(*command(data, folder, "training.updates=100000"))
    limit = time.monotonic() + 180
    while not (folder / CHECKPOINT).exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "goes on" in stderr
    assert "Traceback" not in stderr
    assert (folder / CHECKPOINT).stat().st_size > 1000


def test_a_run_folder_of_another_config_is_refused(desk: Desk, data: Path, finished: Path) -> None:
    folder = shutil.copytree(finished, desk.folder / "run")
    answer = desk.run(*command(data, folder, "training.seed=1"))
    assert answer.code == 6
    assert "belongs to a run of another config" in answer.stderr


def test_a_corrupted_checkpoint_is_refused_and_left_alone(desk: Desk, data: Path, finished: Path) -> None:
    folder = shutil.copytree(finished, desk.folder / "run")
    (folder / CHECKPOINT).write_bytes(b"damaged")
    answer = desk.run(*command(data, folder))
    assert answer.code == 6
    assert "corrupted" in answer.stderr
    assert (folder / CHECKPOINT).read_bytes() == b"damaged"


def test_two_processes_cannot_train_in_one_folder(desk: Desk, data: Path) -> None:
    folder = desk.folder / "run"
    folder.mkdir()
    with atomic_path(folder / "run.json") as temporary:
        answer = desk.run(*command(data, folder))
        temporary.write_text("{}")
    assert answer.code == 7
    assert "another process" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--set", "training.speed=9"), 3, "speed"),
        (("--preset", "huge"), 3, "huge"),
        (("--config", "none.toml"), 3, "none.toml"),
        (("--dataset", "cubes"), 3, "dataset.json is missing"),
        (("--target", "left"), 2, "left"),
    ],
)
def test_a_wrong_setting_is_refused_before_the_training(
    desk: Desk, data: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    answer = desk.run(*command(data, desk.folder / "run"), *arguments)
    assert answer.code == code, answer.stderr
    assert says in answer.stderr
    assert not (desk.folder / "run").exists()


def test_evaluation_writes_rows_tables_and_curves(desk: Desk, data: Path, finished: Path) -> None:
    folder = desk.folder / "evaluation"
    arguments = ("evaluate", "--data", data, "--dataset", "balls", "--output", folder, "--clicks", 2, "--limit", 1)
    methods = ("--method", f"agent={answer_of(finished)['bundle']}", "--method", "paint_ball:radius_mm=2")
    starts = ("--start", "A", "--start", "B", "--starts", finished / "starts")
    answer = desk.run(*arguments, *methods, *starts, "--json")
    assert answer.code == 0, answer.stderr
    assert [Path(row).name for row in answer.json["rows"]] == [
        "balls_val_whole_A_primary_common.csv",
        "balls_val_whole_B_primary_common.csv",
    ]
    assert answer.json["failures"] == []
    tables = (folder / "tables.md").read_text()
    assert "agent" in tables
    assert "paint_ball" in tables
    manifest = json.loads(Path(answer.json["manifests"][0]).read_text())
    assert manifest["weights_hash"]["agent"]
    assert len(list(folder.glob("*.png"))) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--method", "liver"), 6, "liver"),
        (("--method", "paint_ball:size=3"), 3, "size"),
        (("--method", "paint_ball", "--robot", "jane"), 3, "jane"),
        (("--method", "paint_ball", "--start", "A"), 3, "start A"),
        (("--method", "paint_ball", "--method", "paint_ball"), 3, "different names"),
    ],
)
def test_a_wrong_evaluation_is_refused_with_the_way_out(
    desk: Desk, data: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    answer = desk.run("evaluate", "--data", data, "--dataset", "balls", "-o", desk.folder / "out", *arguments)
    assert answer.code == code, answer.stderr
    assert says in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def general(data: Path, output: Path, *changes: str) -> list[str]:
    """`train-general` with tiny settings."""
    tiny = (*(s for s in TINY if s.startswith("training.")), "training.network=pyramid", "mixture.crop_voxels=16")
    settings = [part for change in (*tiny, "validation_clicks=2", *changes) for part in ("--set", change)]
    return ["train-general", "--data", str(data), "--dataset", "balls", "--output", str(output), "--json", *settings]


def test_agents_for_any_structure_know_no_millimetres_and_give_no_start(desk: Desk, data: Path) -> None:
    answer = desk.run(*general(data, desk.folder / "any"))
    assert answer.code == 0, answer.stderr
    bundle = load_bundle(answer.json["bundle"])
    assert bundle.agent_settings.view_voxels > 0
    assert not bundle.has_automatic
    assert {"validation_auc_balls_B", "validation_auc_balls_C"} <= answer.json["validation"].keys()
    assert "CC0" in (bundle.folder / "docs" / "README.md").read_text()
    assert desk.segment("--bundle", bundle.folder).code == 0
    again = desk.run(*general(data, desk.folder / "again"))
    assert again.json["hash"] == answer.json["hash"]
    further = desk.run(*general(data, desk.folder / "further"), "--begin-with", bundle.folder)
    assert further.code == 0, further.stderr
    assert further.json["hash"] != answer.json["hash"]
