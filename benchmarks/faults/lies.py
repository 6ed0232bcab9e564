"""Headers that say what is not so, for each format that has one: sizes, types, offsets, spacings, frames, syntaxes."""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import re
import struct
import warnings
from typing import Any

import pydicom
from pydicom.sequence import Sequence
from pydicom.uid import UID

from benchmarks.faults.specimens import Specimen

NIFTI1 = {
    "dim": (40, "<8h"), "intent": (68, "<h"), "datatype": (70, "<h"), "bitpix": (72, "<h"), "pixdim": (76, "<8f"),
    "vox_offset": (108, "<f"), "slope": (112, "<2f"), "units": (123, "<B"), "codes": (252, "<2h"),
    "quaternion": (256, "<6f"), "srow": (280, "<12f"),
}  # fmt: skip
NIFTI2 = {
    "datatype": (12, "<2h"), "dim": (16, "<8q"), "pixdim": (104, "<8d"), "vox_offset": (168, "<q"),
    "slope": (176, "<2d"), "codes": (344, "<2i"), "quaternion": (352, "<6d"), "srow": (400, "<12d"),
}  # fmt: skip
GIPL = {"dim": (0, ">4h"), "type": (8, ">h"), "pixdim": (10, ">4f"), "origin": (204, ">4d")}
INTEGERS = (-1, 0, 1, 2, 3, 4, 7, 127, 128, 255, 1792, 2048, 32767, -32768, 2**31 - 1, 2**40, 2**62)
REALS = (0.0, -1.0, float("nan"), float("inf"), 1e-40, 1e38, 1e300, 352.5, 1e9)
LINES = {
    rb"sizes: [^\n]*": ("1000000 1000000 1000000", "-9 8 7", "9 8", "0 8 7", "2048 1024 1023", "9" * 20 + " 1 1"),
    rb"type: [^\n]*": ("double", "block", "uint64", "unsigned char", "nonsense"),
    rb"dimension: [^\n]*": ("4", "2", "0", "16", "-3", "99999999999"),
    rb"encoding: [^\n]*": ("raw", "gzip", "bzip2", "ascii", "hex", "none"),
    rb"endian: [^\n]*": ("big", "middle"),
    rb"space directions: [^\n]*": (
        "(0,0,0) (0,0,0) (0,0,0)", "(nan,0,0) (0,1,0) (0,0,1)", "none none none", "(1,0,0) (1,0,0) (0,0,1)", "(",
    ),
    rb"space origin: [^\n]*": ("(inf,0,0)", "(1,2)", "none"),
    rb"space: [^\n]*": ("right-anterior-superior-time", "scanner-xyz", "x"),
    rb"kinds: [^\n]*": ("domain", "list domain domain domain", "RGB-color domain domain", "complex domain domain"),
    rb"Segment0_LabelValue:=[^\n]*": ("Segment0_LabelValue:=-1", "Segment0_LabelValue:=5", "Segment0_LabelValue:=1e9"),
    rb"Segment0_Layer:=[^\n]*": ("Segment0_Layer:=99", "Segment0_Layer:=-1", "Segment0_Layer:=x"),
    rb"Segment0_Color:=[^\n]*": ("Segment0_Color:=nan nan nan", "Segment0_Color:=1", "Segment0_Color:=9 9 9"),
    rb"DimSize = [^\n]*": ("100000 100000 100000", "-9 8 7", "9 8", "0 8 7", "2048 1024 1023", "9 8 7 6"),
    rb"NDims = [^\n]*": ("4", "2", "0", "10", "-1", "2000000000"),
    rb"ElementType = [^\n]*": ("MET_DOUBLE", "MET_STRING", "MET_ARRAY", "MET_NONE", "MET_CHAR"),
    rb"ElementSpacing = [^\n]*": ("0 0 0", "nan 1 1", "-1 1 1", "1 1", "1e300 1e300 1"),
    rb"TransformMatrix = [^\n]*": ("0 0 0 0 0 0 0 0 0", "1 0 0 1 0 0 0 0 1", "nan 0 0 0 1 0 0 0 1", "1 0"),
    rb"CompressedData = [^\n]*": ("True", "False", "Perhaps"),
    rb"CompressedDataSize = [^\n]*": ("0", "-5", "99999999999", "3"),
    rb"BinaryDataByteOrderMSB = [^\n]*": ("True",),
    rb"ElementDataFile = [^\n]*": ("LIST", "LOCAL", "%05d.raw 1 9999999 1", "", ".", "none.raw"),
    rb"ElementNumberOfChannels = [^\n]*": ("3", "1000000"),
}  # fmt: skip
COUNTS = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
)
NUMBERS = (
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "SliceThickness",
)
TEXTS = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "Modality",
    "PhotometricInterpretation",
    "SegmentationType",
    "ContourGeometricType",
)
SYNTAXES = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.102", "1.2.3", "",
)  # fmt: skip


