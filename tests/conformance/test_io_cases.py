"""Every real file of io_cases reads, or is refused, as its README and expected.json say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.imageio import describe, read_mask, read_volume, write_mask
from medseg_rl.volume import Volume

NIFTI_CASES = [
    ("ibsi_lung_ct", "image"),
    ("ibsi_lung_ct", "label"),
    ("sct_oblique_nifti", "image"),
    ("sct_oblique_nifti", "label"),
    ("itksnap", "MRIcrop-orig.nii.gz"),
    ("itksnap", "MRIcrop-seg.nii.gz"),
    ("spleen_ct", "image"),
    ("spleen_ct", "label"),
]
DICOM_CASES = [
    ("ibsi_lung_ct", "dicom"),
    ("dcmqi_seg", "dicom"),
    ("dcmqi_seg", "24x38x3", "dicom"),
    ("dcmqi_seg", "23x38x3", "dicom"),
    ("mr_oblique_dicom", "dicom"),
]


@pytest.fixture(scope="module")
def expected(io_cases: Path) -> dict[str, Any]:
    return json.loads((io_cases / "expected.json").read_text())


def at(expected: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    for key in keys:
        expected = expected[key]
    return expected


def assert_geometry(volume: Volume, facts: dict[str, Any]) -> None:
    assert list(volume.shape) == facts["shape"]
    np.testing.assert_allclose(volume.spacing, facts["spacing"], atol=1e-5)
    np.testing.assert_allclose(volume.affine, facts["affine_ras"], atol=1e-4)
    assert volume.orientation == facts["axes"] + "+"
    assert [volume.array.min(), volume.array.max()] == facts["range"]


def voxels(mask: Volume) -> dict[str, int]:
    values, counts = np.unique(mask.array, return_counts=True)
    return {str(v): int(n) for v, n in zip(values, counts, strict=True) if v}


@pytest.mark.parametrize("keys", NIFTI_CASES)
def test_nifti_files_read_as_expected(io_cases, expected, keys):
    facts = at(expected, keys)
    volume = read_volume(io_cases / facts["file"])
    assert_geometry(volume, facts)
    assert str(volume.array.dtype) == facts["dtype"]
    assert volume.source["warnings"] == []
    if "voxels" in facts:
        assert voxels(read_mask(io_cases / facts["file"])) == facts["voxels"]


@pytest.mark.parametrize("keys", NIFTI_CASES)
def test_a_mask_of_each_nifti_image_carries_its_transforms(io_cases, expected, tmp_path, keys):
    path = io_cases / at(expected, keys)["file"]
    image = read_volume(path)
    write_mask(tmp_path / "mask.nii.gz", image.with_array(image.array > image.array.mean()), like=image)
    wanted, written = nib.load(path).header, nib.load(tmp_path / "mask.nii.gz").header
    assert (wanted["sform_code"], wanted["qform_code"]) == (written["sform_code"], written["qform_code"])
    np.testing.assert_array_equal(wanted.get_sform(), written.get_sform())
    np.testing.assert_array_equal(wanted.get_qform(), written.get_qform())


@pytest.mark.parametrize("keys", NIFTI_CASES)
def test_simpleitk_puts_each_nifti_voxel_where_we_do(io_cases, expected, keys):
    path = io_cases / at(expected, keys)["file"]
    volume, image = read_volume(path), sitk.ReadImage(str(path))
    for corner in [(0, 0, 0), tuple(n - 1 for n in volume.shape), (volume.shape[0] - 1, 0, 1)]:
        world = np.array([-1, -1, 1]) * image.TransformIndexToPhysicalPoint(corner)
        np.testing.assert_allclose(world, volume.index_to_world(corner), atol=2e-3)
        assert image[corner] == volume.array[corner]


@pytest.mark.parametrize("keys", DICOM_CASES)
def test_dicom_series_read_as_expected(io_cases, expected, keys):
    facts = at(expected, keys)
    volume = read_volume(io_cases / facts["folder"])
    assert_geometry(volume, facts)
    assert volume.modality == facts["modality"]
    assert volume.source["warnings"] == []
    first = io_cases / facts["folder"] / facts["files_in_slice_order"][0]
    np.testing.assert_array_equal(read_volume(first).array, volume.array)


def test_the_ibsi_series_and_its_nifti_copy_are_the_same_volume(io_cases):
    series = read_volume(io_cases / "ibsi_lung_ct" / "dicom")
    copy = read_volume(io_cases / "ibsi_lung_ct" / "nifti" / "image.nii.gz")
    np.testing.assert_array_equal(series.array, copy.array)
    np.testing.assert_allclose(series.affine, copy.affine, atol=1e-4)
    assert read_mask(io_cases / "ibsi_lung_ct" / "nifti" / "mask.nii.gz", like=series).array.sum() == 125256


def test_changing_gaps_are_refused_with_the_numbers(io_cases):
    with pytest.raises(GeometryError, match=r"1\.081 to 6\.999 mm \(median 4\.002\).*missing.*18\.5 degrees"):
        read_volume(io_cases / "ct_variable_gaps")


def test_the_tilted_gantry_is_refused_with_its_angle(io_cases):
    with pytest.raises(GeometryError, match=r"18\.5 degrees"):
        read_volume(io_cases / "ct_gantry_tilt")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("dcmqi_seg/seg/liver.dcm", "DICOM SEG"),
        ("dcmqi_seg/seg/partial_overlaps.dcm", "DICOM SEG"),
        ("dcmqi_seg/24x38x3/seg/label.seg", "DICOM SEG"),
        ("dcmqi_seg/24x38x3/labelmap/sparse-labelmap-ppv5.dcm", "DICOM label map SEG"),
        ("dcmqi_seg/24x38x3/multiframe/mf.dcm", "multi-frame image of 3 frames"),
        ("dcmqi_seg/23x38x3/multiframe/mf.dcm", "multi-frame image of 3 frames"),
        ("ibsi_lung_ct/rtstruct/DCM_RS_00060.dcm", "RTSTRUCT"),
    ],
)
def test_dicom_objects_that_are_no_plain_series_are_named(io_cases, path, said):
    with pytest.raises(InputFileError, match=said):
        read_volume(io_cases / path)


def test_a_study_with_one_plain_series_opens_it_beside_its_structures(io_cases):
    assert read_volume(io_cases / "ibsi_lung_ct").shape == (204, 201, 60)


def test_all_series_of_all_cases_are_listed(io_cases):
    listed = describe(io_cases)["series"]
    assert sum(item["usable"] for item in listed) == 5
    assert sum(item["kind"] == "RTSTRUCT" for item in listed) == 1
    with pytest.raises(InputFileError, match="choose one by its number"):
        read_volume(io_cases)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("heart_seg", {"3": 41449}),
        ("liver_seg", {"1": 107098}),
        ("liver_spine_seg", {"1": 107098, "2": 12439}),
        ("partial_overlaps-1", {"1": 9602, "4": 6693, "5": 4713}),
        ("partial_overlaps-2", {"2": 11888}),
        ("partial_overlaps-3", {"3": 10743}),
        ("spine_seg", {"2": 12439}),
    ],
)
def test_nrrd_masks_lie_on_their_dicom_series_with_their_values(io_cases, name, labels):
    image = read_volume(io_cases / "dcmqi_seg" / "ct-3slice")
    assert voxels(read_mask(io_cases / "dcmqi_seg" / "nrrd" / f"{name}.nrrd", like=image)) == labels


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("24x38x3/nrrd/label", {"1": 315}),
        ("23x38x3/nrrd/label", {"1": 322}),
        ("24x38x3/labelmap/sparse_labelmap_noppv_seg", {"1": 630}),
        ("24x38x3/labelmap/sparse_labelmap_ppv5_seg", {"1": 630, "5": 912}),
    ],
)
def test_small_nrrd_masks_lie_on_their_series(io_cases, name, labels):
    image = read_volume(io_cases / "dcmqi_seg" / name.split("/")[0] / "image")
    assert voxels(read_mask(io_cases / "dcmqi_seg" / f"{name}.nrrd", like=image)) == labels


def test_a_mask_of_another_series_is_refused(io_cases):
    image = read_volume(io_cases / "dcmqi_seg" / "24x38x3" / "image")
    with pytest.raises(GeometryError, match=r"23 x 38 x 3 voxels.*but its image is 24 x 38 x 3"):
        read_mask(io_cases / "dcmqi_seg" / "23x38x3" / "nrrd" / "label.nrrd", like=image)


def test_gipl_files_read_as_expected_and_as_their_nifti_copies(io_cases, expected):
    folder = io_cases / "itksnap"
    image, mask = read_volume(folder / "MRIcrop-orig.gipl.gz"), read_mask(folder / "MRIcrop-seg.gipl.gz")
    assert list(image.shape) == expected["itksnap"]["MRIcrop-orig.gipl.gz"]["shape"]
    assert voxels(mask) == expected["itksnap"]["MRIcrop-seg.gipl.gz"]["voxels"]
    assert "no orientation" in image.source["warnings"][0]
    copy = read_volume(folder / "MRIcrop-orig.nii.gz")
    np.testing.assert_array_equal(image.array, copy.array)
    np.testing.assert_array_equal(image.affine, copy.affine)
    np.testing.assert_array_equal(read_mask(folder / "MRIcrop-seg.nii.gz", like=image).array, mask.array)


def test_a_series_of_volumes_asks_for_a_time_point(io_cases):
    path = io_cases / "itksnap" / "img4d_11f.nii.gz"
    with pytest.raises(InputFileError, match="11 volumes over time"):
        read_volume(path)
    volume = read_volume(path, time_point=10)
    assert volume.source["form"] == "qform"
    np.testing.assert_array_equal(volume.array, np.asarray(nib.load(path).dataobj)[..., 10])
    np.testing.assert_allclose(volume.affine[:3, 3], [2.31067, 2.29943, 2.01131], atol=1e-5)


@pytest.mark.parametrize("time_point", range(11))
def test_an_interpolated_label_is_refused(io_cases, time_point):
    with pytest.raises(InputFileError, match="is no mask: it holds"):
        read_mask(io_cases / "itksnap" / "seg4d_11f.nii.gz", time_point=time_point)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("multi_chunk.nii.gz", InputFileError, "2 components"),
        ("tensor_rgb.nii.gz", InputFileError, "3 components"),
        ("X39.nii.gz", GeometryError, "110 x 64: a single slice"),
    ],
)
def test_nifti_files_that_are_no_volume_are_refused(io_cases, name, error, said):
    with pytest.raises(error, match=said):
        read_volume(io_cases / "itksnap" / name)
    assert not describe(io_cases / "itksnap" / name)["usable"]


def test_the_oblique_spine_is_described_with_its_angles(io_cases, expected):
    facts = describe(io_cases / "sct_oblique_nifti" / "t2s.nii.gz")
    np.testing.assert_allclose(facts["oblique_degrees"], expected["sct_oblique_nifti"]["obliquity_deg"], atol=0.01)
    assert facts["shear_degrees"] < 0.1


def test_every_nifti_nrrd_and_gipl_file_reads_or_is_refused_in_one_line(io_cases):
    refused: dict[str, str] = {}
    paths = [p for pattern in ("*.nii.gz", "*.nrrd", "*.gipl.gz") for p in io_cases.rglob(pattern)]
    assert len(paths) >= 20
    for path in paths:
        try:
            read_volume(path)
        except (InputFileError, GeometryError) as error:
            refused[path.name] = str(error)
    assert "\n" not in "".join(refused.values())
    assert set(refused) == {
        "multi_chunk.nii.gz",
        "tensor_rgb.nii.gz",
        "X39.nii.gz",
        "img4d_11f.nii.gz",
        "seg4d_11f.nii.gz",
    }
