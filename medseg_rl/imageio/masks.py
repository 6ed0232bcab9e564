"""What makes a file a mask of an image: whole numbers, and the same grid.

Label values pass through as they are. The limits are those of the mask load check in the design of the application.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.labels import label_dtype
from medseg_rl.segmentation import SAME_GRID
from medseg_rl.volume import AxisOrder, Box, Volume, box_overlap, corner_distance

SHIFTED_GRID = 1.0  # up to this, the same grid by intent: the user decides
MIN_OVERLAP = 0.9
WHOLE_NUMBER_TOLERANCE = 1e-4  # labels stored through a scale factor come back slightly off
LARGEST_LABEL = 2.0**53  # beyond that a real number cannot tell neighbours apart


def as_label_map(path: Path, volume: Volume, *, threshold: float | None = None) -> Volume:
    """The same values as integers; with `threshold` 1 above it and 0 elsewhere.

    Raises InputFileError when they are not whole numbers and no threshold is given.
    """
    array = volume.array
    if threshold is not None:
        if np.isnan(array).any():
            raise InputFileError(f"{path} holds NaN voxels, which no threshold can judge; replace them by a number")
        return volume.with_array((array > threshold).astype(np.uint8))
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise InputFileError(f"{path} is no mask: it holds NaN or infinite voxels; replace them by a label value")
        if np.abs(array).max() > LARGEST_LABEL:
            raise InputFileError(f"{path} is no mask: it holds {float(array.max()):g}, more than a label value can be")
        rounded = np.rint(array)
        if np.abs(array - rounded).max() > WHOLE_NUMBER_TOLERANCE:
            raise InputFileError(_why_no_mask(path, array))
        array = narrowed(rounded.astype(np.int64))
    return volume.with_array(narrowed(array))


def _why_no_mask(path: Path, array: npt.NDArray[Any]) -> str:
    low, high = float(array.min()), float(array.max())
    said = f"{path} is no mask: it holds {np.unique(array).size} distinct values from {low:.6g} to {high:.6g}"
    if low >= 0 and high <= 1:
        return f"{said}, which look like probabilities; apply a threshold, such as 0.5"
    return f"{said}, not all whole numbers, perhaps through interpolation; resample it again by nearest neighbour"


def narrowed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Bool becomes uint8, 64-bit labels the smallest integer type that holds them; everything else stays."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype not in (np.int64, np.uint64):
        return array
    return array.astype(label_dtype((int(array.min()), int(array.max()))))


@dataclass(frozen=True)
class LoadCheck:
    """Whether a mask belongs on an image. `shift_mm`: between corner voxel centres, None where the shapes differ.

    `verdict`: "same" and "part" (a cropped grid, the rest is background) are taken as they are; "shifted" asks and
    shows the millimetres; "resample" offers nearest neighbour; "refuse" offers nothing. `overlap`: of the world boxes,
    0 to 1.
    """

    verdict: Literal["same", "part", "shifted", "resample", "refuse"]
    shift_mm: float | None
    overlap: float


def check_load(mask: Volume, like: Volume, *, part: bool = False) -> LoadCheck:
    """The mask load check of the application; axis order and flips do not count, since they lose nothing.

    `part`: whether a grid that is cut out of the image's is one of its masks, as in formats that crop by design.
    """
    turned = _turned(mask, like)
    overlap = box_overlap(mask, like)
    shift = corner_distance(turned.affine, like.affine, like.shape) if turned.shape == like.shape else None
    unit = min(like.spacing)
    if shift is not None and shift <= SAME_GRID * unit:
        return LoadCheck("same", shift, overlap)
    if part and _place_of(turned, like) is not None:
        return LoadCheck("part", shift, overlap)
    if shift is not None and shift <= SHIFTED_GRID * unit:
        return LoadCheck("shifted", shift, overlap)
    return LoadCheck("resample" if overlap >= MIN_OVERLAP else "refuse", shift, overlap)


def on_grid_of(
    path: Path, mask: Volume, like: Volume, *, accept_shift: bool = False, resample: bool = False, part: bool = False
) -> Volume:
    """`mask` on the grid of `like`: as it is, after a mere change of axis order or flips, or by nearest neighbour.

    Raises GeometryError, with both geometries and the way out, where the user has to decide or nothing fits.
    """
    check = check_load(mask, like, part=part)
    if check.verdict == "same" or (check.verdict == "shifted" and accept_shift):
        array = np.ascontiguousarray(_turned(mask, like).array)
        return Volume(array, like.affine, like.modality, dict(mask.source))
    if check.verdict == "part":
        return _pasted(_turned(mask, like), like)
    if resample and check.overlap >= MIN_OVERLAP:
        return mask.sampled_on(like)
    if check.verdict == "shifted":
        raise GeometryError(
            f"mask {path} lies {check.shift_mm:.3g} mm off its image at the corners, same shape; accept the shift or"
            " resample it"
        )
    both = f"mask {path} is {geometry_line(mask)} but its image is {geometry_line(like)}"
    if check.verdict == "resample":
        raise GeometryError(f"{both}; they overlap by {check.overlap:.0%}: ask for nearest-neighbour resampling")
    raise GeometryError(f"{both}; they overlap by {check.overlap:.0%} only, so this is no mask of that image")


def _turned(mask: Volume, like: Volume) -> Volume:
    """A view of `mask` with its axes in the order and sense of those of `like`; every voxel keeps its place."""
    order = AxisOrder.of(np.linalg.inv(like.affine) @ mask.affine)
    affine = mask.affine.copy()
    affine[:, :3] = mask.affine[:, order.permutation]
    for axis in range(3):
        if order.flipped[axis]:
            affine[:3, 3] += affine[:3, axis] * (mask.shape[order.permutation[axis]] - 1)
            affine[:3, axis] *= -1
    return Volume(order.apply(mask.array), affine, mask.modality, dict(mask.source))


def _place_of(turned: Volume, like: Volume) -> Box | None:
    """The voxels of `like` that a mask with its axes covers, when it is cut out of that grid; may reach beyond it."""
    start = np.rint(like.world_to_index(turned.affine[:3, 3]))
    affine = like.affine.copy()
    affine[:3, 3] = like.index_to_world(start)
    if corner_distance(affine, turned.affine, turned.shape) > SAME_GRID * min(like.spacing):
        return None
    place = Box.whole(turned.shape).shifted((int(start[0]), int(start[1]), int(start[2])))
    return place if place.intersection(Box.whole(like.shape)).voxels else None


def _pasted(turned: Volume, like: Volume) -> Volume:
    place = _place_of(turned, like)
    assert place is not None  # the check said so
    shared = place.intersection(Box.whole(like.shape))
    inside = shared.shifted((-place.start[0], -place.start[1], -place.start[2]))
    array = np.zeros(like.shape, turned.array.dtype)
    array[shared.slices] = turned.array[inside.slices]
    lost = int(np.count_nonzero(turned.array)) - int(np.count_nonzero(array))
    source = dict(turned.source)
    if lost:
        said = f"{lost} labelled voxels lie outside the image and are left out"
        source["warnings"] = [*source.get("warnings", []), said]
    return Volume(array, like.affine, like.modality, source)


def geometry_line(volume: Volume) -> str:
    """Shape, spacing, axes and origin in one line, for messages."""
    shape = " x ".join(str(n) for n in volume.shape)
    spacing = " x ".join(f"{s:.4g}" for s in volume.spacing)
    origin = ", ".join(f"{o:.5g}" for o in volume.affine[:3, 3])
    return f"{shape} voxels of {spacing} mm, {volume.orientation}, first voxel at ({origin}) mm"
