"""The session's feedback: which act becomes which record, and that nothing else ever leaves the session."""

from __future__ import annotations

import itertools
import json
import queue
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from medseg_rl.editing import Brush
from medseg_rl.errors import Cancelled
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.history import BoxDelta
from medseg_rl.interaction import TurnReport
from medseg_rl.labels import LabelMap
from medseg_rl.preprocessing import normalise_intensity
from medseg_rl.rlhf.manifest import effective
from medseg_rl.rlhf.records import Hint
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.session import PlaceVoxelClicks, SegmentationSession
from medseg_rl.session.candidates import Candidates
from medseg_rl.session.feedback import FeedbackRecorder
from medseg_rl.session.feedback_acts import dice_of, ranks_of, use_case
from medseg_rl.session.feedback_filing import CaseIdentity
from medseg_rl.session.jobs import SessionDelta
from medseg_rl.session.state import OpenTurn
from medseg_rl.volume import Box, Volume

OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
SHAPE = (40, 36, 32)
TURNED = np.array([[0, -1.0, 0, 30], [1.0, 0, 0, -20], [0, 0, 1.0, 5], [0, 0, 0, 1]])  # file axes: A, L, S


class Painter:
    """Paints a cube round each new click at its first step; a command makes the mask four voxels longer or shorter."""

    name = "painter 3000"

    def describe(self):
        return {"kind": self.name, "bundle_hash": "0123456789abcdef0123", "commands": 3}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        percent = request.percent.copy()
        for click in request.clicks[len(request.clicks) - request.n_new_clicks :]:
            cube = tuple(slice(max(0, i - 2), i + 3) for i in click.index)
            percent[cube] = 99 if click.label == OBJECT else 1
        if request.command:
            shifted = np.stack([np.roll(percent, by, axis=0) for by in (-2, 0, 2)])
            percent = shifted.max(axis=0) if request.command == 1 else shifted.min(axis=0)
        if request.held_voxels is not None:
            np.copyto(percent, request.percent, where=request.held_voxels)
        for _ in range(request.steps):
            if cancel():
                raise Cancelled("stopped")
            preview(percent)
        return percent


class Desk:
    """A session that is recorded, and its store."""

    def __init__(self, folder, *, images=False, consent=True, affine=None, labels=None, **options):
        array = np.random.default_rng(1).normal(100, 10, SHAPE).astype(np.float32)
        image = Volume(array, np.eye(4) if affine is None else affine, "MR", {"PatientName": "MARKED^NAME"})
        self.session = SegmentationSession(image, Painter(), labels=labels)
        self.store = FeedbackStore(folder / "feedback")
        if consent:
            self.store.set_consent(store=True, images=images)
        self.now = 0.0
        identity = CaseIdentity("case-00112233", "group-44", **options.pop("identity", {}))
        self.recorder = FeedbackRecorder(self.store, identity, clock=lambda: self.now, **options)
        self.recorder.watch(self.session)

    def click(self, index, label=OBJECT):
        self.session.click_voxels([Click(index, label)])

    def records(self, kind=None):
        assert self.recorder.problems == ()
        return [r for r in effective(self.store.records()) if kind in (None, r.kind)]

    def array(self, reference):
        return self.store.read_array(reference)

    def whole(self, record, reference):
        """An array over a record's region put into a volume of zeros, in file order."""
        grid, part = record.prompt.grid, self.array(reference)
        volume = np.zeros(grid.volume_shape, part.dtype)
        volume[tuple(slice(a, a + n) for a, n in zip(grid.start, grid.shape, strict=True))] = part
        return self.session._working.order.undo(volume)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


