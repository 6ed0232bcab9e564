"""The shortcut editor and sheet: built from the table, refuse what is taken, remember each preset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QWidget

from medseg_rl_gui.actions import ACTIONS, PRESETS, Preset
from medseg_rl_gui.bindings import Bindings
from medseg_rl_gui.gestures import MOUSE_ACTIONS, Gesture
from medseg_rl_gui.shortcuts import ShortcutEditor, ShortcutSheet, sheet_html, shown

Show = Callable[..., QWidget]
Picture = Callable[[QWidget, str], Path]


@pytest.fixture
def editor(show: Show) -> ShortcutEditor:
    dialog = ShortcutEditor(Bindings())
    show(dialog)
    return dialog


def _press(editor: ShortcutEditor, keys: str) -> None:
    editor.key.setKeySequence(QKeySequence(keys))
    editor.add.click()


def test_every_action_and_gesture_can_be_chosen(editor: ShortcutEditor) -> None:
    for id_ in (*(a.id for a in ACTIONS), *(a.id for a in MOUSE_ACTIONS)):
        editor.select(id_)
        assert editor._id == id_
        assert editor.motion.isVisible() == id_.startswith("mouse.")


def test_a_key_is_added_removed_and_set_back(editor: ShortcutEditor) -> None:
    editor.select("tool.point")
    _press(editor, "F8")
    assert editor.bindings.of("tool.point") == ("P", "F8")
    editor.remove.click()
    assert editor.bindings.of("tool.point") == ()
    editor.reset.click()
    assert editor.bindings.changes == {}


def test_a_taken_key_is_refused_with_the_other_action_named(editor: ShortcutEditor, picture: Picture) -> None:
    editor.select("tool.point")
    _press(editor, "D")
    assert "“Brush”" in editor.problem.text()
    assert editor.bindings.changes == {}
    picture(editor, "shortcut_editor")


def test_a_gesture_is_added(editor: ShortcutEditor) -> None:
    editor.select("mouse.pan")
    editor.held.setCurrentIndex(editor.held.findData("Ctrl+Shift"))
    editor.motion.setCurrentIndex(editor.motion.findData("middle-drag"))
    editor.add.click()
    assert editor.bindings.of("mouse.pan")[-1] == "Ctrl+Shift+middle-drag"


def test_every_gesture_that_can_be_composed_is_one(editor: ShortcutEditor) -> None:
    for held in (editor.held.itemData(i) for i in range(editor.held.count())):
        for motion in (editor.motion.itemData(i) for i in range(editor.motion.count())):
            text = "+".join(part for part in (held, motion) if part)
            assert str(Gesture.of(text)) == text


def test_the_changes_of_each_preset_are_kept_apart(editor: ShortcutEditor) -> None:
    editor.select("tool.point")
    _press(editor, "F8")
    editor.preset.setCurrentIndex(list(PRESETS).index("itksnap"))
    assert editor.bindings == Bindings("itksnap")
    editor.select("tool.brush")
    _press(editor, "F9")
    assert editor.all_changes() == {
        "default": {"tool.point": ("P", "F8")},
        "itksnap": {"tool.brush": ("Shift+D", "F9")},
    }


def test_search_finds_actions_by_name_and_by_key(editor: ShortcutEditor) -> None:
    for text, expected in (("brush", "tool.brush"), ("alt+7", "window.liver"), ("middle-drag", "mouse.pan")):
        editor.search.setText(text)
        visible = [item.data(0, 0x100) for item in editor._items() if not item.isHidden()]
        assert expected in visible
        assert len(visible) < 10


@pytest.mark.parametrize("preset", PRESETS)
def test_the_sheet_shows_all_keys_and_gestures(preset: Preset, show: Show, picture: Picture) -> None:
    bindings = Bindings(preset)
    sheet = ShortcutSheet(bindings)
    show(sheet)
    said = sheet.text.toPlainText()
    for action in (*ACTIONS, *MOUSE_ACTIONS):
        for keys in bindings.of(action.id):
            assert shown(action.id, keys) in said
    assert sheet_html(bindings).count("<td valign='top'>") == 2
    picture(sheet, f"sheet_{preset}")
