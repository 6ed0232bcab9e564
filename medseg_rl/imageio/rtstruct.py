"""Reads RTSTRUCT objects: contours in space become masks on the grid of an image, filled by the even-odd rule.

A contour within another cuts a hole (XOR). What is no closed contour on a slice of the image is left out and listed.
Writing is next door (`rtstruct_writing`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from medseg_rl.errors import InputFileError
from medseg_rl.imageio.dicom_objects import OBJECT_CLASSES, full_name, open_object, readable
from medseg_rl.imageio.dicom_sources import origin_of, true_positions
from medseg_rl.imageio.layers import LayerBuilder, unused_value
from medseg_rl.imageio.polygons import filled
from medseg_rl.imageio.provenance import BY_MODEL
from medseg_rl.labels import BACKGROUND, Label, default_colour
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Box, FloatArray, Volume

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
FLAT = 0.25  # voxels that the points of a contour may lie off its plane to either side
SAME_PLANE = 0.05  # voxels
HALF = 0.5 + 1e-6
TO_RAS = np.array([-1.0, -1.0, 1.0])
FARTHEST = 1e6  # voxels; a point beyond is damage


@dataclass
class Region:
    """One ROI: its label, its closed contours in LPS millimetres (n, 3), and what was left out, counted by reason."""

    label: Label
    contours: list[FloatArray] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    by_model: bool = False  # not drawn by hand alone, as the file says

    @property
    def notes(self) -> list[str]:
        """One line each for the user."""
        said = [f"{_times(number)} {why} left out" for why, number in sorted(self.left_out.items())]
        if self.cut:
            said.append(f"{_times(self.cut)} cut off at the edge of the image")
        return [f"{self.label.name}: {line}" for line in said]


def _times(number: int) -> str:
    """1 contour, 2 contours."""
    return f"{number} contour{'' if number == 1 else 's'}"


def read(path: Path, *, like: Volume | None = None) -> Segmentation:
    """The ROIs on the grid of `like`, the image they were drawn on; label values are the ROI numbers.

    A voxel belongs to an ROI when its centre lies inside an odd number of contours of its slice.
    Raises InputFileError.
    """
    if like is None:
        raise InputFileError(f"{path} holds contours in space, not voxels; give the image they were drawn on (--like)")
    dataset = _structure_set(path)
    with readable(path):
        warnings = _other_series(dataset, like)
        regions = regions_of(dataset, warnings)
        slices = true_positions(like)
        builder = LayerBuilder(path, like.shape, (region.label.value for region in regions))
        for region in regions:
            builder.add(region.label, *_mask(region, like, slices, warnings))
            warnings += region.notes
        source = {"format": "RTSTRUCT", "path": str(path), "warnings": warnings, **origin_of(dataset)}
        source[BY_MODEL] = sorted(region.label.value for region in regions if region.by_model)
    return builder.finished(like.affine, source, like)


def read_regions(path: Path) -> tuple[list[Region], list[str]]:
    """The ROIs of a file as contours in space, and what had to be changed; needs no image. Raises InputFileError."""
    dataset = _structure_set(path)
    warnings: list[str] = []
    with readable(path):
        return regions_of(dataset, warnings), warnings


def _structure_set(path: Path) -> pydicom.Dataset:
    dataset = open_object(path)
    with readable(path):
        if OBJECT_CLASSES.get(str(dataset.SOPClassUID)) != "RTSTRUCT":
            raise InputFileError(f"{path} is no RTSTRUCT; give one, or the image itself")
    return dataset


def regions_of(dataset: pydicom.Dataset, warnings: list[str]) -> list[Region]:
    """The ROIs in the order of the file; appends to `warnings` what had to be changed."""
    regions: dict[int, Region] = {}
    described = list(dataset.get("StructureSetROISequence") or [])
    numbers = [int(item.ROINumber) for item in described]
    for item, number in zip(described, numbers, strict=True):
        if number in regions:
            warnings.append(f"two ROIs have the number {number}; the second is left out")
            continue
        name = full_name(str(item.get("ROIName") or ""), str(item.get("ROIDescription") or "")) or f"Label {number}"
        value = number
        if value == BACKGROUND:
            value = unused_value(numbers)
            warnings.append(f"{name!r} cannot have the value 0 and becomes {value}")
        by_model = str(item.get("ROIGenerationAlgorithm") or "MANUAL") != "MANUAL"
        regions[number] = Region(Label(value, name, default_colour(value)), by_model=by_model)
    for item in dataset.get("ROIContourSequence") or []:
        found = regions.get(int(item.ReferencedROINumber))
        if found is None:
            warnings.append(
                f"the contours of ROI {int(item.ReferencedROINumber)}, which is not described, are left out"
            )
            continue
        found.label = _coloured(found.label, item)
        for contour in item.get("ContourSequence") or []:
            _take(contour, found)
    return list(regions.values())


def _coloured(label: Label, item: pydicom.Dataset) -> Label:
    try:
        red, green, blue = (int(part) for part in item.ROIDisplayColor)
        return replace(label, colour=(red, green, blue))
    except (AttributeError, TypeError, ValueError):
        return label


def _take(contour: pydicom.Dataset, region: Region) -> None:
    """Adds a closed contour of at least three points, or counts why not."""
    kind = str(contour.get("ContourGeometricType") or "")
    if kind not in CLOSED:
        region.left_out[f"not closed ({kind or 'of no type'})"] += 1
        return
    points = _points(contour)
    if len(points) < 3:
        region.left_out["of fewer than 3 points"] += 1
    else:
        region.contours.append(points)


def _points(contour: pydicom.Dataset) -> FloatArray:
    """LPS mm (n, 3). From the bytes of the file where it can be: a thousand times faster than a number object each."""
    stored = contour.get_item("ContourData")
    if stored is None or stored.value is None:
        return np.zeros((0, 3))
    value: Any = stored.value
    parts = value.split(b"\\") if isinstance(value, bytes) else value
    numbers = np.fromiter((float(part) for part in parts), float) if len(value) else np.zeros(0)
    if numbers.size % 3 or not np.isfinite(numbers).all():
        raise ValueError("the coordinates of a contour are not three finite numbers a point")
    return numbers.reshape(-1, 3)


def _mask(
    region: Region, like: Volume, slices: FloatArray | None, warnings: list[str]
) -> tuple[Box | None, npt.NDArray[np.bool_] | None]:
    """The voxels of one ROI, in the smallest box along the slices."""
    contours = [_indices(points, like, slices) for points in region.contours]
    contours = _within_reach(contours, like, region)
    if not contours:
        return None, None
    axis = _axis_across(contours)
    flat = [points for points in contours if np.ptp(points[:, axis]) <= 2 * FLAT]
    if len(flat) < len(contours):
        region.left_out["not on a slice of the image"] += len(contours) - len(flat)
    planes = _planes(flat, axis, region)
    if not planes:
        return None, None
    gaps = np.diff(sorted(planes))
    if gaps.size and gaps.min() > 1:
        warnings.append(
            f"{region.label.name}: contours lie {gaps.min()} slices apart; the slices between them stay empty"
        )
    return _filled(planes, axis, like)


def _indices(points: FloatArray, like: Volume, slices: FloatArray | None) -> FloatArray:
    """LPS mm to voxels. `slices`: first pixel of each slice (n, 3), LPS mm, where they lie unevenly."""
    if slices is None:
        return like.world_to_index(points * TO_RAS)
    axes = like.affine[:3, :2].T * TO_RAS
    normal = np.cross(axes[0], axes[1]) / np.linalg.norm(np.cross(axes[0], axes[1]))
    order = np.argsort(slices @ normal)
    depths = (slices @ normal)[order]
    depth = points @ normal
    place = np.interp(depth, depths, order) + (depth - depth.clip(depths[0], depths[-1])) / np.diff(depths).max()
    start = np.column_stack([np.interp(depth, depths, slices[order, axis]) for axis in range(3)])
    in_plane = (points - start) @ axes.T / np.sum(axes * axes, axis=1)
    return np.column_stack([in_plane, place])


def _within_reach(contours: list[FloatArray], like: Volume, region: Region) -> list[FloatArray]:
    """Those that touch the image; the part of one that juts out is cut off and said."""
    kept = []
    for points in contours:
        low, high = points.min(axis=0), points.max(axis=0)
        if (high < -HALF).any() or (low > np.array(like.shape) - 1 + HALF).any() or np.abs(points).max() > FARTHEST:
            region.left_out["outside the image"] += 1
            continue
        if (low < -HALF).any() or (high > np.array(like.shape) - 1 + HALF).any():
            region.cut += 1
        kept.append(points)
    return kept


def _axis_across(contours: list[FloatArray]) -> int:
    """The voxel axis across which most contours are flat; the slices of a DICOM image if there is a choice."""
    flat = {axis: sum(np.ptp(points[:, axis]) <= 2 * FLAT for points in contours) for axis in (2, 1, 0)}
    return max(flat, key=lambda axis: flat[axis])


def _planes(contours: list[FloatArray], axis: int, region: Region) -> dict[int, list[FloatArray]]:
    """Contours by slice. Of two sets of contours within one slice the nearer one counts, or XOR would mix them."""
    depths = [float(points[:, axis].mean()) for points in contours]
    sets: list[tuple[float, list[FloatArray]]] = []
    for n in np.argsort(depths, kind="stable").tolist():
        if not sets or depths[n] - sets[-1][0] > SAME_PLANE:
            sets.append((depths[n], []))
        sets[-1][1].append(contours[n])
    nearest: dict[int, tuple[float, list[FloatArray]]] = {}
    for depth, members in sets:
        k = int(np.floor(depth + HALF - 2e-6))
        if k not in nearest or abs(depth - k) < abs(nearest[k][0] - k):
            nearest[k], (_, members) = (depth, members), nearest.get(k, (0.0, []))
        if members:
            region.left_out["between two slices, where nearer ones count"] += len(members)
    return {k: members for k, (_, members) in nearest.items()}


def _filled(
    planes: dict[int, list[FloatArray]], axis: int, like: Volume
) -> tuple[Box | None, npt.NDArray[np.bool_] | None]:
    across = [a for a in range(3) if a != axis]
    planes = {k: members for k, members in planes.items() if 0 <= k < like.shape[axis]}
    windows = {
        k: filled([points[:, across] for points in members], (like.shape[across[0]], like.shape[across[1]]))
        for k, members in planes.items()
    }
    box: Box | None = None
    for k, (corner, window) in windows.items():
        start, stop = [k] * 3, [k + 1] * 3
        for a, first, size in zip(across, corner, window.shape, strict=True):
            start[a], stop[a] = first, first + size
        own = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        box = own if box is None else box.union(own)
    if box is None or not box.voxels:
        return None, None
    inside = np.zeros(box.shape, bool, order="F")
    for k, (corner, window) in windows.items():
        plane = np.moveaxis(inside, axis, 0)[k - box.start[axis]]
        a, b = (first - box.start[n] for first, n in zip(corner, across, strict=True))
        plane[a : a + window.shape[0], b : b + window.shape[1]] = window
    return box, inside


def _other_series(dataset: pydicom.Dataset, like: Volume) -> list[str]:
    """A warning where the contours were drawn on another series than `like` was read from."""
    own = like.source.get("series_uid")
    named = {
        str(series.get("SeriesInstanceUID"))
        for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
    }
    if not own or not named or own in named:
        return []
    return ["the contours were drawn on another series than this image; check that they fit"]
