"""Quantities against closed forms on anisotropic, flipped and sheared grids; empty masks, edges, reports."""

import csv
import io
import itertools
import json
import math

import numpy as np
import pytest

from medseg_rl import __version__, metrics
from medseg_rl.errors import Cancelled, GeometryError
from medseg_rl.labels import Label, LabelMap
from medseg_rl.quantities import NOTICE, orthogonal_grid, quantities_of, region_of, regions_of
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume, content_hash

PLAIN = np.array([[-0.7, 0, 0, 30.0], [0, -0.7, 0, 40.0], [0, 0, 2.5, -100.0], [0, 0, 0, 1]])
TILTED = np.array([[0.5, 0, 0, 0], [0, 0.5, 0.8, 0], [0, 0, 2.4, 0], [0, 0, 0, 1.0]])  # as on a tilted gantry


def box(shape, start, sides):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, a + n) for a, n in zip(start, sides, strict=True))] = True
    return mask


def measured(mask, affine=PLAIN, *, other=None, image=None, **choices):
    segmentation = Segmentation.of_label_map(Volume(mask, affine))
    reference = None if other is None else Segmentation.of_label_map(Volume(other, affine))
    return quantities_of(segmentation, image=image, reference=reference, values=[1], **choices)[1]


def value(label, key):
    return label[key].value


# ---- shape ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("affine", [np.eye(4), PLAIN, TILTED], ids=["unit", "flipped", "tilted"])
def test_a_box_has_the_volume_of_its_voxels_by_the_determinant(affine):
    found = measured(box((12, 14, 9), (3, 4, 2), (5, 6, 4)), affine)
    assert value(found, "voxels") == 120
    assert value(found, "volume_mm3") == pytest.approx(120 * abs(np.linalg.det(affine)))
    assert value(found, "volume_ml") == pytest.approx(value(found, "volume_mm3") / 1000)
    assert found["volume_ml"].unit == "mL"
    assert "det A33" in found["volume_mm3"].method


def test_a_ball_has_the_volume_the_diameter_and_the_mesh_volume_of_a_ball():
    radius, spacing = 20.0, np.array([0.7, 0.7, 2.5])
    grid = [np.arange(-n, n + 1) * s for n, s in zip((31, 31, 10), spacing, strict=True)]
    mask = sum(g**2 for g in np.meshgrid(*grid, indexing="ij")) <= radius**2
    found = measured(mask)
    expected = 4 / 3 * math.pi * radius**3
    assert value(found, "volume_mm3") == pytest.approx(expected, rel=0.01)
    assert value(found, "mesh_volume") == pytest.approx(expected, rel=0.01)
    assert value(found, "largest_diameter") == pytest.approx(2 * radius, abs=spacing.max())
    assert value(found, "axial_diameter") == pytest.approx(2 * radius, abs=0.8)
    assert value(found, "axial_across") == pytest.approx(2 * radius, abs=0.8)
    assert value(found, "axial_slice") == 11


def test_the_centroid_is_mapped_by_the_whole_affine_and_the_extent_follows_the_voxel_axes():
    found = measured(box((12, 14, 9), (3, 4, 2), (5, 6, 4)), TILTED)
    expected = TILTED[:3, :3] @ [5, 6.5, 3.5]
    np.testing.assert_allclose([value(found, f"centroid_{side}") for side in "ras"], expected)
    spacing = np.linalg.norm(TILTED[:3, :3], axis=0)
    np.testing.assert_allclose([value(found, f"extent_{axis}") for axis in "ijk"], np.array([5, 6, 4]) * spacing)
    assert "head-foot" in found["extent_k"].name


