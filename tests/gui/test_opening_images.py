"""Opening images: what is asked before, what is refused with its numbers, what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PySide6.QtWidgets import QDialogButtonBox, QWidget

from medseg_rl.imageio import geometry_reports, write_volume
from medseg_rl.volume import Volume
from medseg_rl_gui.dialogs import ScriptedDialogs, ValueQuestion
from medseg_rl_gui.opening.images import ImageFlow
from medseg_rl_gui.opening.memory import Estimate, free_memory
from medseg_rl_gui.opening.readings import Reading
from medseg_rl_gui.opening.series_dialog import SeriesDialog
from medseg_rl_gui.opening.waiting import AtOnce
from tests.gui.dicom_files import write_series
from tests.gui.opened_cases import AFFINE, SHAPE, Desk, ct

GIGABYTE = 10**9


@pytest.fixture
def images(dialogs: ScriptedDialogs) -> ImageFlow:
    return ImageFlow(dialogs, AtOnce(), free=lambda: 100 * GIGABYTE)


@pytest.fixture
def desk(dialogs: ScriptedDialogs) -> Iterator[Desk]:
    made = Desk(dialogs)
    yield made
    made.close()


def picking(row: int, missing: str = "", tilt: str = "") -> Callable[[SeriesDialog], bool]:
    """An answer of a user to the list of series."""

    def answer(dialog: SeriesDialog) -> bool:
        dialog.table.selectRow(row)
        if missing:
            dialog.missing.choose(missing)
        if tilt:
            dialog.tilt.choose(tilt)
        assert dialog.buttons.button(QDialogButtonBox.StandardButton.Open).isEnabled()
        return True

    return answer


def test_one_regular_series_opens_without_a_question_and_says_so(
    desk: Desk, dialogs: ScriptedDialogs, tmp_path: Path
) -> None:
    write_series(tmp_path / "ct", ct())
    assert desk.flow.open([tmp_path / "ct"])
    assert dialogs.asked == []
    opened = desk.case.opened
    assert opened.verdict == "green"
    assert opened.lines == ("10 images, 2.00 x 2.00 x 3.00 mm, no gaps, no tilt",)
    np.testing.assert_array_equal(opened.image.array, ct().array)
    np.testing.assert_allclose(opened.image.affine, AFFINE, atol=1e-9)


def test_of_two_series_the_chosen_one_opens(images: ImageFlow, dialogs: ScriptedDialogs, tmp_path: Path) -> None:
    write_series(tmp_path / "study" / "a", ct(1), description="Arterial", number=1)
    write_series(tmp_path / "study" / "b", ct(2), description="Portal venous", number=2)
    wanted = next(n for n, r in enumerate(geometry_reports(tmp_path / "study")) if r.description == "Portal venous")
    dialogs.answers = [picking(wanted)]
    opened = images.open(tmp_path / "study")
    assert opened is not None
    np.testing.assert_array_equal(opened.image.array, ct(2).array)
    assert opened.reading == Reading(series=wanted + 1)


def test_the_list_says_description_modality_images_spacing_matrix_and_verdict(
    tmp_path: Path, show: Callable[..., QWidget], picture: Callable[..., Path]
) -> None:
    write_series(tmp_path / "study" / "a", ct(1), description="Arterial", number=1)
    write_series(tmp_path / "study" / "b", ct(2), description="Portal venous with a long description", number=2)
    write_series(tmp_path / "study" / "c", ct(3), description="Delayed", number=3, without=(4, 5))
    write_series(tmp_path / "study" / "d", ct(4), description="Head, tilted", number=4, sideways_mm=0.5)
    dialog = SeriesDialog(geometry_reports(tmp_path / "study"))
    show(dialog)
    texts = {dialog.table.item(r, 0).text(): r for r in range(4)}
    row = texts["Arterial"]
    said = [dialog.table.item(row, column).text() for column in range(6)]
    assert said == ["Arterial", "CT", "10", "2.00 × 2.00 × 3.00", "16 × 14", "Regular"]
    picture(dialog, "series_regular")
    dialog.table.selectRow(texts["Delayed"])
    picture(dialog, "series_missing")
    assert "2 slices seem missing" in dialog.report.text()
    assert "im0007" in dialog.files.toPlainText()
    assert "im0004" in dialog.files.toPlainText()
    dialog.table.selectRow(texts["Head, tilted"])
    picture(dialog, "series_tilted")
    assert "tilted" in dialog.report.text()
    assert dialog.tilt.value == "keep"


def test_missing_slices_must_be_decided_before_open_is_possible(
    tmp_path: Path, images: ImageFlow, dialogs: ScriptedDialogs
) -> None:
    write_series(tmp_path / "ct", ct(), without=(4, 5))

    def undecided(dialog: SeriesDialog) -> bool:
        button = dialog.buttons.button(QDialogButtonBox.StandardButton.Open)
        assert not button.isEnabled()
        assert button.toolTip()
        return False

    dialogs.answers = [undecided, picking(0, missing="resample"), picking(0, missing="keep")]
    assert images.open(tmp_path / "ct") is None
    resampled, kept = images.open(tmp_path / "ct"), images.open(tmp_path / "ct")
    assert resampled is not None
    assert kept is not None
    assert resampled.image.shape == SHAPE
    assert kept.image.shape == (16, 14, 8)
    assert "disabled" in kept.image.source["quantities"]
    assert kept.verdict == "red"


def test_a_tilted_gantry_is_kept_or_resampled(images: ImageFlow, dialogs: ScriptedDialogs, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", ct(), sideways_mm=0.5)
    dialogs.answers = [picking(0), picking(0, tilt="resample")]
    sheared, upright = images.open(tmp_path / "ct"), images.open(tmp_path / "ct")
    assert sheared is not None
    assert upright is not None
    assert sheared.image.is_sheared
    assert not upright.image.is_sheared


def test_a_search_can_be_cancelled(desk: Desk, dialogs: ScriptedDialogs, tmp_path: Path, monkeypatch: Any) -> None:
    write_series(tmp_path / "ct", ct())
    monkeypatch.setattr("medseg_rl_gui.opening.waiting.Progress.is_stopped", lambda progress: True)
    assert not desk.flow.open([tmp_path / "ct"])
    assert dialogs.asked == []


def test_of_a_file_over_time_one_point_is_asked_for_counted_from_1(
    images: ImageFlow, dialogs: ScriptedDialogs, tmp_path: Path
) -> None:
    array = np.arange(4 * 5 * 6 * 3, dtype=np.int16).reshape(4, 5, 6, 3)
    nib.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "film.nii.gz")
    dialogs.answers = [2.0]
    opened = images.open(tmp_path / "film.nii.gz")
    assert opened is not None
    np.testing.assert_array_equal(opened.image.array, array[..., 1])
    assert "Time point 2 is open; the others are not" in opened.lines
    (question,) = dialogs.asked
    assert isinstance(question, ValueQuestion)
    assert (question.low, question.high) == (1, 3)
    assert images.open(tmp_path / "film.nii.gz") is None  # closed without an answer


def two_forms(path: Path) -> Path:
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4))
    image.set_sform(np.eye(4), code=1)
    moved = np.eye(4)
    moved[0, 3] = 7.5
    image.set_qform(moved, code=1)
    image.to_filename(path)
    return path


def test_forms_that_disagree_open_with_the_sform_and_the_other_is_one_step_away(
    desk: Desk, dialogs: ScriptedDialogs, tmp_path: Path
) -> None:
    assert desk.flow.open([two_forms(tmp_path / "two.nii.gz")])
    assert dialogs.asked == []
    assert desk.case.opened.image.affine[0, 3] == 0
    assert desk.case.opened.forms_apart_mm == pytest.approx(7.5)
    assert any("7.5 mm" in line for line in desk.case.opened.lines)
    assert desk.flow.use_other_form()
    assert desk.case.opened.image.affine[0, 3] == 7.5
    assert desk.case.opened.reading.prefer == "qform"
    assert desk.flow.use_other_form()
    assert desk.case.opened.image.affine[0, 3] == 0


def test_voxels_that_are_no_numbers_are_replaced_by_what_the_user_says(
    images: ImageFlow, dialogs: ScriptedDialogs, tmp_path: Path
) -> None:
    array = np.zeros((4, 5, 6), np.float32)
    array[1, 2, 3] = np.nan
    nib.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "holes.nii.gz")
    dialogs.answers = [-5.0]
    opened = images.open(tmp_path / "holes.nii.gz")
    assert opened is not None
    assert opened.image.array[1, 2, 3] == -5
    assert opened.reading.replace_nonfinite == -5.0


def test_what_needs_too_much_memory_is_refused_with_its_numbers_and_a_part_offered(
    dialogs: ScriptedDialogs, tmp_path: Path
) -> None:
    write_volume(tmp_path / "a.nii", ct())
    estimate = Estimate.of(SHAPE, 2, 256)
    free = int((estimate.undo + estimate.region + (estimate.image + estimate.labels) * 0.65) / 0.8)
    images = ImageFlow(dialogs, AtOnce(), free=lambda: free)
    dialogs.answers = ["cancel", "crop", 3.0]
    assert images.open(tmp_path / "a.nii") is None
    assert "GB" in dialogs.asked[0].text
    opened = images.open(tmp_path / "a.nii")
    assert opened is not None
    assert opened.image.shape == (16, 14, 6)
    np.testing.assert_array_equal(opened.image.array, ct().array[:, :, 2:8])
    assert "Only slices 3 to 8 were loaded" in opened.lines
    np.testing.assert_allclose(opened.image.affine[:3, 3], ct().index_to_world((0, 0, 2)))


def test_the_free_memory_of_this_computer_is_known() -> None:
    free = free_memory()
    assert free is None or free > 0


def test_an_error_is_told_and_nothing_opened(desk: Desk, dialogs: ScriptedDialogs, tmp_path: Path) -> None:
    (tmp_path / "text.nii").write_text("nothing here")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "text.nii", tmp_path / "missing.nii.gz", tmp_path / "empty"):
        assert not desk.flow.open([path])
    assert [question.tone for question in dialogs.asked] == ["error"] * 3


def test_a_folder_with_one_image_file_opens_it(images: ImageFlow, tmp_path: Path) -> None:
    write_volume(tmp_path / "only.nii.gz", ct())
    opened = images.open(tmp_path)
    assert opened is not None
    assert opened.path == tmp_path / "only.nii.gz"


@pytest.mark.parametrize(
    "reading",
    [
        Reading(),
        Reading(series=3, missing="keep", tilt="resample"),
        Reading(prefer="qform", time_point=2, replace_nonfinite=-1.5),
        Reading(slices=(2, 9), units="stored"),
    ],
)
def test_a_reading_is_the_same_after_storing(reading: Reading) -> None:
    import json

    assert Reading.of(json.loads(json.dumps(reading.stored()))) == reading


def test_a_reading_that_makes_no_sense_counts_as_none() -> None:
    nonsense = {"series": "1; drop", "missing": 3, "prefer": "sideways", "time_point": True, "slices": [1, "x"], "a": 1}
    assert Reading.of(nonsense) == Reading()
    assert Reading.of("text") == Reading()


def test_an_image_without_changes_is_written_as_it_was_read(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", Volume(ct().array, AFFINE))
    (report,) = geometry_reports(tmp_path / "ct")
    assert report.verdict == "green"
