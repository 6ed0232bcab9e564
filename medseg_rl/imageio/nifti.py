"""Reads and writes NIfTI through nibabel. Decides nothing about masks or non-finite voxels: the package does that."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import HeaderDataError

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.imageio.limits import check_end, check_size, checked_slices, times
from medseg_rl.imageio.nifti_transforms import Form, choose_affine
from medseg_rl.volume import Volume, corner_distance

LONGEST_DESCRIPTION = 79  # bytes; the 80th ends it
TRANSFORM_FIELDS = [
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
    "xyzt_units",
]
VECTOR_INTENTS = {1004, 1005, 1006, 1007, 1008, 1009, 2003, 2004}  # matrices, vectors, RGB, RGBA


@dataclass(frozen=True)
class Header:
    """The fixed block of a NIfTI file. `shape` as stored, without trailing ones beyond the third axis."""

    block: nib.Nifti1Header
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """Voxels along the three axes in space."""
        x, y, z = self.shape[:3]
        return x, y, z

    @property
    def components(self) -> int:
        """Values in each voxel: more than one for vectors and colours."""
        if self.dtype.names is not None:
            return len(self.dtype.names)
        if len(self.shape) > 4 or int(self.block["intent_code"]) in VECTOR_INTENTS:
            return math.prod(self.shape[4:]) if len(self.shape) > 4 else math.prod(self.shape[3:])
        return 1

    @property
    def time_points(self) -> int:
        """Volumes in the file."""
        is_vector = len(self.shape) == 4 and int(self.block["intent_code"]) in VECTOR_INTENTS
        return 1 if is_vector or len(self.shape) < 4 else self.shape[3]


def read_header(path: Path) -> Header:
    """The header alone; voxels are neither read nor allocated. Raises InputFileError when it cannot be one."""
    try:
        with _open(path) as stream:
            start = stream.read(540)
    except (OSError, EOFError, zlib.error) as error:
        raise InputFileError(f"{path} cannot be read as NIfTI: {_one_line(error)}; get the file again") from error
    return _parse_header(path, start)


def _parse_header(path: Path, start: bytes) -> Header:
    sizes = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
    magic = start[344:348] if 348 in sizes else start[4:8]
    length = 348 if 348 in sizes else 540
    if length not in sizes or len(start) < length:
        raise InputFileError(f"{path} is no NIfTI file, or its header is cut off; get the file again")
    if magic[:3] in (b"ni1", b"ni2"):
        raise InputFileError(f"{path} keeps header and voxels in two files; convert the pair to one .nii file")
    if magic[:3] not in (b"n+1", b"n+2"):
        raise InputFileError(f"{path} is an Analyze file, which does not say left from right; convert it to NIfTI")
    try:
        kind: Callable[..., nib.Nifti1Header] = nib.Nifti1Header if length == 348 else nib.Nifti2Header
        block = kind(start[:length], check=False)
        shape = tuple(int(n) for n in block.get_data_shape())
        dtype = np.dtype(block.get_data_dtype())
    except (HeaderDataError, ValueError, KeyError) as error:
        raise InputFileError(f"{path} has a damaged NIfTI header: {_one_line(error)}; get the file again") from error
    if not shape or min(shape) < 1:
        raise GeometryError(f"{path} says it holds {times(shape)} voxels; correct its header")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return Header(block, shape, dtype)


def read(
    path: Path,
    *,
    time_point: int | None = None,
    prefer: Form | None = None,
    slices: tuple[int, int] | None = None,
    float_type: type[np.floating[Any]],
) -> Volume:
    """One volume (x, y, z) in file order; stored integers as they are, scaled values and floats as `float_type`.

    `time_point`: counted from 0, needed for a file of several volumes. `prefer`: which transform to use where both are
    set; None takes the sform and leaves a warning in `source["warnings"]` where they disagree. `slices`: only those,
    first and one past the last along the third axis; the others take no memory.
    Raises InputFileError (damaged, vectors, colours, series of volumes) and GeometryError (2D, impossible spacing).
    """
    header = read_header(path)
    _check_is_volume(path, header, time_point)
    affine, form, warnings = choose_affine(path, header.block, header.volume_shape, prefer)
    span = None if slices is None else checked_slices(path, slices, header.shape[2])
    array = _read_voxels(path, header, time_point, span, float_type)
    source = {
        "format": "NIfTI",
        "path": str(path),
        "warnings": warnings,
        "form": form,
        "affine": affine,
        "nifti": {name: np.array(header.block[name]) for name in TRANSFORM_FIELDS}
        | {"pixdim": np.array(header.block["pixdim"][:4]), "version": 2 if header.block.sizeof_hdr == 540 else 1},
    }
    placed = affine.copy()  # the stored transforms stay those of the file
    placed[:3, 3] += affine[:3, 2] * (span.start if span else 0)
    return Volume(array, placed, None, source)


def _check_is_volume(path: Path, header: Header, time_point: int | None) -> None:
    if header.dtype.names is not None:
        raise InputFileError(f"{path} holds colours (RGB), not intensities; convert it to one grey value a voxel")
    if header.dtype.kind not in "iuf":
        raise InputFileError(f"{path} holds {header.dtype} voxels; convert them to integers or real numbers")
    if header.components > 1:
        raise InputFileError(f"{path} holds {header.components} components in each voxel; extract one of them first")
    if len(header.shape) < 3 or min(header.shape[:3]) < 2:
        raise GeometryError(f"{path} is {times(header.shape)}: a single slice, no volume; open the whole stack")
    points = header.time_points
    if time_point is None and points > 1:
        raise InputFileError(f"{path} holds {points} volumes over time; choose a time point from 0 to {points - 1}")
    if time_point is not None and not 0 <= time_point < points:
        raise InputFileError(f"{path} has no time point {time_point}; it holds 0 to {points - 1}")


def _read_voxels(
    path: Path, header: Header, time_point: int | None, span: slice | None, float_type: type[np.floating[Any]]
) -> npt.NDArray[Any]:
    offset = _data_offset(path, header)
    stored = math.prod(header.shape) * header.dtype.itemsize
    compressed = _is_gzip(path)
    check_size(path, header.shape, bytes_needed=offset + stored, compressed=compressed)
    try:
        slope, intercept = header.block.get_slope_inter()
        spec = (header.shape, header.dtype, offset, slope or 1.0, intercept or 0.0)
        with _open(path) as stream:
            proxy = ArrayProxy(stream, spec, mmap=False)
            whole = (slice(None), slice(None), span or slice(None), time_point or 0)
            array = np.asarray(proxy[whole[: len(header.shape)]])
            if compressed:
                check_end(path, stream, offset + stored)
    except (OSError, EOFError, ValueError, zlib.error, HeaderDataError) as error:
        raise InputFileError(f"{path} is cut off or damaged: {_one_line(error)}; get the file again") from error
    except MemoryError as error:
        raise InputFileError(f"{path} needs {stored / 1e9:.1f} GB of memory, more than there is; crop it") from error
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # becomes infinite, which is looked for later
            array = array.astype(float_type)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def _data_offset(path: Path, header: Header) -> int:
    try:
        return int(header.block.get_data_offset())
    except (ValueError, OverflowError):  # stored as a real number
        raise InputFileError(f"{path} does not say where its voxels begin; get the file again") from None


def write(path: Path, volume: Volume, *, description: str = "") -> None:
    """Writes `volume` to `path`. Both transforms and codes of the file it came from are kept, if it was a NIfTI file.

    Otherwise sform = qform, code 1; on a sheared grid the qform gets code 0, as a quaternion cannot hold shear.
    """
    stored = volume.source.get("nifti") if _is_grid_of_file(volume) else None
    version = 2 if (stored and stored["version"] == 2) or max(volume.shape) > 32767 else 1
    header = nib.Nifti2Header() if version == 2 else nib.Nifti1Header()
    header.set_data_dtype(volume.array.dtype)
    header.set_data_shape(volume.shape)
    header["descrip"] = description.encode("ascii", "replace")[:LONGEST_DESCRIPTION]
    if stored:
        header["pixdim"][:4] = stored["pixdim"]
        for name in TRANSFORM_FIELDS:
            header[name] = stored[name]
    else:
        header.set_xyzt_units("mm")
        header.set_qform(volume.affine, code=0 if volume.is_sheared else 1, strip_shears=True)
        header.set_sform(volume.affine, code=1)
    image: Callable[..., nib.Nifti1Image] = nib.Nifti2Image if version == 2 else nib.Nifti1Image
    image(volume.array, None, header).to_filename(path)


def _is_grid_of_file(volume: Volume) -> bool:
    """Whether the stored header still describes this grid: a crop keeps its source but has moved."""
    source = volume.source
    return "nifti" in source and corner_distance(source["affine"], volume.affine, volume.shape) < 1e-6 * min(
        volume.spacing
    )


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if _is_gzip(path) else path.open("rb")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
