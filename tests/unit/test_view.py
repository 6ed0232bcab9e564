"""What a turn shows to a refiner that sees so many voxels around a click, from as far off as the error needs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.interaction import InteractionConfig, TurnInput, take_turn
from medseg_rl.interaction.strokes import Stroke, Strokes
from medseg_rl.interaction.view import CLOSER, DEPTH_VOXELS, View, click_view, hope, mask_view, scouted_view
from medseg_rl.refiner import LOWEST
from medseg_rl.volume import Box

SIDE = 20
SHAPE = (120, 110, 100)
CENTRE = (60, 55, 50)
FREE = InteractionConfig(edit_radius_mm=None)


class Onlooker:
    """Paints a ball of so many voxels of its view round the newest click, and remembers what it was shown."""

    name = "onlooker"
    view_voxels = SIDE

    def __init__(self, radius: float) -> None:
        self.radius, self.requests = radius, []

    def describe(self):
        return {"kind": self.name}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        self.requests.append(request)
        inside = ball(request.clicks[-1].index, self.radius, request.percent.shape)
        painted = np.where(inside, 99, request.percent).astype(np.uint8)
        preview(painted)
        return painted


def ball(centre, radius, shape):
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2


def turn(mask, *clicks, spacing=(1.0, 1.0, 1.0)):
    percent = np.where(mask, 90, 0).astype(np.uint8)
    return TurnInput(
        image=lambda box: np.zeros(box.shape, np.float32),
        spacing=spacing,
        percent=percent,
        background=1,
        locked=lambda box: None,
        clicks=clicks,
        n_new=1,
        mask_box=Box.around_mask(mask),
    )


def shown(mask, *clicks, radius=2.0, config=FREE, **more):
    refiner = Onlooker(radius)
    result = take_turn(turn(mask, *clicks, **more), refiner, config)
    return refiner.requests, result


def object_click(index):
    return Click(index, ClickLabel.FOREGROUND)


def test_near_the_surface_a_view_shows_the_voxels_of_the_file():
    requests, _ = shown(ball(CENTRE, 20, SHAPE), object_click((60, 55, 71)))
    assert [request.spacing for request in requests] == [(1.0, 1.0, 1.0)]
    assert max(requests[0].percent.shape) <= SIDE + 1


@pytest.mark.parametrize("depth", [6, 12, 24])
def test_the_deeper_a_click_lies_the_farther_off_the_view_but_it_never_shows_more_voxels(depth):
    mask = ball(CENTRE, 40, SHAPE)
    requests, _ = shown(mask, Click((60, 55, 50 + 40 - depth), ClickLabel.BACKGROUND))
    voxel = math.prod(requests[0].spacing) ** (1 / 3)
    assert voxel == pytest.approx(depth / DEPTH_VOXELS, rel=0.2)
    assert requests[0].percent.size <= (SIDE + 1) ** 3


def test_millimetres_decide_how_deep_a_click_lies():
    mask = np.zeros(SHAPE, bool)
    mask[:, :, :50] = True
    requests, _ = shown(mask, object_click((60, 55, 53)), spacing=(1.0, 1.0, 8.0))
    assert math.prod(requests[0].spacing) ** (1 / 3) == pytest.approx(4 * 8 / DEPTH_VOXELS, rel=0.3)


def test_a_voxel_that_a_click_alone_holds_is_no_surface():
    mask = ball(CENTRE, 28, SHAPE)
    mask[60, 55, 88] = True
    earlier = object_click((60, 55, 88))
    with_it, _ = shown(mask, earlier, object_click((60, 55, 90)))
    assert math.prod(with_it[0].spacing) ** (1 / 3) > 4


def test_an_object_of_which_there_is_no_mask_is_looked_at_from_ever_farther_off_while_it_fills_the_view():
    (*scouts, chosen, closer), result = shown(np.zeros(SHAPE, bool), object_click(CENTRE), radius=30.0)
    assert all(request.glance for request in scouts)
    assert not chosen.glance
    widths = [request.percent.shape[0] * request.spacing[0] for request in scouts]
    assert widths == sorted(widths)
    last = scouts[-1]
    assert all(request.percent.size <= 1.2 * (SIDE + 1) ** 3 for request in scouts)
    assert closer.n_new_clicks == 0
    assert 2 * last.percent.size < closer.percent.size <= 3 * 1.2 * (SIDE + 1) ** 3
    assert result.report.added_voxels > 0.9 * math.prod(SHAPE)


@pytest.mark.parametrize("radius", [2.0, 5.0, 30.0])
def test_a_first_click_glances_at_each_view_once_and_shows_what_the_first_glance_gave(radius):
    refiner, previews = Onlooker(radius), []
    result = take_turn(turn(np.zeros(SHAPE, bool), object_click(CENTRE)), refiner, FREE, progress=previews.append)
    glances = [request for request in refiner.requests if request.glance]
    assert len({request.spacing for request in glances}) == len(glances)
    steps = [request.n_new_clicks for request in refiner.requests if not request.glance]
    assert steps in ([1], [1, 0])
    assert previews[0].box.voxels == glances[0].percent.size
    assert previews[-1].box == result.report.roi


@pytest.mark.parametrize(
    ("hopes", "best", "looks"),
    [([0.9, 0.8, 0.7, 0.6, 1.0], 0, 4), ([0.3, 0.5, 0.4, 0.6, 0.5, 0.5, 0.5], 3, 7), ([0.5, 0.5, 0.5, 0.5], 0, 4)],
)
def test_the_view_counts_that_promises_most_and_three_without_a_better_one_end_the_search(hopes, best, looks):
    views: list[View] = []
    close = View(Box((150, 150, 150), (171, 171, 171)))
    chosen = scouted_view(
        close,
        Box.whole((320, 320, 320)),
        (320, 320, 320),
        (0.2, 0.2, 0.2),
        lambda view: (views.append(view), hopes[len(views) - 1])[1],
    )
    assert len(views) == looks
    assert chosen == views[best]
    assert views[0] == close


def test_large_voxels_are_looked_at_from_one_step_farther_off_at_most():
    views: list[View] = []
    scouted_view(
        View(Box((50, 45, 40), (71, 66, 61))),
        Box.whole(SHAPE),
        SHAPE,
        (5.0, 5.0, 5.0),
        lambda view: (views.append(view), float(len(views)))[1],
    )
    assert [view.magnification for view in views] == [1.0, 1.5, 2.25]


def test_a_mask_promises_its_expected_dice_as_far_as_it_is_sure_of_itself():
    whole, shape = Box.whole((10, 10, 10)), (10, 10, 10)
    percent = np.full(shape, LOWEST, np.uint8)
    nothing = percent.copy()
    assert hope(percent, nothing, whole, shape) == 0
    percent[4:6, 4:6, 4:6] = 80
    assert hope(percent, nothing, whole, shape) == pytest.approx(0.8**2 * 2 * 8 * 0.8 / (8 + 8 * 0.8))
    percent[2, 2, 2:8] = 50  # doubt that the mask leaves out
    assert hope(percent, nothing, whole, shape) == pytest.approx(0.8**2 * 2 * 8 * 0.8 / (8 + 8 * 0.8 + 6 * 0.5))


def test_a_mask_that_fills_its_view_hopes_for_nothing_unless_the_volume_ends_there():
    shape, box = (30, 30, 30), Box((10, 10, 10), (20, 20, 20))
    percent, nothing = np.full(box.shape, 90, np.uint8), np.full(box.shape, LOWEST, np.uint8)
    assert hope(percent, nothing, box, shape) == 0
    assert hope(percent, nothing, box, (20, 20, 20)) == 0
    assert hope(percent, nothing, Box.whole((10, 10, 10)), (10, 10, 10)) > 0.7
    percent[:, :, 5:] = LOWEST
    assert 0 < hope(percent, nothing, box, shape) < 0.5


def test_only_what_is_added_to_a_mask_counts_as_a_promise():
    shape = (12, 12, 12)
    before = np.full(shape, LOWEST, np.uint8)
    before[:3] = 99
    percent = before.copy()
    assert hope(percent, before, Box.whole(shape), shape) == 0
    percent[6:8, 6:8, 6:8] = 80
    alone = np.where(before > 50, LOWEST, percent)
    nothing = np.full(shape, LOWEST, np.uint8)
    assert hope(percent, before, Box.whole(shape), shape) == hope(alone, nothing, Box.whole(shape), shape) > 0


SMALL, FAR_AWAY = ball((20, 55, 50), 6, SHAPE), (95, 55, 50)


def test_a_click_far_from_a_small_mask_is_looked_at_from_close_by_first():
    requests, result = shown(SMALL, object_click(FAR_AWAY), radius=3.0)
    glances = [request for request in requests if request.glance]
    assert glances[0].spacing == (1.0, 1.0, 1.0)
    assert [request.glance for request in requests].count(False) == 1
    assert result.report.roi is not None
    assert result.report.added_voxels <= ball(FAR_AWAY, 3.0 * 9, SHAPE).sum()


def test_a_second_part_far_from_the_first_does_not_flood_what_lies_between():
    class Finder(Onlooker):
        """Sees a second ball of 5 mm, if its voxels are small enough; fills the view where they are not."""

        def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
            self.radius = 5.0 / request.spacing[0] if request.spacing[0] < 3 else 99.0
            return super().refine(request)

    result = take_turn(turn(SMALL, object_click(FAR_AWAY)), Finder(0.0), FREE)
    assert 300 < result.report.added_voxels < 1000


def test_a_click_near_a_large_mask_or_against_one_is_looked_at_once():
    large = ball(CENTRE, 30, SHAPE)
    for click in (object_click((60, 55, 88)), Click(CENTRE, ClickLabel.BACKGROUND)):
        requests, _ = shown(large, click)
        assert len(requests) == 1


@pytest.mark.parametrize("click", [object_click(CENTRE), Click((60, 55, 95), ClickLabel.BACKGROUND)])
def test_a_click_that_the_mask_agrees_with_far_from_its_surface_is_kept_and_changes_nothing_else(click):
    mask = ball(CENTRE, 30, SHAPE)
    requests, result = shown(mask, click)
    assert not requests
    assert result.stored
    assert result.report.respected == (True,)
    assert result.report.changed_box is None
    assert "agrees" in result.report.message
    state = np.where(mask, 90, 0).astype(np.uint8)
    if click.label == ClickLabel.FOREGROUND:
        result.delta.apply(state, (0, 0, 0))
        assert state[click.index] == 99
        state[click.index] = 90
    assert np.array_equal(state, np.where(mask, 90, 0))


def test_a_click_that_the_mask_agrees_with_near_its_surface_may_move_it():
    requests, result = shown(ball(CENTRE, 30, SHAPE), object_click((60, 55, 79)))
    assert len(requests) == 1
    assert not result.report.message


@pytest.mark.parametrize("mask", [np.zeros(SHAPE, bool), ball(CENTRE, 20, SHAPE)])
def test_many_clicks_far_from_each_other_are_seen_in_one_view_of_bounded_size(mask):
    corners = [object_click((x, y, z)) for x in (5, 115) for y in (5, 105) for z in (5, 95)]
    refiner = Onlooker(2.0)
    take_turn(replace(turn(mask, *corners), n_new=len(corners)), refiner, FREE)
    sizes = [request.percent.size for request in refiner.requests if request.n_new_clicks]
    assert max(sizes) <= 1.1 * CLOSER * SIDE**3
    assert max(sizes) > SIDE**3
    assert next(request.n_new_clicks for request in refiner.requests if not request.glance) == len(corners)


def test_views_of_a_part_end_at_the_farthest_that_may_be_right():
    views: list[View] = []
    close, farthest = View(Box((50, 45, 40), (71, 66, 61))), View(Box((20, 15, 10), (101, 96, 91)), 4.0)
    scouted_view(
        close,
        Box.whole(SHAPE),
        SHAPE,
        (1.0, 1.0, 1.0),
        lambda view: (views.append(view), float(len(views)))[1],
        farthest,
    )
    assert [view.magnification for view in views] == [1.0, 1.5, 2.25, 4.0]
    assert views[-1] == farthest


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_of_the_volume_flips_the_view(axis):
    mask, index = ball((50, 50, 50), 20, (100, 100, 100)), (31, 44, 52)
    click = Click(index, ClickLabel.BACKGROUND)
    turned = list(index)
    turned[axis] = 99 - index[axis]
    whole = Box.whole(mask.shape)
    view = click_view(mask, whole, [click], 1, (1.0, 1.0, 1.0), SIDE).box
    mirrored = click_view(np.flip(mask, axis), whole, [Click(tuple(turned), click.label)], 1, (1.0, 1.0, 1.0), SIDE).box
    assert mirrored.start[axis] == 100 - view.stop[axis]
    assert mirrored.shape == view.shape


def test_the_guard_and_the_region_of_the_protocol_limit_the_view():
    mask = ball(CENTRE, 40, SHAPE)
    config = InteractionConfig(roi="product", edit_radius_mm=10.0)
    requests, result = shown(mask, Click(CENTRE, ClickLabel.BACKGROUND), config=config)
    assert result.report.roi is not None
    assert max(result.report.roi.shape) <= 2 * (10 + 10) + 1
    assert len(requests) == 1


@pytest.mark.parametrize("edge", [20, 60, 200])
def test_a_turn_without_a_click_looks_at_the_whole_mask_at_a_cost_that_does_not_grow_with_it(edge):
    region = Box((5, 5, 5), (5 + edge,) * 3)
    view = mask_view(region, SIDE)
    assert view.box == region
    assert view.voxels <= 1.01 * CLOSER * SIDE**3
    assert view.voxels == edge**3 or edge**3 > CLOSER * SIDE**3  # what is small is shown as it is


def test_candidates_and_commands_show_the_mask_in_one_view():
    mask = ball(CENTRE, 40, SHAPE)
    refiner = Onlooker(2.0)
    asked = replace(turn(mask, Click(CENTRE, ClickLabel.FOREGROUND)), n_new=0, asked=True)
    take_turn(asked, refiner, FREE)
    (request,) = refiner.requests
    assert request.n_new_clicks == 0
    assert np.prod(request.percent.shape) <= 1.1 * CLOSER * SIDE**3
    assert (request.percent > 50).any()
    assert not (request.percent > 50).all()


class Painter(Onlooker):
    """Shrinks what it is shown at a look without a click, and has somebody erase just then."""

    def __init__(self, strokes, stroke=None):
        super().__init__(radius=0.0)
        self.strokes, self.stroke = strokes, stroke

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        if request.n_new_clicks:
            self.radius = 35.0 / request.spacing[0]  # an organ, whatever the view
            state = super().refine(request)
            for _ in range(request.steps):
                preview(state)
            return state
        if self.stroke is not None:
            assert self.strokes.put(self.stroke)
        kept = ndimage.binary_erosion(request.percent > 50, iterations=2, border_value=1)
        return np.where(kept, request.percent, 1).astype(np.uint8)


def test_a_stroke_during_the_closer_look_meets_the_same_mask_when_it_is_replayed():
    painted = Box((60, 44, 44), (72, 56, 56))
    stroke = Stroke.of(painted, np.ones(painted.shape, bool), foreground=False)
    empty = np.zeros(SHAPE, bool)
    strokes = Strokes()
    strokes.start()
    live = take_turn(turn(empty, object_click(CENTRE)), Painter(strokes, stroke), FREE, strokes=strokes)
    assert len(live.strokes) == 1
    again = Strokes([(taken, {}) for taken in live.strokes])
    again.start()
    replayed = take_turn(turn(empty, object_click(CENTRE)), Painter(again), FREE, strokes=again)
    states = [np.zeros(SHAPE, np.uint8) for _ in range(2)]
    for state, result in zip(states, (live, replayed), strict=True):
        result.delta.apply(state, (0, 0, 0))
    assert np.array_equal(*states)
