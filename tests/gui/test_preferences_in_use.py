"""Preferences that are changed while a case is open are seen in it; identifiers stand nowhere unless asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from medseg_rl.imageio import patient_words, read_volume
from medseg_rl_gui.exporting.screenshots import grabbed
from tests.gui.dicom_files import write_series
from tests.gui.engine_cases import Engine, ct


@pytest.fixture
def engine(qapp: object, tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path)
    yield made
    made.close()


def change(engine: Engine, section: str, **values: Any) -> None:
    """As with the dialog's OK."""
    engine.window.show_preferences(engine.window.store.current.changing(section, **values))
    engine.idle()


def test_looks_are_taken_at_once(engine: Engine) -> None:
    engine.open()
    change(engine, "view", smooth=False, outline=True, opacity=0.7, convention="neurological")
    view, acts = engine.controller.desk.view, engine.window.acts
    assert (view.smooth, view.overlay.outline, view.overlay.opacity) == (False, True, 0.7)
    assert view.convention == "neurological"
    assert not acts["view.smooth"].isChecked()
    assert acts["view.outline"].isChecked()


def test_what_another_field_says_does_not_undo_what_was_switched_by_key(engine: Engine) -> None:
    engine.open()
    engine.do("view.outline")
    assert engine.controller.desk.view.overlay.outline
    change(engine, "view", opacity=0.2)
    assert engine.controller.desk.view.overlay.outline


def test_brush_guard_and_policy_are_taken_by_the_open_case(engine: Engine) -> None:
    engine.open()
    change(engine, "edit", brush_mm=7.5, brush_sphere=True, guard_mm=25.0, overwrite="replace")
    desk = engine.controller.desk
    assert (desk.tools.radius_mm, desk.tools.sphere) == (7.5, True)
    assert desk.session.config.edit_radius_mm == 25.0
    assert desk.session.overwrite == "replace"
    engine.controller.refining.toggle_guard(False)
    change(engine, "edit", guard_mm=30.0)
    assert desk.session.config.edit_radius_mm is None, "a guard that is off stays off"


@pytest.fixture
def series(tmp_path: Path) -> Path:
    folder = tmp_path / "series"
    write_series(folder, ct(), description="Thorax", modality="CT", number=1)
    for path in folder.rglob("*"):
        header = pydicom.dcmread(path)
        header.PatientName, header.PatientID, header.PatientBirthDate = "Doe^Jane", "4711", "19600131"
        header.save_as(path)
    (folder / "readme.txt").write_text("no DICOM")
    return folder


def test_identifiers_are_hidden_unless_asked_for_and_never_in_a_picture(engine: Engine, series: Path) -> None:
    engine.open(read_volume(series))
    said = engine.window.case_panel.patient
    assert not said.isVisible()
    change(engine, "view", hide_identifiers=False)
    engine.wait(said.isVisible)
    assert "Jane" in said.text()
    assert "4711" in said.text()
    assert "1960-01-31" in said.text()
    shown = engine.window.grab().toImage()
    assert grabbed(engine.window).toImage() != shown
    assert "4711" in said.text(), "shown again after the picture"
    change(engine, "view", hide_identifiers=True)
    assert not said.isVisible()
    assert said.text() == ""


def test_the_next_case_shows_its_own_identifiers_or_none(engine: Engine, series: Path) -> None:
    change(engine, "view", hide_identifiers=False)
    engine.open(read_volume(series))
    engine.wait(lambda: "4711" in engine.window.case_panel.patient.text())
    engine.open()
    assert engine.window.case_panel.patient.text() == ""
    engine.let_go()
    assert engine.window.case_panel.patient.text() == ""


def test_the_words_of_an_image_that_is_gone_or_no_dicom_are_none(series: Path) -> None:
    image = read_volume(series)
    assert patient_words(image)["PatientID"] == "4711"
    assert patient_words(ct()) == {}
    for path in series.iterdir():
        path.unlink()
    assert patient_words(image) == {}
