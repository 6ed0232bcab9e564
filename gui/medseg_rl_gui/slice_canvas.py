"""The painted part of a slice view: a `ViewModel` on the screen. Repaints the changed box alone.

Knows where things are and how they look, not what they are for.
"""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPen, QRegion, QResizeEvent, QTransform
from PySide6.QtWidgets import QSizePolicy, QWidget

from medseg_rl.volume import Box
from medseg_rl_gui.slice_backdrop import SliceBackdrop, Stand, seen_at
from medseg_rl_gui.slice_geometry import Placement, Plane, SliceGeometry
from medseg_rl_gui.slice_input import SliceInput
from medseg_rl_gui.slice_marks import SliceMarks, crosshair_strips
from medseg_rl_gui.slice_pictures import SlicePictures
from medseg_rl_gui.view_model import ViewModel

_CURSORS = {
    "arrow": Qt.CursorShape.ArrowCursor,
    "cross": Qt.CursorShape.CrossCursor,
    "blocked": Qt.CursorShape.ForbiddenCursor,
    "brush": Qt.CursorShape.CrossCursor,
    "hand": Qt.CursorShape.OpenHandCursor,
}
_MARKS = ("clicks", "balls", "sketches", "crosshair_shown", "pointer")  # of a model, drawn over its pictures


class SliceCanvas(SliceInput):
    """Paints one slice and says where the pointer is. Signals as those of `SliceView`."""

    placement_changed = Signal()

    def __init__(self, plane: Plane, parent: QWidget | None = None) -> None:
        super().__init__(plane, parent)
        self.model = ViewModel()
        self.has_scale_bar = True  # not where the picture is too small for it
        self._fitted = True
        self._pictures = SlicePictures()
        self._backdrop = SliceBackdrop(self._pictures)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(80, 80)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    def show_model(self, model: ViewModel, changed: Box | None = None) -> None:
        """Paints another model; `changed` is the box written in place since."""
        before, self.model = self.model, model
        regridded = before.image is not model.image or before.convention != model.convention
        if model.image is None:
            self.geometry_shown = self.placement = None
        elif self.geometry_shown is None or regridded:
            self._regrid(model.geometry(self.plane), same_image=before.image is model.image)
        voxels = self._pictures.show(model, self.geometry_shown, changed)
        self._backdrop.forget(voxels)
        if before.pointer != model.pointer:
            self.setCursor(_CURSORS[model.pointer.shape])
        marks = self._marks_left_and_entered(before)
        if voxels is None or marks is None:
            self.update()
            return
        self.update(marks if voxels.isEmpty() else marks.united(seen_at(voxels, self._texture())))

    def _marks_left_and_entered(self, before: ViewModel) -> QRegion | None:
        """Where what is drawn over the pictures differs between two models of one slice; None for everywhere."""
        model, geometry, placement = self.model, self.geometry_shown, self.placement
        if geometry is None or placement is None or any(getattr(before, n) != getattr(model, n) for n in _MARKS):
            return None
        region = QRegion()
        if before.crosshair == model.crosshair or not model.crosshair_shown:
            return region
        for world in (before.crosshair, model.crosshair):
            strips = None if world is None else crosshair_strips(geometry, placement, world, self._size)
            if strips is None:
                return None
            for strip in strips:
                region += strip
        return region

    def _regrid(self, geometry: SliceGeometry, *, same_image: bool) -> None:
        """Takes other geometry; another image on the grid shown before keeps zoom and pan."""
        shown, self.geometry_shown = self.geometry_shown, geometry
        same_grid = shown is not None and shown.shape == geometry.shape and np.allclose(shown.affine, geometry.affine)
        if not same_grid or same_image or self.placement is None:
            self.fit()

    # --- zoom and pan -------------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """The whole slice in the middle, also when the view is resized later."""
        if self.geometry_shown is not None:
            self.place(Placement.fitting(self.geometry_shown, self._size))
            self._fitted = True

    def place(self, placement: Placement) -> None:
        """Takes zoom and pan."""
        self.placement, self._fitted = placement.resized(self._size), False
        self.update()
        self.placement_changed.emit()

    @property
    def _size(self) -> tuple[float, float]:
        return float(self.width()), float(self.height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        if self.placement is None:
            return
        if self._fitted:
            self.fit()
        else:
            self.place(self.placement.resized(self._size))

    # --- painting -----------------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        if self.geometry_shown is not None and self.placement is not None:
            device = painter.device()
            ratio = 1.0 if device is None else device.devicePixelRatioF()
            self._backdrop.paint(painter, event.region(), Stand(self._texture(), self.size(), ratio))
            self._paint_marks(painter, SliceMarks(painter, self.geometry_shown, self.placement, self.shown_index))
        else:
            painter.fillRect(event.rect(), Qt.GlobalColor.black)
        if self.hasFocus():
            painter.setPen(QPen(self.palette().highlight().color(), 2))
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))

    def _paint_marks(self, painter: QPainter, marks: SliceMarks) -> None:
        model = self.model
        if model.crosshair_shown and model.crosshair is not None:
            marks.crosshair(model.crosshair, self._size)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        marks.balls(model.balls)
        marks.sketches(model.sketches)
        marks.clicks(model.clicks)
        marks.letters(self._size)
        if self.has_scale_bar:
            marks.scale_bar(self._size)
        if self.resting is not None and model.pointer.shape == "brush":
            marks.brush(self.resting, model.pointer)

    def _texture(self) -> QTransform:
        assert self.placement is not None
        assert self.geometry_shown is not None
        return QTransform(*self.placement.texture(self.geometry_shown).tolist())

    @property
    def shown_index(self) -> int:
        assert self.geometry_shown is not None
        return min(max(self.model.slices[self.plane], 0), self.geometry_shown.slices - 1)

    def pointer_moved(self, *places: QPointF | None) -> None:
        """The discs that the brush leaves and enters, no more."""
        if self.placement is None or self.model.pointer.shape != "brush":
            return
        reach = self.model.pointer.radius_mm * self.placement.scale + 4
        for place in places:
            if place is not None:
                self.update(QRectF(place.x() - reach, place.y() - reach, 2 * reach, 2 * reach).toAlignedRect())
