"""Reads DICOM SEG objects: bits, fractions and label maps, cropped, in any order of frames, overlapping or not.

Segments that overlap lie in layers of their own. Label values are those of the user: the tracking identifier keeps
them where the format itself has to count segments from 1. Writing is next door (`dicom_seg_writing`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from medseg_rl.errors import InputFileError
from medseg_rl.imageio.dicom_colours import colour_of
from medseg_rl.imageio.dicom_objects import OBJECT_CLASSES, full_name, open_object, readable
from medseg_rl.imageio.dicom_seg_frames import Frames, Grid, Plane, frames_of, grid_of, pixel_reader
from medseg_rl.imageio.dicom_sources import origin_of, true_positions
from medseg_rl.imageio.dicom_terms import TERMS, Terms, terms_of
from medseg_rl.imageio.layers import LayerBuilder, unused_value
from medseg_rl.imageio.provenance import BY_MODEL
from medseg_rl.labels import BACKGROUND, Label, LabelMap, default_colour, label_dtype
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Box, Volume

TRACKING = "MedSeg-RL label value {value}"
BACKGROUND_CODE = "125040"  # of the coding scheme DCM


def read(path: Path, *, like: Volume | None = None, threshold: float | None = None) -> Segmentation:
    """The segments on the grid of the file, with the planes that were left out as empty ones.

    `like`: its image; only where its slices lie is used, to tell how many planes were left out. `threshold`: what
    fraction or probability, 0 to 1, counts as inside where the file holds such.
    Raises InputFileError and GeometryError.
    """
    dataset = open_object(path)
    with readable(path):
        if OBJECT_CLASSES.get(str(dataset.SOPClassUID)) != "DICOM SEG":
            raise InputFileError(f"{path} is no DICOM SEG; give one, or the image itself")
        frames = frames_of(path, dataset)
        pixels = pixel_reader(path, dataset)
        grid = grid_of(path, frames, like, true_positions(like) if like else None)
        table = _segments_of(dataset)
        if dataset.SegmentationType == "LABELMAP":
            segmentation = _read_label_map(path, dataset, grid, pixels, table)
        else:
            rule = _Rule(path, dataset, threshold)
            segmentation = _read_segments(path, frames, grid, lambda n: rule.inside(pixels(n)), table)
        source = {
            **segmentation.grid.source,
            **origin_of(dataset),
            BY_MODEL: sorted(table.by_model),
            TERMS: table.terms,
        }
    layers = (replace(segmentation.grid, source=source), *segmentation.layers[1:])
    return Segmentation(layers, segmentation.labels)


@dataclass
class _Table:
    """Labels by segment number, and what the user should know."""

    labels: dict[int, Label] = field(default_factory=dict)
    background: set[int] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    by_model: set[int] = field(default_factory=set)  # values of labels that were not drawn by hand alone
    terms: dict[int, Terms] = field(default_factory=dict)  # what each value is, in codes

    def add(self, number: int, wanted: Label | None, value: int, name: str) -> None:
        """A segment whose user's value may already be taken, or be 0, gets a free one, and that is said."""
        taken = {label.value for label in self.labels.values()}
        if value == BACKGROUND or value in taken:
            free = unused_value({*taken, *self.labels, number, BACKGROUND})
            self.warnings.append(f"{name!r} cannot have the value {value} and becomes {free}")
            value = free
        colour = wanted.colour if wanted else default_colour(value)
        self.labels[number] = Label(value, name, colour)


def _segments_of(dataset: pydicom.Dataset) -> _Table:
    table = _Table()
    is_label_map = dataset.SegmentationType == "LABELMAP"
    if is_label_map and "PixelPaddingValue" in dataset:
        table.background.add(int(dataset.PixelPaddingValue))
    for item in dataset.get("SegmentSequence") or []:
        number = int(item.SegmentNumber)
        if is_label_map and _is_background(item):
            table.background.add(number)
            continue
        if number in table.labels:
            raise InputFileError(f"segment {number} is described twice")
        table.background.discard(number)
        found = re.fullmatch(TRACKING.format(value=r"(-?\d{1,18})"), str(item.get("TrackingID") or ""))
        value = int(found[1]) if found else number
        name = full_name(str(item.get("SegmentLabel") or ""), str(item.get("SegmentDescription") or ""))
        name = name or f"Label {value}"
        table.add(number, _coloured(item, value, name), value, name)
        if terms := terms_of(item):
            table.terms[table.labels[number].value] = terms
        if str(item.get("SegmentAlgorithmType") or "MANUAL") != "MANUAL":
            table.by_model.add(table.labels[number].value)
    return table


