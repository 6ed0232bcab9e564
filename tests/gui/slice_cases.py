"""Small volumes in every axis order and flip, and what a view shows of them. Builders, no tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from PySide6.QtCore import QPoint
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QWidget

from medseg_rl.volume import AxisOrder, Volume

RAS_SHAPE = (9, 7, 5)  # R-L, A-P, S-I: no two alike
RAS_SPACING = (1.0, 1.5, 2.5)

ORDERS = [
    AxisOrder(permutation, flips)  # type: ignore[arg-type]
    for permutation in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


def in_order(ras: np.ndarray, order: AxisOrder, spacing: tuple[float, float, float] = RAS_SPACING) -> Volume:
    """An array in RAS+ order as a file in another order would hold it; the same voxels lie at the same places."""
    array = np.ascontiguousarray(order.undo(ras))
    affine = np.eye(4)
    affine[:3, :3] = 0
    for world in range(3):
        axis, flipped = order.permutation[world], order.flipped[world]
        affine[world, axis] = -spacing[world] if flipped else spacing[world]
        affine[world, 3] = spacing[world] * (ras.shape[world] - 1) if flipped else 0.0
    return Volume(array, affine)


def corner_volumes() -> Iterator[Volume]:
    """In each of 48 orders, a dark volume whose one bright voxel lies most right, anterior and superior."""
    ras = np.full(RAS_SHAPE, 20, np.int16)
    ras[-1, -1, -1] = 100
    for order in ORDERS:
        yield in_order(ras, order)


def turned(angle_degrees: float, axis: int) -> np.ndarray:
    """A rotation matrix (3, 3) about a world axis."""
    c, s = np.cos(np.radians(angle_degrees)), np.sin(np.radians(angle_degrees))
    matrix = np.eye(3)
    one, other = (a for a in range(3) if a != axis)
    matrix[one, one] = matrix[other, other] = c
    matrix[one, other], matrix[other, one] = (-s, s) if axis != 1 else (s, -s)
    return matrix


def drawn(widget: QWidget, ratio: float = 1.0) -> QImage:
    """What a widget paints at a device pixel ratio."""
    image = QImage(widget.size() * ratio, QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(ratio)
    widget.render(image, QPoint(0, 0))
    return image


def pixels(image: QImage) -> np.ndarray:
    """(rows, columns, 3): blue, green, red of an RGB32 image, by device pixel."""
    flat = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return flat[:, : image.width() * 4].reshape(image.height(), image.width(), 4)[..., :3].copy()


def grey_at(image: QImage, x: float, y: float) -> int:
    """Brightness at a device-independent pixel."""
    ratio = image.devicePixelRatio()
    return QColor(image.pixel(int(x * ratio), int(y * ratio))).lightness()
