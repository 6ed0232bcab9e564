"""Candidates to rank, where to look next, and commands: what a session offers beyond clicks."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from medseg_rl.agent.draws import smooth_draw
from medseg_rl.editing import FillBox
from medseg_rl.errors import Cancelled, MedSegError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.interaction import InteractionConfig
from medseg_rl.labels import LabelMap
from medseg_rl.session import PlaceVoxelClicks, SegmentationSession, StaleDeltaError
from medseg_rl.session.requests import do_again
from medseg_rl.session.suggestions import heard, uncertainty
from medseg_rl.volume import Box, Volume

OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
SHAPE = (32, 30, 28)
CENTRE = (16, 15, 14)
AFFINE = np.array([[0, -2.0, 0, 30], [1.5, 0, 0.1, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])


class Soft:
    """A soft ball round the first click: surer near it. A seed makes it larger or smaller. Knows three commands."""

    name = "soft"

    def describe(self):
        return {"kind": self.name, "commands": 3}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        if cancel():
            raise Cancelled("stopped")
        percent = request.percent.copy()
        grow = {None: 0, 1: 0}.get(request.seed, (request.seed or 0) % 5) + 4 * request.command
        for click in request.clicks[:1]:
            axes = np.ogrid[tuple(slice(n) for n in percent.shape)]
            squared = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, click.index, request.spacing, strict=True))
            percent = np.clip(90 - 4 * np.sqrt(squared) + 4 * grow, 2, 98).astype(np.uint8)
        if request.held_voxels is not None:
            np.copyto(percent, request.percent, where=request.held_voxels)
        preview(percent)
        return percent


class Fixed(Soft):
    """Draws nothing, is sure of everything, knows no commands."""

    name = "fixed"

    def describe(self):
        return {"kind": self.name}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        return np.where(super().refine(replace(request, seed=None)) > 50, 99, 1).astype(np.uint8)


class Counting(Soft):
    """Soft, but its draws are no others. Remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        self.asked.append(request)
        return super().refine(replace(request, seed=None))


def started(refiner=None, affine=AFFINE, **options):
    array = np.random.default_rng(1).normal(0, 1, SHAPE).astype(np.float32)
    config = InteractionConfig(edit_radius_mm=None)
    return SegmentationSession(Volume(array, affine, "MR"), refiner or Soft(), config, **options)


def clicked(refiner=None, **options):
    session = started(refiner, **options)
    session.click_voxels([Click(CENTRE, OBJECT)])
    return session


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


# ---- candidates ------------------------------------------------------------------------------------------------------


def test_candidates_are_distinct_and_change_nothing_until_one_is_chosen():
    session = clicked()
    mask, version = session.mask, session.version
    found = session.candidates(4)
    masks = [session.mask_with(delta) for delta in found.deltas]
    assert len(masks) == 4
    assert all(dice(a, b) < 0.99 for n, a in enumerate(masks) for b in masks[:n])
    for inside, expected in zip(found.masks, masks, strict=True):
        whole = session.label_map == session.active_label
        whole[found.box.slices] = inside
        assert np.array_equal(whole, expected)
    assert np.array_equal(session.mask, mask)
    assert session.version == version
    session.choose(found, 2)
    assert np.array_equal(session.mask, masks[2])
    assert session.history.undo_names[0].startswith("Candidate, Label 1, +")
    session.undo()
    assert np.array_equal(session.mask, mask)


def test_the_same_seed_gives_the_same_candidates_in_the_same_random_order():
    one, two = clicked().candidates(4, seed=5), clicked().candidates(4, seed=5)
    assert [d.parameters for d in one.deltas] == [d.parameters for d in two.deltas]
    orders = {
        tuple(d.parameters["variation"]["lean"] == 0 and d.parameters["variation"]["seed"] is None for d in c.deltas)
        for c in (clicked().candidates(4, seed=seed) for seed in range(8))
    }
    assert len(orders) > 1  # the plain one does not always stand in the same place


def test_candidates_are_the_same_whether_made_side_by_side_or_one_after_the_other(monkeypatch):
    def made(at_a_time):
        monkeypatch.setattr("medseg_rl.session.candidates._side_by_side", lambda: at_a_time)
        found = clicked().candidates(4, seed=5)
        return found.dropped, [(delta.parameters, delta.percent.new) for delta in found.deltas]

    assert made(1) == made(3)


def test_candidates_too_near_to_another_are_dropped_and_the_rest_is_said():
    found = clicked(Fixed()).candidates(4)
    assert len(found) == 1
    assert found.dropped > 5
    assert found.message == "1 distinct of 4: the model is sure of the rest"


def test_a_model_whose_draws_are_no_others_is_not_drawn_from_again_and_again():
    refiner = Counting()
    session = clicked(refiner)
    refiner.asked.clear()
    found = session.candidates(4)
    draws = [request for request in refiner.asked if request.seed is not None]
    assert len(draws) == 1
    assert len(found) == 4  # leans and other steps are tried sooner


