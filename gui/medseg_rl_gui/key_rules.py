"""Which keys belong to the widget with the focus, and to no action: text fields, lists, sliders. Changes nothing."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTabBar,
    QTextEdit,
    QWidget,
)

_MOVING = {
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_Left,
    Qt.Key.Key_Right,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
}
_COMMANDS = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier | Qt.KeyboardModifier.MetaModifier


def takes_text(widget: QWidget | None) -> bool:
    """Whether letters are written into a widget."""
    if isinstance(widget, QComboBox):
        return widget.isEditable()
    if isinstance(widget, QTextEdit | QPlainTextEdit | QLineEdit):
        return not widget.isReadOnly()
    return isinstance(widget, QAbstractSpinBox)


def belongs_to_focus(event: QKeyEvent, widget: QWidget | None) -> bool:
    """Whether a key press is for the widget with the focus: no action may take it."""
    if event.modifiers() & _COMMANDS:
        return False
    if takes_text(widget):
        return not Qt.Key.Key_F1 <= event.key() <= Qt.Key.Key_F35
    if isinstance(widget, QAbstractItemView | QAbstractSlider | QComboBox | QTabBar):
        return event.key() in _MOVING
    return False
