"""From what is on disk of a proof to its sections in RESULTS.md. Runs nothing, and types no figure or reason."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import methodcaller
from typing import Any

import numpy as np

from benchmarks.proof.plan import Arm, Job, Plan, Question
from benchmarks.proof.standing import Folder, Shared, Standing, standing
from medseg_rl.config import run_config
from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.compare import MUST_AGREE, OTHER_RULES
from medseg_rl.evaluation.records import Record, read_records
from medseg_rl.evaluation.runs import Run, by_subject, given, group_runs, mean
from medseg_rl.evaluation.statistics import EQUIVALENCE_MARGIN, PairedComparison, compare_with_reference, holm
from medseg_rl.evaluation.tables import SIGNIFICANT, result_tables

HEADING = "## The proof: what could falsify the claim"
GOALS = (("Dice @5, start A", 0.92), ("Dice @20, start A", 0.96))
MOST_LOWERING, LEAST_RESPECTED = 5.0, 90.0
Sections = dict[tuple[str, ...], dict[str, list[Run]]]


@dataclass(frozen=True)
class Measured:
    """One evaluated run: its rows, the manifest of each result file by name, and how it stands."""

    job: Job
    records: tuple[Record, ...]
    manifests: Mapping[str, Mapping[str, Any]]
    standing: Standing
    settings: str


def proof_text(plan: Plan, folder: Folder) -> str:
    """All sections as Markdown, from the rows, manifests and ledgers in `folder`.

    Raises `InputFileError` where nothing was begun, where a run was made in a changed checkout, or where the runs of a
    table differ in data, split, starts, robot or rules.
    """
    shared = folder.shared()
    stands = {job: standing(folder, job) for job in plan.jobs()}
    measured = [_measured(folder, job, stand) for job, stand in stands.items() if stand.evaluated]
    _check_alike(measured)
    parts = [HEADING, _introduction(plan, shared, measured)]
    answers = {question: _answer(question, measured, plan) for question in plan.questions}
    parts += [part for answer in answers.values() for part in answer]
    unanswered = [question.name for question, answer in answers.items() if not answer]
    parts += [f"No answer yet to: {', '.join(unanswered)}." if unanswered else ""]
    parts += ["### not_run: what of the plan was not run, and why", not_run_table(plan, stands, shared)]
    parts += ["### Where the figures come from", _provenance(measured)]
    return "\n\n".join(part for part in parts if part) + "\n"


def not_run_table(plan: Plan, stands: Mapping[Job, Standing], shared: Shared) -> str:
    """A row for each arm and reason: question, arm, what it is, seeds, reason."""
    minutes = [stand.cpu_s / 60 for stand in stands.values() if stand.trained]
    rows: dict[tuple[Arm, str], list[int]] = defaultdict(list)
    for job, stand in stands.items():
        if not stand.evaluated:
            rows[job.arm, _reason(stand, shared, minutes)].append(job.seed)
    lines = ["| question | arm | what it is | seeds | reason |", "|---|---|---|---|---|"]
    for (arm, reason), seeds in rows.items():
        asked = ", ".join(question.name for question in plan.asked_by(arm)) or "-"
        lines.append(f"| {asked} | {arm.name} | {arm.says} | {', '.join(map(str, seeds))} | {reason} |")
    return "\n".join(lines) if rows else "Nothing: all of the plan was run."


def _reason(stand: Standing, shared: Shared, minutes: Sequence[float]) -> str:
    if stand.failure is not None:
        return f"failed: {stand.failure}"
    if stand.trained:
        return "no time: trained, but its evaluation is not finished"
    if stand.cpu_s:
        return f"no time: stopped after {stand.updates} of {shared.updates} updates, {stand.cpu_s / 60:.0f} CPU minutes"
    return f"no time: a run took {np.mean(minutes):.1f} CPU minutes so far" if minutes else "not begun"


def _measured(folder: Folder, job: Job, stand: Standing) -> Measured:
    manifests, records = {}, []
    for path in sorted(folder.rows(job).glob("*.csv")):
        manifests[path.stem] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        records += read_records(path)
    if stand.code.get("dirty") or any(manifest["dirty"] for manifest in manifests.values()):
        raise InputFileError(f"{job.name} was made in a checkout with changes; commit them and run it again")
    claim = json.loads((folder.run(job) / "claim.json").read_text(encoding="utf-8"))
    return Measured(job, tuple(records), manifests, stand, str(claim["config"]))


def _check_alike(measured: Sequence[Measured]) -> None:
    """Raises `InputFileError` where runs of one table are not of the same data, starts, robot and rules."""
    first: dict[str, tuple[str, dict[str, Any]]] = {}
    for run in measured:
        for name, manifest in run.manifests.items():
            rules = {key: value for key, value in manifest["config"].items() if key not in OTHER_RULES}
            alike = {said: manifest.get(key) for key, said in MUST_AGREE.items()} | {"rules": rules}
            other, before = first.setdefault(name, (run.job.name, alike))
            differing = [key for key, value in alike.items() if before[key] != value]
            if differing:
                raise InputFileError(f"{run.job.name} and {other} differ in {differing[0]}; run one of them again")


def _introduction(plan: Plan, shared: Shared, measured: Sequence[Measured]) -> str:
    minutes = sorted(run.standing.cpu_s / 60 for run in measured)
    spent = f"{minutes[0]:.1f} to {minutes[-1]:.1f} CPU minutes of training each" if minutes else "nothing measured yet"
    jobs = list(plan.jobs())
    lines = [
        "Made by `python -m benchmarks.proof report` from rows, manifests and ledgers; nothing is typed by hand.",
        f"Of {len(jobs)} runs in the plan {len(measured)} are measured: {spent}, {shared.updates} updates "
        f"({_usual(jobs[0])} by default), {shared.threads} thread(s). Equal updates, starts and training samples for "
        "every arm.",
        "Validation split. The weights are the running average after the last update: none was chosen on the cases "
        "reported here. One robot (primary), region `common`, clicks enforced, guard off.",
    ]
    if shared.changes:
        lines.append(f"Settings changed for all runs: {', '.join(shared.changes)}.")
    return "\n".join(lines)


def _usual(job: Job) -> int:
    """Updates that the preset of a job has by itself: how short the budget is."""
    return run_config(job.arm.preset).training.updates


def _answer(question: Question, measured: Sequence[Measured], plan: Plan) -> list[str]:
    runs = [run for run in measured if run.job.arm.name in question.arms]
    arms = {run.job.arm.name for run in runs}
    heading = f"### {question.name}: {question.asks}"
    if question.reference not in arms or len(arms) < 2:
        return []
    records = [record for run in runs for record in run.records]
    sections = _sections(records)
    equal = len({len([run for run in runs if run.job.arm.name == name]) for name in arms}) == 1
    tables = result_tables(records, reference=question.reference if equal else None).replace("### ", "#### ")
    return [
        heading,
        "\n".join(_sentences(question, sections, len(plan.seeds))),
        _pilots(runs, plan),
        _goals(sections, question.reference) if question is plan.questions[0] else "",
        tables.rstrip(),
    ]


def _sections(records: Sequence[Record]) -> Sections:
    """Runs by set, structure and start, then by method."""
    sections: Sections = defaultdict(lambda: defaultdict(list))
    for run in group_runs(records):
        sections[run.first.set, run.first.structure, run.first.start][run.first.method].append(run)
    return sections


def _sentences(question: Question, sections: Sections, seeds: int) -> list[str]:
    """One line for each other arm and table, over the training seeds that both have; Holm over the others."""
    lines = []
    for (name, structure, start), methods in sections.items():
        own = methods.get(question.reference, [])
        pairs = {other: _common_seeds(own, runs) for other, runs in methods.items() if other != question.reference}
        pairs = {other: pair for other, pair in pairs.items() if pair[0]}
        tested = [
            compare_with_reference(by_subject(a, Run.auc_dice), {other: by_subject(b, Run.auc_dice)})[0]
            for other, (a, b) in pairs.items()
        ]
        for found, p_holm in zip(tested, holm([found.p_value for found in tested]), strict=True):
            d, by_seed = found.difference, _by_seed(*pairs[found.other])
            said = verdict(replace(found, p_holm=p_holm), by_seed, seeds)
            lines.append(
                f"- {name} {structure}, start {start}: {question.reference} minus {found.other} {d.mean:+.4f} "
                f"[{d.low:+.4f}, {d.high:+.4f}], Holm p {p_holm:.2g}; by training seed "
                f"{', '.join(f'{value:+.4f}' for value in by_seed)}: {said}."
            )
    return lines


def verdict(found: PairedComparison, by_seed: Sequence[float], seeds: int) -> str:
    """What seeds, corrected test and margin of equivalence allow to be said: the interval knows subjects alone."""
    if len(by_seed) < seeds:
        return f"a pilot, {len(by_seed)} of {seeds} seeds, no verdict"
    if max(map(abs, by_seed)) <= EQUIVALENCE_MARGIN and found.no_difference:
        return f"no difference (interval and every seed lie within ±{EQUIVALENCE_MARGIN})"
    if found.p_holm >= SIGNIFICANT or min(by_seed) < 0 < max(by_seed):
        return "undecided"
    return "ahead" if found.difference.mean > 0 else "behind"


def _common_seeds(own: Sequence[Run], other: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The runs of both with training seeds that both have."""
    seeds = {_seed(run) for run in own} & {_seed(run) for run in other}
    return [run for run in own if _seed(run) in seeds], [run for run in other if _seed(run) in seeds]


