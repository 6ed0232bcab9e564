"""Dice against clicks as a picture: median and quartiles over cases, one line a method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from medseg_rl.evaluation.records import Record
from medseg_rl.evaluation.runs import Run, group_runs
from medseg_rl.imageio.atomic import atomic_path


def draw_curves(records: Iterable[Record], folder: Path, *, variant: str = "") -> list[Path]:
    """One PNG for each set, structure, start, robot and ROI among `records`; returns the files, atomically written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # 0.4 s, and only drawing needs it
    from matplotlib.figure import Figure

    figures: dict[tuple[str, ...], dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in group_runs(records):
        r = run.first
        figures[(r.set, r.split, r.structure, r.start, r.robot, r.roi_kind)][r.method].append(run)
    paths = []
    for key, methods in figures.items():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for method, runs in sorted(methods.items()):
            dice = _padded(runs)
            low, median, high = np.percentile(dice, (25, 50, 75), axis=0)
            clicks = np.arange(median.size)
            (line,) = axes.plot(clicks, median, label=method, linewidth=1.6)
            axes.fill_between(clicks, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        name, split, structure, start, robot, roi = key
        title = f"{name} {structure}, {split}, start {start}, robot {robot}, ROI {roi} {variant}".rstrip()
        axes.set(xlabel="clicks", ylabel="Dice", title=title)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        axes.legend(title="median, quartiles", fontsize="small")
        path = folder / (
            "_".join(("dice", *key, *filter(None, [variant]))).replace("/", "-").replace(" ", "-") + ".png"
        )
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=140, metadata={"Software": None})
        paths.append(path)
    return paths


def _padded(runs: list[Run]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Dice (runs, clicks + 1), shorter runs carried forward."""
    length = max(len(run.rows) for run in runs)
    return np.array([[run.dice_at(click) for click in range(length)] for run in runs])
