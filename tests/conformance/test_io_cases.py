"""Every real file of io_cases reads, or is refused, as its README and expected.json say."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.imageio import describe, geometry_reports, read_mask, read_volume, write_mask
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


def test_changing_gaps_are_made_regular_or_kept_without_quantities_on_demand(io_cases, expected):
    regular = read_volume(io_cases / "ct_variable_gaps", missing="resample", tilt="resample")
    assert (regular.shape[0], regular.shape[2]) == (512, 7)
    assert regular.spacing[2] == pytest.approx(23.0823 / 6, abs=1e-4)
    assert not regular.is_sheared
    kept = read_volume(io_cases / "ct_variable_gaps", missing="keep")
    assert [kept.array.min(), kept.array.max()] == expected["ct_variable_gaps"]["dicom"]["range"]
    assert kept.source["quantities"].startswith("disabled: gaps are uneven, 1.081 to 6.999 mm")


def test_the_tilted_gantry_keeps_its_shear_and_says_so(io_cases, expected):
    facts = expected["ct_gantry_tilt"]["dicom"]
    volume = read_volume(io_cases / "ct_gantry_tilt")
    assert list(volume.shape) == facts["shape"]
    assert [volume.array.min(), volume.array.max()] == facts["range"]
    np.testing.assert_allclose(volume.affine[:3, 2], facts["step_first_lps"], atol=1e-4)
    np.testing.assert_allclose(volume.affine[:3, 3] * [-1, -1, 1], facts["first_position_lps"], atol=1e-4)
    np.testing.assert_allclose(volume.index_to_world((0, 0, 5)) * [-1, -1, 1], facts["last_position_lps"], atol=1e-4)
    assert volume.shear_degrees == pytest.approx(18.5, abs=0.01)
    assert any("18.5 degrees" in said for said in volume.source["warnings"])


def test_the_tilted_gantry_made_upright_shows_the_same_patient(io_cases):
    sheared, upright = (read_volume(io_cases / "ct_gantry_tilt", tilt=tilt) for tilt in ("keep", "resample"))
    assert not upright.is_sheared
    assert upright.spacing[2] == pytest.approx(2.37081, abs=1e-4)
    index = np.stack(np.meshgrid([100, 256, 400], [100, 256, 400], range(6), indexing="ij"), axis=-1).reshape(-1, 3)
    there = upright.world_to_index(sheared.index_to_world(index))
    np.testing.assert_allclose(there[:, [0, 2]], np.rint(there[:, [0, 2]]), atol=1e-3)  # moved along rows alone
    low = np.floor(there[:, 1]).astype(int)
    x, z = np.rint(there[:, 0]).astype(int), np.rint(there[:, 2]).astype(int)
    share = there[:, 1] - low
    seen = upright.array[x, low, z] * (1 - share) + upright.array[x, low + 1, z] * share
    around = np.array([sheared.array[i, j - 1 : j + 2, k] for i, j, k in index])
    assert (seen >= around.min(axis=1) - 1).all()
    assert (seen <= around.max(axis=1) + 1).all()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("dcmqi_seg/seg/liver.dcm", "DICOM SEG"),
        ("dcmqi_seg/seg/partial_overlaps.dcm", "DICOM SEG"),
        ("dcmqi_seg/24x38x3/seg/label.seg", "DICOM SEG"),
        ("dcmqi_seg/24x38x3/labelmap/sparse-labelmap-ppv5.dcm", "DICOM label map SEG"),
        ("ibsi_lung_ct/rtstruct/DCM_RS_00060.dcm", "RTSTRUCT"),
    ],
)
def test_dicom_objects_that_are_no_plain_series_are_named(io_cases, path, said):
    with pytest.raises(InputFileError, match=said):
        read_volume(io_cases / path)


@pytest.mark.parametrize("size", ["24x38x3", "23x38x3"])
def test_a_multi_frame_file_is_the_same_volume_as_its_single_files(io_cases, size):
    frames = read_volume(io_cases / "dcmqi_seg" / size / "multiframe" / "mf.dcm")
    single = read_volume(io_cases / "dcmqi_seg" / size / "image")
    np.testing.assert_array_equal(frames.array, single.array)
    np.testing.assert_allclose(frames.affine, single.affine, atol=1e-6)
    assert frames.modality == "CT"


@pytest.mark.parametrize(
    ("folder", "verdict", "line"),
    [
        ("ibsi_lung_ct/dicom", "green", "60 images, 0.98 x 0.98 x 3.00 mm, no gaps, no tilt"),
        ("dcmqi_seg/ct-3slice", "green", "3 images, 0.81 x 0.81 x 1.00 mm, no gaps, no tilt"),
        ("mr_oblique_dicom", "green", "8 images, 0.43 x 0.43 x 6.50 mm, no gaps, no tilt"),
        ("ct_gantry_tilt", "amber", "6 images, 0.48 x 0.48 x 2.37 mm, no gaps"),
        ("ct_variable_gaps", "red", "6 images, 0.49 x 0.49 x 4.00 mm"),
    ],
)
def test_the_geometry_report_of_each_series_has_its_colour(io_cases, folder, verdict, line):
    (report,) = geometry_reports(io_cases / folder)
    assert (report.verdict, report.lines[0]) == (verdict, line)


def test_the_changing_gaps_are_reported_with_their_files(io_cases, expected):
    (report,) = geometry_reports(io_cases / "ct_variable_gaps")
    facts = expected["ct_variable_gaps"]["dicom"]
    np.testing.assert_allclose([gap.mm for gap in report.uneven], facts["gaps_along_normal"][2:], atol=1e-4)
    names = facts["files_in_slice_order"]
    assert [gap.files for gap in report.uneven] == list(pairwise(names[2:6]))
    assert report.tilt_degrees == pytest.approx(18.5, abs=0.01)


def test_a_study_with_one_plain_series_opens_it_beside_its_structures(io_cases):
    assert read_volume(io_cases / "ibsi_lung_ct").shape == (204, 201, 60)


def test_all_series_of_all_cases_are_listed(io_cases):
    listed = describe(io_cases)["series"]
    assert sum(item["usable"] for item in listed) == 8
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
