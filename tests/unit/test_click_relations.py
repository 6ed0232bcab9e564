"""Click relations: in the frame of the click, in millimetres, whatever the grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg_rl.environment.click_relations import CLICK_RELATIONS, click_relations, signed_distance
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.maps import HintMaps

SPACING = (1.0, 1.0, 1.0)


def related(percent, clicks, *, image=None, spacing=SPACING):
    image = np.zeros(percent.shape, np.float32) if image is None else image
    hints = HintMaps(image, spacing)
    hints.set(clicks)
    return click_relations(image, percent, percent, hints, clicks, spacing)


def slab(shape=(12, 12, 12), until=6):
    percent = np.full(shape, 5, np.uint8)
    percent[:until] = 95
    return percent


def test_every_channel_is_there_and_within_its_range_but_for_the_starts_odds():
    maps = related(slab(), [Click((8, 5, 5), ClickLabel.FOREGROUND)])
    assert tuple(maps) == CLICK_RELATIONS
    for name, values in maps.items():
        assert values.shape == (12, 12, 12)
        assert np.abs(values).max() <= (np.log(99) / 3 + 1e-6 if name == "start" else 1 + 1e-5), name


def test_the_boundary_is_the_distance_to_the_surface_in_mm_over_five():
    near = signed_distance(slab() > 50, SPACING)[:, 5, 5]
    assert near == pytest.approx([1, 1, 0.8, 0.6, 0.4, 0.2, -0.2, -0.4, -0.6, -0.8, -1, -1])
    coarse = signed_distance(slab() > 50, (2.0, 1.0, 1.0))
    assert coarse[5, 5, 5] == pytest.approx(0.4)
    assert coarse[6, 5, 5] == pytest.approx(-0.4)
    assert (signed_distance(np.zeros((3, 3, 3), bool), SPACING) == -1).all()


def test_a_background_click_turns_what_speaks_of_a_class_and_nothing_else():
    image = np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)
    mine = related(slab(), [Click((8, 5, 5), ClickLabel.FOREGROUND)], image=image)
    other = related(slab(), [Click((8, 5, 5), ClickLabel.BACKGROUND)], image=image)
    for name in ("start", "boundary", "click_sign", "click_boundary"):
        assert np.array_equal(mine[name], -other[name]), name
    for name in ("same_hints", "opposite_hints", "click_nearness", "click_contrast", "click_alignment"):
        assert np.array_equal(mine[name], other[name]), name


def test_each_voxel_answers_to_the_nearest_new_click():
    clicks = [Click((1, 5, 5), ClickLabel.BACKGROUND), Click((10, 5, 5), ClickLabel.FOREGROUND)]
    maps = related(slab(), clicks)
    assert (maps["click_sign"][:5] == -1).all()
    assert (maps["click_sign"][7:] == 1).all()
    assert maps["click_nearness"][1, 5, 5] == maps["click_nearness"][10, 5, 5] == 1
    assert maps["same_hints"][1, 5, 5] == maps["same_hints"][10, 5, 5] == 1


def test_contrast_and_alignment_compare_a_voxel_with_the_clicked_one():
    image = np.zeros((12, 12, 12), np.float32)
    image[0] = 6.0
    ball = np.full((12, 12, 12), 1, np.uint8)
    ball[3:9, 3:9, 3:9] = 99
    maps = related(ball, [Click((2, 5, 5), ClickLabel.FOREGROUND)], image=image)
    assert maps["click_contrast"][0, 0, 0] == 1  # six standard deviations, clipped at three
    assert maps["click_contrast"][5, 5, 5] == 0
    assert maps["click_alignment"][2, 5, 5] == pytest.approx(1, abs=1e-4)
    assert maps["click_alignment"][9, 5, 5] == pytest.approx(-1, abs=1e-4)  # the surface opposite


def test_one_slice_and_one_voxel_are_answered():
    for shape in ((1, 1, 1), (8, 8, 1)):
        maps = related(np.full(shape, 90, np.uint8), [Click((0, 0, 0), ClickLabel.BACKGROUND)])
        assert all(np.isfinite(values).all() for values in maps.values())


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.9, 3.3), (6.0, 0.5, 1.0)])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
def test_the_signed_distance_is_the_exact_one_clipped(spacing, density):
    rng = np.random.default_rng(3)
    mask = rng.random((17, 14, 11)) < density
    expected = np.full(mask.shape, -1.0 if not mask.any() else 1.0)
    if 0 < mask.sum() < mask.size:
        inside, outside = (ndimage.distance_transform_edt(kind, sampling=spacing) for kind in (mask, ~mask))
        expected = np.clip((inside - outside) / 5, -1, 1)
    assert signed_distance(mask, spacing) == pytest.approx(expected, abs=1e-6)
