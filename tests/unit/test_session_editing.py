"""Edits by hand in a session: one stack, names, provenance, only the changed box, proposals, jobs."""

from __future__ import annotations

import itertools
import json
import tracemalloc

import numpy as np
import pytest

from medseg_rl.editing import Brush, Combine, FillBox, Interpolate, Islands, Lasso, Margin, SplitIslands
from medseg_rl.errors import Cancelled, ClickError, EditError, MedSegError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.labels import LabelMap
from medseg_rl.session import SegmentationSession, StaleDeltaError
from medseg_rl.volume import Box, Volume
from tests.unit.session_actions import Leaning

OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
SHAPE = (24, 20, 18)


def started(affine=None, shape=SHAPE, **options):
    array = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)
    given = {"labels": LabelMap().adding("Lesion", value=1).adding("Liver", value=3)} | options
    return SegmentationSession(Volume(array, np.eye(4) if affine is None else affine, "MR"), Leaning(), **given)


def box(low, high, **options):
    return FillBox(tuple(map(float, low)), tuple(map(float, high)), **options)


def test_a_stroke_is_one_entry_with_radius_label_and_voxels_in_its_name():
    session = started()
    report = session.edit(Brush(((5.0, 5.0, 5.0), (9.0, 5.0, 5.0)), 2.0))
    assert session.history.undo_names == (f"Brush 2 mm, Lesion, {report.added_voxels} voxels",)
    assert (
        (session.label_map == 1).sum() == report.added_voxels == session.mask.sum() == 33 + 4 * 13
    )  # a ball and four discs
    assert report.changed_box == Box.around_mask(session.mask)
    session.edit(box((20, 15, 15), (20, 15, 15)))
    assert session.history.undo_names[0] == "Box, Lesion, 1 voxel"


def test_what_was_painted_is_certain_and_what_was_not_touched_stays_as_sure_as_it_was():
    session = started()
    session.click_voxels([Click((6, 6, 6), OBJECT)])
    session.accept()
    before = session.percent
    session.edit(box((5, 5, 5), (14, 6, 6)))
    changed = session.percent != before
    assert (session.percent[changed] == 99).all()
    assert session.percent[6, 6, 6] == before[6, 6, 6]
    session.edit(box((14, 5, 5), (14, 6, 6), erase=True))
    assert (session.percent[14, 5:7, 5:7] == 1).all()


def test_the_model_refines_what_was_painted():
    session = started()
    session.edit(box((4, 4, 4), (8, 8, 8)))
    session.click_voxels([Click((12, 6, 6), OBJECT)])
    assert session.mask[4:9, 4:9, 4:9].all()
    assert session.mask[12, 6, 6]
    session.accept()
    assert np.array_equal(session.label_map == 1, session.mask)


def test_counts_by_source_and_label_tell_model_brush_and_operation_apart():
    session = started()
    session.click_voxels([Click((6, 6, 6), OBJECT)])
    session.accept()
    model = int(session.mask.sum())
    brush = session.edit(Brush(((18.0, 6.0, 6.0),), 3.0)).added_voxels
    operation = session.edit(Margin(1.0)).added_voxels
    session.activate(3)
    liver = session.edit(box((1, 15, 15), (3, 17, 16))).added_voxels
    assert session.written_by_label == {
        1: {"model": model, "brush": brush, "operation": operation},
        3: {"brush": liver},
    }
    assert session.written_voxels == {"model": model, "brush": brush + liver, "operation": operation}
    for _ in range(3):
        session.undo()
    assert session.written_voxels == {"model": model}


def test_an_edit_takes_the_clicks_that_it_contradicts_out_of_the_hints():
    session = started()
    session.click_voxels([Click((6, 6, 6), OBJECT)])
    session.click_voxels([Click((15, 6, 6), OBJECT)])
    session.accept()
    session.edit(box((15, 6, 6), (15, 6, 6), erase=True))
    assert session.clicks == (Click((6, 6, 6), OBJECT),)
    session.undo()
    assert len(session.clicks) == 2


