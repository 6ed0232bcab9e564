"""The unit of the values of a DICOM series, and PET activity as standardised uptake values where its tags allow it.

SUVbw after the Quantitative Imaging Biomarkers Alliance (FDG-PET/CT profile, appendix G): activity concentration times
body weight over the injected dose, the dose decayed to the time that the images are corrected to. Anything doubtful
leaves the stored values, with the reason. Neither weight nor dates are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import pydicom

from medseg_rl.imageio.dicom_series import Series

UnitChoice = Literal["suv", "stored"]

FORMULA = "SUVbw = (Bq/mL) x weight / (dose x 2^(-t/T))"
PET_UNITS = {"CNTS": "counts", "PROPCNTS": "counts", "CPS": "counts/s", "BQML": "Bq/mL", "CM2ML": "SUVbsa cm2/mL"}
PLAUSIBLE_WEIGHT_KG = (0.1, 700.0)
PLAUSIBLE_DOSE_BQ = (1e4, 1e12)
MOST_HALF_LIVES = 20.0


class _Doubt(Exception):
    """Why no uptake value can be computed."""


@dataclass(frozen=True)
class Units:
    """`name` of the unit, None where the file does not say; values are to be multiplied by `factor`; `note` for the
    user; `formula` where values were converted.
    """

    name: str | None = None
    factor: float = 1.0
    note: str | None = None
    formula: str | None = None


def units_of(series: Series, choice: UnitChoice = "suv") -> Units:
    """What the values of a series are, and by what they become uptake values where that is wanted and possible."""
    stated = series.first.value_type.strip().upper()
    if series.modality == "CT":
        return Units("HU" if stated in ("", "HU") else None)
    if series.modality != "PT":
        return Units()
    header = series.first.header
    unit = str(header.get("Units") or stated).strip().upper()
    if unit == "GML":
        kind = str(header.get("SUVType") or "BW").strip().lower()
        return Units(f"SUV{kind} g/mL")
    if unit != "BQML":
        return Units(PET_UNITS.get(unit), note=f"PET values are {PET_UNITS.get(unit, 'of an unknown unit')}, not SUV")
    if choice == "stored":
        return Units("Bq/mL")
    try:
        factor, said = _suv_factor(series, header)
    except _Doubt as doubt:
        return Units("Bq/mL", note=f"PET values are Bq/mL; no SUV, because {doubt}")
    except (ValueError, TypeError, ArithmeticError):  # of values that break the rules of their type
        return Units("Bq/mL", note="PET values are Bq/mL; no SUV, because its tags cannot be understood")
    formula = f"{FORMULA}, {said}"
    return Units("SUVbw g/mL", factor, f"PET values were converted: {formula}", formula)


def _suv_factor(series: Series, header: pydicom.Dataset) -> tuple[float, str]:
    """SUVbw of 1 Bq/mL, and t and T in words. Raises _Doubt."""
    corrected = header.get("CorrectedImage") or ()
    done = {str(item) for item in ([corrected] if isinstance(corrected, str) else corrected)}
    if not {"ATTN", "DECY"} <= done:
        raise _Doubt("the images are not said to be corrected for attenuation and decay")
    items = header.get("RadiopharmaceuticalInformationSequence")
    if not items:
        raise _Doubt("nothing is said of the injection")
    weight = _within(header.get("PatientWeight"), PLAUSIBLE_WEIGHT_KG, "the weight")
    dose = _within(items[0].get("RadionuclideTotalDose"), PLAUSIBLE_DOSE_BQ, "the injected dose")
    half_life = _within(items[0].get("RadionuclideHalfLife"), (1.0, 1e9), "the half-life")
    way = str(header.get("DecayCorrection") or "").strip().upper()
    if way == "ADMIN":
        passed = 0.0
    elif way == "START":
        passed = _seconds_from_injection(series, items[0])
    else:
        raise _Doubt(
            f'the decay correction is "{way or "not stated"}", not to the start of the scan or to the injection'
        )
    if not 0 <= passed <= MOST_HALF_LIVES * half_life:
        raise _Doubt("the scan does not begin within a plausible time after the injection")
    factor = weight * 1000 / (dose * 2 ** (-passed / half_life))
    return factor, f"weight in g, t = {passed:.0f} s from injection to scan, T = {half_life:.0f} s"


def _within(value: Any, limits: tuple[float, float], name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _Doubt(f"{name} is missing") from None
    if not (math.isfinite(number) and limits[0] <= number <= limits[1]):
        raise _Doubt(f"{name} is implausible")
    return number


def _seconds_from_injection(series: Series, injection: pydicom.Dataset) -> float:
    """From the injection to the time that START means: that of the series, unless images were taken before it."""
    header = series.first.header
    start = _moment(header.get("SeriesDate"), header.get("SeriesTime"))
    taken = [_moment(s.tags.get("AcquisitionDate"), s.tags.get("AcquisitionTime")) for s in series.slices]
    acquired = [moment for moment in taken if moment is not None]
    if acquired and (start is None or min(acquired) < start):  # a series made anew has a later time of its own
        start = min(acquired)
    if start is None:
        raise _Doubt("the time of the scan is missing")
    exact = str(injection.get("RadiopharmaceuticalStartDateTime") or "")
    injected = _moment(exact[:8], exact[8:].partition("+")[0].partition("-")[0]) if exact else None
    if injected is None:
        injected = _moment(start.strftime("%Y%m%d"), injection.get("RadiopharmaceuticalStartTime"))
        if injected is not None and injected > start:  # over midnight
            injected -= timedelta(days=1)
    if injected is None:
        raise _Doubt("the time of the injection is missing")
    return (start - injected).total_seconds()


def _moment(date: Any, time: Any) -> datetime | None:
    """Of DICOM's date (YYYYMMDD) and time (HHMMSS.F); None where one is missing or wrong."""
    day, clock = str(date or "").strip(), str(time or "").strip()
    whole, _, fraction = clock.partition(".")
    try:
        moment = datetime.strptime(f"{day} {whole.ljust(6, '0')}", "%Y%m%d %H%M%S")
        return moment + timedelta(seconds=float(f"0.{fraction}") if fraction else 0.0) if clock else None
    except ValueError:
        return None