@pytest.mark.parametrize(
    ("start", "sides", "said"),
    [
        ((0, 3, 3), (2, 2, 2), ("R",)),  # the first axis runs from right to left
        ((10, 3, 3), (2, 2, 2), ("L",)),
        ((3, 0, 3), (2, 2, 2), ("A",)),
        ((3, 12, 3), (2, 2, 2), ("P",)),
        ((3, 3, 0), (2, 2, 2), ("I",)),
        ((3, 3, 7), (2, 2, 2), ("S",)),
        ((0, 3, 0), (12, 2, 9), ("L", "R", "I", "S")),
        ((1, 1, 1), (10, 12, 7), ()),
    ],
)
def test_a_mask_at_the_edge_keeps_its_value_and_says_at_which_side_of_the_patient_it_is_cut_off(start, sides, said):
    found = measured(box((12, 14, 9), start, sides))
    assert found.cut_off == said
    assert value(found, "voxels") == math.prod(sides)
    assert found["volume_mm3"].note == (f"cut off at {', '.join(said)}" if said else "")
    assert value(found, "volume_mm3") > 0


def test_cut_off_names_the_same_side_in_all_48_orientations():
    mask = box((6, 7, 8), (2, 2, 5), (2, 2, 3))  # reaches the end of the axis that runs to the head
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turned = np.flip(mask.transpose(axes), [k for k in range(3) if signs[k] < 0])
            affine = np.eye(4)
            affine[:3, :3] = np.eye(3)[:, list(axes)] * signs
            assert region_of(turned, affine).cut_off == ("S",)


def test_an_empty_mask_has_volume_and_surface_zero_and_no_place_or_diameter():
    found = measured(np.zeros((5, 6, 7), np.uint8), image=Volume(np.ones((5, 6, 7)), PLAIN))
    for key in ("voxels", "volume_mm3", "volume_ml", "surface_area", "mesh_volume"):
        assert value(found, key) == 0
    for key in ("centroid_r", "extent_i", "largest_diameter", "axial_diameter", "intensity_mean", "intensity_p90"):
        assert value(found, key) is None
        assert found[key].text == "empty mask"
    assert (found.cut_off, found.axial) == ((), ())


def test_regions_are_cut_to_their_boxes_whatever_the_value():
    array = np.zeros((6, 7, 8), np.int32)
    array[1:3, 2, 3:5], array[4, 5, 6], array[5, 6, 7] = 7, -3, 100_000
    segmentation = Segmentation.of_label_map(Volume(array, PLAIN))
    found = regions_of(segmentation, [7, -3, 100_000, 5])
    assert {v: region.voxels for v, region in found.items()} == {7: 4, -3: 1, 100_000: 1, 5: 0}
    assert (found[7].box.start, found[7].box.stop) == ((1, 2, 3), (3, 3, 5))
    np.testing.assert_array_equal(found[7].within(found[7].box.grown(1, array.shape))[1:3, 1, 1:3], True)


# ---- intensities ------------------------------------------------------------------------------------------------


def test_intensities_are_those_of_the_voxels_inside():
    mask = box((5, 6, 7), (1, 2, 3), (2, 2, 2))
    image = np.full((5, 6, 7), 1000, np.int16)
    image[mask] = [-5, 1, 2, 3, 4, 5, 6, 40]
    found = measured(mask, image=Volume(image, PLAIN, "CT"))
    assert value(found, "intensity_mean") == 7
    assert value(found, "intensity_median") == 3.5
    assert value(found, "intensity_sd") == pytest.approx(math.sqrt(1324 / 7))
    assert (value(found, "intensity_minimum"), value(found, "intensity_maximum")) == (-5, 40)
    assert value(found, "intensity_p10") == pytest.approx(-0.8)  # rank 0.7 between -5 and 1
    assert value(found, "intensity_p90") == pytest.approx(16.2)
    assert found["intensity_mean"].unit == "HU"


def test_the_unit_is_the_readers_or_none_at_all():
    mask = box((5, 6, 7), (1, 2, 3), (1, 1, 1))
    array = np.ones((5, 6, 7))
    assert measured(mask, image=Volume(array, PLAIN, "MR"))["intensity_mean"].unit == ""
    assert measured(mask, image=Volume(array, PLAIN, "PT", {"unit": "SUVbw"}))["intensity_mean"].unit == "SUVbw"


