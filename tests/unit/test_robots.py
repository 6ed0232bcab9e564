"""Robots against the protocol's disagreement test and against slow, plain rules."""

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage as ni

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.regions import depth_mm
from medseg_rl.hints.robots import ROBOTS, LargestRegion, MergedErrors, WholeMask, robot_rng, training_clicks

ANISOTROPIC = (3.27, 0.98, 0.98)


# The protocol's disagreement test as it stands: numpy and scipy alone.


def depth(m, sp=(1, 1, 1)):
    return ni.distance_transform_edt(np.pad(m, 1), sampling=sp)[1:-1, 1:-1, 1:-1]


def deepest(d):  # first voxel, in index order, within 1e-6 of the maximum
    return tuple(int(v) for v in np.argwhere(d >= d.max() - 1e-6)[0])


def parts(m):
    lab, n = ni.label(m, np.ones((3, 3, 3)))
    return [lab == k for k in range(1, n + 1)]


def primary(ref, seg, sp=(1, 1, 1)):
    c = [(int(m.sum()), 1, m) for m in parts(ref & ~seg)] + [(int(m.sum()), 0, m) for m in parts(seg & ~ref)]
    _, label, m = max(c, key=lambda e: e[:2])  # volume first, then missed before wrong
    return deepest(depth(m, sp)), label


def ritm(ref, seg):
    miss, wrong = depth(ref & ~seg), depth(seg & ~ref)
    return (deepest(miss), 1) if miss.max() > wrong.max() else (deepest(wrong), 0)


def xor(ref, seg):  # random tie-break of the original replaced by the first
    i = deepest(depth(max(parts(ref ^ seg), key=np.sum)))
    return i, int(ref[i])


def box(shape, z, y, x):
    m = np.zeros(shape, bool)
    m[slice(*z), slice(*y), slice(*x)] = True
    return m


def ball(shape, c, r):
    g = np.ogrid[tuple(map(slice, shape))]
    return sum((a - b) ** 2 for a, b in zip(g, c, strict=True)) <= r * r


def one(robot, ref, seg, sp=(1, 1, 1), clicks=()):
    (click,) = robot.next_clicks(ref, seg, clicks, sp, 1, np.random.default_rng(0))
    return click.index, int(click.label)


def our_primary(ref, seg, sp=(1, 1, 1)):
    return one(LargestRegion(), ref, seg, sp)


def our_ritm(ref, seg):
    return one(WholeMask(), ref, seg)


def our_xor(ref, seg):
    return one(MergedErrors(ties="first"), ref, seg)


RULES = pytest.mark.parametrize(
    ("primary", "ritm", "xor"), [(primary, ritm, xor), (our_primary, our_ritm, our_xor)], ids=["plain", "project"]
)


@RULES
def test_a_thin_missed_slab_beats_a_compact_false_ball_by_volume_but_not_by_depth(primary, ritm, xor):
    s = (40, 60, 60)
    ref, seg = box(s, (10, 13), (5, 55), (5, 55)), ball(s, (28, 30, 30), 6)
    assert (ref.sum(), seg.sum()) == (7500, 925)
    assert depth(ref).max() == 2.0
    assert round(depth(seg).max(), 2) == 6.08
    assert primary(ref, seg) == xor(ref, seg) == ((11, 6, 6), 1)
    assert ritm(ref, seg) == ((28, 30, 30), 0)


@RULES
def test_missed_and_false_blocks_that_touch_are_one_error_for_the_xor_robot_alone(primary, ritm, xor):
    s = (40, 40, 40)
    ref, seg = box(s, (10, 20), (10, 30), (10, 30)), box(s, (20, 31), (10, 30), (10, 30))
    assert len(parts(ref ^ seg)) == 1
    assert len(parts(ref)) + len(parts(seg)) == 2
    assert primary(ref, seg) == ritm(ref, seg) == ((25, 15, 15), 0)
    assert xor(ref, seg) == ((19, 19, 19), 1)
    d = depth(ref ^ seg)
    tied = d >= d.max() - 1e-6
    assert tied.sum() == 12  # a random tie-break says "object" once in three
    assert (ref & tied).sum() == 4


