"""What we write, read by programs that know nothing of us, and what they write, read by us; numbers against theirs.

More of it stands where the format is tested: VTK for meshes, MONAI for distances, slicerio for .seg.nrrd, SimpleITK and
nibabel for the 48 orientations, dcmqi's files.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import highdicom
import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from matplotlib.path import Path as Outline
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from benchmarks.faults.specimens_dicom import _series
from medseg_rl.errors import InputFileError
from medseg_rl.imageio import read_segmentation, read_volume, write_segmentation, write_volume
from medseg_rl.imageio.polygons import filled
from medseg_rl.labels import Label
from medseg_rl.quantities import quantities_of
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume

LPS = np.array([-1.0, -1.0, 1.0])
OBLIQUE = np.array([[0, -0.72, 1.2, 3], [0.9, 0, 0, -4], [0, -0.96, -0.9, 9], [0, 0, 0, 1]])
SHEARED = np.array([[-0.8, 0.1, 0.5, 12], [0.2, 1.4, -0.3, -7], [0.1, 0.2, 2.9, 30], [0, 0, 0, 1]])


@pytest.fixture
def image(tmp_path: Path) -> Volume:
    """A CT of four slices, as DICOM."""
    _series(tmp_path / "ct")
    return read_volume(tmp_path / "ct")


def blobs(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Labels 0, 1 and 5 in lumps with holes, thin bridges and single voxels."""
    noise = np.random.default_rng(seed).normal(size=shape)
    field = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(noise), 1.5))
    return np.where(field > 0.06, 1, np.where(field < -0.09, 5, 0)).astype(np.uint8)


def drawn(image: Volume, seed: int = 1) -> Segmentation:
    array = blobs(image.shape, seed)
    labels = (Label(1, "Liver", (200, 30, 40)), Label(5, "Tumour", (1, 250, 3)))
    return Segmentation.of_masks([(label, array == label.value) for label in labels], image)


def by_world(points: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(point) for point in np.round(points, 2).tolist()}


def world_of(mask: np.ndarray, affine: np.ndarray) -> set[tuple[float, ...]]:
    return by_world(np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3])


@pytest.mark.parametrize("form", ["BINARY", "LABELMAP"])
def test_pydicom_alone_finds_each_voxel_of_our_seg_at_its_place(tmp_path, image, form):
    wanted = drawn(image)
    write_segmentation(tmp_path / "a.dcm", wanted, like=image, form=form)
    file = pydicom.dcmread(tmp_path / "a.dcm")
    shared = file.SharedFunctionalGroupsSequence[0]
    row_mm, column_mm = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    along, down = np.reshape([float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient], (2, 3))
    found: dict[int, set[tuple[float, ...]]] = {}
    names = {int(item.SegmentNumber): item.SegmentLabel for item in file.SegmentSequence}
    for frame, own in zip(file.pixel_array, file.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.array([float(v) for v in own.PlanePositionSequence[0].ImagePositionPatient])
        for number in np.unique(frame[frame > 0]).tolist():
            rows, columns = np.nonzero(frame == number)
            if form == "BINARY":
                number = int(own.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            points = corner + columns[:, None] * column_mm * along + rows[:, None] * row_mm * down
            found.setdefault(names[number], set()).update(by_world(points * LPS))
    for label in wanted.labels.labels:
        assert found[label.name] == world_of(wanted.mask_of(label.value), image.affine)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_we_read_what_highdicom_writes(tmp_path, image, kind):
    array = blobs(image.shape)
    array[array == 5] = 2  # highdicom numbers segments from 1 on without gaps
    sources = [pydicom.dcmread(path) for path in sorted((tmp_path / "ct").iterdir())]
    for source in sources:
        source.PatientName, source.PatientID, source.PatientBirthDate, source.PatientSex = "A^B", "1", "", ""
        source.StudyID, source.AccessionNumber, source.StudyDate, source.StudyTime = "1", "", "20200101", "000000"
        source.ReferringPhysicianName, source.StudyDescription, source.SliceThickness = "", "", 2.5
    code = codes.SCT.Organ
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=code,
            segmented_property_type=code,
            algorithm_type="MANUAL",
        )
        for number, name in ((1, "Liver"), (2, "Tumour"))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=array.transpose(2, 1, 0),
            segmentation_type=kind,
            segment_descriptions=described,
            series_instance_uid=generate_uid(),
            series_number=9,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="x",
            manufacturer_model_name="x",
            software_versions="1",
            device_serial_number="1",
            transfer_syntax_uid=ExplicitVRLittleEndian,
        ).save_as(tmp_path / "theirs.dcm")
    found = read_segmentation(tmp_path / "theirs.dcm", like=image)
    assert {label.name for label in found.labels.labels} == {"Liver", "Tumour"}
    for value, label in ((1, "Liver"), (2, "Tumour")):
        own = next(entry.value for entry in found.labels.labels if entry.name == label)
        np.testing.assert_array_equal(found.mask_of(own), array == value)


