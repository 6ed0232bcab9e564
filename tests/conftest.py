"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("project", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("project")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the data sets; a test that needs it is skipped where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    for folder in (os.environ.get("MEDSEG_RL_DATA"), beside):
        if folder and Path(folder).is_dir():
            return Path(folder)
    pytest.skip("no data sets: set MEDSEG_RL_DATA to their folder")


@pytest.fixture(scope="session")
def io_cases(data_root: Path) -> Path:
    """The folder with one real file for each trap of each format."""
    folder = data_root / "io_cases"
    if not folder.is_dir():
        pytest.skip(f"no io_cases folder in {data_root}")
    return folder