def test_one_voxel_has_no_standard_deviation_and_says_why():
    found = measured(box((5, 6, 7), (1, 2, 3), (1, 1, 1)), image=Volume(np.ones((5, 6, 7)), PLAIN))
    assert value(found, "intensity_sd") is None
    assert found["intensity_sd"].text == "one voxel only"
    assert value(found, "intensity_mean") == 1


# ---- two masks --------------------------------------------------------------------------------------------------


def test_two_boxes_compare_by_hand():
    own, other = box((20, 9, 9), (4, 2, 2), (8, 4, 4)), box((20, 9, 9), (6, 2, 2), (10, 4, 4))
    found = measured(own, np.diag([2.0, 1, 1, 1]), other=other)
    assert value(found, "dice") == pytest.approx(2 * 6 * 16 / (8 * 16 + 10 * 16))
    assert value(found, "volume_difference_ml") == pytest.approx(-2 * 16 * 2 / 1000)
    assert value(found, "volume_difference_percent") == pytest.approx(-20)
    assert found["volume_difference_percent"].unit == "%"


@pytest.mark.parametrize("affine", [np.eye(4), PLAIN], ids=["unit", "anisotropic"])
def test_surface_distances_are_those_of_the_metrics(affine):
    rng = np.random.default_rng(0)
    own = rng.random((9, 10, 11)) < 0.1
    other = np.roll(own, 1, axis=1)
    found = measured(own, affine, other=other, tolerance_mm=1.0)
    spacing = Volume(own, affine).spacing
    assert value(found, "hd95") == pytest.approx(metrics.hd95(own, other, spacing))
    assert value(found, "assd") == pytest.approx(metrics.assd(own, other, spacing))
    assert value(found, "nsd") == pytest.approx(metrics.nsd(own, other, spacing, tolerance_mm=1.0))
    assert "within 1 mm" in found["nsd"].method


def test_both_empty_reads_so_and_is_neither_zero_nor_one():
    empty = np.zeros((5, 6, 7), np.uint8)
    found = measured(empty, other=empty)
    for key in ("dice", "hd95", "assd", "nsd", "volume_difference_percent"):
        assert value(found, key) is None
        assert found[key].text == "both empty"
    assert value(found, "volume_difference_ml") == 0


@pytest.mark.parametrize("own_is_empty", [True, False])
def test_one_empty_mask_has_dice_zero_and_no_distance(own_is_empty):
    full, empty = box((5, 6, 7), (1, 1, 1), (2, 2, 2)).astype(np.uint8), np.zeros((5, 6, 7), np.uint8)
    pair = (empty, full) if own_is_empty else (full, empty)
    found = measured(pair[0], other=pair[1])
    assert (value(found, "dice"), value(found, "nsd")) == (0, 0)
    assert value(found, "hd95") is None
    assert found["hd95"].text == ("this mask is empty" if own_is_empty else "the reference is empty")
    assert value(found, "volume_difference_percent") == (-100 if own_is_empty else None)


# ---- sheared grids ----------------------------------------------------------------------------------------------


def test_the_orthogonal_grid_keeps_the_slices_of_a_tilted_gantry_and_the_size_of_a_voxel():
    tilted = Volume(np.zeros((20, 30, 8), np.uint8), TILTED)
    grid = orthogonal_grid(tilted)
    assert not grid.is_sheared
    assert grid.voxel_volume == pytest.approx(tilted.voxel_volume)
    np.testing.assert_allclose(grid.affine[:3, :2], TILTED[:3, :2])
    inside = grid.world_to_index(tilted.index_to_world([[0, 0, 0], [19, 0, 0], [0, 29, 7], [19, 29, 7]]))
    assert (inside >= 0).all()
    assert (inside <= np.array(grid.shape) - 1).all()
    np.testing.assert_allclose(inside[:, 2] % 1, 0, atol=1e-9)  # every slice meets one of the new ones


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("sign", [1, -1])
def test_resampling_to_the_orthogonal_grid_keeps_volume_and_place_of_a_ball(axes, sign):
    affine = TILTED.copy()
    affine[:3, :3] = TILTED[:3, list(axes)] * [sign, 1, 1]
    shape = tuple(np.array([60, 70, 15])[list(axes)])
    centre = affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    ball = Volume(np.linalg.norm(index @ affine[:3, :3].T - centre, axis=-1) < 9, affine)
    grid = orthogonal_grid(ball)
    resampled = ball.sampled_on(grid)
    assert resampled.array.sum() == pytest.approx(ball.array.sum(), rel=0.02)
    middle = grid.index_to_world(np.argwhere(resampled.array).mean(axis=0))
    np.testing.assert_allclose(middle, centre, atol=0.2)


