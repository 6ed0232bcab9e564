"""One user turn: what it may read, what it may change, and what holds whatever the refiner says."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medseg_rl.interaction.turn as turn_module
from medseg_rl.errors import Cancelled
from medseg_rl.hints.clicks import Click, ClickLabel, newest_per_voxel
from medseg_rl.history import BoxDelta
from medseg_rl.interaction import InteractionConfig, MaskExtent, TurnInput, take_turn
from medseg_rl.interaction.levels import tiles
from medseg_rl.interaction.region import common_region, product_region
from medseg_rl.volume import Box

OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
SHAPE = (60, 50, 40)
CENTRE = (30, 25, 20)


class Fake:
    """A refiner made of a function from request to percent, run once; remembers every request."""

    name = "fake"

    def __init__(self, function):
        self.function, self.requests = function, []

    def describe(self):
        return {"kind": self.name}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        self.requests.append(request)
        percent = request.percent.copy()
        for _ in range(request.steps):
            if cancel():
                raise Cancelled("stopped")
            percent = self.function(replace(request, percent=percent))
            preview(percent)
        return percent


def flood(request):
    return np.full_like(request.percent, 99)


def drain(request):
    return np.full_like(request.percent, 1)


def keep(request):
    return request.percent.copy()


def noise(request):
    return np.random.default_rng(request.percent.size).integers(1, 100, request.percent.shape).astype(np.uint8)


def against_the_clicks(request):
    percent = request.percent.copy()
    for click in request.clicks:
        percent[click.index] = 1 if click.label == OBJECT else 99
    return percent


def ball(centre, radius_mm, spacing=(1.0, 1.0, 1.0), shape=SHAPE):
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    squared = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, centre, spacing, strict=True))
    return squared <= radius_mm**2


def ball_round_clicks(radius_mm):
    """A refiner function that wants a ball round the first object click, where it sees one, and nothing else."""

    def function(request):
        first = next((c for c in request.clicks if c.label == OBJECT), None)
        if first is None:
            return request.percent.copy()
        inside = ball(first.index, radius_mm, request.spacing, request.percent.shape)
        return np.where(inside, 99, 1).astype(np.uint8)

    return function


def given_turn(
    *new,
    mask=None,
    percent=None,
    earlier=(),
    locked=None,
    image=None,
    spacing=(1.0, 1.0, 1.0),
    background=1,
    **rest,
):
    if percent is None:
        percent = np.zeros(SHAPE, np.uint8) if mask is None else np.where(mask, 90, 0).astype(np.uint8)
    percent.setflags(write=False)
    if image is None:
        image = np.random.default_rng(0).normal(size=percent.shape).astype(np.float32)
    return TurnInput(
        image=lambda box: image[box.slices].copy(),
        spacing=spacing,
        percent=percent,
        background=background,
        locked=lambda box: None if locked is None else locked[box.slices],
        clicks=newest_per_voxel((*earlier, *new)),
        n_new=len(newest_per_voxel(new)),
        mask_box=Box.around_mask(percent > 50),
        **rest,
    )


def after(turn, result):
    percent = turn.percent.copy()
    if result.delta is not None:
        result.delta.apply(percent)
    return np.where(percent == 0, np.uint8(turn.background), percent)


def mask_after(turn, result):
    return after(turn, result) > 50


OBJECT_CLICK = Click(CENTRE, OBJECT)
SMALL = InteractionConfig(max_growths=0)


# ---- clicks ----------------------------------------------------------------------------------------------------------


def test_an_object_click_on_an_empty_mask_gives_a_mask_even_when_the_refiner_wants_none():
    turn = given_turn(OBJECT_CLICK)
    result = take_turn(turn, Fake(drain), SMALL)
    assert mask_after(turn, result)[CENTRE]
    assert mask_after(turn, result).sum() == 1


def test_clicked_voxels_take_their_label_and_what_was_rescued_is_counted():
    clicks = (OBJECT_CLICK, Click((31, 25, 20), BACKGROUND))
    turn = given_turn(*clicks)
    report = take_turn(turn, Fake(against_the_clicks), SMALL).report
    assert report.respected_raw == (False, False)
    assert report.respected == (True, True)
    assert report.click_rescued == 2


def test_without_enforcement_the_refiner_has_the_last_word():
    turn = given_turn(OBJECT_CLICK, mask=ball(CENTRE, 5))
    result = take_turn(turn, Fake(against_the_clicks), replace(SMALL, enforce_clicks=False))
    assert not mask_after(turn, result)[CENTRE]
    assert result.report.respected == (False,)
    assert result.report.click_rescued == 0


@given(
    st.lists(st.tuples(st.integers(15, 45), st.integers(12, 37), st.integers(8, 32), st.booleans()), max_size=5),
    st.tuples(st.integers(15, 45), st.integers(12, 37), st.integers(8, 32)),
)
def test_all_clicks_hold_after_a_turn_of_a_refiner_that_answers_at_random(earlier, index):
    old = [Click((i, j, k), OBJECT if label else BACKGROUND) for i, j, k, label in earlier]
    turn = given_turn(Click(index, BACKGROUND), earlier=old, mask=ball(CENTRE, 12))
    mask = mask_after(turn, take_turn(turn, Fake(noise), replace(SMALL, roi="whole", edit_radius_mm=None)))
    for click in newest_per_voxel((*old, Click(index, BACKGROUND))):
        assert mask[click.index] == (click.label == OBJECT)


def test_the_newest_of_two_clicks_on_a_voxel_wins():
    turn = given_turn(Click(CENTRE, BACKGROUND), earlier=[OBJECT_CLICK, Click((33, 25, 20), OBJECT)])
    fake = Fake(flood)
    result = take_turn(turn, fake, SMALL)
    assert not mask_after(turn, result)[CENTRE]
    assert [c.label for c in fake.requests[0].clicks] == [OBJECT, BACKGROUND]
    assert fake.requests[0].n_new_clicks == 1


def test_the_refiner_gets_the_region_alone_with_indices_counted_from_its_corner():
    turn = given_turn(OBJECT_CLICK)
    fake = Fake(keep)
    roi = take_turn(turn, fake, SMALL).report.roi
    (request,) = fake.requests
    assert request.image.shape == request.percent.shape == roi.shape
    assert np.array_equal(request.image, turn.image(roi))
    assert request.clicks[0].index == tuple(np.subtract(CENTRE, roi.start))
    assert request.hard_clicks is False


# ---- nothing to do ---------------------------------------------------------------------------------------------------


def test_no_new_click_changes_nothing_and_says_so():
    fake = Fake(flood)
    result = take_turn(given_turn(mask=ball(CENTRE, 8), earlier=[OBJECT_CLICK]), fake, SMALL)
    assert result.delta is None
    assert not result.stored
    assert "no new click" in result.report.message
    assert fake.requests == []


def test_a_background_click_without_mask_and_object_click_changes_nothing_and_says_so():
    fake = Fake(flood)
    result = take_turn(given_turn(Click(CENTRE, BACKGROUND)), fake, SMALL)
    assert result.delta is None
    assert not result.stored
    assert "object" in result.report.message
    assert fake.requests == []


def test_a_refinement_that_is_asked_for_needs_no_click():
    turn = given_turn(mask=ball(CENTRE, 8), asked=True)
    fake = Fake(drain)
    result = take_turn(turn, fake, SMALL)
    assert not mask_after(turn, result).any()
    assert result.report.removed_voxels == ball(CENTRE, 8).sum()
    assert fake.requests[0].n_new_clicks == 0


def test_a_refinement_can_be_asked_for_with_clicks_and_an_empty_mask():
    turn = given_turn(earlier=[OBJECT_CLICK], asked=True)
    assert mask_after(turn, take_turn(turn, Fake(drain), SMALL)).sum() == 1


def test_the_same_turn_twice_gives_the_same_delta():
    turn = given_turn(OBJECT_CLICK, mask=ball(CENTRE, 8))
    one, two = (take_turn(turn, Fake(noise), SMALL).delta for _ in range(2))
    assert (one.box, one.changed, one.old, one.new) == (two.box, two.changed, two.old, two.new)


# ---- what may change -------------------------------------------------------------------------------------------------


def test_nothing_outside_the_region_changes():
    turn = given_turn(OBJECT_CLICK)
    result = take_turn(turn, Fake(flood), SMALL)
    outside = np.ones(SHAPE, bool)
    outside[result.report.roi.slices] = False
    assert outside.any()
    assert not mask_after(turn, result)[outside].any()


def test_locked_voxels_are_background_to_the_refiner_and_never_enter_the_mask():
    locked = ball((36, 25, 20), 5)
    turn = given_turn(OBJECT_CLICK, locked=locked, background=10)
    fake = Fake(flood)
    result = take_turn(turn, fake, SMALL)
    roi = result.report.roi.slices
    assert (fake.requests[0].percent[locked[roi]] == 1).all()
    assert np.array_equal(fake.requests[0].held_voxels, locked[roi])
    assert not (mask_after(turn, result) & locked).any()
    assert mask_after(turn, result).sum() == result.report.roi.voxels - locked[roi].sum()


def test_the_guard_holds_everything_beyond_the_balls_of_the_new_clicks():
    new = (Click((20, 25, 20), OBJECT), Click((30, 25, 20), BACKGROUND))
    turn = given_turn(*new, mask=ball((30, 25, 20), 18), earlier=[Click((45, 25, 20), OBJECT)])
    config = InteractionConfig(roi="whole", edit_radius_mm=7.0)
    changed = mask_after(turn, take_turn(turn, Fake(lambda r: 100 - r.percent), config)) != (turn.percent > 50)
    balls = ball((20, 25, 20), 7) | ball((30, 25, 20), 7)
    assert not changed[~balls].any()
    assert changed[balls].sum() > 0.9 * balls.sum()


def test_the_guard_measures_millimetres_along_each_axis():
    spacing = (1.0, 2.0, 4.0)
    turn = given_turn(OBJECT_CLICK, mask=ball(CENTRE, 3, spacing), spacing=spacing)
    config = InteractionConfig(roi="whole", edit_radius_mm=12.0)
    added = mask_after(turn, take_turn(turn, Fake(flood), config))
    assert np.array_equal(added, ball(CENTRE, 12, spacing))


def test_the_guard_is_off_while_the_mask_is_empty_and_when_it_is_lifted():
    config = InteractionConfig(roi="whole", edit_radius_mm=7.0)
    first = given_turn(OBJECT_CLICK)
    assert mask_after(first, take_turn(first, Fake(flood), config)).all()
    later = given_turn(OBJECT_CLICK, mask=ball(CENTRE, 3))
    assert mask_after(later, take_turn(later, Fake(flood), replace(config, edit_radius_mm=None))).all()


def test_the_sign_guard_lets_background_clicks_add_nothing():
    was = ball(CENTRE, 8)
    turn = given_turn(Click((36, 25, 20), BACKGROUND), mask=was)
    config = InteractionConfig(roi="whole", sign_guard=True, edit_radius_mm=None)
    now = mask_after(turn, take_turn(turn, Fake(lambda r: 100 - r.percent), config))
    assert not now.any()
    free = mask_after(turn, take_turn(turn, Fake(lambda r: 100 - r.percent), replace(config, sign_guard=False)))
    assert free.any()


def test_the_sign_guard_lets_object_clicks_remove_only_what_is_near():
    was = ball(CENTRE, 18)
    turn = given_turn(Click((30, 25, 20), OBJECT), mask=was)
    config = InteractionConfig(roi="whole", sign_guard=True, edit_radius_mm=None)
    now = mask_after(turn, take_turn(turn, Fake(drain), config))
    expected = was & ~ball(CENTRE, 10)
    expected[CENTRE] = True
    assert np.array_equal(now, expected)


@pytest.mark.parametrize("roi", ["product", "common"])
@pytest.mark.parametrize("radius", [None, 6.0, 40.0])
@pytest.mark.parametrize("growths", [0, 2])
@pytest.mark.parametrize("empty", [False, True])
@given(index=st.tuples(st.integers(0, 59), st.integers(0, 49), st.integers(0, 39)))
@settings(max_examples=5)
def test_a_turn_reads_nothing_beyond_its_reach(roi, radius, growths, empty, index):
    config = InteractionConfig(
        roi=roi, edit_radius_mm=radius, max_growths=growths, empty_start_side_mm=40.0, roi_cap_voxels=20_000
    )
    mask = None if empty else ball((20, 20, 15), 6) | ball((50, 40, 30), 4)
    click = Click(index, OBJECT)
    clean = given_turn(click, mask=mask, start_box=None if empty else Box.around_mask(mask))
    poisoned = np.full(SHAPE, 77, np.uint8)
    part = clean.reach(config).slices
    poisoned[part] = clean.percent[part]
    one = take_turn(clean, Fake(ball_round_clicks(9)), config)
    two = take_turn(replace(clean, percent=poisoned), Fake(ball_round_clicks(9)), config)
    assert one.report.roi == two.report.roi
    assert (one.delta is None) == (two.delta is None)
    if one.delta is not None:
        assert (one.delta.box, one.delta.new) == (two.delta.box, two.delta.new)


# ---- regions ---------------------------------------------------------------------------------------------------------


def test_the_product_region_holds_the_part_that_is_touched_and_leaves_the_far_one():
    near, far = ball((10, 10, 10), 4), ball((45, 40, 30), 4)
    box = product_region(near | far, (0, 0, 0), [Click((10, 10, 10), OBJECT)], (1, 1, 1), SHAPE)
    assert box == Box((0, 0, 0), (32, 32, 32))
    box = product_region(near | far, (0, 0, 0), [Click((45, 33, 30), OBJECT)], (1, 1, 1), SHAPE)
    assert box.contains((49, 44, 34))
    assert not box.contains((14, 10, 10))


def test_the_product_region_takes_the_part_nearest_in_millimetres():
    plane, tube = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    plane[30, 20:30, 28] = True  # 8 voxels along z, 32 mm
    tube[45, 25, 20] = True  # 15 voxels along x, 15 mm
    box = product_region(plane | tube, (0, 0, 0), [OBJECT_CLICK], (1.0, 1.0, 4.0), SHAPE)
    assert box.contains((45, 25, 20))
    assert not box.contains((30, 20, 28))


def test_the_product_region_is_at_least_32_mm_wide_on_thick_slices_too():
    box = product_region(np.zeros(SHAPE, bool), (0, 0, 0), [OBJECT_CLICK], (1.0, 0.5, 4.0), SHAPE)
    assert all(n * s >= 32 for n, s in zip((box.shape[0], box.shape[2]), (1.0, 4.0), strict=True))
    assert box.shape[1] == 50  # the volume itself is narrower


def test_the_common_region_is_start_mask_and_all_clicks_and_ten_millimetres():
    start = Box((20, 20, 15), (40, 30, 25))
    clicks = [Click((45, 25, 20), OBJECT), Click((30, 10, 20), BACKGROUND)]
    assert common_region(start, clicks, (1, 1, 1), (90, 90, 90), None) == Box((10, 0, 4), (56, 40, 36))


def test_the_common_region_of_an_empty_start_is_a_box_round_the_first_click():
    clicks = [Click((45, 45, 45), OBJECT), Click((45, 45, 70), OBJECT)]
    box = common_region(None, clicks, (1, 1, 1), (90, 90, 90), 40.0)
    assert box == Box((25, 25, 25), (66, 66, 81))
    with pytest.raises(ValueError, match="empty_start_side_mm"):
        common_region(None, clicks, (1, 1, 1), (90, 90, 90), None)


def test_the_region_grows_at_most_twice_and_starts_from_the_state_before_the_turn_each_time():
    shape = (120, 120, 120)
    turn = given_turn(Click((60, 60, 60), OBJECT), percent=np.zeros(shape, np.uint8))
    fake = Fake(flood)
    report = take_turn(turn, fake, InteractionConfig(max_growths=2)).report
    assert report.growths == 2
    widths = [request.percent.shape[0] for request in fake.requests]
    assert widths == [33, 51, 77]
    assert all((request.percent == 1).all() for request in fake.requests)


def test_the_region_does_not_grow_when_the_change_stays_inside_or_the_volume_ends_there():
    turn = given_turn(OBJECT_CLICK)
    assert take_turn(turn, Fake(ball_round_clicks(9)), InteractionConfig()).report.growths == 0
    small = given_turn(Click((10, 10, 10), OBJECT), percent=np.zeros((20, 20, 20), np.uint8))
    assert take_turn(small, Fake(flood), InteractionConfig()).report.growths == 0


def test_an_old_mask_that_crosses_the_region_does_not_make_it_grow():
    shape = (120, 40, 40)
    bar = np.zeros(shape, bool)
    bar[:, 15:25, 15:25] = True
    turn = given_turn(Click((60, 20, 28), OBJECT), percent=np.where(bar, 90, 0).astype(np.uint8))
    report = take_turn(turn, Fake(keep), InteractionConfig(edit_radius_mm=20.0)).report
    assert report.growths == 0
    assert report.roi.shape[0] == 61  # the guard's ball and ten millimetres, not the whole bar


def test_a_grown_region_never_passes_the_guard():
    turn = given_turn(OBJECT_CLICK, mask=ball(CENTRE, 3))
    result = take_turn(turn, Fake(flood), InteractionConfig(edit_radius_mm=12.0))
    assert np.array_equal(mask_after(turn, result), ball(CENTRE, 12))


# ---- steps, cancel, preview ------------------------------------------------------------------------------------------


def test_cancelling_stops_at_the_next_step():
    asked = []

    def cancel():
        asked.append(True)
        return len(asked) > 2

    fake = Fake(keep)
    with pytest.raises(Cancelled):
        take_turn(given_turn(OBJECT_CLICK), fake, SMALL, cancel=cancel)
    assert len(asked) == 3


def test_each_step_is_shown_with_its_clicks_already_hard():
    shown = []
    turn = given_turn(OBJECT_CLICK)
    result = take_turn(turn, Fake(drain), replace(SMALL, steps=2), progress=shown.append)
    assert len(shown) == 2
    assert all(preview.box == result.report.roi for preview in shown)
    assert all(preview.percent[tuple(np.subtract(CENTRE, preview.box.start))] == 99 for preview in shown)


def test_a_refiner_that_answers_another_shape_is_found_out():
    with pytest.raises(ValueError, match="the refiner returned"):
        take_turn(given_turn(OBJECT_CLICK), Fake(lambda r: r.percent[1:]), SMALL)


# ---- two levels ------------------------------------------------------------------------------------------------------


def test_a_region_above_the_cap_is_refined_coarse_first_and_then_in_tiles_near_the_edge():
    shape, centre = (100, 96, 90), (50, 48, 45)
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    distance = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True))).astype(np.float32)
    turn = given_turn(Click(centre, OBJECT), percent=np.zeros(shape, np.uint8), image=distance)
    fake = Fake(lambda request: np.where(request.image <= 28, 99, 1).astype(np.uint8))
    config = InteractionConfig(roi="whole", roi_cap_voxels=40_000)
    result = take_turn(turn, fake, config)
    assert result.report.levels == 2
    coarse, *fine = fake.requests
    assert coarse.percent.size <= 40_000
    assert coarse.spacing[0] > 2.0
    assert fine
    assert all(request.spacing == (1.0, 1.0, 1.0) and request.percent.size <= 40_000 for request in fine)
    assert sum(request.percent.size for request in fine) < 1.5 * np.prod(shape)
    assert np.array_equal(mask_after(turn, result), ball(centre, 28, shape=shape))


def test_without_two_scales_a_large_region_runs_as_it_is():
    fake = Fake(keep)
    config = InteractionConfig(roi="whole", roi_cap_voxels=40_000, two_scale=False)
    assert take_turn(given_turn(OBJECT_CLICK), fake, config).report.levels == 1
    assert [request.percent.shape for request in fake.requests] == [SHAPE]


def test_two_levels_keep_locks_guard_and_clicks():
    locked = ball((36, 25, 20), 5)
    new = (OBJECT_CLICK, Click((30, 28, 20), BACKGROUND))
    turn = given_turn(*new, mask=ball(CENTRE, 4) & ~locked, locked=locked)
    config = InteractionConfig(roi="whole", roi_cap_voxels=20_000, edit_radius_mm=15.0)
    fake = Fake(flood)
    result = take_turn(turn, fake, config)
    expected = (ball(CENTRE, 15) | ball((30, 28, 20), 15)) & ~locked
    expected[30, 28, 20] = False
    assert result.report.levels == 2
    assert all((request.percent[request.held_voxels] == 1).all() for request in fake.requests[1:])
    assert np.array_equal(mask_after(turn, result), expected)


def test_where_a_new_click_lies_the_fine_level_always_looks():
    def fine_level_alone(request):
        return drain(request) if request.spacing == (1.0, 1.0, 1.0) and request.n_new_clicks else keep(request)

    turn = given_turn(OBJECT_CLICK, mask=np.ones(SHAPE, bool))  # no edge and no doubt anywhere
    config = InteractionConfig(roi="whole", roi_cap_voxels=20_000, edit_radius_mm=None)
    removed = ~mask_after(turn, take_turn(turn, Fake(fine_level_alone), config))
    assert 0 < removed.sum() < 0.5 * removed.size


@given(st.tuples(*[st.integers(1, 130)] * 3), st.integers(8, 64))
def test_tiles_cover_a_region_once(shape, side):
    count = np.zeros(shape, np.uint8)
    for box in tiles(shape, side):
        assert max(box.shape) <= side
        count[box.slices] += 1
    assert (count == 1).all()


# ---- the mask's box --------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_box_and_size_of_the_mask_follow_deltas_exactly(seed, turns):
    rng, shape = np.random.default_rng(seed), (9, 8, 7)
    state, extent, deltas = np.ones(shape, np.uint8), MaskExtent(shape), []
    for _ in range(turns):
        start = rng.integers(0, 6, 3)
        box = Box(tuple(int(s) for s in start), shape)
        new = np.where(rng.random(box.shape) < 0.1, rng.integers(1, 100, box.shape), state[box.slices]).astype(np.uint8)
        delta = BoxDelta.encode(box.start, state[box.slices], new)
        if delta is not None:
            delta.apply(state)
            extent.follow(delta)
            deltas.append(delta)
        assert extent.box == Box.around_mask(state > 50)
        assert extent.voxels == np.count_nonzero(state > 50)
    for delta in reversed(deltas):
        delta.revert(state)
        extent.follow(delta, reverted=True)
        assert extent.box == Box.around_mask(state > 50)


# ---- what it cannot be given -----------------------------------------------------------------------------------------


def test_no_inference_function_takes_a_reference():
    names = set()
    for _, function in inspect.getmembers(turn_module, inspect.isfunction):
        names |= set(inspect.signature(function).parameters)
    names |= set(TurnInput.__dataclass_fields__)
    assert not {n for n in names if "reference" in n or "truth" in n or n == "target"}


@pytest.mark.parametrize(
    "wrong", [{"roi": "oracle"}, {"steps": 9}, {"coarse_steps": -1}, {"edit_radius_mm": 0.0}, {"roi_cap_voxels": 8}]
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        InteractionConfig(**wrong)
