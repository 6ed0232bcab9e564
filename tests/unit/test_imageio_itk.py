"""NRRD, MetaImage and GIPL: geometry, shear, components, and files that are not what they promise."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg_rl.errors import GeometryError, InputFileError, OutputError
from medseg_rl.imageio import read_mask, read_volume, write_mask, write_volume
from medseg_rl.imageio.itk import orthonormalised
from medseg_rl.volume import Volume

SHAPE = (4, 5, 6)
SHEARED = np.array([[-0.8, 0.1, 0.5, 12], [0.2, 1.4, -0.3, -7], [0.1, 0.2, 2.9, 30], [0, 0, 0, 1]])
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ARRAY = np.arange(120, dtype=np.int16).reshape(SHAPE)


def nrrd_file(path: Path, **changes: str | None) -> Path:
    """A raw NRRD file of ARRAY; `changes` replace, add or (None) drop header lines, with _ for a blank."""
    fields: dict[str, str | None] = {
        "type": "short",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": "4 5 6",
        "space directions": "(1,0,0) (0,2,0) (0,0,3)",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(10,20,30)",
    }
    fields |= {name.replace("_", " "): value for name, value in changes.items()}
    lines = ["NRRD0004", *(f"{name}: {value}" for name, value in fields.items() if value is not None), "", ""]
    path.write_bytes("\n".join(lines).encode() + ARRAY.tobytes(order="F"))
    return path


def gipl_file(path: Path, spacing: tuple[float, float, float] = (1.0, 2.0, 3.0), depth: int = 6) -> Path:
    """A GIPL file as ITK writes it."""
    image = sitk.GetImageFromArray(ARRAY.transpose(2, 1, 0)[:depth])
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


def test_nrrd_directions_and_origin_are_lps(tmp_path):
    volume = read_volume(nrrd_file(tmp_path / "a.nrrd"))
    np.testing.assert_allclose(
        volume.affine, LPS @ np.diag([1, 2, 3, 1]) + [[0, 0, 0, -10], [0, 0, 0, -20], [0] * 3 + [30], [0] * 4]
    )
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.source["warnings"] == []


@pytest.mark.parametrize(
    ("space", "signs"),
    [("left-posterior-superior", (-1, -1)), ("right-anterior-superior", (1, 1)), ("LAS", (-1, 1))],
)
def test_each_patient_space_of_nrrd_comes_out_as_ras(tmp_path, space, signs):
    volume = read_volume(nrrd_file(tmp_path / "a.nrrd", space=space))
    np.testing.assert_allclose(volume.index_to_world([1, 1, 1]), [11 * signs[0], 22 * signs[1], 33])


def test_nrrd_without_a_patient_space_says_that_sides_are_unknown(tmp_path):
    path = nrrd_file(tmp_path / "a.nrrd", space=None, space_directions=None, space_origin=None, spacings="1 2 3")
    volume = read_volume(path)
    assert volume.spacing == (1, 2, 3)
    assert "patient space" in volume.source["warnings"][0]


def test_nrrd_keeps_shear(tmp_path):
    volume = read_volume(nrrd_file(tmp_path / "a.nrrd", space_directions="(1,0,0) (0,2,0) (0.5,0,3)"))
    np.testing.assert_allclose(volume.affine[:3, 2], [-0.5, 0, 3])
    assert volume.is_sheared


def test_components_and_layers_of_nrrd_are_refused(tmp_path):
    vector = {"dimension": "4", "sizes": "2 2 5 6", "kinds": "vector domain domain domain"}
    vector["space_directions"] = "none (1,0,0) (0,2,0) (0,0,3)"
    with pytest.raises(InputFileError, match="2 components"):
        read_volume(nrrd_file(tmp_path / "a.nrrd", **vector))
    vector["kinds"] = "list domain domain domain"
    path = nrrd_file(tmp_path / "b.seg.nrrd", **vector, Segment0_ID="=x")
    path.write_bytes(path.read_bytes().replace(b"Segment0 ID: =x", b"Segment0_ID:=x"))
    with pytest.raises(InputFileError, match=r"overlapping segments in 2 layers.*read it as a segmentation"):
        read_volume(path)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"sizes": "4 5 7"}, InputFileError, "cut off"),
        ({"sizes": "40000 40000 40000"}, InputFileError, "need 128000000000215 bytes"),
        ({"sizes": "4 5"}, InputFileError, "damaged"),
        ({"sizes": "-4 5 6"}, InputFileError, "damaged"),
        ({"type": "quaternion"}, InputFileError, "damaged"),
        ({"sizes": "20 6 1"}, GeometryError, "single slice"),
        ({"space_directions": "(0,0,0) (0,2,0) (0,0,3)"}, GeometryError, "spacing is 0 x 2 x 3"),
        ({"space_directions": "(1,0,0) (1,0,0) (0,0,3)"}, GeometryError, "same way"),
        ({"encoding": "zstd"}, InputFileError, "cannot be read as NRRD"),
        ({"data_file": "elsewhere.raw"}, InputFileError, "elsewhere.raw, which is missing"),
    ],
)
def test_a_wrong_nrrd_header_is_refused_in_one_line(tmp_path, capfd, changes, error, said):
    with pytest.raises(error, match=said) as caught:
        read_volume(nrrd_file(tmp_path / "a.nrrd", **changes))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_nrrd_with_a_data_file_beside_it(tmp_path):
    (tmp_path / "a.raw").write_bytes(ARRAY.tobytes(order="F"))
    np.testing.assert_array_equal(read_volume(nrrd_file(tmp_path / "a.nhdr", data_file="a.raw")).array, ARRAY)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64])
def test_what_is_written_is_what_simpleitk_reads(tmp_path, name, dtype):
    affine = orthonormalised(SHEARED)
    volume = Volume(ARRAY.astype(dtype), affine)
    write_volume(tmp_path / name, volume)
    image = sitk.ReadImage(str(tmp_path / name))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), ARRAY)
    for index in [(0, 0, 0), (3, 0, 0), (0, 4, 0), (3, 4, 5)]:
        world = LPS[:3, :3] @ image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(world, volume.index_to_world(index), atol=1e-9)
    np.testing.assert_allclose(read_volume(tmp_path / name).affine, affine, atol=1e-12)


def test_a_mask_keeps_its_values_through_nrrd(tmp_path):
    image = Volume(ARRAY, SHEARED)
    labels = image.with_array((ARRAY % 3 * 40).astype(np.uint16))
    write_mask(tmp_path / "mask.nrrd", labels, like=image)
    mask = read_mask(tmp_path / "mask.nrrd", like=image)
    np.testing.assert_array_equal(mask.array, labels.array)
    np.testing.assert_allclose(mask.affine, SHEARED)


@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
def test_shear_is_not_written_to_metaimage_and_the_shift_is_named(tmp_path, name):
    with pytest.raises(OutputError, match=r"move a corner by .* mm"):
        write_volume(tmp_path / name, Volume(ARRAY, SHEARED))
    assert list(tmp_path.iterdir()) == []


def test_the_orthonormal_axes_are_the_nearest_and_keep_the_spacing():
    affine = orthonormalised(SHEARED)
    volume = Volume(ARRAY, affine)
    assert volume.shear_degrees < 1e-6
    assert volume.spacing == pytest.approx(Volume(ARRAY, SHEARED).spacing)
    np.testing.assert_allclose(orthonormalised(affine), affine, atol=1e-12)


def test_a_cut_off_or_damaged_metaimage_is_refused_without_noise(tmp_path, capfd):
    write_volume(tmp_path / "a.mha", Volume(ARRAY, np.eye(4)))
    whole = (tmp_path / "a.mha").read_bytes()
    for size in (10, 300, len(whole) - 60, len(whole) - 1):
        (tmp_path / "part.mha").write_bytes(whole[:size])
        with pytest.raises(InputFileError, match=r"part\.mha"):
            read_volume(tmp_path / "part.mha")
    damaged = bytearray(whole)
    damaged[-30] ^= 0xFF
    (tmp_path / "part.mha").write_bytes(damaged)
    with pytest.raises(InputFileError, match="damaged"):
        read_volume(tmp_path / "part.mha")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ("DimSize = 4 5 6", "DimSize = 4 5 7", InputFileError, "cut off"),
        ("DimSize = 4 5 6", "DimSize = 40000 40000 40000", InputFileError, "need"),
        ("DimSize = 4 5 6", "DimSize = 120 1 1", GeometryError, "single slice"),
        ("ElementSpacing = 1 1 1", "ElementSpacing = 1 0 1", GeometryError, "spacing is 1 x 0 x 1"),
        ("ElementSpacing = 1 1 1", "ElementSpacing = -1 1 1", GeometryError, "spacing is -1 x 1 x 1"),
        ("NDims = 3", "NDims = 3\nElementNumberOfChannels = 3", InputFileError, "cut off"),
        ("ElementDataFile = a.raw", "ElementDataFile = b.raw", InputFileError, "b.raw, which is missing"),
        ("ElementDataFile = a.raw", "ElementDataFile = LIST", InputFileError, "several files"),
        ("MET_SHORT", "MET_STRANGE", InputFileError, "damaged"),
    ],
)
def test_a_wrong_metaimage_header_is_refused(tmp_path, capfd, old, new, error, said):
    write_volume(tmp_path / "a.mhd", Volume(ARRAY, np.eye(4)))
    text = (tmp_path / "a.mhd").read_text()
    assert old in text
    (tmp_path / "a.mhd").write_text(text.replace(old, new))
    with pytest.raises(error, match=said):
        read_volume(tmp_path / "a.mhd")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".gipl", ".gipl.gz"])
def test_gipl_says_that_it_knows_no_orientation(tmp_path, suffix):
    volume = read_volume(gipl_file(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.spacing == (1, 2, 3)
    assert "no orientation" in volume.source["warnings"][0]


def test_a_cut_off_gipl_file_is_refused_though_itk_would_take_it(tmp_path):
    whole = gipl_file(tmp_path / "a.gipl").read_bytes()
    (tmp_path / "part.gipl").write_bytes(whole[:-10])
    with pytest.raises(InputFileError, match="cut off"):
        read_volume(tmp_path / "part.gipl")
    (tmp_path / "part.gipl.gz").write_bytes(gzip.compress(whole[:-10]))
    with pytest.raises(InputFileError, match="cut off"):
        read_volume(tmp_path / "part.gipl.gz")


def test_impossible_gipl_headers_are_refused(tmp_path):
    whole = bytearray(gipl_file(tmp_path / "a.gipl").read_bytes())
    zero = whole.copy()
    zero[10:14] = struct.pack(">f", 0)
    (tmp_path / "zero.gipl").write_bytes(zero)
    with pytest.raises(GeometryError, match="spacing is 0 x 2 x 3"):
        read_volume(tmp_path / "zero.gipl")
    huge = whole.copy()
    huge[0:6] = struct.pack(">3H", 60000, 60000, 60000)
    (tmp_path / "huge.gipl").write_bytes(huge)
    with pytest.raises(InputFileError, match="cut off, or its header is wrong"):
        read_volume(tmp_path / "huge.gipl")


def test_choices_of_nifti_mean_nothing_elsewhere(tmp_path):
    path = nrrd_file(tmp_path / "a.nrrd")
    with pytest.raises(InputFileError, match="time point"):
        read_volume(path, time_point=0)
    with pytest.raises(InputFileError, match="sform"):
        read_volume(path, prefer="sform")


def test_a_wrong_ending_does_not_matter(tmp_path):
    path = nrrd_file(tmp_path / "a.mha")
    np.testing.assert_array_equal(read_volume(path).array, ARRAY)
