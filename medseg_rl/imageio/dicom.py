"""Opens a plain DICOM series as one volume. What is no regular stack of slices is refused with its numbers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from medseg_rl.errors import InputFileError
from medseg_rl.imageio.dicom_checks import problem_of
from medseg_rl.imageio.dicom_series import Scan, Series, files_below, scan
from medseg_rl.imageio.limits import MAX_VOXELS
from medseg_rl.volume import FloatArray, Volume

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MODALITIES = {"CT": "CT", "MR": "MR", "PT": "PT"}


def scan_path(path: Path) -> Scan:
    """All series below a folder; for a file, the series in its folder that it belongs to."""
    if path.is_dir():
        return scan(files_below(path))
    found = scan(sorted(p for p in path.parent.iterdir() if p.is_file()))
    own = tuple(s for s in found.series if any(item.path == path for item in s.slices))
    if not own:  # a second copy of an image, or a damaged file: let its own header speak
        alone = scan([path])
        own = tuple(s for s in found.series if alone.series and s.uid == alone.series[0].uid)
    return Scan(own, tuple(p for p in found.damaged if p == path), 0)


def read(path: Path, *, series: str | int | None, float_type: type[np.floating[Any]]) -> Volume:
    """One volume (column, row, slice) with rescaled values, integers where the rescaling keeps them whole.

    `series`: its number in the list, from 1, or its UID; needed where a folder holds several that could be meant.
    Raises InputFileError (several series, other objects, no decoder, damaged), GeometryError (gaps, tilt, duplicates).
    """
    found = scan_path(path)
    chosen = _choose(path, found, series)
    problem = problem_of(chosen)
    if problem is not None:
        raise type(problem)(f"{path}: {problem}")
    if found.damaged:
        names = ", ".join(p.name for p in found.damaged[:3])
        raise InputFileError(f"{path}: {len(found.damaged)} DICOM files are damaged ({names}); get them again")
    array = _read_voxels(path, chosen, float_type)
    left_out = [s for s in found.series if s is not chosen and s.first.kind == "image"]
    notes = [f"another series was left out: {s.line()}" for s in left_out]
    if str(chosen.first.header.get("PhotometricInterpretation")) == "MONOCHROME1":
        notes.append("the file asks for an inverted display (MONOCHROME1); values are as stored")
    source = {"format": "DICOM", "path": str(path), "warnings": notes, "series_uid": chosen.uid}
    return Volume(array, RAS_FROM_LPS @ _lps_affine(chosen), MODALITIES.get(chosen.modality), source)


def _choose(path: Path, found: Scan, wanted: str | int | None) -> Series:
    if not found.series:
        if found.damaged:
            raise InputFileError(f"{path}: {found.damaged[0].name} is a damaged DICOM file; get it again")
        raise InputFileError(f"{path} holds no DICOM image; give a folder with a series, or a NIfTI or NRRD file")
    candidates = [s for s in found.series if s.could_be_volume]  # they come first in the list
    listed = "; ".join(f"{n}) {s.line()}" for n, s in enumerate(candidates or found.series, 1))
    if wanted is not None:
        if isinstance(wanted, int) or wanted.isdecimal():
            matches = [s for n, s in enumerate(found.series, 1) if n == int(wanted)]
        else:
            matches = [s for s in found.series if s.uid == wanted]
        if len(matches) == 1:
            return matches[0]
        raise InputFileError(f"{path} has {len(matches) or 'no'} series {wanted}; choose a number: {listed}")
    if len(candidates) > 1:
        raise InputFileError(f"{path} holds {len(candidates)} series, choose one by its number: {listed}")
    return candidates[0] if candidates else found.series[0]


def _lps_affine(series: Series) -> FloatArray:
    first = series.first
    affine = np.eye(4)
    affine[:3, 0] = first.directions[0] * first.spacing[0]
    affine[:3, 1] = first.directions[1] * first.spacing[1]
    affine[:3, 2] = series.steps.mean(axis=0)  # positions, not slice thickness
    affine[:3, 3] = first.position
    return affine


def _read_voxels(path: Path, series: Series, float_type: type[np.floating[Any]]) -> npt.NDArray[Any]:
    columns, rows, count = series.shape
    if columns * rows * count > MAX_VOXELS:
        raise InputFileError(f"{path} holds {columns} x {rows} x {count} voxels, more than can be worked on; crop it")
    array: npt.NDArray[Any] | None = None
    for k, item in enumerate(series.slices):
        values = _read_slice(item.path, (rows, columns))
        if array is None:  # after the first slice was decoded, so that a lying header takes no memory
            array = np.empty(series.shape, dtype=values.dtype)
        elif np.result_type(array.dtype, values.dtype) != array.dtype:
            array = array.astype(np.result_type(array.dtype, values.dtype))
        array[:, :, k] = values.T
    assert array is not None  # a series has slices
    if array.dtype.kind == "f":
        return array.astype(float_type)
    low, high = int(array.min()), int(array.max())
    return array.astype(np.int16) if low >= -32768 and high <= 32767 else array


def _read_slice(path: Path, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Rescaled values (row, column): int32 where slope is 1 and the intercept whole, float64 otherwise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # padding behind the pixels, odd values in unused tags
            dataset = pydicom.dcmread(path)
            stored = dataset.pixel_array
            slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    except Exception as error:  # decoders raise whatever they like
        raise InputFileError(
            f"{path} is cut off or damaged: {' '.join(str(error).split())[:200]}; get it again"
        ) from error
    if stored.shape != shape:
        raise InputFileError(f"{path} says {shape} pixels but holds {stored.shape}; get it again")
    if slope == 1 and intercept.is_integer() and stored.dtype.itemsize <= 2:
        return np.asarray(stored, dtype=np.int32) + np.int32(intercept)
    return np.asarray(stored, dtype=np.float64) * slope + intercept
