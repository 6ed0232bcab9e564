"""Segmentations: overlap goes into layers, values stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg_rl.errors import GeometryError
from medseg_rl.labels import Label, LabelMap, label_dtype, value_counts, values_in
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume

LIKE = Volume(np.zeros((4, 5, 6), np.float32), np.diag([0.5, 1, 2, 1]))


def label(value: int) -> Label:
    return Label(value, f"Structure {value}", (value % 256, 0, 0))


def box_mask(*slices: slice) -> np.ndarray:
    mask = np.zeros(LIKE.shape, bool)
    mask[slices] = True
    return mask


LEFT, RIGHT, MIDDLE = box_mask(slice(0, 2)), box_mask(slice(2, 4)), box_mask(slice(1, 3))


def test_masks_apart_share_one_layer_and_overlapping_ones_take_a_second():
    apart = Segmentation.of_masks([(label(7), LEFT), (label(300), RIGHT)], LIKE)
    assert len(apart.layers) == 1
    assert apart.overlap_voxels == 0
    crossed = Segmentation.of_masks([(label(7), LEFT), (label(300), RIGHT), (label(1), MIDDLE)], LIKE)
    assert [found.layer for found in crossed.labels.labels] == [0, 0, 1]
    assert crossed.overlap_voxels == MIDDLE.sum()


def test_every_mask_comes_back_as_it_went_in():
    masks = {7: LEFT, 300: RIGHT, 1: MIDDLE, 70000: box_mask(slice(None), slice(2, 3))}
    segmentation = Segmentation.of_masks([(label(v), m) for v, m in masks.items()], LIKE)
    assert segmentation.labels.values == tuple(masks)
    for value, mask in masks.items():
        np.testing.assert_array_equal(segmentation.mask_of(value), mask)
        assert segmentation.labels[value].colour == label(value).colour
        assert segmentation.voxels[value] == mask.sum()
    assert all(layer.affine.tolist() == LIKE.affine.tolist() for layer in segmentation.layers)


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 2**12 - 1)), max_size=6, unique_by=lambda pair: pair[0]))
def test_flattening_lets_the_later_label_of_the_table_win(pairs):
    like = Volume(np.zeros((2, 3, 2)), np.eye(4))
    masks = [
        (label(value), np.array([bits >> n & 1 for n in range(12)], bool).reshape(like.shape)) for value, bits in pairs
    ]
    expected = np.zeros(like.shape, int)
    held = np.zeros(like.shape, int)
    for found, mask in masks:
        expected[mask] = found.value
        held += mask
    segmentation = Segmentation.of_masks(masks, like)
    np.testing.assert_array_equal(segmentation.flattened().array, expected)
    assert segmentation.overlap_voxels == (held > 1).sum()
    assert len(segmentation.layers) <= max(1, len(masks))


def test_a_label_map_names_every_value_that_occurs():
    array = np.zeros((2, 2, 2), np.uint16)
    array[0, 0, 0], array[1, 1, 1] = 7, 300
    table = LabelMap((Label(300, "Liver", (1, 2, 3), layer=4),))
    segmentation = Segmentation.of_label_map(Volume(array, np.eye(4)), table)
    assert [(found.value, found.name, found.layer) for found in segmentation.labels.labels] == [
        (300, "Liver", 0),
        (7, "Label 7", 0),
    ]
    assert segmentation.flattened().array is array


def test_an_empty_list_of_masks_is_one_empty_layer():
    segmentation = Segmentation.of_masks([], LIKE)
    assert segmentation.labels.values == ()
    assert not segmentation.flattened().array.any()


def test_a_mask_of_another_grid_is_refused():
    with pytest.raises(GeometryError, match="another grid"):
        Segmentation.of_masks([(label(1), Volume(LEFT, np.diag([0.6, 1, 2, 1])))], LIKE)
    with pytest.raises(GeometryError, match="resample"):
        Segmentation.of_masks([(label(1), LEFT[:2])], LIKE)


def test_a_label_in_a_layer_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="layer 1"):
        Segmentation((Volume(LEFT.astype(np.uint8), np.eye(4)),), LabelMap((Label(1, "Liver", (0, 0, 0), layer=1),)))


@given(st.lists(st.integers(-300, 70000), min_size=1, max_size=8))
def test_the_values_of_an_array_are_found_in_any_type_that_holds_them(values):
    array = np.array(values, dtype=label_dtype(values)).reshape(-1, 1, 1)
    assert values_in(array) == tuple(sorted(set(values)))
    assert value_counts(array) == {value: values.count(value) for value in sorted(set(values))}


def test_the_smallest_type_holds_all_values():
    assert [label_dtype([v]) for v in (255, 256, 40000, -1, 2**40)] == ["u1", "i2", "u2", "i2", "i8"]


@given(st.sampled_from([np.uint8, np.int16, np.uint16, np.int32]), st.sets(st.integers(1, 100)), st.booleans())
def test_the_labels_that_are_chosen_are_all_that_stays(kind, chosen, negative):
    rng = np.random.default_rng(len(chosen))
    array = rng.integers(0, 12, LIKE.shape).astype(kind)
    if negative and np.dtype(kind).kind == "i":
        array[array == 5] = -5
    whole = Segmentation.of_label_map(LIKE.with_array(array))
    values = [v for v in whole.labels.values if abs(v) in chosen]
    found = whole.only(values)
    assert found.labels.values == tuple(values)
    assert all(np.array_equal(found.mask_of(v), array == v) for v in values)
    assert np.array_equal(found.flattened().array != 0, np.isin(array, values))


def test_a_label_beyond_the_numbers_of_its_array_is_empty():
    volume = LIKE.with_array(np.ones(LIKE.shape, np.uint8))
    whole = Segmentation((volume,), LabelMap((label(1), label(300))))
    assert whole.only([300]).voxels == {300: 0}
