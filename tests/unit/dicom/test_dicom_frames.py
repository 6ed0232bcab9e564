"""Multi-frame files: every frame where its functional groups put it, phases apart, nonsense refused."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.imageio import describe, geometry_reports, read_volume

ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"
ROWS, COLUMNS = 40, 36


def item(**values):
    dataset = pydicom.Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def frame_values(depth, shift=0):
    """Stored values (row, column) of the frame at `depth` mm."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    return (x + 2 * y + 10 * depth + shift).astype(np.int16)


@pytest.fixture
def enhanced(dicom_file):
    """One file with a frame at each of `depths`; `own` and `shared` make the functional groups of a frame, of all."""

    def build(path, depths=(0, 2, 4, 6), own=lambda n: {}, shared=None, shifts=None, **changes):
        shifts = shifts or [0] * len(depths)
        stored = np.stack([frame_values(depth, shift) for depth, shift in zip(depths, shifts, strict=True)])
        dicom_file(path, 0, 0, stored[0], SOPClassUID=ENHANCED_CT)
        dataset = pydicom.dcmread(path)
        for name in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness"):
            delattr(dataset, name)
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.NumberOfFrames, dataset.PixelData = len(depths), stored.tobytes()
        groups = {
            "PixelMeasuresSequence": [item(PixelSpacing=[0.7, 0.5])],
            "PlaneOrientationSequence": [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            "PixelValueTransformationSequence": [item(RescaleSlope=1, RescaleIntercept=-1000, RescaleType="HU")],
            "FrameVOILUTSequence": [item(WindowCenter=[40, 300], WindowWidth=[400, 2000])],
        }
        dataset.SharedFunctionalGroupsSequence = [item(**(groups | (shared or {})))]
        dataset.PerFrameFunctionalGroupsSequence = [
            item(**({"PlanePositionSequence": [item(ImagePositionPatient=[10, 20, depth])]} | own(n)))
            for n, depth in enumerate(depths)
        ]
        for name, value in changes.items():
            setattr(dataset, name, value)
        dataset.save_as(path)
        return path

    return build


def test_frames_are_sorted_by_their_positions(tmp_path, enhanced):
    volume = read_volume(enhanced(tmp_path / "mf.dcm", depths=(4, 0, 6, 2)))
    assert volume.shape == (COLUMNS, ROWS, 4)
    wanted = np.stack([frame_values(depth).T - 1000 for depth in (0, 2, 4, 6)], axis=-1)
    np.testing.assert_array_equal(volume.array, wanted)
    np.testing.assert_allclose(volume.affine, [[-0.5, 0, 0, -10], [0, -0.7, 0, -20], [0, 0, 2, 0], [0, 0, 0, 1]])
    assert volume.source["units"] == "HU"
    assert volume.source["window"] == {"width": 400, "level": 40}


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless], ids=lambda uid: uid.keyword)
def test_compressed_frames_are_the_same(tmp_path, enhanced, syntax):
    path = enhanced(tmp_path / "mf.dcm", depths=(4, 0, 6, 2))
    plain = read_volume(path)
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_volume(path).array, plain.array)


def test_each_frame_has_its_own_rescaling_and_directions_where_it_says_so(tmp_path, enhanced):
    def own(n):
        return {
            "PixelValueTransformationSequence": [item(RescaleSlope=n + 1, RescaleIntercept=0, RescaleType="US")],
            "PlaneOrientationSequence": [item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])],
            "PlanePositionSequence": [item(ImagePositionPatient=[-3.0 * n, 0, 0])],
        }

    volume = read_volume(enhanced(tmp_path / "mf.dcm", own=own, Modality="MR", SOPClassUID=ENHANCED_MR))
    assert volume.array.dtype == np.float32
    assert volume.orientation == "PIR+"
    np.testing.assert_array_equal(volume.array[:, :, 3], frame_values(6).T * 4.0)


def test_echoes_and_diffusion_weights_of_one_file_are_series_to_choose_from(tmp_path, enhanced):
    def own(n):
        echo = [item(EffectiveEchoTime=float(10 * (1 + n % 2)))]
        return {"MREchoSequence": echo, "FrameContentSequence": [item(TemporalPositionIndex=1)]}

    depths, shifts = (0, 0, 2, 2, 4, 4), [0, 5] * 3
    path = enhanced(tmp_path / "mf.dcm", depths=depths, own=own, shifts=shifts, Modality="MR")
    with pytest.raises(InputFileError, match=r"2 series.*EchoTime 10\.0.*36 x 40 x 3; 2\).*EchoTime 20\.0"):
        read_volume(path)
    first, second = (read_volume(path, series=n) for n in (1, 2))
    np.testing.assert_array_equal(second.array - first.array, np.full((COLUMNS, ROWS, 3), 5))


def test_repeated_frames_that_nothing_tells_apart_are_copies(tmp_path, enhanced):
    path = enhanced(tmp_path / "mf.dcm", depths=(0, 2, 4, 0, 2, 4), shifts=[0, 0, 0, 9, 9, 9])
    assert [r.copies for r in geometry_reports(path)] == [3, 3]
    first, second = (read_volume(path, series=n) for n in (1, 2))
    np.testing.assert_array_equal(second.array - first.array, np.full((COLUMNS, ROWS, 3), 9))


def test_missing_frames_are_red_and_named_by_their_numbers(tmp_path, enhanced):
    path = enhanced(tmp_path / "mf.dcm", depths=(0, 2, 6, 8))
    with pytest.raises(GeometryError, match=r"1 slice seems missing.*between frame 2 of mf\.dcm and frame 3 of"):
        read_volume(path)
    assert read_volume(path, missing="resample").shape[2] == 5


def test_enhanced_files_of_one_frame_each_make_a_series(tmp_path, enhanced):
    for n in range(3):
        enhanced(tmp_path / "ct" / f"{n}", depths=(2.0 * n,))
    volume = read_volume(tmp_path / "ct")
    assert volume.shape == (COLUMNS, ROWS, 3)
    np.testing.assert_array_equal(volume.array[:, :, 1], frame_values(2).T - 1000)


def test_a_description_counts_frames_and_files(tmp_path, enhanced):
    facts = describe(enhanced(tmp_path / "mf.dcm"))
    assert facts["usable"]
    (series,) = facts["series"]
    assert (series["kind"], series["files"], series["shape"]) == ("multi-frame image", 1, [COLUMNS, ROWS, 4])
    assert series["report"] == ["4 images, 0.50 x 0.70 x 2.00 mm, no gaps, no tilt"]


def test_frames_without_positions_make_no_volume(tmp_path, enhanced):
    path = enhanced(tmp_path / "mf.dcm", own=lambda n: {"PlanePositionSequence": []})
    with pytest.raises(InputFileError, match="multi-frame image of 4 frames that has no position in space"):
        read_volume(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"NumberOfFrames": 5}, "damaged"),
        ({"NumberOfFrames": 3}, "damaged"),
        ({"Rows": ROWS + 1}, "cut off or damaged"),
        ({"Rows": 60000, "Columns": 60000}, "more than can be worked on"),
    ],
)
def test_frames_that_are_not_what_the_header_says_are_refused(tmp_path, enhanced, changes, said):
    with pytest.raises(InputFileError, match=said):
        read_volume(enhanced(tmp_path / "mf.dcm", **changes))


def test_a_cut_off_multi_frame_file_is_named(tmp_path, enhanced):
    path = enhanced(tmp_path / "mf.dcm")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputFileError, match=r"mf\.dcm is cut off or damaged"):
        read_volume(path)