# ---- acceptance ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("affine", [None, TURNED])
def test_accepting_records_the_state_before_all_clicks_and_the_mask(tmp_path, affine):
    desk = Desk(tmp_path, affine=affine)
    desk.click((20, 18, 16))
    desk.now = 1.5
    desk.click((22, 18, 16))
    desk.click((19, 18, 16), BACKGROUND)
    desk.now = 2.0
    desk.session.accept()
    (record,) = desk.records()
    assert record.kind == "demonstration"
    assert (record.elapsed_ms, record.interactions, record.use_case) == (2000, 3, "start_from_nothing")
    assert (record.case_id, record.group_id, record.annotator_kind) == ("case-00112233", "group-44", "human")
    assert record.annotator == desk.store.consent.annotator
    assert record.policy_id == "painter-3000@0123456789abcdef"
    assert record.may_train
    assert not record.has_image
    assert np.array_equal(desk.whole(record, record.completion), desk.session.label_map == 1)
    assert (desk.array(record.prompt.initial_probability) == 1).all()
    clicked = [(desk.session._working.order.apply_index(c.index, SHAPE), c.label) for c in desk.session.clicks]
    start = np.array(record.prompt.grid.start)
    assert [(tuple(h.index + start), int(h.foreground)) for h in record.prompt.hints] == [
        (index, int(label)) for index, label in clicked
    ]


def test_a_second_acceptance_starts_from_the_first_and_is_named_by_what_it_changed(desk):
    desk.click((12, 12, 12))
    desk.session.accept()
    first = desk.session.label_map == 1
    desk.click((17, 12, 12))
    desk.session.accept()
    one, two = desk.records()
    assert np.array_equal(desk.whole(two, two.prompt.initial_probability) > 50, first)
    assert np.array_equal(desk.whole(two, two.completion), desk.session.label_map == 1)
    assert (one.use_case, two.use_case) == ("start_from_nothing", "missing_region")
    assert (one.interactions, two.interactions) == (1, 1)
    assert len(two.prompt.hints) == 2


def test_an_undone_acceptance_may_not_train_until_it_is_done_again(desk):
    desk.click((20, 18, 16))
    desk.session.accept()
    desk.session.undo()
    assert [r.may_train for r in desk.records()] == [False]
    desk.session.redo()
    assert [r.may_train for r in desk.records()] == [True]
    assert len(desk.store.records()) == 3


def test_image_voxels_are_stored_only_after_the_second_yes_and_as_the_networks_see_them(tmp_path):
    desk = Desk(tmp_path, images=True)
    desk.click((20, 18, 16))
    desk.session.accept()
    (record,) = desk.records()
    image = desk.array(record.prompt.image)
    start, shape = record.prompt.grid.start, record.prompt.grid.shape
    assert image.dtype == np.float32
    whole = normalise_intensity(desk.session.image.array, desk.session.image.modality)
    part = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    expected = desk.session._working.order.apply(whole)[part]
    assert np.array_equal(image, expected)


def test_locked_voxels_are_part_of_the_prompt(tmp_path):
    desk = Desk(tmp_path, labels=LabelMap().adding("One").adding("Two"))
    desk.click((20, 18, 16))
    desk.session.accept()
    desk.session.activate(2)
    desk.click((25, 18, 16))
    desk.session.accept()
    one, two = desk.records()
    assert one.prompt.locked is None
    assert np.array_equal(desk.whole(two, two.prompt.locked), desk.session.label_map == 1)
    assert (one.prompt.label, two.prompt.label) == (1, 2)


def test_a_test_patient_s_records_never_train(tmp_path):
    desk = Desk(tmp_path, identity={"split": "test", "annotator_kind": "simulated"})
    desk.click((20, 18, 16))
    desk.session.accept()
    desk.session.undo()
    desk.session.redo()
    assert [(r.may_train, r.split, r.annotator_kind) for r in desk.records()] == [(False, "test", "simulated")]


# ---- undo ------------------------------------------------------------------------------------------------------------


def test_an_undone_click_is_an_implicit_ranking_of_before_over_after(desk):
    desk.click((20, 18, 16))
    kept = desk.session.mask.copy()
    desk.click((28, 18, 16))
    wrong = desk.session.mask.copy()
    desk.session.undo()
    (record,) = desk.records()
    assert (record.kind, record.implicit, record.ranks) == ("ranking", True, (1, 2))
    assert np.array_equal(desk.whole(record, record.completions[0]), kept)
    assert np.array_equal(desk.whole(record, record.completions[1]), wrong)
    assert np.array_equal(desk.whole(record, record.prompt.initial_probability) > 50, kept)
    assert [h.new for h in record.prompt.hints] == [False, True]


def test_a_change_of_mind_about_an_undo_is_amended_and_not_recorded_twice(desk):
    desk.click((20, 18, 16))
    desk.session.undo()
    desk.session.redo()
    assert [r.may_train for r in desk.records("ranking")] == [False]
    desk.session.undo()
    assert [r.may_train for r in desk.records("ranking")] == [True]


