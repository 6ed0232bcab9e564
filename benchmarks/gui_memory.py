"""Opens, edits and closes case after case in one window and prints the resident memory after each: benchmarks/GUI.md.

    python -m benchmarks.gui_memory --cases 20
    python -m benchmarks.gui_memory --image ct.nii.gz --no-report

Each case: open, a click of the model, accepted; a brush stroke; all three views scrolled; its surface in 3D; closed.
The first case loads torch, the model and VTK. Exit code 1 when the last is more than 10 % above the first.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtWidgets import QApplication

from benchmarks.gui_speed import machine, state, write_part
from medseg_rl.imageio import write_volume
from medseg_rl.volume import Volume
from tests.gui.story_program import ParentedDialogs, Program

ALLOWED = 0.10
MEGABYTE = 2**20
SHAPE = (320, 320, 120)
BEGIN, END = "<!-- memory -->", "<!-- end of memory -->"


def main() -> int:
    """Prints a line a case, and writes the table unless told not to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--image", type=Path, help="opened again and again instead of generated volumes")
    parser.add_argument("--no-report", action="store_true", help="do not write benchmarks/GUI.md")
    options = parser.parse_args()
    before = state()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MEDSEG_RL_HOME"] = os.environ["XDG_CONFIG_HOME"] = scratch
        application = QApplication(["gui_memory"])
        used = []
        for megabytes in memory_by_case(application, Path(scratch), options.cases, options.image):
            used.append(megabytes)
            print(f"case {len(used)}: {megabytes:.0f} MB resident", flush=True)
    growth = used[-1] / used[0] - 1
    print(f"the last is {100 * growth:+.1f} % from the first")
    if not options.no_report:
        write_part(_report(used, growth, before, application.platformName(), options.image), BEGIN, END)
    return 1 if growth > ALLOWED else 0


def memory_by_case(
    application: QApplication, folder: Path, cases: int, image: Path | None = None, shape: tuple[int, ...] = SHAPE
) -> Iterator[float]:
    """Resident megabytes after each case was closed again."""
    program = Program(application, ParentedDialogs(), seconds=180.0)
    program.show()
    for number in range(cases):
        path = image or _case(folder / f"case{number}.nii.gz", shape, number)
        work_on(program, path)
        if image is None:
            path.unlink()
        yield resident()
    program.close()


def work_on(program: Program, path: Path) -> None:
    """What a user does with a case, in short."""
    hand = program.hand
    program.window.open_paths([path])
    session = program.session
    middle = session.image.index_to_world(np.asarray(session.image.shape) // 2)
    place = (float(middle[0]), float(middle[1]), float(middle[2]))
    hand.key("P")
    hand.go_to("axial", place)
    hand.click("axial", place)
    if session.proposal is None:
        raise RuntimeError("the click led to no proposal")
    hand.key("Enter")
    hand.key("D")
    hand.stroke("axial", [place, (place[0] + 10.0, place[1], place[2]), (place[0], place[1] + 10.0, place[2])])
    for plane in ("axial", "coronal", "sagittal"):
        for _ in range(5):
            hand.wheel(plane, 1)
    program.rest(0.5)
    surface = program.window.views.surface
    program.wait(lambda: _has_surface(surface) or not _can_draw(surface), "the surface")
    program.rest(0.3)
    del session
    program.dialogs.answers = ["discard", "discard"]
    hand.key("Ctrl+W")
    if program.controller.desk.case is not None:
        raise RuntimeError("the case was not closed")
    program.dialogs.asked.clear()
    program.rest(0.3)


def _has_surface(view: object) -> bool:
    scene = view.canvas.scene  # type: ignore[attr-defined]
    return scene is not None and bool(scene.keys)


def _can_draw(view: object) -> bool:
    drawing = view._drawing  # type: ignore[attr-defined]
    return drawing is None or bool(drawing.works)


def _case(path: Path, shape: tuple[int, ...], seed: int) -> Path:
    """A CT of noise with a bright ball, another one each time."""
    rng = np.random.default_rng(seed)
    values = rng.normal(20.0, 15.0, shape).astype(np.float32)
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    reach = min(shape) / 4
    away = sum((axis - n / 2) ** 2 for axis, n in zip(grid, shape, strict=True))
    values[away < reach**2] += 120
    affine = np.diag([-0.8, -0.8, 1.5, 1.0])
    write_volume(path, Volume(values.astype(np.int16), affine, "CT"))
    return path


def resident() -> float:
    """Megabytes of this process that lie in memory, after what can be thrown away was."""
    gc.collect()
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1]) / 1024
    raise RuntimeError("the memory of a process is read from /proc, so this needs Linux")


def _report(used: list[float], growth: float, before: str, platform: str, image: Path | None) -> str:
    what = (
        "the same image each time" if image is not None else f"another {' x '.join(map(str, SHAPE))} volume each time"
    )
    verdict = "within" if growth <= ALLOWED else "**not within**"
    lines = [
        f"{before}, {machine()}, {platform}. {len(used)} cases opened, edited (click of the model, brush, 3D)"
        f" and closed in one window, {what}. The last is {100 * growth:+.1f} % from the first: {verdict} 10 %.",
        "",
        "| after case | resident, MB |",
        "|---:|---:|",
        *(f"| {number} | {megabytes:.0f} |" for number, megabytes in enumerate(used, 1)),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
