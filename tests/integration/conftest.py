"""The program as a user runs it: small files, an untrained bundle, and the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from medseg_rl.bundle import AgentSettings, BundleCard, save_bundle
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


Run = Callable[..., Answer]


@pytest.fixture
def run(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command with the test's bundles."""
    monkeypatch.setenv("MEDSEG_RL_BUNDLES", str(bundles))

    def call(*arguments: object) -> Answer:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one bundle, "untrained": networks as they are born. It follows clicks, as every session does."""
    import torch

    from medseg_rl.agent.networks import PUBLISHED_CHANNELS, build_network
    from medseg_rl.agent.policy import build_policy
    from medseg_rl.automatic.segmenter import AutomaticConfig, AutomaticSegmenter
    from medseg_rl.automatic.segmenter import build_network as build_automatic
    from medseg_rl.environment.actions import ADJUSTMENTS

    torch.manual_seed(0)
    settings = AgentSettings("small", "adjustment", ADJUSTMENTS, PUBLISHED_CHANNELS)
    policy = build_policy(settings.policy, settings.adjustments)
    agent = build_network(settings.network, actions=policy.outputs)
    config = AutomaticConfig(patch=(24, 24, 24), features=(4, 4, 8, 8, 8, 4))
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


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A bright ball in noise on an oblique-free but flipped, anisotropic grid."""
    rng = np.random.default_rng(0)
    array = rng.normal(100, 10, SHAPE) + 80 * ball(5.0)
    path = tmp_path / "image.nii.gz"
    nib.save(nib.Nifti1Image(array.astype(np.float32), AFFINE), path)
    return path


def ball(radius: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """True within `radius` voxels of the centre of the test image."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    inside: np.ndarray[Any, np.dtype[np.bool_]] = np.linalg.norm(grid - np.asarray(CENTRE), axis=-1) <= radius
    return inside


def world(index: Sequence[float]) -> list[float]:
    """RAS+ millimetres of a voxel of the test image."""
    return [float(v) for v in (AFFINE @ [*index, 1])[:3]]


def write_clicks_json(path: Path, *clicks: tuple[Sequence[float], str], target: int | None = None) -> Path:
    """Clicks given as (world point, "foreground" or "background") in the documented form."""
    extra = {} if target is None else {"target": target}
    entries = [{"point_mm": list(point), "label": label, **extra} for point, label in clicks]
    content = {"format": "medseg-rl clicks", "version": 1, "coordinates": "RAS+ mm", "clicks": entries}
    path.write_text(json.dumps(content))
    return path
