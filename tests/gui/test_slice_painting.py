"""From voxels to pixels and contours: closed forms and counts, no Qt."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg_rl.labels import Label, LabelMap
from medseg_rl.volume import Box
from medseg_rl_gui.slice_painting import (
    ColourTable,
    blend_labels,
    blend_part,
    contours,
    label_planes,
    part_of,
    plane_array,
    premultiplied,
    proposal_plane,
    renew_part,
    values_on,
    windowed,
)
from medseg_rl_gui.view_model import Overlay, ProposalView, Window

AXES = (2, 0, 1)  # through k, across i, down j
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
OPAQUE = Overlay(opacity=1.0)


def table(*labels: tuple[int, tuple[int, int, int]], overlay: Overlay = OPAQUE) -> ColourTable:
    return ColourTable.of(LabelMap(tuple(Label(v, str(v), c) for v, c in labels)), overlay)


def enclosed(contour: np.ndarray) -> float:
    """Signed area in pixels (shoelace); positive where the inside is on the right hand with y down."""
    x, y = contour.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def test_the_window_is_the_formula_of_the_specification() -> None:
    values = np.array([[-161, -160, 40, 239, 240, 2000]], np.int16)
    expected = [[0, 0, 128, 254, 255, 255]]  # clip((x - (40 - 200)) / 400, 0, 1) * 255
    assert windowed(values, Window(400, 40)).tolist() == expected


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64", ">i2"])
def test_every_kind_of_number_is_windowed(dtype: str) -> None:
    values = np.arange(100).reshape(10, 10).astype(dtype)
    assert windowed(values, Window(99, 49.5))[9, 9] == 255
    assert windowed(values, Window(99, 49.5))[0, 0] == 0


def test_what_is_no_number_is_black_and_a_flat_window_does_no_harm() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 1.0]], np.float32)
    assert windowed(values, Window(2, 0)).tolist() == [[0, 255, 0, 255]]
    assert windowed(values, Window(0, 0)).shape == (1, 4)


def test_a_slice_is_a_view_with_rows_from_top_to_bottom() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    plane = plane_array(array, AXES, 3)
    assert np.shares_memory(plane, array)
    assert plane.shape == (3, 2)
    assert plane[2, 1] == array[1, 2, 3]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [((1, 7, 200), "uint8"), ((1, 7, 300), "int16"), ((1, 7, 70_000), "int32"), ((-3, 7, 9), "int16")],
)
def test_each_label_has_its_colour_whatever_its_value(values: tuple[int, int, int], dtype: str) -> None:
    colours = table((values[0], RED), (values[1], GREEN), (values[2], BLUE))
    plane = np.array([[0, values[0], values[1], values[2], 5]], dtype)
    assert colours.paint(plane).tolist() == [[0, 0xFFFF0000, 0xFF00FF00, 0xFF0000FF, 0]]


def test_values_beside_the_table_are_clear() -> None:
    plane = np.array([[-5, 0, 1, 2, 32_000]], np.int16)
    assert table((1, RED)).paint(plane).tolist() == [[0, 0, 0xFFFF0000, 0, 0]]
    assert table().paint(plane).tolist() == [[0, 0, 0, 0, 0]]
    assert table((1, RED)).paint(plane[:, 1:].astype(np.uint64)).tolist() == [[0, 0xFFFF0000, 0, 0]]


def test_hidden_labels_are_clear_and_opacity_is_multiplied_in() -> None:
    hidden = table((1, RED), (2, GREEN), overlay=Overlay(opacity=1.0, hidden=frozenset({1})))
    assert hidden.paint(np.array([[1, 2]], np.uint8)).tolist() == [[0, 0xFF00FF00]]
    assert premultiplied((255, 128, 0), 0.5) == 0x80804000


def test_the_later_layer_is_seen_where_labels_overlap() -> None:
    lower, upper = np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2, 1), np.uint8)
    lower[:, 0], upper[0] = 1, 2
    assert blend_labels(label_planes((lower, upper), AXES, 0), table((1, RED), (2, GREEN))).tolist() == [
        [0xFF00FF00, 0xFFFF0000],
        [0xFF00FF00, 0],
    ]


def test_a_changed_box_is_all_that_is_painted_again() -> None:
    layer = np.zeros((6, 5, 4), np.uint8)
    pixels = blend_labels(label_planes((layer,), AXES, 2), table((1, RED)))
    layer[:] = 1
    part = part_of(Box((1, 2, 0), (4, 4, 3)), AXES, 2)
    assert part == (slice(2, 4), slice(1, 4))
    blend_part(pixels, part, label_planes((layer,), AXES, 2), table((1, RED)))
    assert np.argwhere(pixels != 0).tolist() == [[y, x] for y in (2, 3) for x in (1, 2, 3)]
    assert part_of(Box((1, 2, 0), (4, 4, 2)), AXES, 2) is None


def test_a_brush_sample_copies_no_volume() -> None:
    layer = np.zeros((128, 128, 128), np.int16)
    planes, colours = label_planes((layer,), AXES, 60), table((1, RED))
    pixels = blend_labels(planes, colours)
    part = part_of(Box((10, 10, 60), (30, 30, 61)), AXES, 60)
    assert part is not None
    layer[10:30, 10:30, 60] = 1
    tracemalloc.start()
    renew_part(planes, part, (layer,), AXES, 60)
    blend_part(pixels, part, planes, colours)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < layer.nbytes / 50
    assert np.count_nonzero(pixels) == 400


def test_a_proposal_is_told_apart_from_the_accepted_mask() -> None:
    layer = np.zeros((4, 1, 1), np.uint8)
    layer[:, 0, 0] = (1, 1, 0, 0)
    inside = np.array([False, True, True]).reshape(3, 1, 1)  # over voxels 0 to 2; voxel 3 is as accepted
    plane = proposal_plane(ProposalView(1, Box((0, 0, 0), (3, 1, 1)), inside), label_planes((layer,), AXES, 0), AXES, 0)
    assert plane.inside.tolist() == [[False, True, True, False]]
    assert plane.added.tolist() == [[False, False, True, False]]
    assert plane.removed.tolist() == [[True, False, False, False]]


def test_values_on_a_slice_are_those_of_all_layers() -> None:
    one, other = np.zeros((2, 2, 2), np.int16), np.zeros((2, 2, 2), np.int16)
    one[0, 0, 1], other[1, 1, 1], other[1, 1, 0] = 7, 300, 5
    assert values_on(label_planes((one, other), AXES, 1)) == {7, 300}


# --- contours ---------------------------------------------------------------------------------------------------------


def test_a_rectangle_has_four_corners() -> None:
    inside = np.zeros((6, 8), bool)
    inside[1:4, 2:7] = True
    (contour,) = contours(inside)
    assert {tuple(p) for p in contour.tolist()} == {(2, 1), (7, 1), (7, 4), (2, 4)}
    assert enclosed(contour) == 15


def test_a_hole_runs_the_other_way_round() -> None:
    inside = np.ones((5, 5), bool)
    inside[2, 2] = False
    areas = sorted(enclosed(c) for c in contours(inside))
    assert areas == [-1, 25]


def test_voxels_that_touch_by_a_corner_stay_apart() -> None:
    assert [enclosed(c) for c in contours(np.eye(3, dtype=bool))] == [1, 1, 1]


def test_nothing_has_no_contour() -> None:
    assert contours(np.zeros((4, 4), bool)) == []


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31), st.floats(0, 1))
def test_contours_enclose_what_is_inside_and_are_as_long_as_its_edge(
    rows: int, columns: int, seed: int, filled: float
) -> None:
    inside = np.random.default_rng(seed).random((rows, columns)) < filled
    found = contours(inside)
    assert sum(enclosed(c) for c in found) == inside.sum()
    framed = np.pad(inside, 1)
    edges = sum(int(np.count_nonzero(np.diff(framed, axis=axis))) for axis in (0, 1))
    assert sum(int(np.abs(np.diff(c, axis=0, append=c[:1])).sum()) for c in found) == edges
    for contour in found:
        steps = np.diff(contour, axis=0, append=contour[:1])
        assert (np.count_nonzero(steps, axis=1) == 1).all()  # upright or level
        assert (steps[:, 0] * np.roll(steps[:, 0], 1) == 0).all()  # and no corner is left out or given twice
