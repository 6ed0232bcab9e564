"""Evaluates methods on a split, one set of rules for all of them, and writes rows, manifest, tables and curves.

Every finished case is a file of its own, so a run that was stopped or killed goes on with the same command.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from medseg_rl.dataset import WHOLE, Dataset, Target, keep_drawn_split, target_name
from medseg_rl.errors import Cancelled, InputFileError, OutputError
from medseg_rl.evaluation import manifest
from medseg_rl.evaluation.cases import StartKind, empty_start_side_mm
from medseg_rl.evaluation.methods import AUTOMATIC, Method
from medseg_rl.evaluation.records import VARIANT_MARK, Record, write_records
from medseg_rl.evaluation.sharding import ALL, Shard, patiently
from medseg_rl.evaluation.tasks import Task, TaskResult, died, finished, run_task
from medseg_rl.evaluation.turns import TIMEOUT_S, Plan, RoiKind
from medseg_rl.hints.robots import ROBOT_VERSION, ROBOTS
from medseg_rl.refiner import never_cancelled

NATIVE_INTERACTIONS = 5
FAR_MM = {"sts_mr_t1": 20.0, "sts_ct": 20.0, "sts_pet": 20.0, "left_atrium": 12.5}  # the last: 20 voxels of 0.625 mm
DEFAULT_FAR_MM = 10.0
PARTS = "parts"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class EvaluationConfig:
    """What is evaluated. `methods` share everything else here.

    `starts`: folder of the automatic starts, for start A. `interactions` None: 20, or 5 for the native robot.
    `guard_mm` None: locality guard off, as in the main table. `limit`: the first cases alone, for a trial. `threads`:
    of one process. `jobs`: processes side by side; latencies are comparable with 1 alone. `measure_memory`: a fresh
    process for each case. With either a process that dies counts as a crash. `not_run`: name of a comparator that could
    not be run, and why. `shard`: (which, of how many) shares of the work is done here, all into one folder.
    """

    methods: tuple[Method, ...]
    split: str = "val"
    target: Target = WHOLE
    start: StartKind = "A"
    starts: Path | None = None
    robot: str = "primary"
    robot_seeds: tuple[int, ...] = (0,)
    interactions: int | None = None
    steps: int = 3
    roi: RoiKind = "common"
    enforce_clicks: bool = True
    guard_mm: float | None = None
    timeout_s: float = TIMEOUT_S
    limit: int | None = None
    threads: int = 1
    jobs: int = 1
    measure_memory: bool = False
    not_run: Mapping[str, str] = field(default_factory=dict)
    shard: Shard = ALL


@dataclass(frozen=True)
class Evaluation:
    """What came of it: the rows, and the files they are in.

    `open_runs` > 0: other shares are at work still, and whoever ends last writes the files.
    """

    records: tuple[Record, ...]
    csv: Path
    manifest: Path
    failures: tuple[Mapping[str, Any], ...]
    open_runs: int = 0


def evaluate(
    dataset: Dataset,
    config: EvaluationConfig,
    out: Path,
    *,
    command: Sequence[str] = (),
    progress: Progress = lambda done, total: None,
    cancel: Callable[[], bool] = never_cancelled,
) -> Evaluation:
    """Evaluate every method on every case of the split and write `<name>.csv` and `<name>.json` into `out`.

    `command`: what was typed, for the manifest. Raises `Cancelled` (finished cases stay), `InputFileError` for a robot,
    split or start that does not exist, `BundleError` for a method that cannot be loaded, `OutputError`.
    """
    began = time.perf_counter()
    _check(dataset, config)
    parts = out / PARTS
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {parts}: {error.strerror}; choose another place") from error
    keep_drawn_split(out, dataset)
    described = {method.label: _describe(method) for method in config.methods}
    rules = _rules(dataset, config)
    tasks = _tasks(dataset, config, rules, described, parts)
    which, of_how_many = config.shard
    results = _run_all(tasks[which - 1 :: of_how_many], config, progress, cancel)
    open_runs = 0
    if config.shard != ALL:
        stored = [finished(task) for task in tasks]
        results = [result for result in stored if result is not None]
        open_runs = len(stored) - len(results)
    records = tuple(record for result in results for record in result.records)
    failures = tuple(result.failure for result in results if result.failure is not None)
    name = "_".join((rules["set"], config.split, rules["structure"], config.start, config.robot, config.roi))
    name += VARIANT_MARK * bool(_variant(config)) + _variant(config)
    csv, json = out / f"{name}.csv", out / f"{name}.json"
    if open_runs:
        return Evaluation((), csv, json, failures, open_runs)
    patiently(lambda: write_records(csv, records), config.shard)
    about = _manifest(dataset, config, rules, described, results, command, time.perf_counter() - began)
    patiently(lambda: about.write(json), config.shard)
    return Evaluation(records, csv, json, failures)


def _check(dataset: Dataset, config: EvaluationConfig) -> None:
    if config.robot not in ROBOTS:
        raise InputFileError(f"there is no robot {config.robot!r}; choose one of {', '.join(ROBOTS)}")
    if not dataset.cases(config.split, config.target):
        raise InputFileError(f"split {config.split} of {dataset.folder} has no case with that target")
    labels = [method.label for method in config.methods]
    if not labels or len(set(labels)) != len(labels):
        raise InputFileError(
            f"methods need different names, these are {', '.join(labels) or 'none'}; write NAME=... or NAME@SEED=..."
        )
    if config.start == "A" and config.starts is None:
        raise InputFileError("start A needs the folder of the automatic starts; give it, or evaluate start B")


def _variant(config: EvaluationConfig) -> str:
    """What differs from the main table beside the columns of a row; ends the name of the files."""
    guard = [] if config.guard_mm is None else [f"guard{config.guard_mm:g}mm"]
    return "_".join(guard + ["clicks-not-enforced"] * (not config.enforce_clicks))


def _rules(dataset: Dataset, config: EvaluationConfig) -> dict[str, Any]:
    """All that decides a result beside the method: hashed into every row."""
    native = NATIVE_INTERACTIONS if config.robot == "native" else 20
    rules = {name: value for name, value in asdict(config).items() if name not in _NO_RULE}
    return rules | {
        "set": dataset.folder.resolve().name,
        "structure": target_name(config.target),
        "interactions": config.interactions or native,
        "empty_start_side_mm": empty_start_side_mm(dataset, config.target) if config.roi == "common" else None,
        "far_mm": FAR_MM.get(dataset.folder.resolve().name, DEFAULT_FAR_MM),
        "robot_version": ROBOT_VERSION,
    }


_NO_RULE = (
    "methods",
    "target",
    "starts",
    "limit",
    "threads",
    "jobs",
    "measure_memory",
    "not_run",
    "robot_seeds",
    "shard",
)


def _describe(method: Method) -> dict[str, Any]:
    refiner = method.build()
    return {"kind": AUTOMATIC} if refiner is None else refiner.describe()


def _tasks(
    dataset: Dataset, config: EvaluationConfig, rules: Mapping[str, Any], described: Mapping[str, Any], parts: Path
) -> list[Task]:
    identity = [manifest.source_hash(), dataset.data_hash, dataset.split_hash, _start_hash(config)]
    tasks = []
    for method in config.methods:
        config_hash = manifest.canonical_hash([rules, described[method.label]])[:16]
        fingerprint = manifest.canonical_hash([config_hash, method.label, identity])
        for case in dataset.cases(config.split, config.target)[: config.limit]:
            for seed in config.robot_seeds:
                key = manifest.canonical_hash([fingerprint, case.id, seed])[:24]
                tasks.append(
                    Task(
                        path=parts / f"{key}.json",
                        fingerprint=fingerprint,
                        set_name=rules["set"],
                        case=case,
                        target=config.target,
                        start=config.start,
                        starts=config.starts if config.start == "A" else None,
                        robot=config.robot,
                        method=method,
                        config_hash=config_hash,
                        train_seed=method.train_seed,
                        plan=_plan(config, rules, seed),
                        far_mm=rules["far_mm"],
                        threads=config.threads,
                        measure_memory=config.measure_memory,
                    )
                )
    return tasks


def _plan(config: EvaluationConfig, rules: Mapping[str, Any], seed: int) -> Plan:
    return Plan(
        robot_seed=seed,
        interactions=rules["interactions"],
        steps=config.steps,
        roi=config.roi,
        enforce_clicks=config.enforce_clicks,
        guard_mm=config.guard_mm,
        empty_start_side_mm=rules["empty_start_side_mm"],
        timeout_s=config.timeout_s,
    )


def _run_all(
    tasks: Sequence[Task], config: EvaluationConfig, progress: Progress, cancel: Callable[[], bool]
) -> list[TaskResult]:
    """Results in the order of the tasks; those already stored are read."""
    results = [finished(task) for task in tasks]
    open_places = [place for place, result in enumerate(results) if result is None]
    done = len(tasks) - len(open_places)
    progress(done, len(tasks))
    inside = config.jobs <= 1 and not config.measure_memory
    for place, result in (_in_turn if inside else _side_by_side)(tasks, open_places, config, cancel):
        results[place] = result
        done += 1
        progress(done, len(tasks))
    return [result for result in results if result is not None]


def _in_turn(
    tasks: Sequence[Task], places: Sequence[int], config: EvaluationConfig, cancel: Callable[[], bool]
) -> Iterator[tuple[int, TaskResult]]:
    for place in places:
        yield place, run_task(tasks[place], cancel)


def _side_by_side(
    tasks: Sequence[Task], places: Sequence[int], config: EvaluationConfig, cancel: Callable[[], bool]
) -> Iterator[tuple[int, TaskResult]]:
    """In processes of their own; where one dies, those that may have killed it are tried alone."""
    left = list(places)
    while left:
        try:
            for place, result in _pooled(tasks, left, config, cancel):
                left.remove(place)
                yield place, result
        except BrokenProcessPool:
            for place in left[: max(1, config.jobs) + 1]:  # the others had not begun
                left.remove(place)
                yield place, _alone(tasks[place], config, cancel)


def _alone(task: Task, config: EvaluationConfig, cancel: Callable[[], bool]) -> TaskResult:
    try:
        return next(result for _, result in _pooled([task], [0], replace(config, jobs=1), cancel))
    except BrokenProcessPool:
        return died(task)


def _pooled(
    tasks: Sequence[Task], places: Sequence[int], config: EvaluationConfig, cancel: Callable[[], bool]
) -> Iterator[tuple[int, TaskResult]]:
    """As they end. Processes are started fresh: nothing of torch or numba is shared by a fork."""
    pool = ProcessPoolExecutor(
        max(1, config.jobs),
        mp_context=multiprocessing.get_context("spawn"),
        max_tasks_per_child=1 if config.measure_memory else None,
    )
    with _thread_limit(config.threads), pool:
        waiting: dict[Future[TaskResult], int] = {pool.submit(run_task, tasks[place]): place for place in places}
        try:
            while waiting:
                if cancel():
                    raise Cancelled("evaluation stopped; finished cases are kept and the same command goes on")
                for future in wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _thread_limit(threads: int) -> Iterator[None]:
    """What numeric libraries of processes started meanwhile read at their import."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_hash(config: EvaluationConfig) -> str | None:
    if config.start != "A" or config.starts is None:
        return None
    from medseg_rl.automatic.starts import load_starts

    return load_starts(config.starts).start_hash


