"""Real SEG and RTSTRUCT files of io_cases against expected.json, and against highdicom where it reads them too."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest

from medseg_rl.imageio import read_mask, read_volume
from medseg_rl.imageio.dicom_seg import read as read_seg
from medseg_rl.imageio.dicom_seg_writing import write as write_seg
from medseg_rl.imageio.masks import on_grid_of
from medseg_rl.imageio.rtstruct import read as read_structures
from medseg_rl.imageio.rtstruct_writing import write as write_structures
from medseg_rl.segmentation import Segmentation

SERIES = ["ibsi_lung_ct/dicom", "mr_oblique_dicom", "ct_gantry_tilt", "dcmqi_seg/23x38x3/image"]


@pytest.fixture(scope="module")
def expected(io_cases: Path) -> list[dict[str, Any]]:
    facts = json.loads((io_cases / "expected.json").read_text())["dcmqi_seg"]
    small = [facts["24x38x3"]["seg"], facts["23x38x3"]["seg"], *facts["24x38x3"]["labelmap"]]
    return [*facts["seg"], *small]


def test_segments_names_and_voxels_are_as_expected(io_cases: Path, expected: list[dict[str, Any]]) -> None:
    for facts in expected:
        found = read_seg(io_cases / facts["file"])
        names = {str(label.value): label.name for label in found.labels.labels}
        assert names == {number: name for number, name in facts["segments"].items() if name != "Background"}
        assert {str(value): n for value, n in found.voxels.items()} == facts["voxels"]
        assert found.overlap_voxels == facts.get("voxels_in_more_than_one_segment", 0)
        assert found.warnings == []


def test_each_overlapping_segment_lies_where_its_nrrd_twin_does(io_cases: Path) -> None:
    folder = io_cases / "dcmqi_seg"
    found = read_seg(folder / "seg" / "partial_overlaps.dcm")
    seen = 0
    for n in (1, 2, 3):
        twin = read_mask(folder / "nrrd" / f"partial_overlaps-{n}.nrrd", like=found.grid)
        for value in np.unique(twin.array[twin.array > 0]):
            np.testing.assert_array_equal(found.mask_of(int(value)), twin.array == value)
            seen += 1
    assert seen == 5


def test_a_label_map_with_a_slice_left_out_lies_where_its_nrrd_twin_does(io_cases: Path) -> None:
    folder = io_cases / "dcmqi_seg" / "24x38x3" / "labelmap"
    for name in ("noppv", "ppv5"):
        found = read_seg(folder / f"sparse-labelmap-{name}.dcm")
        twin = read_mask(folder / f"sparse_labelmap_{name}_seg.nrrd", like=found.grid)
        np.testing.assert_array_equal(found.mask_of(1), twin.array == 1)
        assert not found.mask_of(1)[:, :, 1].any()


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(np.round(points, 2).T)]


def test_highdicom_sees_the_same_voxels_at_the_same_places(io_cases: Path, expected: list[dict[str, Any]]) -> None:
    compared = 0
    for facts in expected:
        found = read_seg(io_cases / facts["file"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = highdicom.seg.segread(io_cases / facts["file"])
            if facts["type"] == "LABELMAP":  # a slice is left out, which highdicom makes no volume of
                continue
            volume = theirs.get_volume(combine_segments=False)
        for n, number in enumerate(volume.get_channel_values("ReferencedSegmentNumber")):
            affine = volume.get_affine("RAS")
            theirs_mm = np.argwhere(volume.array[..., n]) @ affine[:3, :3].T + affine[:3, 3]
            ours_mm = found.grid.index_to_world(np.argwhere(found.mask_of(int(number))))
            np.testing.assert_allclose(in_order(theirs_mm), in_order(ours_mm), atol=1e-3)
            compared += 1
    assert compared == 8


@pytest.mark.parametrize("series", SERIES)
def test_what_is_drawn_on_a_real_series_comes_back_through_both_formats(
    io_cases: Path, tmp_path: Path, series: str
) -> None:
    image = read_volume(io_cases / series)
    array = np.zeros(image.shape, np.uint16)
    array[2:20, 3:15, 1:] = 7
    array[5:9, 5:30, :-1] = 300
    drawn = Segmentation.of_label_map(image.with_array(array))
    write_seg(tmp_path / "seg.dcm", drawn, like=image)
    back = on_grid_of(tmp_path, read_seg(tmp_path / "seg.dcm", like=image).grid, image, part=True)
    np.testing.assert_array_equal(back.array, array)
    write_structures(tmp_path / "rt.dcm", drawn, like=image)
    np.testing.assert_array_equal(read_structures(tmp_path / "rt.dcm", like=image).grid.array, array)


def test_the_ibsi_contours_fill_to_its_mask_voxel_for_voxel(io_cases: Path) -> None:
    image = read_volume(io_cases / "ibsi_lung_ct" / "dicom")
    found = read_structures(io_cases / "ibsi_lung_ct" / "rtstruct" / "DCM_RS_00060.dcm", like=image)
    wanted = read_mask(io_cases / "ibsi_lung_ct" / "nifti" / "mask.nii.gz", like=image).array
    assert wanted.sum() == 125256
    np.testing.assert_array_equal(found.grid.array, wanted)
    assert [(label.name, label.colour) for label in found.labels.labels] == [("GTV-1", (0, 230, 0))]
