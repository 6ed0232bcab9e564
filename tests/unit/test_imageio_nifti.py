"""NIfTI: which transform counts, what is refused, what a written mask carries."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg_rl.errors import GeometryError, InputFileError, OutputError
from medseg_rl.imageio import read_mask, read_volume, write_mask, write_volume
from medseg_rl.imageio.nifti import TRANSFORM_FIELDS
from medseg_rl.imageio.nifti_transforms import forms_agree
from medseg_rl.volume import Box, Volume

SHAPE = (4, 5, 6)
OBLIQUE = np.array([[-0.8, 0.1, 0.5, 12], [0.2, 1.4, -0.3, -7], [0.1, 0.2, 2.9, 30], [0, 0, 0, 1]])


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """Rotation matrix by Rodrigues' formula."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def rigid(degrees: float = 20.0, spacing: tuple[float, float, float] = (0.8, 1.4, 2.9)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation((1, 2, 3), degrees) * spacing
    affine[:3, 3] = [12, -7, 30]
    return affine


def nifti_file(
    path: Path,
    *,
    sform: np.ndarray | None = None,
    qform: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 1),
    array: np.ndarray | None = None,
    fields: dict[str, object] | None = None,
) -> Path:
    """A NIfTI-1 file with exactly these transforms; `fields` are set in the header last."""
    array = np.arange(120, dtype=np.int16).reshape(SHAPE) if array is None else array
    header = nib.Nifti1Header()
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header.set_qform(np.diag([1.0, 1, 1, 1]) if qform is None else qform, code=codes[1] if qform is not None else 0)
    header.set_sform(np.eye(4) if sform is None else sform, code=codes[0] if sform is not None else 0)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    for name, value in (fields or {}).items():
        header[name] = value
    data = header.binaryblock + bytes(4) + array.tobytes(order="F")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_an_sform_with_a_zero_axis_beside_a_good_qform_is_refused_without_noise(tmp_path):
    flat = rigid()
    flat[:3, 1] = 0
    with pytest.raises(GeometryError, match="zero or undefined spacing"):
        read_volume(nifti_file(tmp_path / "a.nii", sform=flat, qform=rigid()))


def test_the_sform_counts_where_both_are_set_and_the_same(tmp_path):
    volume = read_volume(nifti_file(tmp_path / "a.nii", sform=rigid(), qform=rigid()))
    np.testing.assert_allclose(volume.affine, rigid(), atol=1e-5)
    assert volume.source["form"] == "sform"
    assert volume.source["warnings"] == []


def test_the_qform_counts_where_the_sform_is_not_set(tmp_path):
    volume = read_volume(nifti_file(tmp_path / "a.nii", qform=rigid()))
    np.testing.assert_allclose(volume.affine, rigid(), atol=1e-5)
    assert volume.source["form"] == "qform"


def test_without_transforms_only_the_spacing_is_known_and_it_says_so(tmp_path):
    volume = read_volume(nifti_file(tmp_path / "a.nii", fields={"pixdim": [1, 0.5, 2, 3, 0, 0, 0, 0]}))
    np.testing.assert_allclose(volume.affine, np.diag([0.5, 2, 3, 1]))
    assert "left and right" in volume.source["warnings"][0]


def test_disagreeing_transforms_are_reported_in_millimetres_and_can_be_chosen(tmp_path):
    moved = rigid()
    moved[0, 3] += 5
    path = nifti_file(tmp_path / "a.nii", sform=rigid(), qform=moved)
    assert "5 mm" in read_volume(path).source["warnings"][0]
    assert read_volume(path, prefer="qform").affine[0, 3] == pytest.approx(17)
    assert read_volume(path, prefer="sform").source["warnings"] == []


def test_a_transform_that_is_not_set_cannot_be_preferred(tmp_path):
    with pytest.raises(GeometryError, match="has no qform"):
        read_volume(nifti_file(tmp_path / "a.nii", sform=rigid()), prefer="qform")


