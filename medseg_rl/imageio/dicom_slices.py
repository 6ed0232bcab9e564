"""What the header of a DICOM image file says of its planes: one of a plain file, one a frame of a multi-frame one.

Judges nothing and decodes no pixel. No name or number of a patient is kept.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from medseg_rl.imageio.dicom_deflated import check_inflated
from medseg_rl.imageio.dicom_tags import COUNTS, FRAME_TAGS, FRAME_VALUES, GROUPS, IMAGE_TAGS, SPLITTING_TAGS, TAGS
from medseg_rl.volume import FloatArray

SEGMENTATION_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "DICOM SEG",
    "1.2.840.10008.5.1.4.1.1.66.5": "DICOM surface segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "DICOM label map SEG",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
}
PLAIN, MULTI_FRAME, UNPLACED = "image", "multi-frame image", "image without position"
SAME_DIRECTION = 1e-3  # of a direction cosine: 0.06 degrees
UID_FORM = r"(0|[1-9]\d{0,30})(\.(0|[1-9]\d{0,30})){1,30}"
FARTHEST_MM = 1e6  # no image lies a kilometre from the origin; such a position is an error, and sums would overflow


@dataclass(frozen=True, eq=False)
class Slice:
    """One plane. Positions and directions in LPS millimetres; `spacing`: between columns, between rows.

    `header`: of the file, which frames share. `frame`: from 0 in a multi-frame file, None in a plain one.
    `tags`: what may set this plane apart from others at its place. `slope`, `intercept`: from stored to real values.
    """

    path: Path
    kind: str  # PLAIN, MULTI_FRAME, UNPLACED, or a name of SEGMENTATION_CLASSES
    header: pydicom.Dataset
    frame: int | None = None
    size: tuple[int, int] = (0, 0)  # columns, rows
    spacing: tuple[float, float] = (0.0, 0.0)
    position: FloatArray = field(default_factory=lambda: np.zeros(3))
    directions: FloatArray = field(default_factory=lambda: np.zeros((2, 3)))
    slope: float = 1.0
    intercept: float = 0.0
    value_type: str = ""  # Rescale Type, such as "HU"
    window: tuple[float, float] | None = None  # width, level
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def normal(self) -> FloatArray:
        """Unit vector across the slice."""
        return np.cross(self.directions[0], self.directions[1])

    @property
    def is_image(self) -> bool:
        """Whether it lies somewhere and can be a slice of a volume."""
        return self.kind in (PLAIN, MULTI_FRAME)

    @property
    def name(self) -> str:
        """How a message for the screen calls it."""
        return self.path.name if self.frame is None else f"frame {self.frame + 1} of {self.path.name}"

    def lies_like(self, other: Slice) -> bool:
        """Whether the two, of one series and kind, can be slices of one grid."""
        return self.is_parallel(other) and np.allclose(self.spacing, other.spacing, rtol=1e-4)

    def is_parallel(self, other: Slice) -> bool:
        """Whether rows and columns run the same way."""
        return float(np.abs(self.directions - other.directions).max()) < SAME_DIRECTION


def slices_of(path: Path) -> tuple[Slice, ...] | None:
    """The planes of a file; None when it is not DICOM, or nothing that is listed (a directory file, a report).

    A damaged header raises whatever the parser raises.
    """
    with path.open("rb") as stream:
        if stream.read(132)[128:] != b"DICM":
            return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that break the rules of their type, in tags that are not used
        header = read_header(path, TAGS)
        sop_class = str(header.get("SOPClassUID", ""))
        if sop_class in SEGMENTATION_CLASSES:
            return (Slice(path, SEGMENTATION_CLASSES[sop_class], header),)
        if "Rows" not in header or "Columns" not in header:
            return None
        if not re.fullmatch(UID_FORM, syntax_of(header)):
            raise ValueError("no transfer syntax")
        placed = header.get("ImagePositionPatient") and header.get("ImageOrientationPatient")
        if int(header.get("NumberOfFrames") or 1) == 1 and placed:
            return (_plain_slice(path, header),)
        header = read_header(path, (*TAGS, *GROUPS))
        if header.get(GROUPS[1]):
            return tuple(_frames(path, header))
        return (Slice(path, UNPLACED, header, size=(int(header.Columns), int(header.Rows))),)


def syntax_of(header: pydicom.Dataset) -> str:
    """UID of the transfer syntax; empty where the file does not say."""
    return str(header.file_meta.get("TransferSyntaxUID") or "")


def read_header(path: Path, tags: tuple[str, ...]) -> pydicom.Dataset:
    """The named tags before the pixels. Raises InputFileError where a deflated file unpacks to too much."""
    check_inflated(path)
    header = parsed(path, stop_before_pixels=True, specific_tags=list(tags))
    for tag in list(header.keys()):  # a value that breaks the rules of its type counts as missing
        try:
            if header[tag].keyword in COUNTS:
                int(header[tag].value)
        except Exception:  # its parser raises whatever it likes
            del header[tag]
    return header


class _BoundedFile(io.BufferedReader):
    """A file of which no read takes more memory than it has bytes left, whatever length an element states."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._bytes = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._bytes - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def parsed(path: Path, **options: Any) -> pydicom.Dataset:
    """`pydicom.dcmread` of a file whose elements may lie about their lengths; raises what that raises."""
    with _BoundedFile(path) as stream:
        return pydicom.dcmread(stream, **options)


