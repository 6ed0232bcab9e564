"""When a file is a mask of an image, and what is offered when it is not quite."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.imageio import read_mask, write_volume
from medseg_rl.imageio.masks import check_load, on_grid_of
from medseg_rl.volume import Box, Volume

SHAPE = (6, 7, 8)
AFFINE = np.array([[-1.0, 0, 0, 40], [0, 2, 0, -30], [0, 0, 3, 5], [0, 0, 0, 1]])


def image() -> Volume:
    return Volume(np.zeros(SHAPE, np.int16), AFFINE)


def labels() -> np.ndarray:
    return np.random.default_rng(1).choice(np.array([0, 3, 200], np.uint8), SHAPE)


def mask_file(tmp_path: Path, *, shift: float = 0.0, array: np.ndarray | None = None) -> Path:
    affine = AFFINE.copy()
    affine[0, 3] += shift
    write_volume(tmp_path / "mask.nrrd", Volume(labels() if array is None else array, affine))
    return tmp_path / "mask.nrrd"


@pytest.mark.parametrize("shift", [0, 0.05, 0.0999])
def test_a_tenth_of_a_voxel_is_rounding(tmp_path, shift):
    mask = read_mask(mask_file(tmp_path, shift=shift), like=image())
    np.testing.assert_array_equal(mask.affine, AFFINE)
    np.testing.assert_array_equal(mask.array, labels())


def test_up_to_a_voxel_the_user_is_asked_with_the_millimetres(tmp_path):
    path = mask_file(tmp_path, shift=0.8)
    with pytest.raises(GeometryError, match=r"0\.8 mm off its image.*accept"):
        read_mask(path, like=image())
    np.testing.assert_array_equal(read_mask(path, like=image(), accept_shift=True).array, labels())


def test_with_enough_overlap_resampling_is_offered(tmp_path):
    affine = AFFINE @ np.diag([0.5, 1, 1, 1])
    affine[0, 3] += 0.25  # two halves in the place of each voxel
    write_volume(tmp_path / "mask.nrrd", Volume(np.repeat(labels(), 2, axis=0), affine))
    with pytest.raises(GeometryError, match="nearest-neighbour"):
        read_mask(tmp_path / "mask.nrrd", like=image())
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nrrd", like=image(), resample=True).array, labels())


def test_a_mask_of_something_else_is_refused_with_both_geometries(tmp_path):
    path = mask_file(tmp_path, shift=100)
    for choice in ({}, {"accept_shift": True}, {"resample": True}):
        with pytest.raises(GeometryError, match=r"6 x 7 x 8 voxels of 1 x 2 x 3 mm.*but its image is.*no mask of that"):
            read_mask(path, like=image(), **choice)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_another_axis_order_and_flips_are_undone_without_loss(tmp_path, order):
    for flips in itertools.product((False, True), repeat=3):
        affine, array = AFFINE.copy(), labels()
        for axis in np.flatnonzero(flips):
            affine[:3, 3] += affine[:3, axis] * (SHAPE[axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis)
        affine[:, :3] = affine[:, list(order)]
        write_volume(tmp_path / "mask.nrrd", Volume(array.transpose(order), affine))
        mask = read_mask(tmp_path / "mask.nrrd", like=image())
        np.testing.assert_array_equal(mask.array, labels())
        np.testing.assert_array_equal(mask.affine, AFFINE)


def test_a_turned_cube_keeps_every_label_at_its_place(tmp_path):
    cube = np.random.default_rng(2).integers(0, 3, (5, 5, 5)).astype(np.uint8)
    like = Volume(np.zeros((5, 5, 5)), np.eye(4))
    turned = np.array([[0.0, -1, 0, 4], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    write_volume(tmp_path / "mask.nrrd", Volume(cube, turned))
    mask = read_mask(tmp_path / "mask.nrrd", like=like)
    for index in [(0, 0, 0), (1, 2, 3), (4, 0, 1)]:
        world = Volume(cube, turned).index_to_world(index)
        assert mask.array[tuple(np.rint(world).astype(int))] == cube[index]


def test_whole_numbers_stored_as_reals_become_integers(tmp_path):
    mask = read_mask(mask_file(tmp_path, array=labels().astype(np.float32)))
    assert mask.array.dtype == np.uint8
    np.testing.assert_array_equal(mask.array, labels())


def test_interpolated_labels_are_refused(tmp_path):
    with pytest.raises(InputFileError, match="not all whole numbers"):
        read_mask(mask_file(tmp_path, array=labels() * np.float32(0.3)))


def test_probabilities_are_told_apart_and_a_threshold_is_asked_for(tmp_path):
    with pytest.raises(InputFileError, match="probabilities; apply a threshold"):
        read_mask(mask_file(tmp_path, array=np.linspace(0, 1, 6 * 7 * 8, dtype=np.float32).reshape(SHAPE)))


def test_a_threshold_makes_a_mask_of_probabilities(tmp_path):
    chances = np.linspace(0, 1, 6 * 7 * 8, dtype=np.float32).reshape(SHAPE)
    mask = read_mask(mask_file(tmp_path, array=chances), threshold=0.75)
    np.testing.assert_array_equal(mask.array, chances > 0.75)
    assert mask.array.dtype == np.uint8


def test_numbers_that_no_label_can_have_are_refused(tmp_path):
    with pytest.raises(InputFileError, match="more than a label value"):
        read_mask(mask_file(tmp_path, array=np.full(SHAPE, 1e30, np.float32)))


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(0.0999, "same"), (0.1001, "shifted"), (0.5, "shifted"), (0.999, "shifted"), (100, "refuse")],
)
def test_the_load_check_stands_on_both_sides_of_each_limit(shift, verdict):
    affine = AFFINE.copy()
    affine[0, 3] += shift
    check = check_load(Volume(labels(), affine), image())
    assert check.verdict == verdict
    assert check.shift_mm == pytest.approx(shift)


def test_the_load_check_offers_resampling_from_nine_tenths_of_overlap():
    like = Volume(np.zeros((100, 10, 10)), np.eye(4))
    for planes, verdict in ((89, "refuse"), (90, "resample"), (99, "resample")):
        assert check_load(Volume(np.zeros((planes, 10, 10), np.uint8), np.eye(4)), like).verdict == verdict


def test_a_shift_is_judged_in_whatever_order_the_axes_are_stored():
    affine = AFFINE.copy()
    affine[:3, 3] += affine[:3, 0] * (SHAPE[0] - 1)
    affine[:3, 0] *= -1
    affine[0, 3] += 0.5
    check = check_load(Volume(labels(), affine), image())
    assert (check.verdict, check.shift_mm) == ("shifted", pytest.approx(0.5))


def test_a_cropped_mask_goes_to_its_place_where_the_format_crops():
    whole = image().with_array(labels())
    box = Box((1, 2, 3), (5, 6, 7))
    cut = whole.crop(box)
    assert check_load(cut, image()).verdict == "refuse"
    placed = on_grid_of(Path("cut"), cut, image(), part=True)
    expected = np.zeros_like(labels())
    expected[box.slices] = labels()[box.slices]
    np.testing.assert_array_equal(placed.array, expected)


def test_what_a_wider_mask_holds_outside_the_image_is_counted():
    wide = Volume(np.ones((8, 7, 8), np.uint8), AFFINE)
    placed = on_grid_of(Path("wide"), wide, image(), part=True)
    assert placed.array.all()
    assert placed.source["warnings"] == ["112 labelled voxels lie outside the image and are left out"]


def test_an_empty_mask_is_a_mask(tmp_path):
    assert not read_mask(mask_file(tmp_path, array=np.zeros(SHAPE, np.uint8)), like=image()).array.any()


def test_the_readers_load_only_what_the_file_needs():
    program = "import sys, medseg_rl.imageio, medseg_rl.labels; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "SimpleITK", "nibabel", "pydicom", "PySide6", "vtk"} & set(loaded)
