"""Without VTK, or without OpenGL, everything but the 3D pane works: tried in processes that lack them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HIDES_VTK = "import sys\nsys.modules['vtk'] = sys.modules['vtkmodules'] = None\n"


def test_without_vtk_all_but_3d_works(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDES_VTK)
    said = worked_without({"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}, tmp_path)
    assert "VTK" in said
    assert "pip install" in said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have their own OpenGL")
def test_without_opengl_all_but_3d_works(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    said = worked_without(
        {
            "__EGL_VENDOR_LIBRARY_DIRS": nowhere,
            "__EGL_VENDOR_LIBRARY_FILENAMES": nowhere,
            "LIBGL_DRIVERS_PATH": nowhere,
            "DISPLAY": "",
        },
        tmp_path,
    )
    assert "OpenGL" in said


def worked_without(changes: dict[str, str], folder: Path) -> str:
    """What the 3D pane said in a process with these variables, in which all else worked."""
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"} | changes
    command = [sys.executable, "-m", "tests.gui.without_3d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
