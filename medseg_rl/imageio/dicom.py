"""Opens a DICOM series as one volume. What is no regular stack of slices needs a choice, and is refused without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import InputFileError
from medseg_rl.imageio.dicom_checks import problem_of
from medseg_rl.imageio.dicom_geometry import GeometryReport, refusal_of, report_of
from medseg_rl.imageio.dicom_grid import lps_affine, regrid_of, resampled
from medseg_rl.imageio.dicom_patient import PATIENT, patient_hash
from medseg_rl.imageio.dicom_pixels import read_stack
from medseg_rl.imageio.dicom_scan import Scan, files_below, scan
from medseg_rl.imageio.dicom_series import Series
from medseg_rl.imageio.dicom_units import UnitChoice, units_of
from medseg_rl.imageio.limits import checked_slices, times
from medseg_rl.volume import FloatArray, Volume

MissingChoice = Literal["refuse", "resample", "keep"]
TiltChoice = Literal["keep", "resample"]

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MODALITIES = {"CT": "CT", "MR": "MR", "PT": "PT"}


def scan_path(
    path: Path,
    *,
    progress: Callable[[int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Scan:
    """All series below a folder; for a file, the series in its folder that it belongs to. See `dicom_scan.scan`."""
    if path.is_dir() or path.name.upper() == "DICOMDIR":
        return scan(files_below(path if path.is_dir() else path.parent), progress=progress, cancel=cancel)
    around = sorted(p for p in path.parent.iterdir() if p.is_file())
    found = scan(around, progress=progress, cancel=cancel)
    own = tuple(s for s in found.series if any(item.path == path for item in s.slices))
    if not own:  # a second copy of an image, or a damaged file: let its own header speak
        alone = scan([path])
        own = tuple(s for s in found.series if alone.series and s.uid == alone.series[0].uid)
    return Scan(own, tuple(p for p in found.damaged if p == path), 0)


def reports_of(
    path: Path,
    *,
    progress: Callable[[int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> tuple[GeometryReport, ...]:
    """One report for each series below a folder, or for those of a file, in the order that `series` counts in."""
    found = scan_path(path, progress=progress, cancel=cancel)
    return tuple(report_of(series, number) for number, series in enumerate(found.series, 1))


def read(
    path: Path,
    *,
    series: str | int | None,
    float_type: type[np.floating[Any]],
    missing: MissingChoice = "refuse",
    tilt: TiltChoice = "keep",
    units: UnitChoice = "suv",
    slices: tuple[int, int] | None = None,
) -> Volume:
    """One volume (column, row, slice) with rescaled values, integers where the rescaling keeps them whole.

    `series`: its number in the list, from 1, or its UID; needed where a folder holds several that could be meant.
    `missing`: where slices are missing or out of their place, refuse, resample to a regular grid (linear), or keep the
    slices as they are, which disables quantities. `tilt`: keep the sheared grid of a tilted gantry, or resample it to
    an upright one. `units`: PET in Bq/mL becomes SUVbw where the tags allow it, or stays as stored.
    `slices`: only those, from 0 by position, first and one past the last.
    Raises InputFileError (several series, other objects, no decoder, damaged), GeometryError (missing slices).
    """
    found = scan_path(path)
    chosen, number = _choose(path, found, series)
    if slices is not None:
        chosen = replace(chosen, slices=chosen.slices[checked_slices(path, slices, len(chosen.slices))])
    problem = problem_of(chosen)
    if problem is not None:
        raise type(problem)(f"{path}: {problem}")
    report = report_of(chosen, number)
    if report.problem:
        raise InputFileError(f"{path}: {report.problem}")
    refusal = refusal_of(chosen, report) if missing == "refuse" else None
    if refusal is not None:
        raise type(refusal)(f"{path}: {refusal}")
    if found.damaged:
        names = ", ".join(p.name for p in found.damaged[:3])
        raise InputFileError(f"{path}: {len(found.damaged)} DICOM files are damaged ({names}); get them again")
    notes = _notes(found, chosen, asked_for=series is not None)
    array, affine, source = _on_grid(
        read_stack(path, chosen, float_type), chosen, report, even=missing == "resample", upright=tilt == "resample"
    )
    unit = units_of(chosen, units)
    if unit.factor != 1:
        array = (array * unit.factor).astype(float_type)
    source |= {"format": "DICOM", "path": str(path), "series_uid": chosen.uid, "geometry": report.facts()}
    source |= {PATIENT: patient_hash(chosen.first.path)}
    source |= {"units": unit.name, "units_formula": unit.formula, "window": _window(chosen, unit.factor)}
    source["warnings"] = [*source["warnings"], *([unit.note] if unit.note else []), *notes]
    return Volume(array, RAS_FROM_LPS @ affine, MODALITIES.get(chosen.modality), source)


def _choose(path: Path, found: Scan, wanted: str | int | None) -> tuple[Series, int]:
    """The series that is meant, and its number in the list."""
    if not found.series:
        if found.damaged:
            raise InputFileError(f"{path}: {found.damaged[0].name} is a damaged DICOM file; get it again")
        raise InputFileError(f"{path} holds no DICOM image; give a folder with a series, or a NIfTI or NRRD file")
    numbered = list(enumerate(found.series, 1))
    candidates = [pair for pair in numbered if pair[1].could_be_volume]  # they come first in the list
    listed = "; ".join(f"{n}) {s.line()}" for n, s in candidates or numbered)
    if wanted is not None:
        if isinstance(wanted, int) or wanted.isdecimal():
            matches = [(s, n) for n, s in numbered if n == int(wanted)]
        else:
            matches = [(s, n) for n, s in numbered if s.uid == wanted]
        if len(matches) == 1:
            return matches[0]
        raise InputFileError(f"{path} has {len(matches) or 'no'} series {wanted}; choose a number: {listed}")
    if len(candidates) > 1:
        raise InputFileError(f"{path} holds {len(candidates)} series, choose one by its number: {listed}")
    number, chosen = (candidates or numbered)[0]
    return chosen, number


def _notes(found: Scan, chosen: Series, *, asked_for: bool) -> list[str]:
    """What was left out, unless the user chose it so, and how the file wants to be shown.

    Not what the files call themselves: such notes go on into reports.
    """
    notes = [
        f"another series was left out: number {number} of the list, {s.modality}, {times(s.shape)}"
        for number, s in enumerate(found.series, 1)
        if s.first is not chosen.first and s.first.is_image and not asked_for
    ]
    if str(chosen.first.header.get("PhotometricInterpretation")) == "MONOCHROME1":
        notes.append("the file asks for an inverted display (MONOCHROME1); values are as stored")
    return notes


def _on_grid(
    array: npt.NDArray[Any], series: Series, report: GeometryReport, *, even: bool, upright: bool
) -> tuple[npt.NDArray[Any], FloatArray, dict[str, Any]]:
    """Array, LPS affine and what to remember: as the slices lie, or moved to the grid that was asked for."""
    even = even and bool(report.uneven or report.is_astray)
    upright = upright and report.is_tilted
    source: dict[str, Any] = {"warnings": list(report.warnings)}
    if report.is_tilted and not upright:
        source["warnings"].append("the grid keeps the tilt as shear")
    if not even and not upright:
        if report.is_broken:
            source["quantities"] = f"disabled: {'; '.join(report.warnings)}"
            source["warnings"].append("quantities are disabled: no grid says where these slices lie")
        return array, lps_affine(series), source
    regrid, outside = regrid_of(series, even=even, upright=upright), array.min()
    said = f"resampled to {'a regular' if even else 'an upright'} grid of {regrid.shape[2]} planes"
    if regrid.interpolated:
        said += f", {regrid.interpolated} of them between slices"
    if upright:
        said += f"; {outside:g} stands where no slice reaches"
    source["warnings"].append(said)
    source["resampled"] = said
    return resampled(array, series, regrid, outside=float(outside)), regrid.affine, source


def _window(series: Series, factor: float) -> dict[str, float] | None:
    """The display window of the middle slice, in the unit of the values."""
    found = series.slices[len(series.slices) // 2].window
    return None if found is None else {"width": found[0] * factor, "level": found[1] * factor}
