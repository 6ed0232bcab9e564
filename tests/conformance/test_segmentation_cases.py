"""Real segmentations of io_cases, through the one door of every format and through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg_rl.cli import app
from medseg_rl.errors import InputFileError, OutputError
from medseg_rl.imageio import (
    describe,
    holds_labels,
    read_mask,
    read_segmentation,
    read_volume,
    write_mask,
    write_segmentation,
)
from medseg_rl.segmentation import Segmentation

PARTIAL = {1: 9602, 2: 11888, 3: 10743, 4: 6693, 5: 4713}


@pytest.fixture(scope="module")
def dcmqi(io_cases: Path) -> Path:
    return io_cases / "dcmqi_seg"


@pytest.mark.parametrize(
    ("path", "reference"),
    [
        ("seg/liver.dcm", "nrrd/liver_seg.nrrd"),
        ("24x38x3/seg/label.seg", "24x38x3/nrrd/label.nrrd"),
        ("23x38x3/seg/label.seg", "23x38x3/nrrd/label.nrrd"),
    ],
)
def test_a_dicom_seg_holds_the_voxels_of_its_nrrd_twin(dcmqi: Path, path: str, reference: str) -> None:
    wanted = read_mask(dcmqi / reference)
    mask = read_mask(dcmqi / path, like=wanted)
    np.testing.assert_array_equal(mask.array != 0, wanted.array != 0)


def test_overlapping_segments_stay_apart_and_are_no_single_mask(dcmqi: Path) -> None:
    image = read_volume(dcmqi / "ct-3slice")
    found = read_segmentation(dcmqi / "seg" / "partial_overlaps.dcm", like=image)
    assert found.shape == image.shape
    assert (found.voxels, found.overlap_voxels) == (PARTIAL, 3106)
    with pytest.raises(InputFileError, match="3106 voxels in more than one label"):
        read_mask(dcmqi / "seg" / "partial_overlaps.dcm", like=image)


@pytest.mark.parametrize("name", ["out.seg.nrrd", "out.dcm", "out.rtstruct.dcm"])
def test_overlapping_segments_go_through_every_format_that_holds_them(dcmqi: Path, tmp_path: Path, name: str) -> None:
    image = read_volume(dcmqi / "ct-3slice")
    wanted = read_segmentation(dcmqi / "seg" / "partial_overlaps.dcm", like=image)
    write_segmentation(tmp_path / name, wanted, like=image)
    found = read_segmentation(tmp_path / name, like=image)
    assert found.labels.values == wanted.labels.values
    assert [label.name for label in found.labels.labels] == [label.name for label in wanted.labels.labels]
    for label in wanted.labels.labels:
        np.testing.assert_array_equal(found.mask_of(label.value), wanted.mask_of(label.value))
        difference = np.abs(np.subtract(found.labels[label.value].colour, label.colour))
        assert difference.max() <= 1


def test_a_label_map_seg_takes_overlap_only_when_flattened(dcmqi: Path, tmp_path: Path) -> None:
    image = read_volume(dcmqi / "ct-3slice")
    wanted = read_segmentation(dcmqi / "seg" / "partial_overlaps.dcm", like=image)
    with pytest.raises(OutputError, match="3106 voxels"):
        write_segmentation(tmp_path / "out.dcm", wanted, like=image, form="LABELMAP")
    said = write_segmentation(tmp_path / "out.dcm", wanted, like=image, form="LABELMAP", flatten=True)
    assert "3106" in said[0]
    np.testing.assert_array_equal(read_mask(tmp_path / "out.dcm", like=image).array, wanted.flattened().array)


def test_a_plain_mask_is_written_as_a_dicom_seg_with_its_values(dcmqi: Path, tmp_path: Path) -> None:
    image = read_volume(dcmqi / "ct-3slice")
    array = np.zeros(image.shape, np.uint16)
    array[100:200, 50:90, 1], array[300:310, 300:310, :] = 7, 300
    write_mask(tmp_path / "mask.dcm", image.with_array(array), like=image)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.dcm", like=image).array, array)


def test_the_ibsi_structures_rasterise_to_the_mask_of_their_nifti_copy(io_cases: Path, tmp_path: Path) -> None:
    folder = io_cases / "ibsi_lung_ct"
    image = read_volume(folder / "dicom")
    found = read_segmentation(folder / "rtstruct" / "DCM_RS_00060.dcm", like=image)
    wanted = read_mask(folder / "nifti" / "mask.nii.gz", like=image)
    np.testing.assert_array_equal(found.flattened().array != 0, wanted.array != 0)
    write_segmentation(tmp_path / "again.rtstruct.dcm", found, like=image)
    again = read_mask(tmp_path / "again.rtstruct.dcm", like=image)
    np.testing.assert_array_equal(again.array != 0, wanted.array != 0)


def test_contours_without_their_image_are_refused(io_cases: Path) -> None:
    with pytest.raises(InputFileError, match="--like"):
        read_segmentation(io_cases / "ibsi_lung_ct" / "rtstruct" / "DCM_RS_00060.dcm")


def test_a_seg_needs_an_image_from_dicom(io_cases: Path, tmp_path: Path) -> None:
    image = read_volume(io_cases / "spleen_ct" / "image.nii.gz")
    spleen = Segmentation.of_label_map(read_mask(io_cases / "spleen_ct" / "label.nii.gz", like=image))
    with pytest.raises(OutputError, match="did not come from DICOM"):
        write_segmentation(tmp_path / "spleen.dcm", spleen, like=image)


def test_dicom_objects_are_known_as_segmentations(dcmqi: Path, io_cases: Path) -> None:
    assert holds_labels(dcmqi / "seg" / "liver.dcm")
    assert holds_labels(io_cases / "ibsi_lung_ct" / "rtstruct" / "DCM_RS_00060.dcm")
    assert not holds_labels(dcmqi / "ct-3slice" / "01.dcm")
    described = describe(dcmqi / "seg" / "partial_overlaps.dcm")
    assert described["overlap_voxels"] == 3106
    assert {segment["value"]: segment["voxels"] for segment in described["segments"]} == PARTIAL


def test_the_command_line_converts_a_seg_and_back(dcmqi: Path, tmp_path: Path) -> None:
    def convert(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["convert", *(str(a) for a in arguments)])
        assert result.exit_code == code, result.stderr
        return result.stderr

    seg, image = dcmqi / "seg" / "partial_overlaps.dcm", dcmqi / "ct-3slice"
    assert "3106 voxels" in convert(seg, tmp_path / "a.nii.gz", "--like", image, code=7)
    convert(seg, tmp_path / "a.seg.nrrd", "--like", image)
    convert(tmp_path / "a.seg.nrrd", tmp_path / "b.dcm", "--like", image)
    assert read_segmentation(tmp_path / "b.dcm").voxels == PARTIAL
    convert(tmp_path / "a.seg.nrrd", tmp_path / "c.dcm", "--like", image, "--labelmap", "--flatten")
    assert sum(read_segmentation(tmp_path / "c.dcm").voxels.values()) < sum(PARTIAL.values())
