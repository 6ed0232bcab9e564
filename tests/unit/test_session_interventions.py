"""A brush stroke into a running refinement: its step ends, what was painted holds, the other steps go on around it."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from medseg_rl.editing import Brush, FillBox, Margin
from medseg_rl.errors import Cancelled, EditError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.interaction import InteractionConfig
from medseg_rl.labels import LabelMap
from medseg_rl.session import PlaceVoxelClicks, Refine, SegmentationSession
from medseg_rl.session.requests import job_of
from medseg_rl.volume import Box, Volume

OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
SHAPE = (40, 40, 40)
CLICK = PlaceVoxelClicks((Click((20, 20, 20), OBJECT),))
STROKE = FillBox((28.0, 20.0, 20.0), (30.0, 21.0, 21.0))


class Growing:
    """Each step grows the object by one voxel along x from what it finds: a state of before shows in all after."""

    name = "growing"

    def __init__(self):
        self.steps = []

    def describe(self):
        return {"kind": self.name}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        percent = request.percent.copy()
        for click in request.clicks:
            percent[click.index] = 90 if click.label == OBJECT else 10
        for _ in range(request.steps):
            if cancel():
                raise Cancelled("stopped")
            inside = percent > 50
            grown = inside.copy()
            grown[1:] |= inside[:-1]
            grown[:-1] |= inside[1:]
            percent = np.where(grown, 90, percent).astype(np.uint8)
            if request.held_voxels is not None:
                percent = np.where(request.held_voxels, request.percent, percent)
            self.steps.append(request.percent.shape)
            preview(percent)
        return percent


def started(refiner=None, config=None, **options):
    array = np.random.default_rng(1).normal(0, 1, SHAPE).astype(np.float32)
    config = config or InteractionConfig(steps=3, edit_radius_mm=None)
    return SegmentationSession(Volume(array, np.eye(4), "MR"), refiner or Growing(), config, **options)


def painting(session, job, stroke, after):
    """Runs the job; paints when so many previews came."""
    shown, taken = [], []

    def progress(preview):
        shown.append(preview)
        if len(shown) == after:
            taken.append(session.intervene(job, stroke))

    return job.run(progress=progress), shown, taken


def test_the_steps_that_are_left_go_on_around_what_was_painted():
    refiner = Growing()
    session = started(refiner)
    delta, shown, taken = painting(session, session.prepare(CLICK), STROKE, after=1)
    assert taken == [True]
    session.apply(delta)
    assert session.mask[28:31, 20:22, 20:22].all()
    assert session.mask[26, 20, 20]  # the stroke grew for the two steps that were left
    assert not session.mask[25, 20, 20]
    assert session.mask[17:24, 20, 20].all()  # and the click for all three
    assert len(refiner.steps) == 3 == len(shown)
    assert (shown[-1].percent[session.mask[shown[-1].box.slices]] > 50).all()


def test_what_was_erased_stays_erased_whatever_the_agent_wants():
    session = started()
    session.set_start(np.pad(np.ones((10, 10, 10), bool), 15))
    eraser = FillBox((26.0, 18.0, 18.0), (27.0, 21.0, 21.0), erase=True)
    delta, _, taken = painting(session, session.prepare(Refine()), eraser, after=2)
    session.apply(delta)
    assert taken == [True]
    assert not session.mask[26:28, 18:22, 18:22].any()
    assert session.mask[26, 17, 18]
    (met,) = delta.interventions
    assert not met.foreground
    assert (met.proposed[met.voxels] > 50).any()  # the agent had proposed what was erased


def test_the_intervention_is_told_with_the_proposal_there_its_step_and_its_operation():
    session, events = started(), []
    session.observers.append(events.append)
    delta, shown, _ = painting(session, session.prepare(CLICK), STROKE, after=2)
    session.apply(delta)
    (event,) = events
    (met,) = event.interventions
    assert met.step == 1
    assert met.foreground
    assert met.voxels.sum() == 3 * 2 * 2
    for stage, preview in ((met.before, shown[0]), (met.proposed, shown[1])):  # of which the label alone was shown
        seen = np.zeros(SHAPE, bool)
        seen[preview.box.slices] = preview.percent > 50
        assert np.array_equal(stage > 50, seen[met.box.slices])
    (noted,) = json.loads(json.dumps(event.parameters))["interventions"]
    assert noted["after_step"] == 2
    assert noted["operation"]["operation"] == "box"


def test_it_is_one_entry_with_its_turn_and_its_voxels_count_as_painted():
    session = started()
    delta, _, _ = painting(session, session.prepare(CLICK), STROKE, after=3)
    session.apply(delta)
    assert len(session.history.undo_names) == 1
    session.accept()
    assert session.written_voxels == {"brush": 12, "model": int(session.mask.sum()) - 12}
    session.undo()
    session.undo()
    assert not session.mask.any()


@pytest.mark.parametrize("after", [1, 2, 3])
def test_the_same_stroke_at_the_same_step_gives_the_same_result_again(after):
    session, again, events = started(), started(), []
    session.observers.append(events.append)
    delta, _, _ = painting(session, session.prepare(CLICK), STROKE, after=after)
    session.apply(delta)
    given = json.loads(json.dumps(events[0].parameters))
    again.apply(job_of(again, events[0].action, given).run())
    assert again.percent.tobytes() == session.percent.tobytes()
    again_events = []
    again.undo()
    again.observers.append(again_events.append)
    again.apply(job_of(again, events[0].action, given).run())
    assert again_events[0].parameters == events[0].parameters


def test_deleting_another_click_of_the_proposal_keeps_the_stroke():
    session = started()
    session.click_voxels([Click((10, 10, 10), OBJECT)])
    delta, _, _ = painting(session, session.prepare(CLICK), STROKE, after=1)
    session.apply(delta)
    session.delete_click(0)
    alone = started()
    delta, _, _ = painting(alone, alone.prepare(CLICK), STROKE, after=1)
    alone.apply(delta)
    assert np.array_equal(session.mask, alone.mask)


def test_a_stroke_that_comes_too_late_or_leaves_the_region_is_not_taken():
    session = started()
    job = session.prepare(CLICK)
    assert not session.intervene(job, STROKE)  # not running yet
    far = Brush(((39.0, 39.0, 39.0),), 3.0)
    delta, _, taken = painting(session, job, far, after=1)
    assert taken == [False]
    assert not session.intervene(job, STROKE)  # over
    session.apply(delta)
    assert not session.mask[28:31, 20:22, 20:22].any()


def test_locked_labels_and_clicked_voxels_are_not_painted_over():
    array = np.zeros(SHAPE, np.uint8)
    array[28:31, 20, 20] = 3
    session = started(label_map=Volume(array, np.eye(4)), labels=LabelMap().adding("Lesion", value=1), active=1)
    delta, _, _ = painting(session, session.prepare(CLICK), STROKE, after=1)
    session.apply(delta)
    assert not session.mask[28:31, 20, 20].any()
    assert session.mask[28:31, 21, 20].all()
    eraser = FillBox((19.0, 19.0, 19.0), (21.0, 21.0, 21.0), erase=True)
    delta, _, _ = painting(session, session.prepare(Refine()), eraser, after=3)
    session.apply(delta)
    assert session.mask[20, 20, 20]
    assert not session.mask[19, 20, 20]


def test_only_what_paints_can_go_into_a_running_refinement():
    session = started()
    with pytest.raises(EditError, match="cannot go into a running refinement"):
        session.intervene(session.prepare(CLICK), Margin(2.0))


def test_a_stroke_from_another_thread_reaches_the_running_job():
    inside, go_on = threading.Event(), threading.Event()

    class Waiting(Growing):
        def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
            def shown(percent):
                preview(percent)
                inside.set()
                assert go_on.wait(20)

            return super().refine(request, cancel=cancel, preview=shown)

    session, found = started(Waiting()), []
    job = session.prepare(CLICK)
    worker = threading.Thread(target=lambda: found.append(job.run(progress=lambda preview: None)))
    worker.start()
    assert inside.wait(20)
    assert job.region.contains((29, 20, 20))
    assert session.intervene(job, STROKE)
    go_on.set()
    worker.join(20)
    session.apply(found[0])
    assert session.mask[28:31, 20:22, 20:22].all()


def test_stopping_wins_over_a_waiting_stroke():
    session = started()
    job, stop = session.prepare(CLICK), threading.Event()

    def progress(preview):
        session.intervene(job, STROKE)
        stop.set()

    with pytest.raises(Cancelled):
        job.run(stop.is_set, progress)
    assert not session.mask.any()


def test_a_stroke_holds_through_the_coarse_level_and_its_tiles():
    config = InteractionConfig(steps=2, coarse_steps=2, edit_radius_mm=None, roi_cap_voxels=8000)
    for after in (1, 2, 3):
        session = started(config=config)
        session.set_start(np.pad(np.ones((24, 24, 24), bool), 8))
        stroke = FillBox((34.0, 18.0, 18.0), (36.0, 21.0, 21.0), erase=False)
        delta, shown, taken = painting(session, session.prepare(Refine()), stroke, after=after)
        session.apply(delta)
        assert taken == [True]
        assert delta.report.levels == 2
        assert session.mask[34:37, 18:22, 18:22].all()
        part = Box((34, 18, 18), (37, 22, 22)).shifted(tuple(-n for n in shown[-1].box.start)).slices
        assert (shown[-1].percent[part] == 99).all()


def test_a_refiner_without_steps_gets_the_stroke_at_its_end():
    class AtOnce(Growing):
        def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
            result = super().refine(request)
            preview(result)
            return result

    session = started(AtOnce())
    delta, _, taken = painting(session, session.prepare(CLICK), STROKE, after=1)
    session.apply(delta)
    assert taken == [True]
    assert session.mask[28:31, 20:22, 20:22].all()
    assert session.mask[17:24, 20, 20].all()


def test_what_was_painted_into_a_job_that_more_clicks_stopped_goes_into_the_next_one():
    session = started()
    job, stop = session.prepare(CLICK), threading.Event()

    def progress(preview):
        assert session.intervene(job, STROKE)
        stop.set()

    with pytest.raises(Cancelled):
        job.run(stop.is_set, progress)
    assert not session.intervene(job, STROKE)  # nobody would take it
    both = PlaceVoxelClicks((*CLICK.clicks, Click((10, 10, 10), OBJECT)))
    delta = session.prepare(both).with_strokes_of(job).run()
    session.apply(delta)
    assert session.mask[28:31, 20:22, 20:22].all()
    assert session.mask[10, 10, 10]
    assert len(delta.parameters["interventions"]) == 1


def test_a_stopped_job_takes_its_strokes_again_when_it_is_run_again():
    session = started()
    job, stop, given = session.prepare(CLICK), threading.Event(), []

    def progress(preview):
        given.append(preview)
        if len(given) == 1:
            assert session.intervene(job, STROKE)
        if len(given) == 2:
            stop.set()

    with pytest.raises(Cancelled):
        job.run(stop.is_set, progress)
    delta = job.run()
    straight = started()
    expected, _, _ = painting(straight, straight.prepare(CLICK), STROKE, after=1)
    session.apply(delta)
    straight.apply(expected)
    assert session.percent.tobytes() == straight.percent.tobytes()
    assert delta.parameters == expected.parameters
