"""The rows of ARCHITECTURE.md hold: who imports whom, and what loads no torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIGHT = (
    "bundle",
    "dataset",
    "editing",
    "hints.click_files",
    "hints.maps",
    "hints.robots",
    "history",
    "imageio",
    "imageio.dicom_seg_writing, highdicom",
    "imageio.rtstruct_writing",
    "interaction",
    "journal",
    "labels",
    "metrics",
    "preprocessing",
    "quantities",
    "refiner",
    "refiners",
    "rlhf.conversion",
    "rlhf.records",
    "rlhf.store",
    "samples",
    "session",
    "session.replay",
    "session.safekeeping",
    "surface",
    "volume",
)


def _loaded_after(statement: str, *modules: str) -> set[str]:
    """Which of `modules` a fresh interpreter has loaded after `statement`."""
    code = f"import sys\n{statement}\nprint(*sorted(set(sys.modules) & {set(modules)!r}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_modules_import_only_from_rows_below_their_own() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]


@pytest.mark.parametrize("module", LIGHT)
def test_importing_a_light_module_loads_no_torch(module: str) -> None:
    assert _loaded_after(f"import medseg_rl.{module}", "torch", "monai") == set()


def test_the_library_loads_neither_qt_nor_vtk() -> None:
    assert _loaded_after("import medseg_rl.session, medseg_rl.cli", "PySide6", "PyQt6", "vtk", "vtkmodules") == set()


def test_the_command_line_loads_nothing_heavy_before_a_command_runs() -> None:
    heavy = ("torch", "monai", "numpy", "scipy", "numba", "nibabel", "SimpleITK", "matplotlib", "skimage")
    assert _loaded_after("import medseg_rl.cli", *heavy) == set()


def test_help_names_the_commands() -> None:
    run = subprocess.run([sys.executable, "-m", "medseg_rl.cli", "--help"], capture_output=True, text=True, check=True)
    for command in (
        "segment",
        "predict",
        "train",
        "evaluate",
        "info",
        "quantities",
        "convert",
        "labels",
        "doctor",
        "demo",
        "feedback",
        "replay",
        "gui",
    ):
        assert command in run.stdout


NAMES = {
    "skimage": "scikit-image",
    "cc3d": "connected-components-3d",
    "fast_simplification": "fast-simplification",
    "highway_env": "highway-env",
    "stable_baselines3": "stable-baselines3",
    "yaml": "pyyaml",
}


def _imported(folder: Path) -> set[str]:
    """The packages of others that modules below a folder import, by the names they are installed by."""
    imported: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    third_party = imported - set(sys.stdlib_module_names) - {"medseg_rl", "__future__"}
    return {NAMES.get(name, name).lower() for name in third_party}


@pytest.mark.parametrize(("folder", "extras"), [("recipes", ("lang", "driving")), ("", ("agents", "lang", "driving"))])
def test_every_package_that_is_imported_is_declared(folder: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    declared = {re.split(r"[<>=\[ ]", line)[0].lower() for line in lines}
    assert _imported(ROOT / "medseg_rl" / folder) - declared == set()


def test_only_recipes_import_what_recipes_alone_bring() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    theirs = {re.split(r"[<>=\[ ]", line)[0].lower() for extra in ("lang", "driving") for line in project[extra]}
    others = [path for path in (ROOT / "medseg_rl").iterdir() if path.is_dir() and path.name != "recipes"]
    assert {name for folder in others for name in _imported(folder) & theirs} == set()