def header_lie(specimen: Specimen, rng: random.Random) -> Specimen | None:
    """One or two fields of a NIfTI, GIPL, NRRD or MetaImage header with values that are not so."""
    name = rng.choice(specimen.targets)
    content = specimen.files[name]
    is_gzip = content[:2] == b"\x1f\x8b"
    plain = gzip.decompress(content) if is_gzip else content
    fields = _fields_of(plain)
    made = _binary_lie(plain, fields, rng) if fields else _text_lie(plain, rng)
    if made is None or made == plain:
        return None
    return specimen.with_file(name, gzip.compress(made, 1) if is_gzip else made)


def _fields_of(plain: bytes) -> dict[str, tuple[int, str]]:
    if plain[344:347] == b"n+1":
        return NIFTI1
    if plain[4:7] == b"n+2":
        return NIFTI2
    return GIPL if plain[252:256] == b"\xef\xff\xe9\xb0" else {}


def _binary_lie(plain: bytes, fields: dict[str, tuple[int, str]], rng: random.Random) -> bytes:
    found = bytearray(plain)
    for _ in range(rng.choice((1, 1, 2))):
        offset, form = fields[rng.choice(list(fields))]
        values: list[Any] = list(struct.unpack_from(form, found, offset))
        real = form[-1] in "fd"
        for place in rng.sample(range(len(values)), rng.choice((1, 1, len(values)))):
            values[place] = rng.choice(REALS if real else INTEGERS)
        with contextlib.suppress(struct.error, OverflowError):  # a lie too large for its field
            struct.pack_into(form, found, offset, *values)
    return bytes(found)


def _text_lie(plain: bytes, rng: random.Random) -> bytes | None:
    present = [pattern for pattern in LINES if re.search(pattern, plain[:4000])]
    if not present:
        return None
    sizes = [pattern for pattern in present if pattern.startswith((b"sizes", b"DimSize"))]
    for pattern in sizes if rng.random() < 0.25 else rng.sample(present, min(len(present), rng.choice((1, 1, 2)))):
        start = re.split(rb"(?<=[:=]) ", pattern)[0] + b" " if b":=" not in pattern else b""
        line = start + rng.choice(LINES[pattern]).encode()
        plain = re.sub(pattern, lambda _, line=line: line, plain, count=1)  # type: ignore[misc]
    return plain


def dicom_lie(specimen: Specimen, rng: random.Random) -> Specimen | None:
    """A tag, anywhere in the nested items of a DICOM file, with a value that is not so, or without any."""
    name = rng.choice(specimen.targets)
    if specimen.files[name][128:132] != b"DICM":
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(specimen.files[name]))
        for _ in range(rng.choice((1, 1, 2))):
            _lie_somewhere(dataset, rng)
        buffer = io.BytesIO()
        try:
            pydicom.dcmwrite(buffer, dataset)
        except Exception:  # what pydicom refuses to write is no file that anybody gets
            return None
    return specimen.with_file(name, buffer.getvalue())


def _lie_somewhere(dataset: pydicom.Dataset, rng: random.Random) -> None:
    if rng.random() < 0.1:
        dataset.file_meta.TransferSyntaxUID = UID(rng.choice(SYNTAXES))
        return
    places = list(_elements(dataset))
    wanted = [p for p in places if p[1].keyword in (*COUNTS, *NUMBERS, *TEXTS) or p[1].VR == "SQ"]
    owner, element = rng.choice(wanted if wanted and rng.random() < 0.7 else places)
    roll = rng.random()
    if roll < 0.2:
        del owner[element.tag]
    elif element.VR == "SQ":
        items = list(element.value)
        element.value = Sequence(rng.choice(([], items * 2, items[:-1], items[::-1], [pydicom.Dataset()])))
    elif element.keyword in NUMBERS or element.VR in ("DS", "FD", "FL", "IS"):
        _number_lie(element, rng)
    elif element.VR in ("US", "SS", "UL", "SL", "AT"):
        element._value = rng.choice((0, 1, 2, 7, 8, 32, 255, 65535, [1, 2, 3]))
    elif element.VR in ("OB", "OW", "OF"):
        content = element.value or b""
        element._value = rng.choice((b"", content[: len(content) // 2 & ~1], content * 3, bytes(len(content))))
    else:
        element._value = rng.choice(("", "x" * 300, "1.2.3", "\\\\", "BINARY", "FRACTIONAL", "LABELMAP", "PT", "RGB"))


def _number_lie(element: Any, rng: random.Random) -> None:
    texts = ("0", "-1", "1e300", "1e-300", "7", "nan", "2147483647", "")
    count = len(element.value) if isinstance(element.value, pydicom.multival.MultiValue) else 1
    with contextlib.suppress(ValueError, OverflowError, TypeError):
        if element.VR in ("FD", "FL"):
            values: list[Any] = [rng.choice(REALS) for _ in range(count)]
        elif element.VR == "IS":
            values = [rng.choice((0, -1, 1, 2**31 - 1, 7)) for _ in range(count)]
        else:
            values = [rng.choice(texts) for _ in range(rng.choice((count, count, max(1, count - 1))))]
        element.value = values if count > 1 else values[0]


def _elements(dataset: pydicom.Dataset) -> list[tuple[pydicom.Dataset, Any]]:
    found = []
    for element in dataset:
        found.append((dataset, element))
        if element.VR == "SQ":
            for item in element.value[:20]:
                found += _elements(item)
    return found
