"""Islands, holes, margin, smoothing, slices and other labels against brute force and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage as ni
from hypothesis import given
from hypothesis import strategies as st

from medseg_rl.editing import (
    Combine,
    CopySlice,
    EditContext,
    FillHoles,
    Grid,
    Interpolate,
    Islands,
    Margin,
    Smooth,
    SplitIslands,
)
from medseg_rl.editing import smoothing as smoothing_module
from medseg_rl.editing.distances import deeper, distances_to, within
from medseg_rl.editing.smoothing import ball_kernel, closed, grown, median, opened, shrunk
from medseg_rl.errors import EditError, GeometryError
from medseg_rl.volume import Box, Volume

UNIT = np.eye(4)
THICK = np.diag([0.7, 0.8, 3.0, 1.0])
SHEARED = np.array([[0.7, 0.05, 0.1, -20.0], [0.0, -0.8, 0.9, 15.0], [0.02, 0.0, 2.5, -30.0], [0, 0, 0, 1.0]])
AFFINES = {"unit": UNIT, "thick": THICK, "sheared": SHEARED}


def context_of(mask, affine=UNIT, value=1):
    label_map = mask.astype(np.uint8) * value if mask.dtype == bool else mask
    label_map.setflags(write=False)
    return EditContext.of_label_map(Volume(label_map, affine), value)


def whole(edit, mask):
    result = np.array(mask, bool)
    result[edit.box.slices] = edit.inside
    return result


def mm(affine, index):
    return tuple(float(v) for v in affine[:3, :3] @ np.asarray(index, float) + affine[:3, 3])


def blobs(shape, seed, sigma=1.5, level=0.0):
    values = ni.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    return values > level * values.std()


def box_mask(shape, low, high):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def brute_distances(mask, columns):
    sources = np.argwhere(mask) @ columns.T
    targets = np.stack(np.meshgrid(*(np.arange(n) for n in mask.shape), indexing="ij"), -1).reshape(-1, mask.ndim)
    best = np.min(np.linalg.norm((targets @ columns.T)[:, None] - sources[None], axis=-1), axis=1)
    return best.reshape(mask.shape)


# ---- distances -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_distances_are_those_between_centres_in_world_mm_on_every_grid(affine):
    columns = affine[:3, :3]
    for seed in range(3):
        mask = blobs((11, 10, 7), seed, 1.0, 1.3)
        mask[seed, 3, 2] = True
        expected = brute_distances(mask, columns)
        np.testing.assert_allclose(distances_to(mask, columns), expected, rtol=1e-5)
        for limit in (0.5, 0.8, 1.6, 3.0, 4.1, 9.0):
            np.testing.assert_array_equal(within(mask, columns, limit), expected <= limit * (1 + 1e-6))
            np.testing.assert_array_equal(deeper(mask, columns, limit), brute_distances(~mask, columns) > limit)


def test_a_strongly_tilted_stack_of_thick_slices_has_true_distances():
    columns = np.array([[0.5, 0, 0], [0, 0.5, 1.8], [0, 0, 5.0]])  # a step through the slices shifts by 3.6 voxels
    mask = blobs((16, 16, 6), 4, 1.5, 0.3)
    expected = brute_distances(mask, columns)
    for limit in (0.5, 1.4, 4.9, 5.1, 5.4, 7.0):
        np.testing.assert_array_equal(within(mask, columns, limit), expected <= limit * (1 + 1e-6))


def test_there_is_no_distance_to_an_empty_mask():
    empty = np.zeros((4, 4, 4), bool)
    for affine in AFFINES.values():
        assert np.isinf(distances_to(empty, affine[:3, :3])).all()
        assert not within(empty, affine[:3, :3], 99.0).any()
        assert deeper(~empty, affine[:3, :3], 99.0).all()


# ---- margin ----------------------------------------------------------------------------------------------------------


def test_a_margin_of_a_box_is_a_box_with_rounded_edges():
    mask = box_mask((40, 40, 40), (15, 16, 17), (22, 24, 26))
    edit = Margin(5.0).apply(context_of(mask))
    at = np.stack(np.meshgrid(*(np.arange(40),) * 3, indexing="ij"), -1)
    outside = np.maximum(np.maximum(np.array([15, 16, 17]) - at, at - np.array([21, 23, 25])), 0)
    np.testing.assert_array_equal(whole(edit, mask), (outside**2).sum(axis=-1) <= 25)
    assert edit.box.voxels < 20**3


def test_a_margin_shrinks_a_box_by_that_much_on_every_side_in_mm():
    mask = box_mask((40, 40, 40), (5, 6, 7), (30, 34, 36))
    edit = Margin(-3.0).apply(context_of(mask, THICK))
    np.testing.assert_array_equal(
        whole(edit, mask), box_mask((40, 40, 40), (5 + 4, 6 + 3, 7 + 1), (30 - 4, 34 - 3, 36 - 1))
    )


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_margin_of_a_ball_has_the_volume_of_the_larger_ball(affine):
    shape = (90, 90, 40)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1) - np.array([45, 45, 20])
    mask = np.linalg.norm(index @ affine[:3, :3].T, axis=-1) <= 12.0
    away, diagonal = np.linalg.norm(index @ affine[:3, :3].T, axis=-1), np.linalg.norm(affine[:3, :3])
    larger = whole(Margin(6.0).apply(context_of(mask, affine)), mask)
    assert not (larger & (away > 18.0 + 1e-6)).any()
    assert larger[away <= 18.0 - diagonal].all()  # a voxel holds its centre alone, so a diagonal may be missing
    smaller = whole(Margin(-6.0).apply(context_of(mask, affine)), mask)
    assert smaller[away <= 6.0 - 1e-6].all()
    assert not (smaller & (away > 6.0 + diagonal)).any()
    if affine is UNIT:
        assert larger.sum() == pytest.approx(4 / 3 * math.pi * 18.0**3, rel=0.05)


def test_a_mask_that_the_edge_of_the_volume_cuts_off_is_not_shrunk_from_there():
    mask = box_mask((20, 20, 20), (0, 5, 5), (12, 15, 15))
    shrunken = whole(Margin(-2.0).apply(context_of(mask)), mask)
    np.testing.assert_array_equal(shrunken, box_mask((20, 20, 20), (0, 7, 7), (10, 13, 13)))


def test_what_is_shorter_than_a_voxel_changes_nothing_and_says_so():
    context = context_of(box_mask((9, 9, 9), (2, 2, 2), (6, 6, 6)), THICK)
    for operation in (Margin(0.6), Margin(-0.6), Margin(0.0), Smooth("median", 0.5)):
        edit = operation.apply(context)
        assert edit.inside.size == 0
        assert "0.7 mm" in edit.note
    assert Margin(0.7).apply(context).note == ""


# ---- smoothing -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from(sorted(AFFINES)))
def test_opening_takes_and_closing_adds_and_a_second_time_changes_nothing(seed, name):
    mask, grid = blobs((14, 15, 10), seed), Grid(AFFINES[name], (14, 15, 10))
    for radius in (1.0, 2.7):
        thin, thick = opened(mask, grid, radius), closed(mask, grid, radius)
        assert not (thin & ~mask).any()
        assert not (mask & ~thick).any()
        np.testing.assert_array_equal(opened(thin, grid, radius), thin)
        np.testing.assert_array_equal(closed(thick, grid, radius), thick)
        assert not (shrunk(mask, grid, radius) & ~mask).any()
        assert not (mask & ~grown(mask, grid, radius)).any()


@given(st.integers(0, 10**6), st.sampled_from(sorted(AFFINES)))
def test_opening_and_closing_are_those_by_a_ball(seed, name):
    mask, grid = np.zeros((20, 21, 16), bool), Grid(AFFINES[name], (20, 21, 16))
    mask[4:-4, 4:-4, 4:-4] = blobs((12, 13, 8), seed, 1.2)
    for radius in (1.0, 2.6):
        kernel = ball_kernel(grid, radius) > 0
        wide = np.pad(mask, 4)
        for method, reference in (("opening", ni.binary_opening), ("closing", ni.binary_closing)):
            found = whole(Smooth(method, radius).apply(context_of(mask, AFFINES[name])), mask)
            np.testing.assert_array_equal(found, reference(wide, kernel)[4:-4, 4:-4, 4:-4])


def test_closing_does_not_join_a_mask_to_the_edge_of_the_volume():
    mask = box_mask((20, 20, 20), (2, 2, 2), (18, 18, 17))
    np.testing.assert_array_equal(whole(Smooth("closing", 4.0).apply(context_of(mask)), mask), mask)


def test_opening_removes_a_bridge_and_closing_fills_a_gap():
    shape = (40, 20, 20)
    bridged = box_mask(shape, (3, 4, 4), (13, 16, 16)) | box_mask(shape, (25, 4, 4), (35, 16, 16))
    bridged |= box_mask(shape, (13, 9, 9), (25, 12, 12))
    opening = whole(Smooth("opening", 3.0).apply(context_of(bridged)), bridged)
    assert not opening[17:21].any()
    assert opening[8, 10, 10]
    notched = box_mask(shape, (3, 4, 4), (35, 16, 16))
    notched[18:20, 4:16, 8:16] = False
    closing = whole(Smooth("closing", 3.0).apply(context_of(notched)), notched)
    assert closing[18:20, 8:12, 10:12].all()
    assert not (closing & ~box_mask(shape, (3, 4, 4), (35, 16, 16))).any()


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("block", [1, 2**22], ids=["many blocks", "one block"])
def test_the_median_is_the_vote_of_the_voxels_within_the_radius(affine, block, monkeypatch):
    monkeypatch.setattr(smoothing_module, "BLOCK_VOXELS", block)
    grid, radius = Grid(affine, (11, 12, 9)), 2.6
    for seed in range(3):
        mask = blobs((11, 12, 9), seed, 0.8)
        columns = affine[:3, :3]
        at = np.argwhere(np.ones(mask.shape, bool))
        near = np.linalg.norm((at[:, None] - at[None]) @ columns.T, axis=-1) <= radius * (1 + 1e-9)
        lead = near @ np.where(mask.ravel(), 1, -1)
        expected = np.where(lead == 0, mask.ravel(), lead > 0).reshape(mask.shape)
        np.testing.assert_array_equal(median(mask, grid, radius), expected)


def test_the_median_keeps_a_half_space_and_removes_specks():
    mask = box_mask((20, 20, 20), (0, 0, 0), (10, 20, 20))
    mask[15, 10, 10], mask[5, 10, 10] = True, False
    expected = box_mask((20, 20, 20), (0, 0, 0), (10, 20, 20))
    np.testing.assert_array_equal(whole(Smooth("median", 2.0).apply(context_of(mask)), mask), expected)


def test_a_kernel_is_a_ball_in_mm():
    assert ball_kernel(Grid(THICK, (9, 9, 9)), 3.0).shape == (9, 7, 3)
    assert ball_kernel(Grid(UNIT, (9, 9, 9)), 1.0).sum() == 7
    kernel = ball_kernel(Grid(SHEARED, (9, 9, 9)), 12.0)
    volume = kernel.sum() * Grid(SHEARED, (9, 9, 9)).voxel_volume
    assert volume == pytest.approx(4 / 3 * math.pi * 12.0**3, rel=0.02)
    np.testing.assert_array_equal(kernel, kernel[::-1, ::-1, ::-1])


# ---- islands ---------------------------------------------------------------------------------------------------------


def three_islands():
    mask = box_mask((30, 20, 20), (2, 2, 2), (5, 5, 5)) | box_mask((30, 20, 20), (8, 2, 2), (14, 8, 8))
    mask |= box_mask((30, 20, 20), (20, 2, 2), (24, 6, 6))
    mask[24, 6, 6] = True  # joined over a corner: 26 neighbours
    return mask


def test_islands_are_kept_and_removed_by_size_and_by_click():
    mask = three_islands()
    context = context_of(mask)
    small, large, middle = (mask & box_mask(mask.shape, (a, 0, 0), (b, 20, 20)) for a, b in ((0, 6), (6, 16), (16, 30)))
    np.testing.assert_array_equal(whole(Islands("keep_largest").apply(context), mask), large)
    np.testing.assert_array_equal(whole(Islands("keep_clicked", (24, 6, 6)).apply(context), mask), middle)
    np.testing.assert_array_equal(whole(Islands("remove_clicked", (3, 3, 3)).apply(context), mask), large | middle)
    for volume, left in ((27.0, mask), (27.5, large | middle), (65.0, large | middle), (65.5, large), (300.0, None)):
        found = whole(Islands("remove_small", volume_mm3=volume).apply(context), mask)
        np.testing.assert_array_equal(found, np.zeros_like(mask) if left is None else left)
    assert not (small & large).any()


def test_the_volume_of_an_island_counts_its_mm3_and_not_its_voxels():
    mask = three_islands()
    voxel = 0.7 * 0.8 * 3.0
    found = whole(Islands("remove_small", volume_mm3=27 * voxel).apply(context_of(mask, THICK)), mask)
    np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("point", [(0, 0, 0), (-9, 0, 0), (7, 3, 3)])
def test_a_click_on_no_island_is_refused(point):
    with pytest.raises(EditError, match="no island of this label at the click"):
        Islands("keep_clicked", point).apply(context_of(three_islands()))


def test_splitting_keeps_the_largest_island_and_gives_the_others_by_size():
    mask = three_islands()
    edit = SplitIslands().apply(context_of(mask))
    assert [int(part.sum()) for part in (edit.inside, *edit.parts)] == [216, 65, 27]
    together = edit.inside.copy()
    for part in edit.parts:
        assert not (together & part).any()
        together |= part
    np.testing.assert_array_equal(together, mask[edit.box.slices])
    large = SplitIslands(volume_mm3=50).apply(context_of(mask))
    assert [int(part.sum()) for part in (large.inside, *large.parts)] == [216 + 27, 65]
    assert "one island only" in SplitIslands(volume_mm3=100).apply(context_of(mask)).note


def test_splitting_into_a_crowd_is_refused():
    mask = np.zeros((20, 20, 20), bool)
    mask[::3, ::3, ::3] = True
    with pytest.raises(EditError, match="343 islands are too many"):
        SplitIslands().apply(context_of(mask))


# ---- holes -----------------------------------------------------------------------------------------------------------


def test_holes_are_filled_and_hollows_open_to_the_outside_are_not():
    mask = box_mask((20, 20, 20), (0, 2, 2), (15, 15, 15))
    mask[5:8, 5:8, 5:8] = False  # a hole
    mask[5, 4, 4] = False  # joined to it by a corner of voxels only: a hole by itself
    mask[0:3, 10, 10] = False  # open at the edge of the volume
    mask[10:15, 12, 12] = False  # open at the surface
    expected = mask.copy()
    expected[5:8, 5:8, 5:8] = expected[5, 4, 4] = True
    np.testing.assert_array_equal(whole(FillHoles().apply(context_of(mask)), mask), expected)


def test_a_hole_closed_by_corners_alone_counts_as_closed():
    ring = np.zeros((5, 5, 5), bool)
    for index in ((1, 2, 2), (3, 2, 2), (2, 1, 2), (2, 3, 2), (2, 2, 1), (2, 2, 3)):
        ring[index] = True
    assert whole(FillHoles().apply(context_of(ring)), ring)[2, 2, 2]


@pytest.mark.parametrize(("plane", "axis"), [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_a_tube_is_filled_in_the_slices_that_cross_it(plane, axis):
    tube = box_mask((12, 12, 12), (2, 2, 2), (9, 9, 9))
    hole = [slice(4, 7)] * 3
    hole[axis] = slice(None)
    tube[tuple(hole)] = False
    np.testing.assert_array_equal(whole(FillHoles().apply(context_of(tube)), tube), tube)
    filled = whole(FillHoles(plane).apply(context_of(tube)), tube)
    np.testing.assert_array_equal(filled, box_mask((12, 12, 12), (2, 2, 2), (9, 9, 9)))


@given(st.integers(0, 10**6))
def test_filled_holes_are_those_of_scipy(seed):
    mask = blobs((12, 11, 10), seed, 0.7)
    np.testing.assert_array_equal(whole(FillHoles().apply(context_of(mask)), mask), ni.binary_fill_holes(mask))
    per_slice = np.stack([ni.binary_fill_holes(mask[:, :, k]) for k in range(10)], axis=-1)
    np.testing.assert_array_equal(whole(FillHoles("axial").apply(context_of(mask)), mask), per_slice)


# ---- slices ----------------------------------------------------------------------------------------------------------


def discs(radii, centres, shape=(50, 50)):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return [(rows - r) ** 2 + (columns - c) ** 2 <= radius**2 for radius, (r, c) in zip(radii, centres, strict=True)]


def test_between_two_discs_lies_a_cone():
    mask = np.zeros((50, 50, 14), bool)
    mask[:, :, 2], mask[:, :, 12] = discs([18, 8], [(25, 25), (25, 25)])
    result = whole(Interpolate("axial").apply(context_of(mask)), mask)
    for k in range(3, 12):
        radius = 18 - (k - 2)
        assert math.sqrt(result[:, :, k].sum() / math.pi) == pytest.approx(radius, abs=0.6)
    np.testing.assert_array_equal(result[:, :, [0, 1, 2, 12, 13]], mask[:, :, [0, 1, 2, 12, 13]])


def test_between_two_discs_that_do_not_overlap_the_shape_travels():
    mask = np.zeros((50, 50, 11), bool)
    mask[:, :, 0], mask[:, :, 10] = discs([6, 6], [(10, 12), (36, 32)])
    result = whole(Interpolate("axial").apply(context_of(mask)), mask)
    for k in range(11):
        at = np.argwhere(result[:, :, k])
        np.testing.assert_allclose(at.mean(axis=0), [10 + 2.6 * k, 12 + 2 * k], atol=0.5)
        assert len(at) == pytest.approx(math.pi * 36, rel=0.12)


def test_a_branch_stays_where_it_was_drawn():
    mask = np.zeros((50, 50, 7), bool)
    trunk, *_ = discs([8], [(25, 14)])
    branch, *_ = discs([5], [(25, 38)])
    mask[:, :, 0], mask[:, :, 6] = trunk, trunk | branch
    result = whole(Interpolate("axial").apply(context_of(mask)), mask)
    for k in range(7):
        np.testing.assert_array_equal(result[:, :26, k], trunk[:, :26])


def test_every_gap_is_filled_and_no_drawn_slice_changes():
    mask = np.zeros((50, 50, 12), bool)
    for k, radius in ((1, 9), (4, 14), (5, 12), (10, 6)):
        mask[:, :, k] = discs([radius], [(25, 25)])[0]
    result = whole(Interpolate("axial").apply(context_of(mask)), mask)
    assert result.any(axis=(0, 1)).tolist() == [False] + [True] * 10 + [False]
    np.testing.assert_array_equal(result[:, :, [1, 4, 5, 10]], mask[:, :, [1, 4, 5, 10]])
    assert Interpolate("axial").is_proposal


@pytest.mark.parametrize(("plane", "axis"), [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_interpolation_goes_through_the_slices_of_its_plane_in_mm(plane, axis):
    disc = discs([10], [(25, 25)])[0]
    mask = np.zeros((50, 50, 50), bool)
    view = np.moveaxis(mask, axis, 0)
    view[20], view[30] = disc, disc
    result = np.moveaxis(whole(Interpolate(plane).apply(context_of(mask, SHEARED)), mask), axis, 0)
    for k in range(20, 31):
        np.testing.assert_array_equal(result[k], disc)


def test_without_a_gap_there_is_nothing_to_interpolate():
    context = context_of(box_mask((9, 9, 9), (2, 2, 2), (6, 6, 6)))
    assert "no axial slice is empty" in Interpolate("axial").apply(context).note


@pytest.mark.parametrize("step", [1, -1, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_slice_is_copied_towards_the_patients_head_and_adds_to_what_is_there(step, sign):
    mask = np.zeros((20, 20, 15), bool)
    mask[:, :, 7] = discs([5], [(9, 10)], (20, 20))[0]
    there = 7 + sign * step
    mask[0, 0, there] = True
    affine = np.diag([1.0, 1.0, sign * 2.0, 1.0])
    edit = CopySlice(mm(affine, (9, 10, 7)), "axial", step).apply(context_of(mask, affine))
    expected = mask.copy()
    expected[:, :, there] |= mask[:, :, 7]
    np.testing.assert_array_equal(whole(edit, mask), expected)
    assert edit.box.shape[2] == 1


def test_a_copy_from_an_empty_slice_or_past_the_edge_says_why_nothing_happens():
    mask = box_mask((9, 9, 9), (2, 2, 2), (6, 6, 9))
    assert "holds nothing on this slice" in CopySlice((3, 3, 0), "axial").apply(context_of(mask)).note
    assert "holds nothing on this slice" in CopySlice((3, 3, -50), "axial").apply(context_of(mask)).note
    assert "no further slice" in CopySlice((3, 3, 8), "axial").apply(context_of(mask)).note


# ---- other labels ----------------------------------------------------------------------------------------------------


def test_labels_are_united_intersected_and_subtracted_across_layers():
    layers = {1: box_mask((12, 12, 12), (1, 1, 1), (7, 7, 7)), 300: box_mask((12, 12, 12), (4, 4, 4), (11, 11, 11))}
    context = EditContext(
        Grid(UNIT, (12, 12, 12)),
        1,
        lambda value, box: layers[value][box.slices],
        lambda value: Box.around_mask(layers[value]),
    )
    expected = {
        "union": layers[1] | layers[300],
        "intersection": layers[1] & layers[300],
        "difference": layers[1] & ~layers[300],
    }
    for operator, mask in expected.items():
        np.testing.assert_array_equal(whole(Combine(operator, 300).apply(context), layers[1]), mask)


def test_combining_with_an_empty_label_says_so_or_leaves_what_it_should():
    mask = box_mask((9, 9, 9), (2, 2, 2), (6, 6, 6))
    assert "other label has no voxel" in Combine("union", 2).apply(context_of(mask)).note
    assert not whole(Combine("intersection", 2).apply(context_of(mask)), mask).any()
    np.testing.assert_array_equal(whole(Combine("difference", 2).apply(context_of(mask)), mask), mask)


@pytest.mark.parametrize(
    "operation",
    [
        Islands("keep_largest"),
        Islands("keep_clicked", (1, 1, 1)),
        SplitIslands(),
        FillHoles(),
        Smooth("median", 3.0),
        Margin(3.0),
        Interpolate("axial"),
        CopySlice((1, 1, 1), "axial"),
        Combine("difference", 2),
    ],
    ids=lambda operation: operation.name,
)
def test_an_empty_label_is_left_alone_with_a_note(operation):
    edit = operation.apply(context_of(np.zeros((5, 5, 5), bool)))
    assert edit.inside.size == 0
    assert edit.box.voxels == 0
    assert edit.note


def test_an_image_of_another_shape_is_refused():
    with pytest.raises(GeometryError, match="resample"):
        EditContext.of_label_map(
            Volume(np.zeros((5, 5, 5), np.uint8), UNIT), 1, Volume(np.zeros((5, 5, 4), np.uint8), UNIT)
        )
