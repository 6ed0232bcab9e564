"""DICOM SEG: what is written comes back, highdicom reads it too, nothing of the patient slips out, damage is said."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless, generate_uid

from medseg_rl.errors import GeometryError, InputFileError, OutputError
from medseg_rl.imageio import read_volume
from medseg_rl.imageio.dicom_colours import cielab_of, colour_of
from medseg_rl.imageio.dicom_objects import object_kind, short_name
from medseg_rl.imageio.dicom_seg import read
from medseg_rl.imageio.dicom_seg_writing import write
from medseg_rl.imageio.masks import on_grid_of
from medseg_rl.labels import PALETTE, Label, LabelMap
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume

MARK = b"Marked"  # in every text of the images' headers
LONG = "Läsion " + "x" * 90 + "\\y"
TABLE = LabelMap((Label(7, LONG, (10, 200, 30)), Label(300, "Liver", (221, 130, 101)), Label(1, "none", (1, 2, 3))))

highdicom = pytest.importorskip("highdicom")


def drawn(image: Volume) -> Segmentation:
    """Values 7 and 300 on the slices 1 to 3 of `image`, value 1 without a voxel."""
    array = np.zeros(image.shape, np.int16)
    array[1:4, 2:5, 1:3] = 7
    array[3:, 5:, 2:4] = 300
    return Segmentation.of_label_map(image.with_array(array), TABLE)


def on_grid(path: Path, segmentation: Segmentation, image: Volume) -> list[np.ndarray]:
    return [on_grid_of(path, layer, image, part=True).array for layer in segmentation.layers]


def changed(path: Path, change) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


@pytest.fixture
def image(dicom_folder) -> Volume:
    return read_volume(dicom_folder())


@pytest.mark.parametrize("form", ["BINARY", "LABELMAP"])
def test_values_names_colours_and_places_come_back(tmp_path, image, form):
    said = write(tmp_path / "a.dcm", drawn(image), like=image, form=form)
    back = read(tmp_path / "a.dcm", like=image)
    assert {(la.value, la.name, la.colour) for la in back.labels.labels} == {
        (la.value, la.name, la.colour) for la in TABLE.labels
    }
    assert back.voxels[7] == 18
    assert back.voxels[1] == 0
    assert len(back.layers) == 1
    np.testing.assert_array_equal(on_grid(tmp_path, back, image)[0], drawn(image).grid.array)
    assert back.warnings == []
    assert ("label 7 is segment 1, 300 is segment 2" in " ".join(said)) == (form == "BINARY")
    assert object_kind(tmp_path / "a.dcm") == "DICOM SEG"


def test_planes_that_were_left_out_are_put_back_by_position(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image), like=image)
    cropped = read(tmp_path / "a.dcm", like=image)
    assert cropped.shape == (9, 7, 3)
    np.testing.assert_allclose(cropped.grid.affine[:3, 3], image.index_to_world((0, 0, 1)), atol=1e-5)
    np.testing.assert_allclose(cropped.grid.affine[:3, :3], image.affine[:3, :3], atol=1e-6)


@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("tilt", [0.0, 0.8])
def test_the_order_of_frames_means_nothing_and_tilt_is_kept(tmp_path, dicom_folder, upside_down, tilt):
    image = read_volume(dicom_folder(tilt_mm=tilt, upside_down=upside_down))
    assert image.is_sheared == (tilt > 0)
    write(tmp_path / "a.dcm", drawn(image), like=image)

    def reverse(dataset: pydicom.Dataset) -> None:
        count, size = int(dataset.NumberOfFrames), dataset.Rows * dataset.Columns
        bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")[: count * size]
        packed = np.packbits(bits.reshape(count, size)[::-1].ravel(), bitorder="little").tobytes()
        dataset.PixelData = packed + b"\0" * (len(packed) % 2)
        dataset.PerFrameFunctionalGroupsSequence = list(dataset.PerFrameFunctionalGroupsSequence)[::-1]

    changed(tmp_path / "a.dcm", reverse)
    for like in (None, image):
        back = read(tmp_path / "a.dcm", like=like)
        np.testing.assert_array_equal(on_grid(tmp_path, back, image)[0], drawn(image).grid.array)


def test_slices_that_were_kept_with_uneven_gaps_are_told_at_their_true_places(tmp_path, dicom_folder):
    image = read_volume(dicom_folder(depths=(0, 1, 2, 2.4, 5, 6)), missing="keep")
    write(tmp_path / "a.dcm", drawn(image), like=image)
    frames = pydicom.dcmread(tmp_path / "a.dcm").PerFrameFunctionalGroupsSequence
    places = np.array([frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames], float)
    depths = np.unique(np.round((places - (10, 20, 30)) @ (-0.6, 0.8, 0) / 2.5, 4))
    np.testing.assert_allclose(np.abs(depths), [1, 2, 2.4])
    back = read(tmp_path / "a.dcm", like=image)
    np.testing.assert_array_equal(on_grid(tmp_path, back, image)[0], drawn(image).grid.array)
    with pytest.raises(GeometryError, match="no regular grid; give its image"):
        read(tmp_path / "a.dcm")


def test_frames_of_a_multi_frame_image_are_named_by_their_numbers(tmp_path, io_cases):
    image = read_volume(io_cases / "dcmqi_seg" / "24x38x3" / "multiframe" / "mf.dcm")
    array = np.zeros(image.shape, np.uint8)
    array[3:9, 4:20, 1:] = 1
    write(tmp_path / "a.dcm", Segmentation.of_label_map(image.with_array(array)), like=image)
    for frame in pydicom.dcmread(tmp_path / "a.dcm").PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float) * (-1, -1, 1)
        assert int(source.ReferencedFrameNumber) == round(float(image.world_to_index(place)[2])) + 1
    np.testing.assert_array_equal(on_grid(tmp_path, read(tmp_path / "a.dcm"), image)[0], array)


def test_slices_far_apart_find_their_place_even_without_a_spacing(tmp_path, image):
    array = np.zeros(image.shape, np.uint8)
    array[2:4, 2:4, [0, 3, 5]] = 1
    write(tmp_path / "a.dcm", Segmentation.of_label_map(image.with_array(array)), like=image)

    def forget(dataset: pydicom.Dataset) -> None:
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        del measures.SpacingBetweenSlices
        del measures.SliceThickness

    changed(tmp_path / "a.dcm", forget)
    assert on_grid(tmp_path, read(tmp_path / "a.dcm", like=image), image)[0].sum() == 12
    with pytest.raises(GeometryError, match="give its image"):
        read(tmp_path / "a.dcm")


def test_overlapping_segments_stay_apart_and_highdicom_agrees(tmp_path, image):
    one, other = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    one[1:6, 1:5, 1:4], other[3:8, 2:6, 2:6] = True, True
    both = Segmentation.of_masks([(Label(4, "a", (1, 2, 3)), one), (Label(2, "b", (4, 5, 6)), other)], image)
    write(tmp_path / "a.dcm", both, like=image)
    back = read(tmp_path / "a.dcm", like=image)
    assert back.overlap_voxels == both.overlap_voxels == (one & other).sum()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = highdicom.seg.segread(tmp_path / "a.dcm").get_volume(combine_segments=False)
    planes = theirs.get_affine("RAS")[:3, 3]
    assert theirs.array.sum(axis=(0, 1, 2)).tolist() == [one.sum(), other.sum()]
    ours = np.stack([back.mask_of(4), back.mask_of(2)], axis=-1).transpose(2, 1, 0, 3)
    flipped = np.allclose(planes, back.grid.index_to_world((0, 0, back.shape[2] - 1)), atol=1e-4)
    np.testing.assert_array_equal(theirs.array, ours[::-1] if flipped else ours)
    with pytest.raises(OutputError, match=rf"{(one & other).sum()} voxels lie in more than one label"):
        write(tmp_path / "b.dcm", both, like=image, form="LABELMAP")


def test_each_frame_refers_to_its_own_image(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image), like=image)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    referred = {str(i.ReferencedSOPInstanceUID) for i in dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referred == {str(generate_uid(entropy_srcs=["ct", str(k)])) for k in range(6)}
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        own = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place = np.array([float(p) for p in frame.PlanePositionSequence[0].ImagePositionPatient]) * (-1, -1, 1)
        k = round(float(image.world_to_index(place)[2]))
        assert own == generate_uid(entropy_srcs=["ct", str(k)])


def test_a_grid_of_another_shape_keeps_its_place_and_the_series(tmp_path, image):
    coarse = Volume(np.zeros((4, 3, 3), np.int16), image.affine @ np.diag([2, 2, 2, 1.0]), "CT", image.source)
    array = np.zeros(coarse.shape, np.uint8)
    array[1:3, 1:, 1] = 5
    write(tmp_path / "a.dcm", Segmentation.of_label_map(coarse.with_array(array)), like=coarse)
    np.testing.assert_array_equal(on_grid(tmp_path, read(tmp_path / "a.dcm"), coarse)[0], array)


def test_the_model_s_share_and_the_notice_are_stated(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image), like=image, touched_by_model={300}, provenance={"bundle": "ab12"})
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    kinds = {str(s.SegmentLabel): str(s.SegmentAlgorithmType) for s in dataset.SegmentSequence}
    assert kinds == {short_name(LONG): "MANUAL", "Liver": "SEMIAUTOMATIC", "none": "MANUAL"}
    assert str(dataset.SeriesDescription).startswith("RESEARCH")
    said = str(dataset.ContributingEquipmentSequence[0].ContributionDescription)
    assert said.startswith('For research use only. Not a medical device. {"program":"medseg-rl ')
    assert said.endswith('"bundle":"ab12"}')


@pytest.mark.parametrize("form", ["BINARY", "LABELMAP"])
def test_nothing_of_the_patient_is_in_a_de_identified_file(tmp_path, image, form):
    write(tmp_path / "a.dcm", drawn(image), like=image, form=form)
    content = (tmp_path / "a.dcm").read_bytes()
    assert MARK not in content
    assert b"19330303" not in content
    assert b"19440404" not in content
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    assert dataset.PatientIdentityRemoved == "YES"
    assert str(dataset.PatientName) == dataset.PatientID == dataset.StudyDate == ""
    assert dataset.StudyInstanceUID == generate_uid(entropy_srcs=["study"])
    assert dataset.FrameOfReferenceUID == generate_uid(entropy_srcs=["frame of reference"])


def test_an_archive_gets_the_patient_but_not_the_institution(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image), like=image, deidentified=False)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    assert (str(dataset.PatientName), dataset.PatientID, dataset.AccessionNumber) == (
        "Marked^Name",
        "MarkedID",
        "MarkedAcc",
    )
    assert "PatientIdentityRemoved" not in dataset
    assert b"hospital" not in (tmp_path / "a.dcm").read_bytes()


def test_an_image_that_is_not_dicom_has_nothing_to_refer_to(tmp_path, image):
    plain = Volume(image.array, image.affine, "CT", {"format": "NIfTI", "path": "a.nii"})
    with pytest.raises(OutputError, match="did not come from DICOM"):
        write(tmp_path / "a.dcm", drawn(plain), like=plain)
    moved = Volume(image.array, image.affine, "CT", {**image.source, "path": str(tmp_path / "gone")})
    with pytest.raises(OutputError, match=r"cannot be read again|no longer where they were"):
        write(tmp_path / "a.dcm", drawn(moved), like=moved)
    assert not (tmp_path / "a.dcm").exists()


def test_what_the_format_cannot_hold_is_refused(tmp_path, image):
    large = Segmentation.of_label_map(image.with_array(np.full(image.shape, 70000)))
    with pytest.raises(OutputError, match="1 to 65535, not 70000"):
        write(tmp_path / "a.dcm", large, like=image, form="LABELMAP")
    write(tmp_path / "a.dcm", large, like=image)
    assert read(tmp_path / "a.dcm").labels.values == (70000,)
    with pytest.raises(OutputError, match="no label"):
        write(tmp_path / "b.dcm", Segmentation.of_label_map(image.with_array(np.zeros(image.shape, int))), like=image)
    with pytest.raises(GeometryError, match="resample"):
        write(tmp_path / "b.dcm", drawn(read_volume(image.source["path"])).only([7]), like=large_grid(image))


def large_grid(image: Volume) -> Volume:
    return Volume(np.zeros((9, 7, 8), np.int16), image.affine, "CT", image.source)


def test_labels_without_any_voxel_are_written_and_read(tmp_path, image):
    none = Segmentation.of_label_map(image.with_array(np.zeros(image.shape, np.uint8)), TABLE)
    write(tmp_path / "a.dcm", none, like=image)
    assert read(tmp_path / "a.dcm").voxels == {7: 0, 300: 0, 1: 0}


def test_fractions_need_a_threshold(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image).only([300]), like=image)

    def to_fractions(dataset: pydicom.Dataset) -> None:
        size = int(dataset.NumberOfFrames) * dataset.Rows * dataset.Columns
        bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")[:size]
        dataset.SegmentationType, dataset.MaximumFractionalValue = "FRACTIONAL", 200
        dataset.SegmentationFractionalType = "PROBABILITY"
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        packed = (bits * 120).tobytes()
        dataset.PixelData = packed + b"\0" * (len(packed) % 2)

    changed(tmp_path / "a.dcm", to_fractions)
    with pytest.raises(InputFileError, match=r"apply a threshold, such as 0\.5"):
        read(tmp_path / "a.dcm")
    assert read(tmp_path / "a.dcm", threshold=0.5).voxels == drawn(image).only([300]).voxels
    assert read(tmp_path / "a.dcm", threshold=0.7).voxels == {300: 0}


def test_a_compressed_label_map_is_read(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image), like=image, form="LABELMAP")
    changed(tmp_path / "a.dcm", lambda dataset: dataset.compress(RLELossless, generate_instance_uid=False))
    np.testing.assert_array_equal(
        on_grid(tmp_path, read(tmp_path / "a.dcm", like=image), image)[0], drawn(image).grid.array
    )


def test_a_deflated_file_is_read_and_a_bomb_is_refused(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image), like=image, form="LABELMAP")

    def deflate(dataset: pydicom.Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    assert read(changed(tmp_path / "a.dcm", deflate)).voxels[7] == 18

    def inflate(dataset: pydicom.Dataset) -> None:
        dataset.PixelData = bytes(1 << 26)

    content = changed(tmp_path / "a.dcm", inflate).read_bytes()
    assert len(content) < 1 << 20
    with pytest.raises(InputFileError, match="unpacks to more than 16 MiB, all it can need"):
        read(tmp_path / "a.dcm")


def test_padding_and_background_segments_are_background(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image).only([7]), like=image, form="LABELMAP")

    def pad(dataset: pydicom.Dataset) -> None:
        pixels = np.frombuffer(dataset.PixelData, np.uint8).copy()
        pixels[pixels == 0] = 5
        dataset.PixelPaddingValue, dataset.PixelData = 5, pixels.tobytes()

    changed(tmp_path / "a.dcm", pad)
    assert read(tmp_path / "a.dcm").voxels == {7: 18}


def test_two_segments_that_claim_one_value_get_two_and_it_is_said(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image), like=image)

    def same(dataset: pydicom.Dataset) -> None:
        for segment in dataset.SegmentSequence:
            segment.TrackingID = "MedSeg-RL label value 9"

    back = read(changed(tmp_path / "a.dcm", same))
    assert len(set(back.labels.values)) == 3
    assert "cannot have the value 9" in " ".join(back.warnings)
    assert sorted(back.voxels.values()) == sorted(drawn(image).voxels.values())


def test_a_few_frames_do_not_claim_the_memory_for_a_mile(tmp_path, image):
    write(tmp_path / "a.dcm", drawn(image).only([7]), like=image)

    def move(dataset: pydicom.Dataset) -> None:
        place = dataset.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
        first = np.array(dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient)
        step = np.array(place.ImagePositionPatient, float) - first.astype(float)
        place.ImagePositionPatient = [f"{p:.9g}" for p in first.astype(float) + 4_000_000 * step]

    with pytest.raises(InputFileError, match=r"spans 9 x 7 x 4000001 voxels with 2 frames"):
        read(changed(tmp_path / "a.dcm", move))


LIES = {
    "more frames than are described": lambda d: setattr(d, "NumberOfFrames", 9),
    "rows beyond the file": lambda d: setattr(d, "Rows", 60000),
    "no position": lambda d: delattr(d.PerFrameFunctionalGroupsSequence[0], "PlanePositionSequence"),
    "a position that is no number": lambda d: setattr(
        d.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0], "ImagePositionPatient", ["1e400", "0", "0"]
    ),
    "a position a light year away": lambda d: setattr(
        d.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0], "ImagePositionPatient", [9e15, 0, 0]
    ),
    "a flat orientation": lambda d: setattr(
        d.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0], "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]
    ),
    "no spacing": lambda d: setattr(
        d.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0], "PixelSpacing", [0, 0]
    ),
    "no pixels": lambda d: delattr(d, "PixelData"),
    "twelve bits": lambda d: setattr(d, "BitsAllocated", 12),
    "another class": lambda d: setattr(d, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_in_one_line(tmp_path, image, lie):
    write(tmp_path / "a.dcm", drawn(image), like=image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changed(tmp_path / "a.dcm", LIES[lie])
    with pytest.raises((InputFileError, GeometryError)) as caught:
        read(tmp_path / "a.dcm", like=image)
    assert str(tmp_path / "a.dcm") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["BINARY", "LABELMAP"])
def test_damaged_files_end_in_one_line_or_in_a_segmentation(tmp_path, image, form):
    write(tmp_path / "a.dcm", drawn(image), like=image, form=form)
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
        except (InputFileError, GeometryError) as error:
            refused.append(str(error))
    assert not [line for line in refused if "\n" in line]
    assert len(refused) > 50


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_colours_survive_cielab(colour):
    assert colour_of(cielab_of(colour)) == colour


def test_colours_are_those_of_highdicom():
    for colour in PALETTE:
        assert cielab_of(colour) == tuple(highdicom.color.CIELabColor.from_rgb(*colour).value)


def code_item(value: str, scheme: str, meaning: str) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def terms_of(path: Path) -> list[tuple[tuple[str, str], ...]]:
    found = []
    for segment in (s for s in pydicom.dcmread(path).SegmentSequence if s.SegmentNumber):
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        codes = [segment.SegmentedPropertyCategoryCodeSequence[0], kind]
        codes += kind.get("SegmentedPropertyTypeModifierCodeSequence") or []
        codes += segment.get("AnatomicRegionSequence") or []
        found.append(tuple((code.CodingSchemeDesignator, code.CodeValue) for code in codes))
    return found


@pytest.mark.parametrize("form", ["BINARY", "LABELMAP"])
def test_what_another_program_says_that_a_segment_is_goes_on_into_the_next_file(tmp_path, image, form):
    write(tmp_path / "a.dcm", drawn(image), like=image)

    def say(dataset: pydicom.Dataset) -> None:
        first, second = dataset.SegmentSequence[0], dataset.SegmentSequence[1]
        first.SegmentedPropertyCategoryCodeSequence = [code_item("123037004", "SCT", "Anatomical Structure")]
        kidney = code_item("64033007", "SCT", "Kidney")
        kidney.SegmentedPropertyTypeModifierCodeSequence = [code_item("7771000", "SCT", "Left")]
        first.SegmentedPropertyTypeCodeSequence = [kidney]
        first.AnatomicRegionSequence = [code_item("818983003", "SCT", "Abdomen")]
        second.SegmentedPropertyTypeCodeSequence = [code_item("M-1", "99LOCAL", "Marked finding")]

    changed(tmp_path / "a.dcm", say)
    found = read(tmp_path / "a.dcm", like=image)
    layers = tuple(on_grid_of(tmp_path, layer, image, part=True) for layer in found.layers)
    segmentation = Segmentation(layers, found.labels)
    left = (("SCT", "123037004"), ("SCT", "64033007"), ("SCT", "7771000"), ("SCT", "818983003"))
    tissue, local = (("SCT", "85756007"),) * 2, (("SCT", "85756007"), ("99LOCAL", "M-1"))
    write(tmp_path / "own.dcm", segmentation, like=image, form=form, deidentified=False)
    write(tmp_path / "told.dcm", segmentation, like=image, form=form)
    assert set(terms_of(tmp_path / "own.dcm")) == {left, local, tissue}
    assert set(terms_of(tmp_path / "told.dcm")) == {left, tissue}
    assert b"Marked finding" not in (tmp_path / "told.dcm").read_bytes()
    highdicom.seg.segread(tmp_path / "own.dcm")
