"""What comes in from outside: points and masks, checked against the grid of the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import ClickError, GeometryError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.session.jobs import Point
from medseg_rl.volume import Volume, corner_distance

SAME_GRID = 0.1  # of the smallest spacing, between corner voxel centres


def clicks_at(image: Volume, points: Sequence[tuple[Point, ClickLabel]]) -> tuple[Click, ...]:
    """RAS+ millimetres to clicks on the nearest voxel, file order. Raises ClickError outside the volume."""
    clicks = []
    for point, label in points:
        if not np.isfinite(point).all():
            raise ClickError(f"the click at {_mm(point)} mm has no finite position")
        nearest = np.floor(image.world_to_index(point) + 0.5)
        if (nearest < 0).any() or (nearest >= image.shape).any():
            raise ClickError(
                f"the click at {_mm(point)} mm lies outside the volume {_extent(image)}; use RAS+ millimetres"
            )
        i, j, k = (int(n) for n in nearest)
        clicks.append(Click((i, j, k), ClickLabel(label)))
    return tuple(clicks)


def checked_inside(image: Volume, clicks: Sequence[Click]) -> tuple[Click, ...]:
    """The same clicks. Raises ClickError when a voxel index lies outside the volume."""
    for click in clicks:
        if not all(0 <= i < n for i, n in zip(click.index, image.shape, strict=True)):
            raise ClickError(f"the click at voxel {click.index} lies outside the volume of {image.shape} voxels")
    return tuple(clicks)


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


def _mm(point: npt.ArrayLike) -> str:
    return "(" + ", ".join(f"{v:.1f}" for v in np.asarray(point, dtype=np.float64)) + ")"


def _extent(image: Volume) -> str:
    ends = image.index_to_world(
        [[i, j, k] for i in (0, image.shape[0] - 1) for j in (0, image.shape[1] - 1) for k in (0, image.shape[2] - 1)]
    )
    low, high = ends.min(axis=0), ends.max(axis=0)
    return f"from {_mm(low)} to {_mm(high)} mm"
