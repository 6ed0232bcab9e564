"""Labels of a session: locks, the overwrite policy, overlap in layers, and the label table on the undo stack."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from medseg_rl.editing import Brush, FillBox
from medseg_rl.errors import ClickError, MedSegError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.imageio import read_segmentation
from medseg_rl.labels import LabelMap
from medseg_rl.refiners.paint_ball import PaintBall
from medseg_rl.segmentation import Segmentation
from medseg_rl.session import SegmentationSession
from medseg_rl.volume import Volume
from tests.unit.session_actions import Leaning

OBJECT = ClickLabel.FOREGROUND
SHAPE = (20, 18, 16)
LIVER = (slice(10, 16), slice(4, 14), slice(4, 12))


def started(**options):
    image = Volume(np.random.default_rng(1).normal(0, 1, SHAPE).astype(np.float32), np.eye(4), "MR")
    array = np.zeros(SHAPE, np.uint8)
    array[LIVER] = 3
    table = LabelMap().adding("Lesion", value=1).adding("Liver", value=3)
    given = {"label_map": Volume(array, np.eye(4)), "labels": table, "active": 1} | options
    return SegmentationSession(image, Leaning(), **given)


def fill(session, low, high, **options):
    """Fills voxels from `low` to `high`, both included."""
    return session.edit(FillBox(tuple(map(float, low)), tuple(map(float, high)), **options))


def test_an_edit_stops_at_a_locked_label_and_says_which():
    session = started()
    report = fill(session, (8, 6, 6), (12, 8, 8))
    assert (session.label_map == 3).sum() == 6 * 10 * 8
    assert report.added_voxels == 2 * 3 * 3 == (session.label_map == 1).sum()
    assert report.refused == {"Liver": 3 * 3 * 3}
    assert "Liver" in report.message


def test_an_edit_wholly_inside_a_locked_label_makes_no_entry():
    session = started()
    report = fill(session, (11, 6, 6), (13, 8, 8))
    assert session.history.undo_names == ()
    assert session.version == 0
    assert report.refused == {"Liver": 27}
    assert report.added_voxels == 0


def test_a_label_locked_by_hand_refuses_edits_clicks_and_deletion_by_name():
    session = started()
    session.set_lock(1, True)
    with pytest.raises(ClickError, match="Lesion"):
        fill(session, (1, 1, 1), (2, 2, 2))
    with pytest.raises(ClickError, match="Lesion"):
        session.click_voxels([Click((2, 2, 2), OBJECT)])
    with pytest.raises(MedSegError, match="Lesion"):
        session.delete_label(1)


def test_activating_a_label_opens_it_and_closes_the_last_but_is_no_entry():
    session = started()
    session.activate(3)
    fill(session, (10, 4, 4), (10, 5, 5), erase=True)
    assert session.history.undo_names == ("Box, erase, Liver, 4 voxels",)
    session.activate(1)
    session.undo()  # passes through the automatic lock of Liver
    assert session.active_label == 1
    assert (session.label_map == 3).sum() == 6 * 10 * 8


def test_a_label_locked_by_hand_stays_locked_when_it_is_activated():
    session = started()
    session.set_lock(3, True)
    session.activate(3)
    with pytest.raises(ClickError, match="Liver"):
        fill(session, (1, 1, 1), (2, 2, 2))


def test_an_opened_lock_stays_open_for_the_policy_to_decide():
    session = started()
    session.set_lock(3, False)
    assert session.history.undo_names == ("Unlock Liver",)
    assert not session.labels.is_locked(3, active=1)
    report = fill(session, (8, 6, 6), (12, 8, 8))  # others are kept unless said otherwise
    assert report.refused == {"Liver": 27}
    session.undo()
    session.undo()
    assert session.labels.is_locked(3, active=1)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_lock_goes_back_to_the_rule(by_hand):
    session = started()
    session.set_lock(3, by_hand)
    session.set_lock(3, None)
    assert session.history.undo_names[0] == "Usual lock of Liver"
    assert session.labels.is_locked(3, active=1)
    assert not session.labels.is_locked(3, active=3)
    done = len(session.history.done)
    session.set_lock(3, None)
    assert len(session.history.done) == done, "nothing to do makes no entry"


def test_replacing_takes_voxels_from_open_labels_and_keeps_both_states_true():
    session = started()
    session.set_lock(3, False)
    session.overwrite = "replace"
    fill(session, (8, 6, 6), (12, 8, 8))
    assert (session.label_map == 1).sum() == 45
    assert (session.label_map == 3).sum() == 480 - 27
    assert np.array_equal(session.mask, session.label_map == 1)
    session.activate(3)
    assert np.array_equal(session.mask, session.label_map == 3)
    session.undo()
    assert np.array_equal(session.mask, session.label_map == 3)
    assert session.mask.sum() == 480


def test_replacing_leaves_locked_labels_alone():
    session = started()
    session.overwrite = "replace"
    fill(session, (8, 6, 6), (12, 8, 8))
    assert (session.label_map == 3).sum() == 480


def test_overlap_makes_a_second_layer_and_loses_nothing():
    session = started()
    session.set_lock(3, False)
    session.overwrite = "overlap"
    fill(session, (8, 6, 6), (12, 8, 8))
    found = session.segmentation
    assert len(found.layers) == 2
    assert found.mask_of(1).sum() == 45
    assert found.mask_of(3).sum() == 480
    assert found.overlap_voxels == 27
    assert session.labels[1].layer != session.labels[3].layer
    session.undo()
    assert session.segmentation.mask_of(1).sum() == 0
    session.redo()
    assert session.segmentation.overlap_voxels == 27


def test_a_label_that_overlaps_may_be_edited_where_it_does_though_the_other_is_locked():
    session = started()
    session.set_lock(3, False)
    session.overwrite = "overlap"
    fill(session, (8, 6, 6), (12, 8, 8))
    session.set_lock(3, True)
    fill(session, (11, 6, 6), (11, 8, 8), erase=True)
    assert session.segmentation.mask_of(3).sum() == 480
    assert session.segmentation.overlap_voxels == 18
    report = fill(session, (11, 6, 6), (11, 8, 8))  # what it gave up is the lock's again
    assert report.refused == {"Liver": 9}


def test_overlapping_labels_come_in_as_layers_and_go_out_to_a_file_that_holds_them(tmp_path):
    session = started()
    session.set_lock(3, False)
    session.overwrite = "overlap"
    fill(session, (8, 6, 6), (12, 8, 8))
    path = session.export(tmp_path / "both.seg.nrrd")
    again = SegmentationSession(session.image, Leaning(), segmentation=read_segmentation(path, like=session.image))
    for value in (1, 3):
        assert np.array_equal(again.segmentation.mask_of(value), session.segmentation.mask_of(value))
    with pytest.raises(MedSegError, match="27"):
        session.export(tmp_path / "both.nii.gz")
    session.export(tmp_path / "both.nii.gz", flatten=True)
    assert "voxels lay in more than one label" in session.notices[0]
    assert read_segmentation(tmp_path / "both.nii.gz").overlap_voxels == 0


def test_a_proposal_follows_the_policy_when_it_is_accepted():
    for policy, liver in (("keep", 480), ("replace", None), ("overlap", 480)):
        session = started()
        session.set_lock(3, False)
        session.overwrite = policy
        session.click_voxels([Click((8, 8, 8), OBJECT)])
        shown = session.mask
        session.accept()
        assert np.array_equal(session.segmentation.mask_of(1), shown)
        over = int((shown[LIVER]).sum())
        assert over == 0 if policy == "keep" else over > 0
        assert session.segmentation.mask_of(3).sum() == (480 - over if liver is None else liver)


def test_a_proposal_made_under_another_policy_gives_up_what_the_present_one_keeps():
    session = started()
    session.set_lock(3, False)
    session.overwrite = "replace"
    session.click_voxels([Click((8, 8, 8), OBJECT)])
    session.overwrite = "keep"
    session.accept()
    assert (session.label_map == 3).sum() == 480
    assert np.array_equal(session.mask, session.label_map == 1)


def test_a_click_in_a_kept_label_is_refused_with_the_way_out():
    session = started()
    session.set_lock(3, False)
    with pytest.raises(ClickError, match="Liver, which is kept; choose to replace"):
        session.click_voxels([Click((12, 8, 8), OBJECT)])
    session.overwrite = "overlap"
    session.click_voxels([Click((12, 8, 8), OBJECT)])
    assert session.mask[12, 8, 8]


def test_the_table_changes_on_the_undo_stack_under_names_that_say_what_happened():
    session = started()
    value = session.add_label("Vessel", colour=(1, 2, 3))
    session.rename_label(value, "  Portal   vein ")
    session.recolour_label(value, (9, 8, 7))
    session.set_lock(value, True)
    session.set_lock(value, False)
    session.delete_label(value)
    assert session.history.undo_names[::-1] == (
        "Add label Vessel",
        "Rename Vessel to Portal vein",
        "Recolour Portal vein",
        "Lock Portal vein",
        "Unlock Portal vein",
        "Delete label Portal vein",
    )
    session.undo()
    assert session.labels[value].name == "Portal vein"
    assert session.labels[value].colour == (9, 8, 7)
    for _ in range(5):
        session.undo()
    assert value not in session.labels


def test_what_changes_nothing_makes_no_entry():
    session = started()
    assert session.rename_label(3, "Liver") is None
    assert session.recolour_label(3, session.labels[3].colour) is None
    session.set_lock(1, False)
    assert session.edit(Brush(((2.0, 2.0, 2.0),), 2.0, erase=True)).message
    assert session.history.undo_names == ()


@pytest.mark.parametrize("name", ["", "   ", "a" * 65, "bell\x07"])
def test_a_name_that_no_format_could_hold_is_refused(name):
    with pytest.raises(MedSegError, match="name"):
        started().rename_label(3, name)


def test_deleting_a_label_takes_its_voxels_and_clicks_and_undo_brings_all_back():
    session = started()
    session.click_voxels([Click((4, 4, 4), OBJECT)])
    session.accept()
    voxels = session.label_map == 1
    session.delete_label(1)
    assert session.active_label == 3
    assert session.labels.values == (3,)
    assert not (session.label_map == 1).any()
    with pytest.raises(MedSegError, match="only label"):
        session.delete_label(3)
    session.undo()
    assert session.active_label == 3  # undo never changes it
    session.activate(1)
    assert np.array_equal(session.label_map == 1, voxels)
    assert np.array_equal(session.mask, voxels)
    assert session.clicks == (Click((4, 4, 4), OBJECT),)


def test_a_new_label_of_a_deleted_value_begins_empty():
    session = started()
    session.delete_label(3)
    session.add_label("Kidney", value=3)
    session.activate(3)
    assert not session.mask.any()
    assert (session.percent == 1).all()


def test_nothing_is_edited_or_deleted_while_a_proposal_is_open():
    session = started()
    session.click_voxels([Click((4, 4, 4), OBJECT)])
    with pytest.raises(MedSegError, match="Lesion has an open proposal; accept or discard"):
        fill(session, (1, 1, 1), (2, 2, 2))
    with pytest.raises(MedSegError, match="accept or discard"):
        session.delete_label(3)


def test_a_proposal_that_undo_opened_again_is_accepted_only_when_its_label_is_active():
    session = started()
    session.click_voxels([Click((4, 4, 4), OBJECT)])
    session.accept()
    session.activate(3)
    session.undo()
    with pytest.raises(MedSegError, match="Lesion, locked while Liver is active; activate Lesion first"):
        session.accept()
    session.activate(1)
    session.accept()
    assert (session.label_map == 1).any()


def test_an_unknown_policy_is_refused():
    with pytest.raises(MedSegError, match="keep, replace, overlap"):
        started().overwrite = "merge"


def test_layers_of_a_segmentation_keep_values_and_table():
    image = started().image
    table = LabelMap().adding("A", value=300, colour=(1, 2, 3)).adding("B", value=7)
    a, b = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    a[2:9, 2:9, 2:9], b[5:12, 5:12, 5:12] = True, True
    given = Segmentation.of_masks(list(zip(table.labels, (a, b), strict=True)), image)
    session = SegmentationSession(image, Leaning(), segmentation=given, active=7)
    assert session.labels == given.labels
    assert np.array_equal(session.mask, b)
    assert session.segmentation.overlap_voxels == given.overlap_voxels


def test_an_export_is_as_narrow_as_its_label_values(tmp_path):
    session = started()
    session.export(tmp_path / "small.nii.gz")
    assert nibabel.load(tmp_path / "small.nii.gz").get_data_dtype() == np.uint8
    session.activate(session.add_label("Far", value=300))
    fill(session, (1, 1, 1), (2, 2, 2))
    session.export(tmp_path / "large.nii.gz")
    assert (read_segmentation(tmp_path / "large.nii.gz").mask_of(300)).sum() == 8


def test_a_given_mask_that_the_model_corrects_stays_the_masks_but_for_the_correction():
    image = Volume(np.zeros((20, 20, 20), np.float32), np.eye(4))
    session = SegmentationSession(image, PaintBall())
    start = np.zeros(image.shape, bool)
    start[2:8, 2:8, 2:8] = True
    session.set_start(start)
    session.click((14.0, 14.0, 14.0))
    session.accept()
    counts, voxels = session.written_by_label[1], int(session.label_map.sum())
    assert counts["mask"] == int(start.sum())
    assert counts["model"] == voxels - int(start.sum()) > 0
