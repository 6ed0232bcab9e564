"""Polygons: the even-odd rule, holes, edges of the grid, and masks that come back from their own borders."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg_rl.imageio.polygons import borders, filled


def fill(polygons: list, shape: tuple[int, int]) -> np.ndarray:
    (a, b), window = filled([np.array(p, float) for p in polygons], shape)
    mask = np.zeros(shape, bool)
    mask[a : a + window.shape[0], b : b + window.shape[1]] = window
    return mask


def square(low: float, high: float) -> list[tuple[float, float]]:
    return [(low, low), (low, high), (high, high), (high, low)]


def area(polygon: np.ndarray) -> float:
    a, b = polygon.T
    return 0.5 * float(np.sum(a * np.roll(b, -1) - b * np.roll(a, -1)))


def test_a_pixel_is_in_when_its_centre_is():
    assert fill([square(0.6, 3.4)], (6, 6)).sum() == 9
    assert fill([square(0.6, 3.6)], (6, 6))[1:4, 1:4].all()
    assert not fill([square(1.1, 1.9)], (6, 6)).any()


def test_a_polygon_in_another_is_a_hole_and_one_in_the_hole_an_island():
    mask = fill([square(-0.5, 8.5), square(1.5, 6.5), square(2.5, 4.5)], (9, 9))
    assert mask.sum() == 81 - 25 + 4


def test_the_direction_of_a_polygon_does_not_matter():
    np.testing.assert_array_equal(fill([square(0.5, 4.5)], (6, 6)), fill([square(0.5, 4.5)[::-1]], (6, 6)))


def test_neighbours_that_share_an_edge_through_pixel_centres_share_no_pixel_and_lose_none():
    left, right = square(1, 4), [(1, 4), (1, 7), (4, 7), (4, 4)]
    one, other, both = (fill([p], (9, 9)) for p in (left, right, [(1, 1), (1, 7), (4, 7), (4, 1)]))
    assert not (one & other).any()
    np.testing.assert_array_equal(one | other, both)


def test_what_juts_out_of_the_grid_is_cut_off():
    assert fill([square(-30, 40)], (5, 4)).all()
    assert fill([square(2.5, 1e5)], (5, 4)).sum() == 2
    assert not fill([[(-9, -9), (-9, -3), (-3, -3)]], (5, 4)).any()


def test_a_disc_has_the_area_of_a_disc():
    angles = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    disc = 60 + 50.3 * np.column_stack([np.sin(angles), np.cos(angles)])
    i, j = np.indices((120, 120))
    np.testing.assert_array_equal(fill([disc], (120, 120)), np.hypot(i - 60, j - 60) < 50.3)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_mask_comes_back_from_its_borders(mask):
    polygons = borders(mask)
    if not mask.any():
        assert polygons == []
        return
    np.testing.assert_array_equal(fill(polygons, mask.shape), mask)
    noise = np.random.default_rng(0)
    moved = [p + noise.uniform(-0.4, 0.4, p.shape) * 0.5 for p in polygons]
    np.testing.assert_array_equal(fill(moved, mask.shape), mask)  # half a pixel to spare for rounding


def test_borders_are_corners_at_pixel_edges_one_loop_for_the_outside_and_one_for_a_hole():
    mask = np.zeros((7, 8), bool)
    mask[1:6, 2:7] = True
    mask[3, 4] = False
    outside, hole = sorted(borders(mask), key=lambda p: -abs(area(p)))
    assert sorted(map(tuple, outside)) == [(0.5, 1.5), (0.5, 6.5), (5.5, 1.5), (5.5, 6.5)]
    assert abs(area(outside)) == 25
    assert abs(area(hole)) == 1


def test_pixels_that_touch_at_a_corner_are_traced_without_loss():
    mask = np.eye(5, dtype=bool)
    assert sum(abs(area(p)) for p in borders(mask)) >= 5 or len(borders(mask)) < 5
    np.testing.assert_array_equal(fill(borders(mask), (5, 5)), mask)
