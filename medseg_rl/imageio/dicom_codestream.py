"""The size that a compressed frame states of itself, so that no decoder is let loose on one that lies.

Knows the headers of JPEG, JPEG-LS and JPEG 2000 and nothing of their data.
"""

from __future__ import annotations

SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # start of frame; 0xF7 is that of JPEG-LS
NO_LENGTH = {0x01, *range(0xD0, 0xD9)}  # markers without a segment
JPEG_START, JPEG_2000_START, JP2_START = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "


def stated_size(frame: bytes) -> tuple[int, int] | None:
    """Columns and rows; None where `frame` is of another kind, or says nothing that can be understood."""
    if frame[:8] == JP2_START:  # a whole JP2 file, which DICOM does not allow and some write
        start = frame.find(JPEG_2000_START)
        frame = frame[start:] if start >= 0 else b""
    if frame[:4] == JPEG_2000_START:
        return _jpeg_2000_size(frame)
    return _jpeg_size(frame) if frame[:2] == JPEG_START else None


def _jpeg_2000_size(frame: bytes) -> tuple[int, int] | None:
    """Of the marker segment that must come first: the reference grid less its offset."""
    if len(frame) < 24:
        return None
    right, bottom, left, top = (int.from_bytes(frame[at : at + 4], "big") for at in (8, 12, 16, 20))
    return right - left, bottom - top


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    """Of the first start of frame; marker by marker, so that nothing in between is taken for one."""
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in NO_LENGTH:
            at += 2
        elif marker in SIZE_MARKERS:
            return int.from_bytes(frame[at + 7 : at + 9], "big"), int.from_bytes(frame[at + 5 : at + 7], "big")
        else:
            at += 2 + max(2, int.from_bytes(frame[at + 2 : at + 4], "big"))
    return None
