"""Says why a DICOM series is no regular stack of slices that opens as one volume, with numbers and file names."""

from __future__ import annotations

import numpy as np
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from medseg_rl.errors import GeometryError, InputFileError, MedSegError
from medseg_rl.imageio.dicom_series import SAME_POSITION_MM, SEGMENTATION_CLASSES, Series, duplicates

GAP_TOLERANCE = 0.01  # of the median gap, or 0.01 mm where that is more
MISSING_FROM = 1.5  # medians
TILT_DEGREES = 0.1
AFTERWARDS = "export all slices again, or convert the series to NIfTI with a tool that resamples it"


def problem_of(series: Series) -> MedSegError | None:
    """The error to raise, without the name of the folder; None when the series can be opened."""
    return _content_problem(series) or _plane_problem(series) or _stack_problem(series)


def _content_problem(series: Series) -> MedSegError | None:
    """What the files are, if not plain slices of grey values with a decoder at hand."""
    first = series.first
    name = first.path.name
    if first.kind in SEGMENTATION_CLASSES.values():
        return InputFileError(f"{name} is a {first.kind}, not an image; convert it to a NIfTI or NRRD mask first")
    if first.kind == "multi-frame image":
        frames = series.shape[2]
        return InputFileError(f"{name} is a multi-frame image of {frames} frames; convert it to NIfTI first")
    if first.kind == "image without position":
        return InputFileError(f"{name} has no position in space, so it is no slice of a volume; open CT, MR or PET")
    if len(series.slices) < 2:
        return GeometryError(f"{name} is the only slice of its series; open the folder with all of them")
    colours = {str(s.header.get("PhotometricInterpretation", "")) for s in series.slices} - {
        "MONOCHROME1",
        "MONOCHROME2",
    }
    if colours:
        return InputFileError(f"{name} holds colours ({', '.join(sorted(colours))}), not intensities; choose another")
    return _decoder_problem(series)


def _decoder_problem(series: Series) -> MedSegError | None:
    for syntax in sorted({str(s.header.file_meta.get("TransferSyntaxUID", "")) for s in series.slices}):
        uid = UID(syntax)
        try:
            available = not uid.is_compressed or get_decoder(uid).is_available
        except (NotImplementedError, ValueError):
            available = False
        if not available:
            return InputFileError(
                f"{series.first.path.name} is compressed as {uid.name}, for which no decoder is installed;"
                " install pylibjpeg, pylibjpeg-libjpeg and pylibjpeg-openjpeg with pip"
            )
    return None


def _plane_problem(series: Series) -> MedSegError | None:
    first = series.first
    if not (np.isfinite(first.spacing).all() and min(first.spacing) > 0):
        said = " x ".join(f"{s:g}" for s in first.spacing)
        return GeometryError(f"{first.path.name} says its pixel spacing is {said} mm; correct its header")
    lengths = np.linalg.norm(first.directions, axis=1)
    if not (np.abs(lengths - 1) < 1e-3).all() or abs(float(first.directions[0] @ first.directions[1])) > 1e-3:
        said = ", ".join(f"{d:.4g}" for d in first.directions.ravel())
        return GeometryError(f"{first.path.name} has an impossible orientation ({said}); correct its header")
    if not all(np.isfinite(s.position).all() for s in series.slices):
        return GeometryError(f"{first.path.name} or a neighbour has an undefined position; correct its header")
    return None


def _stack_problem(series: Series) -> MedSegError | None:
    doubled = duplicates(series.slices)
    if doubled:
        one, other = (s.path.name for s in doubled[0])
        return GeometryError(
            f"{len(doubled)} slices lie where another one lies, such as {one} and {other}; keep one of each there"
        )
    found = [text for text in (_uneven(series), _missing(series), _tilted(series)) if text]
    return GeometryError(f"{'; '.join(found)}; {AFTERWARDS}") if found else None


def _uneven(series: Series) -> str | None:
    median = float(np.median(series.gaps))
    off = np.abs(series.gaps - median)
    worst = int(off.argmax())
    if off[worst] <= max(GAP_TOLERANCE * median, SAME_POSITION_MM):
        return None
    low, high = series.gaps.min(), series.gaps.max()
    return (
        f"gaps between slices are uneven, {low:.4g} to {high:.4g} mm (median {median:.4g}), {_between(series, worst)}"
    )


def _missing(series: Series) -> str | None:
    ratios = series.gaps / np.median(series.gaps)
    places = np.flatnonzero(ratios >= MISSING_FROM)
    if places.size == 0:
        return None
    number = int(sum(max(1, round(float(ratios[p])) - 1) for p in places))
    slices = "slice seems" if number == 1 else "slices seem"
    return f"{number} {slices} missing, {_between(series, int(places[0]))}"


def _tilted(series: Series) -> str | None:
    across = np.linalg.norm(series.steps - np.outer(series.gaps, series.first.normal), axis=1)
    degrees = np.where(across > SAME_POSITION_MM, np.degrees(np.arctan2(across, series.gaps)), 0.0)
    if degrees.max() <= TILT_DEGREES:
        return None
    moved = f"{across.sum():.3g} mm from first to last"
    return f"the gantry is tilted: slices move {degrees.max():.3g} degrees off their normal, {moved}"


def _between(series: Series, gap: int) -> str:
    return f"between {series.slices[gap].path.name} and {series.slices[gap + 1].path.name}"
