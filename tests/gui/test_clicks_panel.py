"""The click list and the proposal bar drive a real session: select goes there, delete is an entry, accept, discard."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest

from medseg_rl_gui.actions import BY_ID
from tests.gui.panel_cases import CENTRE
from tests.gui.side_cases import opened, press

FIRST, SECOND, THIRD = CENTRE, (10, 17, 10), (18, 25, 12)


@pytest.fixture
def sides(tmp_path, dialogs, show):
    with opened(tmp_path, dialogs, show) as made:
        yield made


def lines(sides) -> list[tuple[int, str, bool]]:
    return [(row.number, row.label_name, row.positive) for row in sides.clicks.rows.rows]


def choose(sides, row: int) -> None:
    view = sides.clicks.list
    where = view.visualRect(sides.clicks.rows.index(row, 0)).center()
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=where)
    sides.idle()


def test_clicks_are_listed_with_sign_label_place_and_slice(sides):
    sides.click(FIRST)
    sides.click(SECOND, positive=False)
    assert lines(sides) == [(0, "Label 1", True), (1, "Label 1", False)]
    row = sides.clicks.rows.rows[1]
    assert row.point_mm == sides.world(SECOND)
    assert row.slice_number == SECOND[2] + 1
    assert "removes" in row.told
    assert "of the open proposal" in row.told


def test_selecting_a_click_moves_the_crosshair_and_marks_it_in_the_views(sides):
    sides.click(FIRST)
    sides.click(SECOND, positive=False)
    choose(sides, 0)
    view = sides.controller.desk.view
    assert np.allclose(view.crosshair, sides.world(FIRST))
    assert [mark.selected for mark in view.clicks] == [True, False]
    sides.controller.desk.go_to(sides.world(THIRD))
    press(sides, sides.clicks.go_there)
    assert np.allclose(sides.controller.desk.view.crosshair, sides.world(FIRST))
    sides.controller.select_click(1)
    assert sides.clicks.selected.number == 1


def test_any_click_of_the_open_proposal_is_deleted_and_the_others_run_again(sides):
    for index, positive in ((FIRST, True), (SECOND, False), (THIRD, True)):
        sides.click(index, positive=positive)
    choose(sides, 1)
    press(sides, sides.clicks.delete)
    assert [click.index for click in sides.session.clicks] == [FIRST, THIRD]
    assert len(lines(sides)) == 2
    assert not sides.clicks.recompute.isVisible()
    sides.controller.editing.undo()
    assert [click.index for click in sides.session.clicks] == [FIRST, SECOND, THIRD]
    assert len(lines(sides)) == 3
    sides.controller.editing.redo()
    assert len(lines(sides)) == 2


def test_the_delete_key_takes_the_selected_click_and_backspace_the_newest(sides):
    for index in (FIRST, SECOND, THIRD):
        sides.click(index)
    choose(sides, 0)
    canvas = sides.window.views.active_view.canvas
    QTest.keyClick(canvas, Qt.Key.Key_Delete)
    sides.idle()
    assert [click.index for click in sides.session.clicks] == [SECOND, THIRD]
    choose(sides, 0)
    QTest.keyClick(canvas, Qt.Key.Key_Backspace)
    sides.idle()
    assert [click.index for click in sides.session.clicks] == [SECOND]
    assert BY_ID["click.delete"].keys_in("default") == ("Del",)


def test_an_accepted_click_leaves_the_hints_the_mask_stays_and_recompute_is_offered(sides):
    sides.click(FIRST)
    sides.click(SECOND)
    sides.window.acts.trigger("proposal.accept")
    sides.idle()
    before = sides.session.label_map.copy()
    assert all(row.settled for row in sides.clicks.rows.rows)
    choose(sides, 1)
    press(sides, sides.clicks.delete)
    assert np.array_equal(sides.session.label_map, before)
    assert sides.clicks.recompute.isVisible()
    assert "the mask stayed" in sides.clicks.left_out.text()
    press(sides, sides.clicks.recompute)
    assert sides.session.history.done[-1].action == "refine"
    assert not sides.clicks.recompute.isVisible()


def test_clicks_of_another_label_are_listed_below_and_only_led_to(sides):
    sides.click(FIRST)
    sides.window.acts.trigger("proposal.accept")
    sides.idle()
    sides.controller.editing.add_label("Other")
    sides.click(THIRD)
    assert lines(sides) == [(0, "Other", True), (0, "Label 1", True)]
    choose(sides, 1)
    assert np.allclose(sides.controller.desk.view.crosshair, sides.world(FIRST))
    assert not sides.clicks.delete.isEnabled()
    assert "Label 1" in sides.clicks.delete.toolTip()
    choose(sides, 0)
    assert sides.clicks.delete.isEnabled()


def test_buttons_say_why_they_are_greyed(sides):
    assert "There is no click yet" in sides.clicks.delete.toolTip()
    sides.click(FIRST)
    for made in (sides.clicks.delete, sides.clicks.go_there):
        assert not made.isEnabled()
        assert "Select a click in the list first" in made.toolTip()


def test_a_click_on_the_list_leaves_the_keyboard_to_the_views(sides):
    sides.click(FIRST)
    canvas = sides.window.views.active_view.canvas
    canvas.setFocus()
    choose(sides, 0)
    assert canvas.hasFocus()


# --- the bar ----------------------------------------------------------------------------------------------------------


def test_the_bar_counts_the_proposal_and_accepts_it(sides):
    height = sides.window.views.height()
    assert sides.bar.said.text() == "No open proposal"
    assert "There is no open proposal" in sides.bar.accept.toolTip()
    sides.click(FIRST)
    added = sides.session.proposal.added_voxels
    assert f"+{added:,} / -0 voxels" in sides.bar.said.text()
    assert sides.bar.said.text().startswith("Proposal for Label 1")
    assert sides.window.views.height() == height  # the views do not jump
    press(sides, sides.bar.accept)
    assert sides.voxels() == added
    assert sides.bar.said.text() == "No open proposal"
    sides.controller.editing.undo()
    assert f"+{added:,}" in sides.bar.said.text()


def test_the_bar_discards_and_undo_brings_the_proposal_back(sides):
    sides.click(FIRST)
    press(sides, sides.bar.discard)
    assert sides.session.proposal is None
    assert sides.session.clicks == ()
    sides.controller.editing.undo()
    assert sides.session.proposal is not None
    assert len(lines(sides)) == 1


def test_an_edit_with_an_open_proposal_is_asked_for_in_the_bar_and_done_once_it_is_answered(sides):
    sides.click(FIRST)
    assert not sides.controller.editing.fill_holes()
    assert sides.bar.said.text().startswith("Accept or discard the proposal first")
    press(sides, sides.bar.accept)
    assert sides.bar.said.text() == "No open proposal"


def test_in_a_narrow_bar_the_buttons_stand_below_the_words(sides):
    sides.click(FIRST)
    bar = sides.bar
    wide = bar.accept.mapTo(bar, QPoint()).y() < bar.said.geometry().bottom()
    bar.setFixedWidth(bar.minimumSizeHint().width() + 10)
    sides.idle()
    narrow = bar.accept.mapTo(bar, QPoint()).y() > bar.said.geometry().center().y()
    assert wide
    assert narrow
