"""The session: what a window, a command and an evaluation hold. Scripts without Qt; small refiners made of numpy."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys
import threading
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medseg_rl.session as session_package
from medseg_rl.errors import Cancelled, ClickError, GeometryError, MedSegError
from medseg_rl.hints.click_files import WorldClick
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.interaction import InteractionConfig
from medseg_rl.labels import LabelMap
from medseg_rl.session import DeleteClick, PlaceVoxelClicks, Refine, SegmentationSession, StaleDeltaError, Start
from medseg_rl.volume import AxisOrder, Box, Volume

OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
SHAPE = (40, 36, 32)
CENTRE = (20, 18, 16)
FREE = InteractionConfig(edit_radius_mm=None)


class BallPainter:
    """Adds or erases a ball round each new click; without one it smooths nothing and returns what it got."""

    name = "ball painter"

    def __init__(self, radius_mm=6.0):
        self.radius_mm, self.calls = radius_mm, 0

    def describe(self):
        return {"kind": self.name}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        self.calls += 1
        percent = request.percent.copy()
        for click in request.clicks[len(request.clicks) - request.n_new_clicks :]:
            axes = np.ogrid[tuple(slice(n) for n in percent.shape)]
            squared = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, click.index, request.spacing, strict=True))
            percent[squared <= self.radius_mm**2] = 99 if click.label == OBJECT else 1
        for _ in range(request.steps):
            if cancel():
                raise Cancelled("stopped")
            preview(percent)
        return percent


class Leaning(BallPainter):
    """A ball whose size depends on all clicks so far and on the state, so that order and history show."""

    name = "leaning"

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        self.radius_mm = 3.0 + len(request.clicks) + (request.percent > 50).mean()
        return super().refine(request, cancel=cancel, preview=preview)


class Failing(BallPainter):
    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        raise RuntimeError("weights are not what they seem")


class OutOfMemory(BallPainter):
    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        raise MemoryError("Unable to allocate 3.2 GiB")


def volume(shape=SHAPE, affine=None):
    array = np.random.default_rng(1).normal(100, 10, shape).astype(np.float32)
    return Volume(array, np.eye(4) if affine is None else affine, "MR")


def started(refiner=None, config=None, **options):
    return SegmentationSession(volume(), refiner or BallPainter(), config, **options)


def ball(centre, radius, shape=SHAPE):
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2


def state(session):
    """Everything a user could see, as bytes."""
    arrays = (session.label_map.tobytes(), session.percent.tobytes(), session.mask.tobytes())
    return arrays, session.clicks, session.proposal, session.labels, session.written_voxels


# ---- clicking --------------------------------------------------------------------------------------------------------


def test_a_click_opens_a_proposal_and_leaves_the_accepted_label_map_alone():
    session = started()
    report = session.click_voxels([Click(CENTRE, OBJECT)])
    assert np.array_equal(session.mask, ball(CENTRE, 6))
    assert not session.label_map.any()
    assert report.added_voxels == session.mask.sum() == session.proposal.added_voxels
    assert session.proposal.clicks == 1
    assert report.changed_box == Box.around_mask(session.mask)


def test_accepting_writes_the_proposal_under_its_label_value_and_counts_what_the_model_wrote():
    session = started(labels=LabelMap().adding("Lesion", value=7))
    session.click_voxels([Click(CENTRE, OBJECT)])
    change = session.accept()
    assert np.array_equal(session.label_map, np.where(ball(CENTRE, 6), 7, 0))
    assert session.proposal is None
    assert session.written_voxels == {"model": int(ball(CENTRE, 6).sum())}
    assert change.name == "Accept proposal, Lesion, 1 click"
    assert (change.label, change.box) == (7, Box.around_mask(ball(CENTRE, 6)))
    assert session.accept() is None


def test_a_world_click_lands_on_the_voxel_whose_centre_is_nearest():
    affine = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])
    session = SegmentationSession(volume(affine=affine), BallPainter(0.5))
    point = session.image.index_to_world((11.4, 20.45, 7.6))
    session.click(point, OBJECT)
    assert session.clicks == (Click((11, 20, 8), OBJECT),)
    assert np.argwhere(session.mask).tolist() == [[11, 20, 8]]
    assert np.allclose(session.world_clicks[0].point_mm, session.image.index_to_world((11, 20, 8)))


@pytest.mark.parametrize("point", [(-1.0, 5, 5), (39.6, 5, 5), (5, 5, 1e9), (np.nan, 0, 0), (np.inf, 0, 0)])
def test_a_click_outside_the_volume_is_a_clear_error_and_changes_nothing(point):
    session = started()
    before = state(session)
    with pytest.raises(ClickError, match=r"outside|finite"):
        session.click(point, OBJECT)
    assert state(session) == before
    assert session.version == 0


def test_a_voxel_click_outside_the_volume_is_an_error_and_never_counts_from_the_end():
    with pytest.raises(ClickError, match="outside"):
        started().click_voxels([Click((-1, 0, 0), OBJECT)])


def test_no_new_click_changes_nothing():
    session = started()
    session.click_voxels([Click(CENTRE, OBJECT)])
    before, version = state(session), session.version
    assert "no new click" in session.click_voxels([]).message
    assert state(session) == before
    assert session.version == version


def test_a_background_click_with_nothing_there_is_not_kept_and_says_why():
    session = started()
    report = session.click_voxels([Click(CENTRE, BACKGROUND)])
    assert "click inside the object first" in report.message
    assert session.clicks == ()
    assert session.history.undo_names == ()
    assert session.version == 0


def test_refining_without_a_click_happens_only_when_asked_for():
    painter = BallPainter()
    session = started(painter)
    assert session.refine().message
    assert painter.calls == 0
    session.click_voxels([Click(CENTRE, OBJECT)])
    session.refine()
    assert painter.calls == 2
    assert session.clicks == (Click(CENTRE, OBJECT),)


def test_clicks_of_one_turn_and_the_same_clicks_one_by_one_agree():
    clicks = [Click(CENTRE, OBJECT), Click((26, 18, 16), OBJECT), Click((20, 25, 16), BACKGROUND)]
    batched, single = started(), started()
    batched.click_voxels(clicks)
    for click in clicks:
        single.click_voxels([click])
    overlap = 2 * (batched.mask & single.mask).sum() / (batched.mask.sum() + single.mask.sum())
    assert overlap >= 0.98


def test_the_refiner_is_loaded_at_the_first_model_action_and_once():
    loads = []

    def load():
        loads.append(True)
        return BallPainter()

    session = SegmentationSession(volume(), load)
    session.prepare(PlaceVoxelClicks((Click(CENTRE, OBJECT),)))
    session.click_voxels([Click(CENTRE, BACKGROUND)])  # nothing there: no model action
    with pytest.raises(ClickError):
        session.click((1e6, 0, 0), OBJECT)
    session.set_start(ball(CENTRE, 4))
    assert loads == []
    session.click_voxels([Click(CENTRE, OBJECT)])
    session.click_voxels([Click((22, 18, 16), OBJECT)])
    assert len(loads) == 1


def test_a_class_of_refiners_counts_as_what_makes_one():
    session = SegmentationSession(volume(), BallPainter)
    session.click_voxels([Click(CENTRE, OBJECT)])
    assert session.mask.any()


def test_timings_name_their_parts_and_add_up():
    report = started().click_voxels([Click(CENTRE, OBJECT)])
    parts = vars(report.timings)
    assert set(parts) == {"prepare", "region", "refine", "encode", "apply"}
    assert all(seconds > 0 for seconds in parts.values())
    assert report.timings.total == pytest.approx(sum(parts.values()))


# ---- prepare, run, apply ---------------------------------------------------------------------------------------------


def test_prepare_and_run_change_nothing_and_apply_raises_the_version_by_one():
    session = started()
    session.click_voxels([Click(CENTRE, OBJECT)])
    before, version = state(session), session.version
    delta = session.prepare(PlaceVoxelClicks((Click((26, 18, 16), OBJECT),))).run()
    assert state(session) == before
    assert session.version == version
    session.apply(delta)
    assert session.version == version + 1
    assert session.mask[31, 18, 16]


def test_a_stale_delta_is_refused_and_changes_nothing():
    session = started()
    first = session.prepare(PlaceVoxelClicks((Click(CENTRE, OBJECT),))).run()
    second = session.prepare(PlaceVoxelClicks((Click((22, 18, 16), OBJECT),))).run()
    session.apply(first)
    before = state(session)
    with pytest.raises(StaleDeltaError, match="run it again"):
        session.apply(second)
    with pytest.raises(StaleDeltaError):
        session.apply(first)
    assert state(session) == before


@pytest.mark.parametrize(
    "action",
    [PlaceVoxelClicks((Click((22, 18, 16), OBJECT),)), DeleteClick(0), Start(lambda: ball(CENTRE, 3))],
)
def test_a_job_can_be_run_again_after_it_was_stopped(action):
    session = started(Leaning())
    session.click_voxels([Click(CENTRE, OBJECT)])
    session.click_voxels([Click((28, 18, 16), OBJECT)])
    job = session.prepare(action)
    asked = itertools.count()
    with pytest.raises(Cancelled):
        job.run(lambda: next(asked) > 0)
    one, two = job.run().percent, job.run().percent
    assert (one.box, one.changed, one.old, one.new) == (two.box, two.changed, two.old, two.new)


def test_undo_makes_a_running_job_stale():
    session = started()
    session.click_voxels([Click(CENTRE, OBJECT)])
    delta = session.prepare(Refine()).run()
    session.undo()
    with pytest.raises(StaleDeltaError):
        session.apply(delta)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_a_job_reads_its_snapshot_whatever_happens_to_the_session_meanwhile(seed):
    rng = np.random.default_rng(seed)
    kept, disturbed = (started(Leaning(), label_map=two_labels(), active=1) for _ in range(2))
    for session in (kept, disturbed):
        session.click_voxels([Click((12, 18, 16), OBJECT)])
        session.click_voxels([Click((16, 18, 16), OBJECT)])
    action = [PlaceVoxelClicks((Click(tuple(int(v) for v in rng.integers(8, 22, 3)), BACKGROUND),)), DeleteClick(0)]
    job, other = kept.prepare(action[seed % 2]), disturbed.prepare(action[seed % 2])
    while disturbed.undo():
        pass
    disturbed.click_voxels([Click((5, 5, 5), OBJECT)])
    one, two = job.run(), other.run()
    for part in ("box", "changed", "old", "new"):
        assert getattr(one.percent, part, None) == getattr(two.percent, part, None)
    assert one.work.clicks == two.work.clicks


def test_a_worker_thread_runs_jobs_while_the_main_thread_applies():
    session, painter = started(config=FREE), []
    jobs, results = [], []
    done = threading.Event()

    def work():
        results.append(jobs[-1].run(progress=painter.append))
        done.set()

    for n, click in enumerate([Click(CENTRE, OBJECT), Click((28, 18, 16), OBJECT), Click((20, 18, 16), BACKGROUND)]):
        jobs.append(session.prepare(PlaceVoxelClicks((click,))))
        done.clear()
        worker = threading.Thread(target=work)
        worker.start()
        assert done.wait(30)
        worker.join()
        session.apply(results[-1])
        assert session.version == n + 1
    alone = started(config=FREE)
    for click in session.clicks:
        alone.click_voxels([click])
    assert np.array_equal(alone.percent, session.percent)
    assert len(painter) == 9  # three steps a turn


def test_cancelling_a_job_on_a_worker_leaves_everything_as_it_was():
    session = started()
    session.click_voxels([Click(CENTRE, OBJECT)])
    before = state(session)
    job = session.prepare(PlaceVoxelClicks((Click((28, 18, 16), OBJECT),)))
    stop, shown, failure = threading.Event(), [], []

    def work():
        try:
            job.run(stop.is_set, lambda preview: (shown.append(preview), stop.set()))
        except Cancelled as error:
            failure.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    worker.join(30)
    assert len(failure) == 1
    assert len(shown) == 1  # answered within one step
    assert state(session) == before
    with pytest.raises(Cancelled):
        job.run(lambda: True)


def test_a_refiner_that_fails_leaves_everything_as_it_was():
    session = started(Failing())
    before = state(session)
    with pytest.raises(RuntimeError, match="weights"):
        session.click_voxels([Click(CENTRE, OBJECT)])
    assert state(session) == before
    assert session.version == 0


def test_running_out_of_memory_says_how_much_was_asked_and_what_to_do():
    with pytest.raises(MedSegError, match=r"3\.2 GiB.*smaller region"):
        started(OutOfMemory()).click_voxels([Click(CENTRE, OBJECT)])


def test_previews_come_in_file_order_with_their_box():
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])  # LPS, as most files
    session, shown = SegmentationSession(volume(affine=affine), BallPainter()), []
    session.apply(session.prepare(PlaceVoxelClicks((Click((10, 11, 12), OBJECT),))).run(progress=shown.append))
    preview = shown[-1]
    assert np.array_equal(preview.percent > 50, session.mask[preview.box.slices])
    assert np.array_equal(session.percent_in(preview.box), session.percent[preview.box.slices])


def test_a_preview_covers_the_label_as_it_was_and_as_it_is_and_no_more():
    session, shown = started(), []
    session.set_start(ball(CENTRE, 8))
    session.apply(session.prepare(PlaceVoxelClicks((Click((20, 18, 9), BACKGROUND),))).run(progress=shown.append))
    assert shown[-1].box == Box.around_mask(ball(CENTRE, 8))
    session.undo()
    assert np.array_equal(session.mask, ball(CENTRE, 8))


def test_discarding_several_turns_takes_back_all_of_them_and_can_be_undone():
    session = started(Leaning())
    session.click_voxels([Click(CENTRE, OBJECT)])
    session.accept()
    before = session.percent.copy()
    for place, label in (((26, 18, 16), OBJECT), ((20, 18, 18), BACKGROUND)):
        session.click_voxels([Click(place, label)])
    proposed = session.percent.copy()
    session.discard()
    assert np.array_equal(session.percent, before)
    assert session.mask_box == Box.around_mask(session.mask)
    session.undo()
    assert np.array_equal(session.percent, proposed)
    assert session.mask_box == Box.around_mask(session.mask)
    session.redo()
    assert np.array_equal(session.percent, before)


def test_the_box_of_a_proposal_holds_what_is_proposed_and_what_it_takes_away():
    session = started()
    session.set_start(ball(CENTRE, 8))
    session.accept()
    before = session.mask.copy()
    session.click_voxels([Click((20, 18, 9), BACKGROUND)])
    box = session.proposal_box
    outside = np.ones(SHAPE, bool)
    outside[box.slices] = False
    assert np.array_equal(session.mask[outside], before[outside])
    whole = Box.around_mask(before)
    assert box.union(whole) == whole
    session.discard()
    assert session.proposal_box is None


# ---- undo, redo, deleting --------------------------------------------------------------------------------------------


KINDS = ["click", "click", "click", "refine", "undo", "redo", "delete", "accept", "discard", "start"]
TABLE_KINDS = ["label", "activate", "lock"]
ACTIONS = st.lists(st.tuples(st.sampled_from(KINDS + TABLE_KINDS), st.integers(0, 2**32 - 1)), min_size=1, max_size=14)


def act(session, kind, seed):
    """One random action; user errors are what a user would see, and change nothing."""
    rng = np.random.default_rng(seed)
    before, version = state(session), session.version
    try:
        if kind == "click":
            index = tuple(int(v) for v in rng.integers(4, 30, 3))
            session.click_voxels([Click(index, ClickLabel(int(rng.integers(3) > 0)))])
        elif kind == "delete" and session.clicks:
            session.delete_click(int(rng.integers(len(session.clicks))))
        elif kind == "start":
            start = ball(rng.integers(8, 24, 3), 5)
            session.set_start(start if seed % 2 else np.where(start, 70, 3).astype(np.uint8))
        elif kind == "label":
            session.add_label()
        elif kind == "activate":
            session.activate(session.labels.values[seed % len(session.labels.values)])
        elif kind == "lock":
            session.set_lock(session.active_label, bool(seed % 2))
        elif kind in ("refine", "undo", "redo", "accept", "discard"):
            getattr(session, kind)()
    except MedSegError:
        assert (state(session), session.version) == (before, version)


def check(session, active):
    """What holds after any action whatever."""
    work = session._work(session.active_label)
    soft = session._arrays.soft(session.active_label)
    assert soft.extent.box == Box.around_mask(soft.array > 50)
    if session.config.enforce_clicks and work.turns:
        newest = {click.index: click.label for click in session.clicks}
        assert all(session.mask[index] == (label == OBJECT) for index, label in newest.items())
    if session.proposal is None:
        assert np.array_equal(session.mask, session.label_map == session.active_label)


@given(ACTIONS)
@settings(max_examples=60)
def test_undo_all_and_redo_all_are_bit_identical(actions):
    session = started(Leaning(), InteractionConfig(edit_radius_mm=12.0))
    first = full_state(session)
    for kind, seed in actions:
        act(session, kind, seed)
        check(session, session.active_label)
    last, active = full_state(session), session.active_label
    names = session.history.undo_names
    while session.undo():
        check(session, active)
    assert full_state(session) == first
    for _ in names:
        assert session.redo()
    assert full_state(session) == last


def full_state(session):
    """Label map, ledger and the effective state of each label."""
    ledger = session._ledger
    whole = Box.whole(session._working.shape)
    states = {}
    for value in ledger.labels.values:
        percent = session._arrays.soft(value).read(whole, session._work(value).background)
        states[value] = (percent.tobytes(), session._work(value).clicks, session._work(value).start_box)
    return session.label_map.tobytes(), ledger.labels, dict(ledger.written), states, ledger.open_label


def test_undo_and_redo_name_the_action_its_label_and_the_box_to_paint():
    session = started()
    session.click_voxels([Click(CENTRE, OBJECT)])
    inside = Box.around_mask(session.mask)
    undone = session.undo()
    assert undone.name == f"Object click, Label 1, +{ball(CENTRE, 6).sum()} -0 voxels"
    assert (undone.label, undone.box) == (1, inside)
    assert not session.mask.any()
    assert session.clicks == ()
    assert session.redo() == undone
    assert session.mask[CENTRE]
    assert session.redo() is None


def test_the_undo_list_of_a_session_keeps_to_its_bytes_and_the_newest_entry():
    session = started(undo_bytes=2500)
    for x in range(8, 30, 2):
        session.click_voxels([Click((x, 18, 16), OBJECT)])
    assert session.history.nbytes <= 2500
    assert session.history.dropped > 0
    assert "dropped" in session.history.notice
    assert session.undo() is not None
    assert not session.mask[34, 18, 16]


@pytest.mark.parametrize("radius", [None, 3.5])  # with a guard that is off as long as the mask is empty
def test_deleting_a_click_of_the_open_proposal_gives_what_the_rest_alone_would_have_given(radius):
    clicks = [Click((12, 18, 16), OBJECT), Click((20, 18, 16), OBJECT), Click((16, 22, 16), BACKGROUND)]
    for number in range(3):
        whole, rest = (started(Leaning(), InteractionConfig(edit_radius_mm=radius)) for _ in range(2))
        for click in clicks:
            whole.click_voxels([click])
        for click in clicks[:number] + clicks[number + 1 :]:
            rest.click_voxels([click])
        before = state(whole)
        whole.delete_click(number)
        assert np.array_equal(whole.percent, rest.percent)
        assert whole.clicks == rest.clicks
        whole.undo()
        assert state(whole) == before


def test_deleting_a_click_from_a_turn_of_several_replays_the_others():
    session, alone = started(Leaning()), started(Leaning())
    session.click_voxels([Click((12, 18, 16), OBJECT), Click((24, 18, 16), OBJECT)])
    alone.click_voxels([Click((24, 18, 16), OBJECT)])
    session.delete_click(0)
    assert np.array_equal(session.percent, alone.percent)


def test_deleting_the_only_click_closes_the_proposal():
    session = started()
    session.click_voxels([Click(CENTRE, OBJECT)])
    session.delete_click(0)
    assert session.proposal is None
    assert not session.mask.any()


def test_deleting_an_accepted_click_takes_it_from_the_hints_and_leaves_the_mask():
    painter = BallPainter()
    session = started(painter)
    session.click_voxels([Click(CENTRE, OBJECT)])
    session.accept()
    mask, calls = session.mask, painter.calls
    session.delete_click(0)
    assert session.clicks == ()
    assert np.array_equal(session.mask, mask)
    assert painter.calls == calls
    session.undo()
    assert session.clicks == (Click(CENTRE, OBJECT),)


def test_deleting_a_click_that_is_not_in_the_list_is_a_clear_error():
    session = started()
    with pytest.raises(ClickError, match="no click 0"):
        session.delete_click(0)
    with pytest.raises(ClickError):
        session.delete_click(-1)


def test_discarding_takes_back_the_whole_proposal_and_can_itself_be_undone():
    session = started()
    session.click_voxels([Click(CENTRE, OBJECT)])
    session.accept()
    accepted = state(session)
    session.click_voxels([Click((28, 18, 16), OBJECT)])
    session.click_voxels([Click((20, 18, 20), BACKGROUND)])
    proposed = state(session)
    session.discard()
    assert state(session) == accepted
    session.undo()
    assert state(session) == proposed
    assert session.discard() is not None
    assert session.discard() is None


# ---- starts ----------------------------------------------------------------------------------------------------------


def test_a_mask_as_start_is_a_proposal_that_a_click_can_correct():
    session = started()
    session.set_start(Volume(ball(CENTRE, 8).astype(np.int16) * 5, np.eye(4)))
    assert np.array_equal(session.mask, ball(CENTRE, 8))
    assert set(np.unique(session.percent)) == {10, 90}
    assert session.proposal.added_voxels == ball(CENTRE, 8).sum()
    session.click_voxels([Click((20, 18, 23), BACKGROUND)])
    assert np.array_equal(session.mask, ball(CENTRE, 8) & ~ball((20, 18, 23), 6))
    session.accept()
    assert np.array_equal(session.label_map == 1, session.mask)


def test_a_probability_as_start_keeps_its_hundredths():
    percent = np.clip(100 - 8 * np.sqrt(np.sum(np.square(np.indices(SHAPE).T - CENTRE), axis=-1).T), 0, 100)
    session = started()
    session.automatic_start(lambda image: percent.astype(np.uint8))
    assert np.array_equal(session.percent, np.clip(percent.astype(np.uint8), 1, 99))
    session.undo()
    assert (session.percent == 1).all()


def test_undoing_a_click_and_its_start_gives_the_empty_state_back():
    session = started()
    empty = state(session)
    session.set_start(ball(CENTRE, 5))
    session.click_voxels([Click((30, 18, 16), OBJECT)])
    session.undo()
    session.undo()
    assert state(session) == empty
    assert (session.percent == 1).all()


def test_clicks_made_before_a_start_stay_and_are_written_into_it():
    session = started()
    session.click_voxels([Click(CENTRE, OBJECT)])
    session.set_start(ball((30, 18, 16), 5))
    assert session.clicks == (Click(CENTRE, OBJECT),)
    assert session.mask.sum() == ball((30, 18, 16), 5).sum() + 1
    assert session.mask[CENTRE]
    session.delete_click(0)  # nothing to replay: the start came after it
    assert session.clicks == ()
    assert session.mask[CENTRE]


def test_a_start_on_a_flipped_grid_is_turned_and_one_on_another_grid_refused():
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[0, 3] = SHAPE[0] - 1
    session = started()
    session.set_start(Volume(ball((10, 18, 16), 5)[::-1].astype(np.uint8), flipped))
    assert np.array_equal(session.mask, ball((10, 18, 16), 5))
    with pytest.raises(GeometryError):
        session.set_start(Volume(ball(CENTRE, 5).astype(np.uint8), np.diag([1.0, 1.0, 2.0, 1.0])))
    with pytest.raises(GeometryError, match="resample"):
        session.set_start(np.zeros((3, 3, 3), bool))
    with pytest.raises(GeometryError, match="float64"):
        session.set_start(np.zeros(SHAPE))


def test_an_empty_start_changes_nothing():
    session = started()
    assert "empty" in session.set_start(np.zeros(SHAPE, bool)).message
    assert session.version == 0


def test_stopping_an_automatic_start_leaves_everything_as_it_was():
    session = started()
    job = session.prepare(Start(lambda: np.full(SHAPE, 99, np.uint8)))
    asked = iter([False, True])
    with pytest.raises(Cancelled):
        job.run(lambda: next(asked))
    assert session.proposal is None


# ---- labels and locks ------------------------------------------------------------------------------------------------


def two_labels():
    array = np.zeros(SHAPE, np.uint8)
    array[ball((28, 18, 16), 5)] = 3
    return Volume(array, np.eye(4))


def test_every_other_label_is_locked_and_the_proposal_stops_at_it():
    session = started(label_map=two_labels(), labels=LabelMap().adding("Lesion", value=1), active=1)
    session.click_voxels([Click((20, 18, 16), OBJECT)])
    session.accept()
    assert np.array_equal(session.label_map == 3, ball((28, 18, 16), 5))
    assert np.array_equal(session.label_map == 1, ball((20, 18, 16), 6) & ~ball((28, 18, 16), 5))


def test_a_click_in_a_locked_label_is_refused_with_its_name():
    table = LabelMap().adding("Lesion", value=1).adding("Liver", value=3)
    session = started(label_map=two_labels(), labels=table, active=1)
    for label in (OBJECT, BACKGROUND):
        with pytest.raises(ClickError, match="Liver"):
            session.click_voxels([Click((28, 18, 16), label)])
    session.set_lock(1, True)
    with pytest.raises(ClickError, match="Lesion"):
        session.click_voxels([Click(CENTRE, OBJECT)])
    assert session.history.undo_names == ("Lock Lesion",)


def test_an_accepted_label_can_be_refined_further_once_it_is_active():
    session = started(label_map=two_labels(), active=3)
    assert np.array_equal(session.mask, ball((28, 18, 16), 5))
    session.click_voxels([Click((28, 18, 21), BACKGROUND)])
    assert session.proposal.removed_voxels > 0
    session.accept()
    assert np.array_equal(session.label_map == 3, ball((28, 18, 16), 5) & ~ball((28, 18, 21), 6))


@given(ACTIONS, st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_no_sequence_changes_a_voxel_of_a_locked_label(actions, seed):
    session = started(Leaning(), label_map=two_labels(), labels=LabelMap().adding("Free", value=1), active=1)
    finished = session.label_map == 3
    for kind, number in actions:
        if kind != "activate":
            act(session, kind, number)
        assert np.array_equal(session.label_map == 3, finished)
        assert not (session.mask & finished).any()


def test_activating_another_label_asks_for_the_open_proposal_first():
    session = started()
    other = session.add_label("Vessel")
    session.click_voxels([Click(CENTRE, OBJECT)])
    with pytest.raises(MedSegError, match="accept or discard"):
        session.activate(other)
    session.accept()
    session.activate(other)
    assert not session.mask.any()
    session.undo()  # reopens the first label's proposal; the active label stays
    assert session.active_label == other
    with pytest.raises(MedSegError, match="Label 1 has an open proposal"):
        session.click_voxels([Click((5, 5, 5), OBJECT)])


def test_label_values_are_never_renumbered():
    array = np.zeros(SHAPE, np.int16)
    array[:3], array[10:12], array[30:] = 300, 7, -2
    session = started(label_map=Volume(array, np.eye(4)), active=7)
    assert session.labels.values == (-2, 7, 300)
    assert np.array_equal(session.label_map, array)
    session.click_voxels([Click((20, 18, 16), OBJECT)])
    session.accept()
    assert set(np.unique(session.label_map)) == {-2, 0, 7, 300}


# ---- guard -----------------------------------------------------------------------------------------------------------


@given(st.tuples(*[st.integers(2, 30)] * 3), st.booleans())
@settings(max_examples=20)
def test_no_voxel_beyond_the_guard_of_a_turn_changes(index, label):
    session = started(BallPainter(12.0), InteractionConfig(edit_radius_mm=7.0))
    session.set_start(ball(CENTRE, 9))
    before = session.mask
    session.click_voxels([Click(index, ClickLabel(int(label)))])
    assert not (session.mask ^ before)[~ball(index, 7)].any()


# ---- files -----------------------------------------------------------------------------------------------------------


def test_an_exported_mask_overlays_its_image_with_the_values_it_was_given(tmp_path):
    affine = np.array([[-0.9, 0, 0.1, 20], [0, 0.9, 0, -30], [0.1, 0, 2.0, 7], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(volume().array, affine), tmp_path / "image.nii.gz")
    table = LabelMap().adding("Lesion", value=300)
    session = SegmentationSession.open(tmp_path / "image.nii.gz", BallPainter(), labels=table)
    session.click(session.image.index_to_world(CENTRE), OBJECT)
    with pytest.raises(MedSegError, match="accept or discard"):
        session.export(tmp_path / "mask.nii.gz")
    session.accept()
    written = nibabel.load(session.export(tmp_path / "mask.nii.gz"))
    assert np.array_equal(np.asarray(written.dataobj), session.label_map)
    assert np.allclose(written.affine, affine, atol=1e-6)
    assert session.label_map.max() == 300


# ---- orientation -----------------------------------------------------------------------------------------------------


def all_orders():
    for permutation in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            yield permutation, flips


def reordered(image, permutation, flips):
    """The same voxels in another file order, at the same places in the world."""
    affine = image.affine.copy()
    affine[:, :3] = image.affine[:, permutation]
    array = image.array.transpose(permutation)
    for axis in np.flatnonzero(flips):
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
    return Volume(np.flip(array, np.flatnonzero(flips)), affine, image.modality)


class ImageReader(Leaning):
    """Also looks at the image, unlike left and right: any mistake with axes shows."""

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        percent = super().refine(request, cancel=cancel, preview=preview)
        wave = np.cumsum(request.image > 1.0, axis=0) % 5 == 0
        percent[wave & (percent > 50)] = 60
        percent[(request.image > 2.2) & (percent < 50)] = 55
        return percent


def test_the_same_world_clicks_give_the_same_world_mask_in_all_48_axis_orders():
    angle = np.radians(12)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.9, 1.1, 2.5])
    affine[:3, 3] = (-20, 13, 5)
    image = volume((30, 28, 20), affine)
    points = [(image.index_to_world((15, 14, 10)), OBJECT), (image.index_to_world((19, 12, 8)), BACKGROUND)]
    expected = None
    for permutation, flips in all_orders():
        session = SegmentationSession(reordered(image, permutation, flips), ImageReader())
        for point, label in points:
            session.click(point, label)
        session.delete_click(1)
        session.click_together([WorldClick(tuple(points[1][0]), BACKGROUND)])
        assert session.percent.flags.owndata or session.percent.base is not None
        result = AxisOrder.of(session.image.affine).apply(session.percent)
        expected = result.copy() if expected is None else expected
        assert np.array_equal(result, expected), (permutation, flips)
        assert {tuple(np.round(c.point_mm, 6)) for c in session.world_clicks} == {
            tuple(np.round(point, 6)) for point, _ in points
        }
    assert (expected > 50).sum() > 50


# ---- borders ---------------------------------------------------------------------------------------------------------


def test_importing_the_session_loads_neither_torch_nor_qt():
    code = (
        "import sys, medseg_rl.session, medseg_rl.interaction, medseg_rl.history;"
        "heavy = {'torch', 'monai', 'PySide6', 'vtk', 'nibabel', 'SimpleITK', 'matplotlib'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_whole_script_of_clicks_needs_no_torch(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from medseg_rl.session import SegmentationSession\n"
        "from medseg_rl.refiners.paint_ball import PaintBall\n"
        "from medseg_rl.volume import Volume\n"
        "s = SegmentationSession(Volume(np.random.rand(20, 20, 20), np.eye(4)), PaintBall)\n"
        "s.click((10, 10, 10)); s.accept(); s.undo(); s.redo()\n"
        f"s.export({str(tmp_path / 'mask.nii.gz')!r})\n"
        "assert s.label_map.any()\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_reference_mask_can_be_passed_to_the_session():
    names = set()
    for _, cls in inspect.getmembers(session_package, inspect.isclass):
        names |= set(getattr(cls, "__dataclass_fields__", {}))
        for _, method in inspect.getmembers(cls, inspect.isroutine):
            if (getattr(method, "__module__", None) or "").startswith("medseg_rl"):
                names |= set(inspect.signature(method).parameters)
    assert {"point_mm", "start", "label_map"} <= names
    assert not {n for n in names if "reference" in n or "truth" in n or n == "target"}


def test_a_click_on_a_large_volume_costs_its_region_and_not_the_volume():
    shape = (400, 400, 300)
    image = Volume(np.broadcast_to(np.int16(3), shape), np.eye(4))
    session = SegmentationSession(image, BallPainter(), replace(FREE, max_growths=0))
    seen = []
    session._working.read = lambda box: (seen.append(box), np.zeros(box.shape, np.float32))[1]
    report = session.click_voxels([Click((200, 200, 150), OBJECT)])
    second = session.click_voxels([Click((204, 200, 150), OBJECT)])
    assert max(box.voxels for box in seen) <= 40**3
    assert report.roi.voxels <= 40**3
    resident = session._arrays.soft(1).touched
    assert resident.voxels <= 40**3
    assert second.timings.prepare < 0.5
    assert session.history.nbytes < 5000


def test_the_box_of_a_proposal_is_that_of_what_it_changed_in_file_order():
    session = started(BallPainter())
    assert session.proposal_box is None
    session.click_voxels([Click(CENTRE, OBJECT)])
    changed = Box.around_mask(session.mask)
    assert session.proposal_box.intersection(changed) == changed
    assert session.mask_box == changed
    assert np.array_equal(session.percent_in(changed, 1), session.percent_in(changed))
    assert not (session.percent_in(changed, session.add_label()) > 50).any()
    session.accept()
    assert session.proposal_box is None


def test_another_refiner_is_used_from_the_next_action_on():
    session, other = started(BallPainter()), BallPainter(3.0)
    session.click_voxels([Click(CENTRE, OBJECT)])
    session.use_refiner(lambda: other)
    session.refine()
    assert other.calls == 1


def test_a_session_says_in_advance_what_keeps_a_click_from_a_voxel():
    array = np.zeros(SHAPE, np.uint8)
    array[5, 6, 7] = 2
    session = started(BallPainter(), label_map=volume().with_array(array), active=1)
    assert session.why_no_click(CENTRE) == ""
    assert "locked" in session.why_no_click((5, 6, 7))
    assert "outside" in session.why_no_click((-1, 0, 0))
    session.set_lock(1, locked=True)
    assert "open its lock" in session.why_no_click(CENTRE)
    session.read_only = "another window has it"
    assert "another window" in session.why_no_click(CENTRE)
