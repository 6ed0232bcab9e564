"""The wheel holds all that the program needs beside its code, and finds it there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from medseg_rl.bundle import bundle_names
from medseg_rl.samples import sample_names

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def answer(installed: Path, code: str) -> str:
    """What `code` prints where only the wheel's content is found."""
    environment = {name: value for name, value in os.environ.items() if name != "MEDSEG_RL_BUNDLES"}
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=installed.parent,
        env={**environment, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


def test_samples_and_bundles_are_found_from_a_wheel_as_from_a_checkout(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDSEG_RL_BUNDLES", raising=False)
    code = (
        "from medseg_rl.samples import sample_folder, sample_names; from medseg_rl.bundle import bundle_names;"
        "print(sample_folder(), sample_names(), bundle_names())"
    )
    expected = f"{installed}/medseg_rl/_sample_data {sample_names()} {bundle_names()}"
    assert answer(installed, code) == expected


def test_the_wheel_holds_the_window_the_licence_and_the_entry_point(installed: Path) -> None:
    assert (installed / "medseg_rl_gui" / "__init__.py").is_file()
    assert (installed / "medseg_rl_gui" / "icons" / "brush.svg").is_file()
    (about,) = installed.glob("*.dist-info")
    assert "Apache License" in (about / "licenses" / "LICENSE").read_text()
    entry_points = (about / "entry_points.txt").read_text()
    assert "medseg-rl = medseg_rl.cli:main" in entry_points
    assert "medseg-rl-gui = medseg_rl_gui.app:main" in entry_points
