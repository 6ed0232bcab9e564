"""Metrics on known answers, anisotropic spacing and empty masks, and against MONAI's where definitions meet."""

import math

import numpy as np
import pytest
from scipy import ndimage as ni

from medseg_rl.metrics import (
    assd,
    auc,
    boundary_indices,
    clicks_to_reach,
    decreases,
    dice,
    far_change,
    hd95,
    nsd,
    reaches,
    respected,
    surface_distances,
)

UNIT = (1.0, 1.0, 1.0)


def box(shape, x, y, z):
    mask = np.zeros(shape, bool)
    mask[slice(*x), slice(*y), slice(*z)] = True
    return mask


def plates(spacing_axis=0):
    """Two single-voxel plates three slices apart along one axis: every distance is three slices."""
    shape = (12, 12, 12)
    first, second = np.zeros(shape, bool), np.zeros(shape, bool)
    np.moveaxis(first, spacing_axis, 0)[4, 2:8, 2:8] = True
    np.moveaxis(second, spacing_axis, 0)[7, 2:8, 2:8] = True
    return first, second


def blobs(seed, shape=(19, 23, 15)):
    rng = np.random.default_rng(seed)
    noise = ni.gaussian_filter(rng.standard_normal(shape), 2)
    return noise > 0.05, noise + 0.04 * ni.gaussian_filter(rng.standard_normal(shape), 1) > 0.03


def test_dice_of_a_box_shifted_by_a_quarter_of_its_length():
    shape = (20, 10, 10)
    assert dice(box(shape, (4, 12), (2, 6), (2, 6)), box(shape, (6, 14), (2, 6), (2, 6))) == pytest.approx(0.75)


def test_equal_masks_are_perfect():
    mask, _ = blobs(0)
    assert (dice(mask, mask), nsd(mask, mask, UNIT), hd95(mask, mask, UNIT), assd(mask, mask, UNIT)) == (1, 1, 0, 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_distances_of_shifted_plates_follow_the_spacing_of_their_axis(axis):
    mask, reference = plates(axis)
    spacing = [0.7, 0.7, 0.7]
    spacing[axis] = 2.5
    assert dice(mask, reference) == 0.0
    assert hd95(mask, reference, tuple(spacing)) == pytest.approx(7.5)
    assert assd(mask, reference, tuple(spacing)) == pytest.approx(7.5)
    assert nsd(mask, reference, tuple(spacing), tolerance_mm=7.5) == 1.0
    assert nsd(mask, reference, tuple(spacing), tolerance_mm=7.4) == 0.0


def test_nsd_counts_both_boundaries_at_exactly_the_tolerance():
    shape = (30, 9, 9)
    mask, reference = box(shape, (10, 20), (4, 5), (4, 5)), box(shape, (10, 24), (4, 5), (4, 5))
    assert nsd(mask, reference, UNIT, tolerance_mm=2.0) == (10 + 12) / 24
    assert nsd(mask, reference, (0.1, 1.0, 1.0), tolerance_mm=0.3) == (10 + 13) / 24


def test_hd95_is_the_larger_directed_percentile_and_not_a_pooled_one():
    shape = (60, 5, 5)
    mask, reference = box(shape, (5, 45), (2, 3), (2, 3)), box(shape, (5, 25), (2, 3), (2, 3))
    directed = np.concatenate([np.zeros(20), np.arange(1, 21)])
    assert hd95(mask, reference, UNIT) == pytest.approx(np.percentile(directed, 95))
    assert hd95(reference, mask, UNIT) == pytest.approx(np.percentile(directed, 95))
    assert assd(mask, reference, UNIT) == pytest.approx(directed.sum() / 60)


def test_the_boundary_has_a_6_neighbour_outside_and_the_volume_border_is_outside():
    assert len(boundary_indices(np.ones((5, 5, 5), bool))) == 125 - 27
    corner_missing = np.ones((5, 5, 5), bool)
    corner_missing[0, 0, 0] = False
    assert len(boundary_indices(corner_missing)) == 125 - 27 - 1
    inside = box((9, 9, 9), (2, 7), (2, 7), (2, 7))
    expected = np.argwhere(inside & ~ni.binary_erosion(inside))
    np.testing.assert_array_equal(boundary_indices(inside), expected)


@pytest.mark.parametrize("spacing", [UNIT, (3.27, 0.98, 0.98)])
@pytest.mark.parametrize("seed", range(3))
def test_distances_equal_those_of_the_distance_transform(seed, spacing):
    mask, reference = blobs(seed)
    edges = [m & ~ni.binary_erosion(m) for m in (mask, reference)]
    fields = [ni.distance_transform_edt(~e, sampling=spacing) for e in edges]
    there, back = fields[1][edges[0]], fields[0][edges[1]]
    assert hd95(mask, reference, spacing) == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert assd(mask, reference, spacing) == pytest.approx(np.concatenate([there, back]).mean())
    expected = (np.concatenate([there, back]) <= 2 + 1e-6).mean()
    assert nsd(mask, reference, spacing) == pytest.approx(expected)


def test_an_empty_mask_scores_zero_and_the_diagonal():
    reference = box((11, 6, 5), (2, 5), (2, 4), (2, 4))
    empty, spacing = np.zeros_like(reference), (1.0, 2.0, 3.0)
    diagonal = math.sqrt(10**2 + 10**2 + 12**2)
    assert dice(empty, reference) == 0
    assert nsd(empty, reference, spacing) == 0
    assert hd95(empty, reference, spacing) == assd(empty, reference, spacing) == pytest.approx(diagonal)


def test_an_empty_reference_and_another_grid_are_refused():
    mask = box((6, 6, 6), (1, 3), (1, 3), (1, 3))
    for metric in (dice, lambda p, r: nsd(p, r, UNIT), lambda p, r: assd(p, r, UNIT)):
        with pytest.raises(ValueError, match="reference is empty"):
            metric(mask, np.zeros_like(mask))
        with pytest.raises(ValueError, match="resample"):
            metric(mask, mask[:5])


@pytest.mark.filterwarnings("ignore")  # MONAI's imports warn of their own dependencies
@pytest.mark.parametrize("spacing", [UNIT, (3.0, 1.0, 0.5)])
def test_dice_and_assd_agree_with_monai_inside_the_volume(spacing):
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    mask, reference = (np.pad(m, 3) for m in blobs(4))
    tensors = [torch.from_numpy(m[None, None].astype(np.float32)) for m in (mask, reference)]
    assert dice(mask, reference) == pytest.approx(float(monai.compute_dice(*tensors)), abs=1e-6)
    # MONAI's edges are those of scipy's erosion, as ours. Its symmetric mean pools both boundaries, as ours; its
    # percentile is the larger directed one, as ours.
    theirs = float(monai.compute_average_surface_distance(*tensors, symmetric=True, spacing=spacing))
    assert assd(mask, reference, spacing) == pytest.approx(theirs, rel=1e-5)
    theirs = float(monai.compute_hausdorff_distance(*tensors, percentile=95, spacing=spacing))
    assert hd95(mask, reference, spacing) == pytest.approx(theirs, rel=1e-5)
    theirs = float(
        monai.compute_surface_dice(*tensors, class_thresholds=[2.0], include_background=True, spacing=spacing)
    )
    assert nsd(mask, reference, spacing) == pytest.approx(theirs, abs=1e-6)


def test_all_surface_metrics_come_from_one_search():
    mask, reference = blobs(1)
    once = surface_distances(mask, reference, UNIT)
    assert (once.nsd(2.0), once.hd95, once.assd) == (
        nsd(mask, reference, UNIT),
        hd95(mask, reference, UNIT),
        assd(mask, reference, UNIT),
    )


def test_auc_is_the_mean_of_trapezoids_and_carries_the_last_value_forward():
    assert auc([0.0, 1.0], 1) == 0.5
    assert auc([0.2, 0.4, 0.6, 0.6, 0.6, 0.6], 5) == pytest.approx((0.3 + 0.5 + 0.6 * 3) / 5)
    assert auc([0.2, 0.4, 0.6], 5) == auc([0.2, 0.4, 0.6, 0.6, 0.6, 0.6], 5)
    assert auc([0.9] * 30, 20) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="start value"):
        auc([], 5)


