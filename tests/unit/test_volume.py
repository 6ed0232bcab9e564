"""Boxes, volumes, and the way from voxels to millimetres and back."""

from __future__ import annotations

import numpy as np
import pytest

from medseg_rl.errors import GeometryError
from medseg_rl.volume import Box, Volume, box_overlap, content_hash, corner_distance, corner_indices


def a_volume(shape: tuple[int, int, int] = (4, 5, 6), spacing: tuple[float, float, float] = (1.0, 2.0, 3.0)) -> Volume:
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [10, 20, 30]
    return Volume(array, affine)


def test_index_and_world_are_inverse():
    volume = a_volume()
    indices = np.array([[0, 0, 0], [1.5, 2.25, 3]])
    np.testing.assert_allclose(volume.index_to_world(indices), [[10, 20, 30], [11.5, 24.5, 39]])
    np.testing.assert_allclose(volume.world_to_index(volume.index_to_world(indices)), indices)


def test_spacing_volume_and_orientation_come_from_the_affine():
    affine = np.array([[0, 0, -2.0, 5], [0.5, 0, 0, 6], [0, -4, 0, 7], [0, 0, 0, 1]])
    volume = Volume(np.zeros((2, 3, 4)), affine)
    assert volume.spacing == (0.5, 4.0, 2.0)
    assert volume.voxel_volume == pytest.approx(4.0)
    assert volume.orientation == "AIL+"
    assert not volume.is_sheared


def test_shear_is_measured_in_degrees():
    affine = np.eye(4)
    affine[0, 2] = np.tan(np.radians(10))
    volume = Volume(np.zeros((2, 2, 2)), affine)
    assert volume.shear_degrees == pytest.approx(10)
    assert volume.is_sheared
    assert volume.voxel_volume == pytest.approx(1)  # a shear keeps the volume, the product of the spacings does not


@pytest.mark.parametrize(
    ("affine", "said"),
    [
        (np.diag([1.0, 0, 1, 1]), "zero spacing"),
        (np.full((4, 4), np.nan), "finite"),
        (np.eye(3), "4 x 4"),
        (np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "parallel"),
    ],
)
def test_an_impossible_affine_is_refused(affine, said):
    with pytest.raises(GeometryError, match=said):
        Volume(np.zeros((2, 2, 2)), affine)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6, 7), (4, 0, 6)])
def test_an_array_that_is_no_volume_is_refused(shape):
    with pytest.raises(GeometryError, match="three axes"):
        Volume(np.zeros(shape), np.eye(4))


def test_the_affine_of_a_volume_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        a_volume().affine[0, 0] = 2


def test_another_array_must_have_the_shape_of_the_grid():
    with pytest.raises(GeometryError, match="resample"):
        a_volume().with_array(np.zeros((4, 5, 7)))


def test_a_crop_keeps_every_voxel_at_its_place():
    volume = a_volume()
    crop = volume.crop(Box((1, 2, 3), (3, 5, 6)))
    np.testing.assert_array_equal(crop.array, volume.array[1:3, 2:5, 3:6])
    np.testing.assert_allclose(crop.index_to_world([0, 0, 0]), volume.index_to_world([1, 2, 3]))


def test_box_around_a_mask_and_around_indices():
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 2, 3] = mask[3, 4, 3] = True
    assert Box.around_mask(mask) == Box((1, 2, 3), (4, 5, 4)) == Box.around_indices([[1, 2, 3], [3, 4, 3]])
    assert Box.around_mask(np.zeros((2, 2, 2), bool)) is None


def test_a_box_grows_in_millimetres_and_stops_at_the_array():
    box = Box((2, 2, 2), (3, 3, 3)).grown_mm(2.5, (1.0, 2.0, 5.0), (10, 10, 3))
    assert box == Box((0, 0, 1), (6, 5, 3))
    assert box.voxels == 6 * 5 * 2


def test_a_box_contains_its_start_and_not_its_stop():
    box = Box((1, 1, 1), (3, 3, 3))
    assert box.contains((1, 1, 1))
    assert not box.contains((3, 1, 1))
    assert box.union(Box((0, 2, 2), (2, 4, 3))) == Box((0, 1, 1), (3, 4, 3))


def test_corner_distance_is_that_of_the_worst_corner():
    turned = np.eye(4)
    turned[:2, :2] = [[0, -1], [1, 0]]
    assert corner_distance(np.eye(4), turned, (11, 1, 1)) == pytest.approx(10 * np.sqrt(2))
    assert corner_indices((2, 3, 4)).tolist()[-1] == [1, 2, 3]


def test_box_overlap_is_a_share_of_the_larger_box():
    whole, half = a_volume((4, 4, 4)), a_volume((4, 4, 2))
    assert box_overlap(whole, whole) == pytest.approx(1)
    assert box_overlap(whole, half) == box_overlap(half, whole) == pytest.approx(0.5)
    far = Volume(whole.array, whole.affine + np.eye(4, k=3) * 1000)
    assert box_overlap(whole, far) == 0


def test_sampling_on_its_own_grid_changes_nothing():
    volume = a_volume()
    np.testing.assert_array_equal(volume.sampled_on(volume).array, volume.array)


def test_sampling_takes_the_nearest_voxel_and_fills_outside():
    volume = a_volume((2, 2, 2), (2.0, 2.0, 2.0))
    finer = np.diag([1.0, 1.0, 1.0, 1.0])
    finer[:3, 3] = [9.6, 20.4, 29.6]
    sampled = volume.sampled_on(Volume(np.zeros((4, 2, 2)), finer), outside=-1).array
    np.testing.assert_array_equal(sampled[:, 0, 0], [0, 0, 4, 4])
    moved = finer.copy()
    moved[0, 3] = 100
    assert (volume.sampled_on(Volume(np.zeros((4, 2, 2)), moved), outside=-1).array == -1).all()


def test_the_content_hash_knows_voxels_type_and_place_but_not_memory_order():
    volume = a_volume()
    same = Volume(np.asfortranarray(volume.array).astype(">i2"), volume.affine * 1.0, "CT", {"file": "b"})
    assert content_hash(same) == content_hash(volume)
    changed = volume.array.copy()
    changed[3, 4, 5] += 1
    moved = volume.affine.copy()
    moved[0, 3] += 1e-9
    others = [volume.with_array(changed), volume.with_array(volume.array.astype(np.int32)), Volume(volume.array, moved)]
    assert len({content_hash(v) for v in (volume, *others)}) == 4


def test_minus_zero_in_an_affine_is_zero_for_the_content_hash():
    volume = a_volume()
    negative = volume.affine.copy()
    negative[0, 1] = -0.0
    assert content_hash(Volume(volume.array, negative)) == content_hash(volume)