def test_undoing_what_changed_no_mask_ranks_nothing(desk):
    desk.session.add_label("Vessel")
    desk.session.undo()
    desk.click((20, 18, 16))
    desk.session.refine()
    desk.session.undo()
    assert desk.records() == []


# ---- what is handed in -----------------------------------------------------------------------------------------------


def test_ranks_put_ties_together_and_what_was_left_out_behind():
    assert ranks_of([[2], [0, 3]], 5) == (2, 3, 1, 2, 3)
    assert ranks_of([], 3) == (1, 1, 1)
    assert ranks_of([[0], [], [1]], 2) == (1, 2)
    for wrong in ([[0], [0]], [[4]], [[-1]]):
        with pytest.raises(ValueError, match="candidate"):
            ranks_of(wrong, 4)


def candidates_of(desk, *rows):
    """Candidates that add a block each to what is shown."""
    session = desk.session
    state, work = session._arrays.soft(1).array, session._work(1)
    deltas = []
    for number, where in enumerate(rows):
        box = Box((where, 18, 16), (where + 6, 22, 20))
        delta = BoxDelta.encode(box.start, state[box.slices], np.full(box.shape, 99, np.uint8))
        after = work.with_turn(OpenTurn("refine", (), delta))
        name, given = f"Candidate {number}", {"number": number}
        deltas.append(SessionDelta(session.version, 1, name, delta, after, TurnReport(), "candidate", given))
    return Candidates(session.version, 1, len(rows), 0, tuple(deltas), 0)


def test_a_ranking_holds_the_candidates_as_they_would_be_and_as_they_were_shown(desk):
    desk.click((20, 18, 16))
    candidates = candidates_of(desk, 10, 15, 20, 25)
    masks = [desk.session.mask_with(delta) for delta in candidates.deltas]
    desk.recorder.rank(candidates, [[3], [1]], shown=(2, 0, 1, 3), decision_ms=4200)
    shown = desk.session.mask
    desk.session.choose(candidates, 3)
    (record,) = desk.records()
    assert (record.ranks, record.presentation_order, record.decision_ms) == ((3, 2, 3, 1), (2, 0, 1, 3), 4200)
    assert (record.implicit, record.none_acceptable) == (False, False)
    assert record.policy_ids == ("painter-3000@0123456789abcdef",) * 4
    for mask, reference in zip(masks, record.completions, strict=True):
        assert np.array_equal(desk.whole(record, reference), mask)
    assert np.array_equal(desk.whole(record, record.prompt.initial_probability) > 50, shown)
    assert len({reference.path for reference in record.completions}) == 4


def test_candidates_of_the_session_itself_can_be_ranked(desk):
    desk.click((20, 18, 16))
    candidates = desk.session.candidates(4)
    desk.recorder.rank(candidates, [[0]])
    assert len(desk.records()) == (len(candidates) >= 2)


def test_rejecting_every_candidate_is_recorded_and_not_dropped(desk):
    desk.recorder.rank(candidates_of(desk, 10, 20), [], none_acceptable=True)
    (record,) = desk.records()
    assert (record.none_acceptable, record.ranks, record.presentation_order) == (True, (1, 1), (0, 1))


def test_candidates_of_a_state_that_is_gone_are_not_recorded_as_of_this_one(desk):
    candidates = candidates_of(desk, 10, 20)
    desk.click((20, 18, 16))
    desk.recorder.rank(candidates, [[0]])
    assert desk.store.records() == ()
    assert "StaleDeltaError" in desk.recorder.problems[0]


def test_an_absent_target_is_an_abstention_that_the_model_missed(desk):
    desk.recorder.target_not_here("not_in_image")
    desk.click((20, 18, 16))
    desk.recorder.target_not_here("removed_by_surgery")
    desk.recorder.target_is_here("small_but_there", gave_reason=False)
    found = [(r.predicted_class, r.correct_class, r.reason) for r in desk.records("abstention")]
    assert found == [("B", "A", "not_in_image"), ("D", "A", "removed_by_surgery"), ("B", "D", "small_but_there")]
    assert desk.records()[0].prompt.grid.shape == SHAPE


