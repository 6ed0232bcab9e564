"""Labels: values stay, locks hold."""

from __future__ import annotations

import numpy as np
import pytest

from medseg_rl.errors import ClickError
from medseg_rl.labels import PALETTE, Label, LabelMap, default_colour

TUMOUR, LIVER = Label(7, "Tumour", (255, 0, 0)), Label(2, "Liver", (0, 255, 0))


def test_every_label_but_the_active_one_is_locked():
    array = np.array([[[0, 2, 7, 9]]])
    labels = LabelMap((TUMOUR, LIVER))
    np.testing.assert_array_equal(labels.locked_voxels(array, active=7), [[[False, True, False, True]]])
    assert labels.is_locked(2, active=7)
    assert not labels.is_locked(7, active=7)
    assert not labels.is_locked(0, active=7)


def test_a_lock_by_hand_holds_the_active_label_too():
    labels = LabelMap((TUMOUR, LIVER)).changing(7, locked=True)
    np.testing.assert_array_equal(labels.locked_voxels(np.array([0, 2, 7]), active=7), [False, True, True])
    with pytest.raises(ClickError, match="Tumour"):
        labels.check_writable(7)
    labels.check_writable(2)


def test_the_lock_that_stops_a_click_is_named():
    labels = LabelMap((TUMOUR, LIVER))
    array = np.array([[[0, 2, 9]]])
    assert labels.lock_at(array, (0, 0, 0), active=7) is None
    assert labels.lock_at(array, (0, 0, 1), active=7) == LIVER
    assert labels.lock_at(array, (0, 0, 2), active=7).name == "Label 9"


def test_values_are_never_renumbered():
    labels = LabelMap((TUMOUR, LIVER)).without(2).adding("Cyst").completed(np.array([0, 40, 7]))
    assert labels.values == (7, 1, 40)
    assert labels.changing(7, name="Mass").values == (7, 1, 40)
    assert labels.changing(7, name="Mass")[7] == Label(7, "Mass", TUMOUR.colour)


def test_the_free_value_is_the_smallest():
    assert LabelMap().free_value == 1
    assert LabelMap.of_values([1, 2, 4]).free_value == 3


def test_two_labels_cannot_share_a_value_and_zero_is_background():
    with pytest.raises(ValueError, match="value of its own"):
        LabelMap((TUMOUR, TUMOUR))
    with pytest.raises(ValueError, match="background"):
        Label(0, "Nothing", (0, 0, 0))
    with pytest.raises(ValueError, match="0 to 255"):
        Label(1, "Bright", (256, 0, 0))


def test_colours_are_distinct_and_fixed_by_value():
    assert len(set(PALETTE)) == len(PALETTE) == 12
    assert default_colour(3) == default_colour(15) != default_colour(4)


def test_labels_are_found_by_value_and_by_name():
    labels = LabelMap((TUMOUR, LIVER))
    assert labels.named("liver") is LIVER
    assert 7 in labels
    assert 3 not in labels
    with pytest.raises(KeyError, match="no label has value 3"):
        labels[3]
    with pytest.raises(KeyError, match="no label is named 'spleen'"):
        labels.named("spleen")
