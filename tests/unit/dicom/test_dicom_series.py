"""DICOM series: read as sorted slices; what is no plain stack is refused with the reason."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydicom.uid import generate_uid

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.imageio import describe, read_volume, write_mask
from medseg_rl.volume import Volume

COLUMNS, ROWS = 4, 5
OTHER_SERIES = generate_uid(entropy_srcs=["two"])


def test_slices_are_sorted_by_position_and_rescaled(tmp_path, series, pixels):
    volume = read_volume(series(tmp_path / "ct"))
    assert volume.shape == (COLUMNS, ROWS, 4)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, np.stack([pixels(n).T - 1000 for n in range(4)], axis=-1))
    np.testing.assert_allclose(volume.affine, [[-0.5, 0, 0, -10], [0, -0.7, 0, -20], [0, 0, 2, 0], [0, 0, 0, 1]])
    assert volume.modality == "CT"
    assert volume.source["warnings"] == []


def test_names_and_order_of_files_mean_nothing(tmp_path, series):
    one = read_volume(series(tmp_path / "up"))
    other = read_volume(series(tmp_path / "down", depths=(6, 0, 4, 2)))
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_array_equal(one.affine, other.affine)


def test_a_file_opens_its_series_and_folders_are_searched_to_the_bottom(tmp_path, dicom_file, series):
    series(tmp_path / "study" / "deep" / "ct")
    dicom_file(tmp_path / "study" / "deep" / "ct" / "x", 50, SeriesInstanceUID=OTHER_SERIES)
    assert read_volume(tmp_path / "study").shape == (COLUMNS, ROWS, 4)
    assert read_volume(tmp_path / "study" / "deep" / "ct" / "88").shape == (COLUMNS, ROWS, 4)


def test_oblique_directions_make_the_affine(tmp_path, dicom_file):
    row, column = np.array([0.8, 0.6, 0]), np.array([0, 0, -1.0])
    normal = np.cross(row, column)
    for n in range(3):
        position = (np.array([1, 2, 3]) + 2.5 * n * normal).tolist()
        orientation = [*row, *column]
        dicom_file(tmp_path / "mr" / f"{n}", 0, n, ImagePositionPatient=position, ImageOrientationPatient=orientation)
    volume = read_volume(tmp_path / "mr")
    flip = np.diag([-1, -1, 1])
    np.testing.assert_allclose(volume.affine[:3, :3], flip @ np.column_stack([row * 0.5, column * 0.7, normal * 2.5]))
    np.testing.assert_allclose(volume.affine[:3, 3], [-1, -2, 3])


def test_each_slice_has_its_own_rescaling(tmp_path, dicom_file, pixels):
    for n in range(3):
        dicom_file(tmp_path / "pt" / f"{n}", 2.0 * n, n, Modality="PT", RescaleSlope=0.5 * (n + 1), RescaleIntercept=0)
    volume = read_volume(tmp_path / "pt")
    assert volume.array.dtype == np.float32
    assert volume.modality == "PT"
    np.testing.assert_allclose(volume.array[:, :, 2], pixels(2).T * 1.5)


def test_values_beyond_16_bits_are_kept(tmp_path, series):
    volume = read_volume(series(tmp_path / "ct", RescaleIntercept=60000))
    assert volume.array.max() == 60000 + 319


def test_the_same_image_twice_is_one_slice(tmp_path, series):
    folder = series(tmp_path / "ct")
    (folder / "copy").write_bytes((folder / "90").read_bytes())
    assert read_volume(folder).shape[2] == 4


@pytest.mark.parametrize(
    ("tag", "values"), [("AcquisitionNumber", (1, 2)), ("EchoTime", (10, 80)), ("TriggerTime", (0, 350.5))]
)
def test_phases_in_one_series_are_split_and_one_must_be_chosen(tmp_path, tag, values, dicom_file):
    for phase, value in enumerate(values):
        for n in range(3):
            dicom_file(tmp_path / "mr" / f"{phase}{n}", 2.0 * n, n + 10 * phase, **{tag: value})
    with pytest.raises(InputFileError, match=rf"holds 2 series, choose one by its number: 1\) CT .Portal {tag}"):
        read_volume(tmp_path / "mr")
    chosen = [read_volume(tmp_path / "mr", series=number) for number in (1, 2)]
    assert sorted(int(v.array[0, 0, 0]) for v in chosen) == [-1000, 0]


def test_acquisition_numbers_that_count_slices_split_nothing(tmp_path, dicom_file):
    for n in range(3):
        dicom_file(tmp_path / "ct" / f"{n}", 2.0 * n, n, AcquisitionNumber=n)
    assert read_volume(tmp_path / "ct").shape[2] == 3


def test_mixed_series_must_be_chosen_by_number_or_uid(tmp_path, series):
    series(tmp_path / "study" / "a")
    series(tmp_path / "study" / "b", depths=(0, 3, 6), SeriesInstanceUID=OTHER_SERIES, SeriesNumber=2)
    with pytest.raises(InputFileError, match=r"2 series.*1\) CT .Portal., 4 x 5 x 4; 2\) CT .Portal., 4 x 5 x 3"):
        read_volume(tmp_path / "study")
    assert read_volume(tmp_path / "study", series=2).shape[2] == 3
    assert read_volume(tmp_path / "study", series="1").shape[2] == 4
    assert read_volume(tmp_path / "study", series=str(OTHER_SERIES)).shape[2] == 3
    with pytest.raises(InputFileError, match="no series 3"):
        read_volume(tmp_path / "study", series=3)


@pytest.mark.parametrize(
    "changes",
    [
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]},
        {"PixelSpacing": [0.8, 0.5]},
        {"SeriesInstanceUID": OTHER_SERIES},
    ],
)
def test_a_stray_image_of_another_grid_is_left_out_and_named(tmp_path, changes, dicom_file, series):
    folder = series(tmp_path / "ct")
    dicom_file(folder / "scout", 100, **changes)
    volume = read_volume(folder)
    assert volume.shape[2] == 4
    assert any("left out" in said for said in volume.source["warnings"])


def test_one_slice_is_no_volume(tmp_path, dicom_file):
    with pytest.raises(GeometryError, match="only slice of its series"):
        read_volume(dicom_file(tmp_path / "ct" / "1", 0))


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, InputFileError, "DICOM SEG, not an image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.7"}, InputFileError, "label map SEG, not an image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3"}, InputFileError, "RTSTRUCT, not an image"),
        ({"NumberOfFrames": 12}, InputFileError, "multi-frame image of 12 frames"),
        ({"ImagePositionPatient": None}, InputFileError, "no position in space"),
    ],
)
def test_objects_that_are_no_slices_are_named(tmp_path, changes, error, said, dicom_file):
    with pytest.raises(error, match=said):
        read_volume(dicom_file(tmp_path / "other" / "1", 0, **changes))


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"PixelSpacing": [0, 0.5]}, GeometryError, r"pixel spacing is 0\.5 x 0 mm"),
        ({"PixelSpacing": None}, GeometryError, "pixel spacing is 0 x 0 mm"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, GeometryError, "impossible orientation"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, GeometryError, "impossible orientation"),
        ({"PhotometricInterpretation": "RGB"}, InputFileError, r"colours \(RGB\)"),
        ({"Rows": 6}, InputFileError, "cut off or damaged"),
        ({"Rows": 60000, "Columns": 60000}, InputFileError, "damaged|more than can be worked on"),
    ],
)
def test_slices_that_make_no_volume_are_refused(tmp_path, changes, error, said, series):
    with pytest.raises(error, match=said) as caught:
        read_volume(series(tmp_path / "ct", **changes))
    assert "\n" not in str(caught.value)


def test_an_inverted_display_leaves_the_values_and_says_so(tmp_path, series):
    volume = read_volume(series(tmp_path / "ct", PhotometricInterpretation="MONOCHROME1"))
    assert volume.array[0, 0, 0] == -1000
    assert "MONOCHROME1" in volume.source["warnings"][0]


def test_a_cut_off_slice_is_named(tmp_path, series):
    folder = series(tmp_path / "ct")
    (folder / "88").write_bytes((folder / "88").read_bytes()[:-10])
    with pytest.raises(InputFileError, match="88 is cut off or damaged"):
        read_volume(folder)


def test_a_damaged_header_beside_the_series_is_not_passed_over(tmp_path, series):
    folder = series(tmp_path / "ct")
    (folder / "99.dcm").write_bytes(b"rubbish")
    with pytest.raises(InputFileError, match=r"1 DICOM files are damaged \(99\.dcm\)"):
        read_volume(folder)


def test_other_files_in_the_folder_do_not_matter(tmp_path, series):
    folder = series(tmp_path / "ct")
    (folder / "LICENSE").write_text("free")
    (folder / "empty").touch()
    assert read_volume(folder).shape[2] == 4


def test_a_folder_without_dicom_says_what_it_wants(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputFileError, match="holds no DICOM image; give a folder with a series"):
        read_volume(tmp_path)


def test_a_mask_of_a_series_lies_on_it(tmp_path, series):
    image = read_volume(series(tmp_path / "ct"))
    write_mask(tmp_path / "mask.nii.gz", image.with_array(image.array > -800), like=image)
    mask = read_volume(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)


def test_the_description_lists_every_series_with_its_problem_and_no_patient(tmp_path, series):
    series(tmp_path / "study" / "a")
    series(tmp_path / "study" / "b", depths=(0, 2, 6, 8), SeriesInstanceUID=OTHER_SERIES, SeriesNumber=2)
    facts = describe(tmp_path / "study")
    assert [(s["number"], s["files"], s["usable"]) for s in facts["series"]] == [(1, 4, True), (2, 4, False)]
    assert facts["series"][0]["slice_gap_mm"] == 2
    assert "missing" in facts["series"][1]["problem"]
    assert "Nobody" not in json.dumps(facts)
    assert not facts["usable"]


def test_a_patient_is_not_remembered_in_the_volume(tmp_path, series):
    volume = read_volume(series(tmp_path / "ct"))
    assert isinstance(volume, Volume)
    assert "Nobody" not in str(volume.source)


def test_a_part_of_the_slices_is_read_where_it_lies(tmp_path, series):
    folder = series(tmp_path / "ct")
    whole, part = read_volume(folder), read_volume(folder, slices=(1, 3))
    np.testing.assert_array_equal(part.array, whole.array[:, :, 1:3])
    np.testing.assert_allclose(part.affine[:3, 3], whole.index_to_world((0, 0, 1)))
    with pytest.raises(InputFileError, match="no range"):
        read_volume(folder, slices=(0, 1))


def test_two_series_of_a_patient_share_a_hash_and_another_patient_has_another(tmp_path, dicom_file):
    for name, patient in (
        ("a", {"PatientID": "Q1"}),
        ("b", {"PatientID": "Q1 "}),
        ("c", {"PatientID": "Q2"}),
        ("d", {}),
    ):
        for n in range(3):
            dicom_file(tmp_path / name / f"{n}", 2.0 * n, n, PatientName="Same^Name", **patient)
    a, b, c, d = (read_volume(tmp_path / name).source["patient_sha256"] for name in "abcd")
    assert a == b != c
    assert len(a) == 64
    assert d is None
