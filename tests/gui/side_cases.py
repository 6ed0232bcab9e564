"""The panels on the left, the Refine and Edit tabs and the proposal bar, on a window with a real session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton

from medseg_rl.labels import LabelMap
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.segmentation import Segmentation
from medseg_rl_gui.dialogs import ScriptedDialogs
from medseg_rl_gui.panels.clicks import ClicksPanel
from medseg_rl_gui.panels.edit import EditPanel
from medseg_rl_gui.panels.labels import LabelsPanel
from medseg_rl_gui.panels.proposal_bar import ProposalBar
from medseg_rl_gui.panels.refine import RefinePanel
from tests.gui.panel_cases import SHAPE, BallModels, Panels, ct


class Sides(Panels):
    """With what stands at the sides by name."""

    @property
    def labels(self) -> LabelsPanel:
        return self._found(LabelsPanel)

    @property
    def clicks(self) -> ClicksPanel:
        return self._found(ClicksPanel)

    @property
    def bar(self) -> ProposalBar:
        return self._found(ProposalBar)

    @property
    def refine(self) -> RefinePanel:
        return self._found(RefinePanel)

    @property
    def edit(self) -> EditPanel:
        return self._found(EditPanel)

    def _found(self, kind):
        (panel,) = self.window.findChildren(kind)
        return panel

    def paint(self, index, radius_mm: float = 3.0) -> None:
        """A dab of the brush."""
        from medseg_rl.editing import Brush

        assert self.controller.editing.run(Brush((self.world(index),), radius_mm))
        self.idle()

    def voxels(self, value: int = 1) -> int:
        return int(np.count_nonzero(self.session.label_map == value))


@contextmanager
def opened(
    root: Path, dialogs: ScriptedDialogs, show, *, labels: Segmentation | None = None, tab: str = "", **options
) -> Iterator[Sides]:
    sides = Sides(dialogs, options.get("models") or BallModels(), root, FeedbackStore(root / "feedback"))
    show(sides.window, (1280, 800))
    if options.get("is_open", True):
        sides.open(labels=labels)
    if tab:
        sides.window.right.open(tab)
    yield sides
    sides.close()


def boxes(*starts: tuple[int, int, int], size: int = 4) -> Segmentation:
    """Label 1, 2, ... as cubes with their first voxel at `starts`."""
    array = np.zeros(SHAPE, np.uint8)
    for value, (i, j, k) in enumerate(starts, start=1):
        array[i : i + size, j : j + size, k : k + size] = value
    return Segmentation((ct().with_array(array),), LabelMap.of_array(array))


def press(sides: Sides, made: QAbstractButton) -> None:
    """By the mouse, as a user would."""
    assert made.isEnabled(), made.toolTip()
    QTest.mouseClick(made, Qt.MouseButton.LeftButton, pos=QPoint(8, made.height() // 2))
    sides.idle()
