"""RTSTRUCT: what is written comes back, holes are cut by XOR, what cannot be filled is listed, nobody is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from medseg_rl.errors import GeometryError, InputFileError, OutputError
from medseg_rl.imageio import read_volume
from medseg_rl.imageio.dicom_objects import object_kind
from medseg_rl.imageio.rtstruct import read
from medseg_rl.imageio.rtstruct_writing import write
from medseg_rl.labels import Label, LabelMap
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume

LONG = "Rückenmark " + "x" * 90 + "\\y"


@pytest.fixture
def image(dicom_folder) -> Volume:
    return read_volume(dicom_folder(shape=(16, 14, 6)))


def drawn(image: Volume) -> Segmentation:
    """A tube with a hole and an island in it, noise over it with corners that touch, and a label without a voxel."""
    tube = np.zeros(image.shape, bool)
    tube[1:13, 2:12, 1:4], tube[3:11, 4:10, 1:4], tube[5:8, 6:8, 2] = True, False, True
    noise = np.random.default_rng(1).random(image.shape) < 0.4
    masks = [
        (Label(7, LONG, (10, 200, 30)), tube),
        (Label(300, "noise", (221, 130, 101)), noise),
        (Label(2, "none", (1, 2, 3)), np.zeros(image.shape, bool)),
    ]
    return Segmentation.of_masks(masks, image)


def structure_set(path: Path, contours: list, *, kind: str = "CLOSED_PLANAR", number: int = 1, **roi: object) -> Path:
    """An RTSTRUCT with one ROI; `contours`: LPS millimetres (n, 3) each."""
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", generate_uid()
    described, item = pydicom.Dataset(), pydicom.Dataset()
    described.ROINumber, described.ROIName = number, "Lesion"
    dataset.StructureSetROISequence = [described]
    item.ReferencedROINumber, item.ContourSequence = number, []
    for keyword, value in roi.items():
        setattr(item, keyword, value)
    for points in contours:
        contour = pydicom.Dataset()
        contour.ContourGeometricType = kind
        contour.ContourData = [f"{p:.8g}" for p in np.ravel(points)]
        item.ContourSequence.append(contour)
    dataset.ROIContourSequence = [item]
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def square(image: Volume, low: float, high: float, k: float) -> np.ndarray:
    """A square in voxels of slice `k`, as LPS millimetres."""
    corners = [(low, low, k), (low, high, k), (high, high, k), (high, low, k)]
    return image.index_to_world(corners) * (-1, -1, 1)


def test_overlapping_labels_with_holes_names_and_colours_come_back(tmp_path, image):
    assert write(tmp_path / "a.dcm", drawn(image), like=image) == []
    back = read(tmp_path / "a.dcm", like=image)
    wanted = drawn(image)
    assert back.labels == wanted.labels
    for value in wanted.labels.values:
        np.testing.assert_array_equal(back.mask_of(value), wanted.mask_of(value))
    np.testing.assert_array_equal(back.grid.affine, image.affine)
    assert back.warnings == []
    assert object_kind(tmp_path / "a.dcm") == "RTSTRUCT"


def test_the_polygons_hold_exactly_the_volume_of_the_voxels(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image).only([7]), like=image)
    areas = []
    for contour in pydicom.dcmread(tmp_path / "a.dcm").ROIContourSequence[0].ContourSequence:
        points = np.array([float(p) for p in contour.ContourData]).reshape(-1, 3)
        a, b = (points - points[0]), np.roll(points - points[0], -1, axis=0)
        areas.append(np.linalg.norm(np.cross(a, b).sum(axis=0)) / 2)
    pixel = 0.5 * 0.7
    assert sorted(np.round(np.array(areas) / pixel, 3)) == [6, 48, 48, 48, 120, 120, 120]


def test_contours_and_images_refer_to_each_other(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image), like=image, touched_by_model={300}, provenance={"bundle": "ab12"})
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    series = study.RTReferencedSeriesSequence[0]
    assert study.ReferencedSOPInstanceUID == generate_uid(entropy_srcs=["study"])
    assert series.SeriesInstanceUID == image.source["series_uid"]
    assert len(series.ContourImageSequence) == image.shape[2]
    for item in dataset.ROIContourSequence[1].ContourSequence:
        place = np.array([float(p) for p in item.ContourData[:3]]) * (-1, -1, 1)
        k = round(float(image.world_to_index(place)[2]))
        own = item.ContourImageSequence[0].ReferencedSOPInstanceUID
        assert own == generate_uid(entropy_srcs=["ct", str(k)])
    assert [roi.ROIGenerationAlgorithm for roi in dataset.StructureSetROISequence] == [
        "MANUAL",
        "SEMIAUTOMATIC",
        "MANUAL",
    ]
    assert dataset.SeriesDescription.startswith("RESEARCH")
    assert '"bundle":"ab12"' in dataset.ContributingEquipmentSequence[0].ContributionDescription


def test_nothing_of_the_patient_is_in_a_de_identified_file(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image), like=image)
    content = (tmp_path / "a.dcm").read_bytes()
    assert not [text for text in (b"Marked", b"19330303", b"19440404") if text in content]
    write(tmp_path / "b.dcm", drawn(image), like=image, deidentified=False)
    assert str(pydicom.dcmread(tmp_path / "b.dcm").PatientName) == "Marked^Name"


def test_only_images_from_dicom_and_values_that_fit_are_written(tmp_path, image):
    plain = Volume(image.array, image.affine, "CT", {"path": "a.nii"})
    with pytest.raises(OutputError, match="did not come from DICOM"):
        write(tmp_path / "a.dcm", drawn(plain), like=plain)
    negative = Segmentation.of_label_map(image.with_array(np.full(image.shape, -3)))
    with pytest.raises(OutputError, match="not -3"):
        write(tmp_path / "a.dcm", negative, like=image)
    with pytest.raises(GeometryError, match="resample"):
        write(tmp_path / "a.dcm", drawn(image), like=Volume(image.array[1:], image.affine, "CT", image.source))
    assert not (tmp_path / "a.dcm").exists()


def test_a_contour_within_another_is_a_hole_and_two_equal_ones_are_nothing(tmp_path, image):
    ring = [
        square(image, 1.5, 9.5, 2),
        square(image, 3.5, 6.5, 2),
        square(image, 1.5, 9.5, 4),
        square(image, 1.5, 9.5, 4),
    ]
    back = read(structure_set(tmp_path / "a.dcm", ring), like=image)
    assert back.voxels == {1: 64 - 9}
    assert back.mask_of(1)[:, :, 2].sum() == 55


def test_colour_and_number_are_taken_where_they_make_sense(tmp_path, image):
    contours = [square(image, 1.5, 9.5, 2)]
    back = read(structure_set(tmp_path / "a.dcm", contours, number=42, ROIDisplayColor=[1, 2, 255]), like=image)
    assert back.labels == LabelMap((Label(42, "Lesion", (1, 2, 255)),))
    back = read(structure_set(tmp_path / "b.dcm", contours, number=0, ROIDisplayColor=[1, 2, 999]), like=image)
    assert back.labels.values == (1,)
    assert "cannot have the value 0 and becomes 1" in " ".join(back.warnings)


def test_what_cannot_be_filled_is_left_out_and_listed(tmp_path, image):
    good = square(image, 1.5, 9.5, 2)
    slanted = image.index_to_world([(1, 1, 2), (1, 9, 3), (9, 9, 4), (9, 1, 3)]) * (-1, -1, 1)
    contours = [good, good[:2], good[:1], square(image, 1.5, 9.5, 40), slanted]
    back = read(structure_set(tmp_path / "a.dcm", contours), like=image)
    assert back.voxels == {1: 64}
    assert sorted(back.warnings) == [
        "Lesion: 1 contour not on a slice of the image left out",
        "Lesion: 1 contour outside the image left out",
        "Lesion: 2 contours of fewer than 3 points left out",
    ]
    points = read(structure_set(tmp_path / "b.dcm", [good[:1]], kind="POINT"), like=image)
    assert points.warnings == ["Lesion: 1 contour not closed (POINT) left out"]
    assert points.voxels == {1: 0}


def test_a_contour_that_juts_out_is_cut_at_the_edge_and_said(tmp_path, image):
    back = read(structure_set(tmp_path / "a.dcm", [square(image, 9.5, 40, 2)]), like=image)
    assert back.voxels == {1: 6 * 4}
    assert back.warnings == ["Lesion: 1 contour cut off at the edge of the image"]


def test_contours_of_finer_slices_are_not_mixed(tmp_path, image):
    contours = [square(image, 1.5, 9.5, 2.1), square(image, 1.5, 8.5, 1.7), square(image, 1.5, 7.5, 2.45)]
    back = read(structure_set(tmp_path / "a.dcm", contours), like=image)
    assert back.voxels == {1: 64}
    assert back.warnings == ["Lesion: 2 contours between two slices, where nearer ones count left out"]


def test_contours_of_coarser_slices_leave_gaps_that_are_said(tmp_path, image):
    contours = [square(image, 1.5, 9.5, k) for k in (0, 2, 4)]
    back = read(structure_set(tmp_path / "a.dcm", contours), like=image)
    assert back.voxels == {1: 3 * 64}
    assert back.warnings == ["Lesion: contours lie 2 slices apart; the slices between them stay empty"]


def test_contours_across_another_axis_are_filled_there(tmp_path, image):
    upright = image.index_to_world([(4, 1.5, 0.5), (4, 9.5, 0.5), (4, 9.5, 3.5), (4, 1.5, 3.5)]) * (-1, -1, 1)
    back = read(structure_set(tmp_path / "a.dcm", [upright]), like=image)
    assert back.voxels == {1: 8 * 3}
    assert back.mask_of(1)[4].sum() == 24


def test_slices_that_were_kept_with_uneven_gaps_come_back(tmp_path, dicom_folder):
    image = read_volume(dicom_folder(shape=(16, 14, 6), depths=(0, 1, 2, 2.4, 5, 6)), missing="keep")
    write(tmp_path / "a.dcm", drawn(image), like=image)
    back = read(tmp_path / "a.dcm", like=image)
    for value in (7, 300):
        np.testing.assert_array_equal(back.mask_of(value), drawn(image).mask_of(value))
    assert back.warnings == []


def test_contours_of_another_series_are_filled_with_a_warning(tmp_path, image, dicom_folder):
    write(tmp_path / "a.dcm", drawn(image), like=image)
    other = read_volume(dicom_folder("later", shape=(16, 14, 6)))
    back = read(tmp_path / "a.dcm", like=other)
    assert back.warnings == ["the contours were drawn on another series than this image; check that they fit"]
    assert back.voxels == drawn(image).voxels


def test_contours_alone_are_no_voxels(tmp_path, image):
    path = structure_set(tmp_path / "a.dcm", [square(image, 1.5, 9.5, 2)])
    with pytest.raises(InputFileError, match="give the image they were drawn on"):
        read(path)


def test_coordinates_that_are_no_numbers_are_refused_in_one_line(tmp_path, image):
    path = structure_set(tmp_path / "a.dcm", [square(image, 1.5, 9.5, 2)])
    content = path.read_bytes()
    for bad in (b"x", b"\\"):
        damaged = bytearray(content)
        damaged[-10:-9] = bad
        path.write_bytes(damaged)
        with pytest.raises(InputFileError, match="cut off or damaged"):
            read(path, like=image)
    huge = structure_set(tmp_path / "b.dcm", [square(image, 1.5, 9.5, 2) * 1e200])
    assert read(huge, like=image).voxels == {1: 0}


def test_damaged_files_end_in_one_line_or_in_a_segmentation(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image).only([7]), like=image)
    content = (tmp_path / "a.dcm").read_bytes()
    chance = np.random.default_rng(3)
    refused = []
    for n in range(150):
        damaged = bytearray(content[: chance.integers(200, len(content))] if n % 3 == 0 else content)
        for place in chance.integers(132, len(damaged), 3):
            damaged[place] ^= 1 << int(chance.integers(8))
        (tmp_path / "b.dcm").write_bytes(damaged)
        try:
            read(tmp_path / "b.dcm", like=image)
        except InputFileError as error:
            refused.append(str(error))
    assert not [line for line in refused if "\n" in line]
    assert len(refused) > 20
