"""What the program says about itself: the research-use notice, versions and licences, a short guide. Stores nothing."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from PySide6.QtCore import qVersion
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

from medseg_rl import __version__
from medseg_rl_gui.dialogs import Choice, Question
from medseg_rl_gui.i18n import mark, tr

NOTICE_VERSION = 1  # raised when the words change, so that they are ticked again
RESEARCH_USE = mark("For research use only. Not a medical device.")
_PACKAGES = ("numpy", "torch", "monai", "vtk", "nibabel", "pydicom", "SimpleITK", "highdicom")
_STEPS = (
    mark("<b>Open</b> a file (Ctrl+O) or drop a DICOM folder on the window. A series is chosen from a list."),
    mark("<b>Look.</b> The wheel scrolls, the right button zooms, the middle one pans; Alt+1 to Alt+8 are CT windows."),
    mark("<b>Click.</b> P, then left-click in the target. A dashed proposal appears: nothing is written yet."),
    mark("<b>Correct.</b> Right-click what does not belong. Farther away than the guard's circle nothing moves."),
    mark("<b>Enter</b> accepts the proposal, <b>Esc</b> discards it. Ctrl+Z takes back anything."),
    mark("<b>By hand:</b> D paints, E erases, L outlines; the Edit tab fills holes, smooths and interpolates slices."),
    mark("<b>Labels.</b> Ctrl+L makes a new one. All but the active one are locked, so finished work stays as it is."),
    mark("<b>Finish.</b> The Quantities tab has volumes with their formulas; Ctrl+E exports; Ctrl+S saves it all."),
)


def notice_question(*, first: bool) -> Question:
    """The notice; at the first start it must be ticked, or the program closes."""
    text = tr(
        "{notice}\n\nDo not use it for diagnosis, treatment or any decision about a patient. "
        "Masks and quantities may be wrong; whoever uses them must check them.\n\n"
        "Images and masks stay on this computer: the program opens no network connection."
    ).format(notice=tr(RESEARCH_USE))
    title = tr("Research use only")
    if not first:
        return Question(title, text, (Choice("ok", tr("Close"), "reject"),), "ok", "information")
    choices = (Choice("accept", tr("Continue"), needs_tick=True), Choice("quit", tr("Quit"), "reject"))
    return Question(title, text, choices, "accept", "warning", tick=tr("I have read this and use it for research only"))


def about_question() -> Question:
    """Versions and licences."""
    text = tr(
        "MedSeg-RL {version}\n\nInteractive segmentation of CT and MR volumes: every voxel is an agent that refines "
        "the mask step by step.\n\n{notice}\n\nLicence: Apache-2.0. It uses Qt through PySide6 (LGPL-3.0), unmodified."
    ).format(version=__version__, notice=tr(RESEARCH_USE))
    close = Choice("close", tr("Close"), "reject")
    return Question(tr("About MedSeg-RL"), text, (close,), "close", "information", details="\n".join(_versions()))


def _versions() -> list[str]:
    found = [f"Python {platform.python_version()}", f"{platform.system()} {platform.machine()}", f"Qt {qVersion()}"]
    for package in _PACKAGES:  # asked for by name: nothing heavy is imported
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(tr("{package} is not installed").format(package=package))
    return found


class GuideDialog(QDialog):
    """The way through a case, on one page."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Guide"))
        self.resize(640, 460)
        self.text = QTextBrowser()
        self.text.setAccessibleName(tr("Guide"))
        steps = "".join(f"<li style='margin-bottom:6px'>{tr(step)}</li>" for step in _STEPS)
        more = tr("Press ? for all keys and mouse gestures; Help, Change shortcuts gives them others.")
        self.text.setHtml(f"<ol>{steps}</ol><p>{more}</p><p><b>{tr(RESEARCH_USE)}</b></p>")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self.text)
        column.addWidget(buttons)
