"""Dark and light colours of the application's own, on Qt's Fusion style. Knows no widget by name.

Every pair of text and ground has a contrast of at least 4.5 to 1 (WCAG 2.1, success criterion 1.4.3).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

Theme = Literal["dark", "light"]
SMALLEST_CONTRAST = 4.5

_Role = QPalette.ColorRole
_COLOURS: dict[Theme, dict[QPalette.ColorRole, str]] = {
    "dark": {
        _Role.Window: "#24272c",
        _Role.WindowText: "#e6e8eb",
        _Role.Base: "#1a1c20",
        _Role.AlternateBase: "#212429",
        _Role.Text: "#e6e8eb",
        _Role.Button: "#33373e",
        _Role.ButtonText: "#e6e8eb",
        _Role.BrightText: "#ffffff",
        _Role.ToolTipBase: "#f2f2ea",
        _Role.ToolTipText: "#1c1e22",
        _Role.PlaceholderText: "#9aa0a8",
        _Role.Highlight: "#1f6db3",
        _Role.HighlightedText: "#ffffff",
        _Role.Link: "#6cb4f0",
        _Role.LinkVisited: "#b79cf0",
        _Role.Accent: "#3b93dd",
        _Role.Light: "#4a4f58",
        _Role.Midlight: "#3d4148",
        _Role.Mid: "#2b2e34",
        _Role.Dark: "#15171a",
        _Role.Shadow: "#0b0c0e",
    },
    "light": {
        _Role.Window: "#f0f1f3",
        _Role.WindowText: "#1c1e22",
        _Role.Base: "#ffffff",
        _Role.AlternateBase: "#f4f5f7",
        _Role.Text: "#1c1e22",
        _Role.Button: "#e4e6ea",
        _Role.ButtonText: "#1c1e22",
        _Role.BrightText: "#000000",
        _Role.ToolTipBase: "#2b2e34",
        _Role.ToolTipText: "#f2f2ea",
        _Role.PlaceholderText: "#646a73",
        _Role.Highlight: "#1a66aa",
        _Role.HighlightedText: "#ffffff",
        _Role.Link: "#0b5aa8",
        _Role.LinkVisited: "#6a3fb0",
        _Role.Accent: "#1a66aa",
        _Role.Light: "#ffffff",
        _Role.Midlight: "#eceef1",
        _Role.Mid: "#c3c7cd",
        _Role.Dark: "#9da3ab",
        _Role.Shadow: "#6b7078",
    },
}
_GREYED: dict[Theme, str] = {"dark": "#7d838c", "light": "#8a9099"}

# Ground and text of what must be noticed; shape or words say the same.
TONES: dict[Theme, dict[str, tuple[str, str]]] = {
    "dark": {
        "information": ("#1d3a52", "#e6f1fa"),
        "warning": ("#5a4310", "#fff1cc"),
        "error": ("#6a2424", "#ffe3e0"),
        "good": ("#1f4a33", "#ddf6e7"),
    },
    "light": {
        "information": ("#d8e9f8", "#0d2f4d"),
        "warning": ("#ffedc2", "#4a3500"),
        "error": ("#fbd9d6", "#5c1111"),
        "good": ("#d5f0e0", "#0f3d25"),
    },
}


def palette(theme: Theme) -> QPalette:
    """All colours of a theme; greyed texts are fainter."""
    colours = QPalette()
    for role, name in _COLOURS[theme].items():
        colours.setColor(role, QColor(name))
    for role in (_Role.WindowText, _Role.Text, _Role.ButtonText):
        colours.setColor(QPalette.ColorGroup.Disabled, role, QColor(_GREYED[theme]))
    colours.setColor(QPalette.ColorGroup.Disabled, _Role.Highlight, QColor(_COLOURS[theme][_Role.Mid]))
    return colours


def contrast(one: QColor, other: QColor) -> float:
    """Contrast ratio of two colours, 1 to 21: WCAG 2.1, relative luminance."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: QColor) -> float:
    def linear(c: float) -> float:
        return c / 12.92 if c <= 0.04045 else float(((c + 0.055) / 1.055) ** 2.4)

    return 0.2126 * linear(colour.redF()) + 0.7152 * linear(colour.greenF()) + 0.0722 * linear(colour.blueF())


