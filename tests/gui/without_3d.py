"""A process in which VTK, or OpenGL, is missing: it works on the sample and says what the 3D pane shows.

python -m tests.gui.without_3d FOLDER        # prints the pane's message; fails where anything else does not work
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QApplication

from medseg_rl.samples import sample_path
from tests.gui.story_program import ParentedDialogs, Program


def main(folder: Path) -> None:
    """Opens, clicks, accepts, paints, undoes, measures the surface, exports it as a mesh, closes."""
    program = Program(QApplication(["without 3D"]), ParentedDialogs())
    program.show()
    program.window.open_paths([sample_path("hippocampus_right_t1.nii.gz")])
    hand, middle = program.hand, program.session.image.index_to_world((20, 30, 20))
    place = (float(middle[0]), float(middle[1]), float(middle[2]))
    hand.key("P")
    hand.go_to("axial", place)
    hand.click("axial", place)
    hand.key("Enter")
    assert program.voxels(1)
    hand.key("D")
    hand.stroke("axial", [place, (place[0] + 8.0, place[1], place[2])])
    hand.key("Ctrl+Z")
    program.rest(1.0)
    view = program.window.views.surface
    program.wait(lambda: "Everything but this view works" in view.canvas.message, "the pane to say what is missing")
    program.open_tab("quantities")
    _export_mesh(program, folder / "surface.ply")
    assert view.canvas.scene is None
    print(view.canvas.message)
    program.dialogs.answers = ["discard", "discard"]
    program.close()


def _export_mesh(program: Program, path: Path) -> None:
    def choose(dialog: Any) -> bool:
        dialog.choose_format("ply")
        return True

    program.dialogs.answers = [choose, path]
    program.hand.key("Ctrl+E")
    assert path.stat().st_size > 1000, program.dialogs.texts


if __name__ == "__main__":
    main(Path(sys.argv[1]))
