"""The only place that opens image files. Everything leaves it as a `Volume` in RAS+ millimetres, in file order.

    image = read_volume("ct.nii.gz")
    mask = read_mask("liver.nrrd", like=image)
    write_mask("out.nii.gz", mask, like=image)

What a file is, is decided by its content and not by its name. Label values are never renumbered.
"""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.imageio.atomic import atomic_path, check_output_path
from medseg_rl.imageio.kinds import OUTPUT_SUFFIXES, READ_SUFFIXES, kind_of, output_kind
from medseg_rl.imageio.masks import as_label_map, geometry_line, narrowed, on_grid_of
from medseg_rl.segmentation import is_same_grid
from medseg_rl.volume import Volume

__all__ = [
    "OUTPUT_SUFFIXES",
    "READ_SUFFIXES",
    "atomic_path",
    "check_output",
    "describe",
    "read_mask",
    "read_volume",
    "write_mask",
    "write_volume",
]

AnyPath = str | PathLike[str]
FloatType = type[np.floating[Any]]


def read_volume(
    path: AnyPath,
    *,
    time_point: int | None = None,
    prefer: Literal["sform", "qform"] | None = None,
    series: str | int | None = None,
    replace_nonfinite: float | None = None,
) -> Volume:
    """An image as (x, y, z) in file order: integers as stored, scaled values and all real numbers as float32.

    `path`: a file, or a folder with DICOM images. `time_point`: from 0, where a file holds several volumes. `prefer`:
    the NIfTI transform to use where both are set. `series`: number in the list of `describe`, or UID, where a folder
    holds several. `replace_nonfinite`: takes the place of NaN and infinite voxels, which are refused otherwise, because
    what they stand for differs from file to file. What the user should know is in `source["warnings"]`.
    Raises InputFileError and GeometryError.
    """
    path = Path(path)
    volume = _read(path, time_point=time_point, prefer=prefer, series=series, float_type=np.float32)
    return _finite(path, volume, replace_nonfinite)


def read_mask(
    path: AnyPath,
    *,
    like: Volume | None = None,
    time_point: int | None = None,
    prefer: Literal["sform", "qform"] | None = None,
    accept_shift: bool = False,
    resample: bool = False,
    threshold: float | None = None,
) -> Volume:
    """A label map as integers, values as in the file; on the grid of `like` where that is given.

    Another axis order or flips are undone without loss. `accept_shift`: takes a mask of the same shape that lies up to
    one voxel off. `resample`: nearest neighbour where the world boxes overlap by at least 90 %. `threshold`: for a map
    of probabilities; what lies above it becomes 1.
    Raises InputFileError (not whole numbers), GeometryError (another grid, both printed).
    """
    path = Path(path)
    volume = _read(path, time_point=time_point, prefer=prefer, series=None, float_type=np.float64)
    mask = as_label_map(path, volume, threshold=threshold)
    return mask if like is None else on_grid_of(path, mask, like, accept_shift=accept_shift, resample=resample)


def write_mask(path: AnyPath, mask: Volume, *, like: Volume) -> None:
    """Writes a label map (bool or integers) so that it overlays the image `like` in every viewer.

    A NIfTI mask of a NIfTI image gets both transforms and both codes of that image. A failure leaves the old file.
    Raises GeometryError (another grid), OutputError (full disk, read-only, another writer, unknown ending).
    """
    if not is_same_grid(mask, like):
        raise GeometryError(
            f"mask is {geometry_line(mask)} but image is {geometry_line(like)}; resample the mask first"
        )
    if mask.array.dtype.kind not in ("b", "u", "i"):
        raise ValueError(f"a mask holds bool or integers, this one {mask.array.dtype}")
    _write(Path(path), like.with_array(narrowed(mask.array)))


def write_volume(path: AnyPath, volume: Volume) -> None:
    """Writes an image; as `write_mask` in all else."""
    array = volume.array
    if array.dtype == np.bool_ or array.dtype == np.float16:  # no file format here has these
        array = array.astype(np.uint8 if array.dtype == np.bool_ else np.float32)
    _write(Path(path), volume.with_array(array))


def check_output(path: AnyPath) -> None:
    """Raises OutputError before any work is done when `path` could not be written or its ending is none of ours."""
    output_kind(Path(path))
    check_output_path(Path(path))


def describe(path: AnyPath) -> dict[str, Any]:
    """What is known of a file or DICOM folder, ready for JSON; a file that is recognised but unusable says why."""
    from medseg_rl.imageio.description import describe as describe_path

    return describe_path(Path(path))


def _read(
    path: Path,
    *,
    time_point: int | None,
    prefer: Literal["sform", "qform"] | None,
    series: str | int | None,
    float_type: FloatType,
) -> Volume:
    kind = kind_of(path)
    if kind == "NIfTI":
        from medseg_rl.imageio import nifti

        return nifti.read(path, time_point=time_point, prefer=prefer, float_type=float_type)
    if time_point is not None:
        raise InputFileError(f"{path} is {kind}; a time point can be chosen in NIfTI files only")
    if prefer is not None:
        raise InputFileError(f"{path} is {kind}; only NIfTI files have a sform and a qform to prefer")
    if kind == "DICOM":
        from medseg_rl.imageio import dicom

        return dicom.read(path, series=series, float_type=float_type)
    from medseg_rl.imageio import itk

    return itk.read(path, kind, float_type=float_type)


def _write(path: Path, volume: Volume) -> None:
    kind = output_kind(path)
    if kind == "NIfTI":
        from medseg_rl.imageio import nifti

        with atomic_path(path) as temporary:
            nifti.write(temporary, volume)
        return
    from medseg_rl.imageio import itk

    itk.write(path, kind, volume)


def _finite(path: Path, volume: Volume, replacement: float | None) -> Volume:
    if volume.array.dtype.kind != "f":
        return volume
    bad = ~np.isfinite(volume.array)
    count = int(np.count_nonzero(bad))
    if count == 0:
        return volume
    not_a_number = int(np.count_nonzero(np.isnan(volume.array)))
    said = f"{not_a_number} NaN and {count - not_a_number} infinite voxels of {bad.size}"
    if replacement is None:
        raise InputFileError(f"{path} holds {said}; say which value replaces them (such as the background), or mend it")
    array = np.where(bad, np.asarray(replacement, dtype=volume.array.dtype), volume.array)
    warnings = [*volume.source.get("warnings", []), f"{said} were replaced by {replacement:g}"]
    return replace(volume, array=array, source={**volume.source, "warnings": warnings})
