"""The geometry report of a series and the choices it leads to: gaps, missing slices, tilt, copies, directions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg_rl.errors import Cancelled, GeometryError, InputFileError
from medseg_rl.imageio import geometry_reports, read_volume

TILT = np.radians(18.5)
TILTED = [1, 0, 0, 0, float(np.cos(TILT)), -float(np.sin(TILT))]  # rows lean while the table moves along z
MISSING = (0, 2, 6, 8, 10, 12, 18)


def ramp(world: np.ndarray) -> np.ndarray:
    """A linear field in RAS mm, which linear interpolation keeps."""
    return 100 + world @ np.array([3.0, -2.0, 5.0])


@pytest.fixture
def linear(dicom_file):
    """Writes slices whose stored values are `ramp` at their pixels."""

    def build(folder, positions, orientation):
        row, column = np.array(orientation, dtype=float).reshape(2, 3)
        for n, position in enumerate(positions):
            j, i = np.mgrid[0:5, 0:4]
            lps = np.asarray(position) + i[..., None] * 0.5 * row + j[..., None] * 0.7 * column
            stored = np.rint(ramp(lps * [-1, -1, 1]) * 50).astype(np.int16)
            changes = {"ImagePositionPatient": [f"{p:.9g}" for p in position], "ImageOrientationPatient": orientation}
            dicom_file(folder / f"{n}", 0, n, stored, RescaleSlope=0.02, RescaleIntercept=0, **changes)
        return folder

    return build


def test_a_regular_series_is_green_in_one_line(tmp_path, series):
    (report,) = geometry_reports(series(tmp_path / "ct"))
    assert report.verdict == "green"
    assert report.lines == ("4 images, 0.50 x 0.70 x 2.00 mm, no gaps, no tilt",)
    assert (report.number, report.images, report.matrix, report.spacing) == (1, 4, (4, 5), (0.5, 0.7, 2.0))
    assert report.warnings == report.file_lines() == ()


def test_uneven_gaps_load_with_a_warning_and_name_the_two_files_on_demand(tmp_path, series):
    folder = series(tmp_path / "ct", depths=(0, 2, 4, 6.1))
    (report,) = geometry_reports(folder)
    assert report.verdict == "amber"
    assert [(gap.after, gap.missing, gap.files) for gap in report.uneven] == [(3, 0, ("88", "87"))]
    assert report.file_lines() == ("2.1 mm between 88 and 87",)
    volume = read_volume(folder)
    assert volume.spacing[2] == pytest.approx(6.1 / 3)
    said = " ".join(volume.source["warnings"])
    assert "gaps are uneven, 2 to 2.1 mm (median 2), the worst between slices 3 and 4" in said
    assert "up to 0.0667 mm from its place" in said
    assert "quantities" not in volume.source
    assert '"88"' not in json.dumps(volume.source["geometry"])


@pytest.mark.parametrize(("last", "verdict"), [(6.0199, "green"), (6.0201, "amber"), (6.999, "amber"), (7.001, "red")])
def test_the_limits_of_gaps_are_one_percent_and_one_and_a_half_medians(tmp_path, series, last, verdict):
    assert geometry_reports(series(tmp_path / "ct", depths=(0, 2, 4, last)))[0].verdict == verdict


def test_rounding_of_positions_is_no_uneven_gap(tmp_path, series):
    folder = series(tmp_path / "ct", depths=(0, 2.005, 4, 6))
    assert read_volume(folder).spacing[2] == pytest.approx(2)
    assert geometry_reports(folder)[0].verdict == "green"


def test_small_errors_that_add_up_are_told(tmp_path, series):
    depths = np.concatenate([[0], np.cumsum(2 + np.linspace(-0.019, 0.019, 30))])
    (report,) = geometry_reports(series(tmp_path / "ct", depths=tuple(depths)))
    assert report.uneven == ()
    assert report.verdict == "amber"
    assert report.displaced_mm > 0.1


def test_two_halves_of_different_gaps_are_red_although_no_slice_is_missing(tmp_path, series):
    (report,) = geometry_reports(series(tmp_path / "ct", depths=(0, 2, 4, 6, 8, 10, 12, 13.1, 14.2, 15.3)))
    assert report.missing == 0
    assert report.verdict == "red"


def test_missing_slices_are_counted_and_refused_with_the_ways_out(tmp_path, series):
    folder = series(tmp_path / "ct", depths=MISSING)
    (report,) = geometry_reports(folder)
    assert (report.verdict, report.missing) == ("red", 3)
    with pytest.raises(GeometryError, match=r"3 slices seem missing.*between 89 and 88.*--missing resample.*keep"):
        read_volume(folder)


def test_missing_slices_are_filled_linearly_where_that_is_chosen(tmp_path, series, pixels):
    volume = read_volume(series(tmp_path / "ct", depths=MISSING), missing="resample")
    assert volume.shape == (4, 5, 10)
    assert volume.spacing[2] == pytest.approx(2)
    assert volume.array.dtype == np.int16
    # of the stored slices 0..6 at 0, 2, 6, 8, 10, 12, 18 mm, on planes every 2 mm
    places = [0, 1, 1.5, 2, 3, 4, 5, 5 + 1 / 3, 5 + 2 / 3, 6]
    wanted = np.stack([np.rint(pixels(0).T + 100 * place) - 1000 for place in places], axis=-1)
    np.testing.assert_array_equal(volume.array, wanted)
    assert "resampled to a regular grid of 10 planes, 3 of them between slices" in volume.source["warnings"]
    assert "quantities" not in volume.source


def test_missing_slices_are_kept_without_quantities_where_that_is_chosen(tmp_path, series, pixels):
    volume = read_volume(series(tmp_path / "ct", depths=MISSING), missing="keep")
    np.testing.assert_array_equal(volume.array, np.stack([pixels(n).T - 1000 for n in range(7)], axis=-1))
    assert volume.source["quantities"].startswith("disabled: ")
    np.testing.assert_allclose(volume.index_to_world([(0, 0, 0), (0, 0, 6)])[:, 2], [0, 18])


def test_a_regular_series_is_untouched_by_both_choices(tmp_path, series):
    folder = series(tmp_path / "ct")
    plain, chosen = read_volume(folder), read_volume(folder, missing="resample", tilt="resample")
    np.testing.assert_array_equal(plain.array, chosen.array)
    np.testing.assert_array_equal(plain.affine, chosen.affine)
    assert chosen.source["warnings"] == []


def test_two_blocks_far_apart_are_not_filled_in(tmp_path, series):
    with pytest.raises(GeometryError, match="a regular grid would have 501 planes from 4 slices"):
        read_volume(series(tmp_path / "ct", depths=(0, 2, 4, 1000)), missing="resample")


def test_a_tilted_gantry_makes_a_sheared_affine_and_says_so(tmp_path, series):
    folder = series(tmp_path / "ct", ImageOrientationPatient=TILTED)
    volume = read_volume(folder)
    np.testing.assert_allclose(volume.affine[:3, 2], [0, 0, 2], atol=1e-9)
    assert volume.shear_degrees == pytest.approx(18.5)
    assert any("tilted: slices move 18.5 degrees off their normal, 1.9 mm" in w for w in volume.source["warnings"])
    (report,) = geometry_reports(folder)
    assert report.verdict == "amber"
    assert report.spacing[2] == pytest.approx(2 * np.cos(TILT))
    assert report.tilt_mm == pytest.approx(6 * np.sin(TILT))


def test_rounded_directions_are_no_tilt(tmp_path, series):
    orientation = [1, 0, 0, 0, float(np.cos(0.0015)), -float(np.sin(0.0015))]  # 0.086 degrees
    assert geometry_reports(series(tmp_path / "ct", ImageOrientationPatient=orientation))[0].verdict == "green"


@pytest.mark.parametrize("choices", [{}, {"tilt": "resample"}, {"missing": "resample"}])
@pytest.mark.parametrize("depths", [(0, 2, 4, 6), (0, 2, 4, 6.1), (0, 2, 4, 6, 10)])
@pytest.mark.parametrize("upside_down", [False, True])
def test_a_linear_field_stays_where_it_was_in_the_patient(tmp_path, linear, choices, depths, upside_down):
    orientation = [-c for c in TILTED[:3]] + TILTED[3:] if upside_down else TILTED
    folder = linear(tmp_path / "ct", [(10, 20, z) for z in depths], orientation)
    if depths[-1] == 10 or depths[-1] == 6.1:
        choices = {**choices, "missing": "resample"}
    volume = read_volume(folder, **choices)
    inside = volume.array != volume.array.min()  # what stands where no slice reaches, and one voxel of the field
    index = np.argwhere(inside)
    np.testing.assert_allclose(volume.array[inside], ramp(volume.index_to_world(index)), atol=0.03)
    assert inside.sum() >= 0.7 * 4 * 5 * len(depths)
    assert volume.is_sheared == ("tilt" not in choices)


def test_an_upright_grid_holds_every_slice(tmp_path, series):
    folder = series(tmp_path / "ct", ImageOrientationPatient=TILTED)
    volume = read_volume(folder, tilt="resample")
    assert volume.shape == (4, 5 + 3, 4)  # 1.9 mm sideways are 2.7 pixels
    assert volume.spacing == pytest.approx((0.5, 0.7, 2 * np.cos(TILT)))
    assert "-1000 stands where no slice reaches" in volume.source["resampled"]
    np.testing.assert_array_equal(volume.array[:, 3:, 0], read_volume(folder).array[:, :, 0])


def test_a_slice_that_lies_aside_is_red_and_moved_back_on_demand(tmp_path, linear):
    positions = [(10, 20, 0), (10, 20, 2), (11.5, 20, 4), (10, 20, 6)]
    folder = linear(tmp_path / "ct", positions, [1, 0, 0, 0, 1, 0])
    (report,) = geometry_reports(folder)
    assert report.verdict == "red"
    assert report.displaced_mm == pytest.approx(1.5)
    volume = read_volume(folder, missing="resample")
    assert volume.shape == (7, 5, 4)
    inside = volume.array != volume.array.min()
    np.testing.assert_allclose(volume.array[inside], ramp(volume.index_to_world(np.argwhere(inside))), atol=0.03)


def test_copies_at_one_place_become_whole_stacks_to_choose_from(tmp_path, dicom_file, series):
    folder = series(tmp_path / "ct", InstanceNumber=1)
    dicom_file(folder / "again", 2, 7, InstanceNumber=2)
    reports = geometry_reports(folder)
    assert [(r.images, r.copies, r.verdict) for r in reports] == [(4, 1, "amber")] * 2
    with pytest.raises(InputFileError, match=r"2 series, choose.*Portal copy 1 of 2.*Portal copy 2 of 2"):
        read_volume(folder)
    first, second = (read_volume(folder, series=number) for number in (1, 2))
    assert [int(v.array[0, 0, 1]) for v in (first, second)] == [100 - 1000, 700 - 1000]
    np.testing.assert_array_equal(first.array[:, :, [0, 2, 3]], second.array[:, :, [0, 2, 3]])
    assert any("1 places hold more than one image" in w for w in first.source["warnings"])


def test_phases_that_two_tags_tell_apart_are_split_by_both(tmp_path, dicom_file):
    for echo in (1, 2):
        for phase in (1, 2):
            for n in range(3):
                changes = {"EchoTime": echo, "AcquisitionNumber": phase}
                dicom_file(tmp_path / "mr" / f"{echo}{phase}{n}", 2.0 * n, n, **changes)
    found = geometry_reports(tmp_path / "mr")
    assert [r.description for r in found][:2] == [
        "Portal AcquisitionNumber 1 EchoTime 1.0",
        "Portal AcquisitionNumber 1 EchoTime 2.0",
    ]
    assert [r.images for r in found] == [3] * 4


def test_a_time_of_every_slice_splits_no_stack(tmp_path, dicom_file):
    for copy in (0, 1):
        for n in range(4):
            changes = {"AcquisitionTime": f"10000{n + 4 * copy}", "InstanceNumber": n + 4 * copy}
            dicom_file(tmp_path / "mr" / f"{copy}{n}", 2.0 * n, n + 10 * copy, **changes)
    assert [(r.description, r.images) for r in geometry_reports(tmp_path / "mr")] == [
        ("Portal copy 1 of 2", 4),
        ("Portal copy 2 of 2", 4),
    ]
    values = [int(read_volume(tmp_path / "mr", series=n).array[0, 0, 0]) for n in (1, 2)]
    assert values == [-1000, 0]


def test_an_acquisition_that_repeats_one_slice_is_left_out_and_named(tmp_path, series, dicom_file):
    folder = series(tmp_path / "ct", AcquisitionNumber=1)
    dicom_file(folder / "again", 2, 7, AcquisitionNumber=2)
    volume = read_volume(folder)
    assert [int(v) for v in volume.array[0, 0]] == [-1000, -900, -800, -700]
    assert any("left out: number 2 of the list, CT, " in said for said in volume.source["warnings"])


def test_parts_are_listed_in_the_order_of_their_numbers(tmp_path, dicom_file):
    for time in (1, 2, 10):
        for n in range(2):
            dicom_file(tmp_path / "mr" / f"{time}-{n}", 2.0 * n, n, TemporalPositionIdentifier=time)
    assert [r.description.split()[-1] for r in geometry_reports(tmp_path / "mr")] == ["1", "2", "10"]


def test_directions_of_one_series_are_groups_of_their_own(tmp_path, series):
    series(tmp_path / "ct" / "a")
    series(tmp_path / "ct" / "b", ImageOrientationPatient=[0, 1, 0, 0, 0, -1], depths=(1, 3, 5))
    for n, path in enumerate(sorted((tmp_path / "ct" / "b").iterdir())):
        _move(path, [10 + 3 * n, 20, 5])
    reports = geometry_reports(tmp_path / "ct")
    assert sorted(r.description for r in reports) == ["Portal axial", "Portal sagittal"]
    assert {(r.orientations, r.verdict) for r in reports} == {(2, "amber")}
    assert all("slices in 2 directions" in r.lines[-1] for r in reports)


def _move(path, position):
    import pydicom

    dataset = pydicom.dcmread(path)
    dataset.ImagePositionPatient = position
    dataset.save_as(path)


def test_a_report_names_no_patient_and_its_facts_no_file_and_no_uid(tmp_path, series):
    folder = series(tmp_path / "ct", depths=MISSING)
    volume = read_volume(folder, missing="keep")
    facts = json.dumps(volume.source["geometry"])
    for secret in ("Nobody", "89", geometry_reports(folder)[0].uid):
        assert secret not in facts
    assert not any("89" in said or "88" in said for said in volume.source["warnings"])


def test_a_search_tells_its_progress_and_stops_when_told(tmp_path, series):
    folder, heard = series(tmp_path / "ct"), []
    geometry_reports(folder, progress=heard.append)
    assert heard == [1, 2, 3, 4]
    with pytest.raises(Cancelled, match="after 2 files"):
        geometry_reports(folder, cancel=iter([False, False, True]).__next__)


def test_choices_for_dicom_are_refused_for_other_files(tmp_path, series):
    from medseg_rl.imageio import write_volume

    write_volume(tmp_path / "image.nii.gz", read_volume(series(tmp_path / "ct")))
    for choices in ({"missing": "resample"}, {"tilt": "resample"}):
        with pytest.raises(InputFileError, match="is NIfTI; missing slices and tilt are choices for DICOM"):
            read_volume(tmp_path / "image.nii.gz", **choices)


AXES = [np.array(axis) for axis in np.vstack([np.eye(3), -np.eye(3)])]
TURNS = [(row, column) for row in AXES for column in AXES if not row @ column]


@pytest.mark.parametrize(("row", "column"), TURNS)
@pytest.mark.parametrize("order", [1, -1])
def test_every_direction_and_order_of_slices_shows_the_same_patient(tmp_path, linear, row, column, order):
    positions = [np.array([10, 20, 30]) + 2.5 * k * np.cross(row, column) for k in range(4)][::order]
    volume = read_volume(linear(tmp_path / "mr", positions, [*row, *column]))
    index = np.argwhere(np.ones(volume.shape))
    np.testing.assert_allclose(volume.array.ravel(), ramp(volume.index_to_world(index)), atol=0.03)
    assert volume.spacing == pytest.approx((0.5, 0.7, 2.5))


@given(
    gaps=st.lists(st.sampled_from([2.0, 2.0, 2.0, 2.005, 2.5, 3.5, 4.0, 6.0]), min_size=2, max_size=8),
    sideways=st.floats(-1.5, 1.5),
    upright=st.booleans(),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_stack_is_refused_or_shown_where_it_lies(tmp_path_factory, linear, gaps, sideways, upright):
    depths = np.concatenate([[0], np.cumsum(gaps)])
    folder = tmp_path_factory.mktemp("ct")
    linear(folder, [(10 + sideways * z, 20, z) for z in depths], [1, 0, 0, 0, 1, 0])
    (report,) = geometry_reports(folder)
    if report.verdict == "red":
        with pytest.raises(GeometryError):
            read_volume(folder)
    volume = read_volume(folder, missing="resample", tilt="resample" if upright else "keep")
    assert not (upright and volume.is_sheared)
    inside = volume.array != volume.array.min()
    slack = 0.03 + 5 * 0.01 + 3 * abs(sideways) * 0.01  # gaps off by less than 0.01 mm count as even
    np.testing.assert_allclose(volume.array[inside], ramp(volume.index_to_world(np.argwhere(inside))), atol=slack)
    np.testing.assert_allclose(volume.index_to_world([0, 0, volume.shape[2] - 1])[2], depths[-1], atol=1e-6)
