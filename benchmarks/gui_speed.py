"""How fast the window is, measured through its own events on a volume of 512 x 512 x 300: benchmarks/GUI.md.

    python -m benchmarks.gui_speed                      # offscreen, and a real X server under Xvfb where there is one
    python -m benchmarks.gui_speed --platform offscreen --repetitions 12 --no-report

Exit code 1 where a row is over its limit. The volumes are written once to out/gui.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from benchmarks.gui_measures import Measures
    from medseg_rl.volume import Volume
    from medseg_rl_gui.slice_geometry import Point
    from tests.gui.story_program import Program

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "benchmarks" / "GUI.md"
BEGIN, END = "<!-- speed -->", "<!-- end of speed -->"
SCREEN = "1920x1200x24"
RIM = np.array(
    [(0.53, 0.45, 0.5), (0.36, 0.62, 0.5), (0.19, 0.45, 0.5), (0.36, 0.45, 0.71), (0.36, 0.27, 0.5)]
)  # liver
Found = dict[str, list[float]]
Files = tuple[Path, Path]  # image, mask of the organ


@dataclass(frozen=True)
class Row:
    """One line of the table. `target`, `limit`: seconds; None where there is none."""

    key: str
    what: str
    target: float | None
    limit: float | None


ROWS = (
    Row("scroll axial", "scroll one slice, axial", 0.016, 0.025),
    Row("scroll coronal", "scroll one slice, coronal", 0.016, 0.025),
    Row("scroll sagittal", "scroll one slice, sagittal", 0.016, 0.025),
    Row("window", "window drag, three views", 0.016, 0.025),
    Row("crosshair", "crosshair move, three views", 0.030, 0.075),
    Row("brush", "brush sample to pixels", 0.030, 0.075),
    Row("release", "brush released: written, undo entry, pixels", 0.030, 0.075),
    Row("first", "first click after the start: the model is loaded", None, None),
    Row("preview", "click to first preview, CPU", 0.150, None),
    Row("result", "click to result, CPU", 0.300, 3.0),
    Row("stall", "longest stall of the window during a click", 0.050, None),
    Row("stall organ", "the same on a proposal of an organ of 2 million voxels", 0.050, None),
    Row("candidates", "four candidates, CPU", 2.0, 10.0),
    Row("suggestion", "suggestion, CPU", 0.300, 2.0),
    Row("undo", "undo of an edit of an organ", 0.100, 0.300),
    Row("redo", "redo of an edit of an organ", 0.100, 0.300),
    Row("open", "open .nii.gz", 3.0, 6.0),
    Row("label map", "save label map .nii.gz", 1.0, 3.0),
    Row("session", "save session", 1.0, 3.0),
    Row(
        "surface",
        "stroke to its surface in 3D, organ of 2 million voxels (0.2 s of it is waiting for quiet)",
        0.500,
        2.0,
    ),
    Row("frame", "3D frame", 0.250, 1.0),
    Row("drag", "3D frame while dragging", 0.066, 0.500),
    Row("islands", "islands: keep largest", 0.500, 1.0),
    Row("margin", "margin of 5 mm: distance map on the bounding box", 1.0, 2.0),
    Row("fill holes", "fill holes", 1.5, 4.0),
    Row("seg written", "SEG, 20 labels, 120 slices: written", 3.0, 6.0),
    Row("seg read", "SEG, 20 labels, 120 slices: read", 2.0, 4.0),
    Row("start", "start to usable window", 3.0, 6.0),
)


def main() -> int:
    """Measures on each platform in a process of its own, prints the table and writes it."""
    options = _options()
    if options.rows:
        return _measure_here(options)
    before = state()
    platforms = [options.platform] if options.platform else ["offscreen", *(["xcb"] if shutil.which("Xvfb") else [])]
    found = {name: _measured(name, options) for name in platforms}
    text = table(found, before, options.repetitions)
    print(text)
    if not options.no_report:
        write_part(text, BEGIN, END)
    return 1 if any(over(row, found[name].get(row.key, [])) for name in found for row in ROWS) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", choices=("offscreen", "xcb"), help="only this one")
    parser.add_argument("--repetitions", type=int, default=60)
    parser.add_argument("--folder", type=Path, default=ROOT / "out" / "gui", help="where the volumes lie")
    parser.add_argument("--no-report", action="store_true", help="do not write benchmarks/GUI.md")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # a process of one platform: where its rows go
    return parser.parse_args()


def _measured(name: str, options: argparse.Namespace) -> Found:
    """The rows of one platform, by a process that has it."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.gui_speed", "--rows", str(rows), "--folder", str(options.folder)]
        command += ["--repetitions", str(options.repetitions)]
        if name == "xcb":
            command = ["xvfb-run", "-a", "-s", f"-screen 0 {SCREEN}", *command]
        homes = {"MEDSEG_RL_HOME": scratch, "XDG_CONFIG_HOME": scratch}
        environment = os.environ | homes | {"QT_QPA_PLATFORM": name}
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
        if done.returncode:
            print(f"{name} ended with code {done.returncode}: some rows are missing", file=sys.stderr)
        found: Found = json.loads(rows.read_text()) if rows.is_file() else {}
        return found


