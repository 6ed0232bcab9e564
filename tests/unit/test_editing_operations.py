"""Every operation means the same in all 48 axis orders and flips, and goes to JSON and back."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import scipy.ndimage as ni
from hypothesis import given
from hypothesis import strategies as st

from medseg_rl.editing import (
    Brush,
    Combine,
    CopySlice,
    EditContext,
    FillBox,
    FillHoles,
    Grid,
    GrowRegion,
    Interpolate,
    Islands,
    Lasso,
    Margin,
    Smooth,
    SplitIslands,
    Threshold,
    from_json,
    scribble_voxels,
    to_json,
)
from medseg_rl.editing.operations import OPERATIONS
from medseg_rl.errors import EditError
from medseg_rl.volume import Box, Volume

SHAPE = (19, 17, 13)
SHEARED = np.array([[0.7, 0.05, 0.1, -20.0], [0.0, -0.8, 0.9, 15.0], [0.02, 0.0, 2.5, -30.0], [0, 0, 0, 1.0]])
UPRIGHT = np.diag([0.7, -0.8, 2.5, 1.0]) + np.array([[0, 0, 0, -20.0], [0, 0, 0, 15.0], [0, 0, 0, -30.0], [0] * 4])
EXACT = np.diag([1.0, 1.0, 2.0, 1.0])  # points half-way between voxels and ties between islands
AFFINES = {"upright": UPRIGHT, "sheared": SHEARED, "exact": EXACT}


def case(affine):
    """Label 7 (noisy, with islands, holes and empty slices), label 300 beside it, and an image."""
    rng = np.random.default_rng(11)
    label_map = np.zeros(SHAPE, np.uint16)
    noise = ni.gaussian_filter(rng.standard_normal(SHAPE), 1.0)
    label_map[noise > 0.12] = 7
    label_map[noise < -0.25] = 300
    label_map[1:7, 10:16, 7:12] = 7
    label_map[3:5, 12:14, 9] = 0  # a hole
    label_map[:, :, [3, 5, 6]] = label_map[:, 9, :] = label_map[11, :, :] = 0  # slices nobody drew on
    label_map[4:9, 4:9, 4] = label_map[13:18, 2:7, 4] = 7  # two islands of one size
    label_map[6, 6, 4] = label_map[15, 4, 4] = 0
    image = ni.gaussian_filter(rng.standard_normal(SHAPE), 1.0).astype(np.float32)
    return Volume(label_map, affine), Volume(image, affine)


def operations(affine):
    def mm(*index):
        return tuple(float(v) for v in affine[:3, :3] @ np.array(index, float) + affine[:3, 3])

    way = (mm(3, 4.5, 4), mm(9.5, 8.5, 6), mm(14, 7.5, 9))
    outline = (mm(2, 2, 4), mm(16.5, 3, 4), mm(13.5, 14, 4), mm(6.25, 9.25, 4), mm(2, 12.5, 4))
    soft = Threshold(-0.1, 0.4)
    return [
        Brush(way, 3.5),
        Brush(way, 2.0, "axial"),
        Brush(way, 2.0, "coronal", erase=True),
        Brush(way, 3.0, "sagittal", threshold=Threshold(-0.1, 0.2, inverted=True)),
        Brush(way[:1], 0.2),
        Lasso(outline, "axial"),
        Lasso(tuple(mm(a, 8, b / 2) for a, b in ((2, 3), (15, 4), (9, 20))), "coronal", (mm(0, 5, 0), mm(0, 10.5, 0))),
        Lasso(tuple(mm(9, a, b / 2) for a, b in ((2, 3), (15, 4), (9, 20))), "sagittal", erase=True, threshold=soft),
        FillBox(mm(2.5, 3, 4), mm(11, 9.5, 6)),
        FillBox(mm(2.5, 3, 4), mm(11, 9.5, 6), "axial", erase=True),
        GrowRegion(mm(9, 8, 6), Threshold(-0.3, 0.3), 9.0),
        Islands("keep_largest"),
        Islands("keep_clicked", mm(5, 5, 4)),
        Islands("remove_clicked", mm(5, 5, 4)),
        Islands("remove_small", volume_mm3=12.0),
        SplitIslands(volume_mm3=15.0),
        FillHoles(),
        FillHoles("axial"),
        FillHoles("coronal"),
        FillHoles("sagittal"),
        Smooth("median", 2.6),
        Smooth("opening", 1.0),
        Smooth("closing", 2.6),
        Margin(2.6),
        Margin(-0.9),
        Interpolate("axial"),
        Interpolate("coronal"),
        Interpolate("sagittal"),
        CopySlice(mm(5, 5, 4), "axial"),
        CopySlice(mm(5, 5, 4), "coronal", -2),
        Combine("union", 300),
        Combine("intersection", 300),
        Combine("difference", 300),
    ]


def turned(volume, axes, signs):
    """The same voxels in another axis order and with flipped axes; the world stays."""
    flipped = [k for k in range(3) if signs[k] < 0]
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, list(axes)] * signs
    for k in flipped:
        matrix[:3, 3] += np.eye(3)[axes[k]] * (volume.shape[axes[k]] - 1)
    return Volume(np.flip(volume.array.transpose(axes), flipped), volume.affine @ matrix)


def back(mask, axes, signs):
    flipped = [k for k in range(3) if signs[k] < 0]
    return np.flip(mask, flipped).transpose(np.argsort(axes))


def context_of(label_map, image):
    return EditContext.of_label_map(label_map, 7, image)


def whole(edit, context):
    result = context.inside(Box.whole(context.grid.shape)).copy()
    result[edit.box.slices] = edit.inside
    parts = []
    for part in edit.parts:
        full = np.zeros(context.grid.shape, bool)
        full[edit.box.slices] = part
        parts.append(full)
    return [result, *parts]


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("number", range(len(operations(EXACT))), ids=[o.name for o in operations(EXACT)])
def test_an_operation_gives_the_same_world_mask_in_all_48_orientations(number, name):
    label_map, image = case(AFFINES[name])
    operation = operations(AFFINES[name])[number]
    context = context_of(label_map, image)
    edit = operation.apply(context)
    expected = whole(edit, context)
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            other = context_of(turned(label_map, axes, signs), turned(image, axes, signs))
            found = operation.apply(other)
            assert found.note == edit.note
            assert found.box.voxels == edit.box.voxels
            masks = whole(found, other)
            assert len(masks) == len(expected)
            for mask, wanted in zip(masks, expected, strict=True):
                np.testing.assert_array_equal(back(mask, axes, signs), wanted)


@pytest.mark.parametrize("name", AFFINES)
def test_a_scribble_is_the_same_in_all_48_orientations(name):
    affine = AFFINES[name]
    way = operations(affine)[0].points_mm
    for plane in ("axial", "coronal", "sagittal", None):
        expected = np.zeros(SHAPE, bool)
        expected[tuple(scribble_voxels(Grid(affine, SHAPE), way, plane).T)] = True
        for axes in itertools.permutations(range(3)):
            for signs in itertools.product((1, -1), repeat=3):
                other = turned(Volume(expected, affine), axes, signs)
                found = np.zeros(other.shape, bool)
                found[tuple(scribble_voxels(Grid.of(other), way, plane).T)] = True
                np.testing.assert_array_equal(found, other.array)


def test_every_operation_is_among_those_tried_and_most_of_them_change_something():
    tried = operations(SHEARED)
    assert {type(operation) for operation in tried} == set(OPERATIONS.values())
    context = context_of(*case(SHEARED))
    before = context.inside(Box.whole(SHAPE))
    idle = [o.name for o in tried if (whole(o.apply(context), context)[0] == before).all()]
    assert idle == ["Brush 0.2 mm", "Difference with label 300"]  # there is label 7 already, and 300 nowhere inside it


@pytest.mark.parametrize("operation", operations(SHEARED), ids=lambda operation: operation.name)
def test_an_operation_goes_to_json_and_back_and_does_the_same_again(operation):
    text = json.dumps(to_json(operation), allow_nan=False)
    again = from_json(json.loads(text))
    assert again == operation
    assert hash(again) == hash(operation)
    context = context_of(*case(SHEARED))
    one, other = operation.apply(context), again.apply(context)
    assert (one.box, one.note) == (other.box, other.note)
    for a, b in zip((one.inside, *one.parts), (other.inside, *other.parts), strict=True):
        assert a.dtype == np.bool_
        assert a.shape == one.box.shape
        np.testing.assert_array_equal(a, b)


@given(
    st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3), min_size=1, max_size=20),
    st.floats(0.2, 100),
    st.sampled_from(["axial", "coronal", "sagittal", None]),
    st.booleans(),
    st.one_of(st.none(), st.builds(Threshold, st.floats(-2000, 0), st.floats(1, 3000), st.booleans())),
)
def test_a_brush_loses_no_digit_in_json(points, radius, plane, erase, threshold):
    brush = Brush(tuple(points), radius, plane, erase, threshold)
    assert from_json(json.loads(json.dumps(to_json(brush), allow_nan=False))) == brush


def test_operations_are_values_that_do_not_change():
    points = [[1.0, 2.0, 3.0]]
    brush = Brush(points, 4)
    points[0][0] = 99.0
    assert brush.points_mm == ((1.0, 2.0, 3.0),)
    with pytest.raises(dataclasses.FrozenInstanceError):
        brush.radius_mm = 5.0


def test_names_are_those_of_the_undo_list():
    assert Brush([(0, 0, 0)], 4.0).name == "Brush 4 mm"
    assert Brush([(0, 0, 0)], 2.5, erase=True).name == "Eraser 2.5 mm"
    assert Margin(-3).name == "Shrink 3 mm"
    assert Islands("remove_small", volume_mm3=20).name == "Remove islands below 20 mm3"
    assert Smooth("closing", 2).name == "Closing 2 mm"
    sources = {kind: operation.source for kind, operation in OPERATIONS.items()}
    assert {kind for kind, source in sources.items() if source == "brush"} == {"brush", "lasso", "box"}
    assert set(sources.values()) == {"brush", "operation"}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"operation": "format_disk"},
        {"operation": ["brush"]},
        {"operation": "brush"},
        {"operation": "brush", "points_mm": [[0, 0, 0]]},
        {"operation": "brush", "points_mm": [[0, 0, 0]], "radius_mm": 4, "colour": "red"},
        {"operation": "brush", "points_mm": [[0, 0, None]], "radius_mm": 4},
        {"operation": "brush", "points_mm": [[0, 0, 0], [1, 1]], "radius_mm": 4},
        {"operation": "brush", "points_mm": {"a": 1}, "radius_mm": 4},
        {"operation": "brush", "points_mm": [[0, 0, 0]], "radius_mm": 4, "threshold": {"low": "a"}},
        {"operation": "brush", "points_mm": [[0, 0, 0]], "radius_mm": 4, "threshold": {"lower": 1}},
        {"operation": "brush", "points_mm": [[0, 0, 0]], "radius_mm": 4, "threshold": {"low": math.nan}},
        {"operation": "brush", "points_mm": [[0, 0, 0]], "radius_mm": 4, "threshold": 5},
        {"operation": "brush", "points_mm": [[0, 0, 0]], "radius_mm": 10**400},
        {"operation": "lasso", "points_mm": [[0, 0, 0]] * 3, "plane": None},
        {"operation": "lasso", "points_mm": [[0, 0, 0]] * 3, "plane": "axial", "slices_mm": [[0, 0, 0]] * 3},
        {"operation": "box", "corner_mm": [0, 0, 0], "other_corner_mm": [0, 0]},
        {"operation": "grow_region", "seed_mm": [0, 0, 0], "threshold": None},
        {"operation": "islands", "action": "keep_smallest"},
        {"operation": "islands", "action": "keep_clicked"},
        {"operation": "islands", "action": "remove_small"},
        {"operation": "islands", "action": "remove_small", "volume_mm3": -1},
        {"operation": "smooth", "method": "gaussian", "radius_mm": 2},
        {"operation": "smooth", "method": ["median"], "radius_mm": 2},
        {"operation": "margin", "margin_mm": 1e9},
        {"operation": "interpolate", "plane": 2},
        {"operation": "copy_slice", "point_mm": [0, 0, 0], "plane": "axial", "step": 1.5},
        {"operation": "combine", "operator": "xor", "other": 2},
        {"operation": "combine", "operator": "union", "other": "liver"},
    ],
    ids=lambda data: f"{data!s:.90}",
)
def test_json_that_no_operation_wrote_is_refused_in_one_line(data):
    with pytest.raises(EditError) as error:
        from_json(data)
    assert "\n" not in str(error.value)
