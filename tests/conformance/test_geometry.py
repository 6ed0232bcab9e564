"""The same point in the world gets the same voxel, whatever the order of the axes, the format and the way taken."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg_rl.errors import GeometryError
from medseg_rl.imageio import read_mask, read_volume, write_mask, write_volume
from medseg_rl.imageio.itk import orthonormalised
from medseg_rl.volume import AxisOrder, Box, Volume, corner_distance

ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]
SHAPE = (4, 5, 6)
LPS = np.array([-1.0, -1.0, 1.0])


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    """Rotation about x, then y, then z, in degrees."""
    result = np.eye(3)
    for axis, degrees in enumerate(angles):
        a, (i, j) = np.radians(degrees), [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(a)
        turn[i, j], turn[j, i] = -np.sin(a), np.sin(a)
        result = turn @ result
    return result


def directions(kind: str) -> np.ndarray:
    """Columns in mm: plain, oblique or sheared, all anisotropic."""
    base = np.diag([0.7, 1.3, 4.0])
    if kind == "plain":
        return base
    turned = rotation((11, -23, 37)) @ base
    return turned if kind == "oblique" else turned @ np.array([[1, 0.1, 0.25], [0, 1, -0.15], [0, 0, 1]])


def oriented(kind: str, order: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """A volume whose voxel axes are those of `kind`, permuted and flipped; all its voxels differ."""
    affine = np.eye(4)
    affine[:3, :3] = directions(kind)[:, list(order)] * signs
    affine[:3, 3] = [-31, 47, 12]
    return Volume(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), affine)


def some_indices() -> np.ndarray:
    return np.array(list(itertools.product((0, 1, 3), (0, 2, 4), (0, 3, 5))))


def assert_same_world(one: Volume, other: Volume, *, tolerance_mm: float) -> None:
    """Every voxel of `one` is found in `other` at its point in the world, with its value."""
    for index in some_indices():
        found = other.world_to_index(one.index_to_world(index))
        nearest = tuple(np.rint(found).astype(int))
        assert np.linalg.norm(other.index_to_world(nearest) - one.index_to_world(index)) < tolerance_mm
        assert other.array[nearest] == one.array[tuple(index)]


@pytest.mark.parametrize("kind", ["plain", "oblique", "sheared"])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_all_48_orientations_survive_nifti_nrrd_and_crop(tmp_path, kind, order, signs):
    volume = oriented(kind, order, signs)
    for name in ("a.nii", "a.nii.gz", "a.nrrd"):
        write_volume(tmp_path / name, volume)
        read = read_volume(tmp_path / name)
        np.testing.assert_array_equal(read.array, volume.array)
        assert corner_distance(read.affine, volume.affine, SHAPE) < 1e-4
        assert read.orientation == volume.orientation
        assert_same_world(volume, read, tolerance_mm=1e-4)
    crop = volume.crop(Box((1, 0, 2), (4, 4, 6)))
    np.testing.assert_allclose(crop.index_to_world([1, 1, 1]), volume.index_to_world([2, 1, 3]))
    write_mask(tmp_path / "crop.nii", crop.with_array(crop.array), like=crop)
    np.testing.assert_array_equal(read_mask(tmp_path / "crop.nii", like=crop).array, crop.array)


@pytest.mark.parametrize("kind", ["plain", "oblique"])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_nibabel_and_simpleitk_agree_with_us_in_all_48_orientations(tmp_path, kind, order, signs):
    volume = oriented(kind, order, signs)
    for name in ("a.nii", "a.nrrd", "a.mha"):
        write_volume(tmp_path / name, volume)
        image = sitk.ReadImage(str(tmp_path / name))
        for index in some_indices():
            world = LPS * image.TransformIndexToPhysicalPoint(index.tolist())
            np.testing.assert_allclose(world, volume.index_to_world(index), atol=1e-4)
            assert image[index.tolist()] == volume.array[tuple(index)]
    np.testing.assert_allclose(nib.load(tmp_path / "a.nii").affine, volume.affine, atol=1e-5)
    assert "".join(nib.aff2axcodes(volume.affine)) + "+" == volume.orientation


@pytest.mark.parametrize("kind", ["plain", "oblique", "sheared"])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_nearest_ras_order_and_back_keeps_every_voxel_at_its_place(kind, order, signs):
    volume = oriented(kind, order, signs)
    axes = AxisOrder.of(volume.affine)
    turned = axes.apply(volume.array)
    np.testing.assert_array_equal(axes.undo(turned), volume.array)
    for index in some_indices():
        assert turned[axes.apply_index(tuple(int(i) for i in index), SHAPE)] == volume.array[tuple(index)]


@pytest.mark.parametrize("kind", ["plain", "oblique", "sheared"])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_a_mask_in_any_orientation_comes_back_onto_its_image(tmp_path, kind, order, signs):
    image = oriented(kind, (0, 1, 2), (1, 1, 1))
    affine, array = image.affine.copy(), image.array
    for axis in (axis for axis in range(3) if signs[axis] < 0):
        affine[:3, 3] += affine[:3, axis] * (SHAPE[axis] - 1)
        affine[:3, axis] *= -1
        array = np.flip(array, axis)
    affine[:, :3] = affine[:, list(order)]
    write_volume(tmp_path / "mask.nii", Volume(array.transpose(order), affine))
    mask = read_mask(tmp_path / "mask.nii", like=image)
    np.testing.assert_array_equal(mask.array, image.array)
    np.testing.assert_array_equal(mask.affine, image.affine)


coordinate = st.floats(-300, 300)
spacing = st.floats(0.2, 8)
angle = st.floats(-180, 180)
lean = st.floats(-0.5, 0.5)


@st.composite
def affines(draw: st.DrawFn, *, sheared: bool = True) -> np.ndarray:
    """Any spacing, rotation, reflection and origin, with or without shear."""
    shear = np.eye(3)
    if sheared:
        shear[0, 1], shear[0, 2], shear[1, 2] = draw(lean), draw(lean), draw(lean)
    affine = np.eye(4)
    scales = np.diag([draw(spacing) * draw(st.sampled_from([1, -1])) for _ in range(3)])
    affine[:3, :3] = rotation((draw(angle), draw(angle), draw(angle))) @ shear @ scales
    affine[:3, 3] = [draw(coordinate) for _ in range(3)]
    return affine


@given(affine=affines())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_affine_survives_a_round_trip(tmp_path: Path, affine: np.ndarray):
    volume = Volume(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), affine)
    for name, tolerance_mm in (("a.nii", 2e-4), ("a.nrrd", 1e-9)):
        write_volume(tmp_path / name, volume)
        read = read_volume(tmp_path / name)
        assert corner_distance(read.affine, affine, SHAPE) < tolerance_mm
        np.testing.assert_array_equal(read.array, volume.array)
        assert read.source["warnings"] == []


@given(affine=affines(sheared=False))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rigid_affine_survives_metaimage(tmp_path: Path, affine: np.ndarray):
    volume = Volume(np.ones(SHAPE, np.uint8), affine)
    write_volume(tmp_path / "a.mha", volume)
    assert corner_distance(read_volume(tmp_path / "a.mha").affine, affine, SHAPE) < 1e-9
    np.testing.assert_allclose(orthonormalised(affine), affine, atol=1e-9)


@given(affine=affines(), index=st.tuples(*(st.floats(-2, 8) for _ in range(3))))
def test_index_and_world_are_inverse_for_any_affine(affine: np.ndarray, index: tuple[float, float, float]):
    volume = Volume(np.zeros(SHAPE), affine)
    np.testing.assert_allclose(volume.world_to_index(volume.index_to_world(index)), index, atol=1e-8)
    assert volume.voxel_volume == pytest.approx(abs(np.linalg.det(affine[:3, :3])))
    assert sorted(volume.orientation.translate(str.maketrans("LPI", "RAS"))) == sorted("RAS+")


@given(affine=affines(), start=st.tuples(*(st.integers(0, 2) for _ in range(3))))
def test_a_crop_moves_no_voxel_for_any_affine(affine: np.ndarray, start: tuple[int, int, int]):
    volume = Volume(np.arange(np.prod(SHAPE)).reshape(SHAPE), affine)
    crop = volume.crop(Box(start, SHAPE))
    index = np.array([1, 1, 1])
    np.testing.assert_allclose(crop.index_to_world(index), volume.index_to_world(index + start), atol=1e-9)
    assert crop.array[1, 1, 1] == volume.array[tuple(index + start)]


@given(affine=affines())
def test_sampling_on_a_permuted_grid_moves_no_voxel(affine: np.ndarray):
    volume = Volume(np.arange(np.prod(SHAPE)).reshape(SHAPE), affine)
    turned = np.eye(4)[:, [2, 0, 1, 3]]
    grid = Volume(np.zeros((SHAPE[2], SHAPE[0], SHAPE[1])), affine @ turned)
    np.testing.assert_array_equal(volume.sampled_on(grid).array, volume.array.transpose(2, 0, 1))


@given(affine=affines(), shift=st.floats(0.11, 0.99))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_shifted_mask_is_never_taken_in_silence(tmp_path: Path, affine: np.ndarray, shift: float):
    image = Volume(np.zeros(SHAPE, np.int16), affine)
    moved = affine.copy()
    moved[0, 3] += shift * min(image.spacing)
    write_volume(tmp_path / "mask.nrrd", Volume(np.ones(SHAPE, np.uint8), moved))
    with pytest.raises(GeometryError, match="mm off its image"):
        read_mask(tmp_path / "mask.nrrd", like=image)