# --- in the process of one platform -----------------------------------------------------------------------------------


def _measure_here(options: argparse.Namespace) -> int:
    from PySide6.QtWidgets import QApplication

    from benchmarks.gui_volumes import write_large, write_many_labels
    from tests.gui.story_program import ParentedDialogs, Program

    found: Found = {"start": [_start() for _ in range(5)]}
    image, mask = write_large(options.folder)
    study, labels = write_many_labels(options.folder)
    application = QApplication(["gui_speed"])
    program = Program(application, ParentedDialogs(), seconds=120.0)
    program.show()
    for part in (_files, _two_dimensions, _model, _three_dimensions):
        _say(part.__name__)
        part(program, (image, mask), options.repetitions, found)
        options.rows.write_text(json.dumps(found))
    _say("_segments")
    _segments(program, study, labels, found)
    options.rows.write_text(json.dumps(found))
    program.dialogs.answers = ["discard", "discard"]
    program.close()
    return 0


def _say(part: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {part.strip('_')}", file=sys.stderr, flush=True)


START = """
from PySide6.QtWidgets import QApplication
from medseg_rl_gui.app import build_window
from medseg_rl_gui.dialogs import ScriptedDialogs
application = QApplication(["medseg-rl-gui"])
window = build_window(application, ScriptedDialogs())
window.show()
for _ in range(5):
    application.processEvents()
window.grab()
print("up", flush=True)
window.close()
"""


def _start() -> float:
    """From the start of the process to the window with its welcome page painted."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "up":
            raise RuntimeError("the window did not come up")
        return time.perf_counter() - began


def _files(program: Program, files: Files, repetitions: int, found: Found) -> None:
    """Opens the volume several times; the last stays open, with the organ as its label."""
    from benchmarks.gui_measures import timed

    for _ in range(4):
        found.setdefault("open", []).append(timed(lambda: program.window.open_paths([files[0]])))
        program.settled()
        program.hand.key("Ctrl+W")
    program.window.open_paths([files[0]])
    program.settled()


def _two_dimensions(program: Program, files: Files, repetitions: int, found: Found) -> None:
    from benchmarks.gui_measures import Measures

    measures = Measures(program, repetitions)
    measures.hand.key("Alt+1")
    _first_clicks(program, measures, found)
    program.dialogs.answers = ["mask"]
    program.window.open_paths([files[1]])
    program.settled()
    if program.session.mask_box is None:
        raise RuntimeError("the organ was not loaded")
    measures.rest()
    program.window.right.tabs.setCurrentIndex(0)
    for plane in ("axial", "coronal", "sagittal"):
        found[f"scroll {plane}"] = list(measures.scroll(plane))
    found["window"] = list(measures.window_drag())
    found["crosshair"] = list(measures.crosshair())
    measures.brush(found)
    measures.edits(found)
    found |= {f"{name} cpu": seconds for name, seconds in measures.cpu.items()}
    with tempfile.TemporaryDirectory() as folder:
        measures.save(Path(folder), found)


def _first_clicks(program: Program, measures: Measures, found: Found) -> None:
    """In a new case: the first click loads torch and the model, the others show what a click takes."""
    from benchmarks.gui_volumes import liver

    places = _places(program, 12)
    once: Found = {}
    measures.clicks(places[:1], once)
    found["first"] = once["result"]
    measures.clicks(places[1:], found)
    rim = [_world(program.session.image, part * program.session.image.shape) for part in RIM]
    measures.clicks_on(liver(), rim, found)


def _places(program: Program, count: int) -> list[Point]:
    """Places in and around the lesion, RAS+ mm."""
    image = program.session.image
    middle = np.array([0.36, 0.45, 0.5]) * image.shape
    rng = np.random.default_rng(3)
    return [_world(image, middle + rng.integers(-9, 9, 3)) for _ in range(count)]


def _world(image: Volume, index: npt.ArrayLike) -> Point:
    x, y, z = (float(v) for v in image.index_to_world(index))
    return x, y, z


def _model(program: Program, files: Files, repetitions: int, found: Found) -> None:
    from benchmarks.gui_measures import Measures

    measures = Measures(program, repetitions)
    program.hand.key("Ctrl+L")
    place = _world(program.session.image, (350, 300, 150))
    found["candidates"] = list(measures.candidates(place))
    found["suggestion"] = list(measures.suggestions(place))
    program.window.acts.trigger("label.previous")


def _three_dimensions(program: Program, files: Files, repetitions: int, found: Found) -> None:
    from benchmarks.gui_measures import Measures

    Measures(program, repetitions).surfaces(found)


def _segments(program: Program, study: Path, labels: Path, found: Found) -> None:
    """Twenty labels on a DICOM series: written as SEG, and read into the same images again."""
    from benchmarks.gui_measures import Measures, choosing, require, timed

    measures = Measures(program, 1)
    program.dialogs.answers = ["discard", "discard"]
    program.hand.key("Ctrl+W")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(3):
            program.dialogs.answers = []
            program.window.open_paths([study])
            program.dialogs.answers = ["mask"]
            program.window.open_paths([labels])
            measures.rest()
            target = Path(folder) / f"labels-{number}.dcm"
            program.dialogs.answers = [choosing("seg"), target]
            found.setdefault("seg written", []).append(timed(lambda: program.hand.key("Ctrl+E")))
            require(target)
            program.dialogs.answers = ["discard", "discard"]
            program.hand.key("Ctrl+W")
            program.dialogs.answers = []
            program.window.open_paths([study])
            found.setdefault("seg read", []).append(timed(partial(program.window.open_paths, [target])))
            program.settled()
            if len(program.session.labels.labels) != 20:
                raise RuntimeError("the labels were not read")
            program.dialogs.answers = ["discard", "discard"]
            program.hand.key("Ctrl+W")


# --- the report -------------------------------------------------------------------------------------------------------


def over(row: Row, seconds: list[float]) -> bool:
    """Whether a row is over its limit: at the 95th percentile."""
    return bool(seconds) and row.limit is not None and float(np.percentile(seconds, 95)) > row.limit


def table(found: dict[str, Found], commit: str, repetitions: int) -> str:
    """The table in Markdown, all platforms side by side."""
    lines = [
        f"{commit}, {machine()}. Repetitions: {repetitions} for what is quick, fewer for what is slow (column n)."
        f" Minimum / median / 95th percentile, wall clock; {load()}. CPU: median of what the main thread computed,"
        " which other programs do not lengthen so much. A limit counts at the 95th percentile of the wall clock.",
        "",
        "| operation | target | limit | " + " | ".join(f"{name} | CPU | n | " for name in found) + "|",
        "|---|---:|---:|" + "---:|---:|---:|---|" * len(found),
    ]
    for row in ROWS:
        cells = [row.what, _ms(row.target), _ms(row.limit)]
        for measured in found.values():
            seconds = measured.get(row.key, [])
            computed = measured.get(f"{row.key} cpu")
            cpu = _ms(float(np.median(computed))) if computed else ""
            cells += [_spread(seconds), cpu, str(len(seconds)), _verdict(row, seconds)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "GPU: not measured, there was none."]
    return "\n".join(lines)


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "-"
    return " / ".join(_ms(float(v)) for v in (min(seconds), np.median(seconds), np.percentile(seconds, 95)))


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return (
        f"{seconds:.2f} s"
        if seconds >= 1
        else f"{1000 * seconds:.1f} ms"
        if seconds < 0.1
        else f"{1000 * seconds:.0f} ms"
    )


def _verdict(row: Row, seconds: list[float]) -> str:
    if not seconds:
        return "not measured"
    if over(row, seconds):
        return "**over the limit**"
    return "" if row.target is None or float(np.median(seconds)) <= row.target else "above target"


def machine() -> str:
    """Processor, cores, system: no name of the host."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    return f"{model}, {cores} cores, Python {platform.python_version()}, {platform.system()}"


def load() -> str:
    """How busy the machine was meanwhile, and whether this went before the others."""
    try:
        said = f"{os.getloadavg()[2]:.0f} programs wanted these cores at once in the last quarter of an hour"
    except OSError:
        return "how busy the machine was is not known"
    group = "".join(_lines("/proc/self/autogroup"))  # such as "/autogroup-12 nice -20"
    return f"{said}, and this one went first" if group.endswith("nice -20") else said


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def state() -> str:
    """The commit that is measured."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changes = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return f"Commit {git('rev-parse', '--short=12', 'HEAD') or 'unknown'}{changes}"


def write_part(text: str, begin: str, end: str) -> None:
    """Puts a part of GUI.md in place of the one that stands there."""
    whole = REPORT.read_text(encoding="utf-8") if REPORT.is_file() else EMPTY
    head, _, rest = whole.partition(begin)
    tail = rest.partition(end)[2]
    REPORT.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}", encoding="utf-8")


EMPTY = f"""# The window: speed and memory

Written by `python -m benchmarks.gui_speed` and `python -m benchmarks.gui_memory`; nothing between the marks is typed.
Everything goes through the real window: an event of mouse or keyboard, the engine, the worker, until it is painted.
The volume has 512 x 512 x 300 voxels (int16), the model is the shipped one. The xcb columns ran on Xvfb.

## Speed

{BEGIN}
{END}

## Memory

<!-- memory -->
<!-- end of memory -->
"""


if __name__ == "__main__":
    sys.exit(main())
