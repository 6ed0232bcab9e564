"""The files that records point to: one array each, found by relative path and trusted by its SHA-256.

A file is named by its content, so the same array is stored once. Nothing is unpickled, and no header is believed before
its size fits the file. Knows nothing of records' meaning.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import MedSegError
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.imageio.limits import DEFLATE_LIMIT, MAX_VOXELS
from medseg_rl.rlhf.records import ArrayReference, RecordError

FOLDER = "arrays"
ENTRY = "array"  # name of the one array inside an .npz
MAX_FILE_BYTES = 4 * 2**30
HEADER_BYTES = 4096  # a .npy header of three axes takes 128


def encoded(array: npt.NDArray[Any]) -> tuple[ArrayReference, bytes]:
    """The reference of an array of bool, integers or floats, and the file it stands for."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"an array of {array.dtype} cannot be stored")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{ENTRY: np.ascontiguousarray(array)})
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    return ArrayReference(f"{FOLDER}/{digest[:32]}.npz", digest), content


def write_array(root: Path, reference: ArrayReference, content: bytes) -> bool:
    """Put a file of `encoded` under `root`; False when it is there already. Raises OutputError."""
    path = root / reference.path
    if path.is_file() and path.stat().st_size == len(content) and _digest(path) == reference.sha256:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return True


def read_array(root: Path, reference: ArrayReference) -> npt.NDArray[Any]:
    """The array of a reference: an .npz of `encoded`, or the voxels of a NIfTI file.

    Raises RecordError naming the file: missing, another hash, or not what its header says.
    """
    path = checked_path(root, reference)
    if path.suffix != ".npz":
        return _nifti(path, reference)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise RecordError(f"{reference.path} holds {len(names)} arrays where a record needs one")
            entry = archive.getinfo(names[0])
            with archive.open(entry) as stream:
                return _npy(stream, entry.file_size, path.stat().st_size, reference.path)
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise RecordError(f"{reference.path} is no array file ({type(error).__name__}); restore it") from None


def checked_path(root: Path, reference: ArrayReference) -> Path:
    """Where a reference lies, once its hash is as recorded. Raises RecordError, naming the file."""
    path = root / reference.path
    if not path.is_file() or path.is_symlink():
        raise RecordError(f"{reference.path} is missing; restore it, or leave out the records that need it")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise RecordError(f"{reference.path} has more than {MAX_FILE_BYTES} bytes, so it is none of ours")
    if _digest(path) != reference.sha256:
        raise RecordError(f"{reference.path} has another sha256 than its record says; restore it")
    return path


def _npy(stream: Any, claimed: int, packed: int, name: str) -> npt.NDArray[Any]:
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
        version
    )
    if read_header is None:
        raise RecordError(f"{name} is of NumPy's format {version}; write it again")
    shape, fortran, dtype = read_header(stream, max_header_size=HEADER_BYTES)
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.kind not in "biuf" or size > MAX_VOXELS * 8:
        raise RecordError(f"{name} says {shape} of {dtype}, which is no array of a record")
    if size > claimed or claimed > size + HEADER_BYTES or claimed > packed * DEFLATE_LIMIT:
        raise RecordError(
            f"{name} is cut off, or its header is wrong: {shape} of {dtype} in {claimed} bytes; restore it"
        )
    content = stream.read(size)
    if len(content) != size or stream.read(1):
        raise RecordError(f"{name} is cut off; restore it")
    flat = np.frombuffer(bytearray(content), dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _nifti(path: Path, reference: ArrayReference) -> npt.NDArray[Any]:
    from medseg_rl.imageio import read_volume

    try:
        return read_volume(path).array
    except MedSegError as error:
        raise RecordError(f"{reference.path} cannot be read: {str(error).replace(str(path), 'it')}") from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
