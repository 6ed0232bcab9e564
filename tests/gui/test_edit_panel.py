"""The Edit tab drives a real session: how tools draw, what a write does to others, and the exact operations."""

from __future__ import annotations

import numpy as np
import pytest

from medseg_rl.editing import Brush, Threshold
from medseg_rl_gui.view_model import Window
from tests.gui.panel_cases import CENTRE
from tests.gui.side_cases import boxes, opened, press


@pytest.fixture
def sides(tmp_path, dialogs, show):
    with opened(tmp_path, dialogs, show, labels=boxes((4, 4, 4), (14, 4, 4), size=6), tab="edit") as made:
        yield made


def choose(box, data) -> None:
    """As the user's own choice in a list."""
    box.setCurrentIndex(box.findData(data))
    box.activated.emit(box.currentIndex())


def inside(sides, value: int = 1):
    return np.argwhere(sides.session.label_map == value)


def one_entry(sides, made, name: str) -> None:
    """A button makes one undo entry of that name; undo and redo bring back both states bit for bit."""
    before, done = sides.session.label_map.copy(), len(sides.session.history.done)
    press(sides, made)
    assert len(sides.session.history.done) == done + 1
    assert sides.session.history.undo_names[0].startswith(name)
    after = sides.session.label_map.copy()
    assert not np.array_equal(before, after)
    sides.controller.editing.undo()
    assert np.array_equal(sides.session.label_map, before)
    sides.controller.editing.redo()
    assert np.array_equal(sides.session.label_map, after)


# --- tools ------------------------------------------------------------------------------------------------------------


def test_the_brush_has_a_radius_and_a_shape_that_keys_and_panel_share(sides):
    section, desk = sides.edit.tools, sides.controller.desk
    section.radius.setValue(6.5)
    choose(section.shape, True)
    assert (desk.tools.radius_mm, desk.tools.sphere) == (6.5, True)
    sides.window.acts.trigger("brush.larger")
    assert section.radius.value() == desk.tools.radius_mm > 6.5
    assert (section.radius.minimum(), section.radius.maximum()) == (0.2, 100.0)


def test_tool_buttons_are_those_of_the_table_and_show_which_is_in_hand(sides):
    icons = {made.accessibleName(): made for made in sides.edit.tools.icons}
    press(sides, icons["Brush"])
    assert sides.controller.pointing.tool == "brush"
    assert icons["Brush"].isChecked()
    press(sides, icons["Lasso"])
    assert not icons["Brush"].isChecked()
    press(sides, icons["Lasso"])
    assert sides.controller.pointing.tool == "navigate"
    assert "(L)" in icons["Lasso"].toolTip()


def test_the_sign_is_told_in_words(sides):
    assert sides.edit.tools.adds.text() == "adds"
    sides.window.acts.trigger("click.polarity")
    assert sides.edit.tools.adds.text() == "removes"


def test_box_and_lasso_take_a_range_of_slices_counted_from_one(sides):
    section, desk = sides.edit.tools, sides.controller.desk
    assert not section.first.isEnabled()
    assert section.first.toolTip() == "On the slice that is drawn on"
    choose(section.reach, True)
    here = desk.view.slices[sides.window.views.active_view.plane]
    assert desk.tools.slices == (here, here)
    section.first.setValue(3)
    section.last.setValue(7)
    assert desk.tools.slices == (2, 6)
    choose(section.reach, False)
    assert desk.tools.slices is None
    choose(section.box_use, "fill")
    assert desk.tools.box_use == "fill"


def test_the_overwrite_policy_is_that_of_the_session(sides):
    section = sides.edit.tools
    assert section.overwrite.currentData() == "keep"
    choose(section.overwrite, "replace")
    assert sides.session.overwrite == "replace"
    sides.controller.editing.set_lock(2, False)
    sides.paint((14, 6, 6))
    assert sides.voxels(2) < 216
    sides.controller.editing.set_overwrite("keep")
    assert section.overwrite.currentData() == "keep"


def test_the_threshold_bounds_what_is_written(sides):
    section, desk = sides.edit.threshold, sides.controller.desk
    assert not section.low.isEnabled()
    assert section.low.toolTip() == "Turn the threshold on first"
    press(sides, section.on)
    section.high.setValue(80)
    section.low.setValue(20)
    assert desk.tools.threshold == Threshold(20, 80)
    before = inside(sides).shape[0]
    threshold = desk.tools.threshold
    sides.controller.editing.run(Brush((sides.world((25, 25, 10)),), 4.0, threshold=threshold))
    written = inside(sides)[before:]
    values = sides.session.image.array[tuple(written.T)]
    assert len(values) > 10
    assert values.min() >= 20
    assert values.max() <= 80
    press(sides, section.inverted)
    assert desk.tools.threshold.inverted
    press(sides, section.on)
    assert desk.tools.threshold is None


def test_the_threshold_takes_the_grey_levels_that_are_shown(sides):
    sides.controller.views.set_window(Window(150, 60))
    press(sides, sides.edit.threshold.from_window)
    assert sides.controller.desk.tools.threshold == Threshold(-15, 135)


# --- exact operations -------------------------------------------------------------------------------------------------


def test_islands_are_kept_removed_and_split(sides):
    exact = sides.edit.exact
    sides.paint((28, 26, 15), radius_mm=2.0)
    sides.controller.desk.go_to(sides.world((28, 26, 15)))
    one_entry(sides, exact.remove, "Remove clicked island")
    assert sides.voxels() == 216
    sides.controller.editing.undo()
    one_entry(sides, exact.keep, "Keep clicked island")
    sides.controller.editing.undo()
    one_entry(sides, exact.largest, "Keep largest island")
    sides.controller.editing.undo()
    exact.small.setValue(100)
    one_entry(sides, exact.drop, "Remove islands below 100 mm3")
    sides.controller.editing.undo()
    exact.small.setValue(1)
    one_entry(sides, exact.split, "Split islands")
    assert [label.value for label in sides.session.labels.labels] == [1, 2, 3]