def test_free_text_as_a_reason_is_refused_and_stops_nothing(desk):
    desk.recorder.target_not_here("Mr Doe had it removed in 2019")
    assert desk.store.records() == ()
    (problem,) = desk.recorder.problems
    assert "Doe" not in problem


def test_a_blind_comparison_is_a_game(desk):
    desk.recorder.game("new@2", "old@1", "second", click_budget=5)
    (record,) = desk.records()
    assert (record.first, record.second, record.result, record.click_budget) == ("new@2", "old@1", "second", 5)


def by_hand(desk, *points, erase=False, radius_mm=4.0):
    """An edit with the brush."""
    assert desk.session.edit(Brush(points, radius_mm, erase=erase)).changed_voxels


def strokes(desk, click, *painted):
    """A click, and balls of two voxels painted or erased while it is refined: (step, point, erase) each."""
    session = desk.session
    job, steps = session.prepare(PlaceVoxelClicks((Click(click, OBJECT),))), itertools.count()

    def paint(_preview):
        step = next(steps)
        for wanted, point, erase in painted:
            if wanted == step:
                assert session.intervene(job, Brush((point,), 2.0, erase=erase))

    session.apply(job.run(progress=paint))


def ball(centre, radius=2.0):
    axes = np.ogrid[tuple(slice(n) for n in SHAPE)]
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2


def test_an_intervention_holds_what_the_agent_proposed_and_what_was_done_instead(desk):
    strokes(desk, (20, 18, 16), (0, (23, 18, 16), True))
    cube, erased = np.zeros(SHAPE, bool), ball((23, 18, 16))
    cube[18:23, 16:21, 14:19] = True
    (record,) = desk.records()
    assert (record.kind, record.step, record.case_index, record.label) == ("intervention", 0, 0, 0)
    assert (record.retracted, record.first_of_event) == (False, True)
    assert np.array_equal(desk.whole(record, record.voxels), erased)
    assert np.array_equal(desk.whole(record, record.proposed_action), 98 * (cube & erased))  # from 1 to 99
    assert not desk.array(record.executed_action).any()  # it was 1 and stayed so
    assert (desk.array(record.prompt.initial_probability) == 1).all()
    assert [hint.new for hint in record.prompt.hints] == [True]
    assert np.array_equal(desk.session.mask, cube & ~erased)


def test_only_the_first_step_of_a_takeover_is_its_first(desk):
    strokes(desk, (20, 18, 16), (0, (24, 18, 16), False), (1, (20, 22, 16), False), (1, (20, 18, 20), False))
    found = [(r.step, r.first_of_event, r.label) for r in desk.records("intervention")]
    assert found == [(0, True, 1), (1, False, 1), (1, False, 1)]
    desk.session.accept()
    assert desk.records("demonstration")[0].interactions == 4


def test_the_case_counter_counts_other_finished_cases(tmp_path):
    for number in range(3):
        desk = Desk(tmp_path)
        desk.recorder._filing.identity = CaseIdentity(f"case-0000000{number}")
        strokes(desk, (20, 18, 16), (0, (24, 18, 16), False))
        desk.session.accept()
    assert [r.case_index for r in desk.records("intervention")] == [0, 1, 2]


def test_a_stroke_is_retracted_by_undo_and_stands_again_after_redo(desk):
    strokes(desk, (20, 18, 16), (0, (24, 18, 16), False))
    desk.session.undo()
    assert desk.records("intervention")[0].retracted
    desk.session.redo()
    assert not desk.records("intervention")[0].retracted


def test_a_stroke_that_is_painted_over_is_retracted_and_stands_again_when_that_is_undone(desk):
    strokes(desk, (20, 18, 16), (0, (24, 18, 16), False))
    desk.session.accept()
    by_hand(desk, (24, 18, 16), erase=True)
    assert desk.records("intervention")[0].retracted
    desk.session.undo()
    assert not desk.records("intervention")[0].retracted
    desk.session.redo()
    assert desk.records("intervention")[0].retracted
    desk.session.undo()
    written = len(desk.store.records())
    by_hand(desk, (26, 18, 16), erase=True, radius_mm=0.4)  # a corner of it only
    by_hand(desk, (10, 10, 10))
    assert not desk.records("intervention")[0].retracted
    assert len(desk.store.records()) == written