def test_our_contours_filled_by_matplotlib_are_our_voxels(tmp_path, image):
    wanted = drawn(image, seed=4)
    write_segmentation(tmp_path / "a.rtstruct.dcm", wanted, like=image)
    file = pydicom.dcmread(tmp_path / "a.rtstruct.dcm")
    names = {int(roi.ROINumber): roi.ROIName for roi in file.StructureSetROISequence}
    to_index = np.linalg.inv(image.affine)
    centres = np.stack(np.meshgrid(*(np.arange(n) for n in image.shape[:2]), indexing="ij"), -1).reshape(-1, 2)
    for roi in file.ROIContourSequence:
        found = np.zeros(image.shape, bool)
        for contour in roi.ContourSequence:
            points = np.reshape([float(v) for v in contour.ContourData], (-1, 3)) * LPS
            corners = points @ to_index[:3, :3].T + to_index[:3, 3]
            inside = Outline(np.vstack([corners[:, :2], corners[:1, :2]])).contains_points(centres)
            found[:, :, int(np.rint(corners[0, 2]))] ^= inside.reshape(image.shape[:2])
        value = next(label.value for label in wanted.labels.labels if label.name == names[int(roi.ReferencedROINumber)])
        np.testing.assert_array_equal(found, wanted.mask_of(value))


