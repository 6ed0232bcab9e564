"""What comes in from outside: points and masks, checked against the grid of the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import ClickError, GeometryError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.refiner import Percent
from medseg_rl.session.jobs import Point
from medseg_rl.volume import Volume, corner_distance, corner_indices

SAME_GRID = 0.1  # of the smallest spacing, between corner voxel centres


def as_point(point_mm: npt.ArrayLike) -> Point:
    """Three numbers as a point. Raises ClickError when they are none."""
    point = np.asarray(point_mm, dtype=np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise ClickError(f"a click needs three finite millimetres, not {np.asarray(point_mm).tolist()}")
    x, y, z = (float(v) for v in point)
    return x, y, z


def voxel_clicks(image: Volume, clicks: Sequence[Click | tuple[Point, ClickLabel]]) -> tuple[Click, ...]:
    """Clicks by voxel, or by (RAS+ millimetres, label), as clicks on the nearest voxel in file order.

    Raises ClickError when one lies outside the volume.
    """
    return tuple(_inside(image, c) if isinstance(c, Click) else _nearest(image, *c) for c in clicks)


def _inside(image: Volume, click: Click) -> Click:
    if not all(0 <= i < n for i, n in zip(click.index, image.shape, strict=True)):
        raise ClickError(f"the click at voxel {click.index} lies outside the volume of {image.shape} voxels")
    return click


def _nearest(image: Volume, point: Point, label: ClickLabel) -> Click:
    nearest = np.floor(image.world_to_index(point) + 0.5)
    if (nearest < 0).any() or (nearest >= image.shape).any():
        raise ClickError(f"the click at {_mm(point)} mm RAS+ lies outside the volume, which spans {_extent(image)}")
    i, j, k = (int(n) for n in nearest)
    return Click((i, j, k), ClickLabel(label))


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


def _mm(point: npt.ArrayLike) -> str:
    return "(" + ", ".join(f"{v:.1f}" for v in np.asarray(point, dtype=np.float64)) + ")"


def _extent(image: Volume) -> str:
    corners = image.index_to_world(corner_indices(image.shape))
    return f"{_mm(corners.min(axis=0))} to {_mm(corners.max(axis=0))}"