def test_a_later_stroke_into_a_refinement_takes_an_earlier_one_back(desk):
    strokes(desk, (20, 18, 16), (0, (24, 18, 16), False), (1, (24, 18, 16), True))
    assert [(r.label, r.retracted) for r in desk.records("intervention")] == [(1, True), (0, False)]


def test_what_the_model_does_to_a_stroke_later_does_not_retract_it(desk):
    strokes(desk, (20, 18, 16), (0, (24, 18, 16), False))
    desk.click((24, 18, 16), BACKGROUND)
    assert not desk.session.mask[24, 18, 16]
    assert [r.retracted for r in desk.records("intervention")] == [False]


# ---- commands --------------------------------------------------------------------------------------------------------


def test_a_command_holds_what_it_did_and_learns_its_outcome_when_the_mask_is_accepted(desk):
    desk.click((20, 18, 16))
    before = desk.session.percent.copy()
    desk.session.refine("grow")
    after, result = desk.session.percent.copy(), desk.session.mask.copy()
    assert result.sum() > (before > 50).sum()
    (record,) = desk.records("command")
    assert (record.command, record.prompt.command, record.outcome) == ("grow", "grow", None)
    assert np.array_equal(desk.whole(record, record.observation)[result], before[result])
    assert np.array_equal(desk.whole(record, record.action), after.astype(int) - before)
    desk.click((10, 18, 16))
    desk.session.accept()
    (record,) = desk.records("command")
    final = desk.session.label_map == 1
    assert record.outcome.dice == pytest.approx(2 * (result & final).sum() / (result.sum() + final.sum()))
    assert not record.outcome.win
    assert desk.records("demonstration")[0].use_case == "command"


def test_a_command_whose_result_was_accepted_is_a_win_and_an_undone_one_may_not_train(desk):
    desk.click((20, 18, 16))
    desk.session.refine("grow")
    desk.session.accept()
    assert desk.records("command")[0].outcome.win
    desk.session.refine("shrink")
    desk.session.undo()
    assert [(r.command, r.may_train) for r in desk.records("command")] == [("grow", True), ("shrink", False)]
    assert len(desk.records("ranking")) == 1


# ---- the end of the case ---------------------------------------------------------------------------------------------


def test_finishing_a_case_that_was_accepted_as_it_is_adds_nothing(desk):
    desk.click((20, 18, 16))
    desk.session.accept()
    desk.recorder.finish()
    desk.recorder.finish()
    assert len(desk.store.records()) == 1


def test_what_was_drawn_after_the_acceptance_takes_the_place_of_the_accepted_mask(desk):
    desk.click((20, 18, 16))
    desk.session.accept()
    by_hand(desk, (34, 18, 16))
    desk.recorder.finish()
    (record,) = desk.records()
    assert len(desk.store.records()) == 2
    assert np.array_equal(desk.whole(record, record.completion), desk.session.label_map == 1)
    assert (desk.array(record.prompt.initial_probability) == 1).all()
    assert (record.interactions, record.prompt.grid.start[0] + record.prompt.grid.shape[0]) == (2, 40)
    (hint,) = record.prompt.hints
    assert tuple(np.add(hint.index, record.prompt.grid.start)) == (20, 18, 16)


def test_a_mask_drawn_by_hand_alone_is_a_demonstration_when_the_case_is_finished(desk):
    by_hand(desk, (12, 18, 16), (16, 18, 16))
    assert desk.records() == []
    desk.recorder.finish()
    desk.recorder.finish()
    (record,) = desk.records()
    assert np.array_equal(desk.whole(record, record.completion), desk.session.label_map == 1)
    assert (record.use_case, record.prompt.hints, record.interactions) == ("start_from_nothing", (), 1)


# ---- consent, privacy, failure ---------------------------------------------------------------------------------------


def test_without_consent_a_whole_case_leaves_no_trace_and_costs_no_error(tmp_path):
    desk = Desk(tmp_path, consent=False)
    desk.click((20, 18, 16))
    desk.session.undo()
    desk.session.redo()
    desk.session.accept()
    desk.recorder.rank(candidates_of(desk, 10, 20), [[0]])
    desk.recorder.target_not_here("not_in_image")
    desk.recorder.game("a", "b", "draw", click_budget=1)
    desk.recorder.finish()
    assert list(tmp_path.iterdir()) == []
    assert desk.recorder.problems == ()