@RULES
def test_all_three_rules_can_differ(primary, ritm, xor):
    s = (60, 60, 60)
    ref = box(s, (5, 8), (5, 55), (5, 55)) | box(s, (45, 48), (10, 50), (10, 50))
    seg = ball(s, (25, 30, 30), 6) | box(s, (48, 51), (10, 50), (10, 50))
    assert primary(ref, seg) == ((6, 6, 6), 1)
    assert ritm(ref, seg) == ((25, 30, 30), 0)
    assert xor(ref, seg) == ((47, 12, 12), 1)


@RULES
def test_millimetres_move_the_primary_click(primary, ritm, xor):
    s = (30, 30, 30)
    ref = box(s, (10, 13), (5, 25), (5, 25)) | box(s, (13, 25), (12, 19), (12, 19))
    seg = np.zeros(s, bool)
    assert primary(ref, seg) == ((13, 15, 15), 1)
    assert primary(ref, seg, (3, 1, 1)) == ((11, 10, 10), 1)
    assert depth(ref).max() == 4.0
    assert depth(ref, (3, 1, 1)).max() == 6.0


# Beyond the disagreement test.


def noise_masks(seed, shape=(13, 17, 11), sigma=1.5):
    rng = np.random.default_rng(seed)
    smooth = [ni.gaussian_filter(rng.standard_normal(shape), sigma) for _ in range(2)]
    return smooth[0] > 0.03, smooth[1] > 0.0


@pytest.mark.parametrize("spacing", [(1, 1, 1), ANISOTROPIC, (0.7, 0.9, 5.0)])
@pytest.mark.parametrize("seed", range(5))
def test_depth_equals_the_padded_distance_transform(seed, spacing):
    region, _ = noise_masks(seed)
    np.testing.assert_allclose(depth_mm(region, spacing), depth(region, spacing), rtol=0, atol=1e-12)


def test_depth_counts_outside_of_the_array_as_outside_of_the_region():
    full = np.ones((5, 7, 9), bool)
    assert depth_mm(full, (1.0, 2.0, 1.0)).max() == 3.0
    assert depth_mm(full, (1.0, 2.0, 1.0))[0, 0, 0] == 1.0


def slow_primary(reference, mask, clicks, spacing):
    regions = [(m, 1) for m in parts(reference & ~mask)] + [(m, 0) for m in parts(mask & ~reference)]
    if any(m.sum() >= 10 for m, _ in regions):
        regions = [(m, label) for m, label in regions if m.sum() >= 10]
    regions.sort(key=lambda r: (-r[0].sum(), -r[1], deepest(depth(r[0], spacing))))
    for m, label in regions:
        d = depth(m, spacing)
        for click in clicks:
            d[click.index] = 0
        if d.max() > 0:
            return deepest(d), label
    return None


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_primary_follows_the_protocol_click_after_click(seed, fortran):
    reference, mask = noise_masks(seed)
    order = np.asfortranarray if fortran else np.ascontiguousarray
    clicks = []
    for _ in range(8):
        expected = slow_primary(reference, mask, clicks, ANISOTROPIC)
        (click,) = LargestRegion().next_clicks(order(reference), order(mask), clicks, ANISOTROPIC, 1, None)
        assert (click.index, click.label) == expected
        clicks.append(click)


def test_a_perfect_mask_gets_no_click_from_any_robot():
    mask = ball((12, 12, 12), (6, 6, 6), 4)
    for make in ROBOTS.values():
        assert make().next_clicks(mask, mask, [], (1, 1, 1), 5, np.random.default_rng(0)) == []
    assert training_clicks(mask, mask, [], (1, 1, 1), 5, np.random.default_rng(0)) == []


def test_primary_gives_nothing_once_every_wrong_voxel_is_clicked():
    reference = box((6, 6, 6), (2, 4), (2, 3), (2, 3))
    clicks = [Click((2, 2, 2), ClickLabel.FOREGROUND), Click((3, 2, 2), ClickLabel.FOREGROUND)]
    empty = np.zeros_like(reference)
    assert len(LargestRegion().next_clicks(reference, empty, clicks[:1], (1, 1, 1), 1, None)) == 1
    assert LargestRegion().next_clicks(reference, empty, clicks, (1, 1, 1), 1, None) == []
    assert training_clicks(reference, empty, clicks, (1, 1, 1), 3, np.random.default_rng(0)) == []


