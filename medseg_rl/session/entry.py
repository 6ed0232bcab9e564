"""What comes in from outside: points and masks, checked against the grid of the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import ClickError, GeometryError
from medseg_rl.hints.click_files import Point, WorldClick, to_index
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.refiner import Percent
from medseg_rl.volume import Volume, corner_distance

SAME_GRID = 0.1  # of the smallest spacing, between corner voxel centres


def as_point(point_mm: npt.ArrayLike) -> Point:
    """Three numbers as a point. Raises ClickError when they are none."""
    point = np.asarray(point_mm, dtype=np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise ClickError(f"a click needs three finite millimetres, not {np.asarray(point_mm).tolist()}")
    x, y, z = (float(v) for v in point)
    return x, y, z


def voxel_clicks(image: Volume, clicks: Sequence[Click] | Sequence[WorldClick]) -> tuple[Click, ...]:
    """Clicks as clicks on voxels in file order. Raises ClickError when one lies outside the volume."""
    found: list[Click] = []
    for click in clicks:
        if isinstance(click, WorldClick):
            found += to_index(image, [WorldClick(as_point(click.point_mm), ClickLabel(click.label), click.target)])
        elif all(0 <= i < n for i, n in zip(click.index, image.shape, strict=True)):
            found.append(click)
        else:
            raise ClickError(f"the click at voxel {click.index} lies outside the volume of {image.shape} voxels")
    return tuple(found)


def array_on_grid(mask: Volume, image: Volume) -> npt.NDArray[Any]:
    """The integers of a mask that lies on the grid of the image, turned to its axis order if need be.

    Raises GeometryError, as the check of a mask file does, when the grids differ.
    """
    if mask.array.dtype.kind not in "biu":
        raise GeometryError(f"a mask holds integers, this one {mask.array.dtype}; apply a threshold first")
    same = mask.shape == image.shape
    if same and corner_distance(mask.affine, image.affine, image.shape) <= SAME_GRID * min(image.spacing):
        return mask.array
    from medseg_rl.imageio.masks import on_grid_of  # opens no file, but stands beside what does

    return on_grid_of(Path("in memory"), mask, image).array


def start_array(start: Volume | Percent | npt.NDArray[np.bool_], image: Volume) -> npt.NDArray[np.bool_] | Percent:
    """A start on the grid of the image: True inside for a mask, hundredths for a probability. Raises GeometryError."""
    if isinstance(start, Volume):
        mask: npt.NDArray[np.bool_] = array_on_grid(start, image) != 0
        return mask
    if start.shape != image.shape:
        raise GeometryError(f"image is {image.shape} voxels but the start is {start.shape}; resample it first")
    if start.dtype not in (np.bool_, np.uint8):
        raise GeometryError(f"the start is {start.dtype}; give a bool mask or uint8 hundredths from 1 to 99")
    return start
