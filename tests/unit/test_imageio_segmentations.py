"""Segmentations as files: values, names, colours, layers and the grid come back; what cannot be held is said."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st

from medseg_rl.errors import GeometryError, InputFileError, MedSegError, OutputError
from medseg_rl.imageio import read_mask, read_segmentation, read_volume, write_mask, write_segmentation, write_volume
from medseg_rl.imageio.label_tables import write_table
from medseg_rl.labels import Label, LabelMap
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Box, Volume

SHAPE = (5, 6, 7)
SHEARED = np.array([[-0.8, 0.1, 0.5, 12], [0.2, 1.4, -0.3, -7], [0.1, 0.2, 2.9, 30], [0, 0, 0, 1]])
OBLIQUE = np.array([[0, -0.72, 1.2, 3], [0.9, 0, 0, -4], [0, -0.96, -0.9, 9], [0, 0, 0, 1]])
LABELS = (Label(1, "Liver", (221, 130, 101)), Label(7, "Tumour", (0, 1, 254)), Label(300, "Vessel µ", (12, 13, 14)))


def grid(affine: np.ndarray = SHEARED) -> Volume:
    return Volume(np.zeros(SHAPE, np.int16), affine)


def masks(seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).random((3, *SHAPE)) < 0.3)


def overlapping(affine: np.ndarray = SHEARED) -> Segmentation:
    return Segmentation.of_masks(list(zip(LABELS, masks(), strict=True)), grid(affine))


def apart(affine: np.ndarray = SHEARED) -> Segmentation:
    array = np.random.default_rng(3).choice(np.array([0, 1, 7, 300], np.int16), SHAPE)
    return Segmentation.of_label_map(Volume(array, affine), LabelMap(LABELS))


def assert_same(found: Segmentation, wanted: Segmentation) -> None:
    key = [(label.value, label.name, label.colour) for label in wanted.labels.labels]
    assert [(label.value, label.name, label.colour) for label in found.labels.labels] == key
    for value in wanted.labels.values:
        np.testing.assert_array_equal(found.mask_of(value), wanted.mask_of(value))
    np.testing.assert_allclose(found.grid.affine, wanted.grid.affine, atol=1e-5)


def with_table(path: Path, **changes: str) -> None:
    """Replaces fields of a segment table in place; the empty text drops the line."""
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    lines = []
    for line in head.decode().splitlines():
        key = line.split(":=")[0]
        if key not in changes:
            lines.append(line)
        elif changes[key]:
            lines.append(f"{key}:={changes[key]}")
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + voxels)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.seg.nrrd", "a.mha", "a.mhd"])
def test_values_names_and_colours_come_back_from_every_format(tmp_path, name):
    wanted = apart(OBLIQUE)
    assert write_segmentation(tmp_path / name, wanted, like=wanted.grid) == []
    assert_same(read_segmentation(tmp_path / name), wanted)


def test_overlapping_labels_come_back_from_seg_nrrd(tmp_path):
    wanted = overlapping()
    assert wanted.overlap_voxels > 0
    write_segmentation(tmp_path / "a.seg.nrrd", wanted, like=wanted.grid)
    found = read_segmentation(tmp_path / "a.seg.nrrd")
    assert_same(found, wanted)
    assert [label.layer for label in found.labels.labels] == [label.layer for label in wanted.labels.labels]
    assert found.warnings == []


@given(names=st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc"))), min_size=1, max_size=3))
def test_any_name_comes_back_from_seg_nrrd(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("names") / "a.seg.nrrd"
    names = [name.strip() for name in names]
    pairs = [(Label(n, name, (n, n, n)), mask) for n, (name, mask) in enumerate(zip(names, masks(), strict=False), 1)]
    write_segmentation(path, Segmentation.of_masks(pairs, grid()), like=grid())
    assert [label.name for label in read_segmentation(path).labels.labels] == [
        name or f"Label {n}" for n, name in enumerate(names, 1)
    ]


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_overlap_is_never_lost_without_being_asked_for(tmp_path, name):
    wanted = overlapping(OBLIQUE)
    with pytest.raises(OutputError, match=rf"{wanted.overlap_voxels} voxels lie in more than one label"):
        write_segmentation(tmp_path / name, wanted, like=wanted.grid)
    assert list(tmp_path.iterdir()) == []
    (said,) = write_segmentation(tmp_path / name, wanted, like=wanted.grid, flatten=True)
    assert str(wanted.overlap_voxels) in said
    np.testing.assert_array_equal(read_mask(tmp_path / name).array, wanted.flattened().array)


def test_a_single_mask_is_not_read_from_overlapping_labels(tmp_path):
    wanted = overlapping()
    write_segmentation(tmp_path / "a.seg.nrrd", wanted, like=wanted.grid)
    with pytest.raises(InputFileError, match=f"{wanted.overlap_voxels} voxels in more than one label"):
        read_mask(tmp_path / "a.seg.nrrd")
    with pytest.raises(InputFileError, match="layers"):
        read_volume(tmp_path / "a.seg.nrrd")


def test_layers_that_do_not_overlap_are_one_mask(tmp_path):
    left, right = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    left[:2], right[3:] = 1, 7
    layers = (Volume(left, SHEARED), Volume(right, SHEARED))
    wanted = Segmentation(layers, LabelMap((LABELS[0], Label(7, "Tumour", (0, 1, 254), layer=1))))
    write_segmentation(tmp_path / "a.seg.nrrd", wanted, like=grid())
    mask = read_mask(tmp_path / "a.seg.nrrd", like=grid())
    np.testing.assert_array_equal(mask.array, left + right)
    assert mask.source["labels"].named("tumour").value == 7


def test_a_table_stands_beside_a_mask_only_where_it_says_more_than_the_values(tmp_path):
    plain = Segmentation.of_label_map(apart().grid)
    write_segmentation(tmp_path / "a.nii.gz", plain, like=grid())
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]
    write_segmentation(tmp_path / "a.nii.gz", apart(), like=grid())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.labels.json", "a.nii.gz"]
    write_segmentation(tmp_path / "a.nii.gz", plain, like=grid())
    assert read_segmentation(tmp_path / "a.nii.gz").labels[7].name == "Label 7"


def test_a_damaged_table_beside_a_mask_is_a_warning(tmp_path):
    write_segmentation(tmp_path / "a.nii.gz", apart(), like=grid())
    (tmp_path / "a.labels.json").write_text("{")
    found = read_segmentation(tmp_path / "a.nii.gz")
    assert found.labels[7].name == "Label 7"
    assert "the label table beside the mask is left out: it is no label table" in found.warnings[-1]
    assert str(tmp_path) not in found.warnings[-1]


def test_a_table_that_is_given_goes_before_the_others(tmp_path):
    write_segmentation(tmp_path / "a.seg.nrrd", overlapping(), like=grid())
    table = LabelMap((Label(7, "Cyst", (1, 1, 1), layer=9), Label(2, "Absent", (2, 2, 2))))
    found = read_segmentation(tmp_path / "a.seg.nrrd", labels=table)
    assert [label.name for label in found.labels.labels] == ["Liver", "Cyst", "Vessel µ", "Absent"]
    np.testing.assert_array_equal(found.mask_of(7), masks()[1])


def test_a_value_that_two_layers_share_is_made_unique_and_said(tmp_path):
    path = tmp_path / "a.seg.nrrd"
    wanted = Segmentation.of_masks([(LABELS[0], masks()[0]), (LABELS[1], masks()[1])], grid())
    layers = (wanted.layers[0], wanted.layers[1].with_array((wanted.layers[1].array > 0).astype(np.uint8)))
    both_one = Segmentation(layers, LabelMap((LABELS[0], Label(7, "Tumour", (0, 1, 254), layer=1))))
    write_segmentation(path, both_one, like=grid())
    with_table(path, Segment1_LabelValue="1")
    found = read_segmentation(path)
    assert found.labels.values == (1, 2)
    np.testing.assert_array_equal(found.mask_of(1), masks()[0])
    np.testing.assert_array_equal(found.mask_of(2), masks()[1])
    assert found.warnings == ["'Tumour' shares value 1 with another segment and becomes 2"]


def test_a_table_from_before_slicer_4_11_has_one_segment_a_layer(tmp_path):
    path = tmp_path / "a.seg.nrrd"
    layers = tuple(grid().with_array(mask.astype(np.uint8)) for mask in masks()[:2])
    names = LabelMap((Label(1, "Liver", (1, 2, 3)), Label(2, "Tumour", (4, 5, 6), layer=1)))
    write_segmentation(path, Segmentation(layers, names), like=grid())
    with_table(path, Segment0_LabelValue="", Segment1_LabelValue="", Segment0_Layer="", Segment1_Layer="")
    found = read_segmentation(path)
    assert [label.name for label in found.labels.labels] == ["Liver", "Tumour"]
    for label, mask in zip(found.labels.labels, masks(), strict=False):
        np.testing.assert_array_equal(found.mask_of(label.value), mask)


def test_a_value_without_a_segment_keeps_its_voxels(tmp_path):
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, apart(), like=grid())
    with_table(path, Segment2_ID="")
    found = read_segmentation(path)
    assert [label.name for label in found.labels.labels] == ["Liver", "Tumour", "Label 300"]
    np.testing.assert_array_equal(found.mask_of(300), apart().mask_of(300))


def test_tags_of_slicer_come_back_as_they_were(tmp_path):
    path = tmp_path / "a.seg.nrrd"
    tags = "Segmentation.Status:inprogress|TerminologyEntry:x~SCT^123037004^Anatomical Structure~SCT^10200004^Liver|"
    write_segmentation(path, apart(), like=grid())
    with_table(path, Segment0_Tags=tags)
    write_segmentation(tmp_path / "b.seg.nrrd", read_segmentation(path), like=grid())
    assert f"Segment0_Tags:={tags}\n".encode() in (tmp_path / "b.seg.nrrd").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"Segment0_Layer": "5"},
        {"Segment0_Layer": "-1"},
        {"Segment0_LabelValue": "seven"},
        {"Segment0_LabelValue": "0"},
        {"Segment0_LabelValue": str(2**70)},
        {"Segment0_Color": "red green blue"},
    ],
)
def test_a_damaged_segment_table_is_refused(tmp_path, changes):
    write_segmentation(tmp_path / "a.seg.nrrd", overlapping(), like=grid())
    with_table(tmp_path / "a.seg.nrrd", **changes)
    with pytest.raises(InputFileError, match=r"a\.seg\.nrrd has a damaged segment table"):
        read_segmentation(tmp_path / "a.seg.nrrd")


@given(data=st.data())
def test_a_mutated_seg_nrrd_reads_or_is_refused_in_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("mutated") / "a.seg.nrrd"
    write_segmentation(path, overlapping(), like=grid())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from([*b"0159-. \n:=("]))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    refusals = []
    try:
        found = read_segmentation(path)
    except MedSegError as error:
        refusals.append(str(error))
    else:
        assert sum(found.voxels.values()) >= np.count_nonzero(found.flattened().array)
    assert not any("\n" in line for line in refusals)


def test_a_cropped_and_turned_seg_nrrd_goes_to_its_place(tmp_path):
    wanted = overlapping()
    box = Box((1, 0, 2), (5, 6, 6))
    for number, flips in enumerate(itertools.product((False, True), repeat=3)):
        layers = []
        for layer in wanted.layers:
            cut = layer.crop(box)
            affine, array = cut.affine.copy(), cut.array
            for axis in np.flatnonzero(flips):
                affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
                affine[:3, axis] *= -1
                array = np.flip(array, axis)
            layers.append(Volume(array, affine))
        path = tmp_path / f"{number}.seg.nrrd"
        write_segmentation(path, Segmentation(tuple(layers), wanted.labels), like=layers[0])
        found = read_segmentation(path, like=grid())
        for value in wanted.labels.values:
            expected = np.zeros(SHAPE, bool)
            expected[box.slices] = wanted.mask_of(value)[box.slices]
            np.testing.assert_array_equal(found.mask_of(value), expected)


def test_a_cropped_nifti_mask_is_refused_or_resampled_by_the_load_check(tmp_path):
    cut = apart().grid.crop(Box((1, 0, 2), (5, 6, 6)))
    write_mask(tmp_path / "a.nii.gz", cut, like=cut)
    with pytest.raises(GeometryError, match="no mask of that image"):
        read_segmentation(tmp_path / "a.nii.gz", like=grid())


def test_resampling_takes_every_layer_along(tmp_path):
    wanted = overlapping()
    fine = SHEARED @ np.diag([0.5, 1, 1, 1])
    fine[:3, 3] -= SHEARED[:3, 0] * 0.25
    layers = tuple(Volume(np.repeat(layer.array, 2, axis=0), fine) for layer in wanted.layers)
    write_segmentation(tmp_path / "a.seg.nrrd", Segmentation(layers, wanted.labels), like=layers[0])
    with pytest.raises(GeometryError, match="nearest-neighbour"):
        read_segmentation(tmp_path / "a.seg.nrrd", like=grid())
    assert_same(read_segmentation(tmp_path / "a.seg.nrrd", like=grid(), resample=True), wanted)


def test_shear_goes_into_metaimage_only_when_allowed_and_the_shift_is_told(tmp_path):
    wanted = apart()
    with pytest.raises(OutputError, match=r"move a corner by (\S+) mm; allow it"):
        write_segmentation(tmp_path / "a.mha", wanted, like=wanted.grid)
    (said,) = write_segmentation(tmp_path / "a.mha", wanted, like=wanted.grid, orthonormalise=True)
    assert "moved a corner by" in said
    found = read_segmentation(tmp_path / "a.mha")
    np.testing.assert_array_equal(found.grid.array, wanted.grid.array)
    assert found.grid.shear_degrees < 1e-6
    write_volume(tmp_path / "i.mha", wanted.grid, orthonormalise=True)
    assert read_volume(tmp_path / "i.mha").shear_degrees < 1e-6


def test_an_image_is_not_written_as_a_segmentation(tmp_path):
    with pytest.raises(OutputError, match="for segmentations"):
        write_volume(tmp_path / "a.seg.nrrd", grid())


def test_a_mask_is_written_as_a_segmentation_with_default_names(tmp_path):
    write_mask(tmp_path / "a.seg.nrrd", apart().grid, like=grid())
    assert [label.name for label in read_segmentation(tmp_path / "a.seg.nrrd").labels.labels] == [
        "Label 1",
        "Label 7",
        "Label 300",
    ]


def test_a_segmentation_of_another_grid_is_not_written(tmp_path):
    with pytest.raises(GeometryError, match="but its image is"):
        write_segmentation(tmp_path / "a.seg.nrrd", overlapping(), like=grid(OBLIQUE))


def test_a_failed_write_leaves_mask_and_table_as_they_were(tmp_path):
    write_segmentation(tmp_path / "a.nii.gz", apart(), like=grid())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "a.nii.gz").chmod(0o444)
    with pytest.raises(OutputError):
        write_segmentation(tmp_path / "a.nii.gz", Segmentation.of_label_map(apart().grid), like=grid())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_label_of_a_gipl_file_gets_its_names_from_a_given_table(tmp_path):
    image = sitk.GetImageFromArray(apart().grid.array.transpose(2, 1, 0))
    sitk.WriteImage(image, str(tmp_path / "a.gipl"))
    write_table(tmp_path / "t.label", LabelMap(LABELS))
    found = read_segmentation(tmp_path / "a.gipl", labels=LabelMap(LABELS))
    assert found.labels[300].name == "Vessel µ"
    assert "no orientation" in found.warnings[0]


def test_the_itk_snap_case_reads_with_its_names(io_cases: Path):
    from medseg_rl.imageio import read_label_table

    folder = io_cases / "itksnap"
    table = read_label_table(folder / "MRIcrop-seg.label")
    found = read_segmentation(folder / "MRIcrop-seg.gipl.gz", labels=table)
    assert [int(found.mask_of(v).sum()) for v in range(1, 9)] == [18138, 2633, 4775, 2250, 2548, 1047, 7661, 16841]
    assert found.labels[4].name == "hippo-R"


def seen_by_pynrrd(name: str) -> str:
    """pynrrd, and slicerio on top of it, drop what is not ASCII; 3D Slicer itself reads and writes UTF-8."""
    return name.encode("ascii", "ignore").decode().strip()


class TestAgainstOtherReaders:
    """Files of ours in other programs' readers, and theirs in ours."""

    def test_pynrrd_reads_the_voxels_and_the_table_that_we_wrote(self, tmp_path):
        nrrd = pytest.importorskip("nrrd")
        wanted = overlapping()
        write_segmentation(tmp_path / "a.seg.nrrd", wanted, like=grid())
        array, header = nrrd.read(str(tmp_path / "a.seg.nrrd"))
        assert list(header["kinds"]) == ["list", "domain", "domain", "domain"]
        np.testing.assert_allclose(header["space directions"][1:], (np.diag([-1, -1, 1]) @ SHEARED[:3, :3]).T)
        for n, label in enumerate(wanted.labels.labels):
            assert header[f"Segment{n}_Name"] == seen_by_pynrrd(label.name)
            assert int(header[f"Segment{n}_LabelValue"]) == label.value
            found = array[int(header[f"Segment{n}_Layer"])] == label.value
            np.testing.assert_array_equal(found, wanted.mask_of(label.value))

    def test_slicerio_finds_every_segment_that_we_wrote(self, tmp_path):
        slicerio = pytest.importorskip("slicerio")
        wanted = overlapping()
        write_segmentation(tmp_path / "a.seg.nrrd", wanted, like=grid())
        found = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))
        assert [segment["name"] for segment in found["segments"]] == [seen_by_pynrrd(label.name) for label in LABELS]
        for segment, label in zip(found["segments"], LABELS, strict=True):
            assert segment["labelValue"] == label.value
            np.testing.assert_allclose(np.array(segment["color"]) * 255, label.colour, atol=0.01)
        np.testing.assert_allclose(np.asarray(found["ijkToLPS"]), np.diag([-1, -1, 1, 1]) @ SHEARED, atol=1e-12)

    @pytest.mark.parametrize("name", ["Segmentation.seg.nrrd", "SegmentationOverlapping.seg.nrrd"])
    def test_files_of_slicer_read_as_slicerio_reads_them(self, name):
        spec = importlib.util.find_spec("slicerio")
        if spec is None or spec.origin is None:
            pytest.skip("no slicerio")
        import slicerio

        path = Path(spec.origin).parent / "data" / name
        theirs, ours = slicerio.read_segmentation(str(path)), read_segmentation(path)
        assert [segment["name"] for segment in theirs["segments"]] == [label.name for label in ours.labels.labels]
        for segment, label in zip(theirs["segments"], ours.labels.labels, strict=True):
            voxels = theirs["voxels"][segment["layer"]] if theirs["voxels"].ndim == 4 else theirs["voxels"]
            np.testing.assert_array_equal(voxels == segment["labelValue"], ours.mask_of(label.value))
        assert sum(int(ours.mask_of(value).sum()) for value in ours.labels.values) > 10000
        np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ theirs["ijkToLPS"], ours.grid.affine, atol=1e-9)


def test_an_image_of_whole_numbers_taken_for_labels_is_told(tmp_path):
    array = np.arange(8 * 9 * 10, dtype=np.int16).reshape(8, 9, 10)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "ct.nii.gz")
    assert [said for said in read_segmentation(tmp_path / "ct.nii.gz").warnings if "719 values" in said]
    nibabel.save(nibabel.Nifti1Image(array % 200, np.eye(4)), tmp_path / "atlas.nii.gz")
    assert read_segmentation(tmp_path / "atlas.nii.gz").warnings == []
