"""What makes a file a mask of an image: whole numbers, and the same grid.

Label values pass through as they are. The limits are those of the mask load check in the design of the application.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.labels import label_dtype
from medseg_rl.volume import Volume, box_overlap, corner_distance

SAME_GRID = 0.1  # of the smallest spacing, between corner voxel centres: rounding in the file
SHIFTED_GRID = 1.0  # up to this, the same grid by intent: the user decides
MIN_OVERLAP = 0.9
WHOLE_NUMBER_TOLERANCE = 1e-4  # labels stored through a scale factor come back slightly off


def as_label_map(path: Path, volume: Volume) -> Volume:
    """The same values as integers. Raises InputFileError when they are not whole numbers."""
    array = volume.array
    if array.dtype.kind == "f":
        rounded = np.rint(array)
        if not np.isfinite(array).all():
            raise InputFileError(f"{path} is no mask: it holds NaN or infinite voxels; replace them by a label value")
        if np.abs(array - rounded).max() > WHOLE_NUMBER_TOLERANCE:
            raise InputFileError(_why_no_mask(path, array))
        array = narrowed(rounded.astype(np.int64))
    return volume.with_array(narrowed(array))


def _why_no_mask(path: Path, array: npt.NDArray[Any]) -> str:
    low, high = float(array.min()), float(array.max())
    said = f"{path} is no mask: it holds {np.unique(array).size} distinct values from {low:.6g} to {high:.6g}"
    if low >= 0 and high <= 1:
        return f"{said}, which look like probabilities; apply a threshold and save it again"
    return f"{said}, not all whole numbers, perhaps through interpolation; resample it again by nearest neighbour"


def narrowed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Bool becomes uint8, 64-bit labels the smallest integer type that holds them; everything else stays."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype not in (np.int64, np.uint64):
        return array
    return array.astype(label_dtype((int(array.min()), int(array.max()))))


def on_grid_of(path: Path, mask: Volume, like: Volume, *, accept_shift: bool = False, resample: bool = False) -> Volume:
    """`mask` on the grid of `like`: as it is, after a mere change of axis order or flips, or by nearest neighbour.

    Raises GeometryError, with both geometries and the way out, where the user has to decide or nothing fits.
    """
    unit = min(like.spacing)
    mask = _reoriented(mask, like)
    shift = corner_distance(mask.affine, like.affine, like.shape) if mask.shape == like.shape else np.inf
    if shift <= SAME_GRID * unit or (accept_shift and shift <= SHIFTED_GRID * unit):
        return Volume(mask.array, like.affine, like.modality, dict(mask.source))
    if resample and box_overlap(mask, like) >= MIN_OVERLAP:
        return mask.sampled_on(like)
    if shift <= SHIFTED_GRID * unit:
        raise GeometryError(
            f"mask {path} lies {shift:.3g} mm off its image at the corners, same shape; accept the shift or resample it"
        )
    both = f"mask {path} is {geometry_line(mask)} but its image is {geometry_line(like)}"
    overlap = box_overlap(mask, like)
    if overlap >= MIN_OVERLAP:
        raise GeometryError(f"{both}; they overlap by {overlap:.0%}: ask for nearest-neighbour resampling")
    raise GeometryError(f"{both}; they overlap by {overlap:.0%} only, so this is no mask of that image")


def _reoriented(mask: Volume, like: Volume) -> Volume:
    """`mask` with its axes permuted and flipped to those of `like` where that makes the grids equal, else unchanged."""
    if sorted(mask.shape) != sorted(like.shape):
        return mask
    for order in itertools.permutations(range(3)):
        if tuple(mask.shape[a] for a in order) != like.shape:
            continue
        for flips in itertools.product((False, True), repeat=3):
            affine = mask.affine.copy()
            affine[:, :3] = mask.affine[:, order]
            for axis in np.flatnonzero(flips):
                affine[:3, 3] += affine[:3, axis] * (like.shape[axis] - 1)
                affine[:3, axis] *= -1
            if corner_distance(affine, like.affine, like.shape) <= SAME_GRID * min(like.spacing):
                array = np.flip(mask.array.transpose(order), tuple(int(a) for a in np.flatnonzero(flips)))
                return Volume(np.ascontiguousarray(array), affine, mask.modality, dict(mask.source))
    return mask


def geometry_line(volume: Volume) -> str:
    """Shape, spacing, axes and origin in one line, for messages."""
    shape = " x ".join(str(n) for n in volume.shape)
    spacing = " x ".join(f"{s:.4g}" for s in volume.spacing)
    origin = ", ".join(f"{o:.5g}" for o in volume.affine[:3, 3])
    return f"{shape} voxels of {spacing} mm, {volume.orientation}, first voxel at ({origin}) mm"
