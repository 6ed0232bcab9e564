"""Where candidates differ: ranking begins on a slice that shows it."""

from __future__ import annotations

import numpy as np

from medseg_rl.volume import Box, Index
from medseg_rl_gui.learning.disputed import Disputed
from medseg_rl_gui.view_model import Mask

BOX = Box((1, 0, 2), (8, 9, 10))


def candidate(*voxels: Index) -> Mask:
    """Voxels of a label, over the box."""
    inside = np.zeros(BOX.shape, bool)
    inside[tuple((np.asarray(voxels) - BOX.start).T)] = True
    return inside


def test_voxels_that_not_all_have_are_disputed() -> None:
    shared, single = (2, 1, 5), (7, 8, 9)
    found = Disputed.of(BOX, [candidate(shared), candidate(shared, single), candidate(shared)])
    assert found.voxels is not None
    assert (np.argwhere(found.voxels) + BOX.start).tolist() == [list(single)]
    assert [counts.tolist().index(1) for counts in found.by_slice] == [7 - 1, 8, 9 - 2]


def test_the_slice_with_most_to_choose_between_is_led_to() -> None:
    one, other = candidate((1, 1, 5), (2, 1, 5), (3, 1, 5), (1, 1, 2)), candidate((1, 1, 2), (4, 4, 7))
    assert Disputed.of(BOX, [one, other]).where_to_look(axis=2, shown=0) == (2, 1, 5)


def test_a_slice_that_shows_a_difference_is_stayed_on() -> None:
    one, other = candidate((1, 1, 5), (2, 1, 5)), candidate((4, 4, 7))
    assert Disputed.of(BOX, [one, other]).where_to_look(axis=2, shown=7) is None


def test_candidates_that_are_alike_lead_nowhere() -> None:
    assert Disputed.of(BOX, [candidate((1, 1, 5)), candidate((1, 1, 5))]).where_to_look(axis=0, shown=3) is None
