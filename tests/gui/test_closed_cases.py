"""A closed case is gone: nothing of the window, the engine or the worker keeps its image or its masks alive."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from benchmarks.gui_memory import ALLOWED, memory_by_case
from medseg_rl.session import SegmentationSession
from medseg_rl.volume import Volume
from medseg_rl_gui.theme import apply_theme

SMALL = (48, 44, 24)


@pytest.mark.gl
def test_nothing_of_a_closed_case_stays_alive(qapp: QApplication, tmp_path: Path) -> None:
    before = living()
    for number, _ in enumerate(memory_by_case(qapp, tmp_path, cases=3, shape=SMALL)):
        assert living() <= before, f"after case {number + 1}"
    apply_theme(qapp, "dark")


@pytest.mark.slow
@pytest.mark.gl
def test_memory_comes_back_after_each_of_many_cases(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gui_memory", "--cases", "6", "--no-report"]
    done = subprocess.run(
        command, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"more than {ALLOWED:.0%} above the first:\n{done.stdout}\n{done.stderr[-2000:]}"


def living() -> int:
    """Sessions and volumes that something still refers to."""
    gc.collect()
    return sum(issubclass(type(found), (SegmentationSession, Volume)) for found in gc.get_objects())
