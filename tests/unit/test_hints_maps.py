"""Hint maps against exact distances, against a plain Dijkstra, and against themselves on another axis order."""

import heapq
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.edges import edges_for
from medseg_rl.hints.maps import HintConfig, HintMaps, hint_map, warm_up

FOREGROUND, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
KINDS = ["geodesic_exp", "edt_exp", "ball", "gaussian"]
SPACINGS = [(1.0, 1.0, 1.0), (3.27, 0.98, 0.98), (0.7, 5.0, 0.9)]


def image_of(shape, seed=0, contrast=0.3):
    return (np.random.default_rng(seed).standard_normal(shape) * contrast).astype(np.float32)


def random_clicks(shape, n, seed=0):
    rng = np.random.default_rng(seed)
    return [Click(tuple(int(rng.integers(s)) for s in shape), ClickLabel(int(rng.integers(2)))) for _ in range(n)]


def distance_grid(shape, click, spacing):
    grid = np.ogrid[tuple(map(slice, shape))]
    return np.sqrt(sum(((a - b) * s) ** 2 for a, b, s in zip(grid, click, spacing, strict=True)))


def test_edt_exp_ball_and_gaussian_have_the_exact_profile_in_millimetres():
    shape, spacing, at = (21, 31, 25), (3.27, 0.98, 0.98), (9, 12, 20)
    d = distance_grid(shape, at, spacing)
    clicks, image = [Click(at, FOREGROUND)], np.zeros(shape, np.float32)
    expected = {
        "edt_exp": np.where(np.exp(-d / 5) >= 0.01, np.exp(-d / 5), 0),
        "gaussian": np.where(np.exp(-(d**2) / 8) >= 0.01, np.exp(-(d**2) / 8), 0),
        "ball": (d <= 3).astype(float),
    }
    for kind, values in expected.items():
        found = hint_map(image, clicks, FOREGROUND, spacing, HintConfig(kind))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, values, rtol=1e-6, atol=0)


def test_anisotropic_hint_at_a_known_distance():
    image, spacing = np.zeros((9, 9, 9), np.float32), (3.0, 1.0, 0.5)
    clicks = [Click((4, 4, 4), FOREGROUND)]
    for kind, share in (("edt_exp", 1.0), ("geodesic_exp", 0.5)):
        h = hint_map(image, clicks, FOREGROUND, spacing, HintConfig(kind))
        assert h[4, 4, 4] == 1.0
        assert h[5, 4, 4] == pytest.approx(math.exp(-3.0 * share / 5))
        assert h[4, 7, 4] == pytest.approx(math.exp(-3.0 * share / 5))
        assert h[4, 4, 8] == pytest.approx(math.exp(-2.0 * share / 5))


def test_a_step_of_intensity_costs_kappa_millimetres_per_unit():
    image = np.zeros((1, 1, 12), np.float32)
    image[..., 6:] = 0.8
    h = hint_map(image, [Click((0, 0, 2), FOREGROUND)], FOREGROUND, (1.0, 1.0, 1.0))
    assert h[0, 0, 5] == pytest.approx(math.exp(-0.5 * 3 / 5))
    assert h[0, 0, 8] == pytest.approx(math.exp(-(0.5 * 6 + 0.5 * 10 * 0.8) / 5))


def dijkstra(image, source, spacing, config):
    """Plain shortest paths on the same graph, float64."""
    edges = edges_for(spacing, longest=config.longest_edge)
    best, heap, done = {source: 0.0}, [(0.0, source)], set()
    contrast = config.lam * config.kappa_mm
    while heap:
        d, u = heapq.heappop(heap)
        if u in done:
            continue
        done.add(u)
        for row, step in enumerate(edges.steps):
            v = tuple(int(a + b) for a, b in zip(u, step, strict=True))
            if not all(0 <= i < n for i, n in zip(v, image.shape, strict=True)):
                continue
            ways = edges.ways[row, : edges.way_counts[row]]
            passed = [[u, *(tuple(np.add(u, w)) for w in way), v] for way in ways] or [[u, v]]
            change = min(sum(abs(float(image[a]) - float(image[b])) for a, b in itertools.pairwise(p)) for p in passed)
            total = d + (1 - config.lam) * edges.lengths[row] + contrast * change
            if total < best.get(v, math.inf):
                best[v] = total
                heapq.heappush(heap, (total, v))
    return best


