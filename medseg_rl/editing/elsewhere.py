"""Operations that take from elsewhere, from other slices or another label, as values that can be journalled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from medseg_rl.editing.checks import as_plane, as_point, as_whole
from medseg_rl.editing.context import EMPTY, Edit, EditContext
from medseg_rl.editing.grid import Plane, Point, along, one_slice
from medseg_rl.editing.slices import interpolated
from medseg_rl.errors import EditError
from medseg_rl.volume import Box

Operator = Literal["union", "intersection", "difference"]
OPERATORS = ("union", "intersection", "difference")


@dataclass(frozen=True)
class Interpolate:
    """Empty slices between drawn ones of a plane filled by signed distance. Shown as a proposal first."""

    plane: Plane

    kind: ClassVar[str] = "interpolate"
    source: ClassVar[str] = "operation"
    is_proposal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        as_plane(self.plane)

    @property
    def name(self) -> str:
        """For the undo list."""
        return f"Interpolate {self.plane} slices"

    def apply(self, context: EditContext) -> Edit:
        """The label with the gaps filled."""
        box = context.tight()
        if box is None:
            return Edit.nothing(EMPTY)
        mask, axis = context.inside(box), context.grid.axis(self.plane)
        if along(mask, axis).any(axis=(1, 2)).all():
            return Edit.nothing(f"no {self.plane} slice is empty between drawn ones")
        return Edit(box, interpolated(mask, context.grid, axis))


@dataclass(frozen=True)
class CopySlice:
    """What the label holds on the slice at a point, added on the slice `step` further right, anterior or superior.

    A negative step goes the other way. What the label holds there already stays.
    """

    point_mm: Point
    plane: Plane
    step: int = 1

    kind: ClassVar[str] = "copy_slice"
    source: ClassVar[str] = "operation"
    is_proposal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "point_mm", as_point(self.point_mm, "point on the slice"))
        as_plane(self.plane)
        object.__setattr__(self, "step", as_whole(self.step, "step in slices", -10_000, 10_000))

    @property
    def name(self) -> str:
        """For the undo list."""
        return f"Copy {self.plane} slice by {self.step:+d}"

    def apply(self, context: EditContext) -> Edit:
        """The label with the copy added."""
        grid = context.grid
        axis = grid.axis(self.plane)
        at = int(grid.nearest(grid.to_index(self.point_mm))[axis])
        to = at + self.step * grid.direction(axis)
        loose = context.extent(context.value)
        here = None if loose is None else one_slice(loose, axis, at)
        if here is None or here.voxels == 0 or not (drawn := context.inside(here)).any():
            return Edit.nothing("the label holds nothing on this slice")
        shift = [0, 0, 0]
        shift[axis] = to - at
        there = here.shifted((shift[0], shift[1], shift[2]))
        if one_slice(Box.whole(grid.shape), axis, to).voxels == 0:
            return Edit.nothing("there is no further slice")
        return Edit(there, context.inside(there) | drawn)


@dataclass(frozen=True)
class Combine:
    """Union or intersection with another label, or the difference to it."""

    operator: Operator
    other: int

    kind: ClassVar[str] = "combine"
    source: ClassVar[str] = "operation"
    is_proposal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise EditError(f"there is no operator {self.operator!r:.40}; there are {', '.join(OPERATORS)}")
        object.__setattr__(self, "other", as_whole(self.other, "other label", -(2**63), 2**64 - 1))

    @property
    def name(self) -> str:
        """For the undo list."""
        return f"{self.operator.capitalize()} with label {self.other}"

    def apply(self, context: EditContext) -> Edit:
        """The label combined."""
        own, others = context.tight(), context.tight(self.other)
        if self.operator == "union":
            if others is None:
                return Edit.nothing("the other label has no voxel")
            return Edit(others, context.inside(others) | context.read(self.other, others))
        if own is None:
            return Edit.nothing(EMPTY)
        inside, other = context.inside(own), context.read(self.other, own)
        return Edit(own, inside & other if self.operator == "intersection" else inside & ~other)
