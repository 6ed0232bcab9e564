"""The session's feedback: which act becomes which record, and that nothing else ever leaves the session."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.history import BoxDelta
from medseg_rl.labels import LabelMap
from medseg_rl.rlhf.manifest import effective
from medseg_rl.rlhf.records import Hint
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.session import SegmentationSession
from medseg_rl.session.arrays import LABEL_MAP, percent_key
from medseg_rl.session.feedback import FeedbackRecorder
from medseg_rl.session.feedback_acts import InterventionDraft, dice_of, ranks_of, step_of, use_case
from medseg_rl.session.feedback_filing import CaseIdentity
from medseg_rl.session.feedback_view import CaseView
from medseg_rl.volume import Box, Volume

OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
SHAPE = (40, 36, 32)
TURNED = np.array([[0, -1.0, 0, 30], [1.0, 0, 0, -20], [0, 0, 1.0, 5], [0, 0, 0, 1]])  # file axes: A, L, S


class Painter:
    """Paints a cube round each new click."""

    name = "painter 3000"

    def describe(self):
        return {"kind": self.name, "bundle_hash": "0123456789abcdef0123"}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        percent = request.percent.copy()
        for click in request.clicks[len(request.clicks) - request.n_new_clicks :]:
            cube = tuple(slice(max(0, i - 2), i + 3) for i in click.index)
            percent[cube] = 99 if click.label == OBJECT else 1
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
    expected = desk.session._working._normalised[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))]
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


def test_a_ranking_holds_the_candidates_as_they_were_shown(desk):
    desk.click((20, 18, 16))
    candidates = []
    for shift in range(4):
        mask = np.zeros(SHAPE, bool)
        mask[10 + 5 * shift : 16 + 5 * shift, 18:22, 16:20] = True
        candidates.append(mask)
    desk.recorder.rank(candidates, [[3], [1]], shown=(2, 0, 1, 3), decision_ms=4200, policy_ids=("a@1",) * 4)
    (record,) = desk.records()
    assert (record.ranks, record.presentation_order, record.decision_ms) == ((3, 2, 3, 1), (2, 0, 1, 3), 4200)
    assert (record.implicit, record.none_acceptable, record.policy_ids) == (False, False, ("a@1",) * 4)
    for mask, reference in zip(candidates, record.completions, strict=True):
        assert np.array_equal(desk.whole(record, reference), mask)
    assert np.array_equal(desk.whole(record, record.prompt.initial_probability) > 50, desk.session.mask)


def test_rejecting_every_candidate_is_recorded_and_not_dropped(desk):
    desk.recorder.rank([np.ones(SHAPE, bool), np.zeros(SHAPE, bool)], [], none_acceptable=True)
    (record,) = desk.records()
    assert (record.none_acceptable, record.ranks) == (True, (1, 1))


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


def by_hand(desk, rows, *, inside):
    """An edit by hand of a block of the shown and the accepted mask, committed as one undo entry."""
    session, box = desk.session, Box((rows.start, 16, 14), (rows.stop, 21, 19))
    deltas = []
    arrays = (
        (percent_key(1), session._arrays.soft(1).array, 99 if inside else 1),
        (LABEL_MAP, session._arrays.layers[0], inside),
    )
    for key, array, value in arrays:
        old = array[box.slices]
        delta = BoxDelta.encode(box.start, old, np.full_like(old, value))
        deltas += [] if delta is None else [(key, delta)]
    session._commit(session._entry("Brush", 1, tuple(deltas), session._ledger, "edit"))


def stroke(desk, where, foreground=True):
    """A stroke of a cube into a refinement that wanted the contrary there."""
    case = CaseView(desk.session)
    entry = desk.session.history.done[-1]
    step = step_of(case, 1, entry, is_done=True, image=False)
    voxels = np.zeros(step.before.box.shape, bool)
    start = np.array(step.before.box.start)
    voxels[tuple(slice(a - s, a - s + 3) for a, s in zip(where, start, strict=True))] = True
    draft = InterventionDraft(step.before, voxels, foreground, step.after, step=1)
    desk.recorder.intervene(draft, entry)
    return draft


def test_an_intervention_holds_what_the_agent_proposed_and_what_was_done_instead(desk):
    desk.click((20, 18, 16))
    draft = stroke(desk, (20, 18, 16), foreground=False)
    (record,) = desk.records()
    assert (record.kind, record.step, record.case_index, record.label) == ("intervention", 1, 0, 0)
    assert (record.retracted, record.first_of_event) == (False, True)
    assert np.array_equal(desk.array(record.voxels), draft.voxels)
    proposed, executed = desk.array(record.proposed_action), desk.array(record.executed_action)
    assert set(np.unique(proposed)) == {0, 98}  # from 1 to 99 inside the cube that the agent painted
    assert np.count_nonzero(proposed) == 27
    assert not executed.any()  # was 1 before, erased to 1


def test_the_case_counter_counts_other_finished_cases(tmp_path):
    for number in range(3):
        desk = Desk(tmp_path)
        desk.recorder._filing.identity = CaseIdentity(f"case-0000000{number}")
        desk.click((20, 18, 16))
        stroke(desk, (20, 18, 16))
        desk.session.accept()
    assert [r.case_index for r in desk.records("intervention")] == [0, 1, 2]


def test_a_stroke_is_retracted_by_undo_and_stands_again_after_redo(desk):
    desk.click((20, 18, 16))
    stroke(desk, (20, 18, 16))
    desk.session.undo()
    assert desk.records("intervention")[0].retracted
    desk.session.redo()
    assert not desk.records("intervention")[0].retracted


def test_a_stroke_that_is_painted_over_is_retracted_and_stands_again_when_that_is_undone(desk):
    desk.click((20, 18, 16))
    stroke(desk, (20, 18, 16))
    by_hand(desk, slice(19, 24), inside=False)
    assert desk.records("intervention")[0].retracted
    desk.session.undo()
    assert not desk.records("intervention")[0].retracted
    by_hand(desk, slice(22, 24), inside=False)  # a corner of it only
    assert not desk.records("intervention")[0].retracted
    assert len(desk.store.records()) == 3


# ---- commands --------------------------------------------------------------------------------------------------------


def command(desk, verb, index, label=OBJECT):
    """A model action that the session reports as a command."""
    desk.session.observers[:] = [
        lambda event: desk.recorder(replace(event, action="command", parameters={"command": verb}))
    ]
    desk.click(index, label)
    desk.session.observers[:] = [desk.recorder]


def test_a_command_holds_what_it_did_and_learns_its_outcome_when_the_mask_is_accepted(desk):
    desk.click((20, 18, 16))
    before = desk.session.percent.copy()
    command(desk, "grow", (23, 18, 16))
    after, result = desk.session.percent.copy(), desk.session.mask.copy()
    (record,) = desk.records("command")
    assert (record.command, record.prompt.command, record.outcome) == ("grow", "grow", None)
    assert np.array_equal(desk.whole(record, record.observation)[result], before[result])
    assert np.array_equal(desk.whole(record, record.action), after.astype(int) - before)
    desk.click((12, 18, 16))
    desk.session.accept()
    (record,) = desk.records("command")
    final = desk.session.label_map == 1
    assert record.outcome.dice == pytest.approx(2 * (result & final).sum() / (result.sum() + final.sum()))
    assert not record.outcome.win
    assert desk.records("demonstration")[0].use_case == "command"


def test_a_command_whose_result_was_accepted_is_a_win_and_an_undone_one_may_not_train(desk):
    command(desk, "grow", (20, 18, 16))
    desk.session.accept()
    assert desk.records("command")[0].outcome.win
    command(desk, "shrink", (20, 18, 16), BACKGROUND)
    desk.session.undo()
    assert [r.may_train for r in desk.records("command")] == [True, False]


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
    by_hand(desk, slice(30, 38), inside=True)
    desk.recorder.finish()
    (record,) = desk.records()
    assert len(desk.store.records()) == 2
    assert np.array_equal(desk.whole(record, record.completion), desk.session.label_map == 1)
    assert (desk.array(record.prompt.initial_probability) == 1).all()
    assert (record.interactions, record.prompt.grid.start[0] + record.prompt.grid.shape[0]) == (2, 40)
    (hint,) = record.prompt.hints
    assert tuple(np.add(hint.index, record.prompt.grid.start)) == (20, 18, 16)


def test_a_mask_drawn_by_hand_alone_is_a_demonstration_when_the_case_is_finished(desk):
    by_hand(desk, slice(10, 14), inside=True)
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
    desk.recorder.rank([np.ones(SHAPE, bool), np.zeros(SHAPE, bool)], [[0]])
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
    stroke(desk, (20, 18, 16))
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
