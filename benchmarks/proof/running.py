"""Trains and evaluates the runs of a plan one after the other until the time is used; goes on wherever it was stopped.

One run is `medseg-rl train` (or `train-general`) and `medseg-rl evaluate` on the validation split, by the same
functions. Nothing here opens a test split: automatic starts of test cases are stored with the others and not read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from benchmarks.proof.plan import Job, Place, Plan
from benchmarks.proof.standing import Folder, Ledger, Shared, check_claim, note_failure, standing
from medseg_rl.dataset import Dataset, find_dataset, load_dataset
from medseg_rl.errors import Cancelled, MedSegError
from medseg_rl.evaluation import EvaluationConfig, Method, evaluate
from medseg_rl.evaluation.cases import StartKind
from medseg_rl.evaluation.methods import BUNDLE
from medseg_rl.training_general import GeneralConfig, train_general
from medseg_rl.training_run import RECORD, train_on

Cancel = Callable[[], bool]
Data = Callable[[str], Dataset]
Said = Callable[[str], None]


def data_in(root: Path | None) -> Data:
    """Data sets by name, each read once."""

    @cache
    def named(name: str) -> Dataset:
        return load_dataset(find_dataset(root, name))

    return named


def run_plan(
    plan: Plan, folder: Folder, shared: Shared, data: Data, *, cancel: Cancel, said: Said = lambda text: None
) -> bool:
    """Goes down the plan; True when nothing of it is open. A run that fails keeps its reason, and the next begins.

    Raises `InputFileError` where the folder was begun with other settings.
    """
    folder.keep(shared)
    for job in plan.jobs():
        if standing(folder, job).evaluated:
            continue
        if cancel():
            return False
        try:
            said(f"{job.name}: begins or goes on")
            note_failure(folder.run(job), None)
            train_job(job, folder, shared, data, cancel)
            evaluate_job(job, folder, shared, data, cancel)
            said(f"{job.name}: done, {standing(folder, job).cpu_s / 60:.1f} CPU minutes of training")
        except Cancelled as error:
            said(f"{job.name}: {error}")
            return False
        except Exception as error:  # a defect of one arm must not cost the others their time
            text = str(error) if isinstance(error, MedSegError) else f"{type(error).__name__}: {error}"
            note_failure(folder.run(job), text)
            said(f"{job.name}: {text}")
    return all(standing(folder, job).evaluated for job in plan.jobs())


def train_job(job: Job, folder: Folder, shared: Shared, data: Data, cancel: Cancel) -> None:
    """Trains a run or goes on with it; a finished one is only checked. Raises as the trainers do."""
    run, config = folder.run(job), shared.config(job)
    if (run / RECORD).exists():
        check_claim(run, config)
        return
    run.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(run)
    noted = partial(_noted, ledger)
    try:
        if isinstance(config, GeneralConfig):
            train_general([data(name) for name in job.arm.sets], config, run, progress=noted, cancel=cancel)
        else:
            _share_starts(folder, job)
            place = job.arm.places[0]
            train_on(data(place.set), config, run, target=place.target, progress=noted, cancel=cancel)
    finally:
        ledger.note()


def evaluate_job(job: Job, folder: Folder, shared: Shared, data: Data, cancel: Cancel) -> None:
    """Evaluates a trained run at all its places; finished cases are not run again."""
    for place in job.arm.places:
        for start in place.starts:
            config = _evaluation(job, place, start, folder, shared)
            evaluate(data(place.set), config, folder.rows(job), command=sys.argv, cancel=cancel)


def _evaluation(job: Job, place: Place, start: StartKind, folder: Folder, shared: Shared) -> EvaluationConfig:
    method = Method(job.arm.name, BUNDLE, (("model", str(folder.bundle(job))),), job.seed)
    return EvaluationConfig(
        (method,),
        split="val",
        target=place.target,
        start=start,
        starts=folder.starts(job.arm) if start == "A" else None,
        steps=job.arm.steps,
        threads=shared.threads,
    )


def _share_starts(folder: Folder, job: Job) -> None:
    """All runs of a task begin from the same automatic starts; whoever comes first makes them."""
    own, common = folder.run(job) / "starts", folder.starts(job.arm)
    common.mkdir(parents=True, exist_ok=True)
    if not own.exists():
        own.symlink_to(os.path.relpath(common, own.parent), target_is_directory=True)


def _noted(ledger: Ledger, _stage: str, _done: int, _total: int) -> None:
    ledger.note(at_once=False)
