"""Units of values: Hounsfield, and PET as standardised uptake values where the tags allow it."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from medseg_rl.imageio import describe, read_volume

HALF_LIFE = 6586.2  # s, fluorine-18
DOSE, WEIGHT = 370e6, 74.0  # Bq, kg: 0.2 g for each kBq


@pytest.fixture
def pet(dicom_file):
    """A PET series injected an hour before the scan; `changes` to the header, `injection` to the injection."""

    def build(folder, injection=None, times=("110000", "110500", "111000"), **changes):
        dose = pydicom.Dataset()
        tags = {
            "RadionuclideTotalDose": DOSE,
            "RadionuclideHalfLife": HALF_LIFE,
            "RadiopharmaceuticalStartTime": "100000",
        }
        for name, value in (tags | (injection or {})).items():
            if value is not None:
                setattr(dose, name, value)
        header = {
            "Modality": "PT",
            "Units": "BQML",
            "CorrectedImage": ["NORM", "ATTN", "DECY"],
            "DecayCorrection": "START",
            "PatientWeight": WEIGHT,
            "SeriesDate": "20200301",
            "SeriesTime": "110000",
            "AcquisitionDate": "20200301",
            "RescaleSlope": 2.5,
            "RescaleIntercept": 0,
            "RadiopharmaceuticalInformationSequence": [dose],
        }
        for n, time in enumerate(times):
            given = {name: value for name, value in (header | changes).items() if value is not None}
            dicom_file(folder / f"{n}", 2.0 * n, n, **{"AcquisitionTime": time, **given})
        return folder

    return build


def suv_per_becquerel(seconds):
    return WEIGHT * 1000 / (DOSE * 0.5 ** (seconds / HALF_LIFE))


def test_activity_becomes_uptake_by_weight_and_decayed_dose(tmp_path, pet, pixels):
    volume = read_volume(pet(tmp_path / "pt"))
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array[:, :, 1], pixels(1).T * 2.5 * suv_per_becquerel(3600), rtol=1e-5)
    assert volume.source["units"] == "SUVbw g/mL"
    assert "SUVbw = (Bq/mL) x weight / (dose x 2^(-t/T)), weight in g, t = 3600 s" in volume.source["units_formula"]
    assert volume.source["warnings"] == [f"PET values were converted: {volume.source['units_formula']}"]
    assert "74" not in volume.source["units_formula"]


def test_an_even_uptake_of_the_whole_body_is_one(tmp_path, pet, dicom_file):
    concentration = DOSE * 0.5 ** (3600 / HALF_LIFE) / (WEIGHT * 1000)  # Bq/mL at the scan, 1 g/mL
    folder = pet(tmp_path / "pt", RescaleSlope=f"{concentration / 100:.10g}")
    assert read_volume(folder).array[0, 0, 1] == pytest.approx(1.0, rel=1e-6)  # its stored value is 100


def test_stored_values_are_given_where_they_are_asked_for(tmp_path, pet, pixels):
    volume = read_volume(pet(tmp_path / "pt"), units="stored")
    np.testing.assert_allclose(volume.array[:, :, 1], pixels(1).T * 2.5)
    assert (volume.source["units"], volume.source["units_formula"]) == ("Bq/mL", None)
    assert volume.source["warnings"] == []


@pytest.mark.parametrize(
    ("changes", "injection", "seconds"),
    [
        ({"DecayCorrection": "ADMIN"}, {}, 0),
        ({"SeriesTime": "130000"}, {}, 3600),  # a series made anew: the first image tells the start
        ({"SeriesTime": "105950.5"}, {}, 3590.5),
        ({}, {"RadiopharmaceuticalStartDateTime": "20200301093000.000000"}, 5400),
        ({}, {"RadiopharmaceuticalStartDateTime": "20200301093000+0100"}, 5400),
        (
            {"times": ("002000", "002500", "003000"), "SeriesTime": "002000"},
            {"RadiopharmaceuticalStartTime": "235000"},
            1800,
        ),
        ({"SeriesDate": None, "SeriesTime": None}, {}, 3600),
    ],
)
def test_the_dose_decays_to_the_time_that_the_images_are_corrected_to(
    tmp_path, pet, pixels, changes, injection, seconds
):
    volume = read_volume(pet(tmp_path / "pt", injection, **changes))
    np.testing.assert_allclose(volume.array[:, :, 2], pixels(2).T * 2.5 * suv_per_becquerel(seconds), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "injection", "why"),
    [
        ({"PatientWeight": None}, {}, "the weight is missing"),
        ({"PatientWeight": 0}, {}, "the weight is implausible"),
        ({}, {"RadionuclideTotalDose": None}, "the injected dose is missing"),
        ({}, {"RadionuclideTotalDose": 370}, "the injected dose is implausible"),  # in MBq
        ({}, {"RadionuclideHalfLife": None}, "the half-life is missing"),
        ({}, {"RadiopharmaceuticalStartTime": None}, "the time of the injection is missing"),
        ({}, {"RadiopharmaceuticalStartDateTime": "20190301100000"}, "plausible time after the injection"),
        ({}, {"RadiopharmaceuticalStartDateTime": "20200301120000"}, "plausible time after the injection"),
        ({"CorrectedImage": ["NORM", "DECY"]}, {}, "not said to be corrected for attenuation and decay"),
        ({"CorrectedImage": "ATTN"}, {}, "not said to be corrected for attenuation and decay"),
        ({"DecayCorrection": "NONE"}, {}, 'the decay correction is "NONE"'),
        ({"RadiopharmaceuticalInformationSequence": None}, {}, "nothing is said of the injection"),
        ({"SeriesTime": None, "AcquisitionDate": None}, {}, "the time of the scan is missing"),
    ],
)
def test_what_is_doubtful_stays_in_becquerel_with_the_reason(tmp_path, pet, pixels, changes, injection, why):
    volume = read_volume(pet(tmp_path / "pt", injection, **changes))
    np.testing.assert_allclose(volume.array[:, :, 1], pixels(1).T * 2.5)
    assert volume.source["units"] == "Bq/mL"
    (said,) = volume.source["warnings"]
    assert said.startswith("PET values are Bq/mL; no SUV, because ")
    assert why in said


@pytest.mark.parametrize(
    ("changes", "unit", "said"),
    [
        ({"Units": "GML"}, "SUVbw g/mL", None),
        ({"Units": "GML", "SUVType": "LBM"}, "SUVlbm g/mL", None),
        ({"Units": "CNTS"}, "counts", "PET values are counts, not SUV"),
        ({"Units": None}, None, "PET values are of an unknown unit, not SUV"),
    ],
)
def test_other_units_of_pet_are_said(tmp_path, pet, pixels, changes, unit, said):
    volume = read_volume(pet(tmp_path / "pt", **changes))
    np.testing.assert_allclose(volume.array[:, :, 1], pixels(1).T * 2.5)
    assert volume.source["units"] == unit
    assert volume.source["warnings"] == ([said] if said else [])


def test_a_window_follows_the_unit(tmp_path, pet):
    folder = pet(tmp_path / "pt", WindowWidth=10000, WindowCenter=5000)
    factor = suv_per_becquerel(3600)
    window = read_volume(folder).source["window"]
    assert window == pytest.approx({"width": 10000 * factor, "level": 5000 * factor})


def test_ct_is_in_hounsfield_units_unless_it_says_otherwise(tmp_path, series):
    assert read_volume(series(tmp_path / "a")).source["units"] == "HU"
    assert read_volume(series(tmp_path / "b", RescaleType="US")).source["units"] is None
    assert read_volume(series(tmp_path / "c", Modality="MR")).source["units"] is None
    assert describe(tmp_path / "a")["units"] == "HU"
