"""What lies below the marks of a slice view, kept as one picture of the size of the view: voxels, labels, outlines.

A crosshair, a brush or a click that moves over it costs a copy of some pixels, not another scaling of the slice.
"""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QImage, QPainter, QPainterPath, QRegion, QTransform

from medseg_rl_gui.slice_marks import INK, SHADE, bands, cosmetic_pen
from medseg_rl_gui.slice_pictures import ProposalPaths, SlicePictures

EDGE = 4  # pixels by which outlines reach over the voxels that they surround
ADDED_TINT = 0.3


@dataclass(frozen=True)
class Stand:
    """Where the slice lies in a view. `texture`: from columns and rows of voxels to device-independent pixels.

    `ratio`: pixels of the screen in one of those.
    """

    texture: QTransform
    size: QSize
    ratio: float


class SliceBackdrop:
    """The picture of one view. Who changes what is seen says so to `forget`; `paint` paints that alone again."""

    def __init__(self, pictures: SlicePictures) -> None:
        self._pictures = pictures
        self._image: QImage | None = None
        self._stand: Stand | None = None
        self._stale = QRect()  # columns and rows of voxels

    def forget(self, voxels: QRect | None) -> None:
        """Some columns and rows look otherwise now; all of them for None."""
        if voxels is None:
            self._stand = None
        else:
            self._stale = self._stale.united(voxels)

    def paint(self, painter: QPainter, region: QRegion, stand: Stand) -> None:
        """Shows a region of the view; the painter starts at the view's corner."""
        image = self._renewed(stand)
        painter.save()
        # One by one: within one rectangle Qt copies, within several it asks for every pixel.
        for rect in region:  # type: ignore[attr-defined]  # Qt's description for type checkers lacks it
            painter.setClipRect(rect)
            painter.drawImage(QPointF(0, 0), image)
        painter.restore()

    def _renewed(self, stand: Stand) -> QImage:
        if self._image is None or self._stand != stand:
            pixels = QSize(round(stand.size.width() * stand.ratio), round(stand.size.height() * stand.ratio))
            if self._image is None or self._image.size() != pixels:
                self._image = QImage(pixels, QImage.Format.Format_RGB32)
            self._image.setDevicePixelRatio(stand.ratio)
            self._draw(self._image, stand, QRect(QPoint(), stand.size))
        elif not self._stale.isEmpty():
            part = seen_at(self._stale, stand.texture)
            rows = QRect(0, part.top(), stand.size.width(), part.height())  # from where they begin Qt counts fractions
            self._draw(self._image, stand, rows)
        self._stand, self._stale = stand, QRect()
        return self._image

    def _draw(self, image: QImage, stand: Stand, area: QRect) -> None:
        painter = QPainter(image)
        painter.setClipRect(area)
        painter.fillRect(area, Qt.GlobalColor.black)
        for band in bands(area.intersected(QRect(QPoint(), stand.size))):
            painter.setClipRect(band)
            self._voxels(painter, stand.texture)
        painter.setClipRect(area)
        painter.setTransform(stand.texture, True)
        for colour, path in self._pictures.outlines:
            stroke(painter, path, SHADE, 2.6)
            stroke(painter, path, colour, 1.6)
        proposal = self._pictures.proposal
        if proposal is not None:
            paint_proposal(painter, proposal)
        painter.end()

    def _voxels(self, painter: QPainter, texture: QTransform) -> None:
        painter.save()
        painter.setTransform(texture, True)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, self._pictures.smooth)
        painter.drawImage(0, 0, self._pictures.grey)
        labels = self._pictures.labels
        if labels is not None:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
            painter.drawImage(0, 0, labels)
        painter.restore()


def seen_at(voxels: QRect, texture: QTransform) -> QRect:
    """Where columns and rows are seen, the outlines on their edges included, device-independent pixels."""
    return texture.mapRect(QRectF(voxels)).toAlignedRect().adjusted(-EDGE, -EDGE, EDGE, EDGE)


def paint_proposal(painter: QPainter, proposal: ProposalPaths) -> None:
    """A dashed outline; added voxels hatched /, removed voxels hatched \\."""
    colour = proposal.colour
    tint = QColor(colour)
    tint.setAlphaF(ADDED_TINT)
    painter.fillPath(proposal.added, tint)
    _hatch(painter, proposal.added, Qt.BrushStyle.BDiagPattern, colour.lighter(140))
    _hatch(painter, proposal.removed, Qt.BrushStyle.FDiagPattern, INK)
    stroke(painter, proposal.outline, SHADE, 3.4)
    stroke(painter, proposal.outline, colour.lighter(125), 2.0, dashed=True)


def _hatch(painter: QPainter, path: QPainterPath, pattern: Qt.BrushStyle, ink: QColor) -> None:
    """Light lines, each with a dark one beside it: to be seen on black, on white and on a label."""
    for across, colour in ((1, SHADE), (0, ink)):
        painter.setBrushOrigin(across, 0)
        painter.fillPath(path, QBrush(colour, pattern))


def stroke(painter: QPainter, path: QPainterPath, colour: QColor, width: float, dashed: bool = False) -> None:
    """A line of voxel edges, as wide at every zoom."""
    pen = cosmetic_pen(colour, width, dashed)
    pen.setCapStyle(Qt.PenCapStyle.FlatCap)
    pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)  # voxel edges have right angles: half the time of round ones
    painter.strokePath(path, pen)