def chosen_theme(preference: str) -> Theme:
    """The theme for a preference; "system" is dark unless the system says it is light."""
    if preference == "light":
        return "light"
    if preference == "system" and QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Light:
        return "light"
    return "dark"


def apply_theme(application: QApplication, preference: str, font_points: int = 0) -> Theme:
    """Gives the whole application style, colours and letter size (0: that of the system)."""
    theme = chosen_theme(preference)
    application.setStyle(QStyleFactory.create("Fusion"))
    application.setPalette(palette(theme))
    font = QFont(application.font())
    font.setPointSizeF(float(font_points or _system_points(application)))
    application.setFont(font)
    application.setStyleSheet(_sheet(theme))
    application.setProperty("medseg_theme", theme)
    return theme


def _system_points(application: QApplication) -> float:
    """The letter size that the system had before it was changed here."""
    before = application.property("medseg_points")
    if before is None:
        before = application.font().pointSizeF()
        application.setProperty("medseg_points", before)
    return float(before)


def current_theme() -> Theme:
    """The theme in force."""
    application = QApplication.instance()
    return "light" if application is not None and application.property("medseg_theme") == "light" else "dark"


# Fusion draws dark boxes on a dark ground: they get a line that can be seen. Dialogs take no icons of other styles.
_SHEET = """
QDialogButtonBox {{ dialogbuttonbox-buttons-have-icons: 0; }}
QToolTip {{ background: {tip}; color: {on_tip}; border: 1px solid {on_tip}; padding: 3px; }}
QCheckBox::indicator, QGroupBox::indicator, QTreeView::indicator, QTableView::indicator {{
  width: 13px; height: 13px; border: 1px solid {line}; border-radius: 2px; background: {base};
}}
QCheckBox::indicator:checked, QGroupBox::indicator:checked, QTreeView::indicator:checked,
QTableView::indicator:checked {{ background: {on}; border-color: {on}; image: url("{tick}"); }}
QCheckBox::indicator:focus {{ width: 11px; height: 11px; border: 2px solid {focus}; }}
QRadioButton::indicator {{
  width: 13px; height: 13px; border: 1px solid {line}; border-radius: 7px; background: {base};
}}
QRadioButton::indicator:checked {{
  border-color: {on};
  background: qradialgradient(cx: 0.5, cy: 0.5, radius: 0.5, fx: 0.5, fy: 0.5,
    stop: 0 #ffffff, stop: 0.42 #ffffff, stop: 0.5 {on}, stop: 1 {on});
}}
QRadioButton::indicator:focus {{ width: 11px; height: 11px; border: 2px solid {focus}; border-radius: 7px; }}
QRadioButton::indicator:disabled {{ border-color: {greyed}; background: {ground}; }}
QCheckBox::indicator:disabled, QGroupBox::indicator:disabled {{ border-color: {greyed}; background: {ground}; }}
QCheckBox::indicator:checked:disabled {{ background: {greyed}; }}
"""


def _sheet(theme: Theme) -> str:
    colours = _COLOURS[theme]
    return _SHEET.format(
        tip=colours[_Role.ToolTipBase],
        on_tip=colours[_Role.ToolTipText],
        line=colours[_Role.PlaceholderText],
        base=colours[_Role.Base],
        ground=colours[_Role.Window],
        on=colours[_Role.Highlight],
        focus=colours[_Role.Link],
        greyed=_GREYED[theme],
        tick=(Path(__file__).parent / "icons" / "tick.svg").as_posix(),
    )
