"""Sorts DICOM files into series. Reads headers only, and judges nothing.

Slices are ordered by their position along the normal, never by file name. No name or number of a patient is kept.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from medseg_rl.volume import FloatArray

SEGMENTATION_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "DICOM SEG",
    "1.2.840.10008.5.1.4.1.1.66.5": "DICOM surface segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "DICOM label map SEG",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
}
SPLITTING_TAGS = [
    *("AcquisitionNumber", "TemporalPositionIdentifier", "EchoTime", "InversionTime", "TriggerTime"),
    *("DiffusionBValue", "ImageType", "AcquisitionDate", "AcquisitionTime", "ContentTime"),
]
TAGS = [
    *SPLITTING_TAGS,
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality"),
    *("NumberOfFrames", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"),
    "PhotometricInterpretation",
]
SAME_DIRECTION = 1e-3  # of a direction cosine: 0.06 degrees
SAME_POSITION_MM = 0.01


@dataclass(frozen=True, eq=False)
class Slice:
    """The header of one file. Positions and directions in LPS millimetres; `spacing`: between columns, between rows."""

    path: Path
    kind: str  # "image", "multi-frame image", "image without position", or a name of SEGMENTATION_CLASSES
    header: pydicom.Dataset
    size: tuple[int, int] = (0, 0)  # columns, rows
    spacing: tuple[float, float] = (0.0, 0.0)
    position: FloatArray = field(default_factory=lambda: np.zeros(3))
    directions: FloatArray = field(default_factory=lambda: np.zeros((2, 3)))

    @property
    def normal(self) -> FloatArray:
        """Unit vector across the slice."""
        return np.cross(self.directions[0], self.directions[1])

    @property
    def depth(self) -> float:
        """Position along the normal in mm."""
        return float(self.position @ self.normal)

    def lies_like(self, other: Slice) -> bool:
        """Whether the two can be slices of one grid."""
        return (
            self.header.get("SeriesInstanceUID") == other.header.get("SeriesInstanceUID")
            and (self.kind, self.size) == (other.kind, other.size)
            and float(np.abs(self.directions - other.directions).max()) < SAME_DIRECTION
            and np.allclose(self.spacing, other.spacing, rtol=1e-4)
        )


@dataclass(frozen=True, eq=False)
class Series:
    """Files that belong together, sorted by position. `note`: what sets it apart where a series was split."""

    slices: tuple[Slice, ...]
    note: str = ""

    @property
    def first(self) -> Slice:
        """The slice with the smallest depth."""
        return self.slices[0]

    @property
    def uid(self) -> str:
        """Series Instance UID."""
        return str(self.first.header.get("SeriesInstanceUID", ""))

    @property
    def modality(self) -> str:
        """As in the file, such as "CT"."""
        return str(self.first.header.get("Modality", ""))

    @property
    def description(self) -> str:
        """Series description and, where the series was split, the part."""
        return " ".join(f"{self.first.header.get('SeriesDescription') or ''} {self.note}".split())

    @property
    def could_be_volume(self) -> bool:
        """Whether a user may mean this one: several slices, or one file of several frames."""
        return self.first.kind == "multi-frame image" or (self.first.kind == "image" and len(self.slices) > 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices (or frames)."""
        frames = int(self.first.header.get("NumberOfFrames") or 1)
        return (*self.first.size, frames if frames > 1 else len(self.slices))

    @cached_property
    def steps(self) -> FloatArray:
        """From each slice to the next, LPS mm (n - 1, 3)."""
        return np.diff(np.array([s.position for s in self.slices]), axis=0)

    @cached_property
    def gaps(self) -> FloatArray:
        """The steps along the normal, mm (n - 1)."""
        return np.asarray(self.steps @ self.first.normal, dtype=np.float64)

    def line(self) -> str:
        """One line for a list: CT "Portal venous", 512 x 512 x 298."""
        name = f' "{self.description}"' if self.description else ""
        kind = "" if self.first.kind == "image" else f" {self.first.kind}"
        shape = f", {' x '.join(str(n) for n in self.shape)}" if self.first.size[0] else ""
        return f"{self.modality}{kind}{name}{shape}"


