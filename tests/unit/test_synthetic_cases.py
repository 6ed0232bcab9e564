"""Drawn training volumes are what they promise, and plausible starts are wrong, but not too wrong."""

from collections import Counter

import numpy as np
import pytest

from medseg_rl.synthetic import SyntheticConfig, ellipsoid, plausible_start, synthetic_case
from medseg_rl.synthetic.config import REGION
from medseg_rl.synthetic.fields import cell_fields, distance_field, solid_field, tube_field
from medseg_rl.synthetic.scanner import sliced
from medseg_rl.synthetic.shapes import positions_mm, signed_distance
from medseg_rl.synthetic.structures import STRUCTURES

SMALL = SyntheticConfig(voxels=(24, 32))
UNIT = (1.0, 1.0, 1.0)


def overlap(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def drawn(count, config=SMALL):
    return [synthetic_case(config, np.random.default_rng([3, n])) for n in range(count)]


@pytest.fixture(scope="module")
def cases():
    return drawn(40)


def grid(shape, spacing):
    return np.ascontiguousarray(np.moveaxis(positions_mm(shape, spacing), -1, 0), np.float32)


def test_the_same_generator_state_gives_the_same_case():
    first, second = (synthetic_case(SMALL, np.random.default_rng(8)) for _ in range(2))
    other = synthetic_case(SMALL, np.random.default_rng(9))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.reference, second.reference)
    assert (first.spacing, first.name) == (second.spacing, second.name)
    assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)


def test_images_are_finite_normalised_and_within_the_wanted_shape_and_spacing(cases):
    for case in cases:
        assert case.image.dtype == np.float32
        assert case.reference.dtype == np.bool_
        assert case.image.shape == case.reference.shape
        assert np.isfinite(case.image).all()
        assert np.abs(case.image).max() <= 4.0
        assert case.image.std() > 0
        assert max(case.image.shape) <= 32
        assert min(case.image.shape) >= SMALL.least_slices
        assert 0.5 < min(case.spacing) <= max(case.spacing) <= 8.0


def test_targets_are_neither_specks_nor_everything(cases):
    for case in cases:
        assert case.reference.sum() >= SMALL.least_voxels
        assert case.reference.mean() <= SMALL.most_share


def test_every_kind_modality_and_speciality_occurs():
    words = Counter(word for case in drawn(180, SyntheticConfig(voxels=(16, 20))) for word in case.name.split())
    assert {"CT", "MR", "PET", "part", "union", "twin", REGION, *STRUCTURES} <= set(words)


def test_some_volumes_have_thick_slices_along_each_axis_and_some_are_isotropic(cases):
    thick = {int(np.argmax(c.spacing)) for c in cases if max(c.spacing) >= 2 * min(c.spacing)}
    assert thick == {0, 1, 2}
    assert any(max(c.spacing) < 1.15 * min(c.spacing) for c in cases)


def test_ranges_that_hold_no_target_are_refused_in_one_line():
    with pytest.raises(ValueError, match="widen"):
        synthetic_case(SyntheticConfig(voxels=(12, 12), least_voxels=10**6), np.random.default_rng(0))


def test_plausible_starts_are_wrong_by_what_automatic_methods_are_wrong(cases):
    dice = []
    for number, case in enumerate(cases):
        start = plausible_start(case.reference, case.image, case.spacing, np.random.default_rng(number))
        again = plausible_start(case.reference, case.image, case.spacing, np.random.default_rng(number))
        assert np.array_equal(start, again)
        assert start.dtype == np.bool_
        assert start.any()
        assert not np.array_equal(start, case.reference)
        dice.append(overlap(start, case.reference))
    assert min(dice) > 0.25
    assert np.quantile(dice, 0.1) < 0.7
    assert np.quantile(dice, 0.9) > 0.85
    assert 0.6 < np.median(dice) < 0.9


