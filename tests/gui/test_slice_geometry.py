"""Golden views: right letter, right pixel, for every axis order and flip, oblique and sheared grids; no Qt but to look.

What is expected is written down here by hand or follows from the world alone, never from the code under test.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg_rl.volume import Volume
from medseg_rl_gui.slice_canvas import SliceCanvas
from medseg_rl_gui.slice_geometry import (
    PLANES,
    Convention,
    Placement,
    Plane,
    SliceGeometry,
    direction_letters,
    position_letters,
)
from medseg_rl_gui.view_model import Slices, ViewModel, Window
from tests.gui.slice_cases import ORDERS, RAS_SHAPE, RAS_SPACING, corner_volumes, drawn, grey_at, in_order, turned

CONVENTIONS: tuple[Convention, ...] = ("radiological", "neurological")
SIDES = {
    ("axial", "radiological"): ("R", "L", "A", "P"),
    ("coronal", "radiological"): ("R", "L", "S", "I"),
    ("sagittal", "radiological"): ("A", "P", "S", "I"),
    ("axial", "neurological"): ("L", "R", "A", "P"),
    ("coronal", "neurological"): ("L", "R", "S", "I"),
    ("sagittal", "neurological"): ("P", "A", "S", "I"),
}
ACROSS_AND_DOWN = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}  # world axes


def with_matrix(matrix: np.ndarray, array: np.ndarray | None = None) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = matrix
    return Volume(np.zeros(RAS_SHAPE, np.int16) if array is None else array, affine)


def expected_corner(plane: Plane, convention: Convention, size: float) -> tuple[float, float, float, float]:
    """Centre and size, in pixels of a fitted square view, of the voxel most right, anterior and superior."""
    across, down = ACROSS_AND_DOWN[plane]
    wide, high = (RAS_SHAPE[axis] * RAS_SPACING[axis] for axis in (across, down))
    scale = size * 0.94 / max(wide, high)
    x = size / 2 + (wide / 2 - RAS_SPACING[across] / 2) * scale * (-1 if convention == "radiological" else 1)
    y = size / 2 - (high / 2 - RAS_SPACING[down] / 2) * scale
    return x, y, RAS_SPACING[across] * scale, RAS_SPACING[down] * scale


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("plane", PLANES)
def test_every_axis_order_and_flip_shows_the_same_view(qapp: object, plane: Plane, convention: Convention) -> None:
    size = 240
    x, y, wide, high = expected_corner(plane, convention, size)
    canvas = SliceCanvas(plane)
    canvas.resize(size, size)
    orders = 0
    for volume in corner_volumes():
        model = ViewModel(image=volume, window=Window(100, 50), convention=convention, smooth=False)
        voxel = np.argwhere(volume.array == 100)[0]
        geometry = model.geometry(plane)
        model = model.changing(slices=Slices().having(plane, int(voxel[geometry.axes[0]])))
        canvas.show_model(model)
        image = drawn(canvas)
        assert tuple(geometry.sides) == SIDES[plane, convention], volume.orientation
        assert grey_at(image, x, y) == 255, volume.orientation
        for off_x, off_y in ((wide, 0), (-wide, 0), (0, high), (0, -high)):  # as large as a voxel, and no larger
            assert grey_at(image, x + 0.4 * off_x, y + 0.4 * off_y) == 255
            assert grey_at(image, x + 0.6 * off_x, y + 0.6 * off_y) < 60
        assert grey_at(image, size - x, y) < 60, volume.orientation
        assert grey_at(image, x, size - y) < 60, volume.orientation
        orders += 1
    assert orders == 48
    canvas.deleteLater()


@pytest.mark.parametrize("plane", PLANES)
def test_forward_is_towards_right_anterior_superior_in_every_order(plane: Plane) -> None:
    world_axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    for order in ORDERS:
        model = ViewModel(image=in_order(np.zeros(RAS_SHAPE), order)).in_middle()
        stepped = model.stepped(plane, 1)
        assert model.crosshair is not None
        assert stepped.crosshair is not None
        moved = np.subtract(stepped.crosshair, model.crosshair)
        assert np.allclose(moved, np.eye(3)[world_axis] * RAS_SPACING)
        letter, _ = model.geometry(plane).slice_position(stepped.slices[plane])
        assert letter == "RAS"[world_axis]


@pytest.mark.parametrize(
    ("angle", "axis", "plane", "sides"),
    [
        (30, 2, "axial", ("RA", "LP", "AL", "PR")),
        (-30, 2, "axial", ("RP", "LA", "AR", "PL")),
        (30, 2, "coronal", ("RA", "LP", "S", "I")),
        (20, 0, "sagittal", ("AS", "PI", "SP", "IA")),
        (9, 2, "axial", ("R", "L", "A", "P")),
        (11, 2, "axial", ("RA", "LP", "AL", "PR")),
    ],
)
def test_oblique_sides_have_two_letters_the_larger_first(
    angle: float, axis: int, plane: Plane, sides: tuple[str, str, str, str]
) -> None:
    volume = with_matrix(turned(angle, axis))
    assert tuple(SliceGeometry.of(volume, plane).sides) == sides
    mirrored = SliceGeometry.of(volume, plane, "neurological").sides
    assert (mirrored.right, mirrored.left, mirrored.top, mirrored.bottom) == sides


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("plane", PLANES)
def test_a_sheared_oblique_slice_is_drawn_where_the_world_has_it(
    qapp: object, plane: Plane, convention: Convention
) -> None:
    sheared = np.array([[1.0, 0.35, 0.1], [0.0, 1.4, 0.45], [0.0, 0.0, 2.2]])
    array = np.full(RAS_SHAPE, 20, np.int16)
    volume = with_matrix(turned(25, 2) @ turned(15, 0) @ sheared, array)
    geometry = SliceGeometry.of(volume, plane, convention)
    through, across, down = geometry.axes
    voxel = np.array([2, 2, 2])
    voxel[across] += 2
    array[tuple(voxel)] = 100
    canvas = SliceCanvas(plane)
    canvas.resize(260, 200)
    model = ViewModel(image=volume, window=Window(100, 50), convention=convention, smooth=False)
    canvas.show_model(model.changing(slices=Slices().having(plane, 2)))
    # From the world alone: rows run along one voxel axis; the other side of the paper is at a right angle to them.
    row = volume.affine[:3, across] / np.linalg.norm(volume.affine[:3, across])
    row = row * np.sign(row[ACROSS_AND_DOWN[plane][0]]) * (-1 if convention == "radiological" else 1)
    column = volume.affine[:3, down] - row * (row @ volume.affine[:3, down])
    column = -column / np.linalg.norm(column) * np.sign(column[ACROSS_AND_DOWN[plane][1]])
    middle = (np.array(RAS_SHAPE) - 1) / 2
    middle[through] = 2
    offset = volume.index_to_world(voxel) - volume.index_to_world(middle)
    assert canvas.placement is not None
    scale = canvas.placement.scale
    image = drawn(canvas)
    assert grey_at(image, 130 + offset @ row * scale, 100 + offset @ column * scale) == 255
    canvas.deleteLater()


def test_in_plane_shear_keeps_the_letters_of_the_upright_sides() -> None:
    matrix = np.array([[1.0, np.sin(np.radians(20)), 0], [0, np.cos(np.radians(20)), 0], [0, 0, 1]])
    assert tuple(SliceGeometry.of(with_matrix(matrix), "axial").sides) == ("R", "L", "A", "P")


def test_letters_start_at_ten_degrees() -> None:
    assert direction_letters((1, 0.169, 0)) == "R"
    assert direction_letters((1, 0.2, 0)) == "RA"
    assert direction_letters((-1, 1.1, -0.9)) == "ALI"


def test_positions_are_told_by_letters() -> None:
    assert position_letters((-23.4, 11.0, 0.0)) == (("L", 23.4), ("A", 11.0), ("S", 0.0))


matrices = st.tuples(
    st.floats(-180, 180), st.floats(-180, 180), st.floats(-180, 180), st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)
)


def any_volume(parts: tuple[float, ...], order: int) -> Volume:
    a, b, c, one, other = parts
    shear = np.array([[1, one, other], [0, 1, one * other], [0, 0, 1]]) @ np.diag((0.7, 1.3, 3.0))
    base = in_order(np.zeros(RAS_SHAPE), ORDERS[order]).affine[:3, :3]
    return with_matrix(turned(a, 0) @ turned(b, 1) @ turned(c, 2) @ shear @ np.sign(base))


@given(matrices, st.integers(0, 47), st.sampled_from(PLANES), st.sampled_from(CONVENTIONS), st.data())
def test_pixels_and_world_agree_both_ways(
    parts: tuple[float, ...], order: int, plane: Plane, convention: Convention, data: st.DataObject
) -> None:
    geometry = SliceGeometry.of(any_volume(parts, order), plane, convention)
    zoom, dx, dy = (data.draw(st.floats(*ends)) for ends in ((0.3, 12), (-90, 90), (-90, 90)))
    placement = Placement.fitting(geometry, (311, 207)).zoomed(zoom, (20, 40)).panned(dx, dy)
    index = data.draw(st.integers(0, geometry.slices - 1))
    screen = np.array(data.draw(st.lists(st.tuples(st.floats(0, 311), st.floats(0, 207)), min_size=2, max_size=2)))
    world = geometry.plane_to_world(placement.to_plane(screen), index)
    assert np.allclose(placement.to_screen(geometry.world_to_plane(world)), screen, atol=1e-6)
    # True to size: a length on the screen is the length in the patient, whatever the affine.
    assert np.isclose(np.linalg.norm(world[1] - world[0]) * placement.scale, np.linalg.norm(screen[1] - screen[0]))
    _, distance = geometry.upright(world[0], index)
    assert distance < 1e-6
    assert np.isclose(geometry.frame[2] @ geometry.frame[0], 0)


@given(matrices, st.integers(0, 47), st.sampled_from(PLANES))
def test_the_middle_of_a_voxel_is_found_again(parts: tuple[float, ...], order: int, plane: Plane) -> None:
    volume = any_volume(parts, order)
    geometry = SliceGeometry.of(volume, plane)
    voxel = tuple(n // 2 for n in volume.shape)
    index = voxel[geometry.axes[0]]
    assert geometry.slice_at(volume.index_to_world(voxel)) == index
    assert geometry.voxel_at(geometry.index_to_plane(voxel), index) == voxel
    assert geometry.voxel_at(np.add(geometry.bounds[1], 1.0), index) is None


def test_half_way_goes_to_the_same_voxel_in_every_order() -> None:
    found = set()
    for order in ORDERS:
        volume = in_order(np.zeros(RAS_SHAPE), order)
        geometry = SliceGeometry.of(volume, "axial")
        half_way = (4.5, 3 * RAS_SPACING[1], 2 * RAS_SPACING[2])
        voxel = geometry.voxel_at(geometry.world_to_plane(half_way), geometry.slice_at(half_way))
        assert voxel is not None
        found.add(tuple(np.round(volume.index_to_world(voxel), 6).tolist()))
    assert found == {(5.0, 4.5, 5.0)}


def test_zoom_holds_the_point_under_the_pointer() -> None:
    geometry = SliceGeometry.of(with_matrix(np.eye(3)), "axial")
    placement = Placement.fitting(geometry, (200, 200))
    before = placement.to_plane((30, 60))
    assert np.allclose(placement.zoomed(2.5, (30, 60)).to_plane((30, 60)), before)
    assert np.allclose(placement.panned(7, -3).to_plane((37, 57)), before)
