"""Brush, scribble, lasso, box and threshold against brute force and closed forms, on sheared grids too."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg_rl.editing import (
    Brush,
    EditContext,
    FillBox,
    Grid,
    GrowRegion,
    Lasso,
    Threshold,
    box_between,
    scribble_voxels,
    stroke_mask,
)
from medseg_rl.editing.outlines import polygon_mask
from medseg_rl.errors import EditError
from medseg_rl.volume import Box, Volume

UNIT = np.eye(4)
THICK = np.diag([0.7, 0.8, 3.0, 1.0])
SHEARED = np.array([[0.7, 0.05, 0.1, -20.0], [0.0, -0.8, 0.9, 15.0], [0.02, 0.0, 2.5, -30.0], [0, 0, 0, 1.0]])
AFFINES = {"unit": UNIT, "thick": THICK, "sheared": SHEARED}


def volume_of(shape, affine, values=0, dtype=np.uint8):
    array = np.full(shape, values, dtype)
    array.setflags(write=False)  # an edit that writes into what it reads fails here
    return Volume(array, affine)


def context_of(volume, value=1, image=None):
    return EditContext.of_label_map(volume, value, image)


def whole(edit, shape):
    mask = np.zeros(shape, bool)
    mask[edit.box.slices] = edit.inside
    return mask


def centres(shape, affine):
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    return indices, indices @ affine[:3, :3].T + affine[:3, 3]


def mm(affine, index):
    return tuple(float(v) for v in affine[:3, :3] @ np.asarray(index, float) + affine[:3, 3])


def distance_to_segments(points, ends):
    best = np.full(points.shape[:-1], np.inf)
    for p, q in itertools.pairwise(ends) if len(ends) > 1 else [(ends[0], ends[0])]:
        p, q = np.asarray(p), np.asarray(q)
        length = (q - p) @ (q - p)
        share = np.clip((points - p) @ (q - p) / length, 0, 1) if length > 0 else np.zeros(points.shape[:-1])
        best = np.minimum(best, np.linalg.norm(points - p - share[..., None] * (q - p), axis=-1))
    return best


# ---- brush -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from(sorted(AFFINES)), st.sampled_from(["axial", "coronal", "sagittal", None]))
def test_a_stroke_covers_the_voxels_whose_centres_are_within_its_radius(seed, name, plane):
    rng, affine, shape = np.random.default_rng(seed), AFFINES[name], (17, 15, 12)
    grid = Grid(affine, shape)
    indices = rng.uniform(-3, np.array(shape) + 2, (rng.integers(1, 5), 3))
    radius = float(rng.uniform(0.2, 6))
    box, painted = stroke_mask(grid, [mm(affine, i) for i in indices], radius, plane)
    at, world = centres(shape, affine)
    if plane is not None:
        axis = grid.axis(plane)
        indices[:, axis] = grid.nearest(indices[0])[axis]
    near = distance_to_segments(world, [mm(affine, i) for i in indices]) <= radius
    if plane is not None:
        near &= at[..., axis] == indices[0, axis]
    found = np.zeros(shape, bool)
    found[box.slices] = painted
    passed = np.zeros(shape, bool)
    drawn = scribble_voxels(grid, [mm(affine, i) for i in indices], plane)
    passed[tuple(drawn.T)] = True
    assert not (near & ~found).any()
    extra = found & ~near
    assert (~extra | (distance_to_segments(world, [mm(affine, i) for i in indices]) < 3)).all()
    assert (passed & ~found).sum() == 0
    assert np.count_nonzero(extra) <= 3 * np.abs(np.diff(indices, axis=0)).sum() + 1  # only voxels the pointer passed


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_ball_has_the_volume_of_a_ball(affine):
    grid = Grid(affine, (80, 80, 40))
    _, painted = stroke_mask(grid, [mm(affine, (40.2, 39.7, 20.1))], 14.0)
    assert np.count_nonzero(painted) * grid.voxel_volume == pytest.approx(4 / 3 * math.pi * 14.0**3, rel=0.02)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_fast_stroke_has_the_volume_of_a_capsule_and_no_gap(affine):
    grid = Grid(affine, (80, 80, 40))
    ends = [mm(affine, (20, 25, 12)), mm(affine, (60, 50, 26))]
    length = math.dist(*ends)
    _, painted = stroke_mask(grid, ends, 8.0)
    volume = 4 / 3 * math.pi * 8.0**3 + math.pi * 8.0**2 * length
    assert np.count_nonzero(painted) * grid.voxel_volume == pytest.approx(volume, rel=0.03)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_disc_has_the_area_of_a_disc_on_one_slice(plane, affine):
    grid = Grid(affine, (70, 70, 70))
    axis = grid.axis(plane)
    box, painted = stroke_mask(grid, [mm(affine, (35, 35, 35))], 12.0, plane)
    assert box.shape[axis] == 1
    assert box.start[axis] == 35
    a, b = (affine[:3, k] for k in range(3) if k != axis)
    area = np.count_nonzero(painted) * np.linalg.norm(np.cross(a, b))
    assert area == pytest.approx(math.pi * 12.0**2, rel=0.06)  # four slices to the radius where they are thick


def test_a_press_without_movement_paints_its_voxel_however_small_the_brush():
    edit = Brush([mm(THICK, (4.3, 5.4, 2.4))], 0.2, "axial").apply(context_of(volume_of((9, 9, 9), THICK)))
    assert (edit.box.start, edit.inside.sum()) == ((4, 5, 2), 1)


def test_a_stroke_of_a_brush_thinner_than_a_voxel_has_no_gap():
    grid = Grid(THICK, (40, 40, 20))
    box, painted = stroke_mask(grid, [mm(THICK, (2, 3, 1)), mm(THICK, (36, 30, 18))], 0.2)
    steps = np.argwhere(painted)
    assert len(steps) == 35
    assert np.abs(np.diff(steps, axis=0)).max() == 1
    assert box == Box((2, 3, 1), (37, 31, 19))


@given(st.integers(0, 10**6))
def test_a_stroke_is_the_union_of_its_segments(seed):
    rng = np.random.default_rng(seed)
    grid = Grid(SHEARED, (30, 28, 14))
    points = [mm(SHEARED, rng.uniform(0, (30, 28, 14))) for _ in range(5)]
    box, stroke = stroke_mask(grid, points, 2.5, "axial" if seed % 2 else None)
    parts = np.zeros(grid.shape, bool)
    first = grid.nearest(grid.to_index(points[0]))[2]
    for p, q in itertools.pairwise(points):
        if seed % 2:  # while the button is down the slice stays that of the press
            p = mm(SHEARED, [*grid.to_index(p)[:2], first])
        part_box, part = stroke_mask(grid, [p, q], 2.5, "axial" if seed % 2 else None)
        parts[part_box.slices] |= part
    np.testing.assert_array_equal(parts[box.slices], stroke)
    assert parts.sum() == stroke.sum()


def test_a_stroke_that_leaves_the_volume_is_cut_at_its_edge_however_far_it_goes():
    shape = (12, 12, 12)
    edit = Brush([(5, 5, 5), (1e15, 5, 5), (5, -1e300, 5)], 2.0).apply(context_of(volume_of(shape, UNIT)))
    painted = whole(edit, shape)
    assert painted[5:, 5, 5].all()
    assert Box.whole(shape).intersection(edit.box) == edit.box


def test_a_stroke_outside_the_volume_changes_nothing_and_says_so():
    edit = Brush([(-50, 0, 0), (-60, 0, 0)], 4.0).apply(context_of(volume_of((12, 12, 12), UNIT)))
    assert edit.inside.size == 0
    assert "no voxel" in edit.note


def test_the_eraser_takes_what_the_brush_painted_and_nothing_else():
    shape = (20, 20, 20)
    label_map = np.zeros(shape, np.uint16)
    label_map[2:18, 2:18, 2:18] = 300
    context = context_of(Volume(label_map, UNIT), 300)
    stroke = ([(4.0, 9, 9), (12, 9, 9)], 3.0)
    erased = Brush(*stroke, erase=True).apply(context)
    painted = Brush(*stroke).apply(context_of(volume_of(shape, UNIT)))
    assert erased.box == painted.box
    np.testing.assert_array_equal(erased.inside, (label_map == 300)[erased.box.slices] & ~painted.inside)


def test_a_brush_sample_reads_its_own_box_and_nothing_of_the_rest():
    asked = []
    grid = Grid(UNIT, (512, 512, 300))

    def read(value, box):
        asked.append(box.voxels)
        return np.zeros(box.shape, bool)

    def image(box):
        asked.append(box.voxels)
        return np.zeros(box.shape, np.int16)

    def extent(value):
        raise AssertionError("a brush need not know how far the label reaches")

    context = EditContext(grid, 1, read, extent, image)
    edit = Brush([(200, 200, 150)], 4.0, threshold=Threshold(low=-10)).apply(context)
    assert edit.inside.shape == (9, 9, 9)
    assert asked == [729, 729]


@pytest.mark.parametrize(
    "parts",
    [
        {"radius_mm": 0.1},
        {"radius_mm": 101},
        {"radius_mm": math.nan},
        {"radius_mm": "4"},
        {"radius_mm": True},
        {"points_mm": []},
        {"points_mm": [(0, 0)]},
        {"points_mm": [(0, math.inf, 0)]},
        {"points_mm": "abc"},
        {"points_mm": np.zeros((30_001, 3))},
        {"plane": "oblique"},
        {"plane": ["axial"]},
        {"erase": 1},
    ],
    ids=str,
)
def test_a_brush_that_makes_no_sense_is_refused_in_one_line(parts):
    with pytest.raises(EditError) as error:
        Brush(**({"points_mm": [(0, 0, 0)], "radius_mm": 4.0} | parts))
    assert "\n" not in str(error.value)


# ---- scribble --------------------------------------------------------------------------------------------------------


def test_a_scribble_is_one_voxel_thick():
    grid = Grid(UNIT, (60, 60, 5))
    angles = np.linspace(0, 1.5 * math.pi, 300)  # dense samples draw a staircase
    points = [(30 + 20 * math.cos(t), 30 + 20 * math.sin(t), 2.0) for t in angles]
    drawn = scribble_voxels(grid, points, "axial")
    steps = np.abs(np.diff(drawn, axis=0))
    assert steps.max() == 1
    assert (drawn[:, 2] == 2).all()
    mask = np.zeros((60, 60), int)
    mask[drawn[:, 0], drawn[:, 1]] = 1
    blocks = mask[:-1, :-1] + mask[1:, :-1] + mask[:-1, 1:] + mask[1:, 1:]
    assert blocks.max() <= 2


def test_a_scribble_keeps_its_ends_and_its_turning_points():
    drawn = scribble_voxels(Grid(UNIT, (9, 9, 9)), [(1, 1, 1), (5, 1, 1), (2, 1, 1)])
    assert [int(i) for i in drawn[:, 0]] == [1, 2, 3, 4, 5]


def test_a_scribble_is_the_same_on_the_three_planes():
    steps = [(3.2, 4.1), (9.7, 5.5), (8.0, 12.3), (2.2, 2.9)]
    drawn = {}
    for plane, axis in (("sagittal", 0), ("coronal", 1), ("axial", 2)):
        points = [tuple(np.insert(np.array(p), axis, 6.0)) for p in steps]
        drawn[plane] = np.delete(scribble_voxels(Grid(UNIT, (16, 16, 16)), points, plane), axis, axis=1)
    np.testing.assert_array_equal(drawn["axial"], drawn["coronal"])
    np.testing.assert_array_equal(drawn["axial"], drawn["sagittal"])


def test_a_scribble_that_runs_far_outside_gives_only_voxels_inside():
    drawn = scribble_voxels(Grid(UNIT, (9, 9, 9)), [(4, 4, 4), (1e8, 4, 4), (1e8, 1e8, 4), (4, 4.0, 4)])
    assert ((drawn >= 0) & (drawn < 9)).all()
    assert {(k, 4, 4) for k in range(4, 9)} <= {tuple(int(n) for n in index) for index in drawn}
    assert len(scribble_voxels(Grid(UNIT, (9, 9, 9)), [(-50, 0, 0)])) == 0


# ---- lasso and box ---------------------------------------------------------------------------------------------------


def winding_inside(corners, shape):
    """Sum of the angles under which a centre sees the edges."""
    r, c = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    total = np.zeros(shape)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        u, v = (a[0] - r, a[1] - c), (b[0] - r, b[1] - c)
        total += np.arctan2(u[0] * v[1] - u[1] * v[0], u[0] * v[0] + u[1] * v[1])
    return np.abs(total) > math.pi


@given(st.integers(0, 10**6))
def test_a_lasso_encloses_what_it_goes_round(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-5, 30, (rng.integers(3, 12), 2))
    np.testing.assert_array_equal(polygon_mask(corners, (25, 22)), winding_inside(corners, (25, 22)))


@pytest.mark.parametrize("turn", [1, -1])
def test_a_lasso_through_centres_holds_them_whatever_its_direction(turn):
    corners = np.array([(2, 3), (7, 3), (7, 8), (2, 8)], float)[::turn]
    expected = np.zeros((12, 12), bool)
    expected[2:8, 3:9] = True
    np.testing.assert_array_equal(polygon_mask(corners, (12, 12)), expected)
    diagonal = polygon_mask(np.array([(0, 0), (5, 5), (0, 5)], float)[::turn], (6, 6))
    np.testing.assert_array_equal(diagonal, np.triu(np.ones((6, 6), bool)))


def test_a_lasso_that_crosses_itself_leaves_no_hole_in_a_star():
    star = [(20 + 15 * math.sin(4 * math.pi * k / 5), 20 + 15 * math.cos(4 * math.pi * k / 5)) for k in range(5)]
    assert polygon_mask(np.array(star), (41, 41))[20, 20]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_lasso_has_the_area_of_its_circle_on_its_slice_or_a_range(plane):
    shape, grid = (60, 60, 60), Grid(SHEARED, (60, 60, 60))
    axis = grid.axis(plane)
    rows, columns = (k for k in range(3) if k != axis)
    points = []
    for t in np.linspace(0, 2 * math.pi, 200, endpoint=False):
        index = [0.0, 0.0, 0.0]
        index[axis], index[rows], index[columns] = 20.0, 30 + 20 * math.cos(t), 30 + 20 * math.sin(t)
        points.append(mm(SHEARED, index))
    context = context_of(volume_of(shape, SHEARED))
    one = Lasso(points, plane).apply(context)
    assert (one.box.start[axis], one.box.shape[axis]) == (20, 1)
    assert one.inside.sum() == pytest.approx(math.pi * 20**2, rel=0.02)
    ends = [[5.0] * 3, [5.0] * 3]
    ends[0][axis], ends[1][axis] = 24.0, 17.0
    several = Lasso(points, plane, slices_mm=tuple(mm(SHEARED, end) for end in ends)).apply(context)
    assert (several.box.start[axis], several.box.stop[axis]) == (17, 25)
    assert several.inside.sum() == 8 * one.inside.sum()


def test_a_lasso_larger_than_the_volume_is_cut_at_its_edge():
    points = [(-1e6, -1e6, 3.0), (1e6, -1e6, 3.0), (1e6, 1e6, 3.0), (-1e6, 1e6, 3.0)]
    edit = Lasso(points, "axial").apply(context_of(volume_of((7, 6, 5), UNIT)))
    assert edit.box == Box((0, 0, 3), (7, 6, 4))
    assert edit.inside.all()


def test_a_lasso_of_two_points_is_refused():
    with pytest.raises(EditError, match="2 points; it takes 3"):
        Lasso([(0, 0, 0), (1, 1, 1)], "axial")


def test_a_box_fills_and_erases_from_corner_to_corner():
    grid, context = Grid(THICK, (20, 20, 20)), context_of(volume_of((20, 20, 20), THICK, 1))
    corners = mm(THICK, (12.4, 3, 7)), mm(THICK, (4, 9.6, 2))
    assert box_between(grid, *corners) == Box((4, 3, 2), (13, 11, 8))
    assert box_between(grid, *corners, "axial") == Box((4, 3, 7), (13, 11, 8))
    edit = FillBox(*corners, erase=True).apply(context)
    assert edit.box == Box((4, 3, 2), (13, 11, 8))
    assert not edit.inside.any()
    assert FillBox((-90, -90, -90), (-80, -80, -80)).apply(context).inside.size == 0


# ---- threshold and region growing ------------------------------------------------------------------------------------


def test_a_threshold_lets_write_inside_or_outside_its_range_and_never_where_there_is_no_number():
    values = np.array([-5.0, 0.0, 3.0, 10.0, 11.0, np.nan, np.inf])
    assert Threshold(0, 10).allows(values).tolist() == [False, True, True, True, False, False, False]
    assert Threshold(0, 10, inverted=True).allows(values).tolist() == [True, False, False, False, True, False, True]
    assert Threshold(low=3).allows(values).tolist() == [False, False, True, True, True, False, True]
    assert Threshold().allows(values).tolist() == [True] * 5 + [False, True]
    with pytest.raises(EditError, match="above the upper one"):
        Threshold(10, 0)


def test_the_threshold_masks_brush_eraser_and_lasso():
    shape = (20, 20, 20)
    image = np.zeros(shape, np.int16)
    image[10:] = 100
    empty, full = (context_of(volume_of(shape, UNIT, v), 1, Volume(image, UNIT)) for v in (0, 1))
    stroke, allowed = ([(9.0, 9, 9)], 4.0), Threshold(50, 150)
    painted = whole(Brush(*stroke, threshold=allowed).apply(empty), shape)
    assert painted[10:].any()
    assert not painted[:10].any()
    erased = ~whole(Brush(*stroke, erase=True, threshold=allowed).apply(full), shape)[5:14, 5:14, 5:14]
    np.testing.assert_array_equal(erased, painted[5:14, 5:14, 5:14])
    outline = [(2.0, 2, 5), (17, 2, 5), (17, 17, 5), (2, 17, 5)]
    lasso = whole(Lasso(outline, "axial", threshold=Threshold(50, 150, inverted=True)).apply(empty), shape)
    assert lasso.sum() == 8 * 16
    assert not lasso[10:].any()


def test_a_threshold_without_an_image_is_refused():
    with pytest.raises(EditError, match="needs the image"):
        Brush([(1, 1, 1)], 2.0, threshold=Threshold(0, 1)).apply(context_of(volume_of((5, 5, 5), UNIT)))


def test_a_region_grows_through_faces_within_threshold_and_radius():
    shape = (40, 40, 40)
    image = np.zeros(shape, np.float32)
    image[5:35, 18:22, 18:22] = 100
    image[35:38, 22:25, 22:25] = 100  # touches by a corner alone
    context = context_of(volume_of(shape, UNIT), 1, Volume(image, UNIT))
    edit = GrowRegion((10, 20, 20), Threshold(50, 200)).apply(context)
    np.testing.assert_array_equal(whole(edit, shape)[:35], image[:35] > 0)
    assert edit.inside.sum() == 30 * 16
    near = GrowRegion((10, 20, 20), Threshold(50, 200), radius_mm=3.0).apply(context)
    assert whole(near, shape).any(axis=(1, 2)).nonzero()[0].tolist() == list(range(7, 14))
    with pytest.raises(EditError, match="intensity 0, which the threshold excludes"):
        GrowRegion((1, 1, 1), Threshold(50, 200)).apply(context)
    with pytest.raises(EditError, match="outside the volume"):
        GrowRegion((-9, 1, 1), Threshold(50, 200)).apply(context)
