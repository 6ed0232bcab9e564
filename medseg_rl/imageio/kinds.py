"""Tells what an image file is by its first bytes, and what an output is by its ending."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

from medseg_rl.errors import InputFileError, OutputError

READ_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".gipl.gz", ".dcm")
LONGEST_SHOWN = 400  # characters of a name that is refused
OUTPUT_KINDS = {".nii": "NIfTI", ".nii.gz": "NIfTI", ".nrrd": "NRRD", ".mha": "MetaImage", ".mhd": "MetaImage"}
OUTPUT_KINDS |= {".seg.nrrd": "SEG.NRRD", ".dcm": "DICOM SEG", ".rtstruct.dcm": "RTSTRUCT"}
SEGMENTATION_KINDS = ("SEG.NRRD", "DICOM SEG", "RTSTRUCT")  # these hold labels, never an image
OUTPUT_SUFFIXES = tuple(OUTPUT_KINDS)
GIPL_MAGIC = (b"\xef\xff\xe9\xb0", b"\x2a\xe3\x89\xb8")  # the two numbers of ITK, big-endian, at byte 252


def kind_of(path: Path) -> str:
    """NIfTI, NRRD, MetaImage, GIPL or DICOM. Raises InputFileError for anything else, a missing or an empty file."""
    if _is_folder(path):
        return "DICOM"
    start, compressed = _start_of(path)
    if not start:
        raise InputFileError(f"{path} is empty; get the file again")
    kind = _by_content(start)
    if kind in ("NRRD", "MetaImage") and compressed:
        raise InputFileError(f"{path} is a {kind} file inside gzip; unpack it first")
    if kind is None and (path.name.lower().endswith(READ_SUFFIXES) or compressed):
        raise InputFileError(f"{path} does not hold what its name says, or it is damaged; get the file again")
    if kind is None:
        raise InputFileError(f"{path} is no image that can be read; the formats are {', '.join(READ_SUFFIXES)}")
    return kind


def _is_folder(path: Path) -> bool:
    try:
        os.fsencode(path)
        return path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, or holds what no name may
        said = getattr(error, "strerror", None) or "that is no name of a file"
        raise InputFileError(f"{str(path)[:LONGEST_SHOWN]!r} cannot be read: {said}; check the name") from None


def output_kind(path: Path) -> str:
    """Which format the ending of `path` asks for. Raises OutputError when none."""
    name = path.name.lower()
    for suffix in sorted(OUTPUT_KINDS, key=len, reverse=True):
        if name.endswith(suffix) and name != suffix:
            return OUTPUT_KINDS[suffix]
    raise OutputError(f"cannot write {path}: its ending is none of {', '.join(OUTPUT_SUFFIXES)}")


def stem_of(path: Path) -> str:
    """The name without its ending, the longest that is known: "mask" of "mask.seg.nrrd"."""
    name = path.name
    for suffix in sorted({*OUTPUT_KINDS, *READ_SUFFIXES}, key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return path.stem


def _start_of(path: Path) -> tuple[bytes, bool]:
    """The first 540 bytes, unpacked, and whether they had to be."""
    try:
        with path.open("rb") as stream:
            start = stream.read(540)
        if start[:2] != b"\x1f\x8b":
            return start, False
        with gzip.open(path, "rb") as stream:
            return stream.read(540), True
    except FileNotFoundError:
        raise InputFileError(f"there is no file {path}; check the name") from None
    except (OSError, ValueError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise InputFileError(f"{path} cannot be read: {why}; get the file again or check its permissions") from error


def _by_content(start: bytes) -> str | None:
    if start[:6] == b"NRRD00":
        return "NRRD"
    if start[128:132] == b"DICM":
        return "DICOM"
    if start[252:256] in GIPL_MAGIC:
        return "GIPL"
    first = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
    if 348 in first or 540 in first:
        return "NIfTI"
    text = start[:200].lstrip().lower()
    if text.startswith((b"objecttype", b"ndims", b"comment", b"elementspacing", b"dimsize")) and b"=" in text:
        return "MetaImage"
    return None
