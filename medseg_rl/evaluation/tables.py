"""Markdown tables from result files. Nothing in a table is typed by hand: same CSV in, same bytes out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from medseg_rl.evaluation import detail_table
from medseg_rl.evaluation.records import FAILURES, Record
from medseg_rl.evaluation.runs import NOC_LIMIT, Run, by_subject, cover, given, group_runs, mean
from medseg_rl.evaluation.statistics import bootstrap_interval, compare_with_reference

REPORT_CLICKS = (0, 1, 3, 5, 10, 20)
NOC_DICE = 0.85
SIGNIFICANT = 0.05
HEADER = (
    "| method | seeds | n | "
    + " | ".join(f"{'Dice' if n == 0 else ''}@{n}" for n in REPORT_CLICKS)
    + " | AUC20 Dice | AUC20 NSD | NoC85 (fail %) | NoDC % | respected % (raw) | far % | p50 / p95 ms |"
)


def result_tables(records: Iterable[Record], *, reference: str | None = None, variant: str = "") -> str:
    """All tables: one per set, split, structure, start, robot and ROI, each with its paired tests.

    `reference`: the method the others are tested against (Wilcoxon, Holm over the others); none, no tests. `variant`:
    what differs from the main table's rules, for the headings.
    """
    sections: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in group_runs(records):
        r = run.first
        sections[(r.set, r.split, r.structure, r.start, r.robot, r.roi_kind)].append(run)
    return "\n".join(_section(key, runs, reference, variant) for key, runs in sections.items())


def _section(key: tuple[str, ...], runs: Sequence[Run], reference: str | None, variant: str) -> str:
    name, split, structure, start, robot, roi = key
    methods: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        methods[run.first.method].append(run)
    order = sorted(methods, key=lambda m: -mean(by_subject(methods[m], Run.auc_dice)))
    comparisons, supported = _comparisons(methods, order, reference)
    lines = [
        f"### {name}, {split}, {structure}: start {start}, robot {robot}, ROI {roi}{variant and ', ' + variant}",
        "",
        "Mean [95 % bootstrap interval over subjects] (SD over training seeds); n = subjects (volumes).",
        "",
        HEADER,
        _rule(HEADER),
        *(_row(m, methods[m], bold=m == supported) for m in order),
        "",
        *comparisons,
        detail_table.HEADER,
        _rule(detail_table.HEADER),
        *(detail_table.detail_row(m, methods[m]) for m in order),
        "",
        *_failures(runs),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _rule(header: str) -> str:
    return "|" + "---|" * (header.count("|") - 1)


def _row(method: str, runs: Sequence[Run], *, bold: bool) -> str:
    seeds = sorted({run.first.train_seed for run in runs if run.first.train_seed is not None})
    subjects = {run.first.subject for run in runs}
    cells = [
        f"**{method}**" if bold else method,
        str(len(seeds)) if seeds else "-",
        f"{len(subjects)} ({len({run.first.case for run in runs})})",
        *(_with_interval(runs, lambda run, n=n: run.dice_at(n), n) for n in REPORT_CLICKS),  # type: ignore[misc]
        ("**{}**" if bold else "{}").format(_with_interval(runs, Run.auc_dice) + _seed_deviation(runs, seeds)),
        _with_interval(runs, Run.auc_nsd),
        _clicks_to_85(runs),
        _lowering(runs),
        _respected(runs),
        _far(runs),
        _latency(runs),
    ]
    return "| " + " | ".join(cells) + " |"


def _clicks_to_85(runs: Sequence[Run]) -> str:
    if not cover(runs, NOC_LIMIT):
        return "-"
    clicks = mean(by_subject(runs, lambda run: run.clicks_to_reach(NOC_DICE)))
    failed = mean(by_subject(runs, lambda run: float(not run.reaches(NOC_DICE))))
    return f"{clicks:.1f} ({100 * failed:.0f})"


def _with_interval(runs: Sequence[Run], value: Callable[[Run], float], click: int = NOC_LIMIT) -> str:
    if not cover(runs, click):
        return "-"
    interval = bootstrap_interval(list(by_subject(runs, value).values()))
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _seed_deviation(runs: Sequence[Run], seeds: Sequence[int]) -> str:
    if len(seeds) < 2 or not cover(runs, NOC_LIMIT):
        return ""
    means = [mean(by_subject([r for r in runs if r.first.train_seed == seed], Run.auc_dice)) for seed in seeds]
    return f" ({np.std(means, ddof=1):.4f})"


def _lowering(runs: Sequence[Run]) -> str:
    pairs = given(runs)
    return "-" if not pairs else f"{100 * np.mean([after.dice < before.dice for before, after in pairs]):.1f}"


def _respected(runs: Sequence[Run]) -> str:
    after = [row for _, row in given(runs)]
    held = [row.respected for row in after if row.respected is not None]
    raw = [row.respected_raw for row in after if row.respected_raw is not None]
    if not held:
        return "-"
    return f"{100 * np.mean(held):.1f} ({f'{100 * np.mean(raw):.1f}' if raw else 'n/a'})"


def _far(runs: Sequence[Run]) -> str:
    after = [row for _, row in given(runs)]
    changed = sum(row.changed_vox or 0 for row in after)
    return "-" if not changed else f"{100 * sum(row.far_vox or 0 for row in after) / changed:.1f}"


def _latency(runs: Sequence[Run]) -> str:
    warm = [row.latency_ms for _, row in given(runs) if row.click > 1 and row.latency_ms is not None]
    return "-" if not warm else f"{np.median(warm):.0f} / {np.percentile(warm, 95):.0f}"


def _comparisons(
    methods: Mapping[str, Sequence[Run]], order: Sequence[str], reference: str | None
) -> tuple[list[str], str | None]:
    """Lines of the paired tests, and the method whose being best the corrected tests support, if any."""
    if reference is None or reference not in methods or len(methods) < 2:
        return [], None
    if not all(cover(runs, NOC_LIMIT) for runs in methods.values()):
        return [f"No tests against {reference}: AUC{NOC_LIMIT} needs {NOC_LIMIT} clicks of every method.", ""], None
    values = {name: by_subject(runs, Run.auc_dice) for name, runs in methods.items()}
    family = compare_with_reference(values[reference], {n: values[n] for n in order if n != reference})
    lines = [
        f"AUC20 Dice, {reference} minus the other, paired by subject; Wilcoxon signed-rank, Holm over {len(family)}:",
        "",
        "| other | n | difference | p | p (Holm) | rank-biserial |",
        "|---|---|---|---|---|---|",
    ]
    for c in family:
        d = c.difference
        lines.append(
            f"| {c.other} | {c.subjects} | {d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"
            f"{' no difference' * c.no_difference} | {c.p_value:.2g} | {c.p_holm:.2g} | {c.rank_biserial:+.2f} |"
        )
    wins = all(c.p_holm < SIGNIFICANT and c.difference.mean > 0 for c in family)
    return [*lines, ""], reference if family and wins else None


def _failures(runs: Sequence[Run]) -> list[str]:
    failed = [(run, row) for run in runs for row in run.rows if row.status in FAILURES]
    first: dict[int, tuple[Run, Record]] = {}
    for run, row in failed:
        first.setdefault(id(run), (run, row))
    return [
        f"- counted as empty: {row.method}, {row.case}, seed {row.robot_seed}, from click {row.click} on ({row.status})"
        for _, row in first.values()
    ]
