"""The History tab on a real session: names, the present, what was undone, memory, what the cap has dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from medseg_rl.editing import Brush
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl_gui.dialogs import ScriptedDialogs
from tests.gui.panel_cases import BallModels, Panels


@pytest.fixture
def panels(tmp_path: Path, dialogs: ScriptedDialogs, show: Callable[..., QWidget]) -> Iterator[Panels]:
    made = Panels(dialogs, BallModels(), tmp_path, FeedbackStore(tmp_path / "feedback"))
    show(made.window, (1280, 800))
    made.open()
    made.window.right.open("history")
    yield made
    made.close()


def rows(panels: Panels) -> list[tuple[str, bool, bool]]:
    """Text of each row, whether it is the present, whether it was undone."""
    model = panels.panel("history").rows
    found = [model.index(n) for n in range(model.rowCount())]
    fonts = [index.data(Qt.ItemDataRole.FontRole) for index in found]
    return [(index.data(), font.bold(), font.italic()) for index, font in zip(found, fonts, strict=True)]


def brush(panels: Panels, index, radius_mm: float = 3.0) -> None:
    panels.controller.editing.run(Brush((panels.world(index),), radius_mm))


def go_to(panels: Panels, row: int) -> None:
    list_ = panels.panel("history").list
    place = list_.visualRect(list_.model().index(row)).center()
    QTest.mouseClick(list_.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    panels.idle()
    panels.wait(lambda: len(panels.session.history.done) == row or bool(panels.session.read_only))


def test_the_list_has_the_names_of_the_undo_stack_with_the_present_marked(panels):
    assert rows(panels) == [("Beginning", True, False)]
    brush(panels, (10, 10, 5))
    brush(panels, (20, 20, 10))
    names = list(reversed(panels.session.history.undo_names))
    assert [text for text, _, _ in rows(panels)] == ["Beginning", *names]
    assert [bold for _, bold, _ in rows(panels)] == [False, False, True]
    panels.controller.editing.undo()
    assert rows(panels)[2] == (names[1], False, True)
    assert rows(panels)[1] == (names[0], True, False)


def test_a_click_goes_back_and_on_bit_for_bit(panels):
    states = [panels.session.label_map.copy()]
    for index in ((10, 10, 5), (20, 20, 10), (26, 12, 8)):
        brush(panels, index)
        states.append(panels.session.label_map.copy())
    for row in (0, 3, 1, 2):
        go_to(panels, row)
        assert np.array_equal(panels.session.label_map, states[row])
        assert [bold for _, bold, _ in rows(panels)].index(True) == row
        shown = panels.controller.desk.view.layers[0]
        assert np.array_equal(shown, states[row])


def test_a_new_action_drops_what_was_undone(panels):
    brush(panels, (10, 10, 5))
    brush(panels, (20, 20, 10))
    go_to(panels, 1)
    brush(panels, (26, 12, 8))
    assert len(rows(panels)) == 3
    assert not any(undone for _, _, undone in rows(panels))


def test_the_memory_is_said_and_what_the_cap_has_dropped(panels):
    panel, history = panels.panel("history"), panels.session.history
    brush(panels, (10, 10, 5))
    assert "1 done, 0 undone" in panel.memory.text()
    assert panel.memory.text().endswith(f"of {history.cap_bytes // 2**20} MB")
    assert panel.dropped.text() == ""
    history.cap_bytes = 1500
    for n in range(4):
        brush(panels, (12 + 3 * n, 12, 9))
    assert history.dropped > 0
    assert panel.dropped.text().startswith(f"{history.dropped} oldest entries were dropped")
    assert rows(panels)[0][0] == "Oldest state that is kept"
    go_to(panels, 0)
    assert panels.session.label_map.any()  # what was dropped cannot be taken back


def test_a_case_that_can_only_be_read_goes_nowhere_and_says_why(panels):
    brush(panels, (10, 10, 5))
    state = panels.session.label_map.copy()
    panels.session.read_only = "another window has it open"
    go_to(panels, 0)
    assert np.array_equal(panels.session.label_map, state)
    assert len(panels.session.history.done) == 1


def test_the_list_is_empty_without_a_case(panels, dialogs):
    dialogs.answers = ["discard"]
    panels.controller.release()
    assert rows(panels) == []
    assert panels.panel("history").memory.text() == ""


def test_a_long_way_back_is_gone_in_short_goes_and_ends_when_something_else_is_done(panels, monkeypatch):
    monkeypatch.setattr("medseg_rl_gui.editing.A_GO_SECONDS", 0.0)
    for n in range(8):
        brush(panels, (8 + 2 * n, 12, 9))
    history = panels.session.history
    panels.controller.editing.go_back_to(0)
    assert len(history.done) == 7  # one entry at a time, and the window is asked in between
    brush(panels, (8, 24, 9))
    QTest.qWait(50)
    assert len(history.done) == 8
    go_to(panels, 0)
    assert len(history.undone) == 8
    assert not panels.session.label_map.any()
