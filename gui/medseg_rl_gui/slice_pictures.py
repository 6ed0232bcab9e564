"""The pictures of the slice a view shows, kept until something in them changes: grey image, label overlay, outlines.

Qt images over NumPy buffers. Decides what is stale and how little must be painted again; places nothing on the screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from PySide6.QtCore import QPointF, QRect, Qt
from PySide6.QtGui import QColor, QImage, QPainterPath, QPolygonF

from medseg_rl.labels import default_colour
from medseg_rl.volume import Box
from medseg_rl_gui.slice_geometry import SliceGeometry
from medseg_rl_gui.slice_painting import (
    ColourTable,
    PlaneArray,
    blend_labels,
    blend_part,
    contours,
    gathered,
    inside_label,
    label_planes,
    opaque,
    part_of,
    plane_array,
    proposal_plane,
    renew_part,
    values_on,
    windowed,
)
from medseg_rl_gui.view_model import Mask, ViewModel

FAINTEST_OUTLINE = 0.4  # an outline covers so little that it needs more than a filling's opacity


@dataclass(frozen=True, eq=False)
class ProposalPaths:
    """One slice of a proposal in voxel edges (columns, rows), and the colour of its label."""

    colour: QColor
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
        self._plane: PlaneArray | None = None  # the voxels of the image, fetched once for all grey levels
        self._grey: _Picture | None = None
        self._planes: list[PlaneArray] | None = None  # the same of the label layers
        self._labels: _Picture | None = None
        self._outlines: list[tuple[QColor, QPainterPath]] | None = None
        self._proposal: ProposalPaths | None = None

    def show(self, model: ViewModel, geometry: SliceGeometry | None, changed: Box | None) -> QRect | None:
        """Takes the next model. Gives the columns and rows in which the pictures changed, None for all of them."""
        before, self._model = self._model, model
        moved = geometry is not self._geometry or (geometry is not None and self._index != _index_of(model, geometry))
        self._geometry = geometry
        if geometry is None:
            self._plane = self._grey = None
            self._forget_labels()
            return None
        self._index = _index_of(model, geometry)
        if moved or model.image is not before.image:
            self._plane = self._grey = None
        if model.window != before.window:
            self._grey = None
        if moved or _labels_differ(before, model):
            self._forget_labels()
            return None
        if model.proposal is not before.proposal:
            self._proposal = None
        part = self._written(model, geometry, changed)
        if self._grey is None or model.smooth != before.smooth or model.proposal is not before.proposal:
            return None
        return None if model.proposal is not None and not part.isEmpty() else part  # its dashes run along all of it

    def _forget_labels(self) -> None:
        self._planes = self._labels = self._outlines = self._proposal = None

    @property
    def _label_planes(self) -> list[PlaneArray]:
        if self._planes is None:
            self._planes = label_planes(self._model.layers, self._shown.axes, self._index)
        return self._planes

    def _written(self, model: ViewModel, geometry: SliceGeometry, changed: Box | None) -> QRect:
        """Renews what voxels written in place changed; tells where that is."""
        part = None if changed is None else part_of(changed, geometry.axes, self._index)
        if part is None:
            return QRect()
        self._outlines = self._proposal = None
        if self._planes is not None:
            renew_part(self._planes, part, model.layers, geometry.axes, self._index)
        if self._labels is not None:
            table = ColourTable.of(model.labels, model.overlay)
            blend_part(self._labels.buffer, part, self._label_planes, table)
        rows, columns = part
        return QRect(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)

    @property
    def grey(self) -> QImage:
        """The windowed slice."""
        geometry = self._shown
        if self._grey is None and self._model.image is not None:
            if self._plane is None:
                self._plane = gathered(plane_array(self._model.image.array, geometry.axes, self._index))
            buffer = opaque(windowed(self._plane, self._model.window))
            self._grey = _picture(buffer, QImage.Format.Format_RGB32)
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
            self._labels = _picture(blend_labels(self._label_planes, table), QImage.Format.Format_ARGB32_Premultiplied)
        return self._labels.image

    @property
    def outlines(self) -> list[tuple[QColor, QPainterPath]]:
        """Colour and contour of each label, where labels are shown as outlines."""
        model = self._model
        if not model.layers or not model.overlay.visible or not model.overlay.outline:
            return []
        if self._outlines is None:
            planes = self._label_planes
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
            plane = proposal_plane(model.proposal, self._label_planes, self._shown.axes, self._index)
            paths = (path_of(mask) for mask in (plane.inside, plane.added, plane.removed))
            self._proposal = ProposalPaths(self._colour_of(model.proposal.label), *paths)
        return self._proposal

    def _colour_of(self, label: int) -> QColor:
        labels = self._model.labels
        return QColor(*(labels[label].colour if label in labels else default_colour(label)))

    @property
    def smooth(self) -> bool:
        """Whether the image is interpolated; labels never are."""
        return self._model.smooth

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
