"""Colours can be read in both themes, and icons are drawn in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QDialogButtonBox, QGridLayout, QLabel, QStyle, QToolButton, QWidget

from medseg_rl_gui import icons
from medseg_rl_gui.actions import ACTIONS
from medseg_rl_gui.theme import SMALLEST_CONTRAST, TONES, Theme, apply_theme, contrast, current_theme, palette

ROLE = QPalette.ColorRole
PAIRS = [
    (ROLE.WindowText, ROLE.Window),
    (ROLE.Text, ROLE.Base),
    (ROLE.Text, ROLE.AlternateBase),
    (ROLE.ButtonText, ROLE.Button),
    (ROLE.HighlightedText, ROLE.Highlight),
    (ROLE.ToolTipText, ROLE.ToolTipBase),
    (ROLE.PlaceholderText, ROLE.Base),
    (ROLE.Link, ROLE.Base),
    (ROLE.Link, ROLE.Window),
    (ROLE.LinkVisited, ROLE.Base),
    (ROLE.WindowText, ROLE.Light),
]
THEMES: tuple[Theme, ...] = ("dark", "light")


def test_contrast_is_that_of_the_guideline() -> None:
    assert contrast(QColor("white"), QColor("black")) == pytest.approx(21)
    assert contrast(QColor("#777777"), QColor("white")) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("text", "ground"), PAIRS, ids=lambda role: role.name)
def test_text_can_be_read(theme: Theme, text: QPalette.ColorRole, ground: QPalette.ColorRole) -> None:
    colours = palette(theme)
    assert contrast(colours.color(text), colours.color(ground)) >= SMALLEST_CONTRAST


@pytest.mark.parametrize("theme", THEMES)
def test_what_must_be_noticed_can_be_read(theme: Theme) -> None:
    assert all(contrast(QColor(ground), QColor(ink)) >= SMALLEST_CONTRAST for ground, ink in TONES[theme].values())


def test_every_icon_of_an_action_is_there() -> None:
    assert {action.icon for action in ACTIONS if action.icon} <= set(icons.names())


@pytest.mark.parametrize("theme", THEMES)
def test_icons_take_the_colour_of_the_theme(
    theme: Theme, qapp: QApplication, show: Callable[..., QWidget], picture: Callable[[QWidget, str], Path]
) -> None:
    apply_theme(qapp, "light" if theme == "dark" else "dark")
    sheet = QWidget()
    grid = QGridLayout(sheet)
    for place, name in enumerate(icons.names()):
        button = QToolButton()
        icons.put_icon(button, name)
        grid.addWidget(button, 2 * (place // 10), place % 10)
        grid.addWidget(QLabel(name), 2 * (place // 10) + 1, place % 10)
    apply_theme(qapp, theme)
    icons.redress(sheet)
    show(sheet)
    picture(sheet, f"icons_{theme}")
    assert current_theme() == theme
    drawn = icons.icon("add").pixmap(24, 24).toImage().pixelColor(12, 12)
    assert drawn.name() == palette(theme).color(ROLE.ButtonText).name()
    apply_theme(qapp, "dark")


def test_letters_grow_and_go_back_to_those_of_the_system(qapp: QApplication) -> None:
    before = qapp.font().pointSizeF()
    apply_theme(qapp, "dark", 24)
    assert qapp.font().pointSizeF() == 24
    apply_theme(qapp, "dark")
    assert qapp.font().pointSizeF() == before


def test_buttons_of_dialogs_take_no_icons_of_another_style(qapp: QApplication) -> None:
    apply_theme(qapp, "dark")
    box = QDialogButtonBox(QDialogButtonBox.StandardButton.Open)
    assert box.style().styleHint(QStyle.StyleHint.SH_DialogButtonBox_ButtonsHaveIcons, None, box) == 0
    box.deleteLater()
