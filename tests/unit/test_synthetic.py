"""Phantoms whose ground truth is known, and corruptions that stay what they claim."""

import math

import numpy as np
import pytest

from medseg_rl.synthetic import (
    CORRUPTIONS,
    corrupt_mask,
    ellipsoid,
    phantom,
    random_image,
    random_labels,
    sheet,
    smooth_noise,
    tube,
)

UNIT = (1.0, 1.0, 1.0)
ANISOTROPIC = (3.0, 1.0, 0.8)


def overlap(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def ball(shape, spacing, radius_mm):
    centre = np.array([(n - 1) * s / 2 for n, s in zip(shape, spacing, strict=True)])
    return ellipsoid(shape, spacing, centre, np.full(3, radius_mm))


@pytest.mark.parametrize(("shape", "spacing"), [((41, 41, 41), UNIT), ((15, 41, 51), ANISOTROPIC)])
def test_an_ellipsoid_has_its_volume_in_cubic_millimetres(shape, spacing):
    centre = [(n - 1) * s / 2 for n, s in zip(shape, spacing, strict=True)]
    radii = np.array([15.0, 12.0, 9.0])
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    for axes in (None, turned):
        volume = ellipsoid(shape, spacing, np.array(centre), radii, axes).sum() * math.prod(spacing)
        assert volume == pytest.approx(4 / 3 * math.pi * radii.prod(), rel=0.03)


def test_a_tube_and_a_sheet_have_their_thickness_in_millimetres():
    shape = (15, 50, 60)
    straight = tube(shape, ANISOTROPIC, np.array([[21.0, 5.0, 20.0], [21.0, 40.0, 20.0]]), 6.0)
    assert straight[:, 20].sum() * 3.0 * 0.8 == pytest.approx(math.pi * 36, rel=0.1)
    flat = sheet(shape, ANISOTROPIC, np.array([0.0, 25.0, 0.0]), np.array([0.0, 1.0, 0.0]), 6.0)
    assert flat.sum() == 15 * 60 * 7  # centres at most 3 mm from the plane


def test_smooth_noise_has_unit_deviation_and_its_length():
    rng = np.random.default_rng(0)
    for length in (5.0, 20.0):
        field = smooth_noise((40, 60, 70), ANISOTROPIC, length, rng)
        assert field.dtype == np.float32
        assert field.mean() == pytest.approx(0, abs=1e-3)
        assert field.std() == pytest.approx(1, abs=1e-3)
        step = np.abs(np.diff(field, axis=1)).mean()  # mm along this axis
        assert 0.3 / length < step < 2.0 / length


def test_phantoms_carry_labels_a_finite_image_and_a_target_that_is_a_union_of_labels():
    rng = np.random.default_rng(1)
    sizes = set()
    for _ in range(12):
        made = phantom((20, 30, 24), ANISOTROPIC, rng)
        assert made.image.dtype == np.float32
        assert made.labels.dtype == np.uint8
        assert made.image.shape == made.labels.shape == (20, 30, 24)
        assert np.isfinite(made.image).all()
        target = made.target(rng)
        values = set(np.unique(made.labels[target]))
        assert values
        assert 0 not in values
        assert not target[~np.isin(made.labels, list(values))].any()
        assert target.sum() == np.isin(made.labels, list(values)).sum()
        sizes.add(len(values))
    assert len(sizes) > 1


def test_the_same_seed_gives_the_same_phantom_and_another_seed_another():
    one, two, other = (phantom((16, 16, 16), UNIT, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert (one.image != other.image).any()


def test_labels_are_visible_in_their_image():
    rng = np.random.default_rng(5)
    visible = []
    for _ in range(10):
        labels = random_labels((24, 24, 24), UNIT, rng, structures=1)
        if 50 < labels.sum() < 8000:
            image = random_image(labels, UNIT, rng, distractors=0)
            inside, outside = image[labels == 1], image[labels == 0]
            visible.append(abs(inside.mean() - outside.mean()) / outside.std())
    assert np.median(visible) > 0.5


@pytest.mark.parametrize(("shape", "spacing"), [((40, 40, 40), UNIT), ((16, 44, 54), ANISOTROPIC)])
def test_a_corrupted_mask_differs_but_stays_an_attempt_at_the_same_object(shape, spacing):
    mask = ball(shape, spacing, 12.0)
    rng = np.random.default_rng(6)
    overlaps = []
    for _ in range(25):
        before = mask.copy()
        overlaps.append(overlap(corrupt_mask(mask, spacing, rng), mask))
        np.testing.assert_array_equal(mask, before)
    assert min(overlaps) >= 0.3
    assert max(overlaps) < 1.0
    assert max(overlaps) - min(overlaps) > 0.1


def test_corruption_is_repeatable():
    mask = ball((30, 30, 30), UNIT, 8.0)
    one, two = (corrupt_mask(mask, UNIT, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_each_kind_of_corruption_does_what_its_name_says():
    mask = ball((48, 48, 48), UNIT, 12.0)
    for seed in range(5):
        found = {c.__name__: c(mask, UNIT, np.random.default_rng(seed)) for c in CORRUPTIONS}
        resized = found["_resized"]
        assert (resized & ~mask).any() != (mask & ~resized).any()  # one of both
        radius = (3 * resized.sum() / (4 * math.pi)) ** (1 / 3)
        assert 0.4 < abs(radius - 12.0) < 4.6
        for name in ("_cut", "_part_dropped"):
            assert not (found[name] & ~mask).any()
            assert found[name].sum() < mask.sum()
        for name in ("_ball_added", "_tube_added"):
            assert not (mask & ~found[name]).any()
            assert found[name].sum() > mask.sum()
        for name in ("_rough_boundary", "_warped"):
            assert (found[name] & ~mask).any() or (mask & ~found[name]).any()
            assert overlap(found[name], mask) > 0.6


@pytest.mark.parametrize("spacing", [UNIT, (0.4, 0.4, 6.0)])
def test_empty_tiny_and_full_masks_can_be_corrupted(spacing):
    rng = np.random.default_rng(8)
    single = np.zeros((9, 10, 8), bool)
    single[4, 5, 3] = True
    for mask in (np.zeros((9, 10, 8), bool), single, np.ones((9, 10, 8), bool), np.ones((1, 1, 1), bool)):
        for _ in range(5):
            wrong = corrupt_mask(mask, spacing, rng)
            assert wrong.shape == mask.shape
            assert mask.size == 1 or (wrong != mask).any()
            assert mask.size == 1 or wrong.any()
