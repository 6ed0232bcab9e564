"""The frames of a DICOM SEG: where each lies, which segment it belongs to, and its pixels, one at a time.

Positions decide, never the order of the frames; planes that a writer left out are put back as empty ones. Labels,
layers and images are not known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.imageio.limits import MAX_VOXELS, check_affine, check_size
from medseg_rl.volume import FloatArray, Index, Volume

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
OFF_PLANE = 0.1  # of the smallest spacing: how far a frame may lie from the plane it is put into
MOST_UNSEEN = 1 << 27  # voxels that need no frames to account for them: 512 x 512 x 512
ACCOUNTED = 64  # planes that each frame accounts for beyond that
SAME_DIRECTION = 1e-3
Plane = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Frames:
    """LPS millimetres. `directions`: of rows and of columns (2, 3). `spacing`: between columns, between rows.

    `positions`: centre of each frame's first pixel (n, 3). `segments`: segment number of each frame, 0 in a label map.
    `thickness`: what the file says of the distance between slices, or None.
    """

    size: tuple[int, int]
    directions: FloatArray
    spacing: tuple[float, float]
    thickness: float | None
    positions: FloatArray
    segments: npt.NDArray[np.int64]

    @property
    def normal(self) -> FloatArray:
        """Unit vector across the frames."""
        return np.cross(self.directions[0], self.directions[1])


@dataclass(frozen=True, eq=False)
class Grid:
    """`affine`: voxel (column, row, plane) to RAS+ mm. `planes`: of each frame, from 0."""

    shape: Index
    affine: FloatArray
    planes: npt.NDArray[np.int64]


def frames_of(path: Path, dataset: pydicom.Dataset) -> Frames:
    """Reads the functional groups. Raises InputFileError and GeometryError; anything else means damage."""
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), pydicom.Dataset())
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    count = int(dataset.get("NumberOfFrames") or 1)
    if len(groups) != count or count < 1:
        raise InputFileError(f"{path} says it has {count} frames but describes {len(groups)}; get it again")

    def macro(group: pydicom.Dataset, name: str) -> pydicom.Dataset:
        for place in (group, shared):
            if place.get(name):
                item: pydicom.Dataset = place[name].value[0]
                return item
        raise InputFileError(f"{path} does not say where its frames lie ({name} is missing); export it again")

    orientations = np.array(
        [_numbers(macro(g, "PlaneOrientationSequence").ImageOrientationPatient, 6) for g in groups]
    ).reshape(-1, 2, 3)
    measures = [macro(g, "PixelMeasuresSequence") for g in groups]
    spacings = np.array([_numbers(m.PixelSpacing, 2) for m in measures])
    positions = np.array([_numbers(macro(g, "PlanePositionSequence").ImagePositionPatient, 3) for g in groups])
    if np.ptp(orientations, axis=0).max() > SAME_DIRECTION or np.ptp(spacings, axis=0).max() > 1e-4 * spacings.max():
        raise GeometryError(f"{path} has frames of different orientation or pixel spacing; split it into one file each")
    _check_directions(path, orientations[0])
    segments = [0] * count
    if dataset.SegmentationType != "LABELMAP":
        segments = [int(macro(g, "SegmentIdentificationSequence").ReferencedSegmentNumber) for g in groups]
    thickness = measures[0].get("SpacingBetweenSlices") or measures[0].get("SliceThickness")
    between_rows, between_columns = spacings[0]
    return Frames(
        (int(dataset.Columns), int(dataset.Rows)),
        orientations[0],
        (float(between_columns), float(between_rows)),
        abs(float(thickness)) if thickness else None,
        positions,
        np.array(segments, np.int64),
    )


def _numbers(values: Any, count: int) -> FloatArray:
    numbers = np.array([float(value) for value in values])
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{count} numbers expected, not {list(values)}")
    return numbers


def _check_directions(path: Path, directions: FloatArray) -> None:
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > SAME_DIRECTION or abs(float(directions[0] @ directions[1])) > SAME_DIRECTION:
        said = ", ".join(f"{d:.4g}" for d in directions.ravel())
        raise GeometryError(f"{path} has an impossible orientation ({said}); correct its header")


def grid_of(path: Path, frames: Frames, like: Volume | None, slices: FloatArray | None = None) -> Grid:
    """The grid that holds every frame. `like`: whose step between slices is tried first.

    `slices`: where the slices of `like` truly lie (n, 3), LPS mm, when they lie unevenly; the grid is then its own.
    Raises GeometryError where no step fits the positions.
    """
    if like is not None and slices is not None and (grid := _grid_of_slices(frames, like, slices)):
        return grid
    start = frames.positions[int(np.argmin(frames.positions @ frames.normal))]
    for step in _steps(frames, like):
        gap = float(step @ frames.normal)
        if not gap > 0:
            continue
        places = np.rint((frames.positions - start) @ frames.normal / gap)
        off = np.linalg.norm(frames.positions - start - np.outer(places, step), axis=1).max()
        if off <= OFF_PLANE * min(*frames.spacing, gap):
            return _checked(path, frames, start, step, places, like)
    depths = np.unique(np.round(frames.positions @ frames.normal, 3))
    gaps = f"{np.diff(depths).min():.4g} to {np.diff(depths).max():.4g} mm apart" if len(depths) > 1 else "of no depth"
    way_out = "its image has other slices" if like else "give its image (--like)"
    raise GeometryError(f"{path} has slices {gaps}, which make no regular grid; {way_out}")


def _grid_of_slices(frames: Frames, like: Volume, slices: FloatArray) -> Grid | None:
    """The grid of `like` when every frame covers one of its slices."""
    axes = (RAS_FROM_LPS @ like.affine)[:3, :2].T
    wanted = frames.directions * np.array(frames.spacing)[:, None]
    nearest = np.array([int(np.argmin(np.linalg.norm(slices - position, axis=1))) for position in frames.positions])
    off = np.linalg.norm(slices[nearest] - frames.positions, axis=1).max()
    same_plane = frames.size == like.shape[:2] and np.abs(axes - wanted).max() <= 1e-3 * min(frames.spacing)
    if not same_plane or off > OFF_PLANE * min(frames.spacing):
        return None
    return Grid(like.shape, like.affine, nearest.astype(np.int64))


def _steps(frames: Frames, like: Volume | None) -> Iterator[FloatArray]:
    """From one plane to the next, LPS mm, the likeliest first."""
    if like is not None and (step := _step_of(frames, like)) is not None:
        yield step
    order = np.argsort(frames.positions @ frames.normal)
    across = np.diff(frames.positions[order], axis=0)
    across = across[across @ frames.normal > OFF_PLANE * min(frames.spacing)]
    way = across.sum(axis=0)
    depth = float(way @ frames.normal)
    gaps = [frames.thickness] if frames.thickness else []
    gaps += [float(gap) for gap in np.sort(across @ frames.normal)[:1]]
    for gap in gaps:
        yield way / max(1, round(depth / gap)) if depth else gap * frames.normal


def _step_of(frames: Frames, like: Volume) -> FloatArray | None:
    """The step of that axis of an image which leads across the frames; None where the image lies otherwise."""
    axes = (RAS_FROM_LPS @ like.affine)[:3, :3].T
    across = axes @ frames.normal
    axis = int(np.argmax(np.abs(across) / np.linalg.norm(axes, axis=1)))
    in_plane = np.delete(axes, axis, axis=0)
    in_plane /= np.linalg.norm(in_plane, axis=1, keepdims=True)
    if np.abs(in_plane @ frames.normal).max() > SAME_DIRECTION:
        return None
    step: FloatArray = axes[axis] * np.sign(across[axis])
    return step


def _checked(
    path: Path, frames: Frames, start: FloatArray, step: FloatArray, places: FloatArray, like: Volume | None
) -> Grid:
    columns, rows = frames.size
    shape = (columns, rows, int(places.max()) + 1)
    voxels = math.prod(shape)
    accounted = max(MOST_UNSEEN, columns * rows * len(places) * ACCOUNTED, 2 * like.array.size if like else 0)
    if voxels > min(MAX_VOXELS, accounted) or voxels == 0:
        raise InputFileError(
            f"{path} spans {columns} x {rows} x {shape[2]} voxels with {len(places)} frames; give its image (--like),"
            " or get the file again"
        )
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([*(frames.directions * np.array(frames.spacing)[:, None]), step])
    affine[:3, 3] = start
    check_affine(path, affine)
    return Grid(shape, RAS_FROM_LPS @ affine, places.astype(np.int64))


def pixel_reader(path: Path, dataset: pydicom.Dataset) -> Callable[[int], Plane]:
    """Gives the stored numbers (row, column) of a frame by its place in the file, unpacking no more than that.

    Raises InputFileError when the file is too short for its frames, or no decoder is installed.
    """
    rows, columns, bits = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
    count = int(dataset.get("NumberOfFrames") or 1)
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or bits not in (1, 8, 16):
        raise InputFileError(f"{path} stores its segments in an unknown way ({bits} bits); export it again")
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    needed = (rows * columns * count * bits + 7) // 8
    check_size(path, (columns, rows, count), bytes_needed=needed, compressed=syntax.is_compressed)
    if syntax.is_encapsulated:
        return _decoder(path, dataset, syntax)
    data = bytes(dataset.PixelData)
    if len(data) < needed:
        raise InputFileError(f"{path} is cut off: its frames need {needed} bytes, {len(data)} are there; get it again")

    def read_bits(frame: int) -> Plane:
        first = frame * rows * columns  # frames do not start on a byte
        stop = first + rows * columns
        packed = np.frombuffer(data[first // 8 : (stop + 7) // 8], np.uint8)
        return np.unpackbits(packed, bitorder="little")[first % 8 :][: rows * columns].reshape(rows, columns)

    def read_numbers(frame: int) -> Plane:
        dtype = np.dtype("u1" if bits == 8 else "<u2")
        return np.frombuffer(data, dtype, rows * columns, frame * rows * columns * dtype.itemsize).reshape(
            rows, columns
        )

    return read_bits if bits == 1 else read_numbers


def _decoder(path: Path, dataset: pydicom.Dataset, syntax: UID) -> Callable[[int], Plane]:
    try:
        decoder = get_decoder(syntax)
        available = decoder.is_available
    except (NotImplementedError, ValueError):
        available = False
    if not available:
        raise InputFileError(f"{path} is compressed as {syntax.name}, for which no decoder is installed")
    shape = (int(dataset.Rows), int(dataset.Columns))

    def read(frame: int) -> Plane:
        stored = decoder.as_array(dataset, index=frame)[0]
        if stored.shape != shape:
            raise InputFileError(f"{path} says {shape} pixels a frame but holds {stored.shape}; get it again")
        return stored

    return read
