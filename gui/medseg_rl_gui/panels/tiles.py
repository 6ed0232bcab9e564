"""Linked tiles: what several refinements would look like, side by side on the slice that the views show.

Each is a slice canvas of its own, so that sides, zoom and marks are those of the views. They take no keyboard. Emits
what was meant: `chosen` a tile, `peeked` one under the pointer, `scrolled` the wheel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QEnterEvent, QMouseEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from medseg_rl.volume import Box
from medseg_rl_gui.slice_canvas import SliceCanvas
from medseg_rl_gui.slice_geometry import Placement, Plane
from medseg_rl_gui.view_model import ProposalView, SlicePointer, ViewModel

MARGIN_MM = 12.0  # around what differs, so that its surroundings are seen
TALLEST, SMALLEST = 220, 96


@dataclass(frozen=True)
class Caption:
    """What stands above a tile. `mark`: what was said of it so far, such as its rank; `strong`: it is the best."""

    name: str
    mark: str = ""
    strong: bool = False


class Tile(QFrame):
    """One of them. `region`: voxels of the file that it shows."""

    chosen = Signal()
    peeked = Signal(bool)
    scrolled = Signal(object, int)

    def __init__(self, plane: Plane, proposal: ProposalView, region: Box) -> None:
        super().__init__()
        self.proposal, self._region = proposal, region
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.name, self.mark = QLabel(), QLabel()
        self.canvas = SliceCanvas(plane)
        self.canvas.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.canvas.setMinimumSize(60, 60)
        self.canvas.has_scale_bar = False
        self.canvas.setCursor(Qt.CursorShape.PointingHandCursor)
        self.canvas.pressed.connect(self._pressed)
        self.canvas.scrolled.connect(self.scrolled)
        row = QHBoxLayout()
        row.setContentsMargins(4, 0, 4, 0)
        row.addWidget(self.name)
        row.addStretch(1)
        row.addWidget(self.mark)
        column = QVBoxLayout(self)
        column.setContentsMargins(1, 1, 1, 1)
        column.setSpacing(1)
        column.addLayout(row)
        column.addWidget(self.canvas, 1)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def say(self, caption: Caption) -> None:
        """Its name and what was said of it."""
        self.name.setText(caption.name)
        self.mark.setText(caption.mark)
        font = self.mark.font()
        font.setBold(caption.strong)
        self.mark.setFont(font)
        self.canvas.setAccessibleName(" ".join(part for part in (caption.name, caption.mark) if part))

    def show_model(self, view: ViewModel) -> None:
        """On the slice of the views, with its own proposal."""
        own = view.changing(proposal=self.proposal, balls=(), sketches=(), crosshair_shown=False)
        self.canvas.show_model(own)
        self._place()

    def _place(self) -> None:
        """Zooms to the region, in the middle."""
        geometry = self.canvas.geometry_shown
        if geometry is None:
            return
        low, high = np.asarray(self._region.start), np.asarray(self._region.stop) - 1
        corners = [geometry.world_to_plane(geometry.index_to_world(corner)) for corner in (low, high)]
        first, last = np.min(corners, axis=0) - MARGIN_MM, np.max(corners, axis=0) + MARGIN_MM
        size = np.maximum([self.canvas.width(), self.canvas.height()], 1)
        x, y = (float(v) for v in (first + last) / 2)
        whole = Placement.fitting(geometry, (float(size[0]), float(size[1])))
        scale = max(float((size / (last - first)).min()), whole.scale)
        self.canvas.place(Placement(scale, (x, y), (float(size[0]), float(size[1]))))

    def _pressed(self, pointer: SlicePointer) -> None:
        self.chosen.emit()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self.chosen.emit()

    def enterEvent(self, event: QEnterEvent) -> None:  # noqa: N802
        self.peeked.emit(True)

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        self.peeked.emit(False)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        super().resizeEvent(event)
        self._place()


class Tiles(QWidget):
    """Two in a row. `chosen`: number of a tile from 0. `peeked`: that under the pointer, or None."""

    chosen = Signal(int)
    peeked = Signal(object)
    scrolled = Signal(object, int)

    def __init__(self) -> None:
        super().__init__()
        self.tiles: tuple[Tile, ...] = ()
        self._proposals: tuple[ProposalView, ...] = ()
        self._captions: tuple[Caption, ...] = ()
        self._plane: Plane | None = None
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        self.hide()

    def show_all(self, proposals: Sequence[ProposalView], captions: Sequence[Caption], plane: Plane) -> None:
        """Other tiles; none hides them."""
        for tile in self.tiles:
            tile.hide()
            tile.deleteLater()
        self._proposals, self._plane = tuple(proposals), plane
        region = _together(proposals)
        self.tiles = tuple(Tile(plane, proposal, region) for proposal in proposals)
        for number, tile in enumerate(self.tiles):
            tile.chosen.connect(lambda number=number: self.chosen.emit(number))
            tile.peeked.connect(lambda on, number=number: self.peeked.emit(number if on else None))
            tile.scrolled.connect(self.scrolled)
            self._grid.addWidget(tile, number // 2, number % 2)
        self._size()
        self.setVisible(bool(self.tiles))
        self.say(captions)

    def show_view(self, view: ViewModel, plane: Plane) -> None:
        """The slice that the views show, in the plane of the active one."""
        if view.image is None or not self.tiles:
            return
        if plane != self._plane:
            self.show_all(self._proposals, self._captions, plane)
        for tile in self.tiles:
            tile.show_model(view)

    def say(self, captions: Sequence[Caption]) -> None:
        """What stands above them now."""
        self._captions = tuple(captions)
        for tile, caption in zip(self.tiles, captions, strict=True):
            tile.say(caption)

    def _size(self) -> None:
        """As high as wide, within limits."""
        height = min(max((self.width() - 4) // 2, SMALLEST), TALLEST)
        for tile in self.tiles:
            tile.setFixedHeight(height + tile.fontMetrics().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        super().resizeEvent(event)
        self._size()


def _together(proposals: Sequence[ProposalView]) -> Box:
    """The box of all voxels inside any of them; that of the proposals themselves where there are none."""
    found: Box | None = None
    for proposal in proposals:
        tight = Box.around_mask(proposal.inside)
        if tight is not None:
            box = tight.shifted(proposal.box.start)
            found = box if found is None else found.union(box)
    return found or (proposals[0].box if proposals else Box((0, 0, 0), (1, 1, 1)))
