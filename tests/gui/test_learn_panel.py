"""The Learn tab drives a real session; what it records is read back; without consent nothing is on the disk."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton, QWidget

from medseg_rl.rlhf.records import Abstention, Command, Game, Ranking
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl_gui.dialogs import Answer, ScriptedDialogs
from medseg_rl_gui.learning.rank_order import RankOrder
from medseg_rl_gui.models import Listed
from tests.gui.panel_cases import CENTRE, BallModels, Panels

YES, YES_WITH_IMAGES, NO = Answer("store"), Answer("store", ticked=True), Answer("do-not-store")


@pytest.fixture
def make(tmp_path: Path, dialogs: ScriptedDialogs, show: Callable[..., QWidget]) -> Iterator[Callable[..., Panels]]:
    made: list[Panels] = []

    def do(models: BallModels | None = None, *, is_open: bool = True) -> Panels:
        panels = Panels(dialogs, models or BallModels(), tmp_path, FeedbackStore(tmp_path / "feedback"))
        made.append(panels)
        show(panels.window, (1280, 800))
        if is_open:
            panels.open()
            panels.window.right.open("learn")
        return panels

    yield do
    for panels in made:
        panels.close()


def stored(panels: Panels) -> list[Path]:
    """All files of feedback on the disk, wherever they may lie."""
    panels.idle()
    return [path for path in panels.root.rglob("*") if path.is_file() and "feedback" in path.parts]


def clicked(panels: Panels, button: QPushButton) -> None:
    """By the mouse, as a user would."""
    assert button.isEnabled(), button.toolTip()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    panels.idle()


def ranking(panels: Panels) -> None:
    """Four candidates, waiting to be ranked."""
    panels.click()
    panels.window.acts.trigger("model.candidates")
    panels.idle()
    assert panels.controller.learning.ranking.is_open


def press(panels: Panels, *keys: Qt.Key) -> None:
    for key in keys:
        QTest.keyClick(panels.window.views.active_view.canvas, key)
    panels.idle()


# --- the order --------------------------------------------------------------------------------------------------------


def test_numbers_rank_best_first_zero_ties_and_back_takes_the_last_back():
    order = RankOrder(5).ranked(2).tied().ranked(0).ranked(4)
    assert order.groups == ((2, 0), (4,))
    assert [order.rank_of(n) for n in range(5)] == [1, None, 1, None, 2]
    assert order.best == 2
    assert order.ranked(2) == order.ranked(9) == order
    assert order.back().groups == ((2, 0),)
    assert order.back().back().groups == ((2,),)
    assert order.tied().back() == order
    assert RankOrder(5).tied().ties is False


def test_none_usable_keeps_the_order_but_proposes_nothing_and_a_number_takes_it_back():
    order = RankOrder(3).ranked(1).without_any()
    assert order.groups == ((1,),)
    assert order.best is None
    assert order.can_be_submitted
    assert order.ranked(0).none_usable is False
    assert not RankOrder(3).can_be_submitted


# --- ranking ----------------------------------------------------------------------------------------------------------


def test_candidates_stand_as_numbered_tiles_and_the_keys_rank_them(make):
    panels = make()
    ranking(panels)
    section = panels.panel("learn").ranking
    assert [tile.name.text() for tile in section.tiles.tiles] == ["1", "2", "3", "4"]
    assert section.said.text().startswith("Distinct candidates: 4 of 4.")
    press(panels, Qt.Key.Key_3, Qt.Key.Key_0, Qt.Key.Key_1, Qt.Key.Key_4)
    assert [tile.mark.text() for tile in section.tiles.tiles] == ["rank 1, tie", "", "rank 1, tie", "rank 2"]
    press(panels, Qt.Key.Key_Backspace)
    assert section.tiles.tiles[3].mark.text() == ""
    assert len(panels.session.clicks) == 1  # Backspace was the ranking's, not the click list's


def test_the_tiles_follow_the_slice_of_the_views_and_differ(make):
    panels = make()
    ranking(panels)
    tiles = panels.panel("learn").ranking.tiles.tiles
    plane = panels.window.views.active_view.plane
    assert {tile.canvas.plane for tile in tiles} == {plane}
    panels.controller.views.step(2)
    assert {tile.canvas.model.slices[plane] for tile in tiles} == {panels.controller.desk.view.slices[plane]}
    shown = {tile.canvas.model.proposal.inside.sum() for tile in tiles}
    assert len(shown) == 4
    panels.window.views.activate("sagittal")
    panels.controller.views.step(1)
    assert {tile.canvas.plane for tile in panels.panel("learn").ranking.tiles.tiles} == {"sagittal"}


def test_a_tile_under_the_pointer_is_shown_in_the_views_and_nothing_is_changed_by_that(make):
    panels = make()
    ranking(panels)
    ranking_, version = panels.controller.learning.ranking, panels.session.version
    before = panels.controller.desk.view.proposal.inside.sum()
    panels.panel("learn").ranking.tiles.tiles[1].peeked.emit(True)
    assert panels.controller.desk.view.proposal is ranking_.shown[1]
    panels.panel("learn").ranking.tiles.tiles[1].peeked.emit(False)
    assert panels.controller.desk.view.proposal.inside.sum() == before
    assert panels.session.version == version


def test_a_submitted_order_is_a_record_and_the_best_becomes_the_proposal(make, dialogs):
    panels = make()
    ranking(panels)
    candidates = panels.controller.learning.ranking.candidates
    masks = [panels.session.mask_with(delta) for delta in candidates.deltas]
    press(panels, Qt.Key.Key_3, Qt.Key.Key_0, Qt.Key.Key_1)
    dialogs.answers = [YES]
    press(panels, Qt.Key.Key_Return)
    assert np.array_equal(panels.session.mask, masks[2])
    (record,) = panels.records("ranking")
    assert isinstance(record, Ranking)
    assert record.ranks == (1, 2, 1, 2)
    assert record.presentation_order == (0, 1, 2, 3)
    assert record.decision_ms is not None
    assert not record.none_acceptable
    assert record.policy_id == "one@one-hash"
    assert record.prompt.image is None
    assert not record.has_image
    grid = record.prompt.grid
    for reference, mask in zip(record.completions, masks, strict=True):
        told = panels.feedback.read_array(reference)
        assert told.shape == grid.shape
        assert told.sum() == mask.sum()
    assert not panels.controller.learning.ranking.is_open
    assert panels.window.acts.context == "view"


def test_consent_is_asked_once_and_do_not_store_leaves_no_trace(make, dialogs):
    panels = make()
    for _ in range(2):
        ranking(panels)
        press(panels, Qt.Key.Key_1)
        dialogs.answers = [NO]
        press(panels, Qt.Key.Key_Return)
        panels.controller.refining.accept()
    asked = [q for q in dialogs.asked if q.title == "Store feedback on this computer?"]
    assert len(asked) == 1
    assert asked[0].default == asked[0].when_closed == "do-not-store"
    panels.panel("learn").presence.absent.click()
    assert stored(panels) == []
    assert panels.panel("learn").feedback.consent.text() == "Nothing is stored: you chose not to."
    assert panels.session.history.undo_names[0].startswith("Accept proposal")  # ranking works without storing


def test_closing_the_question_means_do_not_store(make, dialogs):
    panels = make()
    ranking(panels)
    press(panels, Qt.Key.Key_1, Qt.Key.Key_Return)  # no answer left: the dialog is closed
    assert stored(panels) == []
    assert not panels.feedback.consent.allows_storing


def test_without_any_question_a_whole_case_is_worked_on_and_nothing_is_written(make):
    panels = make()
    panels.click()
    panels.controller.refining.accept()
    panels.click((10, 10, 5))
    panels.controller.editing.undo()
    panels.idle()
    assert stored(panels) == []


def test_none_usable_is_recorded_and_changes_nothing(make, dialogs):
    panels = make()
    ranking(panels)
    mask = panels.session.mask.copy()
    dialogs.answers = [YES]
    press(panels, Qt.Key.Key_U, Qt.Key.Key_Return)
    (record,) = panels.records("ranking")
    assert record.none_acceptable
    assert np.array_equal(panels.session.mask, mask)


def test_leaving_or_changing_the_work_puts_the_candidates_away_and_records_nothing(make):
    panels = make()
    panels.feedback.set_consent(store=True)
    ranking(panels)
    press(panels, Qt.Key.Key_2, Qt.Key.Key_Escape)
    assert not panels.controller.learning.ranking.is_open
    panels.window.acts.trigger("model.candidates")
    panels.idle()
    panels.click((10, 10, 5), positive=False)
    assert not panels.controller.learning.ranking.is_open
    assert panels.window.acts.context == "view"
    assert panels.records("ranking") == []


def test_number_keys_rank_only_while_ranking_is_open_and_nothing_said_cannot_be_submitted(make):
    panels = make()
    acts = panels.window.acts
    assert acts.reason("rank.1") == "There are no candidates to rank"
    ranking(panels)
    assert acts.reason("rank.submit") == "Nothing is ranked yet"
    assert acts.reason("rank.9") == "There is no such candidate"
    press(panels, Qt.Key.Key_1)
    assert acts.reason("rank.submit") == ""


# --- commands ---------------------------------------------------------------------------------------------------------


def test_a_verb_makes_a_proposal_and_a_record_of_the_command(make):
    panels = make()
    panels.feedback.set_consent(store=True)
    panels.click()
    before = panels.session.mask.sum()
    clicked(panels, panels.panel("learn").commands.buttons["grow"])
    assert panels.session.mask.sum() > before
    assert panels.session.history.undo_names[0].startswith("Grow, ")
    (record,) = panels.records("command")
    assert isinstance(record, Command)
    assert record.command == "grow"


def test_a_model_without_commands_greys_the_verbs_with_the_reason_and_keeps_the_plain_refinement(make):
    panels = make(BallModels(commands=0))
    section = panels.panel("learn").commands
    assert not section.buttons["shrink"].isEnabled()
    assert section.buttons["shrink"].toolTip() == "The model one takes no commands"
    assert "takes no commands" in section.reason.text()
    assert section.buttons["na"].isEnabled()


def test_a_verb_that_the_model_does_not_know_is_greyed_alone(make):
    panels = make(BallModels(commands=3))
    buttons = panels.panel("learn").commands.buttons
    assert buttons["shrink"].isEnabled()
    assert buttons["sharpen"].toolTip() == "The model does not know this command"


# --- not here ---------------------------------------------------------------------------------------------------------


def test_target_not_here_is_an_abstention_with_its_reason(make, dialogs):
    panels = make()
    section = panels.panel("learn").presence
    section.reasons.setCurrentIndex(section.reasons.findData("removed"))
    dialogs.answers = [YES]
    clicked(panels, section.absent)
    clicked(panels, section.present)
    panels.click()
    assert not section.present.isEnabled()
    assert "marked already" in section.present.toolTip()
    clicked(panels, section.absent)
    found = panels.records("abstention")
    assert all(isinstance(record, Abstention) for record in found)
    said = [(r.predicted_class, r.correct_class, r.reason) for r in found]
    assert said == [("B", "A", "removed"), ("B", "D", "missed"), ("D", "A", "removed")]


# --- blind comparison -------------------------------------------------------------------------------------------------


def test_a_blind_comparison_is_a_game_whose_sides_are_told_only_afterwards(make, dialogs):
    panels = make(BallModels(one=20.0, two=35.0))
    section, blind = panels.panel("learn").blind, panels.controller.learning.blind
    assert section.compare.toolTip() == "Place a click first, so that both models have the same task"
    panels.click()
    mask, version = panels.session.mask.copy(), panels.session.version
    clicked(panels, section.compare)
    assert blind.is_open
    assert [tile.name.text() for tile in section.tiles.tiles] == ["Left", "Right"]
    shown = " ".join(label.text() for tile in section.tiles.tiles for label in (tile.name, tile.mark))
    assert "one" not in shown
    assert "two" not in shown
    sides = [proposal.inside.sum() for proposal in blind.shown]
    dialogs.answers = [YES]
    clicked(panels, section.answers[2])  # the right one
    (record,) = panels.records("game")
    assert isinstance(record, Game)
    assert record.result == "second"
    assert record.click_budget == 1
    larger = record.first if sides[0] > sides[1] else record.second
    assert larger == "two@two-hash"
    assert {record.first, record.second} == {"one@one-hash", "two@two-hash"}
    left, right = (policy.partition("@")[0] for policy in (record.first, record.second))
    assert section.result.text() == f"Right is better. Left was {left}, right was {right}. Recorded."
    assert not section.tiles.isVisible()
    assert panels.session.version == version
    assert np.array_equal(panels.session.mask, mask)


def test_both_sides_occur(make):
    panels = make(BallModels(one=20.0, two=35.0))
    panels.click()
    blind, bundles = panels.controller.learning.blind, panels.controller.models.refining
    left = set()
    for _ in range(12):
        blind.begin(*bundles)
        panels.idle()
        left.add(blind.comparison.policies[0])
        blind.leave()
    assert left == {"one@one-hash", "two@two-hash"}  # by chance alone, once in 2048 runs it would not be


def test_a_model_that_lies_in_two_places_is_listed_once_and_two_of_one_name_are_told_apart(make, monkeypatch):
    panels = make(BallModels(one=20.0, two=35.0))
    models, box = panels.controller.models, panels.panel("learn").blind.one
    same = {"name": "same", "version": "1.0"}
    first, second = (replace(bundle, metadata={**bundle.metadata, **same}) for bundle in models.refining)
    listed = tuple(Listed("same", bundle) for bundle in (first, second, replace(first, folder=Path("elsewhere"))))
    monkeypatch.setattr(type(models), "listed", property(lambda self: listed))
    panels.controller.desk.settings_changed.emit()
    assert [box.itemText(n) for n in range(box.count())] == [f"same 1.0 ({b.hash[:6]})" for b in (first, second)]


def test_a_folder_without_a_model_is_refused_in_words(make, dialogs, tmp_path):
    panels = make()
    (tmp_path / "empty").mkdir()
    dialogs.answers = [tmp_path / "empty"]
    clicked(panels, panels.panel("learn").blind.add)
    assert dialogs.asked[-1].title == "Not a model"
    assert panels.panel("learn").blind.one.count() == 1


def test_one_model_alone_cannot_be_compared_and_the_reason_is_said(make):
    panels = make()
    section = panels.panel("learn").blind
    assert not section.compare.isEnabled()
    assert "only one model" in section.reason.text()


# --- suggestions ------------------------------------------------------------------------------------------------------


def test_a_suggestion_leads_to_a_slice_and_says_where_and_how_much(make):
    panels = make()
    section = panels.panel("learn").suggestions
    assert not section.next.isEnabled()
    panels.click()
    clicked(panels, section.next)
    assert "score" in section.place.text()
    assert any(ball.dashed for ball in panels.controller.desk.view.balls)
    assert len(panels.session.clicks) == 1


# --- the store --------------------------------------------------------------------------------------------------------


def test_the_store_is_counted_shown_exported_and_emptied(make, dialogs, tmp_path):
    panels = make()
    section = panels.panel("learn").feedback
    panels.wait(lambda: section.count.text() == "The store is empty.")
    assert not section.delete.isEnabled()
    dialogs.answers = [YES_WITH_IMAGES]
    clicked(panels, section.change)
    panels.click()
    panels.controller.refining.accept()
    clicked(panels, panels.panel("learn").presence.absent)
    panels.wait(lambda: section.count.text().startswith("Records: 2, cases: 1"))
    assert all(record.has_image for record in panels.records())
    rows: list[list[str]] = []

    def look(dialog):
        tops = [dialog.tree.topLevelItem(at) for at in range(dialog.tree.topLevelItemCount())]
        rows.extend([top.text(0) for top in tops] for _ in range(1))
        return True

    dialogs.answers = [look]
    clicked(panels, section.show_all)
    assert rows == [["Target here or not", "Accepted mask"]]
    out = tmp_path / "told.zip"
    dialogs.answers = ["masks", out]
    clicked(panels, section.export)
    panels.wait(out.exists)
    with zipfile.ZipFile(out) as archive:
        lines = [json.loads(line) for line in archive.read("records.jsonl").splitlines()]
    assert [line["kind"] for line in lines] == ["demonstration", "abstention"]
    assert all(line["prompt"]["image"] is None for line in lines)
    dialogs.answers = ["keep"]
    clicked(panels, section.delete)
    assert len(panels.records()) == 2
    dialogs.answers = ["delete"]
    clicked(panels, section.delete)
    assert panels.records() == []
    assert not list((panels.feedback.folder / "arrays").glob("*"))


def test_consent_withdrawn_ends_the_recording_and_keeps_what_is_there(make, dialogs):
    panels = make()
    dialogs.answers = [YES]
    section = panels.panel("learn").feedback
    clicked(panels, section.change)
    clicked(panels, panels.panel("learn").presence.absent)
    clicked(panels, section.withdraw)
    clicked(panels, panels.panel("learn").presence.absent)
    panels.click()
    panels.controller.refining.accept()
    assert [record.kind for record in panels.records()] == ["abstention"]
    assert not section.withdraw.isEnabled()
    assert len(dialogs.asked) == 1


def test_the_tab_is_greyed_and_whole_without_a_case(make):
    panels = make(is_open=False)
    panel = panels.panel("learn")
    for made in (panel.presence.absent, panel.blind.compare, panel.commands.buttons["grow"], panel.ranking.make):
        assert not made.isEnabled()
        assert made.toolTip()


def test_no_button_takes_the_keyboard_from_the_views_by_a_click_and_each_has_a_name(make):
    panels = make()
    for made in panels.panel("learn").findChildren(QPushButton):
        assert made.focusPolicy() == Qt.FocusPolicy.TabFocus
        assert made.accessibleName()
    panels.window.views.active_view.canvas.setFocus()
    before = QApplication.focusWidget()
    panels.click()
    clicked(panels, panels.panel("learn").commands.buttons["na"])
    assert QApplication.focusWidget() is before
    assert panels.session.world_clicks[0].point_mm == pytest.approx(panels.world(CENTRE))
