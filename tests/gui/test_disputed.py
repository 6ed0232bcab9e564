"""Where candidates differ: ranking begins on a slice that shows it."""

from __future__ import annotations

import numpy as np

from medseg_rl.volume import Box, Index
from medseg_rl_gui.learning.disputed import disputed_voxels, where_to_look
from medseg_rl_gui.view_model import ProposalView

SHAPE: Index = (8, 9, 10)


def candidate(*voxels: Index) -> ProposalView:
    """Voxels of label 1, in a box as small as can be."""
    low, high = np.min(voxels, axis=0), np.max(voxels, axis=0) + 1
    box = Box(tuple(low.tolist()), tuple(high.tolist()))
    inside = np.zeros(box.shape, bool)
    inside[tuple((np.asarray(voxels) - low).T)] = True
    return ProposalView(1, box, inside)


def test_voxels_that_not_all_have_are_disputed_whatever_their_boxes() -> None:
    accepted = np.zeros(SHAPE, np.uint8)
    accepted[7, 8, 9] = 1  # outside one candidate's box and left out by the other
    other = candidate((1, 1, 1), (7, 8, 8))
    wide = ProposalView(1, Box((1, 1, 1), (8, 9, 10)), np.zeros((7, 8, 9), bool))
    wide.inside[0, 0, 0] = wide.inside[6, 7, 7] = True
    box, disputed = disputed_voxels([other, wide], [accepted])
    assert box == Box((1, 1, 1), (8, 9, 10))
    assert np.argwhere(disputed).tolist() == [[6, 7, 8]]


def test_the_slice_with_most_to_choose_between_is_led_to() -> None:
    layers = [np.zeros(SHAPE, np.uint8)]
    one, other = candidate((1, 1, 5), (2, 1, 5), (3, 1, 5), (1, 1, 2)), candidate((1, 1, 2), (4, 4, 7))
    assert where_to_look([one, other], layers, axis=2, shown=0) == (2, 1, 5)


def test_a_slice_that_shows_a_difference_is_stayed_on() -> None:
    layers = [np.zeros(SHAPE, np.uint8)]
    one, other = candidate((1, 1, 5), (2, 1, 5)), candidate((4, 4, 7))
    assert where_to_look([one, other], layers, axis=2, shown=7) is None


def test_candidates_that_are_alike_lead_nowhere() -> None:
    layers = [np.zeros(SHAPE, np.uint8)]
    assert where_to_look([candidate((1, 1, 5)), candidate((1, 1, 5))], layers, axis=0, shown=3) is None