def _is_background(item: pydicom.Dataset) -> bool:
    codes = item.get("SegmentedPropertyTypeCodeSequence") or [pydicom.Dataset()]
    if (str(codes[0].get("CodeValue")), str(codes[0].get("CodingSchemeDesignator"))) == (BACKGROUND_CODE, "DCM"):
        return True
    return int(item.SegmentNumber) == BACKGROUND and str(item.get("SegmentLabel", "")).casefold() == "background"


def _coloured(item: pydicom.Dataset, value: int, name: str) -> Label | None:
    try:
        colour = colour_of(item.RecommendedDisplayCIELabValue)
    except (AttributeError, TypeError, ValueError):
        return None
    return Label(value or 1, name, colour)


@dataclass(frozen=True)
class _Rule:
    """When a stored number lies inside a segment."""

    path: Path
    dataset: pydicom.Dataset
    threshold: float | None

    def inside(self, stored: Plane) -> npt.NDArray[np.bool_]:
        """True inside (row, column). Raises InputFileError for true fractions without a threshold."""
        if self.dataset.SegmentationType != "FRACTIONAL":
            return np.asarray(stored != 0)
        most = int(self.dataset.MaximumFractionalValue)
        if self.threshold is not None:
            return np.asarray(stored > self.threshold * most)
        if not np.isin(stored, (0, most)).all():
            raise InputFileError(f"{self.path} holds fractions from 0 to 1; apply a threshold, such as 0.5")
        return np.asarray(stored == most)


def _read_segments(path: Path, frames: Frames, grid: Grid, inside_of: Any, table: _Table) -> Segmentation:
    """One segment after another, each frame unpacked once."""
    for number in sorted(set(frames.segments.tolist()) - set(table.labels)):
        table.warnings.append(f"segment {number} has frames but no description")
        table.add(number, None, number, f"Segment {number}")
    builder = LayerBuilder(path, grid.shape, (label.value for label in table.labels.values()))
    for number, label in table.labels.items():
        builder.add(label, *_mask(np.flatnonzero(frames.segments == number), grid, inside_of))
    return builder.finished(grid.affine, _source(path, table))


def _mask(numbers: npt.NDArray[np.intp], grid: Grid, inside_of: Any) -> tuple[Box | None, npt.NDArray[np.bool_] | None]:
    if not numbers.size:
        return None, None
    first, last = int(grid.planes[numbers].min()), int(grid.planes[numbers].max())
    part = np.zeros((*grid.shape[:2], last - first + 1), bool, order="F")
    for n in numbers.tolist():
        part[:, :, int(grid.planes[n]) - first] |= inside_of(n).T
    box = Box.around_mask(part)
    return (None, None) if box is None else (box.shifted((0, 0, first)), part[box.slices])


def _read_label_map(path: Path, dataset: pydicom.Dataset, grid: Grid, pixels: Any, table: _Table) -> Segmentation:
    most = 255 if int(dataset.BitsAllocated) <= 8 else 65535
    array: npt.NDArray[Any] = np.zeros(grid.shape, label_dtype((most, *table.labels)), "F")
    emptied = np.arange(most + 1).astype(array.dtype)
    emptied[list(table.background & set(range(emptied.size)))] = BACKGROUND
    zero = table.labels.pop(BACKGROUND, None)  # a true segment of number 0: no label here may have that value
    if zero is not None:
        emptied[BACKGROUND] = zero.value
    for n, plane in enumerate(grid.planes.tolist()):
        stored = emptied[pixels(n)].T
        target = array[:, :, plane]
        target[stored != BACKGROUND] = stored[stored != BACKGROUND]
    labels = (*((zero,) if zero else ()), *table.labels.values())
    volume = Volume(array, grid.affine, None, _source(path, table))
    return Segmentation.of_label_map(volume, LabelMap(labels))


def _source(path: Path, table: _Table) -> dict[str, Any]:
    return {"format": "DICOM SEG", "path": str(path), "warnings": list(table.warnings)}