def test_regions_below_ten_voxels_wait_for_the_larger_ones():
    reference = box((20, 20, 20), (1, 4), (1, 4), (1, 2)) | box((20, 20, 20), (10, 15), (10, 12), (10, 11))  # 9 and 10
    given = LargestRegion().next_clicks(reference, np.zeros_like(reference), [], (1, 1, 1), 5, None)
    assert [c.index[0] >= 10 for c in given] == [True]


def test_equal_volumes_go_to_missed_first_then_to_the_first_deepest_voxel():
    s = (30, 12, 12)
    reference = box(s, (10, 13), (1, 4), (1, 4)) | box(s, (20, 23), (1, 4), (1, 4))
    mask = box(s, (1, 4), (1, 4), (1, 4))
    given = LargestRegion().next_clicks(reference, mask, [], (1, 1, 1), 5, None)
    assert [(c.index, int(c.label)) for c in given] == [((11, 2, 2), 1), ((21, 2, 2), 1), ((2, 2, 2), 0)]


def test_native_clicks_the_five_largest_regions_once_each():
    s = (70, 8, 8)
    reference = np.zeros(s, bool)
    for n in range(7):
        reference |= box(s, (10 * n, 10 * n + 3 + n % 4), (1, 5), (1, 5))
    robot = ROBOTS["native"]()
    given = robot.next_clicks(reference, np.zeros(s, bool), [], (1, 1, 1), robot.clicks_per_interaction, None)
    assert [c.index[0] // 10 for c in given] == [3, 2, 6, 1, 5]


def test_xor_breaks_ties_with_a_fresh_seed_and_so_repeats_itself():
    s = (40, 40, 40)
    ref, seg = box(s, (10, 20), (10, 30), (10, 30)), box(s, (20, 31), (10, 30), (10, 30))
    d = depth(ref ^ seg)
    tied = np.argwhere(d == d.max())
    expected = tuple(int(v) for v in tied[np.random.RandomState(42).choice(len(tied))])
    assert one(ROBOTS["xor"](), ref, seg) == one(ROBOTS["xor"](), ref, seg) == (expected, int(ref[expected]))


def test_xor_halves_its_resolution_above_the_limit():
    reference = box((41, 33, 21), (3, 38), (4, 30), (5, 17))
    index, label = one(MergedErrors(voxel_limit=1000), reference, np.zeros_like(reference))
    exact = depth(reference)
    assert label == 1
    assert exact[index] >= exact.max() - 2


def test_depth_robots_draw_voxels_in_proportion_to_the_power_of_depth():
    reference = box((9, 5, 5), (0, 9), (1, 4), (1, 4))
    d = depth(reference)
    for exponent in (1, 4, 8):
        robot, rng = ROBOTS[f"depth{exponent}"](), np.random.default_rng(1)
        drawn = [robot.next_clicks(reference, np.zeros_like(reference), [], (1, 1, 1), 1, rng)[0] for _ in range(2000)]
        share = np.mean([d[c.index] == 2.0 for c in drawn])
        expected = (d[d == 2.0] ** exponent).sum() / (d**exponent).sum()
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / 2000)
        assert all(reference[c.index] and c.label == 1 for c in drawn)


def test_jitter_moves_two_to_three_voxels_and_keeps_the_label():
    reference, mask = noise_masks(0)
    (meant,) = LargestRegion().next_clicks(reference, mask, [], (1, 1, 1), 1, None)
    rng = np.random.default_rng(2)
    moved = [ROBOTS["jitter"]().next_clicks(reference, mask, [], (1, 1, 1), 1, rng)[0] for _ in range(200)]
    distances = [math.dist(c.index, meant.index) for c in moved]
    assert 2 <= min(distances) <= max(distances) <= 3
    assert {c.label for c in moved} == {meant.label}
    assert len({c.index for c in moved}) > 20
    assert all(0 <= i < n for c in moved for i, n in zip(c.index, reference.shape, strict=True))


def test_off_target_puts_a_quarter_of_object_clicks_one_to_three_voxels_outside():
    reference = ball((30, 30, 30), (15, 15, 15), 6)
    outside = ni.distance_transform_edt(~reference)
    rng = np.random.default_rng(3)
    robot, empty = ROBOTS["off_target"](), np.zeros_like(reference)
    given = [robot.next_clicks(reference, empty, [], (1, 1, 1), 1, rng)[0] for _ in range(400)]
    off = [outside[c.index] for c in given if not reference[c.index]]
    assert 0.25 - 0.09 < len(off) / 400 < 0.25 + 0.09
    assert 1 <= min(off) <= max(off) <= 3
    assert {round(d) for d in off} == {1, 2, 3}
    assert {c.label for c in given} == {ClickLabel.FOREGROUND}
    false = robot.next_clicks(empty, reference, [], (1, 1, 1), 1, rng)
    assert reference[false[0].index]  # background clicks stay on target


