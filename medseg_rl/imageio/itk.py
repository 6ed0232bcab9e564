"""NRRD, MetaImage (MHA, MHD) and GIPL: read through SimpleITK, LPS turned into RAS+ at this border.

NRRD keeps shear. MetaImage could, but other programs take its axes for orthonormal, so it is not written there.
Files are written by hand, since SimpleITK does not notice every short write on a full disk.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813  (its own convention)

from medseg_rl.errors import GeometryError, InputFileError, OutputError
from medseg_rl.imageio import provenance
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.imageio.limits import check_affine
from medseg_rl.imageio.text_headers import Promise, escaped, read_promise
from medseg_rl.volume import FloatArray, Volume, corner_distance

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
IMAGE_IO = {"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO", "GIPL": "GiplImageIO"}
PATIENT_SPACES = ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior", "ras", "las", "lps")
NRRD_TYPES = {"i1": "signed char", "u1": "unsigned char", "i2": "short", "u2": "unsigned short", "i4": "int"}
NRRD_TYPES |= {"u4": "unsigned int", "i8": "int64", "u8": "uint64", "f4": "float", "f8": "double"}
META_TYPES = {"i1": "CHAR", "u1": "UCHAR", "i2": "SHORT", "u2": "USHORT", "i4": "INT", "u4": "UINT"}
META_TYPES |= {"i8": "LONG_LONG", "u8": "ULONG_LONG", "f4": "FLOAT", "f8": "DOUBLE"}
LONGEST_COMMENT = 200  # characters; MetaIO takes 255 bytes
OPPOSITE = str.maketrans("LRAPSI", "RLPAIS")

_terminal = threading.Lock()


def read(path: Path, kind: str, *, float_type: type[np.floating[Any]]) -> Volume:
    """One volume (x, y, z); integers as stored, real numbers as `float_type`.

    Raises InputFileError (damaged, components, several layers) and GeometryError (2D, impossible spacing).
    """
    promise = read_promise(path, kind)
    image = _execute(path, kind)
    if image.GetNumberOfComponentsPerPixel() > 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputFileError(f"{path} holds several components in each voxel; extract one of them first")
    affine = RAS_FROM_LPS @ _lps_affine(image)
    check_affine(path, affine)
    array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # becomes infinite, which is looked for later
            array = array.astype(float_type)
    source: dict[str, Any] = {"format": kind, "path": str(path), "warnings": _warnings(kind, promise)}
    source |= _origin(promise)
    return Volume(np.ascontiguousarray(array), affine, None, source)


def read_layers(path: Path) -> tuple[tuple[Volume, ...], Mapping[str, str]]:
    """The layers of a NRRD file with a segment table, as stored, and its header with keys in lower case.

    A file without a table is one layer. Raises as `read` does.
    """
    promise = read_promise(path, "NRRD", layered=True)
    image = _execute(path, "NRRD")
    affine = RAS_FROM_LPS @ _lps_affine(image)
    check_affine(path, affine)
    array = sitk.GetArrayFromImage(image)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    source: dict[str, Any] = {"format": "NRRD", "path": str(path), "warnings": _warnings("NRRD", promise)}
    source |= _origin(promise)
    if array.ndim != 4 or array.dtype.kind not in "iuf" or array.shape[3] != promise.components:
        raise InputFileError(f"{path} has layers that cannot be told apart; save it again")
    layers = (np.ascontiguousarray(array[..., n].transpose(2, 1, 0)) for n in range(array.shape[3]))
    return tuple(Volume(layer, affine, None, dict(source)) for layer in layers), promise.fields


def _execute(path: Path, kind: str) -> sitk.Image:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(IMAGE_IO[kind])
    reader.SetFileName(str(path))
    try:
        with _quiet():
            image: sitk.Image = reader.Execute()
            return image
    except RuntimeError as error:
        if "determinant is 0" in str(error):
            raise GeometryError(f"{path} has two voxel axes that point the same way; correct its header") from error
        if "alloc" in str(error):  # bad_alloc, or "Failed to allocate memory"
            raise MemoryError(str(error)) from error
        raise InputFileError(f"{path} cannot be read as {kind}: {_reason(error)}; get the file again") from error


def _lps_affine(image: sitk.Image) -> FloatArray:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine


def _origin(promise: Promise) -> dict[str, Any]:
    """Where the voxels come from, where the header says so."""
    said = provenance.parsed(promise.fields.get(provenance.NRRD_FIELD.lower(), ""))
    return {provenance.KEY: said} if said else {}


def _warnings(kind: str, promise: Promise) -> list[str]:
    if kind == "GIPL":
        return ["GIPL keeps no orientation: its axes are taken as left, posterior, superior"]
    if kind == "NRRD" and promise.fields.get("space", "").lower() not in PATIENT_SPACES:
        return ["the file names no patient space: its axes are taken as left, posterior, superior"]
    return []


def write(
    path: Path, kind: str, volume: Volume, origin: provenance.Provenance, *, orthonormalise: bool = False
) -> list[str]:
    """Writes NRRD or MetaImage, atomically; an .mhd file gets its voxels in a .raw file beside it.

    `origin`: where the voxels come from; MetaImage has place for a line of it only.
    `orthonormalise`: puts the nearest right-angled axes in place of sheared ones, which MetaImage cannot hold; how far
    that moved a corner is returned. Raises OutputError: sheared axes without that, or an unknown type of voxel.
    """
    if kind == "NRRD":
        write_nrrd(path, volume.array, volume, {provenance.NRRD_FIELD: provenance.as_text(origin)})
        return []
    said = []
    if orthonormalise and volume.is_sheared:
        said = [f"the axes were made orthonormal, which moved a corner by {orthonormalisation_shift(volume):.3g} mm"]
        volume = Volume(volume.array, orthonormalised(volume.affine), volume.modality, volume.source)
    _refuse_shear(path, volume)
    _write_meta_image(path, volume, provenance.as_line(origin, LONGEST_COMMENT))
    return said


def _write_meta_image(path: Path, volume: Volume, comment: str) -> None:
    code, data = _stored(path, "MetaImage", volume.array)
    if path.name.lower().endswith(".mha"):
        packed = zlib.compress(data, 6)
        with atomic_path(path) as temporary:
            temporary.write_bytes(_meta_header(volume, code, "LOCAL", len(packed), comment) + packed)
        return
    voxels = path.with_suffix(".raw")
    with atomic_path(path) as temporary, atomic_path(voxels) as temporary_voxels:
        temporary_voxels.write_bytes(data)
        temporary.write_bytes(_meta_header(volume, code, voxels.name, None, comment))


def write_nrrd(path: Path, array: npt.NDArray[Any], grid: Volume, fields: Mapping[str, str] | None = None) -> None:
    """Writes (x, y, z), or (layer, x, y, z), on the grid of a volume, with `fields` as key/value pairs; atomically."""
    code, data = _stored(path, "NRRD", array)
    with atomic_path(path) as temporary:
        temporary.write_bytes(_nrrd_header(array.shape, grid, code, fields or {}) + gzip.compress(data, 6, mtime=0))


def _stored(path: Path, kind: str, array: npt.NDArray[Any]) -> tuple[str, bytes]:
    """The code of the type of voxel, such as "u1", and the bytes, little-endian, first axis fastest."""
    array = np.asarray(array, dtype=array.dtype.newbyteorder("<"))
    code = f"{array.dtype.kind}{array.dtype.itemsize}"
    if code not in NRRD_TYPES:
        raise OutputError(f"cannot write {path}: {array.dtype} voxels do not fit into {kind}; convert them to float32")
    return code, array.tobytes(order="F")


def _nrrd_header(shape: tuple[int, ...], grid: Volume, code: str, fields: Mapping[str, str]) -> bytes:
    affine = RAS_FROM_LPS @ grid.affine
    directions = " ".join(_bracketed(affine[:3, axis]) for axis in range(3))
    layered = len(shape) == 4
    lines = [
        "NRRD0004",
        f"type: {NRRD_TYPES[code]}",
        f"dimension: {len(shape)}",
        "space: left-posterior-superior",
        f"sizes: {_spaced(shape)}",
        f"space directions: {'none ' * layered}{directions}",
        f"kinds: {'list ' * layered}domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_bracketed(affine[:3, 3])}",
        *(f"{key}:={escaped(value)}" for key, value in fields.items()),
    ]
    return ("\n".join(lines) + "\n\n").encode("utf-8")


def _meta_header(volume: Volume, code: str, data_file: str, packed_bytes: int | None, comment: str) -> bytes:
    affine = RAS_FROM_LPS @ volume.affine
    directions = affine[:3, :3] / np.asarray(volume.spacing)
    lines = [
        "ObjectType = Image",
        f"Comment = {comment}",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
    ]
    if packed_bytes is None:
        lines += ["CompressedData = False"]
    else:
        lines += ["CompressedData = True", f"CompressedDataSize = {packed_bytes}"]
    lines += [
        f"TransformMatrix = {_spaced(directions.T.ravel())}",  # one voxel axis after the other
        f"Offset = {_spaced(affine[:3, 3])}",
        "CenterOfRotation = 0 0 0",
        f"AnatomicalOrientation = {volume.orientation[:3].translate(OPPOSITE)}",  # names the side an axis comes from
        f"ElementSpacing = {_spaced(volume.spacing)}",
        f"DimSize = {_spaced(volume.shape)}",
        f"ElementType = MET_{META_TYPES[code]}",
        f"ElementDataFile = {data_file}",
    ]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _refuse_shear(path: Path, volume: Volume) -> None:
    if not volume.is_sheared:
        return
    shift = orthonormalisation_shift(volume)
    raise OutputError(
        f"cannot write {path}: MetaImage cannot hold axes {volume.shear_degrees:.2g} degrees off the right angle, which"
        f" would move a corner by {shift:.3g} mm; allow it (--orthonormalise), or write .nrrd or .nii.gz"
    )


def orthonormalisation_shift(volume: Volume) -> float:
    """How far in mm `orthonormalised` moves a corner voxel of a volume, at most."""
    return corner_distance(orthonormalised(volume.affine), volume.affine, volume.shape)


def orthonormalised(affine: FloatArray) -> FloatArray:
    """The affine with the nearest right-angled axes (polar decomposition), same spacings, same first voxel."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    result = affine.copy()
    result[:3, :3] = (left @ right) * spacing
    return result


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps ITK and the C libraries below it, which print what they also raise, off the terminal."""
    with _terminal, contextlib.ExitStack() as stack:
        shown = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        stack.callback(sitk.ProcessObject.SetGlobalWarningDisplay, shown)
        with contextlib.suppress(OSError):  # a windowed program may have no standard error
            saved = os.dup(2)
            stack.callback(os.close, saved)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, nowhere)
            os.dup2(nowhere, 2)
            stack.callback(os.dup2, saved, 2)
        yield


def _reason(error: RuntimeError) -> str:
    """The last line of what ITK says, without file names of its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "Reason: Success" not in line]
    return lines[-1].split("): ", 1)[-1] if lines else "its voxels do not fit its header"


def _spaced(numbers: Any) -> str:
    return " ".join(f"{n:.17g}" for n in np.asarray(numbers).tolist())


def _bracketed(numbers: npt.NDArray[Any]) -> str:
    return "(" + ",".join(f"{n:.17g}" for n in numbers.tolist()) + ")"