def test_interpolation_is_a_proposal_to_accept_or_discard_and_counts_as_operation():
    session = started()
    for z in (4, 10):
        session.edit(Lasso(((4.0, 4.0, z), (12.0, 4.0, z), (12.0, 12.0, z), (4.0, 12.0, z)), "axial"))
    drawn = session.label_map.sum()
    report = session.edit(Interpolate("axial"))
    assert report.is_proposal
    assert session.proposal.added_voxels == report.added_voxels > 0
    assert session.label_map.sum() == drawn
    session.discard()
    assert session.mask.sum() == drawn
    session.edit(Interpolate("axial"))
    session.accept()
    assert session.mask[:, :, 4:11].any(axis=(0, 1)).all()
    assert session.written_voxels["operation"] == report.added_voxels
    session.undo()
    session.undo()
    assert session.label_map.sum() == drawn


def test_a_click_into_an_interpolated_proposal_goes_on_from_it():
    session = started()
    for z in (4, 10):
        session.edit(box((4, 4, z), (9, 9, z)))
    session.edit(Interpolate("axial"))
    shown = session.mask
    session.click_voxels([Click((16, 6, 6), OBJECT)])
    assert session.mask[shown].all()
    session.delete_click(0)
    assert np.array_equal(session.mask, shown)


def test_splitting_islands_makes_labels_of_their_own_and_one_entry():
    session = started()
    session.edit(box((1, 1, 1), (6, 6, 6)))
    session.edit(box((10, 1, 1), (12, 3, 3)))
    session.edit(box((18, 10, 10), (19, 11, 11)))
    report = session.edit(SplitIslands())
    assert report.new_labels == (2, 4)
    assert [(session.label_map == value).sum() for value in (1, 2, 4)] == [216, 27, 8]
    assert session.history.undo_names[0] == "Split islands into labels, Lesion, 35 voxels"
    session.activate(2)
    assert session.mask.sum() == 27
    session.undo()
    assert session.labels.values == (1, 3)
    assert (session.label_map == 1).sum() == 251


def test_labels_are_combined_with_the_other_left_as_it_is():
    session = started()
    session.edit(box((1, 1, 1), (6, 6, 6)))
    session.activate(3)
    session.edit(box((10, 1, 1), (12, 3, 3)))
    session.set_lock(1, False)
    session.overwrite = "overlap"
    session.edit(Combine("union", 1))
    found = session.segmentation
    assert found.mask_of(1).sum() == 216
    assert found.mask_of(3).sum() == 216 + 27


def test_what_an_operation_cannot_do_is_said_and_changes_nothing():
    session = started()
    with pytest.raises(EditError, match="radius"):
        session.edit(Brush(((5.0, 5.0, 5.0),), 500.0))
    session.edit(box((1, 1, 1), (3, 3, 3)))
    with pytest.raises(EditError, match="no island"):
        session.edit(Islands("keep_clicked", (20.0, 18.0, 16.0)))
    assert len(session.history.undo_names) == 1


ORDERS = list(itertools.product(itertools.permutations(range(3)), range(8)))


@pytest.mark.parametrize(("permutation", "flips"), ORDERS)
def test_the_same_stroke_paints_the_same_place_in_every_axis_order(permutation, flips):
    array = np.zeros(SHAPE, np.float32)
    spacing = np.diag([1.5, 2.0, 1.0, 1.0])
    plain = SegmentationSession(Volume(array, spacing), Leaning())
    turned = array.transpose(permutation)
    to_plain = np.zeros((4, 4))
    to_plain[3, 3] = 1
    for axis, source in enumerate(permutation):
        flipped = bool(flips >> axis & 1)
        to_plain[source, axis] = -1 if flipped else 1
        to_plain[source, 3] = turned.shape[axis] - 1 if flipped else 0
    session = SegmentationSession(Volume(turned, spacing @ to_plain), Leaning())
    for one in (plain, session):
        one.edit(Brush(((10.0, 12.0, 6.0), (20.0, 18.0, 6.0)), 4.0, "axial"))
        one.scribble([(10.0, 12.0, 6.0), (20.0, 25.0, 9.0)], BACKGROUND)
    flipped_axes = [axis for axis in range(3) if flips >> axis & 1]
    back = np.flip(session.mask, flipped_axes).transpose(np.argsort(permutation))
    assert np.array_equal(back, plain.mask)
    assert plain.history.undo_names == session.history.undo_names