def _manifest(
    dataset: Dataset,
    config: EvaluationConfig,
    rules: Mapping[str, Any],
    described: Mapping[str, Any],
    results: Sequence[TaskResult],
    command: Sequence[str],
    wall_s: float,
) -> manifest.Manifest:
    commit, dirty = manifest.source_state()
    content = {**rules, "methods": described}
    at_end: dict[str, list[float]] = {method.label: [] for method in config.methods}
    for result in results:
        if result.respected_at_end is not None:
            first = result.records[0]
            at_end[Method(first.method, "", train_seed=first.train_seed).label].append(result.respected_at_end)
    return manifest.Manifest(
        commit=commit,
        dirty=dirty,
        config=content,
        config_hash=manifest.canonical_hash(content),
        data_hash=dataset.data_hash,
        split_hash=dataset.split_hash,
        start_hash=_start_hash(config),
        weights_hash={name: about.get("weights_hash") for name, about in described.items()},
        train_seeds={method.label: method.train_seed for method in config.methods},
        robot=config.robot,
        robot_version=ROBOT_VERSION,
        robot_seeds=list(config.robot_seeds),
        packages=manifest.installed_packages(),
        machine=manifest.machine(config.threads),
        command=manifest.relative_command(command, dataset.folder.resolve().parent) if command else "",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        wall_s=round(wall_s, 1),
        failures=[result.failure for result in results if result.failure is not None],
        not_run=dict(config.not_run),
        cases=len({result.records[0].case for result in results}),
        empty_references=[case.id for case in dataset.empty(config.target) if case.split == config.split],
        respected_at_end={name: float(np.mean(values)) if values else None for name, values in at_end.items()},
        code_hash=manifest.source_hash(),
    )
