"""The second table: all thresholds of NoC, surface distances, size of the drops, the cold first turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg_rl.evaluation.records import Record
from medseg_rl.evaluation.runs import NOC_LIMIT, Run, by_subject, cover, given, mean

NOC_LEVELS = (0.80, 0.85, 0.90, 0.95)
DISTANCE_CLICKS = (0, 5, 20)
SMALL_DROP = 0.001
HEADER = (
    "| method | @2 | "
    + " | ".join(f"NoC{100 * level:.0f} (fail %, start passes %)" for level in NOC_LEVELS)
    + " | "
    + " | ".join(f"NSD 1 voxel @{n}" for n in DISTANCE_CLICKS)
    + " | "
    + " | ".join(f"HD95 mm @{n}" for n in DISTANCE_CLICKS)
    + " | "
    + " | ".join(f"ASSD mm @{n}" for n in DISTANCE_CLICKS)
    + f" | drops over {SMALL_DROP} % | mean / worst drop | far became wrong % | first turn ms | peak MB | empty masks |"
)


def detail_row(method: str, runs: Sequence[Run]) -> str:
    """One line under `HEADER`; means over subjects."""
    cells = [
        method,
        _mean_at(runs, "dice", 2),
        *(_clicks_to_reach(runs, level) for level in NOC_LEVELS),
        *(_mean_at(runs, "nsd_1vox", click) for click in DISTANCE_CLICKS),
        *(_mean_at(runs, "hd95_mm", click) for click in DISTANCE_CLICKS),
        *(_mean_at(runs, "assd_mm", click) for click in DISTANCE_CLICKS),
        *_drops(runs),
        _far_wrong(runs),
        _median([row.latency_ms for before, row in given(runs) if before.click == 0]),
        _median([row.peak_mb for _, row in given(runs)], highest=True),
        str(sum(row.dice == 0.0 and row.hd95_mm == row.assd_mm and row.click > 0 for run in runs for row in run.rows)),
    ]
    return "| " + " | ".join(cells) + " |"


def _clicks_to_reach(runs: Sequence[Run], level: float) -> str:
    if not cover(runs, NOC_LIMIT):
        return "-"
    clicks = mean(by_subject(runs, lambda run: run.clicks_to_reach(level)))
    failed = mean(by_subject(runs, lambda run: float(not run.reaches(level))))
    passed = mean(by_subject(runs, lambda run: float(run.dice[0] >= level)))
    return f"{clicks:.1f} ({100 * failed:.0f}, {100 * passed:.0f})"


def _mean_at(runs: Sequence[Run], column: str, click: int) -> str:
    if not cover(runs, click):
        return "-"

    def value(run: Run) -> float:
        return float(getattr(run.rows[min(click, len(run.rows) - 1, NOC_LIMIT)], column))

    return f"{mean(by_subject(runs, value)):.3f}"


def _drops(runs: Sequence[Run]) -> tuple[str, str]:
    pairs = given(runs)
    drops = [before.dice - after.dice for before, after in pairs if after.dice < before.dice]
    if not pairs:
        return "-", "-"
    share = 100 * sum(drop >= SMALL_DROP for drop in drops) / len(pairs)
    return f"{share:.1f}", f"{np.mean(drops):.4f} / {max(drops):.4f}" if drops else "0 / 0"


def _far_wrong(runs: Sequence[Run]) -> str:
    rows: list[Record] = [after for _, after in given(runs)]
    far = sum(row.far_vox or 0 for row in rows)
    return "-" if not far else f"{100 * sum(row.far_wrong_vox or 0 for row in rows) / far:.1f}"


def _median(values: Sequence[float | None], *, highest: bool = False) -> str:
    known = [value for value in values if value is not None]
    return "-" if not known else f"{max(known) if highest else np.median(known):.0f}"
