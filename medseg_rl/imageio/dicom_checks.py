"""Says why a DICOM series cannot be opened at all: other objects, colours, no decoder, impossible planes.

Whether its slices make a regular stack is `dicom_geometry`'s question.
"""

from __future__ import annotations

import warnings

import numpy as np
from pydicom.uid import UID

from medseg_rl.errors import GeometryError, InputFileError, MedSegError
from medseg_rl.imageio.dicom_series import Series
from medseg_rl.imageio.dicom_slices import SEGMENTATION_CLASSES, syntax_of

CODECS = "medseg-rl[dicom-codecs]"
GREY = {"MONOCHROME1", "MONOCHROME2"}


def problem_of(series: Series) -> MedSegError | None:
    """The error to raise, without the name of the folder; None when its slices can be read and have a grid each."""
    return _content_problem(series) or _plane_problem(series)


def _content_problem(series: Series) -> MedSegError | None:
    """What the files are, if not slices of grey values with a decoder at hand."""
    first = series.first
    name = first.path.name
    if first.kind in SEGMENTATION_CLASSES.values():
        return InputFileError(f"{name} is a {first.kind}, not an image; read it as a segmentation of its image")
    if not first.is_image:
        frames = int(first.header.get("NumberOfFrames") or 1)
        what = f"is a multi-frame image of {frames} frames that" if frames > 1 else ""
        return InputFileError(f"{name} {what} has no position in space, so it makes no volume; open CT, MR or PET")
    colours = {str(s.header.get("PhotometricInterpretation", "")) for s in series.slices} - GREY
    if colours:
        return InputFileError(f"{name} holds colours ({', '.join(sorted(colours))}), not intensities; choose another")
    if any(s.header.get("ModalityLUTSequence") for s in series.slices):
        return InputFileError(f"{name} holds a modality lookup table in place of a slope; convert it to NIfTI first")
    return _decoder_problem(series)


def _decoder_problem(series: Series) -> MedSegError | None:
    for syntax in sorted({syntax_of(s.header) for s in series.slices}):
        if not can_decode(syntax):
            return InputFileError(
                f"{series.first.path.name} is compressed as {UID(syntax).name or 'nothing known'} ({syntax}), for which"
                f" no decoder is installed; {_way_out(syntax)}"
            )
    return None


def _way_out(syntax: str) -> str:
    if _has_decoder(syntax):
        return f'install one with: pip install "{CODECS}"'
    return "none is known here: get the images again, uncompressed or in lossless JPEG"


def _has_decoder(syntax: str) -> bool:
    """Whether pixels of that transfer syntax could be decoded if only the packages were there."""
    from pydicom.pixels.decoders.base import get_decoder

    try:
        get_decoder(UID(syntax))
    except (NotImplementedError, ValueError):
        return False
    return True


def can_decode(syntax: str) -> bool:
    """Whether pixels of that transfer syntax (UID) can be decoded by what is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the decoders' own imports
        from pydicom.pixels.decoders.base import get_decoder

        try:
            return get_decoder(UID(syntax)).is_available
        except (NotImplementedError, ValueError):
            return False


def _plane_problem(series: Series) -> MedSegError | None:
    first = series.first
    if len(series.slices) < 2:
        return GeometryError(f"{first.name} is the only slice of its series; open the folder with all of them")
    if not (np.isfinite(first.spacing).all() and min(first.spacing) > 0):
        said = " x ".join(f"{s:g}" for s in first.spacing)
        return GeometryError(f"{first.path.name} says its pixel spacing is {said} mm; correct its header")
    lengths = np.linalg.norm(first.directions, axis=1)
    if not (np.abs(lengths - 1) < 1e-3).all() or abs(float(first.directions[0] @ first.directions[1])) > 1e-3:
        said = ", ".join(f"{d:.4g}" for d in first.directions.ravel())
        return GeometryError(f"{first.path.name} has an impossible orientation ({said}); correct its header")
    return None
