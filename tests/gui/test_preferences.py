"""Preferences: what is written is read again, bad values are said and defaulted, unknown keys survive."""

from __future__ import annotations

import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QSpinBox

from medseg_rl_gui import recent
from medseg_rl_gui.preferences import PORTABLE, Preferences, PreferenceStore, configuration_folder
from medseg_rl_gui.preferences_dialog import PreferencesDialog
from medseg_rl_gui.toml_text import toml_text


@pytest.fixture
def store(home: Path) -> PreferenceStore:
    return PreferenceStore.open()


def test_the_first_start_has_defaults_and_writes_no_file(store: PreferenceStore) -> None:
    assert store.current == Preferences()
    assert store.problems == []
    assert not store.path.exists()


def test_what_is_changed_is_there_at_the_next_start(store: PreferenceStore) -> None:
    store.change("view", convention="neurological", windows={"CT": (150.0, 60.0), "MR ü": (9.5, -1.0)})
    store.change("input", preset="itksnap", changes={"itksnap": {"tool.brush": ("F8",), "tool.box": ()}})
    store.change("files", recent=("/a b/ü.nii.gz", 'C:\\x"y'))
    again = PreferenceStore.open()
    assert again.current == store.current
    assert again.problems == []


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("edit", "guard_mm", 500),
        ("edit", "guard_mm", float("nan")),
        ("edit", "guard", 1),
        ("edit", "undo_megabytes", 100.5),
        ("view", "theme", "pink"),
        ("view", "font_points", 5),
        ("view", "windows", {"CT": [0.0, 3.0]}),
        ("view", "windows", 3),
        ("model", "candidates", True),
        ("files", "recent", [1, 2]),
        ("input", "changes", {"default": ["P"]}),
    ],
)
def test_a_bad_value_is_said_and_its_default_used(home: Path, section: str, key: str, value: Any) -> None:
    path = home / "preferences.toml"
    path.write_text(toml_text({section: {key: value}, "edit" if section != "edit" else "view": {}}))
    store = PreferenceStore.open()
    assert len(store.problems) == 1
    assert f"{section}.{key}" in store.problems[0]
    assert store.current == Preferences()
    with pytest.raises(ValueError, match=key):
        store.change(section, **{key: value})


def test_keys_and_sections_of_a_newer_version_are_kept(home: Path) -> None:
    (home / "preferences.toml").write_text(
        'future = 1\n[edit]\nguard_mm = 30.0\nnew = [1, {a = 2}]\n[other.deep]\nx = "y"\n'
    )
    store = PreferenceStore.open()
    store.change("edit", guard_mm=20.0)
    written = tomllib.loads(store.path.read_text())
    assert written == {"future": 1, "edit": {"guard_mm": 20.0, "new": [1, {"a": 2}]}, "other": {"deep": {"x": "y"}}}


def test_an_unreadable_file_is_set_aside_and_not_lost(home: Path) -> None:
    (home / "preferences.toml").write_text("[view\n")
    store = PreferenceStore.open()
    assert store.current == Preferences()
    assert len(store.problems) == 1
    store.change("view", theme="light")
    assert (home / "preferences.unreadable.toml").read_text() == "[view\n"


def test_a_folder_beside_the_executable_makes_it_portable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "medseg-rl-gui")])
    assert configuration_folder() != tmp_path / PORTABLE
    (tmp_path / PORTABLE).mkdir()
    assert configuration_folder() == tmp_path / PORTABLE


PLAIN = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(), st.dates())
KEYS = st.text(st.characters(exclude_categories=["Cs"]))
TABLES = st.dictionaries(
    KEYS,
    st.recursive(PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3))),
    max_size=4,
)


@given(TABLES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tables_written_as_toml_are_read_as_the_same_tables(tables: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(tables)) == tables


def test_a_date_is_written_as_toml_has_it() -> None:
    assert toml_text({"day": date(2024, 2, 3)}) == "day = 2024-02-03\n"


def test_recent_files_are_ten_the_newest_first_and_missing_ones_are_known(
    store: PreferenceStore, tmp_path: Path
) -> None:
    there = tmp_path / "there.nii"
    there.touch()
    for name in [*(f"/none/{i}.nii" for i in range(12)), str(there), "/none/11.nii"]:
        recent.remember(store, Path(name))
    found = recent.entries(store)
    assert len(found) == 10
    assert [entry.path.name for entry in found[:3]] == ["11.nii", "there.nii", "10.nii"]
    assert [entry.missing for entry in found[:3]] == [True, False, True]
    recent.forget_all(store)
    assert recent.entries(store) == []


def test_recent_files_can_be_switched_off(store: PreferenceStore) -> None:
    store.change("files", keep_recent=False)
    recent.remember(store, Path("/x"))
    assert store.current.files.recent == ()


def test_the_dialog_shows_and_gives_every_field(qapp: object) -> None:
    given_ = Preferences().changing("view", theme="light", font_points=14, opacity=0.25, layout="3+1")
    given_ = given_.changing("edit", guard=False, guard_mm=12.5, overwrite="overlap").changing("model", candidates=7)
    dialog = PreferencesDialog(given_)
    assert dialog.preferences() == given_
    for editor in dialog.editors.values():
        assert editor.accessibleName()
        if isinstance(editor, QCheckBox):
            editor.toggle()
        elif isinstance(editor, QComboBox):
            editor.setCurrentIndex((editor.currentIndex() + 1) % editor.count())
        elif isinstance(editor, QSpinBox | QDoubleSpinBox):
            editor.setValue(editor.minimum())
    changed = dialog.preferences()
    assert changed.view.font_points == 0
    assert changed.edit.guard is True
    assert changed.edit.guard_mm == 5.0
    dialog.show_preferences(Preferences())
    assert dialog.preferences() == Preferences()
    dialog.deleteLater()