def test_consent_taken_back_in_the_middle_of_a_case_ends_the_recording(desk):
    desk.click((20, 18, 16))
    desk.session.accept()
    desk.store.set_consent(store=False)
    desk.session.undo()
    desk.recorder.finish()
    assert len(desk.store.records()) == 1
    assert desk.recorder.problems == ()


def test_deleting_in_the_middle_of_a_case_leaves_nothing_to_amend(desk):
    desk.click((20, 18, 16))
    desk.session.accept()
    desk.store.delete_all()
    desk.session.undo()
    assert desk.records() == []


def test_no_name_path_or_header_of_the_case_is_in_any_file_of_the_store(tmp_path):
    marks = ("MARKED", "SECRETLABEL", "1.2.840.99.1234.5")
    desk = Desk(tmp_path, images=True, labels=LabelMap().adding("SECRETLABEL of MARKED"))
    desk.session.image.source["path"] = "/data/MARKED/1.2.840.99.1234.5.dcm"
    desk.click((20, 18, 16))
    desk.session.undo()
    desk.session.redo()
    strokes(desk, (26, 18, 16), (0, (30, 18, 16), False))
    desk.session.accept()
    desk.recorder.target_not_here("not_in_image")
    desk.recorder.finish()
    assert len(desk.records()) == 4
    desk.store.export(tmp_path / "out.zip", images=True)
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        content = path.read_bytes()
        assert not any(mark.encode() in content or mark in path.name for mark in marks), path
    lines = (desk.store.folder / "records.jsonl").read_text()
    assert str(tmp_path) not in lines


def test_a_store_that_cannot_be_written_stops_no_one(desk, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medseg_rl.rlhf.store.os.fsync", full)
    desk.click((20, 18, 16))
    assert desk.session.accept() is not None
    assert desk.session.label_map.sum() == 125
    assert "disk" in desk.recorder.problems[0]


def test_records_written_later_by_a_worker_are_those_of_the_moment(tmp_path):
    waiting = queue.Queue()
    desk = Desk(tmp_path, submit=waiting.put)
    desk.click((20, 18, 16))
    mask = desk.session.mask.copy()
    desk.session.accept()
    desk.session.undo()
    desk.session.undo()
    assert desk.store.records() == ()
    while not waiting.empty():
        waiting.get()()
    demonstration, ranking = desk.records()
    assert np.array_equal(desk.whole(demonstration, demonstration.completion), mask)
    assert not demonstration.may_train
    assert ranking.implicit


# ---- closed forms ----------------------------------------------------------------------------------------------------


def test_dice_counts_what_lies_outside_the_region():
    shown = np.array([True, True, False])
    assert dice_of(shown, np.array([True, False, False]), np.array([True, False, True, True])) == pytest.approx(2 / 5)
    assert dice_of(shown & False, shown & False, shown & False) == 1.0


@pytest.mark.parametrize(
    ("start", "final", "name"),
    [
        ("0000", "0110", "start_from_nothing"),
        ("0000", "0000", "target_absent"),
        ("0100", "0111", "missing_region"),
        ("0111", "0100", "leak"),
        ("0110", "0011", "boundary_touch_up"),
    ],
)
def test_the_use_case_follows_from_the_voxels(start, final, name):
    masks = [np.array([c == "1" for c in text]) for text in (start, final)]
    assert use_case(*masks, commanded=False) == name
    assert use_case(*masks, commanded=True) == "command"


def test_hints_are_plain_and_the_recorder_loads_no_torch():
    assert json.loads(json.dumps(Hint((1, 2, 3), True).index)) == [1, 2, 3]
    code = "import sys, medseg_rl.session.feedback; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_records_of_a_patient_are_grouped_by_a_salted_hash(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_RL_HOME", str(tmp_path))
    image = Volume(np.zeros(SHAPE, np.float32), np.eye(4), "MR", {"patient_sha256": "ab" * 32})
    one, other = CaseIdentity.of("case-00112233", image), CaseIdentity.of("case-44556677", image)
    assert one.group_id == other.group_id
    assert one.group_id.startswith("patient-")
    assert "abab" not in one.group_id
    assert CaseIdentity.of("case-00112233", replace(image, source={})).group_id is None