@pytest.mark.parametrize("longest_edge", [1, 2])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_geodesic_distances_equal_those_of_dijkstra_on_the_same_graph(spacing, lam, longest_edge):
    shape, source = (6, 7, 5), (1, 5, 2)
    image = image_of(shape)
    config = HintConfig(lam=lam, longest_edge=longest_edge)
    expected = np.zeros(shape)
    for voxel, distance in dijkstra(image, source, spacing, config).items():
        expected[voxel] = math.exp(-distance / config.tau_mm)
    found = hint_map(image, [Click(source, FOREGROUND)], FOREGROUND, spacing, config)
    np.testing.assert_allclose(found, np.where(expected >= 0.01, expected, 0), rtol=2e-5, atol=0)


@pytest.mark.parametrize(
    ("spacing", "longest", "mean"),
    [((1.0, 1.0, 1.0), 0.05, 0.032), ((2.0, 1.0, 1.0), 0.06, 0.027), ((3.27, 0.98, 0.98), 0.11, 0.047)],
)
def test_oblique_paths_overestimate_by_the_stated_share_at_most(spacing, longest, mean):
    shape = tuple(2 * int(22 / s) + 1 for s in spacing)
    centre = tuple(n // 2 for n in shape)
    exact = distance_grid(shape, centre, spacing)
    h = hint_map(
        np.zeros(shape, np.float32), [Click(centre, FOREGROUND)], FOREGROUND, spacing, HintConfig(lam=0, tau_mm=10)
    )
    measured = (exact > 0) & (exact < 21)
    excess = -10 * np.log(h[measured]) / exact[measured] - 1
    assert excess.min() > -1e-5
    assert excess.max() < longest
    assert excess.mean() < mean


def test_no_path_jumps_over_a_membrane_one_voxel_thick():
    image = np.zeros((15, 15, 15), np.float32)
    image[7] = 2.0
    h = hint_map(image, [Click((4, 7, 7), FOREGROUND)], FOREGROUND, (1.0, 1.0, 1.0))
    assert h[:7].min() > 0
    assert h[7:].max() <= math.exp(-(0.5 * 10 * 2.0) / 5)
    assert h[8:].max() <= math.exp(-(0.5 * 10 * 4.0) / 5)


@pytest.mark.parametrize("kind", KINDS)
def test_no_click_gives_zeros_and_the_other_label_stays_empty(kind):
    image = image_of((8, 9, 7))
    config = HintConfig(kind)
    assert not hint_map(image, [], FOREGROUND, (1, 1, 1), config).any()
    clicks = [Click((3, 3, 3), FOREGROUND)]
    assert hint_map(image, clicks, FOREGROUND, (1, 1, 1), config).any()
    assert not hint_map(image, clicks, BACKGROUND, (1, 1, 1), config).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_maps_grown_click_by_click_equal_maps_made_at_once_bit_for_bit(kind, spacing):
    shape = (14, 19, 16)
    image, clicks, config = image_of(shape), random_clicks(shape, 12), HintConfig(kind)
    grown = HintMaps(image, spacing, config)
    for click in clicks:
        grown.add(click)
    backwards = HintMaps(image, spacing, config)
    backwards.set(clicks[::-1])
    for label, live in ((FOREGROUND, grown.foreground), (BACKGROUND, grown.background)):
        np.testing.assert_array_equal(live, hint_map(image, clicks, label, spacing, config))
        apart = [hint_map(image, [c], label, spacing, config) for c in clicks]
        np.testing.assert_array_equal(live, np.maximum.reduce(apart))
        assert all(live[c.index] == 1.0 for c in clicks if c.label == label)
    np.testing.assert_array_equal(grown.foreground, backwards.foreground)


@pytest.mark.parametrize("kind", KINDS)
def test_the_newest_click_of_a_voxel_wins_and_the_older_leaves_its_map(kind):
    image, config, spacing = image_of((12, 12, 12)), HintConfig(kind), (1.0, 1.0, 1.0)
    other = Click((2, 3, 4), FOREGROUND)
    maps = HintMaps(image, spacing, config)
    maps.set([Click((6, 6, 6), FOREGROUND), other, Click((6, 6, 6), BACKGROUND)])
    assert maps.clicks == (other, Click((6, 6, 6), BACKGROUND))
    np.testing.assert_array_equal(maps.foreground, hint_map(image, [other], FOREGROUND, spacing, config))
    assert maps.background[6, 6, 6] == 1.0
    maps.add(Click((6, 6, 6), FOREGROUND))
    assert not maps.background.any()
    assert maps.foreground[6, 6, 6] == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_setting_fewer_clicks_takes_the_others_out(kind):
    image, spacing, config = image_of((12, 12, 12)), (1.0, 1.0, 1.0), HintConfig(kind)
    clicks = random_clicks((12, 12, 12), 6, seed=3)
    maps = HintMaps(image, spacing, config)
    maps.set(clicks)
    maps.set(clicks[:2] + clicks[3:])
    fresh = HintMaps(image, spacing, config)
    fresh.set(clicks[:2] + clicks[3:])
    np.testing.assert_array_equal(maps.foreground, fresh.foreground)
    np.testing.assert_array_equal(maps.background, fresh.background)
    maps.set([])
    assert not maps.foreground.any()
    assert not maps.background.any()


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    order=st.permutations(range(3)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    spacing=st.sampled_from(SPACINGS),
    seed=st.integers(0, 1000),
)
def test_the_same_world_on_another_axis_order_gives_the_same_map(kind, order, flips, spacing, seed):
    shape = (9, 12, 10)
    image, clicks, config = image_of(shape, seed), random_clicks(shape, 3, seed), HintConfig(kind)

    def turned(array):
        return np.flip(array, [axis for axis in range(3) if flips[axis]]).transpose(order)

    def moved(click):
        index = [n - 1 - i if f else i for i, n, f in zip(click.index, shape, flips, strict=True)]
        return Click(tuple(index[axis] for axis in order), click.label)

    there = tuple(spacing[axis] for axis in order)
    for label in ClickLabel:
        here = hint_map(image, clicks, label, spacing, config)
        again = hint_map(turned(image), [moved(c) for c in clicks], label, there, config)
        np.testing.assert_allclose(again, turned(here), rtol=1e-6, atol=0)


def test_hints_below_the_lowest_value_are_exactly_zero():
    image, at = np.zeros((60, 5, 5), np.float32), Click((2, 2, 2), FOREGROUND)
    for kind in ("geodesic_exp", "edt_exp", "gaussian"):
        for lowest in (0.01, 0.2):
            h = hint_map(image, [at], FOREGROUND, (1.0, 1.0, 1.0), HintConfig(kind, lowest=lowest))
            assert h[h > 0].min() >= lowest - 1e-6
            assert h[-1].max() == 0.0


def test_a_single_slice_and_a_non_contiguous_image_work():
    image = np.asfortranarray(image_of((11, 13, 1)))
    h = hint_map(image, [Click((4, 4, 0), FOREGROUND)], FOREGROUND, (1.0, 1.0, 4.0))
    again = hint_map(np.ascontiguousarray(image), [Click((4, 4, 0), FOREGROUND)], FOREGROUND, (1.0, 1.0, 4.0))
    np.testing.assert_array_equal(h, again)


def test_a_click_outside_the_region_is_refused_and_changes_nothing():
    maps = HintMaps(image_of((5, 5, 5)), (1.0, 1.0, 1.0))
    for index in ((5, 0, 0), (0, -1, 0)):
        with pytest.raises(ValueError, match="outside a region"):
            maps.add(Click(index, FOREGROUND))
    assert maps.clicks == ()
    assert not maps.foreground.any()


@pytest.mark.parametrize(
    "wrong", [{"kind": "euclid"}, {"lam": 1.5}, {"tau_mm": 0.0}, {"lowest": 0.0}, {"longest_edge": 3}]
)
def test_a_configuration_that_makes_no_map_is_refused(wrong):
    with pytest.raises(ValueError, match="hint map"):
        HintConfig(**wrong)


def test_warm_up_leaves_no_trace():
    warm_up()
    warm_up(HintConfig("ball"))