def test_candidates_are_refused_where_there_is_nothing_and_for_numbers_nobody_can_compare():
    session = started()
    found = session.candidates(4)
    assert len(found) == 0
    assert "click inside the object first" in found.message
    for count in (1, 10):
        with pytest.raises(MedSegError, match="2 to 9"):
            session.candidates(count)
    with pytest.raises(MedSegError, match="no candidate 0"):
        session.choose(found, 0)


def test_candidates_of_an_older_state_are_refused():
    session = clicked()
    found = session.candidates(3)
    session.click_voxels([Click((5, 5, 5), BACKGROUND)])
    with pytest.raises(StaleDeltaError):
        session.choose(found, 0)
    with pytest.raises(StaleDeltaError):
        session.mask_with(found.deltas[0])


def test_candidates_tell_how_many_there_are_and_can_be_stopped():
    session, told = clicked(), []
    job = session.prepare_candidates(3)
    job.run(progress=told.append)
    assert told == [1, 2, 3]
    with pytest.raises(Cancelled):
        job.run(lambda: len(told) == 3)


def test_a_chosen_candidate_can_be_done_again_and_survives_deleting_a_click():
    session, twin, events = clicked(), clicked(), []
    session.observers.append(events.append)
    session.choose(session.candidates(4, seed=2), 1)
    assert do_again(twin, events[0].action, json.loads(json.dumps(events[0].parameters)))
    assert twin.percent.tobytes() == session.percent.tobytes()
    session.click_voxels([Click((5, 5, 5), BACKGROUND)])
    session.delete_click(1)
    assert np.array_equal(session.mask, twin.mask) or session.proposal is not None


def test_candidates_keep_clicks_and_locks():
    array = np.zeros(SHAPE, np.uint8)
    array[18:24, 12:18, 10:18] = 3
    options = {"label_map": Volume(array, AFFINE), "labels": LabelMap().adding("Lesion", value=1), "active": 1}
    session = clicked(**options)
    session.click_voxels([Click((14, 15, 14), BACKGROUND)])
    for delta in session.candidates(4).deltas:
        mask = session.mask_with(delta)
        assert mask[CENTRE]
        assert not mask[14, 15, 14]
        assert not mask[array == 3].any()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 4.0)])
def test_draws_are_uniform_by_themselves_and_alike_among_neighbours(spacing):
    draws = np.stack([smooth_draw((20, 18, 16), spacing, seed) for seed in range(200)])
    corner, middle = draws[:, 0, 0, 0], draws[:, 10, 9, 8]
    for sample in (corner, middle):
        ranks = np.sort(sample)
        assert np.abs(ranks - (np.arange(200) + 0.5) / 200).max() < 0.12  # Kolmogorov, far beyond chance
    assert np.corrcoef(draws[:, 10, 9, 8], draws[:, 11, 9, 8])[0, 1] > 0.8
    assert np.array_equal(draws[3], smooth_draw((20, 18, 16), spacing, 3))


# ---- where to look next ----------------------------------------------------------------------------------------------


def test_before_the_first_step_of_the_model_nothing_is_suggested():
    session = started()
    session.edit(FillBox((0.0, 0.0, 20.0), (5.0, 5.0, 30.0)))
    with pytest.raises(MedSegError, match="click once"):
        session.next_suggestion()


def test_the_suggestion_is_the_slice_with_the_most_uncertainty_and_its_peak():
    session = clicked()
    found = session.next_suggestion()
    need = uncertainty(session.percent)
    sums = {}
    for axis in range(3):
        first, second = (a for a in range(3) if a != axis)
        area = np.linalg.norm(np.cross(AFFINE[:3, first], AFFINE[:3, second]))
        for at, score in enumerate(need.sum(axis=(first, second), dtype=float) * area):
            sums[axis, at] = score
    assert found.measure == "uncertainty"
    assert (found.axis, found.slice_index) == max(sums, key=sums.get)
    assert found.score == pytest.approx(max(sums.values()), rel=1e-4)
    assert found.index[found.axis] == found.slice_index
    assert need[found.index] == need.take(found.slice_index, axis=found.axis).max()
    assert np.allclose(found.point_mm, session.image.index_to_world(found.index))


def test_the_next_suggestion_lies_five_milliaway_from_those_seen_on_its_plane():
    session, seen = clicked(), []
    for _ in range(6):
        found = session.next_suggestion(seen)
        for other in seen:
            if other.plane == found.plane:
                width = np.linalg.norm(AFFINE[:3, found.axis])
                assert abs(found.slice_index - other.slice_index) * width >= 4.9
        assert not seen or found.score <= seen[-1].score
        seen.append(found)


def test_a_sure_model_has_nothing_to_suggest_and_locked_voxels_do_not_count():
    assert clicked(Fixed()).next_suggestion() is None
    array = np.full(SHAPE, 3, np.uint8)
    array[CENTRE] = 0
    session = clicked(label_map=Volume(array, AFFINE), labels=LabelMap().adding("Lesion", value=1), active=1)
    assert session.next_suggestion() is None


