"""Opens one DICOM object that is no image, SEG or RTSTRUCT, whole; whatever is wrong with the file becomes one line.

Knows which object a file is, and nothing of what is in it. Image series are `dicom`'s.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pydicom
from pydicom.uid import ExplicitVRBigEndian

from medseg_rl.errors import InputFileError, MedSegError
from medseg_rl.imageio.dicom_deflated import check_inflated
from medseg_rl.imageio.dicom_slices import parsed

ObjectKind = Literal["DICOM SEG", "RTSTRUCT"]
LABEL_MAP_CLASS = "1.2.840.10008.5.1.4.1.1.66.7"
OBJECT_CLASSES: dict[str, ObjectKind] = {
    "1.2.840.10008.5.1.4.1.1.66.4": "DICOM SEG",
    LABEL_MAP_CLASS: "DICOM SEG",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
}
LONGEST_NAME = 64  # bytes, of a segment or an ROI (LO: characters, but many readers count bytes)
LONGEST_TEXT = 1024  # ST: of its description


def object_kind(path: Path) -> ObjectKind | None:
    """What a file says it is in its first kilobytes; None for an image, a folder, a damaged file, anything else."""
    if not path.is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meta = pydicom.filereader.read_file_meta_info(path)
            uid = meta.get("MediaStorageSOPClassUID")
            if uid is None:
                uid = parsed(path, specific_tags=["SOPClassUID"], stop_before_pixels=True).get("SOPClassUID")
    except Exception:  # the reader of that kind of file says what is wrong with it
        return None
    return OBJECT_CLASSES.get(str(uid))


def open_object(path: Path) -> pydicom.Dataset:
    """The whole file. Raises InputFileError; use `readable` around everything that looks into the result."""
    with readable(path):
        check_inflated(path)
        if pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID") == ExplicitVRBigEndian:
            raise InputFileError(f"{path} is stored big-endian, which was retired; export it again as little-endian")
        return parsed(path)


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns whatever a parser raises in the block into one line that names `path`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that break the rules of their type
            yield
    except MedSegError:
        raise
    except Exception as error:  # parsers and decoders raise whatever they like
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputFileError(f"{path} is cut off or damaged ({said}); get it again") from error


def short_name(name: str) -> str:
    """What of a label's name fits where DICOM wants it; the whole one goes into the description."""
    plain = name.replace("\\", "/").strip()
    return plain.encode()[:LONGEST_NAME].decode(errors="ignore").strip()


def full_name(short: str, description: str) -> str:
    """The name that was shortened, or the short one where the description is about something else."""
    return description if description and short_name(description) == short else short
