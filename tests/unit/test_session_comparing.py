"""Two models given the same clicks from the same start, side by side, and what a candidate would show."""

from __future__ import annotations

import numpy as np
import pytest

from medseg_rl.errors import MedSegError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.refiners.paint_ball import PaintBall
from medseg_rl.session import SegmentationSession
from medseg_rl.volume import Volume

SHAPE = (24, 22, 20)
TURNED = np.array([[0, -2.0, 0, 30], [1.5, 0, 0.1, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])
OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND


class Named(PaintBall):
    """A ball whose hash is its radius."""

    def describe(self):
        return {**super().describe(), "bundle_hash": f"{round(10 * self.radius_mm):016d}"}


def started(radius_mm=4.0):
    array = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    return SegmentationSession(Volume(array, TURNED, "MR"), Named(radius_mm))


def clicked(radius_mm=4.0):
    session = started(radius_mm)
    session.click_voxels([Click((12, 11, 10), OBJECT)])
    session.click_voxels([Click((12, 8, 10), BACKGROUND)])
    return session


def test_each_model_does_what_it_would_have_done_with_the_same_clicks():
    session = clicked(4.0)
    before, version = session.mask, session.version
    found = session.prepare_comparison([Named(4.0), Named(8.0)]).run()
    assert found.click_budget == 2
    assert found.policies == ("paint-ball@0000000000000040", "paint-ball@0000000000000080")
    for delta, radius in zip(found.deltas, (4.0, 8.0), strict=True):
        assert np.array_equal(session.mask_with(delta), clicked(radius).mask)
    assert np.array_equal(session.mask, before)
    assert session.version == version


def test_the_start_that_the_clicks_came_on_top_of_is_that_of_both_models():
    session = started()
    mask = np.zeros(SHAPE, bool)
    mask[4:9, 4:9, 4:9] = True
    session.set_start(mask)
    session.click_voxels([Click((12, 11, 10), OBJECT)])
    first, second = session.prepare_comparison([Named(4.0), Named(8.0)]).run().deltas
    assert np.array_equal(session.mask_with(first), session.mask)
    assert (session.mask_with(second) & mask).sum() == mask.sum()
    assert session.mask_with(second).sum() > session.mask.sum()


def test_a_comparison_needs_a_click_and_two_different_models():
    with pytest.raises(MedSegError, match="no click on Label 1 yet"):
        started().prepare_comparison([Named(4.0), Named(8.0)])
    with pytest.raises(MedSegError, match="two models are compared, not 1"):
        clicked().prepare_comparison([Named(4.0)])
    with pytest.raises(MedSegError, match="choose two different models"):
        clicked().prepare_comparison([Named(4.0), Named(4.0)]).run()


def test_what_each_would_show_is_told_inside_the_box_where_they_differ_from_the_accepted_mask():
    session = clicked(4.0)
    session.accept()
    session.click_voxels([Click((5, 5, 5), OBJECT)])
    found = session.prepare_comparison([Named(4.0), Named(8.0)]).run()
    for delta, inside in zip(found.deltas, found.masks, strict=True):
        whole = session.label_map == session.active_label
        whole[found.box.slices] = inside
        assert np.array_equal(whole, session.mask_with(delta))