def _plain_slice(path: Path, header: pydicom.Dataset) -> Slice:
    values = {name: header.get(name) for name in IMAGE_TAGS}
    tags = {name: str(header.get(name, "")) for name in SPLITTING_TAGS}
    return _slice(path, PLAIN, header, None, values, tags)


def _frames(path: Path, header: pydicom.Dataset) -> Iterator[Slice]:
    per_frame = header[GROUPS[1]].value
    shared = next(iter(header.get(GROUPS[0]) or ()), pydicom.Dataset())
    if len(per_frame) != int(header.get("NumberOfFrames") or 1):
        raise ValueError(f"{len(per_frame)} of {header.get('NumberOfFrames')} frames are described")
    for number, own in enumerate(per_frame):
        values = {name: _group(own, shared, group).get(name) for name, group in FRAME_VALUES.items()}
        tags = {name: _frame_tag(own, shared, places) for name, places in FRAME_TAGS.items()}
        if values["ImagePositionPatient"] and values["ImageOrientationPatient"]:
            yield _slice(path, MULTI_FRAME, header, number, values, tags)
        else:
            yield Slice(path, UNPLACED, header, number, (int(header.Columns), int(header.Rows)), tags=tags)


def _slice(
    path: Path,
    kind: str,
    header: pydicom.Dataset,
    frame: int | None,
    values: Mapping[str, Any],
    tags: Mapping[str, str],
) -> Slice:
    between_rows, between_columns = (float(s) for s in values["PixelSpacing"] or (0, 0))
    position = np.array([float(p) for p in values["ImagePositionPatient"]]).reshape(3)
    directions = np.array([float(d) for d in values["ImageOrientationPatient"]]).reshape(2, 3)
    if not (np.abs(position).max() < FARTHEST_MM and np.abs(directions).max() < 10):  # NaN included
        kind = UNPLACED
    return Slice(
        path,
        kind,
        header,
        frame,
        (int(header.Columns), int(header.Rows)),
        (between_columns, between_rows),
        position,
        directions,
        _number(values.get("RescaleSlope"), 1.0),
        _number(values.get("RescaleIntercept"), 0.0),
        str(values.get("RescaleType") or ""),
        _window(values.get("WindowWidth"), values.get("WindowCenter")),
        tags,
    )


def _group(own: pydicom.Dataset, shared: pydicom.Dataset, name: str) -> pydicom.Dataset:
    """The functional group of a frame, else the one that all share, else an empty one."""
    for holder in (own, shared):
        items = holder.get(name)
        if items:
            found: pydicom.Dataset = items[0]
            return found
    return pydicom.Dataset()


def _frame_tag(own: pydicom.Dataset, shared: pydicom.Dataset, places: tuple[tuple[str, str], ...]) -> str:
    found = (_group(own, shared, group).get(name) for group, name in places)
    return next((str(value) for value in found if value is not None), "")


def _number(value: Any, otherwise: float) -> float:
    return otherwise if value is None or value == "" else float(value)


def _window(width: Any, level: Any) -> tuple[float, float] | None:
    """The first window that a header offers; None where it has none that can be used."""
    first = [
        value[0] if isinstance(value, pydicom.multival.MultiValue) and value else value for value in (width, level)
    ]
    try:
        pair = float(first[0]), float(first[1])
    except (TypeError, ValueError):
        return None
    return pair if pair[0] >= 1 and np.isfinite(pair).all() else None
