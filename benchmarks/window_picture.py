"""Takes the picture of the window in the README: the shipped sample, an automatic start, a click for and one against.

    python -m benchmarks.window_picture                 # writes docs/window.png

Everything goes through the window's own events, offscreen. The clicks are a person's who knows the shipped mask: in
the middle of what is missing, then of what is too much. Nothing is drawn into the picture afterwards.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PySide6.QtCore import Qt

    from tests.gui.story_cases import Mask, StoryCase
    from tests.gui.story_program import Program

ROOT = Path(__file__).resolve().parents[1]
NAME = "Hippocampus"


def main() -> int:
    """Opens the sample, works on it, and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "window.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"QT_QPA_PLATFORM": "offscreen", "MEDSEG_RL_HOME": home, "XDG_CONFIG_HOME": home}
        _take(options.output)
    return 0


def _take(output: Path) -> None:
    from PySide6.QtCore import QLocale
    from PySide6.QtWidgets import QApplication

    from medseg_rl.samples import sample_path
    from tests.gui.story_cases import sample
    from tests.gui.story_hand import LEFT, RIGHT
    from tests.gui.story_program import ParentedDialogs, Program

    QLocale.setDefault(QLocale(QLocale.Language.English, QLocale.Country.UnitedKingdom))
    program, case = Program(QApplication(["window_picture"]), ParentedDialogs(), seconds=120.0), sample()
    program.show()
    program.hand.drop([sample_path("hippocampus_right_t1.nii.gz")])
    program.controller.editing.rename_label(1, NAME)
    program.hand.key(case.window_key)
    program.window.acts.trigger("model.start")
    program.settled()
    program.hand.key("P")
    _click(program, case, case.target & ~program.session.mask, LEFT)
    _click(program, case, program.session.mask & ~case.target, RIGHT)
    program.controller.desk.go_to(case.deepest(case.target))
    program.rest(1.5)
    if not program.window.grab().save(str(output)):
        raise OSError(f"{output} could not be written")
    program.dialogs.answers = ["discard", "discard"]
    program.close()


def _click(program: Program, case: StoryCase, where: Mask, button: Qt.MouseButton) -> None:
    """In the middle of a region, the crosshair there first; nothing where there is none."""
    if where.any():
        point = case.deepest(where)
        program.controller.desk.go_to(point)
        program.settled()
        program.hand.click(case.plane, point, button)


if __name__ == "__main__":
    sys.exit(main())
