"""Exporting: what each format asks and says, what lands in the file, what never does; pictures with their legend."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPixmap
from PySide6.QtWidgets import QDialogButtonBox, QLabel, QWidget

from medseg_rl.imageio import read_label_table, read_segmentation, write_segmentation, write_volume
from medseg_rl.labels import Label
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume
from medseg_rl_gui.dialogs import FileQuestion, ScriptedDialogs
from medseg_rl_gui.exporting.dialog import ExportDialog
from medseg_rl_gui.exporting.flow import ExportFlow
from medseg_rl_gui.exporting.formats import FORMATS, Exportable
from medseg_rl_gui.exporting.screenshots import ScreenshotFlow, with_legend
from medseg_rl_gui.exporting.writing import exportable_of
from medseg_rl_gui.opening.waiting import AtOnce
from tests.gui.dicom_files import PATIENT, write_series
from tests.gui.opened_cases import AFFINE, Desk, ball, ct

LESION, LIVER = Label(7, "Lesion", (213, 94, 0)), Label(300, "Liver", (86, 180, 233))


def labels(*, overlapping: bool = False) -> Segmentation:
    lesion, liver = ball((5, 7, 5), 2.5), ball((9, 7, 5))
    return Segmentation.of_masks([(LESION, lesion), (LIVER, liver if overlapping else liver & ~lesion)], ct())


def opened(desk: Desk, tmp_path: Path, *, overlapping: bool = False, dicom: bool = True) -> Desk:
    write_segmentation(tmp_path / "two.seg.nrrd", labels(overlapping=overlapping), like=ct())
    if dicom:
        write_series(tmp_path / "study", ct(), description="MARKED free text")
    else:
        write_volume(tmp_path / "study.nii.gz", ct())
    assert desk.flow.open([tmp_path / ("study" if dicom else "study.nii.gz"), tmp_path / "two.seg.nrrd"])
    return desk


@pytest.fixture
def desk(dialogs: ScriptedDialogs, tmp_path: Path) -> Iterator[Desk]:
    made = opened(Desk(dialogs), tmp_path)
    yield made
    made.close()


def choosing(id_: str, **more: bool) -> Callable[[ExportDialog], bool]:
    def answer(dialog: ExportDialog) -> bool:
        dialog.choose_format(id_)
        for name, on in more.items():
            getattr(dialog, name).setChecked(on)
        return dialog.buttons.button(QDialogButtonBox.StandardButton.Ok).isEnabled()

    return answer


def export(desk: Desk, path: Path, answer: Callable[[ExportDialog], bool]) -> Path | None:
    desk.dialogs.answers = [answer, path]
    return ExportFlow(desk.dialogs, AtOnce()).export(desk.case)


@pytest.mark.parametrize("format_", [f for f in FORMATS if f.family in ("dicom", "map")], ids=lambda f: f.id)
def test_values_names_and_voxels_are_in_every_file(desk: Desk, tmp_path: Path, format_) -> None:
    path = tmp_path / f"out{format_.ending}"
    assert export(desk, path, choosing(format_.id)) == path
    found = read_segmentation(path, like=desk.case.opened.image)
    assert [(label.value, label.name) for label in found.labels.labels] == [(7, "Lesion"), (300, "Liver")]
    for value in (7, 300):
        np.testing.assert_array_equal(found.mask_of(value), labels().mask_of(value))


@pytest.mark.parametrize("id_", ["seg", "seg_map", "rtstruct"])
def test_nothing_of_the_patient_is_in_a_file_unless_it_is_for_the_archive(desk: Desk, tmp_path: Path, id_: str) -> None:
    export(desk, tmp_path / "shared.rtstruct.dcm" if id_ == "rtstruct" else tmp_path / "shared.dcm", choosing(id_))
    content = next(tmp_path.glob("shared*")).read_bytes()
    for secret in ("Marked", "MARKED", PATIENT["PatientBirthDate"]):
        assert secret.encode() not in content
    archive = tmp_path / ("a.rtstruct.dcm" if id_ == "rtstruct" else "a.dcm")
    export(desk, archive, choosing(id_, archive=True))
    assert pydicom.dcmread(archive).PatientID == PATIENT["PatientID"]


def test_the_proposed_name_gives_nobody_away(desk: Desk, tmp_path: Path) -> None:
    export(desk, tmp_path / "a.dcm", choosing("seg"))
    question = next(asked for asked in desk.dialogs.asked if isinstance(asked, FileQuestion))
    assert question.start == f"{desk.case.case_id}.seg.dcm"


def test_labels_the_model_touched_are_semiautomatic(desk: Desk, tmp_path: Path) -> None:
    session = desk.case.session
    session.activate(300)
    session.click(session.image.index_to_world((9, 7, 9)))
    session.accept()
    export(desk, tmp_path / "a.dcm", choosing("seg"))
    segments = pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence
    assert [str(item.SegmentAlgorithmType) for item in segments] == ["MANUAL", "SEMIAUTOMATIC"]


def test_provenance_stands_beside_what_has_no_place_for_it(desk: Desk, tmp_path: Path) -> None:
    export(desk, tmp_path / "a.nii.gz", choosing("nifti"))
    said = json.loads((tmp_path / "a.provenance.json").read_text())
    assert said["notice"].startswith("For research use only")
    assert said["case"] == desk.case.case_id
    assert len(said["journal_sha256"]) == 64
    assert str(tmp_path) not in json.dumps(said)


@pytest.mark.parametrize("id_", ["obj", "ply"])
def test_surfaces_are_in_lps_and_say_so(desk: Desk, tmp_path: Path, id_: str) -> None:
    assert export(desk, tmp_path / f"a.{id_}", choosing(id_))
    assert b"SPACE=LPS" in (tmp_path / f"a.{id_}").read_bytes()


def test_stl_takes_one_label(desk: Desk, tmp_path: Path) -> None:
    assert export(desk, tmp_path / "a.stl", choosing("stl")) is None

    def one(dialog: ExportDialog) -> bool:
        dialog.tick(300, False)
        return choosing("stl")(dialog)

    assert export(desk, tmp_path / "a.stl", one)
    assert (tmp_path / "a.stl").read_bytes().startswith(b"SPACE=LPS")


@pytest.mark.parametrize(("id_", "ending"), [("json", ".labels.json"), ("ctbl", ".csv"), ("label", ".label")])
def test_label_tables_keep_values_names_and_colours(desk: Desk, tmp_path: Path, id_: str, ending: str) -> None:
    assert export(desk, tmp_path / f"a{ending}", choosing(id_))
    found = read_label_table(tmp_path / f"a{ending}").labels
    assert [(label.value, label.name, label.colour) for label in found] == [
        (label.value, label.name, label.colour) for label in (LESION, LIVER)
    ]


def test_only_ticked_labels_are_written(desk: Desk, tmp_path: Path) -> None:
    def without_lesion(dialog: ExportDialog) -> bool:
        dialog.tick(7, False)
        return choosing("nifti")(dialog)

    export(desk, tmp_path / "a.nii.gz", without_lesion)
    assert read_segmentation(tmp_path / "a.nii.gz").labels.values == (300,)


def test_overlap_is_counted_and_flattened_only_when_asked(dialogs: ScriptedDialogs, tmp_path: Path) -> None:
    desk = opened(Desk(dialogs), tmp_path, overlapping=True)
    lost = labels(overlapping=True).overlap_voxels

    def refused(dialog: ExportDialog) -> bool:
        assert not choosing("nifti")(dialog)
        assert f"{lost} voxels" in dialog.problem.text()
        return False

    assert export(desk, tmp_path / "a.nii.gz", refused) is None
    assert export(desk, tmp_path / "a.nii.gz", choosing("nifti", flatten=True))
    assert f"{lost} voxels" in dialogs.texts[-1]
    assert export(desk, tmp_path / "a.seg.nrrd", choosing("seg_nrrd"))
    desk.close()


def test_dicom_is_greyed_with_its_reason_for_other_images(dialogs: ScriptedDialogs, tmp_path: Path) -> None:
    desk = opened(Desk(dialogs), tmp_path, dicom=False)

    def look(dialog: ExportDialog) -> bool:
        assert dialog.format.id == "nifti"
        model = dialog.formats.model()
        index = model.index(dialog.formats.findData("seg"), 0)
        assert not model.flags(index) & Qt.ItemFlag.ItemIsEnabled
        assert "DICOM" in model.data(index, Qt.ItemDataRole.ToolTipRole)
        return False

    assert export(desk, tmp_path / "a.nii.gz", look) is None
    desk.close()


def test_shear_asks_before_axes_are_made_right_angled() -> None:
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.4
    image = Volume(ct().array, sheared)
    exportable = Exportable(Segmentation.of_masks([(LESION, ball())], image), image)
    dialog = ExportDialog(exportable, "mha")
    assert "mm" in dialog.problem.text()
    dialog.orthonormalise.setChecked(True)
    assert dialog.problem.text() == ""
    assert dialog.choices.orthonormalise
    dialog.choose_format("nifti")
    assert not dialog.choices.orthonormalise
    dialog.deleteLater()


def test_an_open_proposal_and_a_bad_place_are_told(desk: Desk, tmp_path: Path) -> None:
    session = desk.case.session
    assert export(desk, tmp_path / "nowhere" / "a.nii.gz", choosing("nifti")) is None
    assert desk.dialogs.asked[-1].tone == "error"
    session.click(session.image.index_to_world((1, 1, 1)))
    assert export(desk, tmp_path / "a.nii.gz", choosing("nifti")) is None
    assert "open proposal" in desk.dialogs.texts[-1]


def test_the_session_may_go_on_while_a_copy_is_written(desk: Desk) -> None:
    session = desk.case.session
    copied = exportable_of(session)
    before = copied.segmentation.layers[0].array.copy()
    session.activate(7)
    session.delete_label(300)
    np.testing.assert_array_equal(copied.segmentation.layers[0].array, before)


@pytest.mark.parametrize("id_", ["seg", "nifti", "ply"])
def test_the_dialog_states_values_and_identity(
    desk: Desk, show: Callable[..., QWidget], picture: Callable[..., Path], id_: str
) -> None:
    dialog = ExportDialog(exportable_of(desk.case.session), id_)
    show(dialog)
    picture(dialog, f"export_{id_}")
    assert dialog.identity.isVisible() == (id_ == "seg")
    if id_ == "seg":
        assert dialog.deidentified.isChecked()
        assert [dialog.table.item(row, 2).text() for row in range(2)] == [
            "segment 1, value 7 kept",
            "segment 2, value 300 kept",
        ]


def test_a_picture_carries_the_legend_and_warns_once(
    dialogs: ScriptedDialogs, tmp_path: Path, show: Callable[..., QWidget]
) -> None:
    widget = show(QLabel("view"), (500, 300))
    flow = ScreenshotFlow(dialogs)
    dialogs.answers = ["go_on", tmp_path / "a.png", tmp_path / "b.png"]
    assert flow.save(widget, (LESION, LIVER), name="case-1") == tmp_path / "a.png"
    assert flow.save(widget, (LESION, LIVER), name="case-1") == tmp_path / "b.png"
    assert "burned" in dialogs.texts[0]
    assert len(dialogs.texts) == 1
    saved = QPixmap(str(tmp_path / "a.png")).toImage()
    strip = {saved.pixelColor(x, y).name() for x in range(saved.width()) for y in range(300, saved.height())}
    assert {QColor(*LESION.colour).name(), QColor(*LIVER.colour).name()} <= strip


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_a_long_legend_breaks_into_rows(tmp_path: Path, ratio: float) -> None:
    picture = QPixmap(int(400 * ratio), int(100 * ratio))
    picture.setDevicePixelRatio(ratio)
    picture.fill(QColor("#336699"))
    few = with_legend(picture, (LESION,))
    many = with_legend(picture, [Label(n, f"Structure number {n}", (200, 10 * n, 0)) for n in range(1, 9)])
    assert many.width() == picture.width()
    assert many.height() > few.height() > picture.height()
