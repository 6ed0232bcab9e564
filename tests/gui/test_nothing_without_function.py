"""Every control of the window has a function and a name, and one that is greyed says why, in every state of a case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import SIGNAL
from PySide6.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QSlider, QTabBar, QToolButton, QWidget

from medseg_rl_gui.panels import build_panels
from medseg_rl_gui.shortcuts import ShortcutEditor
from tests.gui.engine_cases import Engine

CONTROLS = (QAbstractButton, QAbstractSpinBox, QComboBox, QSlider)
CLICKED = ("clicked(bool)", "clicked()", "toggled(bool)", "pressed()")


@pytest.fixture
def engine(qapp: object, tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path)
    build_panels(made.window, made.controller)
    yield made
    made.close()


def controls(root: QWidget) -> list[QWidget]:
    """Those of this program, not those that Qt makes inside its own widgets."""
    found = [made for made in root.findChildren(QWidget) if isinstance(made, CONTROLS)]
    return [
        made for made in found if not isinstance(made.parent(), QTabBar) and not made.objectName().startswith("qt_")
    ]


def lacks(root: QWidget) -> list[str]:
    """What is wrong with the controls below a widget."""
    wrong = []
    for made in controls(root):
        text = made.text() if isinstance(made, QAbstractButton) else ""
        name = made.accessibleName() or text
        if not name:
            wrong.append(f"{type(made).__name__} has no name")
        if isinstance(made, QAbstractButton) and not has_function(made):
            wrong.append(f"{name} does nothing")
        says_why = made.toolTip() not in ("", name)
        if not made.isEnabled() and not says_why and not isinstance(made, QSlider):
            wrong.append(f"{name} is greyed without a reason")
    return wrong


def has_function(button: QAbstractButton) -> bool:
    has_action = isinstance(button, QToolButton) and button.defaultAction() is not None
    return has_action or any(button.receivers(SIGNAL(signal)) for signal in CLICKED)


def test_without_a_case_with_one_with_a_proposal_and_with_a_mask(engine: Engine) -> None:
    wrong = {"no case": lacks(engine.window)}
    engine.open()
    wrong["a case"] = lacks(engine.window)
    engine.click()
    engine.idle()
    wrong["a proposal"] = lacks(engine.window)
    engine.do("proposal.accept")
    engine.idle()
    wrong["a mask"] = lacks(engine.window)
    assert {state: found for state, found in wrong.items() if found} == {}


def test_the_editor_of_keys_says_why_it_cannot_add_one(engine: Engine) -> None:
    editor = ShortcutEditor(engine.window.acts.bindings, engine.window)
    greyed = [made for made in (editor.add, editor.remove, editor.reset) if not made.isEnabled()]
    assert greyed
    assert all("Choose an action" in made.toolTip() for made in greyed)
    editor.deleteLater()
