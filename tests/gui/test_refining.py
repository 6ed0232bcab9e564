"""Clicks on a running window: previews, stops, clicks that come together, strokes into a turn, errors, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from medseg_rl.editing import FillHoles
from medseg_rl.metrics import dice
from medseg_rl.session import SessionEvent
from medseg_rl_gui.dialogs import Question
from tests.gui.engine_cases import AFFINE, CENTRE, RADIUS_MM, SHAPE, Engine, ball_mm

SPACING = np.linalg.norm(AFFINE[:3, :3], axis=0)
BALL = ball_mm(SHAPE, SPACING, CENTRE, RADIUS_MM)
CORNER = (5, 5, 4)


@pytest.fixture
def engine(qapp: object, tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path)
    made.open()
    yield made
    made.close()


def as_it_was(engine: Engine) -> bool:
    """Nothing is there and nothing runs."""
    session, desk = engine.session, engine.controller.desk
    nothing = session.version == 0 and not session.clicks and session.proposal is None
    return nothing and not desk.jobs and engine.controller.worker.running is None and desk.view.proposal is None


# --- a turn -----------------------------------------------------------------------------------------------------------


def test_a_click_shows_each_step_and_then_is_a_proposal_and_one_undo_entry(engine: Engine) -> None:
    shown: list[int] = []
    engine.controller.desk.counts_changed.connect(lambda counts: shown.append(0 if counts is None else counts.added))
    engine.do("tool.point")
    engine.hand.click("axial", engine.world())
    assert np.array_equal(engine.session.mask, BALL)
    assert not engine.session.label_map.any()  # the accepted mask is as before
    assert len(engine.session.history.done) == 1
    assert engine.painter.begun == 3
    assert shown[-1] == np.count_nonzero(BALL)


def test_previews_come_one_by_one_while_the_model_is_at_work(engine: Engine) -> None:
    engine.painter.hold_steps()
    assert engine.click()
    engine.wait(lambda: engine.painter.begun == 1)
    assert engine.controller.desk.view.proposal is None
    engine.painter.go_on()
    engine.wait(lambda: engine.controller.desk.view.proposal is not None)
    engine.idle()
    assert np.array_equal(engine.session.mask, BALL)


@pytest.mark.parametrize("by", ["model.cancel", "proposal.discard", "edit.undo"])
def test_a_turn_stops_within_its_step_and_leaves_everything_as_it_was(engine: Engine, by: str) -> None:
    engine.painter.hold_steps()
    assert engine.click()
    engine.wait(lambda: engine.painter.begun == 1)
    assert engine.window.acts.reason(by) == ""
    engine.window.acts.trigger(by)
    engine.painter.go_on()
    engine.idle()
    assert engine.painter.begun == 1
    assert as_it_was(engine)


def test_a_click_stands_where_it_was_placed_while_the_model_is_still_at_work(engine: Engine) -> None:
    engine.painter.hold_steps()
    engine.do("tool.point")
    engine.held.click("axial", engine.world(CENTRE))
    engine.wait(lambda: engine.painter.begun == 1)
    (mark,) = engine.controller.desk.view.clicks
    assert (mark.index, mark.positive, mark.settled) == (CENTRE, True, False)
    assert engine.session.clicks == ()
    engine.window.acts.trigger("model.cancel")
    engine.painter.go_on()
    engine.idle()
    assert engine.controller.desk.view.clicks == ()


@pytest.mark.parametrize("id_", ["model.refine", "model.candidates"])
def test_where_there_is_nothing_to_refine_it_is_greyed_with_the_reason(engine: Engine, id_: str) -> None:
    acts = engine.window.acts
    assert acts.reason(id_) == "Click inside the target first"
    engine.clicked(CENTRE)
    assert acts.reason(id_) == ""
    engine.do("proposal.accept")
    engine.do("label.new")
    assert acts.reason(id_) == "Click inside the target first"


def test_clicks_during_a_turn_stop_it_and_are_refined_together_as_one_by_one(engine: Engine) -> None:
    places = [CENTRE, (26, 19, 12), (20, 26, 13)]
    engine.painter.hold_steps()
    for place in places:
        assert engine.click(place)
    engine.wait(lambda: engine.painter.begun >= 1)
    engine.painter.go_on()
    engine.idle()
    together = engine.session.mask.copy()
    assert len(engine.session.history.done) == 1
    assert [click.index for click in engine.session.clicks] == places
    engine.do("proposal.discard")
    for place in places:
        engine.clicked(place)
    assert len(engine.session.clicks) == 3
    assert dice(together, engine.session.mask) >= 0.98


def test_the_newest_of_the_clicks_that_run_can_be_taken_back(engine: Engine) -> None:
    engine.painter.hold_steps()
    assert engine.click()
    assert engine.click(CORNER)
    engine.controller.refining.delete_last()
    engine.painter.go_on()
    engine.idle()
    assert [click.index for click in engine.session.clicks] == [CENTRE]
    assert np.array_equal(engine.session.mask, BALL)


def test_enter_during_a_turn_accepts_when_it_is_done(engine: Engine) -> None:
    engine.painter.hold_steps()
    assert engine.click()
    engine.controller.refining.accept()
    engine.painter.go_on()
    engine.idle()
    assert np.array_equal(engine.session.label_map > 0, BALL)


def test_a_click_during_the_automatic_start_follows_it(engine: Engine) -> None:
    engine.do("tool.point")
    engine.controller.refining.start()
    assert engine.click(CORNER)
    engine.idle()
    assert [change.split(",")[0] for change in engine.session.history.undo_names][::-1][0].startswith("Automatic start")
    assert engine.session.mask[CORNER]
    assert engine.session.mask[CENTRE]


def test_a_new_name_during_a_turn_does_not_lose_the_clicks(engine: Engine) -> None:
    engine.painter.hold_steps()
    assert engine.click()
    engine.controller.editing.rename_label(engine.session.active_label, "Liver")
    engine.painter.go_on()
    engine.idle()
    assert np.array_equal(engine.session.mask, BALL)


def test_another_edit_stops_a_turn(engine: Engine) -> None:
    brush(engine, [CENTRE, (24, 19, 12)])
    engine.painter.hold_steps()
    version = engine.session.version
    assert engine.click(CORNER)
    engine.wait(lambda: engine.painter.begun == 1)
    engine.controller.editing.run(FillHoles())
    engine.painter.go_on()
    engine.idle()
    assert (engine.session.clicks, engine.session.version) == ((), version)


# --- strokes ----------------------------------------------------------------------------------------------------------


def brush(engine: Engine, voxels: list[tuple[int, int, int]], *, right: bool = False) -> None:
    """A stroke by mouse on the axial slice of its first voxel."""
    engine.controller.pointing.choose("navigate")
    engine.controller.desk.go_to(engine.world(voxels[0]))
    engine.window.acts.trigger("tool.brush")
    button = Qt.MouseButton.RightButton if right else Qt.MouseButton.LeftButton
    engine.held.stroke("axial", [engine.world(v) for v in voxels], button)


def test_a_stroke_during_a_turn_is_an_intervention_which_the_other_steps_respect(engine: Engine) -> None:
    events: list[SessionEvent] = []
    engine.session.observers.append(events.append)
    engine.painter.hold_steps()
    assert engine.click()
    engine.wait(lambda: engine.painter.begun == 1)
    edge = (20, 22, 12)
    brush(engine, [edge, edge], right=True)
    assert "running refinement" in engine.said
    engine.painter.go_on()
    engine.idle()
    assert not engine.session.mask[edge]
    assert engine.session.mask[CENTRE]
    assert len(engine.session.history.done) == 1
    assert len(events[-1].interventions) == 1


def test_a_press_without_movement_paints_a_disc_of_the_radius_on_one_slice(engine: Engine) -> None:
    brush(engine, [CENTRE])
    painted = engine.session.label_map > 0
    disc = ball_mm(SHAPE, SPACING, CENTRE, engine.controller.desk.tools.radius_mm)
    disc[:, :, [k for k in range(SHAPE[2]) if k != CENTRE[2]]] = False
    assert np.count_nonzero(painted ^ disc) <= 0.2 * np.count_nonzero(disc)  # the place of a pixel, not of a voxel
    assert set(np.nonzero(painted)[2]) == {CENTRE[2]}


def test_a_fast_stroke_has_no_gap_and_is_one_entry(engine: Engine) -> None:
    brush(engine, [(8, 19, 12), (32, 19, 12)])
    assert engine.session.label_map[8:33, 19, 12].all()
    assert len(engine.session.history.done) == 1
    engine.do("edit.undo")
    assert not engine.session.label_map.any()
    assert not engine.controller.desk.view.layers[0].any()  # what is shown too


def test_a_stroke_on_an_open_proposal_asks_first_and_paints_nothing(engine: Engine) -> None:
    engine.clicked()
    brush(engine, [CORNER])
    assert "before you paint" in engine.controller.desk.question
    assert not engine.session.label_map.any()
    engine.do("proposal.accept")
    assert engine.controller.desk.question == ""


def test_no_slice_changes_while_a_stroke_is_drawn(engine: Engine) -> None:
    engine.window.acts.trigger("tool.brush")
    canvas, place = engine.window.views.views["axial"].canvas, engine.held.at("axial", engine.world())
    before = engine.controller.desk.view.slices
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    engine.held.wheel("axial", 3)
    for id_ in ("slice.up", "slice.last", "crosshair.up", "edit.undo"):
        engine.window.acts.trigger(id_)
    engine.controller.views.to_slice("axial", 1)
    assert engine.controller.desk.view.slices == before
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    engine.held.wheel("axial", 3)
    assert engine.controller.desk.view.slices != before


def test_a_scribble_is_one_turn_of_many_clicks_of_its_sign(engine: Engine) -> None:
    engine.do("tool.scribble")
    engine.hand.stroke("axial", [engine.world((15, 19, 12)), engine.world((25, 19, 12))])
    assert len(engine.session.clicks) >= 10
    assert {click.index[1:] for click in engine.session.clicks} <= {(n, 12) for n in (18, 19, 20)}
    assert len(engine.session.history.done) == 1
    assert engine.session.mask[15:26, 19, 12].all()


def test_a_box_limits_the_model_until_a_click_with_the_tool_lifts_it(engine: Engine) -> None:
    engine.do("tool.box")
    engine.hand.stroke("axial", [engine.world((14, 13, 12)), engine.world((22, 25, 12))])
    limit = engine.session.limit
    assert limit is not None
    assert (limit.start[2], limit.stop[2]) == (0, SHAPE[2])
    engine.clicked()
    assert engine.session.mask[CENTRE]
    assert not engine.session.mask[limit.stop[0] :].any()
    engine.hand.click("axial", engine.world(CORNER))
    assert engine.session.limit is None


def test_a_lasso_is_closed_by_enter_gives_points_back_and_fills_its_slice(engine: Engine) -> None:
    engine.do("tool.lasso")
    corners = [(14, 13, 12), (26, 13, 12), (26, 25, 12), (14, 25, 12)]
    engine.hand.stroke("axial", [engine.world(v) for v in corners])
    assert not engine.session.label_map.any()
    engine.hand.key("Enter")
    assert engine.session.label_map[16:25, 15:24, 12].all()
    assert not engine.session.label_map[:, :, :12].any()


# --- clicks are hard, guarded and refused where they may not land -----------------------------------------------------


def test_the_voxel_of_a_click_is_what_the_click_says(engine: Engine) -> None:
    engine.do("tool.point")
    engine.hand.click("axial", engine.world())
    inside = (22, 19, 12)
    engine.hand.click("axial", engine.world(inside), Qt.MouseButton.RightButton)
    engine.hand.click("axial", engine.world((18, 19, 12)), modifiers=Qt.KeyboardModifier.ControlModifier)
    found = {click.index: bool(engine.session.mask[click.index]) for click in engine.session.clicks}
    assert [click.label.name for click in engine.session.clicks] == ["FOREGROUND", "BACKGROUND", "BACKGROUND"]
    assert list(found.values()) == [True, False, False]


def test_what_was_said_of_the_state_before_goes_with_the_next_turn(engine: Engine) -> None:
    engine.clicked(CENTRE, positive=False)
    assert "nothing changed" in engine.said
    engine.clicked(CENTRE)
    assert "nothing changed" not in engine.said


def test_of_two_clicks_on_one_voxel_the_later_wins(engine: Engine) -> None:
    engine.clicked()
    engine.clicked(positive=False)
    assert not engine.session.mask[CENTRE]


def test_a_removing_click_with_nothing_there_changes_nothing_and_says_so(engine: Engine) -> None:
    engine.clicked(positive=False)
    assert "click inside the object first" in engine.said
    assert as_it_was(engine)


def test_the_guard_holds_what_is_far_unless_nothing_was_there_and_off_lifts_it(engine: Engine) -> None:
    guard = engine.window.acts["model.guard"]
    engine.controller.refining.set_guard(5.0)
    engine.clicked()
    assert np.array_equal(engine.session.mask, BALL)  # the first click is not guarded
    far = (28, 19, 12)
    before = engine.session.mask.copy()
    engine.clicked(far)
    near = ball_mm(SHAPE, SPACING, far, 5.0)
    assert not (engine.session.mask ^ before)[~near].any()
    engine.do("edit.undo")
    engine.do("model.guard")
    assert not guard.isChecked()
    engine.clicked(far)
    assert (engine.session.mask ^ before)[~near].any()


def test_a_click_in_a_locked_label_is_refused_by_name_and_the_model_stops_at_it(engine: Engine) -> None:
    brush(engine, [(24, 19, 12), (24, 24, 12)])
    kept = engine.session.label_map.copy()
    engine.controller.editing.rename_label(1, "Lesion")
    engine.controller.editing.add_label("Liver")
    assert engine.session.active_label == 2
    assert not engine.click((24, 19, 12))
    assert "Lesion" in engine.said
    assert "locked" in engine.said
    engine.clicked()
    engine.do("proposal.accept")
    assert np.array_equal(engine.session.label_map == 1, kept == 1)
    assert (engine.session.label_map == 2).any()


def test_the_pointer_says_in_advance_that_a_click_cannot_land(engine: Engine) -> None:
    engine.do("label.lock")
    engine.do("tool.point")
    engine.held.hover("axial", engine.world())
    assert engine.controller.desk.view.pointer.shape == "blocked"
    assert "lock" in engine.said
    engine.hand.click("axial", engine.world())
    assert not engine.session.clicks


def test_clicks_beside_the_image_and_without_one_are_messages(engine: Engine) -> None:
    engine.do("tool.point")
    view = engine.window.views.views["axial"]
    beside = engine.hand.at("axial", engine.world((-2, 19, 12)))
    QTest.mouseClick(view.canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, beside)
    engine.idle()
    assert "beside the image" in engine.said
    assert as_it_was(engine)
    engine.let_go()
    for id_ in ("model.start", "click.at_crosshair", "proposal.accept", "edit.undo"):
        assert engine.window.acts.reason(id_)


def test_the_same_voxel_clicked_in_any_view_gives_the_same_result(engine: Engine) -> None:
    engine.do("tool.point")
    masks = []
    for plane in ("axial", "coronal", "sagittal"):
        engine.hand.click(plane, engine.world())
        assert engine.session.clicks[-1].index == CENTRE
        masks.append(engine.session.mask.copy())
        engine.do("proposal.discard")
    assert np.array_equal(masks[0], masks[1])
    assert np.array_equal(masks[0], masks[2])


def test_a_label_made_active_adds_again_and_asks_about_an_open_proposal(engine: Engine) -> None:
    engine.controller.editing.add_label("Second")
    engine.window.acts.trigger("click.polarity")
    assert not engine.controller.desk.positive
    engine.clicked()
    assert not engine.controller.editing.activate(1)
    assert engine.session.active_label == 2
    assert engine.controller.desk.question
    engine.do("proposal.accept")
    assert engine.session.active_label == 1
    assert engine.controller.desk.positive


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("Unable to allocate 9 GiB"), ("memory", "9 GiB", "region")),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 5 bytes"),
            ("memory", "region"),
        ),
        (ValueError("a defect"), ("inside the program", "a defect")),
    ],
)
def test_an_error_is_one_message_and_the_next_click_works(engine: Engine, error: Exception, words: tuple[str]) -> None:
    engine.painter.error = error
    engine.clicked()
    told = [asked for asked in engine.dialogs.asked if isinstance(asked, Question)]
    assert len(told) == 1
    assert all(word in told[0].text for word in words), told[0].text
    assert "Traceback" not in told[0].text
    assert as_it_was(engine)
    engine.painter.error = None
    engine.clicked()
    assert np.array_equal(engine.session.mask, BALL)


# --- what is asked of the model besides -------------------------------------------------------------------------------


def test_a_suggestion_leads_the_crosshair_there_and_places_no_click(engine: Engine) -> None:
    assert engine.window.acts.reason("model.suggest_next")
    engine.clicked()
    clicks = len(engine.session.clicks)
    engine.do("model.suggest_next")
    view = engine.controller.desk.view
    assert "score" in engine.said
    assert [ball.dashed for ball in view.balls] == [True]
    assert view.crosshair == pytest.approx(view.balls[0].centre)
    assert len(engine.session.clicks) == clicks


def test_candidates_are_ranked_by_keys_and_the_best_becomes_the_proposal(engine: Engine) -> None:
    engine.clicked()
    engine.do("model.candidates")
    ranking = engine.controller.learning.ranking
    assert ranking.is_open
    best = ranking.candidates.deltas[1]
    wanted = engine.session.mask_with(best)
    engine.dialogs.answers = ["do-not-store"]
    engine.hand.key("2")
    engine.hand.key("1")
    engine.hand.key("Enter")
    assert not ranking.is_open
    assert np.array_equal(engine.session.mask, wanted)
    assert not engine.session.label_map.any()


def test_a_click_while_candidates_are_made_goes_before_them(engine: Engine) -> None:
    engine.clicked()
    engine.painter.hold_steps()
    begun = engine.painter.begun
    engine.controller.asking.candidates()
    engine.wait(lambda: engine.painter.begun > begun)
    assert engine.click(CORNER)
    engine.painter.go_on()
    engine.idle()
    assert not engine.controller.learning.ranking.is_open
    assert engine.session.mask[CORNER]


def test_a_command_is_a_proposal_of_its_own_entry(engine: Engine) -> None:
    engine.clicked()
    engine.controller.refining.refine("grow")
    engine.idle()
    assert len(engine.session.history.done) == 2
    assert engine.session.proposal is not None


def test_a_case_is_let_go_while_the_model_is_at_work_and_the_next_is_as_new(engine: Engine) -> None:
    engine.painter.hold_steps()
    assert engine.click()
    engine.wait(lambda: engine.painter.begun == 1)
    engine.painter.go_on()
    engine.let_go()
    engine.open()
    assert as_it_was(engine)
    engine.clicked()
    assert np.array_equal(engine.session.mask, BALL)


def test_auto_accept_writes_at_once_where_it_is_preferred(engine: Engine) -> None:
    engine.window.store.change("edit", auto_accept=True)
    engine.clicked()
    assert engine.session.proposal is None
    assert np.array_equal(engine.session.label_map > 0, BALL)


def test_the_time_of_a_step_is_shown_once_the_model_was_loaded_before(engine: Engine) -> None:
    device = engine.window.status.device
    assert not engine.session.refiner_is_loaded
    engine.click()
    engine.idle()
    assert "s/step" not in device.text(), "this one was of loading, too"
    engine.click((6, 6, 5))
    engine.idle()
    assert "s/step" in device.text()
