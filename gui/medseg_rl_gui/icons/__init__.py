"""Icons of our own, drawn from SVG in the colours of the theme. Decides nothing about where they stand."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from PySide6.QtCore import QByteArray, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QGuiApplication, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QAbstractButton, QToolBar, QWidget

APPLICATION = "medseg-rl"
TO_LETTERS = 0.8  # of the height of a line
_NAME, _USUAL = "medseg_icon", "medseg_icon_size"
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


def fit_letters(root: QWidget) -> None:
    """Makes icons below a widget as large as large letters are; never smaller than where those are usual."""
    for bar in root.findChildren(QToolBar):
        bar.setIconSize(_beside_letters(bar))
    for button in root.findChildren(QAbstractButton):
        if not button.icon().isNull() and not isinstance(button.parentWidget(), QToolBar):
            button.setIconSize(_beside_letters(button))


def _beside_letters(widget: QToolBar | QAbstractButton) -> QSize:
    usual = widget.property(_USUAL) or widget.iconSize().height()
    widget.setProperty(_USUAL, usual)
    side = max(int(usual), round(TO_LETTERS * widget.fontMetrics().height()))
    return QSize(side, side)


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
