"""What doctor says of the window, its libraries, the display and 3D, without loading Qt or VTK."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medseg_rl.cli import doctor_window
from medseg_rl.cli.doctor_window import display_finding, missing_libraries, qt_finding, surfaces_finding


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Library files that this system is to lack; put some in."""
    files: set[str] = set()
    monkeypatch.setattr(doctor_window, "missing_libraries", lambda asked: [f for f in asked if f in files])
    monkeypatch.setattr(sys, "platform", "linux")
    return files


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the process that tries something prints, and how it ends."""
    answer: dict[str, Any] = {"stdout": "", "stderr": "", "returncode": 0}
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, **answer))
    monkeypatch.setattr(doctor_window.importlib.util, "find_spec", lambda _: True)
    monkeypatch.setattr(doctor_window.importlib.metadata, "version", lambda _: "9.9")
    return answer


def test_a_library_that_is_not_there_is_found_missing() -> None:
    assert missing_libraries(["libnothing-of-that-name.so.7"]) == ["libnothing-of-that-name.so.7"]


def test_the_readme_names_what_the_doctor_asks_for_and_nothing_else() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"apt-get install (lib.+?)\s+# (any window|on X11|on Wayland)", text)
    named = {where: set(packages.split()) for packages, where in lines}
    assert named == {
        "any window": set(doctor_window.FOR_ANY_WINDOW.values()),
        "on X11": set(doctor_window.FOR_X11.values()),
        "on Wayland": set(doctor_window.FOR_WAYLAND.values()) - {"libwayland-client0"},  # comes with the other
    }


def test_missing_libraries_are_named_together_with_their_packages(lacking: set[str]) -> None:
    lacking |= {"libGL.so.1", "libdbus-1.so.3"}
    found = qt_finding("6.11")
    assert found.status == "note"
    assert found.says == "libGL.so.1, libdbus-1.so.3 are missing: apt-get install libgl1 libdbus-1-3"


def test_qt_that_cannot_be_loaded_says_its_last_words(lacking: set[str], probe: dict[str, Any]) -> None:
    probe.update(returncode=1, stderr="Traceback\nImportError: libodd.so.1: cannot open shared object file\n")
    assert "libodd.so.1" in qt_finding("6.11").says
    probe.update(returncode=0)
    assert qt_finding("6.11").status == "ok"


def test_the_libraries_of_the_display_in_use_are_asked_for(lacking: set[str]) -> None:
    assert display_finding({"DISPLAY": ":0"}).says == "X11"
    assert display_finding({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}).says == "Wayland"
    assert display_finding({}).says.startswith("none here")
    lacking.add("libxcb-cursor.so.0")
    assert display_finding({"DISPLAY": ":0"}).says.endswith("is missing: apt-get install libxcb-cursor0")
    assert display_finding({"WAYLAND_DISPLAY": "wayland-0"}).status == "ok"


def test_3d_says_what_draws_or_what_is_missing(lacking: set[str], probe: dict[str, Any]) -> None:
    probe["stdout"] = '{"window": "w", "renderer": "llvmpipe", "lacks": "", "detail": ""}'
    assert surfaces_finding().says == "VTK 9.9, drawn by llvmpipe"
    probe["stdout"] = (
        '{"window": "w", "renderer": "", "lacks": "opengl", "detail": "a test drawing ended with code -11"}'
    )
    assert "libgl1-mesa-dri" in surfaces_finding().says
    lacking.add("libEGL.so.1")
    assert "apt-get install libegl1" in surfaces_finding().says
    probe.update(stdout="", returncode=-11)
    assert "-11" in surfaces_finding().says
    assert surfaces_finding().status == "note"
