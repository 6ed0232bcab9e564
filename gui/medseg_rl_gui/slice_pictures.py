"""The pictures of the slice a view shows, kept until something in them changes: grey image, label overlay, outlines.

Qt images over NumPy buffers. Decides what is stale and how little must be painted again; places nothing on the screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from PySide6.QtCore import QPointF, QRect, Qt
from PySide6.QtGui import QColor, QImage, QPainterPath, QPolygonF

from medseg_rl.volume import Box
from medseg_rl_gui.slice_geometry import SliceGeometry
from medseg_rl_gui.slice_painting import (
    ColourTable,
    Pixels,
    blend_labels,
    blend_part,
    contours,
    inside_label,
    label_planes,
    part_of,
    plane_array,
    proposal_plane,
    values_on,
    windowed,
)
from medseg_rl_gui.view_model import Mask, ViewModel

FAINTEST_OUTLINE = 0.4  # an outline covers so little that it needs more than a filling's opacity


@dataclass(frozen=True, eq=False)
class ProposalPaths:
    """One slice of a proposal in voxel edges (columns, rows)."""

    outline: QPainterPath
    added: QPainterPath
    removed: QPainterPath


@dataclass(eq=False)
class _Picture:
    """An image and the buffer that Qt reads it from."""

    image: QImage
    buffer: npt.NDArray[Any]


class SlicePictures:
    """Pictures of one slice of one model, made when they are first asked for."""

    def __init__(self) -> None:
        self._model = ViewModel()
        self._geometry: SliceGeometry | None = None
        self._index = 0
        self._grey: _Picture | None = None
        self._labels: _Picture | None = None
        self._outlines: list[tuple[QColor, QPainterPath]] | None = None
        self._proposal: ProposalPaths | None = None

    def show(self, model: ViewModel, geometry: SliceGeometry | None, changed: Box | None) -> QRect | None:
        """Takes the next model. Gives columns and rows to paint again where little changed, None for all of it."""
        before, self._model = self._model, model
        moved = geometry is not self._geometry or (geometry is not None and self._index != _index_of(model, geometry))
        self._geometry = geometry
        if geometry is None:
            self._grey = self._labels = self._outlines = self._proposal = None
            return None
        self._index = _index_of(model, geometry)
        if moved or model.image is not before.image or model.window != before.window:
            self._grey = None
        if moved or _labels_differ(before, model):
            self._labels = self._outlines = self._proposal = None
            return None
        if model.proposal is not before.proposal:
            self._proposal = None
        return self._written(before, model, geometry, changed)

    def _written(
        self, before: ViewModel, model: ViewModel, geometry: SliceGeometry, changed: Box | None
    ) -> QRect | None:
        """Renews what voxels written in place changed."""
        part = None if changed is None else part_of(changed, geometry.axes, self._index)
        if part is not None:
            self._outlines = self._proposal = None
            if self._labels is not None:
                table = ColourTable.of(model.labels, model.overlay)
                blend_part(self._labels.buffer, part, model.layers, geometry.axes, self._index, table)
        if changed is None or not _only_voxels_differ(before, model):
            return None
        if part is None:
            return QRect()
        rows, columns = part
        return QRect(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)

    @property
    def grey(self) -> QImage:
        """The windowed slice."""
        geometry = self._shown
        if self._grey is None and self._model.image is not None:
            plane = plane_array(self._model.image.array, geometry.axes, self._index)
            buffer = windowed(plane, self._model.window)
            self._grey = _picture(buffer, QImage.Format.Format_Grayscale8)
        assert self._grey is not None
        return self._grey.image

    @property
    def labels(self) -> QImage | None:
        """The filled labels; None where there are none to see."""
        model = self._model
        if not model.layers or not model.overlay.visible or model.overlay.outline:
            return None
        if self._labels is None:
            table = ColourTable.of(model.labels, model.overlay)
            pixels: Pixels = blend_labels(model.layers, self._shown.axes, self._index, table)
            self._labels = _picture(pixels, QImage.Format.Format_ARGB32_Premultiplied)
        return self._labels.image

    @property
    def outlines(self) -> list[tuple[QColor, QPainterPath]]:
        """Colour and contour of each label, where labels are shown as outlines."""
        model = self._model
        if not model.layers or not model.overlay.visible or not model.overlay.outline:
            return []
        if self._outlines is None:
            planes = label_planes(model.layers, self._shown.axes, self._index)
            present = values_on(planes) - model.overlay.hidden
            shown = [value for value in model.labels.values if value in present]
            self._outlines = [(self._outline_colour(v), path_of(inside_label(planes, v))) for v in shown]
        return self._outlines

    def _outline_colour(self, value: int) -> QColor:
        colour = QColor(*self._model.labels[value].colour)
        colour.setAlphaF(FAINTEST_OUTLINE + (1 - FAINTEST_OUTLINE) * self._model.overlay.opacity)
        return colour

    @property
    def proposal(self) -> ProposalPaths | None:
        """The open proposal on this slice."""
        model = self._model
        if model.proposal is None or not model.layers or not model.overlay.visible:
            return None
        if self._proposal is None:
            plane = proposal_plane(model.proposal, model.layers, self._shown.axes, self._index)
            self._proposal = ProposalPaths(path_of(plane.inside), path_of(plane.added), path_of(plane.removed))
        return self._proposal

    @property
    def _shown(self) -> SliceGeometry:
        assert self._geometry is not None, "nothing is painted without an image"
        return self._geometry


def path_of(inside: Mask) -> QPainterPath:
    """The contours of a plane array in columns and rows; holes stay open."""
    path = QPainterPath()
    path.setFillRule(Qt.FillRule.OddEvenFill)
    for contour in contours(inside):
        path.addPolygon(QPolygonF([QPointF(x, y) for x, y in contour.tolist()]))
        path.closeSubpath()
    return path


def _picture(buffer: npt.NDArray[Any], layout: QImage.Format) -> _Picture:
    rows, columns = buffer.shape
    return _Picture(QImage(buffer.data, columns, rows, buffer.strides[0], layout), buffer)


def _index_of(model: ViewModel, geometry: SliceGeometry) -> int:
    return min(max(model.slices[geometry.plane], 0), geometry.slices - 1)


def _labels_differ(before: ViewModel, after: ViewModel) -> bool:
    same_arrays = len(before.layers) == len(after.layers) and all(
        _same_array(a, b) for a, b in zip(before.layers, after.layers, strict=True)
    )
    return not same_arrays or before.labels != after.labels or before.overlay != after.overlay


def _same_array(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Whether two arrays are views of the same voxels in the same order; both are alive, so no memory was reused."""
    if one is other:
        return True
    return (one.ctypes.data, one.shape, one.strides, one.dtype) == (
        other.ctypes.data,
        other.shape,
        other.strides,
        other.dtype,
    )


_PLACED = ("window", "clicks", "balls", "sketches", "crosshair", "crosshair_shown", "slices", "convention", "smooth")


def _only_voxels_differ(before: ViewModel, after: ViewModel) -> bool:
    """Whether nothing but voxels written in place sets two models apart. A proposal's dashes run along all of it."""
    if before.image is not after.image or before.proposal is not None or after.proposal is not None:
        return False
    return all(getattr(before, name) == getattr(after, name) for name in _PLACED)
