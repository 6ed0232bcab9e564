"""Likeness: what this case's own mask and clicks say of a voxel's brightness."""

from __future__ import annotations

import numpy as np
import pytest

from medseg_rl.environment.likeness import LIKENESS, likeness
from medseg_rl.environment.observation import Relations, hint_channels
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.maps import HintMaps

OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
SHAPE = (16, 16, 16)


def two_tissues(noise: float = 0.05) -> np.ndarray:
    """Bright where x < 8, dark beyond: one unit apart."""
    image = np.random.default_rng(0).normal(0, noise, SHAPE).astype(np.float32)
    image[:8] += 1
    return image


def no_mask() -> np.ndarray:
    return np.zeros(SHAPE, bool)


def test_one_object_click_tells_its_tissue_from_the_other():
    maps = likeness(two_tissues(), no_mask(), [Click((3, 8, 8), OBJECT)])
    assert tuple(maps) == LIKENESS
    for name, values in maps.items():
        assert values.dtype == np.float32
        assert np.abs(values).max() <= 1
        assert values[:6].min() > 0 > values[10:].max(), name


def test_a_background_click_turns_what_is_like_it_away_from_the_object():
    image = two_tissues()
    mask = np.ones(SHAPE, bool)
    before = likeness(image, mask, [])["likeness"]
    after = likeness(image, mask, [Click((12, 8, 8), BACKGROUND)])["likeness"]
    assert after[10:].mean() < before[10:].mean() - 0.5
    assert after[:6].mean() > 0.5


def test_the_mask_alone_makes_a_model_where_there_are_no_clicks():
    mask = no_mask()
    mask[:8] = True
    values = likeness(two_tissues(), mask, [])["likeness"]
    assert (values[mask] > 0).all()
    assert (values[~mask] < 0).all()


def test_brighter_by_a_constant_or_mirrored_changes_nothing():
    image, click = two_tissues(), Click((3, 8, 8), OBJECT)
    plain = likeness(image, no_mask(), [click])
    brighter = likeness(image + np.float32(0.5), no_mask(), [click])
    mirrored = likeness(image[::-1].copy(), no_mask(), [Click((12, 8, 8), OBJECT)])
    for name in LIKENESS:
        assert np.array_equal(np.sign(plain[name]), np.sign(brighter[name]))
        assert np.array_equal(plain[name], mirrored[name][::-1])


@pytest.mark.parametrize("value", [-9.0, 9.0, 0.0])
def test_a_constant_image_says_nothing_of_any_voxel_and_values_beyond_the_bound_are_allowed(value):
    values = likeness(np.full(SHAPE, value, np.float32), no_mask(), [Click((3, 8, 8), OBJECT)])
    for name in LIKENESS:
        assert np.isfinite(values[name]).all()
        assert np.ptp(values[name]) == 0


def test_it_is_made_only_where_it_is_asked_for_and_in_the_frame_of_the_click():
    image, mask = two_tissues(), np.full(SHAPE, 5, np.uint8)
    mask[:8] = 95
    hints = HintMaps(image, (1.0, 1.0, 1.0))
    clicks = [Click((12, 8, 8), BACKGROUND)]
    hints.set(clicks)
    relations = Relations(image, mask, mask, hints, clicks, clicks, (1.0, 1.0, 1.0))
    assert not set(LIKENESS) & set(hint_channels(hints, relations, ("image", "probability")))
    asked = hint_channels(hints, relations, ("image", "likeness", "probability"))
    plain = likeness(image, mask > 50, clicks)
    assert np.array_equal(asked["likeness"], -plain["likeness"])