def test_distances_on_a_sheared_grid_are_those_in_the_patient_and_say_so():
    fine = TILTED @ np.diag([1, 1, 0.25, 1])
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (50, 70, 50)), indexing="ij"), -1)
    centre = fine[:3, :3] @ [24.5, 34.5, 24.5]
    small, large = (np.linalg.norm(index @ fine[:3, :3].T - centre, axis=-1) < radius for radius in (6.0, 9.0))
    found = measured(small, fine, other=large)
    assert value(found, "assd") == pytest.approx(3.0, abs=0.25)  # between voxel centres
    assert value(found, "hd95") == pytest.approx(3.0, abs=0.5)
    assert "orthogonal grid" in found["hd95"].note
    assert value(found, "dice") == pytest.approx(2 * small.sum() / (small.sum() + large.sum()))
    assert value(found, "volume_mm3") == pytest.approx(4 / 3 * math.pi * 6**3, rel=0.02)
    assert value(found, "largest_diameter") == pytest.approx(12, abs=0.6)


def test_the_report_of_a_sheared_grid_warns_with_the_angle():
    segmentation = Segmentation.of_label_map(Volume(box((5, 6, 7), (1, 1, 1), (2, 2, 2)), TILTED))
    report = quantities_of(segmentation)
    assert any("sheared by 18.4 degrees" in line for line in report.warnings)
    assert report.shear_degrees == pytest.approx(math.degrees(math.atan2(0.8, 2.4)))


# ---- reports ----------------------------------------------------------------------------------------------------


@pytest.fixture
def case():
    array = np.zeros((8, 9, 7), np.int16)
    array[2:5, 3:6, 0:3], array[5:7, 6:8, 4:6] = 300, 7
    labels = LabelMap((Label(300, 'Liver, "left"\tlobe', (1, 2, 3)), Label(7, "Lesion", (4, 5, 6))))
    image = Volume(np.arange(array.size, dtype=np.int16).reshape(array.shape), PLAIN, "CT")
    return Segmentation.of_label_map(Volume(array, PLAIN), labels), image


def test_the_csv_carries_unit_method_image_hash_and_version_on_every_line(case):
    segmentation, image = case
    report = quantities_of(segmentation, image=image, reference=segmentation)
    rows = list(csv.DictReader(io.StringIO(report.as_csv())))
    assert {row["image_sha256"] for row in rows} == {content_hash(image)}
    assert {row["mask_sha256"] for row in rows} == {content_hash(segmentation.grid)}
    assert {row["version"] for row in rows} == {__version__}
    assert {row["notice"] for row in rows} == {NOTICE}
    assert all(row["method"] for row in rows)
    assert {row["label"] for row in rows} == {"300", "7"}
    volume = next(row for row in rows if row["label"] == "300" and row["quantity"] == "volume_mm3")
    assert float(volume["value"]) == value(report[300], "volume_mm3")
    assert (volume["unit"], volume["note"], volume["name"]) == ("mm3", "cut off at I", 'Liver, "left"\tlobe')
    slices = [row["slice"] for row in rows if row["label"] == "7" and row["quantity"] == "axial_diameter"]
    assert slices == ["", "5", "6"]  # from 1


