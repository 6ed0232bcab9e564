"""How long a click takes, to the mask at full resolution, on a volume of 512 x 512 x 300: benchmarks/CLICK_SPEED.md.

    python -m benchmarks.click_speed                      # all scenarios on two cores, each in a process of its own
    python -m benchmarks.click_speed --only "CT 64 mm" --repetitions 4 --no-report

Latency is that of the evaluation protocol: everything between `prepare` of a click and the applied delta, through the
same `SegmentationSession` that window and robots drive. Peak memory is what a fresh process needs over the volume.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gui_speed import load, machine, state
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.volume import Index, Volume

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "benchmarks" / "CLICK_SPEED.md"
SHAPE: Index = (512, 512, 300)
SPACING = np.array((0.8, 0.8, 1.0))
CENTRE: Index = (230, 260, 150)
SIZES_MM = {"10 mm": (10, 10, 10), "30 mm": (30, 30, 30), "64 mm": (64, 64, 64), "liver": (200, 150, 130)}
WRONG_MM = 10.0
MEGABYTE = 2**20
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scenario:
    """`modality`: "CT" or "MR"; `size`: of `SIZES_MM`; `turn`: "first" on an empty mask, or "correct" a given one."""

    modality: str
    size: str
    turn: str

    @property
    def name(self) -> str:
        """As on the command line and in the table."""
        return f"{self.modality} {self.size} {self.turn}"


@dataclass
class Found:
    """Seconds of each warm turn and their parts; `cold`: the first of the process; `peak_mb`: over the volume."""

    cold: float = 0.0
    seconds: list[float] = field(default_factory=list)
    preview: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    roi_voxels: list[int] = field(default_factory=list)
    dice: list[float] = field(default_factory=list)
    peak_mb: float = 0.0


SCENARIOS = [Scenario(m, size, turn) for m in ("CT", "MR") for size in SIZES_MM for turn in ("first", "correct")]


def main() -> int:
    """Measures each scenario, prints the table and writes it."""
    options = _options()
    if options.rows:
        scenario = next(s for s in SCENARIOS if s.name == options.only)
        options.rows.write_text(json.dumps(asdict(measure(scenario, options))), encoding="utf-8")
        return 0
    before, found = state(), {}
    for scenario in SCENARIOS:
        if options.only in scenario.name:
            found[scenario.name] = _in_process(scenario, options)
            print(_line(scenario.name, found[scenario.name]), flush=True)
    text = table(found, before, options)
    if not options.no_report:
        _write(text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument("--repetitions", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bundle", help="name or folder; the default bundle if left out")
    parser.add_argument("--no-report", action="store_true")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_process(scenario: Scenario, options: argparse.Namespace) -> Found:
    """The scenario in a fresh process, held to as many cores as it has threads."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.json"
        words = [sys.executable, "-m", "benchmarks.click_speed", "--only", scenario.name, "--rows", str(rows)]
        words += ["--repetitions", str(options.repetitions), "--threads", str(options.threads)]
        words += ["--bundle", options.bundle] if options.bundle else []
        subprocess.run(words, cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": str(options.threads)})
        return Found(**json.loads(rows.read_text(encoding="utf-8")))


def measure(scenario: Scenario, options: argparse.Namespace) -> Found:
    """Clicks on one volume, each undone again, so that every one meets the same mask."""
    if hasattr(os, "sched_setaffinity"):  # what taskset does
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: options.threads]))
    from medseg_rl.bundle import load_bundle
    from medseg_rl.session import PlaceVoxelClicks, SegmentationSession

    radii = np.array(SIZES_MM[scenario.size]) / 2
    volume, truth = body(scenario.modality, radii), region(radii, (0.0, 0.0, 0.0))
    begun = _resident()
    bundle = load_bundle(options.bundle)
    session = SegmentationSession(volume, bundle.refiner)
    if scenario.turn == "correct":
        session.set_start(shifted_start(radii))
    found = Found()
    for number, click in enumerate(clicks_of(scenario, radii, options.repetitions + 1)):
        shown: list[float] = []
        started = time.perf_counter()
        job = session.prepare(PlaceVoxelClicks((click,)))
        report = session.apply(job.run(progress=lambda _, to=shown: to.append(time.perf_counter())))  # type: ignore[misc]
        seconds = time.perf_counter() - started
        if number == 0:
            found.cold = seconds
        else:
            found.seconds.append(seconds)
            found.preview.append((shown[0] if shown else time.perf_counter()) - started)
            for part, took in asdict(report.timings).items():
                found.parts.setdefault(part, []).append(took)
            found.roi_voxels.append(report.roi.voxels if report.roi is not None else 0)
        found.peak_mb = (_peak() - begun) / MEGABYTE
        found.dice.append(dice(session.mask, truth))
        session.undo()
    return found