@pytest.mark.parametrize("degrees", [0, 1e-3, 30, 90, 179, 179.9, 179.99, 179.999, 180])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 0, 1), (1, 2, 3), (-1, 1, 0.01)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_correct_files_agree_however_they_are_turned(degrees, axis, mirrored):
    affine = np.eye(4)
    affine[:3, :3] = rotation(axis, degrees) * (0.7, 0.7, -5.0 if mirrored else 5.0)
    affine[:3, 3] = [-120, 240, 33]
    header = nib.Nifti1Header()
    header.set_qform(affine, code=1)
    header.set_sform(header.get_qform(), code=1)  # as most programs write it: one from the other, in float32
    assert forms_agree(header)
    header.set_sform(affine, code=1)
    assert forms_agree(header)


@pytest.mark.parametrize("wrong", ["rotation", "spacing", "offset", "mirror"])
def test_each_part_of_a_transform_can_disagree(wrong):
    affine, other = rigid(), rigid()
    if wrong == "rotation":
        other = rigid(20.01)
    elif wrong == "spacing":
        other[:3, 0] *= 1.0001
    elif wrong == "offset":
        other[1, 3] += 0.01
    else:
        other[:3, 0] *= -1
    header = nib.Nifti1Header()
    header.set_qform(affine, code=1)
    header.set_sform(other, code=1)
    assert not forms_agree(header)


def test_shear_is_kept(tmp_path):
    volume = read_volume(nifti_file(tmp_path / "a.nii", sform=OBLIQUE))
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-6)
    assert volume.is_sheared


@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001)])
def test_lengths_leave_the_reader_in_millimetres(tmp_path, unit, factor):
    volume = read_volume(nifti_file(tmp_path / "a.nii", sform=rigid(), fields={"xyzt_units": unit}))
    np.testing.assert_allclose(volume.affine[:3], rigid()[:3] * factor, atol=1e-4 * factor)
    assert len(volume.source["warnings"]) == (factor != 1)


def test_a_time_point_must_be_chosen_and_exist(tmp_path):
    array = np.stack([np.full(SHAPE, t, np.int16) for t in range(3)], axis=-1)
    path = nifti_file(tmp_path / "a.nii.gz", sform=rigid(), array=array)
    with pytest.raises(InputFileError, match="3 volumes over time; choose a time point from 0 to 2"):
        read_volume(path)
    with pytest.raises(InputFileError, match="no time point 3"):
        read_volume(path, time_point=3)
    volume = read_volume(path, time_point=2)
    assert volume.shape == SHAPE
    assert (volume.array == 2).all()


def test_a_fourth_axis_of_one_is_a_volume(tmp_path):
    volume = read_volume(nifti_file(tmp_path / "a.nii", sform=rigid(), array=np.ones((*SHAPE, 1), np.uint8)))
    assert volume.shape == SHAPE


def test_vectors_and_colours_are_refused(tmp_path):
    vector = np.ones((*SHAPE, 1, 3), np.float32)
    with pytest.raises(InputFileError, match="3 components"):
        read_volume(nifti_file(tmp_path / "a.nii", sform=rigid(), array=vector))
    colours = np.ones(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputFileError, match="colours"):
        read_volume(nifti_file(tmp_path / "b.nii", sform=rigid(), array=colours))
    with pytest.raises(InputFileError, match="complex64"):
        read_volume(nifti_file(tmp_path / "c.nii", sform=rigid(), array=np.ones(SHAPE, np.complex64)))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (1, 5, 6)])
def test_a_single_slice_is_no_volume(tmp_path, shape):
    with pytest.raises(GeometryError, match="single slice"):
        read_volume(nifti_file(tmp_path / "a.nii", sform=rigid(), array=np.ones(shape, np.uint8)))


@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan])
def test_an_impossible_spacing_is_refused(tmp_path, spacing):
    path = nifti_file(tmp_path / "a.nii", qform=rigid(), fields={"pixdim": [1, spacing, 1, 1, 0, 0, 0, 0]})
    with pytest.raises(GeometryError, match="spacing is"):
        read_volume(path)


