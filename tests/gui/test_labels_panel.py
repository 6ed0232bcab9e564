"""The label table drives a real session: each change is one undo entry, counts follow, greyed buttons say why."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit

from medseg_rl_gui.panels.label_rows import COLOUR, EYE, LOCK, NAME, VALUE, VOLUME
from tests.gui.side_cases import boxes, opened, press


@pytest.fixture
def sides(tmp_path, dialogs, show):
    with opened(tmp_path, dialogs, show, labels=boxes((2, 2, 2), (12, 2, 2))) as made:
        yield made


def place(sides, row: int, column: int) -> QPoint:
    table = sides.labels.table
    return table.visualRect(sides.labels.rows.index(row, column)).center()


def click_cell(sides, row: int, column: int) -> None:
    QTest.mouseClick(sides.labels.table.viewport(), Qt.MouseButton.LeftButton, pos=place(sides, row, column))
    sides.idle()


def shown(sides, column: int) -> list[str]:
    rows = sides.labels.rows
    return [rows.index(row, column).data() for row in range(rows.rowCount())]


def names(sides) -> list[str]:
    return [label.name for label in sides.session.labels.labels]


def test_the_table_shows_name_value_and_volume_of_every_label(sides):
    assert shown(sides, NAME) == names(sides) == ["Label 1", "Label 2"]
    assert shown(sides, VALUE) == ["1", "2"]
    assert [row.voxels for row in sides.labels.rows.rows] == [64, 64]
    assert shown(sides, VOLUME) == ["0.13", "0.13"]  # 64 voxels of 2 mm3
    assert sides.labels.told.text() == "64 voxels, 0.128 mL"


def test_voxel_counts_follow_edits_undo_and_redo_without_counting_again(sides):
    def counted():
        return [sides.labels.counts.of(value) for value in (1, 2)]

    sides.paint((20, 20, 10))
    assert counted() == [sides.voxels(1), sides.voxels(2)] != [64, 64]
    sides.controller.editing.undo()
    assert counted() == [64, 64]
    sides.controller.editing.redo()
    assert counted() == [sides.voxels(1), 64]
    sides.controller.editing.delete_label(2)
    assert sides.labels.counts.of(2) == 0


def test_a_press_on_a_row_makes_its_label_active_and_plain_clicks_add_again(sides):
    sides.controller.desk.set_positive(False)
    click_cell(sides, 1, NAME)
    assert sides.session.active_label == 2
    assert sides.controller.desk.positive
    assert sides.labels.table.currentIndex().row() == 1
    assert sides.labels.rows.rows[1].active


def test_an_open_proposal_keeps_its_label_active_until_it_is_answered(sides):
    sides.click((20, 20, 10))
    click_cell(sides, 1, NAME)
    assert sides.session.active_label == 1
    assert sides.labels.table.currentIndex().row() == 0
    assert "Accept or discard the proposal first" in sides.bar.said.text()
    sides.window.acts.trigger("proposal.discard")
    sides.idle()
    assert sides.session.active_label == 2


def test_eye_and_padlock_do_not_make_their_label_active(sides):
    click_cell(sides, 1, EYE)
    assert sides.controller.desk.view.overlay.hidden == {2}
    assert sides.labels.rows.rows[1].hidden
    click_cell(sides, 1, EYE)
    assert sides.controller.desk.view.overlay.hidden == frozenset()
    assert [row.lock for row in sides.labels.rows.rows] == ["open", "usual"]
    click_cell(sides, 1, LOCK)
    assert sides.session.labels[2].opened
    click_cell(sides, 1, LOCK)
    assert sides.session.labels[2].locked
    assert [row.lock for row in sides.labels.rows.rows] == ["open", "hand"]
    assert sides.session.active_label == 1
    click_cell(sides, 1, LOCK)
    assert [row.lock for row in sides.labels.rows.rows] == ["open", "usual"], "the way back to the rule"
    sides.controller.editing.undo()
    sides.controller.editing.undo()
    assert [row.lock for row in sides.labels.rows.rows] == ["open", "open"]


def test_a_name_is_edited_in_place_and_the_keyboard_goes_back_to_the_views(sides):
    click_cell(sides, 0, NAME)
    QTest.mouseDClick(sides.labels.table.viewport(), Qt.MouseButton.LeftButton, pos=place(sides, 0, NAME))
    editor = QApplication.focusWidget()
    assert isinstance(editor, QLineEdit)
    editor.selectAll()
    QTest.keyClicks(editor, "Lesion d")  # letters that are tools elsewhere
    QTest.keyClick(editor, Qt.Key.Key_Return)
    sides.idle()
    assert names(sides) == shown(sides, NAME) == ["Lesion d", "Label 2"]
    assert QApplication.focusWidget() is sides.window.views.active_view.canvas
    assert sides.session.history.undo_names[0] == "Rename Label 1 to Lesion d"
    sides.controller.editing.undo()
    assert shown(sides, NAME)[0] == "Label 1"


def test_a_name_that_cannot_be_is_refused_and_the_old_one_stands(sides):
    sides.labels.rows.setData(sides.labels.rows.index(0, NAME), "  ")
    assert shown(sides, NAME)[0] == "Label 1"
    assert "A label needs a name" in sides.window.status.message.text()


def test_a_colour_is_chosen_in_a_dialog_that_offers_the_palette(sides, dialogs):
    def choose(dialog):
        assert dialog.customColor(0) == QColor(230, 159, 0)
        dialog.setCurrentColor(QColor(10, 20, 30))
        return True

    dialogs.answers = [choose]
    press(sides, sides.labels.recolour)
    assert sides.session.labels[1].colour == sides.labels.rows.rows[0].colour == (10, 20, 30)
    dialogs.answers = [False]
    QTest.mouseDClick(sides.labels.table.viewport(), Qt.MouseButton.LeftButton, pos=place(sides, 1, COLOUR))
    sides.idle()
    assert sides.session.labels[2].colour != (10, 20, 30)
    assert len(sides.session.history.done) == 1


def test_a_label_is_added_and_deleted_with_one_undo_entry_each(sides):
    press(sides, sides.labels.add)
    assert sides.session.active_label == 3
    assert shown(sides, VALUE) == ["1", "2", "3"]
    assert sides.labels.table.currentIndex().row() == 2
    press(sides, sides.labels.delete)
    assert shown(sides, VALUE) == ["1", "2"]
    sides.controller.editing.undo()
    sides.controller.editing.undo()
    assert shown(sides, VALUE) == ["1", "2"]
    sides.controller.editing.redo()
    assert shown(sides, VALUE) == ["1", "2", "3"]


def test_deleting_is_greyed_with_the_reason(sides):
    delete = sides.labels.delete
    press(sides, sides.labels.lock)
    assert not delete.isEnabled()
    assert "locked" in delete.toolTip()
    press(sides, sides.labels.lock)
    sides.click((20, 20, 10))
    assert "proposal" in delete.toolTip()
    sides.window.acts.trigger("proposal.discard")
    sides.idle()
    sides.controller.editing.delete_label(2)
    assert "only label" in delete.toolTip()
    assert sides.labels.add.toolTip().startswith("New label (Ctrl+L)")


def test_opacity_follows_the_keys_and_sets_the_view(sides):
    panel = sides.labels
    before = panel.opacity.value()
    sides.window.acts.trigger("view.stronger")
    assert panel.opacity.value() == before + 10
    panel.opacity.setValue(25)
    assert sides.controller.desk.view.overlay.opacity == 0.25
    assert panel.percent.text() == "25 %"
    press(sides, panel.outline)
    assert sides.controller.desk.view.overlay.outline
    assert panel.outline.isChecked()


def test_overlap_makes_a_second_layer_and_says_so(sides):
    sides.controller.editing.set_overwrite("overlap")
    sides.controller.editing.set_lock(2, False)
    sides.paint((13, 3, 3))
    assert "Layer" in sides.labels.told.text()
    assert "overlap" in sides.labels.told.text()


def test_arrow_keys_walk_through_labels_only_with_the_focus_there(sides):
    plane = sides.window.views.active_view.plane
    before = sides.controller.desk.view.slices[plane]
    click_cell(sides, 0, NAME)
    QTest.keyClick(QApplication.focusWidget() or sides.window, Qt.Key.Key_Up)
    assert sides.controller.desk.view.slices[plane] != before
    sides.labels.table.setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClick(sides.labels.table, Qt.Key.Key_Down)
    assert sides.session.active_label == 2


def test_without_a_case_the_table_is_empty_and_buttons_say_why(tmp_path, dialogs, show):
    with opened(tmp_path, dialogs, show, is_open=False) as sides:
        panel = sides.labels
        assert panel.rows.rowCount() == 0
        for made in (panel.add, panel.rename, panel.recolour, panel.lock, panel.delete):
            assert not made.isEnabled()
            assert "Open an image first" in made.toolTip()
