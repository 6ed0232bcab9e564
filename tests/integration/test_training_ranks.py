"""Training in two processes as torchrun starts them: the same weights in both, and after a kill the same once more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medseg_rl.agent.learner import Learner
from medseg_rl.agent.networks import build_network
from medseg_rl.agent.policy import build_policy
from medseg_rl.agent.ranks import Ranks, joined_ranks
from medseg_rl.errors import BundleError, MedSegError
from medseg_rl.training import TrainingConfig
from medseg_rl.training_checkpoint import CHECKPOINT, Run, load_checkpoint, save_checkpoint

HERE = Path(__file__).resolve().parent
LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")

SCRIPT = """
    import hashlib, json, os, signal, sys
    from dataclasses import replace
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import torch
    from test_training import TINY, balls
    from medseg_rl.agent.ranks import joined_ranks
    from medseg_rl.errors import MedSegError
    from medseg_rl.training import train

    folder, die_at = Path(sys.argv[2]), int(sys.argv[3])
    config = replace(TINY, network="small", learner=replace(TINY.learner, credit_voxels=3, mode="sampled"))
    asked = iter(range(1000))

    def cancel():
        if next(asked) == die_at and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    with joined_ranks() as ranks:
        gradient = torch.nn.Parameter(torch.zeros(3))
        gradient.grad = torch.tensor([1.0, 2.0, 3.0]) * (ranks.rank + 1)
        ranks.average_gradients([gradient])
        validated = []

        def validate(network, policy):
            validated.append(1)
            return {"auc": 0.0}

        agent = train(balls(), config, folder, validate=validate, cancel=cancel, ranks=ranks)
        digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in agent.network.state_dict().values()))
        said = {"gradient": gradient.grad.tolist(), "validated": len(validated), "weights": digest.hexdigest()}
        Path(folder, f"rank{ranks.rank}.json").write_text(json.dumps(said))
"""


def launch(tmp_path: Path, folder: Path, *, die_at: int = -1, processes: int = 2) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    folder.mkdir(exist_ok=True)
    command = [*LAUNCH, str(processes), str(script), str(HERE), str(folder), str(die_at)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)


def said(folder: Path, rank: int) -> Any:
    return json.loads((folder / f"rank{rank}.json").read_text())


def test_two_processes_average_gradients_and_the_first_alone_validates(tmp_path: Path) -> None:
    done = launch(tmp_path, tmp_path / "run")
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = said(tmp_path / "run", 0), said(tmp_path / "run", 1)
    assert first["gradient"] == second["gradient"] == [1.5, 3.0, 4.5]
    assert (first["validated"] > 0, second["validated"]) == (True, 0)
    assert (tmp_path / "run" / CHECKPOINT).exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_run_of_two_whose_second_is_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert launch(tmp_path, whole).returncode == 0
    killed = launch(tmp_path, broken, die_at=3)
    assert killed.returncode != 0
    assert "goes on from the last checkpoint" in killed.stderr or str(signal.SIGKILL.value) in killed.stderr
    assert not (broken / "rank0.json").exists()
    assert launch(tmp_path, broken).returncode == 0
    for rank in (0, 1):
        assert said(broken, rank)["weights"] == said(whole, rank)["weights"]
    ours, theirs = load_file(broken / CHECKPOINT), load_file(whole / CHECKPOINT)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    alone = launch(tmp_path, broken, processes=1)
    assert alone.returncode != 0
    assert "written by 2 process(es), these are 1" in alone.stderr


SETTINGS = (
    "training.updates=4",
    "training.generation=2",
    "training.validate_every=2",
    "training.network=small",
    "training.batch=1",
    "training.pool=2",
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


def balls_as_files(folder: Path) -> Path:
    """Ten bright balls in noise, as plain folders of images and labels."""
    for number in range(10):
        rng = np.random.default_rng(number)
        inside = ((np.indices((20, 20, 20)) - 10) ** 2).sum(0) < 25
        for kind, array in (("images", rng.normal(100, 10, inside.shape) + 60 * inside), ("labels", inside)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            kept = array.astype(np.uint8 if kind == "labels" else np.float32)
            nib.save(nib.Nifti1Image(kept, np.eye(4)), folder / kind / f"ball_{number}.nii.gz")
    return folder


@pytest.mark.slow
def test_the_command_trains_in_two_processes_to_one_bundle(tmp_path: Path) -> None:
    settings = [part for change in SETTINGS for part in ("--set", change)]
    arguments = ["train", "--data", str(balls_as_files(tmp_path / "balls")), "-o", str(tmp_path / "run"), "--json"]
    done = subprocess.run(
        [*LAUNCH, "2", "-m", "medseg_rl.cli", *arguments, *settings],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert Path(json.loads(done.stdout)["bundle"]).is_dir()
    assert (tmp_path / "run" / "run.json").exists()
    assert (tmp_path / "run" / "splits.json").exists()


def test_one_process_has_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_ranks() as ranks:
        assert (ranks.rank, ranks.size, ranks.is_first) == (0, 1, True)
        assert ranks.any(True)
        assert not ranks.any(False)


def test_a_gpu_that_is_not_there_is_refused_in_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(MedSegError, match="no GPU of its own"), joined_ranks("cuda"):
        pass


def test_a_checkpoint_of_two_processes_is_refused_by_one(tmp_path: Path) -> None:
    config = TrainingConfig()

    def learner(ranks: Ranks) -> Learner:
        network = build_network("small", actions=len(config.adjustments))
        policy = build_policy("adjustment", config.adjustments)
        return Learner(network, policy, config.learner, precision="fp32", ranks=ranks)

    save_checkpoint(tmp_path, Run(2), learner(Ranks(0, 2)), config)
    with pytest.raises(BundleError, match=r"written by 2 process\(es\), these are 1"):
        load_checkpoint(tmp_path, learner(Ranks()), config)
