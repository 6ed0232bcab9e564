"""The tabs on the right fit their side at 1280 x 800, in small and large letters and both themes, and can be told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QApplication, QComboBox, QLabel, QScrollArea, QWidget

from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl_gui.dialogs import ScriptedDialogs
from medseg_rl_gui.theme import apply_theme
from tests.gui.panel_cases import BallModels, Panels
from tests.gui.test_quantities_panel import box_labels, mask_file, measured

LONGEST_SECONDS = 10.0  # for a layout on a busy machine
TABS = ("learn", "quantities", "history")


@pytest.fixture(params=[("dark", 0), ("light", 14)], ids=["dark", "light-14"])
def panels(
    request, qapp: QApplication, tmp_path: Path, dialogs: ScriptedDialogs, show: Callable[..., QWidget]
) -> Iterator[Panels]:
    theme, points = request.param
    apply_theme(qapp, theme, points)
    made = Panels(dialogs, BallModels(one=20.0, two=35.0), tmp_path, FeedbackStore(tmp_path / "feedback"))
    show(made.window, (1280, 800))
    made.open(labels=box_labels((slice(0, 10), slice(8, 14), slice(4, 9))))
    made.click()
    yield made
    made.close()
    apply_theme(qapp, "dark")


def area(panels: Panels, name: str) -> QScrollArea:
    panels.window.right.open(name)
    panels.idle()
    return next(found for found in panels.window.right.findChildren(QScrollArea) if found.objectName() == name)


def check(panels: Panels, name: str) -> None:
    """Nothing is wider than the side, and no words are cut, once Qt has laid everything out."""
    found = area(panels, name)
    end = time.monotonic() + LONGEST_SECONDS
    while (wrong := misfits(found)) and time.monotonic() < end:
        panels.idle()
    assert wrong == []


def misfits(found: QScrollArea) -> list[str]:
    """What is cut or cannot be reached, in words."""
    wrong = ["wider than its side"] if found.horizontalScrollBar().maximum() else []
    for widget in found.findChildren(QWidget):
        if not widget.isVisible():
            continue
        if isinstance(widget, QAbstractButton):
            wrong += [f"cut: {widget.text()}"] if widget.width() < widget.sizeHint().width() - 1 else []
            wrong += [] if widget.accessibleName() else [f"no name: {widget}"]
        elif isinstance(widget, QLabel) and widget.wordWrap() and widget.text():
            wrong += [f"cut: {widget.text()}"] if widget.height() < widget.heightForWidth(widget.width()) else []
        elif isinstance(widget, QComboBox):
            is_named = widget.accessibleName() and widget.focusPolicy() == Qt.FocusPolicy.TabFocus
            wrong += [] if is_named else [f"no name or no focus: {widget}"]
    return wrong


def test_every_tab_fits_with_all_that_it_can_show(panels, dialogs, tmp_path, picture):
    name = "light-14" if panels.window.font().pointSizeF() == 14 else "dark"
    panels.window.right.open("learn")
    panels.window.acts.trigger("model.candidates")
    panels.idle()
    panels.window.acts.trigger("rank.2")
    panels.window.acts.trigger("rank.tie")
    panels.window.acts.trigger("rank.1")
    check(panels, "learn")
    picture(panels.window, f"learn-ranking-{name}")
    panels.window.acts.trigger("rank.cancel")
    panels.controller.learning.blind.begin(*panels.controller.models.refining)
    panels.idle()
    check(panels, "learn")
    area(panels, "learn").ensureWidgetVisible(panels.panel("learn").blind.row)
    picture(panels.window, f"learn-blind-{name}")
    panels.panel("learn").blind.answers[0].click()
    bar = area(panels, "learn").verticalScrollBar()
    bar.setValue(bar.maximum())
    picture(panels.window, f"learn-feedback-{name}")
    dialogs.answers = [mask_file(tmp_path, (slice(2, 12), slice(8, 14), slice(4, 9)))]
    panels.window.right.open("quantities")
    panels.panel("quantities").compare.click()
    measured(panels)
    check(panels, "quantities")
    picture(panels.window, f"quantities-{name}")
    panels.controller.editing.undo()
    check(panels, "quantities")
    picture(panels.window, f"quantities-stale-{name}")
    check(panels, "history")
    picture(panels.window, f"history-{name}")


def test_the_bars_can_be_seen_whatever_the_colour_of_the_label(panels):
    from PySide6.QtGui import QColor

    from medseg_rl_gui.theme import contrast

    plot = panels.panel("quantities").histogram
    ground = plot.palette().base().color()
    for colour in np.random.default_rng(0).integers(0, 256, (50, 3)):
        plot.colour = QColor(*(int(part) for part in colour))
        assert contrast(plot._seen_on(ground), ground) >= 1.9