def test_clicks_to_reach_is_the_first_click_at_the_level_or_the_limit():
    values = [0.5, 0.7, 0.85, 0.8, 0.9]
    assert clicks_to_reach(values, 0.85) == 2
    assert clicks_to_reach(values, 0.4) == 0
    assert clicks_to_reach(values, 0.95) == 20
    assert reaches(values, 0.9)
    assert not reaches(values, 0.91)
    assert clicks_to_reach([0.0] * 21 + [1.0], 0.9) == 20  # the 21st click is beyond the budget
    assert not reaches([0.0] * 21 + [1.0], 0.9)


def test_decreases_count_clicks_that_lower_the_metric():
    values = [0.5, 0.6, 0.55, 0.55, 0.5495, 0.7]
    found = decreases(values)
    assert (found.count, found.share) == (2, 2 / 5)
    assert found.mean_drop == pytest.approx((0.05 + 0.0005) / 2)
    assert found.worst_drop == pytest.approx(0.05)
    assert decreases(values, ignored_drop=0.001).count == 1
    assert decreases([0.5, 0.6]) == decreases([0.5])
    assert decreases([0.5]).share == 0.0


def test_respected_is_the_share_of_clicks_whose_voxel_has_the_label():
    mask = box((5, 5, 5), (1, 3), (1, 3), (1, 3))
    assert respected(mask, [((1, 1, 1), 1), ((0, 0, 0), 0), ((4, 4, 4), 1), ((2, 2, 2), 0)]) == 0.5
    assert math.isnan(respected(mask, []))


def test_far_change_measures_millimetres_from_every_click_so_far():
    shape, spacing = (40, 5, 5), (2.0, 1.0, 1.0)
    before, after, reference = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape, bool)
    after[[10, 15, 16, 30], 2, 2] = True  # 0, 10, 12 and 40 mm from the click at 10
    reference[30, 2, 2] = True
    found = far_change(before, after, reference, [(10, 2, 2)], spacing, radius_mm=10.0)
    assert (found.changed, found.far, found.far_wrong) == (4, 2, 1)
    assert (found.far_share, found.far_wrong_share) == (0.5, 0.5)
    assert far_change(before, after, reference, [(10, 2, 2), (31, 2, 2)], spacing, radius_mm=10.0).far == 1
    assert far_change(before, after, reference, [], spacing, radius_mm=10.0).far == 4
    unchanged = far_change(before, before, reference, [(1, 1, 1)], spacing, radius_mm=10.0)
    assert (unchanged.changed, unchanged.far_share, unchanged.far_wrong_share) == (0, 0.0, 0.0)