def test_the_json_holds_every_quantity_and_both_chords_of_every_slice(case):
    segmentation, image = case
    report = json.loads(json.dumps(quantities_of(segmentation, image=image).as_json(), allow_nan=False))
    assert report["notice"] == NOTICE
    assert report["image_sha256"] == content_hash(image)
    assert report["grid"]["orientation"] == "LPS+"
    lesion = report["labels"][1]
    assert lesion["quantities"]["voxels"] == {"name": "voxels", "value": 8, "unit": "", "note": ""} | {
        "method": "N, voxels inside the mask"
    }
    assert [slice_["slice_index"] for slice_ in lesion["axial_diameters"]] == [4, 5]
    chord = lesion["axial_diameters"][0]["longest"]
    assert math.dist(chord["start_mm"], chord["end_mm"]) == pytest.approx(chord["length_mm"])


def test_the_table_for_the_clipboard_has_one_line_a_quantity_and_says_why_one_is_missing(case):
    segmentation, _ = case
    empty = Segmentation.of_label_map(segmentation.grid.with_array(np.zeros(segmentation.shape, np.int16)))
    report = quantities_of(empty, reference=segmentation)
    lines = report.as_table().splitlines()
    widths = {len(line.split("\t")) for line in lines[:-1]}
    assert (widths, lines[-1]) == ({8}, NOTICE)
    rows = {tuple(line.split("\t")[:3]): line.split("\t")[4] for line in lines[:-1]}
    assert rows["300", 'Liver, "left" lobe', "hd95"] == "this mask is empty"
    assert rows["7", "Lesion", "dice"] == "0.0"


def test_overlapping_labels_are_each_measured_whole():
    like = Volume(np.zeros((8, 8, 8), np.uint8), PLAIN)
    masks = [(Label(n, f"l{n}", (0, 0, 0)), box(like.shape, (n, 1, 1), (4, 4, 4))) for n in (1, 2)]
    report = quantities_of(Segmentation.of_masks(masks, like))
    assert [value(label, "voxels") for label in report.labels] == [64, 64]


def test_labels_of_mask_and_reference_are_listed_together_and_no_shared_value_warns():
    own = Segmentation.of_label_map(Volume(box((5, 6, 7), (1, 1, 1), (2, 2, 2)) * np.uint8(1), PLAIN))
    other = Segmentation.of_label_map(Volume(box((5, 6, 7), (1, 1, 1), (2, 2, 2)) * np.uint8(255), PLAIN))
    report = quantities_of(own, reference=other)
    assert [label.value for label in report.labels] == [1, 255]
    assert any("share no label value: 1 and 255" in line for line in report.warnings)


def test_an_image_or_reference_on_another_grid_is_refused(case):
    segmentation, image = case
    moved = PLAIN.copy()
    moved[0, 3] += 5
    with pytest.raises(GeometryError, match="the image is"):
        quantities_of(segmentation, image=Volume(image.array, moved))
    with pytest.raises(GeometryError, match="the reference is"):
        quantities_of(segmentation, reference=Segmentation.of_label_map(Volume(segmentation.grid.array[1:], PLAIN)))


def test_a_volume_with_known_missing_slices_gives_no_quantities(case):
    segmentation, image = case
    image.source["quantities"] = "disabled: 3 slices are missing"
    with pytest.raises(GeometryError, match="3 slices are missing"):
        quantities_of(segmentation, image=image)


def test_measuring_can_be_stopped_between_labels_and_tells_how_far_it_is(case):
    segmentation, _ = case
    told = []
    quantities_of(segmentation, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    with pytest.raises(Cancelled):
        quantities_of(segmentation, cancel=lambda: True)


def test_unknown_keys_name_those_that_there_are(case):
    report = quantities_of(case[0])
    with pytest.raises(KeyError, match="volume_ml"):
        report[7]["volume"]
    with pytest.raises(KeyError, match="300"):
        report[8]