@dataclass(frozen=True, eq=False)
class Scan:
    """What a folder holds. `damaged`: DICOM files that cannot be read. `others`: number of files that are no DICOM."""

    series: tuple[Series, ...]
    damaged: tuple[Path, ...]
    others: int


def scan(files: Iterable[Path]) -> Scan:
    """Reads the headers of `files` and groups them by series UID, orientation, shape and in-plane spacing."""
    groups: list[list[Slice]] = []
    damaged: list[Path] = []
    others = 0
    seen: set[str] = set()
    for path in files:
        try:
            found = _read_slice(path)
        except (InvalidDicomError, OSError, EOFError, ValueError, TypeError, AttributeError, KeyError, OverflowError):
            damaged.append(path)
            continue
        if found is None:
            others += path.suffix.lower() != ".dcm"
            if path.suffix.lower() == ".dcm":
                damaged.append(path)
            continue
        uid = str(found.header.get("SOPInstanceUID", path))
        if uid in seen:  # the same image twice, under two names
            continue
        seen.add(uid)
        group = next((g for g in groups if g[0].lies_like(found)), None)
        if group is None:
            groups.append([found])
        else:
            group.append(found)
    series = [part for group in groups for part in _split(sorted(group, key=lambda s: (s.depth, s.path)))]
    series.sort(key=lambda s: (not s.could_be_volume, int(s.first.header.get("SeriesNumber") or 0), s.uid, s.note))
    return Scan(tuple(series), tuple(damaged), others)


def files_below(folder: Path) -> Iterator[Path]:
    """Every file in `folder` and the folders in it, in a fixed order."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent) / name for name in sorted(names))


def _read_slice(path: Path) -> Slice | None:
    """None when the file is not DICOM, or nothing that is listed (a directory file, a report)."""
    with path.open("rb") as stream:
        if stream.read(132)[128:] != b"DICM":
            return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that break the rules of their type, in tags that are not used
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
    sop_class = str(header.get("SOPClassUID", ""))
    if sop_class in SEGMENTATION_CLASSES:
        return Slice(path, SEGMENTATION_CLASSES[sop_class], header)
    if "Rows" not in header or "Columns" not in header:
        return None
    size = (int(header.Columns), int(header.Rows))
    if int(header.get("NumberOfFrames") or 1) > 1:
        return Slice(path, "multi-frame image", header, size)
    if not header.get("ImagePositionPatient") or not header.get("ImageOrientationPatient"):
        return Slice(path, "image without position", header, size)
    between_rows, between_columns = (float(s) for s in header.get("PixelSpacing") or (0, 0))
    position = np.array([float(p) for p in header.ImagePositionPatient]).reshape(3)
    directions = np.array([float(d) for d in header.ImageOrientationPatient]).reshape(2, 3)
    return Slice(path, "image", header, size, (between_columns, between_rows), position, directions)


def _split(group: list[Slice]) -> list[Series]:
    """One series, or several where slices at the same place differ in acquisition, echo or time."""
    if group[0].kind != "image":
        return [Series((s,)) for s in group] if group[0].kind != "image without position" else [Series(tuple(group))]
    if not duplicates(group):
        return [Series(tuple(group))]
    for tag in SPLITTING_TAGS:
        parts: dict[str, list[Slice]] = defaultdict(list)
        for item in group:
            parts[str(item.header.get(tag, ""))].append(item)
        if len(parts) > 1 and not any(duplicates(part) for part in parts.values()):
            return [Series(tuple(part), f"{tag} {value}") for value, part in sorted(parts.items())]
    return [Series(tuple(group))]


def duplicates(slices: list[Slice] | tuple[Slice, ...]) -> list[tuple[Slice, Slice]]:
    """Neighbours, in a list sorted by depth, that lie at the same place."""
    return [(a, b) for a, b in itertools.pairwise(slices) if abs(b.depth - a.depth) < SAME_POSITION_MM]
