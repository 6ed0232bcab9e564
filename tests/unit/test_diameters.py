"""Chords against closed forms, and against a plain search over all contour points, on every kind of grid."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ni
from skimage.measure import find_contours

from medseg_rl.quantities import axial_diameters, largest_diameter, region_of
from medseg_rl.surface import iso_surface

TILTED = np.array([[-0.7, 0, 0, 10.0], [0, 0.7, 0.8, -20.0], [0, 0, 2.4, 5.0], [0, 0, 0, 1]])


def box(shape, start, sides):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, a + n) for a, n in zip(start, sides, strict=True))] = True
    return mask


def blob(seed, shape=(13, 12, 9)):
    noise = ni.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.2)
    return noise > 0.08


def test_the_largest_diameter_of_a_box_joins_the_ends_of_two_opposite_cut_edges():
    spacing = np.array([0.7, 0.9, 2.5])
    sides = np.array([6, 4, 3])
    chord = largest_diameter(region_of(box((12, 10, 9), (3, 2, 4), sides), np.diag([*spacing, 1])))
    lengths = [np.linalg.norm((sides - 1 + np.eye(3)[axis]) * spacing) for axis in range(3)]
    assert chord.length_mm == pytest.approx(max(lengths))
    assert math.dist(chord.start, chord.end) == pytest.approx(chord.length_mm)


def test_one_voxel_is_as_long_as_its_longest_side():
    region = region_of(box((5, 5, 5), (2, 2, 2), (1, 1, 1)), np.diag([0.7, 0.9, 2.5, 1]))
    assert largest_diameter(region).length_mm == pytest.approx(2.5)
    (slice_,) = axial_diameters(region)
    assert slice_.slice_index == 2
    assert slice_.longest.length_mm == pytest.approx(0.9)
    assert slice_.across.length_mm == pytest.approx(0.7)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("affine", [np.diag([0.7, 0.9, 2.5, 1.0]), TILTED], ids=["anisotropic", "tilted"])
def test_the_largest_diameter_is_that_of_all_vertices_of_the_surface(seed, affine):
    mask = blob(seed)
    points = iso_surface(mask, affine).vertices
    brute = max(np.linalg.norm(points - point, axis=1).max() for point in points)
    assert largest_diameter(region_of(mask, affine)).length_mm == pytest.approx(brute)


def test_a_long_bar_across_a_slice_gives_its_length_and_width():
    mask = box((40, 30, 3), (5, 12, 1), (30, 4, 1))
    (slice_,) = axial_diameters(region_of(mask, np.diag([0.5, 0.5, 3.0, 1])))
    assert slice_.longest.length_mm == pytest.approx(0.5 * math.hypot(30, 3))
    tilt = math.atan2(3, 30)  # the longest chord runs aslant through the bar
    assert slice_.across.length_mm == pytest.approx(0.5 * 4 / math.cos(tilt), rel=1e-6)


def test_a_disc_is_as_wide_as_long_and_an_ellipse_has_its_two_axes():
    u, v = np.meshgrid(np.arange(-60, 61), np.arange(-60, 61), indexing="ij")
    for a, b in ((50, 50), (55, 20)):
        mask = ((u / a) ** 2 + (v / b) ** 2 <= 1)[:, :, None]
        (slice_,) = axial_diameters(region_of(mask, np.diag([0.5, 0.5, 1, 1])))
        assert slice_.longest.length_mm == pytest.approx(a, abs=0.6)  # half-axis in voxels of half a mm
        assert slice_.across.length_mm == pytest.approx(b, abs=0.6)


def test_every_axial_slice_with_voxels_is_measured_and_no_other():
    mask = np.zeros((8, 9, 7), bool)
    mask[2:4, 3:7, 1] = mask[2:7, 3:7, 4] = True
    found = axial_diameters(region_of(mask, np.eye(4)))
    assert [slice_.slice_index for slice_ in found] == [1, 4]


def test_axial_slices_follow_the_patient_and_not_the_array():
    mask = box((8, 9, 7), (1, 2, 3), (5, 3, 2))
    affine = np.array([[0, 0, 0.9, 0], [0, 0.8, 0, 0], [-2.0, 0, 0, 0], [0, 0, 0, 1.0]])  # array axis 0 runs down
    found = axial_diameters(region_of(mask, affine))
    assert [slice_.slice_index for slice_ in found] == [1, 2, 3, 4, 5]
    assert found[0].longest.length_mm == pytest.approx(max(math.hypot(0.8 * 3, 0.9 * 1), math.hypot(0.8 * 2, 0.9 * 2)))


def test_both_chords_of_a_tilted_slice_are_perpendicular_in_the_patient_and_lie_in_the_slice():
    region = region_of(blob(1), TILTED)
    normal = np.cross(TILTED[:3, 0], TILTED[:3, 1])
    for slice_ in axial_diameters(region):
        along, across = (np.subtract(chord.end, chord.start) for chord in (slice_.longest, slice_.across))
        assert along @ across == pytest.approx(0, abs=1e-6)
        origin = TILTED[:3, 3] + slice_.slice_index * TILTED[:3, 2]
        ends = [slice_.longest.start, slice_.longest.end, slice_.across.start, slice_.across.end]
        np.testing.assert_allclose((np.array(ends) - origin) @ normal, 0, atol=1e-6)
        assert slice_.across.length_mm <= slice_.longest.length_mm + 1e-9


@given(st.integers(0, 10_000))
def test_the_chords_are_those_of_the_contours_that_scikit_image_draws(seed):
    plane = blob(seed, (14, 11, 5))[:, :, 2]
    if not plane.any():
        return
    (slice_,) = axial_diameters(region_of(plane[:, :, None], np.diag([0.7, 1.1, 1, 1])))
    contours = [c * [0.7, 1.1] - [0.7, 1.1] for c in find_contours(np.pad(plane, 1).astype(float), 0.5)]
    points = np.concatenate(contours)
    brute = max(np.linalg.norm(points - point, axis=1).max() for point in points)
    assert slice_.longest.length_mm == pytest.approx(brute)
    along = np.subtract(slice_.longest.end, slice_.longest.start)[:2] / slice_.longest.length_mm
    across = np.array([-along[1], along[0]])
    widest = 0.0
    for t in {round(float(p @ along), 9) for p in points}:  # the outermost crossings of the line through each point
        heights = []
        for contour in contours:
            ends = np.stack([contour @ along - t, contour @ across], axis=1)
            for (t0, y0), (t1, y1) in itertools.pairwise(ends):
                if min(t0, t1) <= 1e-8 and max(t0, t1) >= -1e-8:
                    flat = abs(t1 - t0) < 1e-8
                    heights += [y0, y1] if flat else [y0 + np.clip(t0 / (t0 - t1), 0, 1) * (y1 - y0)]
        widest = max(widest, max(heights) - min(heights))
    assert slice_.across.length_mm == pytest.approx(widest, abs=1e-6)


def test_diameters_are_the_same_in_all_48_orientations():
    mask, base = blob(5), TILTED
    expected = largest_diameter(region_of(mask, base)).length_mm
    slices = pairs_of(region_of(mask, base))
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turned = np.flip(mask.transpose(axes), [k for k in range(3) if signs[k] < 0])
            affine = base.copy()
            affine[:3, :3] = base[:3, list(axes)] * signs
            region = region_of(turned, affine)
            assert largest_diameter(region).length_mm == pytest.approx(expected)
            assert pairs_of(region) == slices


def pairs_of(region):
    """Both lengths of every slice, in an order that does not depend on the slices' numbers."""
    return sorted((round(s.longest.length_mm, 6), round(s.across.length_mm, 6)) for s in axial_diameters(region))


def test_an_empty_mask_has_no_diameters():
    region = region_of(np.zeros((3, 4, 5), bool), np.eye(4))
    assert largest_diameter(region) is None
    assert axial_diameters(region) == ()
