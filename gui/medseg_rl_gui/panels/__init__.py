"""The panels at the sides: they show what the engine has and emit what was meant. None holds a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medseg_rl_gui.i18n import tr
from medseg_rl_gui.panels.clicks import ClicksPanel
from medseg_rl_gui.panels.edit import EditPanel
from medseg_rl_gui.panels.history import HistoryPanel
from medseg_rl_gui.panels.labels import LabelsPanel
from medseg_rl_gui.panels.learn import LearnPanel
from medseg_rl_gui.panels.proposal_bar import ProposalBar
from medseg_rl_gui.panels.quantities import QuantitiesPanel
from medseg_rl_gui.panels.refine import RefinePanel

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller
    from medseg_rl_gui.main_window import MainWindow


def build_panels(window: MainWindow, controller: Controller) -> None:
    """Builds all panels and puts them where they belong, in the order in which they stand."""
    window.add_left(tr("Labels"), LabelsPanel(controller), 3)
    window.add_left(tr("Clicks"), ClicksPanel(controller), 3)
    window.set_proposal_bar(ProposalBar(controller))
    window.add_right("refine", tr("Refine"), RefinePanel(controller))
    window.add_right("edit", tr("Edit"), EditPanel(controller))
    window.add_right("learn", tr("Learn"), LearnPanel(controller))
    window.add_right("quantities", tr("Quantities"), QuantitiesPanel(controller))
    window.add_right("history", tr("History"), HistoryPanel(controller))
