"""What is on disk of a run: its ledger, its checkpoint, its rows. Tables and reasons are made from this alone.

OUT/proof.json                     what all runs share
OUT/starts/<task>                  automatic starts, made by the first run that needs them, or put there
OUT/runs/<task>/<arm>/seed<n>      the run folder, with spent.json: CPU time and code
OUT/rows/<task>/<arm>/seed<n>      rows and manifests of its evaluation
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors

from benchmarks.proof.plan import Arm, Job
from medseg_rl.config import run_config, with_changes
from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.manifest import source_hash, source_state
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.training_checkpoint import CHECKPOINT, config_hash
from medseg_rl.training_general import GeneralConfig
from medseg_rl.training_run import RECORD, RunConfig

SHARED, LEDGER, FAILURE = "proof.json", "spent.json", "failure.json"
NEVER = 10**6  # of `validate_every`: weights are those after the last update, nothing is chosen on what is reported
NOTED_EVERY_S = 5.0


@dataclass(frozen=True)
class Shared:
    """What all runs of a folder share: `updates` of each, threads, and further `changes` as `--set` takes them."""

    updates: int
    threads: int = 1
    changes: tuple[str, ...] = ()

    def config(self, job: Job) -> RunConfig | GeneralConfig:
        """The settings of a run. Raises `InputFileError` on a change that does not exist."""
        own = [
            f"training.updates={self.updates}",
            f"training.threads={self.threads}",
            f"training.seed={job.seed}",
            f"training.validate_every={NEVER}",
        ]
        if job.arm.trainer == "general":
            few = ["validation_cases=1", "validation_clicks=1"]
            return with_changes(GeneralConfig(), [*own, *few, *job.arm.changes, *self.changes])
        few = ["validation.cases=1", "validation.clicks=1"]
        return run_config(job.arm.preset, None, [*own, *few, *job.arm.changes, *self.changes])


@dataclass(frozen=True)
class Folder:
    """The folder of a proof."""

    path: Path

    def run(self, job: Job) -> Path:
        """Run folder of a job."""
        return self.path / "runs" / job.name

    def rows(self, job: Job) -> Path:
        """Rows and manifests of a job's evaluation."""
        return self.path / "rows" / job.name

    def starts(self, arm: Arm) -> Path:
        """Automatic starts that all runs of a task share."""
        return self.path / "starts" / arm.task

    def bundle(self, job: Job) -> Path:
        """The bundle of a trained run."""
        return next((self.run(job) / "bundle").iterdir())

    def shared(self) -> Shared:
        """What all runs share. Raises `InputFileError` where nothing was begun."""
        content = _read(self.path / SHARED)
        if content is None:
            raise InputFileError(f"{self.path} holds no proof; begin with python -m benchmarks.proof run")
        return Shared(int(content["updates"]), int(content["threads"]), tuple(content["changes"]))

    def keep(self, shared: Shared) -> None:
        """Stores what all runs share. Raises `InputFileError` where the folder is of other settings."""
        if (self.path / SHARED).exists():
            before = self.shared()
            if before != shared:
                raise InputFileError(f"{self.path} was begun with {before}, not {shared}; choose another folder")
            return
        self.path.mkdir(parents=True, exist_ok=True)
        _write(self.path / SHARED, asdict(shared))


@dataclass(frozen=True)
class Standing:
    """How far a run is. `updates` done, `cpu_s` spent on them and on reading; `code`: of its ledger."""

    trained: bool
    evaluated: bool
    updates: int
    cpu_s: float
    code: Mapping[str, Any]
    failure: str | None


def standing(folder: Folder, job: Job) -> Standing:
    """How far a run is, from what is on disk."""
    run = folder.run(job)
    ledger = _read(run / LEDGER) or {}
    failure = _read(run / FAILURE)
    return Standing(
        trained=(run / RECORD).exists(),
        evaluated=len(list(folder.rows(job).glob("*.csv"))) == job.arm.tables,
        updates=_updates(run / CHECKPOINT),
        cpu_s=float(ledger.get("cpu_s", 0.0)),
        code=ledger,
        failure=None if failure is None else str(failure["error"]),
    )


def check_claim(run: Path, config: RunConfig | GeneralConfig) -> None:
    """Raises `InputFileError` where a finished run folder is of other settings than the plan's."""
    claim = _read(run / "claim.json") or {}
    if claim.get("config") != config_hash(config):
        raise InputFileError(f"{run} was trained with other settings than the plan's; delete it or choose another")


class Ledger:
    """CPU time of a run over all its attempts, and the code it was begun with; a kill loses some seconds of it.

    Raises `InputFileError` where the run was begun by other code: its weights would be of neither.
    """

    def __init__(self, run: Path) -> None:
        self._path, before = run / LEDGER, _read(run / LEDGER) or {}
        commit, dirty = source_state()
        self._code = {"commit": commit, "dirty": dirty, "code_hash": source_hash()}
        if before.get("code_hash", self._code["code_hash"]) != self._code["code_hash"]:
            raise InputFileError(f"{run} was begun by other code ({before['commit']}); delete it or take that code")
        self._spent, self._began, self._noted = float(before.get("cpu_s", 0.0)), time.process_time(), 0.0

    def note(self, *, at_once: bool = True) -> None:
        """Writes what was spent so far, unless that was done a moment ago."""
        if not at_once and time.monotonic() - self._noted < NOTED_EVERY_S:
            return
        self._noted = time.monotonic()
        spent = round(self._spent + time.process_time() - self._began, 1)
        _write(self._path, {"cpu_s": spent, **self._code})


def note_failure(run: Path, error: str | None) -> None:
    """Keeps why a run failed, or forgets it (None)."""
    if error is None:
        (run / FAILURE).unlink(missing_ok=True)
        return
    run.mkdir(parents=True, exist_ok=True)
    _write(run / FAILURE, {"error": error})


def _updates(checkpoint: Path) -> int:
    try:
        with safetensors.safe_open(checkpoint, "np") as file:
            return int(file.metadata()["update"])
    except (OSError, safetensors.SafetensorError):
        return 0


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputFileError(f"{path} cannot be read: {error}; delete it") from error
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