def test_a_start_follows_the_image_into_what_looks_alike():
    """A ball that touches another of its brightness: starts leak into that one, not into the empty side."""
    shape, toward, away = (48, 32, 32), 0, 0
    ball = ellipsoid(shape, UNIT, np.array([18.0, 16.0, 16.0]), np.full(3, 7.0))
    twin = ellipsoid(shape, UNIT, np.array([31.0, 16.0, 16.0]), np.full(3, 7.0)) & ~ball
    opposite = ellipsoid(shape, UNIT, np.array([5.0, 16.0, 16.0]), np.full(3, 7.0)) & ~ball
    image = np.where(ball | twin, 1.5, -1.0) + np.random.default_rng(0).normal(0, 0.2, shape)
    for seed in range(40):
        start = plausible_start(ball, image.astype(np.float32), UNIT, np.random.default_rng(seed))
        toward, away = toward + int((start & twin).sum()), away + int((start & opposite).sum())
    assert toward > 2 * away


def test_lengths_of_starts_may_be_in_any_unit():
    shape = (30, 30, 30)
    ball = ellipsoid(shape, UNIT, np.full(3, 15.0), np.full(3, 8.0))
    image = np.where(ball, 1.0, 0.0).astype(np.float32)
    for spacing in (UNIT, (0.1, 0.1, 0.1), (40.0, 40.0, 40.0)):
        dice = [overlap(plausible_start(ball, image, spacing, np.random.default_rng(n)), ball) for n in range(20)]
        assert 0.5 < np.mean(dice) < 0.95


def test_a_start_of_an_empty_or_full_reference_differs_from_it():
    image = np.zeros((12, 12, 12), np.float32)
    for reference in (np.zeros(image.shape, bool), np.ones(image.shape, bool)):
        assert not np.array_equal(plausible_start(reference, image, UNIT, np.random.default_rng(0)), reference)


def test_a_ball_is_measured_in_millimetres_and_a_tube_has_its_radius():
    shape, spacing = (21, 31, 25), (2.0, 1.0, 1.5)
    centre = np.array([20.0, 15.0, 18.0])
    away = np.linalg.norm(positions_mm(shape, spacing) - centre, axis=-1)
    ball = solid_field(grid(shape, spacing), centre, np.eye(3), np.full(3, 9.0), 0.0, False)
    np.testing.assert_allclose(ball, away - 9.0, atol=1e-3)
    segment = np.array([[-50.0, 15.0, 18.0, 90.0, 15.0, 18.0, 5.0, 5.0]])
    tube = tube_field(shape, np.array(spacing), segment, 100.0)
    across = np.linalg.norm(positions_mm(shape, spacing)[..., 1:] - centre[1:], axis=-1)
    np.testing.assert_allclose(tube, across - 5.0, atol=1e-3)


def test_a_cell_holds_what_is_nearest_to_its_seed():
    shape = (16, 18, 20)
    seeds = np.random.default_rng(0).uniform(0, 18, (7, 3))
    labels, walls = cell_fields(grid(shape, UNIT), seeds, np.ones(7))
    away = np.linalg.norm(positions_mm(shape, UNIT)[..., None, :] - seeds, axis=-1)
    assert (labels == away.argmin(axis=-1)).mean() > 0.999  # single precision at the walls
    closest = np.sort(away, axis=-1)
    np.testing.assert_allclose(walls, (closest[..., 1] - closest[..., 0]) / 2, atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_thick_slice_is_the_mean_of_its_thin_ones(axis):
    fine = np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)
    thick = sliced(fine, axis, 3)
    assert thick.shape[axis] == 4
    expected = np.stack([np.take(fine, [3 * n, 3 * n + 1, 3 * n + 2], axis).mean(axis) for n in range(4)], axis)
    np.testing.assert_allclose(thick, expected, atol=1e-6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.7, 1.2)])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.97, 1.0])
def test_the_distance_of_this_thread_is_the_signed_distance_of_the_library(spacing, share):
    mask = np.random.default_rng(1).random((13, 17, 11)) < share
    np.testing.assert_allclose(
        np.clip(distance_field(mask, spacing), -500, 500),
        np.clip(signed_distance(mask, spacing), -500, 500),
        atol=1e-4,
    )
