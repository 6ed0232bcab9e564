"""What the views paint, as values: the controller makes a new `ViewModel`, the views show it. No Qt, no session.

Arrays are in the order of the file and may be written in place; who does so names the changed box when showing again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg_rl.labels import LabelMap
from medseg_rl.volume import Box, Index, Volume
from medseg_rl_gui.slice_geometry import PLANES, Convention, Plane, Point, ScreenPoint, SliceGeometry

Mask = npt.NDArray[np.bool_]


class Button(StrEnum):
    """A mouse button or the tip of a pen (left)."""

    LEFT = "left"
    MIDDLE = "middle"
    RIGHT = "right"


class Modifier(StrEnum):
    """A key held with the mouse."""

    SHIFT = "shift"
    CTRL = "ctrl"
    ALT = "alt"


@dataclass(frozen=True)
class SlicePointer:
    """The mouse or pen over a slice, taken when it happened.

    `screen`: device-independent pixels in the view. `world`: RAS+ mm on the slice, beside the image too. `index`: the
    voxel there, None beside the image. `button`: the one pressed or released; None for a movement or the wheel.
    `held`: buttons down after it. `pressure`: 0 to 1 of a pen, 1 for a mouse. `scale`: pixels a mm.
    """

    plane: Plane
    slice_index: int
    screen: ScreenPoint
    world: Point
    index: Index | None
    button: Button | None = None
    held: frozenset[Button] = frozenset()
    modifiers: frozenset[Modifier] = frozenset()
    pressure: float = 1.0
    scale: float = 1.0


@dataclass(frozen=True)
class Window:
    """Grey levels: black at `level - width / 2`, white at `level + width / 2`."""

    width: float
    level: float


@dataclass(frozen=True)
class Overlay:
    """How labels are painted. `opacity`: 0 to 1. `hidden`: values of labels whose eye is closed."""

    visible: bool = True
    outline: bool = False
    opacity: float = 0.5
    hidden: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class ProposalView:
    """A result shown but not yet written. `inside`: True in the proposal, an array over `box`; elsewhere it equals the
    accepted mask of its label."""

    label: int
    box: Box
    inside: Mask


@dataclass(frozen=True)
class ClickMark:
    """A click to mark: plus in a circle, or minus in a square. `settled`: of a proposal accepted before."""

    index: Index
    positive: bool
    settled: bool = False
    selected: bool = False


@dataclass(frozen=True)
class Ball:
    """A ball in the world whose cut with a slice is drawn as a circle; dashed for a suggestion, thin for the guard."""

    centre: Point
    radius_mm: float
    dashed: bool = False


SketchKind = Literal["scribble", "lasso", "box"]


@dataclass(frozen=True, eq=False)
class Sketch:
    """What a tool is drawing and has not done yet: world points (n, 3), drawn on one slice, or on all if `through`."""

    kind: SketchKind
    plane: Plane
    slice_index: int
    points: npt.NDArray[np.float64]
    positive: bool = True
    closed: bool = False
    through: bool = False


PointerShape = Literal["arrow", "cross", "blocked", "brush", "hand"]


@dataclass(frozen=True)
class PointerLook:
    """The mouse pointer over a view. `radius_mm`: of the brush. `positive`: whether a press adds."""

    shape: PointerShape = "arrow"
    radius_mm: float = 0.0
    positive: bool = True


@dataclass(frozen=True)
class Slices:
    """Which slice each plane shows: index along its array axis, from 0."""

    axial: int = 0
    coronal: int = 0
    sagittal: int = 0

    def __getitem__(self, plane: Plane) -> int:
        return int(getattr(self, plane))

    def having(self, plane: Plane, index: int) -> Slices:
        """With another slice in one plane."""
        changes: dict[str, int] = {plane: index}
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class ViewModel:
    """All that a slice view paints. `layers`: label arrays (file order), painted in order; `labels` names their values.

    `crosshair`: RAS+ mm. `smooth`: linear interpolation of the image; labels are never interpolated.
    """

    image: Volume | None = None
    window: Window = Window(400.0, 40.0)
    layers: tuple[npt.NDArray[Any], ...] = ()
    labels: LabelMap = field(default_factory=LabelMap)
    overlay: Overlay = Overlay()
    active_label: int = 1
    proposal: ProposalView | None = None
    clicks: tuple[ClickMark, ...] = ()
    balls: tuple[Ball, ...] = ()
    sketches: tuple[Sketch, ...] = ()
    crosshair: Point | None = None
    crosshair_shown: bool = True
    slices: Slices = Slices()
    convention: Convention = "radiological"
    smooth: bool = True
    pointer: PointerLook = PointerLook()

    def geometry(self, plane: Plane) -> SliceGeometry:
        """That of one plane; there must be an image."""
        if self.image is None:
            raise ValueError("there is no image, so there are no slices")
        return SliceGeometry.of(self.image, plane, self.convention)

    def changing(self, **changes: Any) -> ViewModel:
        """With other values in some fields."""
        return replace(self, **changes)

    def at(self, world: Point, planes: Iterable[Plane] = PLANES) -> ViewModel:
        """With the crosshair at a world point and, in those planes, the slices through it."""
        slices = self.slices
        for plane in planes:
            slices = slices.having(plane, self.geometry(plane).slice_at(world))
        return replace(self, crosshair=world, slices=slices)

    def in_middle(self) -> ViewModel:
        """With crosshair and slices in the middle of the image."""
        if self.image is None:
            return self
        x, y, z = (float(v) for v in self.image.index_to_world((np.asarray(self.image.shape) - 1) // 2))
        return self.at((x, y, z))

    def stepped(self, plane: Plane, steps: int) -> ViewModel:
        """Some slices further right, anterior or superior (negative: back), held at the ends; no other plane moves."""
        geometry = self.geometry(plane)
        return self.on_slice(plane, self.slices[plane] + steps * geometry.forward)

    def on_slice(self, plane: Plane, index: int) -> ViewModel:
        """With a slice of one plane, held at the ends; the crosshair comes along across the slices."""
        geometry = self.geometry(plane)
        index = min(max(index, 0), geometry.slices - 1)
        if index == self.slices[plane]:
            return self
        return replace(self, slices=self.slices.having(plane, index), crosshair=self._carried(geometry, index))

    def _carried(self, geometry: SliceGeometry, index: int) -> Point | None:
        if self.crosshair is None:
            return None
        moved = geometry.world_to_index(self.crosshair)
        moved[geometry.axes[0]] = index
        x, y, z = (float(v) for v in geometry.index_to_world(moved))
        return x, y, z