def test_the_value_head_is_asked_where_there_is_one():
    class Foreseeing(Soft):
        def expected_gain(self, request):
            gain = np.full(request.percent.shape, -1.0, np.float32)
            gain[tuple(np.argwhere(request.percent > 50)[0])] = 2.0
            return gain

    found = clicked(Foreseeing()).next_suggestion()
    assert found.measure == "value"
    areas = [np.linalg.norm(np.cross(AFFINE[:3, a], AFFINE[:3, b])) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found.score == pytest.approx(2 * max(areas))


def test_the_value_head_is_not_heard_where_the_model_is_sure_far_from_the_mask():
    class Wild(Fixed):
        def expected_gain(self, request):
            gain = np.full(request.percent.shape, 5.0, np.float32)
            gain[request.percent > 50] = 0
            gain[tuple(np.argwhere(request.percent > 50)[-1])] = 1.0
            return gain

    session = clicked(Wild())
    found, inside = session.next_suggestion(), np.argwhere(session.mask)
    away = np.linalg.norm((inside - found.index) @ AFFINE[:3, :3].T, axis=1)
    assert away.min() <= 5.0 + 1e-3


def test_beside_the_surface_the_critic_is_heard_where_the_model_is_undecided():
    percent = np.full((20, 20, 20), 1, np.uint8)
    percent[4:8, 4:8, 4:8], percent[15, 15, 15] = 99, 40
    told = heard(percent, np.diag([1.0, 1.0, 1.0, 1.0]))
    assert told[15, 15, 15]
    assert told[12, 6, 6]  # 5 mm from the last voxel inside
    assert not told[13, 6, 6]
    assert not told[19, 19, 19]
    assert not heard(np.full((3, 3, 3), 1, np.uint8), np.eye(4)).any()


def test_a_suggestion_places_no_click_and_can_be_stopped():
    session = clicked()
    session.next_suggestion()
    assert len(session.clicks) == 1
    assert session.version == 1
    with pytest.raises(Cancelled):
        session.prepare_suggestion().run(lambda: True)


def test_bits_of_uncertainty_are_one_at_fifty_percent_and_none_where_a_state_can_be_no_surer():
    bits = uncertainty(np.array([[[1, 50, 99]]], np.uint8))[0, 0]
    assert bits[0] == bits[2] == 0
    assert bits[1] == pytest.approx(1 + 0.01 * np.log2(0.01) + 0.99 * np.log2(0.99))


# ---- commands --------------------------------------------------------------------------------------------------------


def test_a_command_is_an_entry_of_its_name_and_replayed_when_a_click_is_deleted():
    session, events = clicked(), []
    session.observers.append(events.append)
    assert session.commands == ("grow", "shrink")
    before = session.mask.sum()
    session.refine("grow")
    grown = session.mask
    assert grown.sum() > before
    assert session.history.undo_names[0].startswith("Grow, Label 1, +")
    assert (events[0].action, events[0].parameters) == ("command", {"command": "grow", "edit_radius_mm": None})
    session.click_voxels([Click((2, 2, 2), BACKGROUND)])
    session.delete_click(1)
    assert np.array_equal(session.mask, grown)


def test_a_model_without_that_command_says_so_and_never_refines_without_it():
    session = clicked(Fixed())
    assert session.commands == ()
    with pytest.raises(MedSegError, match="takes no commands, so not grow"):
        session.refine("grow")
    with pytest.raises(MedSegError, match="knows only grow, shrink"):
        clicked().refine("sharpen")
    with pytest.raises(MedSegError, match="no command 'paint'"):
        clicked().refine("paint")
    assert len(session.history.undo_names) == 1


def test_preparing_a_command_loads_no_model():
    def load():
        raise AssertionError("loaded")

    array = np.random.default_rng(1).normal(0, 1, SHAPE).astype(np.float32)
    session = SegmentationSession(Volume(array, AFFINE), load)
    session.prepare(PlaceVoxelClicks((Click(CENTRE, OBJECT),)))
    session.prepare_candidates(4)


def test_a_limit_bounds_what_the_model_changes_and_is_done_again_with_the_click():
    events = []
    session = started(observers=[events.append])
    session.limit = Box((0, 0, 0), (18, 30, 28))
    session.config = replace(session.config, edit_radius_mm=25.0)
    session.click_voxels([Click(CENTRE, OBJECT)])
    assert session.mask[16].any()
    assert not session.mask[18:].any()
    with pytest.raises(MedSegError, match="limits the model"):
        session.click_voxels([Click((20, 15, 14), OBJECT)])
    again = started()
    assert do_again(again, events[0].action, events[0].parameters)
    assert np.array_equal(again.mask, session.mask)
    assert again.limit is None
    assert again.config.edit_radius_mm != 25.0
