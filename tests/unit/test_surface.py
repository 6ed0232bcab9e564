"""Surfaces of boxes and balls against their closed forms, on flipped, anisotropic and sheared grids."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ni

from medseg_rl.surface import iso_surface, smoothed, thinned

SHEARED = np.array([[0.7, 0.1, 0.3, -40.0], [0.05, -0.8, 0.9, 12.0], [0.0, 0.02, 2.5, 300.0], [0, 0, 0, 1]])


def box(shape, sides, start=(2, 3, 1)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, a + n) for a, n in zip(start, sides, strict=True))] = True
    return mask


def ball(radius_mm, spacing):
    half = [math.ceil(radius_mm / s) + 1 for s in spacing]
    axes = [(np.arange(-h, h + 1) * s) ** 2 for h, s in zip(half, spacing, strict=True)]
    return sum(np.meshgrid(*axes, indexing="ij")) <= radius_mm**2


def chamfered_box(sides, affine):
    """Area (mm2) and volume (mm3) of the iso-surface of a box of voxels: its edges and corners are cut by half."""
    steps = affine[:3, :3].T
    inner = np.asarray(sides) - 1
    area = 0.0
    for a, b in itertools.combinations(range(3), 2):
        c = 3 - a - b
        area += 2 * inner[a] * inner[b] * np.linalg.norm(np.cross(steps[a], steps[b]))
        for sign in (1, -1):  # the four edges along c, cut by a strip from a half step of a to a half step of b
            area += 2 * inner[c] * np.linalg.norm(np.cross(steps[c], (steps[a] - sign * steps[b]) / 2))
    for signs in itertools.product((1, -1), repeat=3):
        p, q, r = (sign * step / 2 for sign, step in zip(signs, steps, strict=True))
        area += np.linalg.norm(np.cross(q - p, r - p)) / 2
    faces = 2 * sum(inner[a] * inner[b] / 2 for a, b in itertools.combinations(range(3), 2))
    cells = inner.prod() + faces + 4 * inner.sum() / 8 + 8 / 48
    return area, cells * abs(np.linalg.det(affine[:3, :3]))


def rotated(affine, axes, signs):
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, axes] * signs
    return affine @ matrix


@pytest.mark.parametrize(
    "affine", [np.eye(4), np.diag([-0.7, -0.7, 2.5, 1]), SHEARED], ids=["unit", "flipped", "shear"]
)
@pytest.mark.parametrize("sides", [(1, 1, 1), (4, 2, 3), (5, 6, 1)])
def test_the_surface_of_a_box_has_the_area_and_volume_of_a_box_with_cut_edges(affine, sides):
    surface = iso_surface(box((9, 10, 6), sides), affine)
    area, volume = chamfered_box(sides, affine)
    assert surface.area == pytest.approx(area, rel=1e-6)
    assert surface.volume == pytest.approx(volume, rel=1e-6)
    assert surface.is_closed


def test_the_surface_lies_in_world_millimetres_half_a_voxel_off_the_outermost_centres():
    surface = iso_surface(box((9, 10, 6), (4, 2, 3)), np.diag([-0.7, 0.5, 2.5, 1.0]))
    np.testing.assert_allclose(surface.vertices.min(axis=0), [-0.7 * 5.5, 0.5 * 2.5, 2.5 * 0.5])
    np.testing.assert_allclose(surface.vertices.max(axis=0), [-0.7 * 1.5, 0.5 * 4.5, 2.5 * 3.5])


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, 1, 1, 1]), SHEARED], ids=["unit", "flipped", "shear"])
def test_triangles_run_counter_clockwise_seen_from_outside(affine):
    surface = iso_surface(box((9, 10, 6), (4, 2, 3)), affine)
    a, b, c = (surface.vertices[surface.triangles[:, k]] for k in range(3))
    centre = surface.vertices.mean(axis=0)
    outward = np.einsum("ij,ij->i", np.cross(b - a, c - a), (a + b + c) / 3 - centre)
    assert (outward > 0).all()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 2.5)])
def test_a_ball_has_its_volume_and_the_known_excess_of_area_over_the_smooth_one(spacing):
    radius = 25.0
    surface = iso_surface(ball(radius, spacing), np.diag([*spacing, 1]))
    assert surface.volume == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.01)
    assert 1.03 < surface.area / (4 * math.pi * radius**2) < 1.2  # steps of a mask that knows no grey


def test_a_mask_at_the_edge_of_the_volume_is_closed_there():
    assert iso_surface(np.ones((3, 4, 5), bool), np.eye(4)).area == pytest.approx(
        chamfered_box((3, 4, 5), np.eye(4))[0]
    )


def test_an_empty_mask_has_an_empty_surface_without_area_or_volume():
    surface = iso_surface(np.zeros((3, 4, 5), bool), np.eye(4))
    assert (len(surface.triangles), surface.area, surface.volume) == (0, 0.0, 0.0)
    assert smoothed(surface, passes=3) is surface
    assert thinned(surface, triangles=100) is surface


@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
def test_the_surface_of_any_mask_is_closed_and_holds_an_octahedron_around_every_voxel(seed, share):
    mask = np.random.default_rng(seed).random((6, 5, 4)) < share
    surface = iso_surface(mask, SHEARED)
    assert surface.is_closed
    voxel = abs(np.linalg.det(SHEARED[:3, :3]))
    assert voxel * mask.sum() / 6 <= surface.volume * (1 + 1e-9)
    assert surface.volume <= voxel * mask.size


def test_area_and_volume_are_the_same_in_all_48_orientations():
    mask = ni.gaussian_filter(np.random.default_rng(3).standard_normal((9, 8, 7)), 1) > 0.1
    expected = iso_surface(mask, SHEARED)
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turned = np.flip(mask.transpose(axes), [k for k in range(3) if signs[k] < 0])
            surface = iso_surface(turned, rotated(SHEARED, list(axes), np.array(signs)))
            assert surface.area == pytest.approx(expected.area, rel=1e-6)
            assert surface.volume == pytest.approx(expected.volume, rel=1e-6)


def test_smoothing_brings_the_area_of_a_ball_to_its_own_and_keeps_the_volume():
    radius = 15.0
    surface = iso_surface(ball(radius, (1.0, 1.0, 1.0)), np.eye(4))
    smooth = smoothed(surface, passes=20)
    assert smooth.area == pytest.approx(4 * math.pi * radius**2, rel=0.015)
    assert smooth.volume == pytest.approx(surface.volume, rel=0.01)
    assert (smooth.smoothing_passes, surface.smoothing_passes, smooth.is_closed) == (20, 0, True)


def test_thinning_keeps_the_form_within_a_percent_and_says_how_many_triangles_there_were():
    surface = smoothed(iso_surface(ball(20.0, (1.0, 1.0, 1.0)), SHEARED), passes=10)
    thin = thinned(surface, triangles=2000)
    assert len(thin.triangles) <= 2000
    assert thin.triangles_before == len(surface.triangles)
    assert thin.volume == pytest.approx(surface.volume, rel=0.01)
    assert thin.is_closed
    assert thinned(thin, triangles=1000).triangles_before == len(surface.triangles)


def test_thinning_leaves_a_small_surface_alone():
    surface = iso_surface(box((9, 10, 6), (1, 1, 1)), np.eye(4))
    assert thinned(surface, triangles=8) is surface
    with pytest.raises(ValueError, match="4 triangles"):
        thinned(surface, triangles=3)


def test_smoothing_a_negative_number_of_times_is_refused():
    with pytest.raises(ValueError, match="not -1"):
        smoothed(iso_surface(box((9, 10, 6), (1, 1, 1)), np.eye(4)), passes=-1)
