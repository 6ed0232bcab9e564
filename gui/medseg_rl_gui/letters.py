"""Letters as large as their place allows, where those of the preferences are too large. Knows no widget by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6.QtCore import QEvent
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QWidget

FONTS = (QEvent.Type.FontChange, QEvent.Type.StyleChange, QEvent.Type.ApplicationFontChange)
SCALES = (1.0, 0.92, 0.85, 0.78, 0.7)
SMALLEST = 8.0  # points


def fit_letters(base: QFont, widgets: Iterable[QWidget], fits: Callable[[], bool]) -> bool:
    """Gives widgets the largest of a few sizes with which `fits` is true, else the smallest. Whether it fits."""
    made = list(widgets)
    for scale in SCALES:
        font = QFont(base)
        font.setPointSizeF(max(base.pointSizeF() * scale, min(SMALLEST, base.pointSizeF())))
        for widget in made:
            if widget.font() != font:
                widget.setFont(font)
        if fits():
            return True
    return False
