"""Intensities that depend on the whole volume alone, and a coarse level that gives back what it was given."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medseg_rl.preprocessing import (
    INTENSITY_BOUND,
    coarse_level,
    from_level,
    held_to_level,
    indices_to_level,
    intensity_scale,
    normalise_intensity,
    percent_from_level,
    percent_to_level,
    to_level,
)


def noisy(shape=(20, 24, 18), seed=0):
    return np.random.default_rng(seed).normal(300, 40, shape)


def test_mr_values_become_z_scores_of_the_cut_volume():
    array = noisy()
    low, high = np.percentile(array, (0.5, 99.5))
    cut = np.clip(array, low, high)
    found = normalise_intensity(array, "MR")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (cut - cut.mean()) / cut.std(), atol=1e-4)


@pytest.mark.parametrize("modality", [None, "MR", "PT"])
def test_scale_offset_and_a_few_bright_voxels_change_nothing_but_ct_keeps_hounsfield_units(modality):
    array = noisy()
    expected = normalise_intensity(array, modality)
    np.testing.assert_allclose(normalise_intensity(7 * array - 900, modality), expected, atol=1e-3)
    bright = array.copy()
    bright[0, 0, :5] = 1e6
    np.testing.assert_allclose(normalise_intensity(bright, modality)[1:], expected[1:], atol=0.05)
    assert not np.allclose(normalise_intensity(7 * array - 900, "CT"), normalise_intensity(array, "CT"), atol=0.1)


def test_ct_goes_through_one_fixed_window_that_keeps_tissues_apart():
    hounsfield = np.array([-1000, -800, -100, 0, 50, 150, 300, 1000, 3000, -2000], np.int16).reshape(10, 1, 1)
    found = normalise_intensity(hounsfield, "CT").ravel()
    assert np.all(np.diff(found[:8]) > 0.2)
    assert (found[0], found[-1], found[6]) == (-3.0, -3.0, 2.0)
    assert found[8] == 3.0
    np.testing.assert_array_equal(normalise_intensity(hounsfield[2:4], "ct").ravel(), found[2:4])


def test_values_stay_in_bounds_whatever_the_image():
    rng = np.random.default_rng(0)
    almost_empty = np.zeros((20, 20, 20))
    almost_empty[5:8, 5:8, 5:8] = rng.uniform(5e5, 1e6, (3, 3, 3))  # 0.3 % of the voxels, so beyond the percentile
    found = normalise_intensity(almost_empty, "PT")
    assert found.max() == pytest.approx(INTENSITY_BOUND)
    assert found[6, 6, 6] > found[0, 0, 0] + 1


@pytest.mark.parametrize("value", [0, -17, 3.3e8, 1e-30])
def test_a_constant_image_becomes_zeros(value):
    found = normalise_intensity(np.full((4, 5, 1), value), None)
    assert found.dtype == np.float32
    assert not found.any()


def test_nan_becomes_zero_and_infinities_the_bounds_and_neither_moves_the_others():
    array = noisy()
    broken = array.copy()
    broken[0, 0, :3] = np.nan, np.inf, -np.inf
    found = normalise_intensity(broken, "MR")
    assert np.isfinite(found).all()
    assert found[0, 0, 0] == 0.0
    assert (found[0, 0, 1], found[0, 0, 2]) == (found.max(), found.min())
    np.testing.assert_allclose(found[1:], normalise_intensity(array, "MR")[1:], atol=0.02)
    assert normalise_intensity(np.array([[[np.nan, 40.0]]]), "CT")[0, 0, 0] == -3.0
    assert not normalise_intensity(np.full((2, 2, 2), np.nan), "MR").any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float64])
def test_the_input_is_left_alone_and_any_number_type_will_do(dtype):
    array = noisy().clip(0, 255).astype(dtype)
    before = array.copy()
    normalise_intensity(array, "MR")
    normalise_intensity(array, "CT")
    np.testing.assert_array_equal(array, before)


def with_the_whole_volume_in_memory(array):
    """The formula in a line for each step, copies and all."""
    values = np.asarray(array, dtype=np.float32)
    known = values[np.isfinite(values)]
    low, high = (float(v) for v in np.percentile(known, (0.5, 99.5)))
    if not high > low:
        low, high = float(known.min()), float(known.max())
    cut = np.clip(known, low, high)
    if not high > low:
        return np.zeros(values.shape, np.float32)
    scaled = (np.clip(values, low, high) - np.float32(cut.mean(dtype=np.float64))) / cut.std(dtype=np.float64)
    return np.clip(np.nan_to_num(scaled, nan=0.0), -INTENSITY_BOUND, INTENSITY_BOUND)


NUMBERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]


@given(
    st.sampled_from(NUMBERS).flatmap(
        lambda dtype: arrays(
            dtype,
            array_shapes(min_dims=3, max_dims=3, max_side=8),
            elements=st.integers(0, 120) if np.dtype(dtype).kind in "iu" else st.integers(-500, 500).map(float),
        )
    ),
    st.sampled_from("CF"),
)
def test_counting_values_or_ordering_them_gives_the_scale_that_the_whole_volume_has(array, order):
    found = normalise_intensity(np.asarray(array, order=order), "MR")
    np.testing.assert_allclose(found, with_the_whole_volume_in_memory(array), atol=2e-4)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_part_of_a_volume_is_scaled_as_the_whole_of_it_is(dtype, modality):
    array = noisy().clip(0, 120).astype(dtype)
    part = np.s_[3:17, ::-1, 4:9]
    whole = normalise_intensity(array, modality)[part]
    np.testing.assert_array_equal(intensity_scale(array, modality).apply(array[part]), whole)


@pytest.mark.parametrize(("dtype", "volumes"), [(np.int16, 0.2), (np.float32, 1.6)])
def test_finding_the_scale_copies_the_volume_once_at_most_and_whole_numbers_not_at_all(dtype, volumes):
    array = noisy((128, 128, 128)).astype(dtype)
    tracemalloc.start()
    intensity_scale(array, "MR")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < volumes * 4 * array.size


# ---- the coarse level


def test_a_region_within_the_cap_needs_no_coarse_level():
    assert coarse_level((10, 10, 10), (1, 1, 1), cap_voxels=1000) is None


@pytest.mark.parametrize("shape", [(60, 60, 60), (100, 90, 25), (11, 200, 31), (1, 300, 300)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 4.0)])
def test_a_coarse_level_fits_the_cap_and_tiles_the_same_region(shape, spacing):
    level = coarse_level(shape, spacing, cap_voxels=10_000)
    assert np.prod(level.shape) <= 10_000
    assert np.prod(level.shape) > 5_000
    np.testing.assert_allclose(np.multiply(level.shape, level.spacing), np.multiply(shape, spacing))
    assert all(m <= n for m, n in zip(level.shape, shape, strict=True))


def test_thick_slices_are_kept_while_the_plane_can_give_way():
    level = coarse_level((100, 100, 20), (1.0, 1.0, 4.0), cap_voxels=40_000)
    assert level.shape[2] == 20
    assert level.spacing[0] == pytest.approx(level.spacing[1])
    assert level.spacing[0] < 4.0


def test_the_coarse_level_turns_with_the_axes():
    level = coarse_level((50, 70, 20), (1.0, 0.9, 3.0), cap_voxels=9_000)
    turned = coarse_level((20, 50, 70), (3.0, 1.0, 0.9), cap_voxels=9_000)
    assert turned.shape == (level.shape[2], level.shape[0], level.shape[1])
    image = noisy((50, 70, 20)).astype(np.float32)
    np.testing.assert_allclose(
        to_level(turned, image.transpose(2, 0, 1)), to_level(level, image).transpose(2, 0, 1), rtol=1e-5
    )
    np.testing.assert_allclose(to_level(level, image[::-1]), to_level(level, image)[::-1], rtol=1e-5)


def test_means_keep_the_total_and_whole_blocks_are_exact():
    level = coarse_level((12, 12, 12), (1, 1, 1), cap_voxels=6**3)
    assert level.shape == (6, 6, 6)
    image = noisy((12, 12, 12)).astype(np.float32)
    np.testing.assert_allclose(to_level(level, image), image.reshape(6, 2, 6, 2, 6, 2).mean(axis=(1, 3, 5)), rtol=1e-5)
    odd = coarse_level((13, 17, 11), (1, 1, 1), cap_voxels=400)
    image = noisy((13, 17, 11)).astype(np.float32)
    assert to_level(odd, image).mean() == pytest.approx(image.mean(), rel=1e-5)


def test_interpolation_gives_a_linear_ramp_back():
    shape = (40, 31, 22)
    level = coarse_level(shape, (1.0, 1.0, 1.5), cap_voxels=3_000)

    def ramp(size, spacing):
        centres = (np.indices(size) + 0.5) * np.reshape(spacing, (3, 1, 1, 1))
        return (centres * np.array([2.0, -1.0, 0.5]).reshape(3, 1, 1, 1)).sum(axis=0)

    coarse, fine = ramp(level.shape, level.spacing), ramp(shape, (1.0, 1.0, 1.5))
    inner = tuple(slice(3, n - 3) for n in shape)
    np.testing.assert_allclose(from_level(level, coarse)[inner], fine[inner], atol=1e-3)
    np.testing.assert_allclose(from_level(level, to_level(level, fine))[inner], fine[inner], atol=0.2)


def test_a_coarse_level_that_changes_nothing_leaves_the_fine_state_untouched():
    rng = np.random.default_rng(1)
    fine = rng.integers(1, 100, (30, 26, 24)).astype(np.uint8)
    level = coarse_level(fine.shape, (1, 1, 1), cap_voxels=2_000)
    coarse = percent_to_level(level, fine)
    assert coarse.dtype == np.uint8
    np.testing.assert_array_equal(percent_from_level(level, fine, coarse, coarse), fine)


def test_a_level_of_a_state_that_is_the_same_everywhere_is_too():
    fine = np.full((30, 26, 24), 41, np.uint8)
    level = coarse_level(fine.shape, (1, 1, 1), cap_voxels=2_000)
    np.testing.assert_array_equal(percent_to_level(level, fine), np.full(level.shape, 41, np.uint8))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_level_is_the_same_whatever_order_the_voxels_lie_in(order):
    fine = np.random.default_rng(2).normal(size=(21, 26, 17)).astype(np.float32)
    level = coarse_level(fine.shape, (1.0, 1.0, 2.0), cap_voxels=900)
    wanted = fine
    for axis, (n, m) in enumerate(zip(fine.shape, level.shape, strict=True)):
        edges = np.linspace(0, n, m + 1)
        overlap = np.minimum(edges[1:, None], np.arange(1, n + 1)) - np.maximum(edges[:-1, None], np.arange(n))
        wanted = np.moveaxis(np.tensordot(np.maximum(overlap, 0) * m / n, wanted, (1, axis)), 0, axis)
    np.testing.assert_allclose(to_level(level, np.asarray(fine, order=order)), wanted, atol=1e-5)


def test_a_coarse_change_arrives_where_it_was_made_and_stays_a_probability():
    fine = np.full((24, 24, 24), 1, np.uint8)
    fine[:, :, :12] = 99
    level = coarse_level(fine.shape, (1, 1, 1), cap_voxels=12**3)
    before = percent_to_level(level, fine)
    after = before.copy()
    after[2:6, 2:6, :] = 99
    found = percent_from_level(level, fine, before, after)
    assert found[6:10, 6:10, 13:].min() == 99
    assert found[6:10, 6:10].min() > 50
    assert found[14:, :, 12:].max() == 1
    assert found.min() >= 1
    assert found.max() <= 99


def test_a_coarse_voxel_is_held_only_where_all_of_it_is():
    held = np.zeros((12, 12, 12), bool)
    held[:5] = True
    level = coarse_level(held.shape, (1, 1, 1), cap_voxels=6**3)
    np.testing.assert_array_equal(held_to_level(level, held)[:, 0, 0], [True, True, False, False, False, False])


def test_a_click_lands_in_the_coarse_voxel_that_holds_its_centre():
    shape = (31, 47, 20)
    level = coarse_level(shape, (1.0, 1.0, 2.0), cap_voxels=4_000)
    indices = [tuple(int(v) for v in i) for i in np.random.default_rng(2).integers(0, shape, (200, 3))]
    found = indices_to_level(level, indices)
    assert found[0] == indices_to_level(level, indices[:1])[0]
    fine_size = np.array([n / m for n, m in zip(shape, level.shape, strict=True)])
    for index, coarse in zip(indices, found, strict=True):
        centre = np.array(index) + 0.5
        assert np.all(np.array(coarse) * fine_size <= centre)
        assert np.all(centre <= (np.array(coarse) + 1) * fine_size)
    corners = indices_to_level(level, [(0, 0, 0), tuple(n - 1 for n in shape)])
    assert corners == [(0, 0, 0), tuple(m - 1 for m in level.shape)]
