"""Refuses a deflated DICOM file that unpacks to more than its own header accounts for, before it costs memory or time.

Reads nothing for use: the parser does that, once the file was found harmless.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import pydicom
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medseg_rl.errors import InputFileError

META_START = 132 + 12  # preamble, "DICM" and the element that holds the length of the file meta information
HEAD_BYTES = 1 << 24  # what any file may unpack to; in it the elements before the pixels are looked for
MOST_WITHOUT_PIXELS = 1 << 28  # bytes where the first HEAD_BYTES reach no pixels: contours, thousands of frames
MOST_INFLATED = 1 << 30  # bytes of any file
FIRST_PIXELS = 0x7FE00008  # float, double or integer pixels; the elements before are the header
COUNTS = ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated")


def check_inflated(path: Path) -> None:
    """Raises InputFileError where a deflated file unpacks to more than it can need; other files pass unread."""
    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    with path.open("rb") as stream:
        stream.seek(META_START + int(meta.FileMetaInformationGroupLength))
        head = _unpacked(unpacker, stream, HEAD_BYTES)
        if len(head) < HEAD_BYTES:
            return
        most = _most_bytes(head)
        size = len(head)
        del head
        while piece := _unpacked(unpacker, stream, 1 << 20):
            size += len(piece)
            if size > most:
                raise InputFileError(
                    f"{path} unpacks to more than {most >> 20} MiB, all it can need; get the file again"
                )


def _unpacked(unpacker: zlib._Decompress, stream: io.BufferedReader, most: int) -> bytes:
    """The next `most` bytes that the stream unpacks to; fewer only at its end."""
    found = bytearray()
    while len(found) < most and not unpacker.eof:
        packed = unpacker.unconsumed_tail or stream.read(1 << 16)
        if not packed:
            break
        found += unpacker.decompress(packed, most - len(found))
    return bytes(found)


def _most_bytes(head: bytes) -> int:
    """How much a file that begins like this may unpack to."""
    reached = []

    def is_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        reached.extend([tag] if tag >= FIRST_PIXELS else [])
        return bool(reached)

    try:
        header = read_dataset(io.BytesIO(head), False, True, stop_when=is_pixels, specific_tags=_tags())
        counts = [int(header.get(name) or 1) for name in COUNTS]
    except Exception:  # the parser that reads the file itself says what is wrong with it
        return MOST_WITHOUT_PIXELS
    if not reached or min(counts) < 1:
        return MOST_WITHOUT_PIXELS
    rows, columns, samples, frames, bits = counts
    return min(MOST_INFLATED, HEAD_BYTES + rows * columns * samples * frames * bits // 8)


def _tags() -> list[BaseTag | int]:
    return [pydicom.tag.Tag(name) for name in COUNTS]
