"""What is drawn by hand, as values that can be journalled and done again: brush, eraser, lasso, box, region grown.

Points are RAS+ mm and planes are named after the patient, so that an operation means the same in every axis order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from medseg_rl.editing.checks import as_flag, as_number, as_plane, as_plane_or_none, as_point, as_points
from medseg_rl.editing.context import Edit, EditContext
from medseg_rl.editing.grid import Mask, Plane, Point, in_box
from medseg_rl.editing.outlines import box_between, lasso_mask
from medseg_rl.editing.strokes import stroke_mask
from medseg_rl.editing.threshold import Threshold, check_threshold, connected_to
from medseg_rl.errors import EditError
from medseg_rl.volume import Box

SMALLEST_RADIUS_MM, LARGEST_RADIUS_MM = 0.2, 100.0


def painted(
    context: EditContext, box: Box, where: Mask, *, erase: bool = False, threshold: Threshold | None = None
) -> Edit:
    """The label with the voxels `where` (over `box`) added or erased, those that the threshold allows."""
    if not where.any():
        return Edit.nothing("it covers no voxel of the volume")
    if threshold is not None:
        where = where & threshold.allows(context.intensities(box))
        if not where.any():
            return Edit.nothing("the threshold allows none of its voxels")
    before = context.inside(box)
    return Edit(box, before & ~where if erase else before | where)


@dataclass(frozen=True)
class Brush:
    """A stroke of the brush, or of the eraser. `plane`: a disc in the slice of the first point; None: a ball.

    `points_mm`: the pointer's way; one point paints too. Raises EditError for a radius outside 0.2 to 100 mm.
    """

    points_mm: tuple[Point, ...]
    radius_mm: float
    plane: Plane | None = None
    erase: bool = False
    threshold: Threshold | None = None

    kind: ClassVar[str] = "brush"
    source: ClassVar[str] = "brush"
    is_proposal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "points_mm", as_points(self.points_mm, "stroke"))
        radius = as_number(self.radius_mm, "brush radius in mm", SMALLEST_RADIUS_MM, LARGEST_RADIUS_MM)
        object.__setattr__(self, "radius_mm", radius)
        as_plane_or_none(self.plane)
        as_flag(self.erase, "erase")
        check_threshold(self.threshold)

    @property
    def name(self) -> str:
        """For the undo list."""
        return f"{'Eraser' if self.erase else 'Brush'} {self.radius_mm:g} mm"

    def apply(self, context: EditContext) -> Edit:
        """The label with the stroke painted or erased."""
        box, where = stroke_mask(context.grid, self.points_mm, self.radius_mm, self.plane)
        return painted(context, box, where, erase=self.erase, threshold=self.threshold)


@dataclass(frozen=True)
class Lasso:
    """An outline filled or erased on the slice of its first point, or on a range from slice to slice."""

    points_mm: tuple[Point, ...]
    plane: Plane
    slices_mm: tuple[Point, Point] | None = None
    erase: bool = False
    threshold: Threshold | None = None

    kind: ClassVar[str] = "lasso"
    source: ClassVar[str] = "brush"
    is_proposal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "points_mm", as_points(self.points_mm, "lasso", at_least=3))
        as_plane(self.plane)
        if self.slices_mm is not None:
            ends = as_points(self.slices_mm, "slice range of the lasso", at_least=2)
            if len(ends) != 2:
                raise EditError(f"a slice range has two ends, this one {len(ends)}")
            object.__setattr__(self, "slices_mm", ends)
        as_flag(self.erase, "erase")
        check_threshold(self.threshold)

    @property
    def name(self) -> str:
        """For the undo list."""
        return "Lasso, erase" if self.erase else "Lasso"

    def apply(self, context: EditContext) -> Edit:
        """The label with the outline filled or erased."""
        box, where = lasso_mask(context.grid, self.points_mm, self.plane, self.slices_mm)
        return painted(context, box, where, erase=self.erase, threshold=self.threshold)


@dataclass(frozen=True)
class FillBox:
    """The box between two points filled or erased; with a plane, on the slice of the first point alone."""

    corner_mm: Point
    other_corner_mm: Point
    plane: Plane | None = None
    erase: bool = False
    threshold: Threshold | None = None

    kind: ClassVar[str] = "box"
    source: ClassVar[str] = "brush"
    is_proposal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "corner_mm", as_point(self.corner_mm, "corner of the box"))
        object.__setattr__(self, "other_corner_mm", as_point(self.other_corner_mm, "corner of the box"))
        as_plane_or_none(self.plane)
        as_flag(self.erase, "erase")
        check_threshold(self.threshold)

    @property
    def name(self) -> str:
        """For the undo list."""
        return "Box, erase" if self.erase else "Box"

    def apply(self, context: EditContext) -> Edit:
        """The label with the box filled or erased."""
        box = box_between(context.grid, self.corner_mm, self.other_corner_mm, self.plane)
        return painted(context, box, np.ones(box.shape, np.bool_), erase=self.erase, threshold=self.threshold)


@dataclass(frozen=True)
class GrowRegion:
    """What the seed reaches through faces of voxels within the threshold, no farther than `radius_mm` from it."""

    seed_mm: Point
    threshold: Threshold
    radius_mm: float = 50.0

    kind: ClassVar[str] = "grow_region"
    source: ClassVar[str] = "operation"
    is_proposal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed_mm", as_point(self.seed_mm, "seed"))
        radius = as_number(self.radius_mm, "radius to grow in mm", SMALLEST_RADIUS_MM, LARGEST_RADIUS_MM)
        object.__setattr__(self, "radius_mm", radius)
        check_threshold(self.threshold, needed=True)

    @property
    def name(self) -> str:
        """For the undo list."""
        return "Grow from a seed"

    def apply(self, context: EditContext) -> Edit:
        """The label with the region added. EditError when the seed is outside the volume or the threshold."""
        seed = context.grid.voxel_at(self.seed_mm)
        if seed is None:
            raise EditError("the seed lies outside the volume; place it inside")
        box, ball = stroke_mask(context.grid, [self.seed_mm], self.radius_mm)
        intensities = context.intensities(box)
        allowed = ball & self.threshold.allows(intensities)
        if not allowed[in_box(box, seed)]:
            found = float(intensities[in_box(box, seed)])
            raise EditError(
                f"the seed has intensity {found:g}, which the threshold excludes; widen it or move the seed"
            )
        return painted(context, box, connected_to(allowed, box, seed))
