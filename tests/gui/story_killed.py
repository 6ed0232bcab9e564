"""A process that works on a case and is killed in the middle of it: `python -m tests.gui.story_killed STUDY FOLDER`.

Leaves in FOLDER what a recovery must find again, as `left.npz`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"

import numpy as np
from PySide6.QtWidgets import QApplication

from tests.gui.story_cases import sample
from tests.gui.story_program import ParentedDialogs, Program


def main(study: Path, folder: Path) -> None:
    """Opens, clicks, accepts, clicks again, waits for the autosave of what the model did, and is gone."""
    case = sample()
    program = Program(QApplication(["story"]), ParentedDialogs())
    program.show()
    program.dialogs.answers = [lambda dialog: dialog.table.selectRow(1) or True]
    program.hand.drop([study])
    hand, target = program.hand, case.deepest(case.target)
    hand.go_to(case.plane, target)
    hand.key("P")
    hand.click(case.plane, target)
    hand.key("Enter")
    missed = case.deepest(case.target & ~program.session.mask)
    hand.go_to(case.plane, missed)
    hand.click(case.plane, missed)
    program.rest(2.5)  # the view is noted, and what the model did is written
    session = program.session
    assert session.proposal is not None
    np.savez(
        folder / "left.npz",
        labels=session.label_map,
        percent=session.percent,
        clicks=len(session.clicks),
        undo=np.array(session.history.undo_names),
        slice=program.controller.desk.view.slices["axial"],
    )
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