@pytest.mark.parametrize("seed", range(20))
def test_any_polygons_fill_by_crossings_counted_one_by_one(seed):
    rng = np.random.default_rng(seed)
    polygons = [rng.uniform(-6, 30, (int(rng.integers(3, 12)), 2)) for _ in range(int(rng.integers(1, 4)))]
    shape = (24, 21)
    centres = np.stack(np.meshgrid(np.arange(24), np.arange(21), indexing="ij"), -1).reshape(-1, 2)
    expected = np.zeros(shape, bool)
    for polygon in polygons:
        crossed = np.zeros(len(centres), int)
        for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            low, high = sorted((start[0], end[0]))
            at = start[1] + (centres[:, 0] - start[0]) / (end[0] - start[0]) * (end[1] - start[1])
            crossed += (low < centres[:, 0]) & (centres[:, 0] <= high) & (at < centres[:, 1])
        expected ^= (crossed % 2 == 1).reshape(shape)
    first, found = filled(polygons, shape)
    whole = np.zeros(shape, bool)
    whole[first[0] : first[0] + found.shape[0], first[1] : first[1] + found.shape[1]] = found
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED], ids=["oblique", "sheared"])
def test_pynrrd_and_we_read_each_other_with_any_axes(tmp_path, affine):
    volume = Volume(np.arange(210, dtype=np.int16).reshape(5, 6, 7), affine)
    write_volume(tmp_path / "a.nrrd", volume)
    array, header = nrrd.read(str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(array, volume.array)
    assert header["space"] == "left-posterior-superior"
    np.testing.assert_allclose(header["space directions"].T, LPS[:, None] * affine[:3, :3])
    np.testing.assert_allclose(header["space origin"], LPS * affine[:3, 3])
    about = {
        "space": "right-anterior-superior",
        "space directions": affine[:3, :3].T,
        "space origin": affine[:3, 3],
        "kinds": ["domain"] * 3,
    }
    for encoding in ("raw", "gzip", "ascii"):
        nrrd.write(str(tmp_path / "b.nrrd"), volume.array, header=about | {"encoding": encoding})
        found = read_volume(tmp_path / "b.nrrd")
        np.testing.assert_array_equal(found.array, volume.array)
        np.testing.assert_allclose(found.affine, affine, atol=1e-9)


def test_bzip2_which_itk_lacks_is_named_with_the_way_out(tmp_path):
    nrrd.write(str(tmp_path / "b.nrrd"), np.zeros((5, 6, 7), np.int16), header={"encoding": "bzip2"})
    with pytest.raises(InputFileError, match="bzip2, which cannot be read; save it with gzip"):
        read_volume(tmp_path / "b.nrrd")


@pytest.mark.parametrize("affine", [np.diag([-0.7, -0.8, 2.5, 1]), OBLIQUE], ids=["upright", "oblique"])
def test_quantities_are_those_of_simpleitk(affine):
    grid = Volume(np.zeros((30, 28, 20), np.uint8), affine)
    segmentation = drawn(grid, seed=7)
    array = blobs(grid.shape, 7)
    values = np.random.default_rng(2).normal(40, 9, grid.shape).astype(np.float32)
    report = quantities_of(segmentation, image=Volume(values, affine, "CT"))
    theirs = in_itk(array, affine)
    shapes, statistics = sitk.LabelShapeStatisticsImageFilter(), sitk.LabelIntensityStatisticsImageFilter()
    shapes.Execute(theirs)
    statistics.Execute(theirs, in_itk(values, affine))
    for value in (1, 5):
        ours = report[value]
        assert ours["voxels"].value == shapes.GetNumberOfPixels(value)
        assert ours["volume_mm3"].value == pytest.approx(shapes.GetPhysicalSize(value), rel=1e-9)
        centre = LPS * shapes.GetCentroid(value)
        for axis, place in zip("ras", centre, strict=True):
            assert ours[f"centroid_{axis}"].value == pytest.approx(place, abs=1e-6)
        extents = np.array(shapes.GetBoundingBox(value)[3:]) * grid.spacing
        assert [ours[f"extent_{axis}"].value for axis in "ijk"] == pytest.approx(extents.tolist())
        assert ours["intensity_mean"].value == pytest.approx(statistics.GetMean(value), rel=1e-6)
        assert ours["intensity_sd"].value == pytest.approx(statistics.GetStandardDeviation(value), rel=1e-5)
        assert ours["intensity_minimum"].value == statistics.GetMinimum(value)
        assert ours["intensity_maximum"].value == statistics.GetMaximum(value)


@pytest.mark.parametrize("affine", [np.diag([-0.7, -0.8, 2.5, 1]), OBLIQUE], ids=["upright", "oblique"])
def test_two_masks_overlap_as_simpleitk_says(affine):
    grid = Volume(np.zeros((30, 28, 20), np.uint8), affine)
    one, other = blobs(grid.shape, 7), np.roll(blobs(grid.shape, 7), 1, axis=0)
    report = quantities_of(drawn(grid, 7), reference=Segmentation.of_label_map(grid.with_array(other)))
    measure = sitk.LabelOverlapMeasuresImageFilter()
    measure.Execute(in_itk(one, affine), in_itk(other, affine))
    for value in (1, 5):
        assert report[value]["dice"].value == pytest.approx(measure.GetDiceCoefficient(value), rel=1e-9)


def in_itk(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """An array (x, y, z) with its place, as ITK keeps it."""
    found = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    lps = LPS[:, None] * affine[:3, :3]
    spacing = np.linalg.norm(lps, axis=0)
    found.SetSpacing(spacing.tolist())
    found.SetDirection((lps / spacing).ravel().tolist())
    found.SetOrigin((LPS * affine[:3, 3]).tolist())
    return found