def test_a_sound_sform_can_be_preferred_over_a_broken_spacing(tmp_path):
    path = nifti_file(tmp_path / "a.nii", sform=rigid(), fields={"pixdim": [1, 0, 1, 1, 0, 0, 0, 0]})
    with pytest.raises(GeometryError, match="prefer the sform"):
        read_volume(path)
    assert read_volume(path, prefer="sform").spacing == pytest.approx((0.8, 1.4, 2.9))


@pytest.mark.parametrize("row", [[0, 0, 0, 0], [np.nan, 0, 0, 0], [-0.8, 0.1, np.inf, 12]])
def test_an_impossible_sform_is_refused(tmp_path, row):
    with pytest.raises(GeometryError, match=r"a\.nii"):
        read_volume(nifti_file(tmp_path / "a.nii", sform=OBLIQUE, fields={"srow_x": row, "srow_y": row}))


def test_an_impossible_qform_beside_a_sound_sform_is_only_reported(tmp_path):
    volume = read_volume(nifti_file(tmp_path / "a.nii", sform=rigid(), qform=rigid(), fields={"quatern_b": 5.0}))
    np.testing.assert_allclose(volume.affine, rigid(), atol=1e-5)
    assert volume.source["warnings"] == ["the qform is impossible; the sform is used"]


def test_an_impossible_quaternion_is_refused(tmp_path):
    with pytest.raises(GeometryError, match="impossible qform"):
        read_volume(nifti_file(tmp_path / "a.nii", qform=rigid(), fields={"quatern_b": 5.0}))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_cut_off_file_is_refused_wherever_it_ends(tmp_path, suffix):
    whole = nifti_file(tmp_path / f"a{suffix}", sform=rigid()).read_bytes()
    for size in (0, 1, 3, 20, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        path = tmp_path / f"part{suffix}"
        path.write_bytes(whole[:size])
        with pytest.raises(InputFileError, match="get the file again"):
            read_volume(path)


def test_damage_inside_a_compressed_file_is_noticed(tmp_path):
    path = nifti_file(tmp_path / "a.nii.gz", sform=rigid())
    damaged = bytearray(path.read_bytes())
    damaged[-6] ^= 0xFF  # in the checksum, so every voxel can be unpacked
    path.write_bytes(damaged)
    with pytest.raises(InputFileError, match="damaged"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path, suffix):
    path = nifti_file(tmp_path / f"a{suffix}", sform=rigid(), fields={"dim": [3, 32000, 32000, 32000, 1, 1, 1, 1]})
    with pytest.raises(InputFileError, match="32000 x 32000 x 32000 voxels need"):
        read_volume(path)


@pytest.mark.parametrize("dim", [[0, 4, 5, 6, 1, 1, 1, 1], [3, 4, -5, 6, 1, 1, 1, 1], [9, 4, 5, 6, 1, 1, 1, 1]])
def test_impossible_dimensions_are_refused(tmp_path, dim):
    with pytest.raises((InputFileError, GeometryError), match=r"a\.nii"):
        read_volume(nifti_file(tmp_path / "a.nii", sform=rigid(), fields={"dim": dim}))


def test_other_relatives_of_nifti_are_named(tmp_path):
    analyze = nifti_file(tmp_path / "a.nii", sform=rigid(), fields={"magic": b""})
    with pytest.raises(InputFileError, match="Analyze"):
        read_volume(analyze)
    pair = nifti_file(tmp_path / "b.nii", sform=rigid(), fields={"magic": b"ni1"})
    with pytest.raises(InputFileError, match="two files"):
        read_volume(pair)


def test_the_content_counts_and_not_the_ending(tmp_path):
    compressed = nifti_file(tmp_path / "a.nii.gz", sform=rigid())
    renamed = compressed.rename(tmp_path / "image")
    assert read_volume(renamed).shape == SHAPE


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am no image", bytes(1000), b"\x1f\x8bbroken", b"\x89PNG\r\n\x1a\n"]
)
def test_rubbish_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=r"a\.nii\.gz") as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputFileError, match="there is no file"):
        read_volume(tmp_path / "absent.nii")