def test_a_click_on_no_island_is_said_and_changes_nothing(sides):
    sides.controller.desk.go_to(sides.world((30, 30, 18)))
    press(sides, sides.edit.exact.keep)
    assert "no island" in sides.window.status.message.text()
    assert sides.session.history.done == ()


def test_holes_are_filled_in_space_and_slice_by_slice(sides):
    exact = sides.edit.exact
    sides.controller.editing.run(Brush((sides.world((7, 7, 7)),), 1.0, erase=True))
    one_entry(sides, exact.fill, "Fill holes")
    assert sides.voxels() == 216
    sides.controller.editing.run(Brush((sides.world((7, 7, 4)), sides.world((7, 7, 9))), 1.0, erase=True))
    sides.window.views.activate("axial")
    one_entry(sides, exact.fill_slices, "Fill holes, axial slices")
    assert sides.voxels() == 216


def test_shape_is_smoothed_grown_and_shrunk_in_millimetres(sides):
    exact = sides.edit.exact
    sides.paint((7, 7, 10), radius_mm=1.5)
    for made, name in ((exact.median, "Median 2 mm"), (exact.opening, "Opening 2 mm")):
        one_entry(sides, made, name)
        sides.controller.editing.undo()
    exact.margin.setValue(2)
    one_entry(sides, exact.grown, "Grow 2 mm")
    sides.controller.editing.undo()
    one_entry(sides, exact.shrunk, "Shrink 2 mm")
    sides.controller.editing.undo()
    sides.controller.editing.run(Brush((sides.world((7, 7, 7)),), 1.0, erase=True))
    one_entry(sides, exact.closing, "Closing 2 mm")


def test_slices_are_copied_and_gaps_interpolated_as_a_proposal(sides):
    exact, desk = sides.edit.exact, sides.controller.desk
    sides.window.views.activate("axial")
    desk.go_to(sides.world((7, 7, 9)))
    one_entry(sides, exact.copy_up, "Copy axial slice by +1")
    assert inside(sides)[:, 2].max() == 10
    desk.go_to(sides.world((7, 7, 4)))
    one_entry(sides, exact.copy_down, "Copy axial slice by -1")
    assert inside(sides)[:, 2].min() == 3
    sides.controller.editing.run(Brush((sides.world((7, 7, 6)), sides.world((7, 7, 7))), 8.0, "axial", erase=True))
    assert len(set(inside(sides)[:, 2])) == 7
    press(sides, exact.interpolate)
    assert sides.session.proposal is not None
    sides.window.acts.trigger("proposal.accept")
    sides.idle()
    assert len(set(inside(sides)[:, 2])) == 8


def test_labels_are_combined(sides):
    exact = sides.edit.exact
    assert exact.other.currentText() == "Label 2"
    sides.controller.editing.set_overwrite("overlap")
    sides.controller.editing.set_lock(2, False)
    press(sides, exact.union)
    assert sides.session.history.undo_names[0].startswith("Union with label 2")
    assert int(sides.labels.counts.of(1)) == 432
    press(sides, exact.minus)
    assert sides.labels.counts.of(1) == 216
    press(sides, exact.common)
    assert sides.labels.counts.of(1) == 0


def test_growing_needs_a_threshold_and_says_so(sides):
    exact = sides.edit.exact
    assert not exact.seed.isEnabled()
    assert "threshold mask" in exact.seed.toolTip()
    press(sides, sides.edit.threshold.on)
    sides.edit.threshold.high.setValue(1000)
    sides.edit.threshold.low.setValue(-1000)
    exact.reach.setValue(4)
    sides.controller.desk.go_to(sides.world((25, 25, 10)))
    one_entry(sides, exact.seed, "Grow from a seed")


def test_an_empty_or_locked_label_and_a_missing_other_grey_the_buttons_with_the_reason(sides):
    exact = sides.edit.exact
    sides.controller.editing.add_label("Empty")
    for made in (exact.keep, exact.median, exact.grown, exact.interpolate, exact.common, exact.largest):
        assert not made.isEnabled()
        assert "still empty" in made.toolTip()
    assert exact.union.isEnabled()
    sides.controller.editing.lock_active(True)
    assert "Empty is locked" in exact.union.toolTip()
    sides.controller.editing.lock_active(False)
    for value in (1, 2):
        sides.controller.editing.delete_label(value)
    assert exact.union.toolTip() == "There is no other label"


def test_an_operation_with_an_open_proposal_is_asked_for_first(sides):
    sides.controller.editing.add_label()
    sides.click(CENTRE)
    sides.window.right.open("edit")
    press(sides, sides.edit.exact.grown)
    assert sides.bar.said.text().startswith("Accept or discard the proposal first, then: Grow 2 mm")
    press(sides, sides.bar.accept)
    assert [name.split(",")[0] for name in sides.session.history.undo_names[:2]] == ["Grow 2 mm", "Accept proposal"]


def test_without_a_case_everything_says_so(tmp_path, dialogs, show):
    with opened(tmp_path, dialogs, show, is_open=False) as sides:
        exact = sides.edit.exact
        for made in (exact.keep, exact.median, exact.union, exact.seed, sides.edit.threshold.from_window):
            assert not made.isEnabled()
            assert made.toolTip() == "Open an image first"