def test_wrong_sign_flips_one_click_in_twenty():
    reference = ball((12, 12, 12), (6, 6, 6), 4)
    rng = np.random.default_rng(4)
    given = [
        ROBOTS["wrong_sign"]().next_clicks(reference, np.zeros_like(reference), [], (1, 1, 1), 1, rng)[0]
        for _ in range(1000)
    ]
    assert {c.index for c in given} == {(6, 6, 6)}
    assert 0.02 < np.mean([c.label == ClickLabel.BACKGROUND for c in given]) < 0.08


def test_robot_randomness_depends_on_case_seed_and_click_number_alone():
    def draw(*key):
        return robot_rng(*key).integers(1 << 60)

    assert draw("case_1", 0, 3) == draw("case_1", 0, 3)
    assert len({draw(c, s, n) for c, s, n in itertools.product(("a", "b"), (0, 1), (0, 1))}) == 8


def test_training_clicks_choose_regions_by_volume():
    s = (40, 12, 12)
    reference, mask = box(s, (1, 9), (1, 9), (1, 9)), box(s, (20, 28), (1, 9), (1, 5))  # 512 missed, 256 false
    rng = np.random.default_rng(5)
    given = [
        training_clicks(reference, mask, [], (1, 1, 1), 1, rng, jitter_share=0.0, wrong_share=0.0, careful_share=0.0)[0]
        for _ in range(1500)
    ]
    assert 0.61 < np.mean([c.label == 1 for c in given]) < 0.72
    assert all((reference if c.label else mask)[c.index] for c in given)


def test_training_clicks_jitter_and_err_in_their_shares():
    reference = ball((20, 20, 20), (10, 10, 10), 6)
    empty = np.zeros_like(reference)
    rng = np.random.default_rng(6)
    wrong = [
        training_clicks(reference, empty, [], (1, 1, 1), 1, rng, careful_share=0.0)[0].label == 0 for _ in range(2000)
    ]
    assert 0.01 < np.mean(wrong) < 0.035
    centre = box((5, 5, 5), (2, 3), (2, 3), (2, 3))
    nothing = np.zeros_like(centre)
    given = [training_clicks(centre, nothing, [], (1, 1, 1), 1, rng, careful_share=0.0)[0].index for _ in range(1000)]
    distances = np.array([math.dist(i, (2, 2, 2)) for i in given])
    assert distances.max() <= 2
    assert 0.15 < (distances > 0).mean() < 0.25


def test_a_careful_user_clicks_near_the_middle_of_the_largest_error_and_never_errs():
    s = (40, 12, 12)
    reference, mask = box(s, (1, 10), (1, 10), (1, 10)), box(s, (20, 28), (1, 9), (1, 5))  # 729 missed, 256 false
    rng = np.random.default_rng(8)
    given = [training_clicks(reference, mask, [], (1, 1, 1), 1, rng, careful_share=1.0)[0] for _ in range(300)]
    assert all((reference if c.label else mask)[c.index] for c in given)
    missed = [c.index for c in given if c.label]
    assert len(missed) > 0.9 * 300  # 729^3 to 256^3 is 23 to 1
    assert np.mean([math.dist(i, (5, 5, 5)) <= 2 for i in missed]) > 0.9


def test_training_clicks_of_one_turn_are_all_different_voxels():
    reference, mask = noise_masks(1)
    given = training_clicks(reference, mask, [], (1, 1, 1), 30, np.random.default_rng(7), wrong_share=0.0)
    assert len({c.index for c in given}) == len(given) == 30


def test_errors_that_break_into_many_thin_parts_are_labelled():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        shape = tuple(int(n) for n in rng.integers(1, 30, 3))
        reference, mask = rng.random(shape) < 0.1, rng.random(shape) < 0.1
        (click,) = LargestRegion().next_clicks(reference, mask, [], (1, 1, 1), 1, None) or [None]
        assert (click is None) == (not (reference ^ mask).any())