def test_a_brush_sample_on_a_large_volume_copies_no_volume():
    session = started(shape=(160, 160, 160))
    session.edit(box((10, 10, 10), (30, 30, 30)))  # whatever comes into being once
    tracemalloc.start()
    session.edit(Brush(((20.0, 34.0, 20.0),), 3.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 160**3 / 4


def test_a_long_edit_runs_as_a_job_and_is_refused_when_the_session_moved_on():
    session = started()
    session.edit(box((4, 4, 4), (9, 9, 9)))
    job = session.prepare_edit(Margin(2.0))
    with pytest.raises(Cancelled):
        job.run(lambda: True)
    delta = job.run()
    assert session.mask.sum() == 216
    session.apply_edit(delta)
    assert session.mask.sum() > 216
    with pytest.raises(StaleDeltaError, match="run it again"):
        session.apply_edit(delta)


def test_an_event_of_an_edit_holds_its_operation_and_policy():
    session, events = started(), []
    session.observers.append(events.append)
    session.edit(Brush(((5.0, 5.0, 5.0),), 2.0))
    assert events[0].action == "edit"
    given = json.loads(json.dumps(events[0].parameters))
    assert given["operation"]["operation"] == "brush"
    assert given["overwrite"] == "keep"


def test_a_scribble_is_one_turn_of_many_hints_in_a_line_one_voxel_thick():
    session = started()
    session.scribble([(4.0, 8.0, 8.0), (12.0, 8.0, 8.0)])
    assert [click.index for click in session.clicks] == [(x, 8, 8) for x in range(4, 13)]
    assert len(session.history.undo_names) == 1
    assert session.history.undo_names[0].startswith("Scribble, Lesion, +")
    assert session.mask[4:13, 8, 8].all()
    session.undo()
    assert session.clicks == ()


def test_a_scribble_leaves_out_locked_voxels_and_is_refused_where_all_are():
    session = started()
    session.activate(3)
    session.edit(box((8, 4, 4), (14, 12, 12)))
    session.activate(1)
    session.scribble([(4.0, 8.0, 8.0), (12.0, 8.0, 8.0)])
    assert [click.index[0] for click in session.clicks] == [4, 5, 6, 7]
    with pytest.raises(ClickError, match="Liver"):
        session.scribble([(9.0, 8.0, 8.0), (12.0, 8.0, 8.0)])
    with pytest.raises(ClickError, match="inside"):
        session.scribble([(900.0, 8.0, 8.0), (950.0, 8.0, 8.0)])
    with pytest.raises(ClickError):
        session.scribble([])


def test_edits_need_no_model():
    def load():
        raise AssertionError("no model is needed")

    image = Volume(np.zeros(SHAPE, np.float32), np.eye(4))
    session = SegmentationSession(image, load)
    session.edit(box((4, 4, 4), (9, 9, 9)))
    session.rename_label(1, "Cyst")
    session.undo()
    assert session.mask.sum() == 216


def test_a_session_that_may_only_be_read_refuses_edits():
    session = started()
    session.read_only = "another window has the case open"
    for change in (
        lambda: session.edit(box((4, 4, 4), (9, 9, 9))),
        lambda: session.add_label(),
        lambda: session.delete_label(1),
    ):
        with pytest.raises(MedSegError, match="another window"):
            change()
    assert session.labels.values == (1, 3)
    assert session.active_label == 1
