"""What the window may load, that all it says can be translated, and how it starts and refuses to start."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QTranslator
from PySide6.QtWidgets import QApplication, QLabel

from medseg_rl_gui import app
from medseg_rl_gui.actions import ACTIONS
from medseg_rl_gui.app import NEEDS_DISPLAY, main, what_is_missing
from medseg_rl_gui.dialogs import ScriptedDialogs
from medseg_rl_gui.main_window import MainWindow
from medseg_rl_gui.preferences import PreferenceStore
from medseg_rl_gui.preferences_dialog import PreferencesDialog
from medseg_rl_gui.shortcuts import ShortcutEditor

PACKAGE = Path(__file__).resolve().parents[2] / "gui" / "medseg_rl_gui"
SAYING = {  # calls whose texts a user reads
    "QLabel",
    "QPushButton",
    "QCheckBox",
    "QRadioButton",
    "QGroupBox",
    "QAction",
    "QMenu",
    "setText",
    "setToolTip",
    "setStatusTip",
    "setWindowTitle",
    "setTitle",
    "setPlaceholderText",
    "setAccessibleName",
    "setAccessibleDescription",
    "setHeaderLabels",
    "setHorizontalHeaderLabels",
    "setLabelText",
    "setSpecialValueText",
    "setSuffix",
    "setPrefix",
    "addAction",
    "addButton",
    "addMenu",
    "addRow",
    "addTab",
    "say",
    "tell",
    "show_banner",
    "Question",
    "Choice",
    "FileQuestion",
    "ValueQuestion",
}
NAMES = {"MedSeg-RL"}


def _loaded_after(statement: str, *modules: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted(set(sys.modules) & {set(modules)!r}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_package_loads_neither_qt_nor_torch_nor_vtk() -> None:
    heavy = ("torch", "vtk", "vtkmodules", "PySide6", "numpy")
    assert _loaded_after("import medseg_rl_gui, medseg_rl_gui.app", *heavy) == set()


def test_the_window_opens_without_torch_vtk_and_slow_packages() -> None:
    code = (
        "from PySide6.QtWidgets import QApplication; from medseg_rl_gui.app import build_window;"
        "from medseg_rl_gui.dialogs import ScriptedDialogs; a = QApplication([]);"
        "w = build_window(a, ScriptedDialogs()); w.show(); a.processEvents(); w.close()"
    )
    heavy = ("torch", "monai", "vtk", "vtkmodules", "numba", "matplotlib", "skimage")
    assert _loaded_after(code, *heavy) == set()


def _texts_said(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Literals handed straight to what shows them: (line, text)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in SAYING:
                given = [*node.args, *(k.value for k in node.keywords if k.arg in ("text", "title", "tick", "label"))]
                yield from _literals(given, skip_first=name in ("Choice", "FileQuestion", "show_banner"))


def _literals(given: list[ast.expr], *, skip_first: bool) -> Iterator[tuple[int, str]]:
    for number, value in enumerate(given):
        if isinstance(value, ast.List | ast.Tuple):
            yield from _literals(value.elts, skip_first=False)
        elif isinstance(value, ast.JoinedStr):
            for part in value.values:
                if isinstance(part, ast.Constant):
                    yield value.lineno, str(part.value)
        elif isinstance(value, ast.Constant) and isinstance(value.value, str) and not (skip_first and number == 0):
            yield value.lineno, value.value


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_literal_is_shown_without_passing_through_translation(path: Path) -> None:
    words = {
        f"{line}: {text}"
        for line, text in _texts_said(ast.parse(path.read_text(encoding="utf-8")))
        if sum(letter.isalpha() for letter in text) > 2 and text not in NAMES and not _is_technical(text)
    }
    assert words == set()


def _is_technical(text: str) -> bool:
    """Ids, kinds and defaults: one word in lower case, perhaps with dots or dashes."""
    return text == text.lower() and " " not in text.strip()


class Marker(QTranslator):
    """Puts what passes through translation between brackets."""

    def translate(self, context: str, text: str, disambiguation: str | None = None, n: int = -1) -> str:
        return f"«{text}»" if text else ""

    def isEmpty(self) -> bool:  # noqa: N802
        return False


@pytest.fixture
def marked(qapp: QApplication) -> Iterator[None]:
    translator = Marker()
    qapp.installTranslator(translator)
    yield
    qapp.removeTranslator(translator)


@pytest.mark.usefixtures("marked")
def test_all_that_the_window_shows_was_translated() -> None:
    window = MainWindow(PreferenceStore.open(), ScriptedDialogs())
    editor, preferences = ShortcutEditor(window.acts.bindings, window), PreferencesDialog(window.store.current, window)
    said = [action.text() for action in window.acts.actions.values()]
    said += [window.acts[a.id].toolTip().split("\n")[1] for a in ACTIONS]
    said += [menu.title() for menu in window.menus.by_name.values()]
    for dialog in (window, editor, preferences):
        said += [label.text() for label in dialog.findChildren(QLabel) if label.text()]
    said += [editor.tree.headerItem().text(i) for i in range(3)]
    window.deleteLater()
    assert [text for text in said if "«" not in text] == []


def test_without_a_display_it_says_so_and_leaves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("WAYLAND_DISPLAY", "DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert main([]) == 1
    assert capsys.readouterr().err.strip() == NEEDS_DISPLAY


def test_without_qt_it_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PySide6.QtSvg", None)
    assert 'pip install "medseg-rl[gui]"' in what_is_missing()


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"QT_QPA_PLATFORM": "xcb"}, "libnone9"),
        ({"QT_QPA_PLATFORM": "offscreen"}, ""),
        ({"QT_QPA_PLATFORM": "wayland"}, "libneither0"),
        ({"DISPLAY": ":0"}, "libnone9"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "libneither0"),
        ({"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}, "libneither0"),
    ],
)
def test_libraries_that_are_missing_are_named_for_what_qt_would_load(
    environment: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(environment, monkeypatch)
    missing = {"xcb": {"libnone.so.9": "libnone9", "libc.so.6": "libc6"}, "wayland": {"libneither.so.0": "libneither0"}}
    monkeypatch.setattr(app, "PLATFORM_LIBRARIES", missing)
    said = what_is_missing()
    assert said.endswith(f"apt-get install {named}") if named else said == ""


def test_wayland_without_its_libraries_is_no_hindrance_where_there_is_x_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on({"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}, monkeypatch)
    monkeypatch.setattr(app, "PLATFORM_LIBRARIES", {"xcb": {}, "wayland": {"libneither.so.0": "libneither0"}})
    assert what_is_missing() == ""


def on(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A Linux with these displays and no other."""
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("WAYLAND_DISPLAY", "DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_the_command_line_starts_the_window_as_a_process() -> None:
    """A program that closes at once stands for the window."""
    code = (
        "import subprocess, medseg_rl.cli as c, sys;"
        "subprocess.run = lambda command, check: print(command[1:]) or subprocess.CompletedProcess(command, 0);"
        "sys.argv = ['medseg-rl', 'gui', 'a b.nii', 'c']; c.main()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "['-m', 'medseg_rl_gui', '--', 'a b.nii', 'c']"


def test_version_needs_no_display() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("QT_QPA_PLATFORM", "DISPLAY")}
    command = [sys.executable, "-m", "medseg_rl_gui", "--version"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.startswith("medseg-rl ")
