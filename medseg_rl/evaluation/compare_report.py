"""A comparison of two runs as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg_rl.errors import OutputError
from medseg_rl.evaluation.compare import Comparison
from medseg_rl.evaluation.statistics import EQUIVALENCE_MARGIN
from medseg_rl.imageio.atomic import atomic_path

HEADER = "| figure | A | B | A - B [95 %] |"


def comparison_table(a: Path, b: Path, found: Sequence[Comparison]) -> str:
    """Markdown: one table a comparison; the first figure alone is tested, the others have intervals only."""
    lines = [f"A = {a}, B = {b}. Paired by subject, bootstrap over subjects; Holm over {len(found)} comparison(s).", ""]
    for c in found:
        tested = c.figures[0]
        lines += [f"### {c.table}: {c.method_a} (A) against {c.method_b} (B)", ""]
        lines += [HEADER, "|---|---|---|---|"]
        for figure in c.figures:
            d = figure.difference
            interval = f"{d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"
            lines.append(f"| {figure.figure} | {figure.mean_a:.4f} | {figure.mean_b:.4f} | {interval} |")
        verdict = f"; no difference (within ±{EQUIVALENCE_MARGIN})" if c.no_difference else ""
        lines += ["", f"{c.subjects} subjects, {c.volumes} volumes. {tested.figure}: Wilcoxon p {c.p_value:.2g},"]
        lines[-1] += f" Holm {c.p_holm:.2g}, rank-biserial {c.rank_biserial:+.2f}{verdict}."
        if c.failures_a or c.failures_b:
            lines.append(f"Runs that failed and count as empty: {c.failures_a} of A, {c.failures_b} of B.")
        lines.append("")
    return "\n".join(lines)


def comparison_json(a: Path, b: Path, found: Sequence[Comparison]) -> dict[str, Any]:
    """The same as plain values."""
    return {"a": str(a), "b": str(b), "comparisons": [c.as_json() for c in found]}


def write_comparison(folder: Path, a: Path, b: Path, found: Sequence[Comparison]) -> None:
    """`comparison.md` and `comparison.json` in `folder`, atomically. Raises `OutputError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}; choose another place") from error
    with atomic_path(folder / "comparison.md") as temporary:
        temporary.write_text(comparison_table(a, b, found), encoding="utf-8")
    with atomic_path(folder / "comparison.json") as temporary:
        temporary.write_text(json.dumps(comparison_json(a, b, found), indent=1) + "\n", encoding="utf-8")