def body(modality: str, radii: npt.NDArray[np.float64]) -> Volume:
    """An object in tissue, int16; written slice by slice, so that making it needs no memory of its own."""
    array, rng = np.empty(SHAPE, np.int16), np.random.default_rng(7)
    inside, tissue, noise = (105, 40, 14.0) if modality == "CT" else (420, 300, 25.0)
    x, y, z = _millimetres((0.0, 0.0, 0.0))
    outline = (x[:, None] / 190) ** 2 + (y[None, :] / 150) ** 2 <= 1
    for k in range(SHAPE[2]):
        values = np.where(outline, tissue, -1000 if modality == "CT" else 20).astype(np.float32)
        values[_ellipse(x, y, z[k], radii)] = inside
        array[:, :, k] = values + rng.normal(0.0, noise, SHAPE[:2])
    return Volume(array, np.diag([*SPACING, 1.0]), modality)


def region(radii: npt.NDArray[np.float64], offset_mm: tuple[float, float, float]) -> Mask:
    """True in the ellipsoid of these radii about the centre of the object, moved by an offset."""
    found = np.zeros(SHAPE, np.bool_)
    x, y, z = _millimetres(offset_mm)
    for k in range(SHAPE[2]):
        found[:, :, k] = _ellipse(x, y, z[k], radii)
    return found


def shifted_start(radii: npt.NDArray[np.float64]) -> Mask:
    """The object moved along x: wrong by 10 mm at both ends, or by half of its width where it is small."""
    return region(radii, (_wrong(radii), 0.0, 0.0))


def _wrong(radii: npt.NDArray[np.float64]) -> float:
    return min(WRONG_MM, float(radii[0]))


def clicks_of(scenario: Scenario, radii: npt.NDArray[np.float64], count: int) -> Iterator[Click]:
    """First clicks about the middle; corrections in the middle of the missed and of the false part, in turn."""
    rng = np.random.default_rng(3)
    for number in range(count):
        jitter = rng.integers(-1, 2, 3)
        if scenario.turn == "first":
            yield _click(jitter, ClickLabel.FOREGROUND)
            continue
        missed = number % 2 == 0
        along = (-1 if missed else 1) * (radii[0] + (0 if missed else _wrong(radii)) - _wrong(radii) / 2)
        yield _click(
            np.array([along, 0, 0]) / SPACING + jitter, ClickLabel.FOREGROUND if missed else ClickLabel.BACKGROUND
        )


def _click(offset: npt.NDArray[Any], label: ClickLabel) -> Click:
    i, j, k = (round(float(n)) for n in np.array(CENTRE) + offset)
    return Click((i, j, k), label)


def _millimetres(offset_mm: tuple[float, float, float]) -> tuple[npt.NDArray[np.float64], ...]:
    return tuple((np.arange(n) - c) * s - o for n, c, s, o in zip(SHAPE, CENTRE, SPACING, offset_mm, strict=True))


def _ellipse(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], z: float, radii: npt.NDArray[np.float64]) -> Mask:
    a, b, c = radii
    inside: Mask = (x[:, None] / a) ** 2 + (y[None, :] / b) ** 2 + (z / c) ** 2 <= 1
    return inside


def dice(mask: Mask, truth: Mask) -> float:
    """Overlap with the object."""
    return 2 * int(np.count_nonzero(mask & truth)) / max(1, int(np.count_nonzero(mask)) + int(np.count_nonzero(truth)))


def _resident() -> int:
    """Bytes now in memory; the peak is counted from here on, where the system can forget an older one."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return _peak()


def _peak() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def table(found: dict[str, Found], before: str, options: argparse.Namespace) -> str:
    """The report: one line a scenario, times in ms."""
    head = (
        f"{before}. {machine()}; {options.threads} threads, bundle {options.bundle or 'default'}, "
        f"{options.repetitions} warm clicks each; {load()}.\n\n"
        "| scenario | median | p95 | first preview | cold | region | refine | rest | voxels of the region "
        "| Dice before undo | peak MB |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(_line(name, one) for name, one in found.items())


def _line(name: str, found: Found) -> str:
    def ms(values: list[float], percent: float = 50) -> str:
        return f"{1000 * float(np.percentile(values, percent)):.0f}" if values else "-"

    rest = [sum(v) for v in zip(*(found.parts[p] for p in ("encode", "prepare", "apply")), strict=True)]
    cells = [name, ms(found.seconds), ms(found.seconds, 95), ms(found.preview), f"{1000 * found.cold:.0f}"]
    cells += [ms(found.parts["region"]), ms(found.parts["refine"]), ms(rest), f"{int(np.median(found.roi_voxels)):,}"]
    return f"| {' | '.join([*cells, f'{np.median(found.dice):.3f}', f'{found.peak_mb:.0f}'])} |"


def _write(text: str) -> None:
    whole = REPORT.read_text(encoding="utf-8") if REPORT.is_file() else EMPTY
    head, _, rest = whole.partition(BEGIN)
    REPORT.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


BEGIN, END = "<!-- clicks -->", "<!-- end of clicks -->"
EMPTY = f"""# Click to mask

Written by `python -m benchmarks.click_speed`; nothing between the marks is typed. A synthetic volume of 512 x 512 x 300
voxels of 0.8 x 0.8 x 1 mm, int16. "first": a click in the middle of the object on an empty mask. "correct": object and
background clicks in turn on a mask that is 10 mm off at two ends. Each click is undone before the next. Times in ms;
the first turn of a process, with loading of torch and the model, is the column "cold".

{BEGIN}
{END}
"""


if __name__ == "__main__":
    raise SystemExit(main())
