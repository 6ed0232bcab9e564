"""Icons of our own, drawn from SVG in the colours of the theme. Decides nothing about where they stand."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QColor, QGuiApplication, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QAbstractButton, QWidget

APPLICATION = "medseg-rl"
_NAME = "medseg_icon"
_SIZES = (16, 20, 24, 32, 48, 64)


def icon(name: str, colour: str = "") -> QIcon:
    """The icon of a file here, such as "brush", in the text colours of the palette in force; greyed where disabled.

    `colour`: another one, where it stands on a ground of its own.
    """
    colours = QGuiApplication.palette()
    normal = colours.color(QPalette.ColorGroup.Active, QPalette.ColorRole.ButtonText)
    greyed = colours.color(QPalette.ColorGroup.Disabled, QPalette.ColorRole.ButtonText)
    return _icon(name, colour or normal.name(), greyed.name())


def names() -> tuple[str, ...]:
    """All that `icon` takes."""
    return tuple(sorted(f.name.removesuffix(".svg") for f in files(__name__).iterdir() if f.name.endswith(".svg")))


def put_icon(button: QAbstractButton, name: str) -> None:
    """Gives a button an icon that `redress` draws again in the colours of another theme."""
    button.setProperty(_NAME, name)
    button.setIcon(icon(name))


def redress(root: QWidget) -> None:
    """Draws the icons of `put_icon` below a widget again, in the colours in force."""
    for button in root.findChildren(QAbstractButton):
        name = button.property(_NAME)
        if name:
            button.setIcon(icon(name))


@cache
def _icon(name: str, normal: str, greyed: str) -> QIcon:
    found = QIcon()
    for size in _SIZES:
        found.addPixmap(_pixmap(name, normal, size), QIcon.Mode.Normal)
        found.addPixmap(_pixmap(name, greyed, size), QIcon.Mode.Disabled)
    return found


def _pixmap(name: str, colour: str, size: int) -> QPixmap:
    drawing = files(__name__).joinpath(f"{name}.svg").read_text(encoding="utf-8")
    renderer = QSvgRenderer(QByteArray(drawing.replace("currentColor", QColor(colour).name()).encode()))
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    renderer.render(painter, QRectF(0, 0, size, size))
    painter.end()
    return pixmap
