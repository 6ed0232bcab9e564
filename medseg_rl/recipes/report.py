"""What a recipe leaves behind: a table and curves as CSV, the curves as a picture, and a card that says what was run.

Nothing is computed here but means with their intervals.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.rlhf.file_lock import locked

Cell = str | float | int
Row = Mapping[str, Cell]
PATIENCE_SECONDS = 60.0  # a picture of many panels takes seconds


class Interval(NamedTuple):
    """Mean and half width of its 95 % interval; NaN half width for a single value."""

    mean: float
    half_width: float
    runs: int

    def __str__(self) -> str:
        if self.runs < 2:
            return f"{self.mean:.3f} (one seed)"
        return f"{self.mean:.3f} +- {self.half_width:.3f}"


def interval(values: Sequence[float]) -> Interval:
    """Mean of independent runs with Student's 95 % interval."""
    from scipy.stats import t

    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return Interval(mean, math.nan, n)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    return Interval(mean, float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n), n)


class Curve(NamedTuple):
    """One line of one panel: every single run is drawn, none is smoothed."""

    panel: str
    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Report:
    """`table`: rows with the same keys. `facts`: size and cost of the run, printed in this order. `notes`: what a
    reader must know to judge the figures. `samples`: text shown as it is, the first by index.
    """

    title: str
    table: Sequence[Row]
    facts: Mapping[str, str]
    curves: Sequence[Curve] = ()
    x_label: str = "iteration"
    notes: Sequence[str] = ()
    samples: str = ""
    smoke: bool = False
    extra_tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)


def write_report(folder: Path, report: Report) -> tuple[Path, ...]:
    """results.csv, curves.csv, curves.png and card.md in `folder`; their paths.

    One program at a time: the files of another would be of another table. Raises OutputError where it does not end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".report.lock", patience=PATIENCE_SECONDS):
        return _written(folder, report)


def _written(folder: Path, report: Report) -> tuple[Path, ...]:
    paths = [_write_rows(folder / "results.csv", report.table)]
    paths += [_write_rows(folder / f"{name}.csv", rows) for name, rows in report.extra_tables.items()]
    if report.curves:
        rows: list[Row] = [
            {"panel": curve.panel, "label": curve.label, "x": x, "y": y}
            for curve in report.curves
            for x, y in zip(curve.x, curve.y, strict=True)
        ]
        paths += [_write_rows(folder / "curves.csv", rows), _draw(folder / "curves.png", report)]
    with atomic_path(folder / "card.md") as temporary:
        temporary.write_text(card(report), encoding="utf-8")
    return (*paths, folder / "card.md")


def card(report: Report) -> str:
    """The card as Markdown."""
    lines = [f"# {report.title}", ""]
    if report.smoke:
        lines += ["**Smoke run: proves that the parts fit together and claims nothing.**", ""]
    lines += [f"- {name}: {fact}" for name, fact in report.facts.items()]
    lines += ["", *_markdown_table(report.table)]
    for name, rows in report.extra_tables.items():
        lines += ["", f"## {name}", "", *_markdown_table(rows)]
    if report.notes:
        lines += ["", "## What to know", "", *(f"- {note}" for note in report.notes)]
    if report.samples:
        lines += ["", "## Samples, the first by index", "", "```", report.samples.rstrip(), "```"]
    return "\n".join(lines) + "\n"


def shown(cell: Cell) -> str:
    """A cell as a reader sees it."""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _markdown_table(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return ["no rows"]
    names = list(rows[0])
    body = ["| " + " | ".join(shown(row[name]) for name in names) + " |" for row in rows]
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names), *body]


def _write_rows(path: Path, rows: Sequence[Row]) -> Path:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["empty"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def _draw(path: Path, report: Report) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(curve.panel for curve in report.curves))
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    labels = list(dict.fromkeys(curve.label for curve in report.curves))
    explained: set[str] = set()
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, panel in zip(axes.flat, panels, strict=False):
        named: set[str] = set()
        for curve in (c for c in report.curves if c.panel == panel):
            label = curve.label if curve.label not in named else None
            named.add(curve.label)
            colour = f"C{labels.index(curve.label) % 10}"
            marker = "." if len(curve.x) < 30 else None
            place.plot(curve.x, curve.y, color=colour, label=label, linewidth=1.2, alpha=0.8, marker=marker)
        place.set_title(panel, fontsize=10)
        place.set_xlabel(panel.partition(" over ")[2] or report.x_label)
        if not named <= explained:
            place.legend(fontsize=7)
        explained |= named
    for place in list(axes.flat)[len(panels) :]:
        place.set_axis_off()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path
