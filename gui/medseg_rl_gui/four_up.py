"""The four panes: three planes and 3D, how they are laid out, maximised and linked. Emits what its views emit.

Shows one `ViewModel` in all planes; crosshair and slices are linked through it, zoom here. Holds no session.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QGridLayout, QWidget

from medseg_rl.volume import Box
from medseg_rl_gui.slice_geometry import PLANES, Plane
from medseg_rl_gui.slice_view import SliceView
from medseg_rl_gui.view_model import SlicePointer, ViewModel

PaneName = Literal["axial", "coronal", "sagittal", "surface"]
Cell = tuple[int, int, int, int]  # row, column, rows, columns

PANES: tuple[PaneName, ...] = ("axial", "surface", "coronal", "sagittal")


class Arrangement(StrEnum):
    """How the panes are laid out, in the order in which they follow each other."""

    FOUR = "four-up"
    THREE_AND_ONE = "3+1"
    SINGLE = "single"


class FourUp(QWidget):
    """All views of a case. Signals are those of `SliceView`; `arranged` says that panes were shown or hidden.

    `surface` is the pane for 3D, given by the caller; where it has a signal `maximise_requested` it is maximised too.
    """

    pressed = Signal(object)
    moved = Signal(object)
    released = Signal(object)
    scrolled = Signal(object, int)
    left = Signal(str)
    slice_chosen = Signal(str, int)
    menu_requested = Signal(object, object)
    arranged = Signal()

    def __init__(self, surface: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.views: dict[Plane, SliceView] = {plane: SliceView(plane) for plane in PLANES}
        self.surface = surface
        self.arrangement = Arrangement.FOUR
        self.maximised: PaneName | None = None
        self.zoom_linked = True
        self._active: PaneName = "axial"
        self._large: PaneName = "axial"
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(2)
        self._connect()
        self._arrange()

    def _connect(self) -> None:
        for view in self.views.values():
            view.pressed.connect(self._activated)
            view.pressed.connect(self.pressed)
            view.moved.connect(self._hovered)
            view.moved.connect(self.moved)
            view.released.connect(self.released)
            view.scrolled.connect(self.scrolled)
            view.left.connect(self.left)
            view.slice_chosen.connect(self.slice_chosen)
            view.menu_requested.connect(self.menu_requested)
            view.maximise_requested.connect(self.toggle_maximised)
            view.zoomed.connect(self._link_zoom)
        if hasattr(self.surface, "maximise_requested"):
            self.surface.maximise_requested.connect(lambda *_: self.toggle_maximised("surface"))

    def show_model(self, model: ViewModel, changed: Box | None = None) -> None:
        """Paints a model in all planes; `changed` as in `SliceView`."""
        for view in self.views.values():
            view.show_model(model, changed)

    # --- which view is meant ------------------------------------------------------------------------------------------

    @property
    def active(self) -> PaneName:
        """The pane that keys go to: the one under the pointer last, and seen."""
        shown = self.shown
        return self._active if self._active in shown else shown[0]

    @property
    def active_view(self) -> SliceView:
        """The slice view that keys go to; with 3D alone on the screen, the axial one."""
        active = self.active
        return self.views["axial" if active == "surface" else active]

    def activate(self, pane: PaneName) -> None:
        """Says which pane keys go to."""
        self._active = pane

    def _hovered(self, pointer: SlicePointer) -> None:
        if not pointer.held:
            self._active = pointer.plane

    def _activated(self, pointer: SlicePointer) -> None:
        self._active = pointer.plane

    # --- layout -------------------------------------------------------------------------------------------------------

    @property
    def shown(self) -> tuple[PaneName, ...]:
        """The panes on the screen."""
        return tuple(self._cells())

    def arrange(self, arrangement: Arrangement) -> None:
        """Takes a layout; a maximised pane is restored."""
        self._large = self.active  # large, or alone, is the pane in use
        self.arrangement, self.maximised = arrangement, None
        self._arrange()

    def cycle(self) -> None:
        """Four-up, 3+1, single, and round again."""
        order = list(Arrangement)
        self.arrange(order[(order.index(self.arrangement) + 1) % len(order)])

    def toggle_maximised(self, pane: PaneName | None = None) -> None:
        """One pane (else the active one) alone, or all of them back."""
        if self.maximised is None:
            self.maximised = self._active = pane or self.active
        else:
            self.maximised = None
        self._arrange()

    def _cells(self) -> dict[PaneName, Cell]:
        if self.maximised is not None:
            return {self.maximised: (0, 0, 1, 1)}
        if self.arrangement is Arrangement.SINGLE:
            return {self._large: (0, 0, 1, 1)}
        if self.arrangement is Arrangement.FOUR:
            return {pane: (i // 2, i % 2, 1, 1) for i, pane in enumerate(PANES)}
        others = [pane for pane in PANES if pane != self._large]
        return {self._large: (0, 0, 3, 1), **{pane: (row, 1, 1, 1) for row, pane in enumerate(others)}}

    def _arrange(self) -> None:
        cells = self._cells()
        focused = self.focusWidget()
        for pane in PANES:
            self._grid.removeWidget(self._widget(pane))
        for pane in PANES:
            widget = self._widget(pane)
            if pane in cells:
                self._grid.addWidget(widget, *cells[pane])
            widget.setVisible(pane in cells)
        self._stretch(cells)
        if focused is not None and not focused.isVisibleTo(self):
            self.active_view.canvas.setFocus()
        self.arranged.emit()

    def _stretch(self, cells: dict[PaneName, Cell]) -> None:
        """Shares the room: halves, or the large pane of 3+1 over the three small ones."""
        for place in range(3):
            self._grid.setRowStretch(place, int(any(row <= place < row + n for row, _, n, _ in cells.values())))
            self._grid.setColumnStretch(place, int(any(column == place for _, column, _, _ in cells.values())))
        if len(cells) > 1 and self.arrangement is Arrangement.THREE_AND_ONE:
            self._grid.setColumnStretch(0, 5)
            self._grid.setColumnStretch(1, 2)

    def _widget(self, pane: PaneName) -> QWidget:
        return self.surface if pane == "surface" else self.views[pane]

    # --- zoom ---------------------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """The whole slice in every view."""
        for view in self.views.values():
            view.fit()

    def centre_on_crosshair(self) -> None:
        """The crosshair in the middle of every view."""
        for view in self.views.values():
            view.centre_on_crosshair()

    def _link_zoom(self, plane: Plane, factor: float) -> None:
        """Zooms the other planes by as much."""
        for view in self.views.values():
            if self.zoom_linked and view.plane != plane:
                view.follow_zoom(factor)
