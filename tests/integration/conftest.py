"""The program as a user runs it: a folder with small files, an untrained bundle, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from medseg_rl.bundle import BUNDLES_VARIABLE, AgentSettings, BundleCard, save_bundle
from medseg_rl.cli import app

SHAPE = (24, 22, 20)
CENTRE = (12, 11, 10)
AFFINE = np.array([[-1.0, 0, 0, 11.0], [0, 1.0, 0, -20.0], [0, 0, 1.5, 5.0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """stdout as JSON; fails where anything else was printed."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Desk:
    """A folder to work in. The image is a bright ball in noise on a flipped, anisotropic grid."""

    folder: Path
    bundles: Path

    @property
    def image(self) -> Path:
        """Path of the image."""
        return self.folder / "image.nii.gz"

    def run(self, *arguments: object) -> Answer:
        """A command in this process."""
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """A command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "medseg_rl.cli", *(str(a) for a in arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, BUNDLES_VARIABLE: str(self.bundles), "OMP_NUM_THREADS": "1"},
            **options,
        )

    def until_at_work(self, process: subprocess.Popen[str], seconds: float = 2.5) -> None:
        """Until a command has loaded torch and computed for a while since, however slow the machine is just now.

        Where there is no /proc, a fixed time has to do. Fails where it ends before, or takes two minutes.
        """
        folder, loaded_at, end = Path(f"/proc/{process.pid}"), None, time.monotonic() + 120
        if not folder.is_dir():
            time.sleep(4)
            return
        while process.poll() is None and time.monotonic() < end:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            computed = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            if loaded_at is None and "libtorch_cpu" in (folder / "maps").read_text():
                loaded_at = computed
            if loaded_at is not None and computed > loaded_at + seconds:
                return
            time.sleep(0.05)
        raise AssertionError(
            "it ended before it could be interrupted" if process.poll() is not None else "it does not begin"
        )

    def segment(self, *arguments: object, clicks: Path | None = None, image: Path | None = None) -> Answer:
        """`segment` on the image with one object click at its centre, from an empty start unless told otherwise."""
        clicks = clicks or self.clicks((CENTRE, "foreground"))
        start = () if "--start" in arguments else ("--start", "empty")
        return self.run(
            "segment", image or self.image, "--clicks", clicks, *start, "-o", self.folder / "mask.nii.gz", *arguments
        )

    def write(self, name: str, array: npt.NDArray[Any], affine: npt.NDArray[np.float64] = AFFINE) -> Path:
        """A NIfTI file."""
        path = self.folder / name
        nib.save(nib.Nifti1Image(array, affine), path)
        return path

    def clicks(self, *clicks: tuple[Sequence[float], str], target: int | str | None = None) -> Path:
        """A click file of (voxel index, "foreground" or "background")."""
        extra = {} if target is None else {"target": target}
        entries = [{"point_mm": self.world(index), "label": label, **extra} for index, label in clicks]
        content = {"format": "medseg-rl clicks", "version": 1, "coordinates": "RAS+ mm", "clicks": entries}
        path = self.folder / "clicks.json"
        path.write_text(json.dumps(content))
        return path

    @property
    def mask(self) -> npt.NDArray[Any]:
        """The mask as `segment` wrote it."""
        return np.asanyarray(nib.load(self.folder / "mask.nii.gz").dataobj)

    @staticmethod
    def world(index: Sequence[float]) -> list[float]:
        """RAS+ millimetres of a voxel of the image."""
        return [float(v) for v in (AFFINE @ [*index, 1])[:3]]

    @staticmethod
    def ball(radius: float) -> npt.NDArray[np.bool_]:
        """True within `radius` voxels of the centre."""
        grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
        inside: npt.NDArray[np.bool_] = np.linalg.norm(grid - np.asarray(CENTRE), axis=-1) <= radius
        return inside


@pytest.fixture
def desk(tmp_path: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A fresh folder with the image; the only bundle there is, is the untrained one."""
    monkeypatch.setenv(BUNDLES_VARIABLE, str(bundles))
    made = Desk(tmp_path, bundles)
    noise = np.random.default_rng(0).normal(100, 10, SHAPE)
    made.write("image.nii.gz", (noise + 80 * made.ball(5.0)).astype(np.float32))
    return made


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one bundle, "untrained": networks as they are born. Clicked voxels keep their label even so."""
    import torch

    from medseg_rl.agent.networks import PUBLISHED_CHANNELS, build_network
    from medseg_rl.agent.policy import build_policy
    from medseg_rl.automatic.segmenter import AutomaticConfig, AutomaticSegmenter
    from medseg_rl.automatic.segmenter import build_network as build_automatic
    from medseg_rl.environment.actions import ADJUSTMENTS

    torch.manual_seed(0)
    settings = AgentSettings("small", "adjustment", ADJUSTMENTS, PUBLISHED_CHANNELS)
    agent = build_network(settings.network, actions=build_policy(settings.policy, settings.adjustments).outputs)
    config = AutomaticConfig(patch=(24, 24, 24))
    card = BundleCard("untrained", "0.0.1", "for tests", "# untrained", "none", "CC0-1.0", modalities=("MR",))
    folder = tmp_path_factory.mktemp("bundles")
    save_bundle(
        folder / "untrained",
        card,
        agent=agent,
        agent_settings=settings,
        automatic=AutomaticSegmenter(build_automatic(config), config),
    )
    return folder
