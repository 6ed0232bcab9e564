"""The tools as small state machines: points of a slice in, an outcome when they are done. No Qt, no session.

`Navigate` and `Point` draw nothing: for them a click is all. The others are given the strokes of the pointer, show a
sketch meanwhile, and end in an operation of `medseg_rl.editing`, in a scribble, or in a box that limits the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medseg_rl.editing import Brush, FillBox, Lasso, Operation, Plane, Threshold
from medseg_rl_gui.slice_geometry import Point, SliceGeometry
from medseg_rl_gui.view_model import Sketch, SketchKind, SlicePointer

SMALLEST_MM, LARGEST_MM = 0.2, 100.0
APART_PIXELS = 1.0  # a drawn line needs no points nearer than this

BoxUse = Literal["limit", "fill"]


@dataclass(frozen=True)
class ToolSettings:
    """How tools draw. Lengths in mm. `sphere`: the brush is a ball, not a disc in its slice. `box_use`: a box limits
    where the model works, or is filled. `slices`: first and last slice index for box and lasso; None: one slice alone.
    `threshold`: writes only where the intensity is inside.
    """

    radius_mm: float = 4.0
    sphere: bool = False
    threshold: Threshold | None = None
    box_use: BoxUse = "limit"
    slices: tuple[int, int] | None = None


@dataclass(frozen=True)
class Scribbled:
    """A line of hints of one sign, in the slice of its first point."""

    points: tuple[Point, ...]
    positive: bool
    plane: Plane


@dataclass(frozen=True)
class Limit:
    """A box between two corners that limits where the model works; `plane`: on that slice alone."""

    corner: Point
    other: Point
    plane: Plane | None


Outcome = Operation | Scribbled | Limit


@dataclass
class Drawing:
    """What is being drawn with one tool: points in world mm, on one slice."""

    tool: str
    pointer: SlicePointer
    erase: bool
    settings: ToolSettings
    points: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.points = self.points or [self.pointer.world]

    @property
    def plane(self) -> Plane:
        """In which it is drawn."""
        return self.pointer.plane

    @property
    def paints(self) -> bool:
        """Whether each sample is painted at once, not sketched."""
        return self.tool in ("brush", "eraser")

    def extend(self, pointer: SlicePointer) -> list[Point]:
        """Goes on to another place; the newest part of the way, empty where it is too near to the last."""
        if pointer.plane != self.plane:
            return []
        last = self.points[-1]
        if np.linalg.norm(np.subtract(pointer.world, last)) * pointer.scale < APART_PIXELS:
            return []
        if self.tool == "box":
            self.points[1:] = [pointer.world]
        else:
            self.points.append(pointer.world)
        return [last, pointer.world]

    def back(self) -> bool:
        """Takes the last point away; False when none is left."""
        self.points.pop()
        return bool(self.points)

    def sketch(self) -> Sketch | None:
        """What to show meanwhile; None for what is painted at once."""
        if self.paints:
            return None
        kind: SketchKind = "lasso" if self.tool == "lasso" else "box" if self.tool == "box" else "scribble"
        points = np.asarray(self.points, np.float64)
        whole = self.tool == "box" and self.settings.slices is not None
        return Sketch(kind, self.plane, self.pointer.slice_index, points, not self.erase, through=whole)

    def outcome(self, geometry: SliceGeometry) -> Outcome | None:
        """What it comes to; None for what is too little: a box without a side, a lasso of two points."""
        settings, points = self.settings, tuple(self.points)
        if self.paints:
            plane = None if settings.sphere else self.plane
            return Brush(points, settings.radius_mm, plane, self.erase, settings.threshold)
        if self.tool == "scribble":
            return Scribbled(points, not self.erase, self.plane)
        if self.tool == "box":
            return self._box(geometry)
        if self.tool == "lasso" and len(points) >= 3:
            ends = None if settings.slices is None else self._slice_ends(geometry, settings.slices)
            return Lasso(points, self.plane, ends, self.erase, settings.threshold)
        return None

    def _box(self, geometry: SliceGeometry) -> Outcome | None:
        if len(self.points) < 2:
            return None
        corner, other, plane = self.points[0], self.points[1], self.settings.slices is None
        if self.settings.slices is not None:
            first, last = self.settings.slices
            corner, other = _on_slice(geometry, corner, first), _on_slice(geometry, other, last)
        limited = self.plane if plane else None
        if self.settings.box_use == "limit":
            return Limit(corner, other, limited)
        return FillBox(corner, other, limited, self.erase, self.settings.threshold)

    def _slice_ends(self, geometry: SliceGeometry, slices: tuple[int, int]) -> tuple[Point, Point]:
        first, last = slices
        return _on_slice(geometry, self.points[0], first), _on_slice(geometry, self.points[0], last)


def _on_slice(geometry: SliceGeometry, point: Point, index: int) -> Point:
    """A world point moved along the voxel axis onto a slice."""
    at = geometry.world_to_index(point)
    at[geometry.axes[0]] = min(max(index, 0), geometry.slices - 1)
    x, y, z = (float(v) for v in geometry.index_to_world(at))
    return x, y, z


def stepped_radius(radius_mm: float, steps: int) -> float:
    """A brush radius some steps larger or smaller, each about a tenth, at tenths of a millimetre."""
    for _ in range(abs(steps)):
        step = max(0.1, round(radius_mm * 0.1, 1))
        radius_mm = round(radius_mm + (step if steps > 0 else -step), 1)
    return min(max(radius_mm, SMALLEST_MM), LARGEST_MM)
