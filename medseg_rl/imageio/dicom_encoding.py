"""Encodes what a DICOM object says of its frames, before the file is written: bytes that pydicom takes as they are.

pydicom writes thousands of small items in seconds, each as if it stood alone. Most are the same ones again, such as the
place of a slice or the reference to its image: those are encoded once. The bytes are those that pydicom would write.
Explicit VR, little endian.
"""

from __future__ import annotations

import struct
from typing import cast

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr, write_data_element
from pydicom.tag import Tag

FRAMES = Tag(0x5200, 0x9230)  # PerFrameFunctionalGroupsSequence
ITEM = b"\xfe\xff\x00\xe0"
Known = dict[int, tuple[pydicom.Dataset, bytes]]  # by identity; the item is kept, so that no other takes its number


def encode_frames(dataset: pydicom.Dataset) -> None:
    """Replaces the functional groups of all frames by their bytes; the object is for writing alone from then on.

    The object must be a new one, of Explicit VR Little Endian, and its characters must be those of its groups.
    """
    groups = dataset.pop(FRAMES)
    correct_ambiguous_vr(dataset, is_little_endian=True)
    value = encoded_items(cast(list[pydicom.Dataset], groups.value), dataset.SpecificCharacterSet)
    dataset.set_original_encoding(False, True, dataset._character_set)  # else pydicom reads the bytes again
    dataset[FRAMES] = RawDataElement(FRAMES, "SQ", len(value), value, 0, False, True)


def encoded_items(items: list[pydicom.Dataset], characters: str | list[str]) -> bytes:
    """The items of a sequence, each of them with its length."""
    known: Known = {}
    return b"".join(_item(item, characters, known) for item in items)


def _item(item: pydicom.Dataset, characters: str | list[str], known: Known) -> bytes:
    if (found := known.get(id(item))) is not None:
        return found[1]
    elements = (_element(item[tag], characters, known) for tag in sorted(item.keys()))
    content = b"".join(elements)
    encoded = ITEM + struct.pack("<L", len(content)) + content
    known[id(item)] = item, encoded
    return encoded


def _element(element: DataElement, characters: str | list[str], known: Known) -> bytes:
    if element.VR != "SQ":
        return _plain(element, characters)
    content = b"".join(_item(item, characters, known) for item in element.value)
    return struct.pack("<HH2sHL", element.tag.group, element.tag.element, b"SQ", 0, len(content)) + content


def _plain(element: DataElement, characters: str | list[str]) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, element, characters)
    return buffer.getvalue()
