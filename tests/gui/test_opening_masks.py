"""Masks onto an open image: both sides of every threshold of the load check, probabilities, overlap, tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medseg_rl.imageio import write_label_table, write_segmentation, write_volume
from medseg_rl.labels import Label, LabelMap
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume
from medseg_rl_gui.dialogs import Question, ScriptedDialogs, ValueQuestion
from tests.gui.opened_cases import AFFINE, SHAPE, Desk, ball, ct

SMALLEST = 2.0  # mm, of the spacing


@pytest.fixture
def desk(dialogs: ScriptedDialogs, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(dialogs)
    write_volume(tmp_path / "ct.nii.gz", ct())
    assert made.flow.open([tmp_path / "ct.nii.gz"])
    yield made
    made.close()


def moved(mm: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] += mm
    return affine


def mask_file(path: Path, affine: np.ndarray = AFFINE, array: np.ndarray | None = None) -> Path:
    array = ball().astype(np.uint8) if array is None else array
    write_volume(path, Volume(array, affine))
    path.with_name("mask.labels.json").write_text('{"labels": []}')
    return path


def load(desk: Desk, path: Path) -> bool:
    desk.dialogs.answers.insert(0, (path,))
    return desk.flow.ask_for_mask()


def test_a_mask_within_a_tenth_of_a_voxel_is_taken_without_a_question(desk: Desk, tmp_path: Path) -> None:
    assert load(desk, mask_file(tmp_path / "mask.nrrd", moved(0.09 * SMALLEST)))
    np.testing.assert_array_equal(desk.case.session.label_map, ball())
    assert [type(question).__name__ for question in desk.dialogs.asked] == ["FileQuestion"]


@pytest.mark.parametrize("shift", [0.11, 0.99])
def test_up_to_a_voxel_the_user_is_asked_with_the_millimetres(desk: Desk, tmp_path: Path, shift: float) -> None:
    path = mask_file(tmp_path / "mask.nrrd", moved(shift * SMALLEST))
    assert not load(desk, path)  # closed without an answer
    question = desk.dialogs.asked[-1]
    assert isinstance(question, Question)
    assert f"{shift * SMALLEST:.2f} mm" in question.text
    assert not desk.case.session.label_map.any()
    desk.dialogs.answers = ["accept"]
    assert load(desk, path)
    np.testing.assert_array_equal(desk.case.session.label_map, ball())


def test_beyond_a_voxel_resampling_is_offered_while_the_boxes_overlap(desk: Desk, tmp_path: Path) -> None:
    path = mask_file(tmp_path / "mask.nrrd", moved(1.01 * SMALLEST))
    desk.dialogs.answers = ["resample"]
    assert load(desk, path)
    question = desk.dialogs.asked[-1]
    assert [choice.id for choice in question.choices] == ["resample", "cancel"]
    np.testing.assert_array_equal(desk.case.session.label_map[:-1], ball()[1:])


def test_elsewhere_it_is_refused_with_both_geometries(desk: Desk, tmp_path: Path) -> None:
    assert not load(desk, mask_file(tmp_path / "mask.nrrd", moved(20.0)))
    said = desk.dialogs.texts[-1]
    assert said.count("16 x 14 x 10 voxels") == 2
    assert desk.dialogs.asked[-1].tone == "error"


def test_probabilities_ask_for_a_threshold_and_other_numbers_are_refused(desk: Desk, tmp_path: Path) -> None:
    soft = np.where(ball(), 0.7, 0.2).astype(np.float32)
    write_volume(tmp_path / "soft.nii.gz", Volume(soft, AFFINE))
    write_volume(tmp_path / "odd.nii.gz", Volume(soft * 3.3, AFFINE))
    assert not load(desk, tmp_path / "odd.nii.gz")
    assert "no mask" in desk.dialogs.texts[-1]
    desk.dialogs.answers = [0.6]
    assert load(desk, tmp_path / "soft.nii.gz")
    question = desk.dialogs.asked[-1]
    assert isinstance(question, ValueQuestion)
    assert question.value == 0.5
    np.testing.assert_array_equal(desk.case.session.label_map, ball())


def two_labels() -> Segmentation:
    masks = [
        (Label(1, "Lesion", (10, 20, 30)), ball((6, 7, 5))),
        (Label(300, "Liver", (40, 50, 60)), ball((9, 7, 5))),
    ]
    return Segmentation.of_masks(masks, ct())


def test_values_names_colours_and_overlap_come_into_an_untouched_case(desk: Desk, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "two.seg.nrrd", two_labels(), like=ct())
    assert desk.flow.open([tmp_path / "two.seg.nrrd"])
    found = desk.case.session.segmentation
    assert [(label.value, label.name, label.colour) for label in found.labels.labels] == [
        (1, "Lesion", (10, 20, 30)),
        (300, "Liver", (40, 50, 60)),
    ]
    assert found.overlap_voxels == two_labels().overlap_voxels > 0


def test_into_a_case_with_work_labels_come_by_the_undo_list_and_leave_locked_ones_alone(
    desk: Desk, tmp_path: Path
) -> None:
    session = desk.case.session
    session.set_start(ball((6, 7, 5)))
    session.accept()
    before = session.mask.copy()
    write_segmentation(tmp_path / "two.seg.nrrd", two_labels().only([300]), like=ct())
    assert desk.flow.open([tmp_path / "two.seg.nrrd"])
    assert desk.case.session is session
    lost = int(np.count_nonzero(before & ball((9, 7, 5))))
    assert any(str(lost) in notice and "Liver" in notice for notice in desk.window.notices)
    np.testing.assert_array_equal(session.label_map == 1, before)
    np.testing.assert_array_equal(session.label_map == 300, ball((9, 7, 5)) & ~before)
    while session.history.done:
        session.undo()
    assert not session.label_map.any()


def test_an_open_proposal_is_settled_first(desk: Desk, tmp_path: Path) -> None:
    desk.case.session.set_start(ball())
    assert not load(desk, mask_file(tmp_path / "mask.nrrd"))
    assert "proposal" in desk.dialogs.texts[-1]


def test_image_and_mask_dropped_together_open_together(dialogs: ScriptedDialogs, tmp_path: Path) -> None:
    desk = Desk(dialogs)
    write_volume(tmp_path / "ct.nii.gz", ct())
    write_segmentation(tmp_path / "two.seg.nrrd", two_labels(), like=ct())
    assert desk.flow.open([tmp_path / "two.seg.nrrd", tmp_path / "ct.nii.gz"])
    assert desk.case.session.labels.values == (1, 300)
    desk.close()


def test_labels_without_an_image_say_so(dialogs: ScriptedDialogs, tmp_path: Path) -> None:
    desk = Desk(dialogs)
    write_segmentation(tmp_path / "two.seg.nrrd", two_labels(), like=ct())
    assert not desk.flow.open([tmp_path / "two.seg.nrrd"])
    assert "open the image" in dialogs.texts[-1]


def test_of_two_files_that_do_not_say_what_they_are_the_image_opens_and_the_other_is_asked_about(
    dialogs: ScriptedDialogs, tmp_path: Path
) -> None:
    desk = Desk(dialogs)
    write_volume(tmp_path / "a_label.nii.gz", Volume(ball().astype(np.uint8), AFFINE))
    write_volume(tmp_path / "volume.nii.gz", ct())
    dialogs.answers = ["mask"]
    assert desk.flow.open([tmp_path / "a_label.nii.gz", tmp_path / "volume.nii.gz"])
    assert desk.case.opened.path == tmp_path / "volume.nii.gz"
    np.testing.assert_array_equal(desk.case.session.label_map, ball())
    desk.close()


def test_a_mask_and_its_table_dropped_on_the_open_image_come_together(desk: Desk, tmp_path: Path) -> None:
    write_volume(tmp_path / "seg.nii.gz", Volume(ball().astype(np.uint8), AFFINE))
    write_label_table(tmp_path / "names.csv", LabelMap((Label(1, "Spleen", (1, 2, 3)),)))
    desk.dialogs.answers = ["mask"]
    before = desk.case.opened
    assert desk.flow.open([tmp_path / "names.csv", tmp_path / "seg.nii.gz"])
    assert desk.case.opened is before
    np.testing.assert_array_equal(desk.case.session.label_map, ball())
    assert desk.case.session.labels[1].name == "Spleen"


def test_a_mask_without_a_voxel_is_told_and_changes_nothing(desk: Desk, tmp_path: Path) -> None:
    assert not load(desk, mask_file(tmp_path / "mask.nrrd", array=np.zeros(SHAPE, np.uint8)))
    assert "marks no voxel" in desk.dialogs.texts[-1]


def test_a_folder_of_label_objects_stands_for_them(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "seg").mkdir()
    write_segmentation(tmp_path / "seg" / "two.seg.nrrd", two_labels(), like=ct())
    assert desk.flow.open([tmp_path / "seg"])
    assert desk.case.session.labels.values == (1, 300)


def test_a_label_that_is_replaced_is_named(desk: Desk, tmp_path: Path) -> None:
    session = desk.case.session
    session.set_start(ball((6, 7, 5)))
    session.accept()
    write_segmentation(tmp_path / "two.seg.nrrd", two_labels().only([1]), like=ct())
    assert desk.flow.open([tmp_path / "two.seg.nrrd"])
    assert any("Label 1 was replaced" in notice for notice in desk.window.notices)


def test_more_values_than_anybody_names_are_asked_about(desk: Desk, tmp_path: Path) -> None:
    grey = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    path = mask_file(tmp_path / "mask.nrrd", array=grey)
    assert not load(desk, path)
    assert "grey levels" in desk.dialogs.texts[-1]
    assert not desk.case.session.label_map.any()


def test_what_is_no_label_table_says_so_without_an_image(dialogs: ScriptedDialogs, tmp_path: Path) -> None:
    desk = Desk(dialogs)
    (tmp_path / "LICENSE.txt").write_text("all rights\n")
    assert not desk.flow.open([tmp_path / "LICENSE.txt"])
    assert "no label table" in dialogs.texts[-1]
    write_label_table(tmp_path / "names.csv", LabelMap((Label(1, "Spleen", (1, 2, 3)),)))
    assert not desk.flow.open([tmp_path / "names.csv"])
    assert dialogs.texts[-1].startswith("“names.csv” holds labels"), "names of files keep their letters"


@pytest.mark.parametrize("answer", ["mask", "image", "cancel"])
def test_a_file_that_could_be_either_is_asked_about(desk: Desk, tmp_path: Path, answer: str) -> None:
    write_volume(tmp_path / "other.nii.gz", Volume(ball().astype(np.uint8), AFFINE))
    desk.dialogs.answers = [answer]
    before = desk.case.opened
    assert desk.flow.open([tmp_path / "other.nii.gz"]) is (answer != "cancel")
    assert (desk.case.opened is before) is (answer != "image")
    assert desk.case.session.label_map.any() == (answer == "mask")


def test_a_label_table_gives_names_and_colours(desk: Desk, tmp_path: Path) -> None:
    write_label_table(tmp_path / "names.csv", LabelMap((Label(1, "Spleen", (1, 2, 3)), Label(7, "Liver", (4, 5, 6)))))
    assert desk.flow.open([tmp_path / "names.csv"])
    labels = desk.case.session.labels
    assert [(label.value, label.name, label.colour) for label in labels.labels] == [
        (1, "Spleen", (1, 2, 3)),
        (7, "Liver", (4, 5, 6)),
    ]


def test_a_mask_with_other_axes_fits_without_loss(desk: Desk, tmp_path: Path) -> None:
    flipped = AFFINE.copy()
    flipped[:3, 3] += flipped[:3, 0] * (SHAPE[0] - 1)
    flipped[:3, 0] *= -1
    assert load(desk, mask_file(tmp_path / "mask.nrrd", flipped, ball((5, 7, 5))[::-1].astype(np.uint8)))
    np.testing.assert_array_equal(desk.case.session.label_map, ball((5, 7, 5)))