def _by_seed(own: Sequence[Run], other: Sequence[Run]) -> list[float]:
    """The difference of the means for each training seed."""
    differences = []
    for seed in sorted({_seed(run) for run in own}):
        a, b = (by_subject([run for run in runs if _seed(run) == seed], Run.auc_dice) for runs in (own, other))
        differences.append(mean(a) - mean(b))
    return differences


def _seed(run: Run) -> int:
    return -1 if run.first.train_seed is None else run.first.train_seed


def _pilots(runs: Sequence[Measured], plan: Plan) -> str:
    seeds: dict[str, list[int]] = defaultdict(list)
    for run in runs:
        seeds[run.job.arm.name].append(run.job.seed)
    few = [f"{name} (seed {', '.join(map(str, own))})" for name, own in seeds.items() if len(own) < len(plan.seeds)]
    return f"Fewer than {len(plan.seeds)} seeds, so pilots and no claims: {'; '.join(few)}." if few else ""


def _goals(sections: Sections, method: str) -> str:
    """How far the reference method is from the goals that were set for it."""
    runs = next((methods[method] for key, methods in sections.items() if key[-1] == "A" and method in methods), [])
    if not runs:
        return ""
    lines = ["| goal | wanted | measured | lacking |", "|---|---|---|---|"]
    for (name, wanted), click in zip(GOALS, (5, 20), strict=True):
        got = mean(by_subject(runs, methodcaller("dice_at", click)))
        lines.append(f"| {name} | at least {wanted:.2f} | {got:.3f} | {max(0.0, wanted - got):.3f} |")
    steps = given(runs)
    lowering = 100 * float(np.mean([after.dice < before.dice for before, after in steps]))
    lines.append(
        f"| clicks that lower Dice | at most {MOST_LOWERING:g} % | {lowering:.1f} % | "
        f"{max(0.0, lowering - MOST_LOWERING):.1f} |"
    )
    held = [after.respected_raw for _, after in steps if after.respected_raw is not None]
    if held:
        raw = 100 * float(np.mean(held))
        lines.append(
            f"| clicks respected before enforcement | over {LEAST_RESPECTED:g} % | {raw:.1f} % | "
            f"{max(0.0, LEAST_RESPECTED - raw):.1f} |"
        )
    return f"Goals of {method}, start A:\n\n" + "\n".join(lines)


def _provenance(measured: Sequence[Measured]) -> str:
    """A row for each run and result file; hashes cut to twelve digits."""
    lines = [
        "| run | updates | CPU min | trained at (code) | settings | rows | evaluated at (code) | data | split | starts "
        "| weights |",
        "|---" * 11 + "|",
    ]
    for run in measured:
        stand = run.standing
        minutes = f"{stand.cpu_s / 60:.1f}"
        trained = [run.job.name, stand.updates, minutes, _code(stand.code), _cut(run.settings)]
        for name, manifest in run.manifests.items():
            hashes = [_cut(manifest.get(key)) for key in ("data_hash", "split_hash", "start_hash")]
            weights = _cut(next(iter(manifest["weights_hash"].values()), None))
            lines.append("| " + " | ".join(map(str, [*trained, name, _code(manifest), *hashes, weights])) + " |")
    return "\n".join(lines)


def _code(about: Mapping[str, Any]) -> str:
    return f"{_cut(about.get('commit'))} ({_cut(about.get('code_hash'))})"


def _cut(value: Any) -> str:
    return "-" if value is None else str(value)[:12]
