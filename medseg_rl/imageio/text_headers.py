"""Reads the headers of NRRD, MetaImage and GIPL files, to know what they promise before a reader allocates it.

Voxels are left to SimpleITK, which takes a cut-off GIPL file for a whole one and prints to the terminal for others.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.imageio.limits import check_end, check_size

LONGEST_HEADER = 1 << 20
SPATIAL_KINDS = ("domain", "space", "time", "???")

NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(
        ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"), 4
    ),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t", "double"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), 8),
}
META_BYTES = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4, "FLOAT": 4}
META_BYTES |= {"LONG_LONG": 8, "ULONG_LONG": 8, "DOUBLE": 8}
GIPL_BYTES = {1: 1, 7: 1, 8: 1, 15: 2, 16: 2, 31: 4, 32: 4, 64: 4, 65: 8}
GIPL_HEADER_BYTES = 256


@dataclass(frozen=True)
class Promise:
    """What a header promises. `shape`: spatial axes as stored. `fields`: the header itself, keys in lower case."""

    shape: tuple[int, ...]
    components: int = 1
    spacing: tuple[float, ...] = ()
    fields: dict[str, str] = field(default_factory=dict)


def read_promise(path: Path, kind: str, *, layered: bool = False) -> Promise:
    """The header of a NRRD, MetaImage or GIPL file, checked against the size of its data.

    `layered`: whether the components of a file with a segment table are welcome as its layers.
    Raises InputFileError (damaged, cut off, data file missing) and GeometryError (no volume, impossible spacing).
    """
    try:
        promise = {"NRRD": _nrrd, "MetaImage": _meta_image, "GIPL": _gipl}[kind](path)
    except (ValueError, KeyError, IndexError, struct.error) as error:
        raise InputFileError(f"{path} has a damaged {kind} header ({error}); get the file again") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputFileError(f"{path} is cut off or damaged: {error}; get the file again") from error
    _check_is_volume(path, promise, layered and "segment0_id" in promise.fields)
    return promise


def _check_is_volume(path: Path, promise: Promise, layered: bool) -> None:
    said = " x ".join(str(n) for n in promise.shape)
    if promise.components > 1 and "segment0_id" in promise.fields and not layered:
        raise InputFileError(
            f"{path} keeps overlapping segments in {promise.components} layers, which is no single volume;"
            " read it as a segmentation"
        )
    if promise.components > 1 and not layered:
        raise InputFileError(f"{path} holds {promise.components} components in each voxel; extract one of them first")
    if len(promise.shape) > 3:
        raise InputFileError(f"{path} has {len(promise.shape)} axes, {said}; save one volume of it first")
    if len(promise.shape) < 3 or min(promise.shape) < 2:
        raise GeometryError(f"{path} is {said}: a single slice, no volume; open the whole stack")
    if not all(math.isfinite(s) and s > 0 for s in promise.spacing):
        spacing = " x ".join(f"{s:g}" for s in promise.spacing)
        raise GeometryError(f"{path} says its spacing is {spacing} mm; correct its header")


def _nrrd(path: Path) -> Promise:
    fields, header_bytes = _text_fields(path, separator=":", last_line=None)
    sizes = tuple(int(n) for n in fields["sizes"].split())
    if len(sizes) != int(fields["dimension"]) or min(sizes, default=0) < 1:
        raise ValueError(f"sizes: {fields['sizes']}")
    vectors = _space_vectors(fields)
    kinds = fields.get("kinds", "domain " * len(sizes)).lower().split()
    spatial = [v is not None for v in vectors] if vectors else [kind in SPATIAL_KINDS for kind in kinds]
    shape = tuple(n for n, is_spatial in zip(sizes, spatial, strict=True) if is_spatial)
    components = math.prod(n for n, is_spatial in zip(sizes, spatial, strict=True) if not is_spatial)
    data_file = fields.get("data file", fields.get("datafile"))
    needed = math.prod(sizes) * NRRD_BYTES[fields["type"].lower()]
    _check_data(path, data_file, fields["encoding"].lower(), header_bytes, sizes, needed)
    if vectors:
        spacing = tuple(math.hypot(*v) for v in vectors if v is not None)
    else:
        spacing = tuple(float(s) for s in fields.get("spacings", "").split() if s.lower() != "nan")
    return Promise(shape, components, spacing, fields)


def _space_vectors(fields: dict[str, str]) -> list[tuple[float, ...] | None]:
    """The `space directions` of a NRRD header, one entry an axis, None for an axis that is not in space."""
    entries = re.findall(r"none|\(([^)]*)\)", fields.get("space directions", ""))
    return [tuple(float(part) for part in entry.split(",")) if entry else None for entry in entries]


def _meta_image(path: Path) -> Promise:
    fields, header_bytes = _text_fields(path, separator="=", last_line="elementdatafile")
    shape = tuple(int(n) for n in fields["dimsize"].split())
    if len(shape) != int(fields["ndims"]) or min(shape, default=0) < 1:
        raise ValueError(f"DimSize = {fields['dimsize']}")
    components = int(fields.get("elementnumberofchannels", "1"))
    encoding = "gzip" if fields.get("compresseddata", "").lower() == "true" else "raw"
    if fields.get("binarydata", fields.get("binary", "true")).lower() != "true":
        encoding = "text"
    needed = math.prod(shape) * components * META_BYTES[fields["elementtype"].upper().removeprefix("MET_")]
    data_file = fields["elementdatafile"]
    is_local = data_file.upper() == "LOCAL"
    _check_data(path, None if is_local else data_file, encoding, header_bytes, shape, needed)
    if encoding == "gzip":
        start = header_bytes if is_local else 0
        packed_path = path if is_local else path.parent / data_file
        packed = _packed_bytes(packed_path, start, int(fields.get("compresseddatasize", "0")), is_local)
        _check_unpacks(packed_path, start, packed, needed)
    spacing = fields.get("elementspacing", fields.get("elementsize", "")).split()
    return Promise(shape, components, tuple(float(s) for s in spacing), fields)


def _packed_bytes(path: Path, start: int, stated: int, is_local: bool) -> int:
    """How many bytes are compressed, by the header or, where that is silent, by the file.

    Raises InputFileError: more than there are; or unsaid behind a header, where MetaIO gives voxels that nobody filled.
    """
    there = path.stat().st_size - start
    if stated == 0 and not is_local:
        return there
    if stated == 0:
        raise InputFileError(f"{path} does not say how many of its bytes are compressed; save it again, or as .mhd")
    if not 0 < stated <= there:
        raise InputFileError(f"{path} is cut off or damaged: {stated} compressed bytes, {there} there; get it again")
    return stated


def _check_unpacks(path: Path, start: int, packed: int, needed: int) -> None:
    """Raises InputFileError or zlib.error; MetaIO itself takes what it got before an error for the whole.

    `packed`: compressed bytes, which MetaIO reads no further than.
    """
    unpacker, found = zlib.decompressobj(47), 0  # 47: zlib or gzip, whichever it is
    with path.open("rb") as stream:
        stream.seek(start)
        left = packed
        while not unpacker.eof and found <= needed and (block := stream.read(min(left, 1 << 18))):
            left -= len(block)
            while block and found <= needed:
                found += len(unpacker.decompress(block, 1 << 22))
                block = unpacker.unconsumed_tail
    if found > needed:
        raise InputFileError(f"{path} unpacks to more than the {needed} bytes of its voxels; get the file again")
    if found < needed or not unpacker.eof:
        raise InputFileError(f"{path} is cut off: {found} of {needed} bytes of voxels are there; get the file again")


def _gipl(path: Path) -> Promise:
    with path.open("rb") as start:
        compressed = start.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if compressed else path.open("rb") as stream:
        header = stream.read(GIPL_HEADER_BYTES)
        stored = struct.unpack(">4H", header[:8])
        (voxel_type,) = struct.unpack(">H", header[8:10])
        spacing = struct.unpack(">4f", header[10:26])
        shape = stored if stored[3] > 1 else stored[:3]
        needed = GIPL_HEADER_BYTES + math.prod(shape) * GIPL_BYTES[voxel_type]
        check_size(path, shape, bytes_needed=needed, compressed=compressed)
        found = check_end(path, stream, needed) if compressed else needed
    if found < needed:  # SimpleITK would fill what is missing with rubbish
        raise InputFileError(f"{path} is cut off: {found} of {needed} bytes are there; get the file again")
    return Promise(shape, 1, spacing[:3], {})


def _text_fields(path: Path, *, separator: str, last_line: str | None) -> tuple[dict[str, str], int]:
    """The fields of a text header with keys in lower case, and the bytes it takes, to `last_line` or a blank line."""
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        while stream.tell() < LONGEST_HEADER and (line := stream.readline(LONGEST_HEADER)):
            text = line.decode("utf-8", errors="replace").strip()
            if not text and last_line is None:
                break
            key, found, value = text.partition(separator)
            if found and not text.startswith("#"):
                is_pair = separator == ":" and value.startswith("=")  # key/value pairs of NRRD use :=
                fields[key.strip().lower()] = _unescaped(value[1:].strip()) if is_pair else value.strip()
            if key.strip().lower() == last_line:
                break
        return fields, stream.tell()


def _unescaped(value: str) -> str:
    return re.sub(r"\\([n\\])", lambda found: "\n" if found[1] == "n" else "\\", value)


def escaped(value: str) -> str:
    """A value as a key/value pair of a NRRD header holds it, on one line."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _check_data(
    path: Path, data_file: str | None, encoding: str, header_bytes: int, shape: tuple[int, ...], needed: int
) -> None:
    """Raises InputFileError when the voxels cannot all be there."""
    if encoding in ("bzip2", "bz2"):
        raise InputFileError(f"{path} is compressed with bzip2, which cannot be read; save it with gzip")
    compressed = encoding in ("gzip", "gz")
    if encoding in ("text", "txt", "ascii", "hex"):
        needed = math.prod(shape) * 2 - 1  # at least a digit and a blank for each
    if data_file is None:
        check_size(path, shape, bytes_needed=needed if compressed else needed + header_bytes, compressed=compressed)
        return
    if data_file.split()[0].upper() == "LIST" or "%" in data_file:
        raise InputFileError(f"{path} spreads its voxels over several files; save it as one file first")
    data_path = path.parent / data_file
    if not data_path.is_file():
        raise InputFileError(
            f"{path} keeps its voxels in {data_path.name}, which is missing; put it in the same folder"
        )
    check_size(data_path, shape, bytes_needed=needed, compressed=compressed)
