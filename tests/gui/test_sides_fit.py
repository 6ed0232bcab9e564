"""Labels, clicks, Refine, Edit and the proposal bar fit at 1280 x 800, in small and large letters and both themes."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QWidget

from medseg_rl_gui.theme import apply_theme
from tests.gui.side_cases import boxes, opened
from tests.gui.test_panels_fit import area, check


@pytest.fixture(params=[("dark", 0), ("light", 14)], ids=["dark", "light-14"])
def sides(request, qapp, tmp_path, dialogs, show):
    apply_theme(qapp, *request.param)
    with opened(tmp_path, dialogs, show, labels=boxes((4, 4, 4), (14, 4, 4), size=6)) as made:
        made.controller.editing.rename_label(2, "A long name of a structure")
        made.click((20, 20, 10))
        made.click((24, 20, 10), positive=False)
        yield made
    apply_theme(qapp, "dark")


def test_the_tabs_are_no_wider_than_their_side(sides, picture):
    for name in ("refine", "edit"):
        check(sides, name)
        bar = area(sides, name).verticalScrollBar()
        for at, part in ((0, "above"), (bar.maximum(), "below")):
            bar.setValue(at)
            picture(sides.window, f"{name}-{part}-{round(sides.window.font().pointSizeF())}")


def test_the_sections_on_the_left_show_their_names_whole(sides, picture, wait_until):
    said, table = sides.bar.said, sides.labels.table
    wait_until(lambda: said.heightForWidth(said.width()) <= said.height(), what="the proposal bar to be laid out")
    wait_until(lambda: table.columnWidth(2) >= 8 * table.fontMetrics().averageCharWidth(), what="the columns")
    for panel in (sides.labels, sides.clicks):
        for made in panel.findChildren(QAbstractButton):
            if made.isVisible() and made.text():
                assert made.width() >= made.sizeHint().width() - 1, made.text()
    assert sum(table.columnWidth(column) for column in range(6)) <= table.viewport().width()
    picture(sides.window, f"sides-{round(sides.window.font().pointSizeF())}")


def test_everything_can_be_reached_by_tab_and_has_a_name(sides):
    for panel in (sides.labels, sides.clicks, sides.bar, sides.refine, sides.edit):
        for made in panel.findChildren(QWidget):
            own = not made.objectName().startswith("qt_")
            if own and isinstance(made, QAbstractButton | QComboBox | QAbstractSpinBox):
                assert made.accessibleName(), made
                assert made.focusPolicy().value & 1, made.accessibleName()


def test_in_the_largest_letters_a_wide_window_shows_the_tabs_whole_and_icons_as_large(
    qapp, tmp_path, dialogs, show, wait_until
):
    apply_theme(qapp, "dark", 24)
    try:
        with opened(tmp_path, dialogs, show, labels=boxes((4, 4, 4), (14, 4, 4), size=6)) as made:
            made.window.resize(1920, 1160)
            made.window.right._fit_titles()
            wait_until(lambda: made.window.width() == 1920, what="the window to be wide")
            for name in ("refine", "edit"):
                check(made, name)
            icons = [b for b in made.window.findChildren(QAbstractButton) if b.isVisible() and not b.icon().isNull()]
            assert icons
            for button in icons:
                assert button.iconSize().height() >= 0.7 * button.fontMetrics().height(), button.accessibleName()
    finally:
        apply_theme(qapp, "dark")


def test_what_the_bar_cannot_hold_in_two_lines_ends_in_dots(sides):
    said = sides.bar.said
    words = "a word and another " * 40
    said.say(words)
    assert said.text().endswith("…")
    assert said._lines(said.text()) <= 2
    assert said.toolTip() == words
    said.say("few words")
    assert said.text() == "few words"