def test_integers_stay_integers_and_scaled_values_become_float32(tmp_path):
    assert read_volume(nifti_file(tmp_path / "a.nii", sform=rigid())).array.dtype == np.int16
    scaled = nifti_file(tmp_path / "b.nii", sform=rigid(), fields={"scl_slope": 2.0, "scl_inter": -10.0})
    volume = read_volume(scaled)
    assert volume.array.dtype == np.float32
    assert volume.array[0, 0, 3] == -4
    doubles = nifti_file(tmp_path / "c.nii", sform=rigid(), array=np.ones(SHAPE, np.float64))
    assert read_volume(doubles).array.dtype == np.float32
    unset = nifti_file(tmp_path / "d.nii", sform=rigid(), fields={"scl_slope": 0.0, "scl_inter": 5.0})
    assert read_volume(unset).array[0, 0, 3] == 3  # a slope of 0 means no scaling


def test_files_of_the_other_byte_order_are_read(tmp_path):
    image = nib.Nifti1Image(np.arange(120, dtype=">i2").reshape(SHAPE), rigid(), nib.Nifti1Header(endianness=">"))
    image.to_filename(tmp_path / "a.nii")
    assert struct.unpack(">i", (tmp_path / "a.nii").read_bytes()[:4]) == (348,)
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.array, np.arange(120).reshape(SHAPE))
    assert volume.array.dtype.isnative


def test_voxels_that_are_no_numbers_are_counted_and_replaced_only_on_demand(tmp_path):
    array = np.zeros(SHAPE, np.float32)
    array[0, 0, :2], array[1, 1, 1] = np.nan, np.inf
    path = nifti_file(tmp_path / "a.nii", sform=rigid(), array=array)
    with pytest.raises(InputFileError, match="2 NaN and 1 infinite voxels of 120"):
        read_volume(path)
    volume = read_volume(path, replace_nonfinite=-7)
    assert volume.array[0, 0, 0] == volume.array[1, 1, 1] == -7
    assert "replaced by -7" in volume.source["warnings"][-1]
    with pytest.raises(InputFileError, match="is no mask"):
        read_mask(path)


def test_doubles_beyond_float32_count_as_infinite(tmp_path):
    path = nifti_file(tmp_path / "a.nii", sform=rigid(), array=np.full(SHAPE, 1e300))
    with pytest.raises(InputFileError, match="120 infinite"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_mask_carries_both_transforms_and_codes_of_its_image(tmp_path, suffix):
    moved = rigid()
    moved[0, 3] += 5
    path = nifti_file(tmp_path / "a.nii.gz", sform=OBLIQUE, qform=moved, codes=(3, 4), fields={"xyzt_units": 10})
    image = read_volume(path)
    out = tmp_path / f"mask{suffix}"
    write_mask(out, image.with_array(image.array > 60), like=image)
    wanted, written = nib.load(path).header, nib.load(out).header
    for name in TRANSFORM_FIELDS:
        np.testing.assert_array_equal(written[name], wanted[name], err_msg=name)
    np.testing.assert_array_equal(written["pixdim"][:4], wanted["pixdim"][:4])
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(read_mask(out, like=image).array, image.array > 60)


def test_a_mask_of_an_image_in_micrometres_lies_on_it(tmp_path):
    image = read_volume(nifti_file(tmp_path / "a.nii", sform=rigid(), fields={"xyzt_units": 3}))
    write_mask(tmp_path / "mask.nii", image.with_array(image.array % 3), like=image)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii", like=image).affine, image.affine)


def test_a_mask_of_a_crop_does_not_take_the_transforms_of_the_whole(tmp_path):
    image = read_volume(nifti_file(tmp_path / "a.nii", sform=rigid(), qform=rigid(), codes=(2, 2)))
    crop = image.crop(Box((1, 1, 1), (4, 4, 4)))
    write_mask(tmp_path / "mask.nii", crop.with_array(crop.array % 2), like=crop)
    np.testing.assert_allclose(read_mask(tmp_path / "mask.nii").affine, crop.affine, atol=1e-5)


def test_a_mask_of_another_source_gets_equal_transforms_with_code_1(tmp_path):
    image = Volume(np.zeros(SHAPE, np.int16), rigid())
    write_mask(tmp_path / "mask.nii", image, like=image)
    header = nib.load(tmp_path / "mask.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), rigid(), atol=1e-5)
    assert forms_agree(header)


def test_a_sheared_grid_of_another_source_gets_no_qform(tmp_path):
    image = Volume(np.zeros(SHAPE, np.int16), OBLIQUE)
    write_mask(tmp_path / "mask.nii", image, like=image)
    header = nib.load(tmp_path / "mask.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(read_mask(tmp_path / "mask.nii").affine, OBLIQUE, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, 1], np.uint8), ([0, 255], np.int16), ([0, 40000], np.uint16), ([0, -1], np.int32), ([0, 7], np.int64)],
)
def test_label_values_are_never_renumbered(tmp_path, values, dtype):
    image = read_volume(nifti_file(tmp_path / "a.nii", sform=rigid()))
    labels = np.random.default_rng(0).choice(np.array(values, dtype), SHAPE)
    write_mask(tmp_path / "mask.nii.gz", image.with_array(labels), like=image)
    read = read_mask(tmp_path / "mask.nii.gz", like=image).array
    assert read.dtype.kind in "ui"
    np.testing.assert_array_equal(read, labels)


def test_a_file_of_version_2_stays_one(tmp_path):
    nib.Nifti2Image(np.ones(SHAPE, np.int16), rigid()).to_filename(tmp_path / "a.nii")
    image = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.affine, rigid())  # float64, so exact
    write_mask(tmp_path / "mask.nii", image, like=image)
    assert isinstance(nib.load(tmp_path / "mask.nii"), nib.Nifti2Image)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii").affine, rigid())


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.float16, np.float32, np.float64])
def test_any_image_can_be_written_and_read_again(tmp_path, dtype):
    image = Volume((np.arange(120).reshape(SHAPE) % 2).astype(dtype), rigid())
    write_volume(tmp_path / "a.nii.gz", image)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, image.array)


def test_a_mask_of_another_grid_or_of_real_numbers_is_not_written(tmp_path):
    image = Volume(np.zeros(SHAPE, np.int16), rigid())
    other = Volume(np.zeros(SHAPE, np.int16), rigid(40))
    with pytest.raises(GeometryError, match="resample the mask first"):
        write_mask(tmp_path / "mask.nii", other, like=image)
    with pytest.raises(ValueError, match="float32"):
        write_mask(tmp_path / "mask.nii", Volume(np.zeros(SHAPE, np.float32), rigid()), like=image)


@pytest.mark.parametrize("name", ["mask.gipl", "mask.png", "mask", ".nii.gz"])
def test_an_ending_that_is_none_of_ours_is_refused(tmp_path, name):
    image = Volume(np.zeros(SHAPE, np.int16), rigid())
    with pytest.raises(OutputError, match=r"cannot write .*nrrd"):
        write_mask(tmp_path / name, image, like=image)


def test_a_full_disk_keeps_the_mask_from_before(tmp_path, monkeypatch):
    image = Volume(np.zeros(SHAPE, np.uint8), rigid())
    write_mask(tmp_path / "mask.nii.gz", image, like=image)
    before = (tmp_path / "mask.nii.gz").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib.Nifti1Image, "to_filename", full)
    with pytest.raises(OutputError, match="full"):
        write_mask(tmp_path / "mask.nii.gz", image.with_array(image.array + 1), like=image)
    assert (tmp_path / "mask.nii.gz").read_bytes() == before


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_part_of_the_slices_is_read_where_it_lies(tmp_path: Path, ending: str) -> None:
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    write_volume(tmp_path / f"a{ending}", Volume(array, np.diag([-1.0, 2.0, 3.0, 1.0])))
    whole = read_volume(tmp_path / f"a{ending}")
    part = read_volume(tmp_path / f"a{ending}", slices=(2, 5))
    np.testing.assert_array_equal(part.array, array[:, :, 2:5])
    np.testing.assert_allclose(part.affine, whole.crop(Box((0, 0, 2), (4, 5, 5))).affine)
    with pytest.raises(InputFileError, match="no range"):
        read_volume(tmp_path / f"a{ending}", slices=(4, 7))
