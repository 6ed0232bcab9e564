"""What a recipe is given and how its parts survive a kill. Knows no task, and what is reported is `report.py`'s.

A recipe is a function from `Work` to `Report`. It splits itself into jobs, typically one an arm and seed; a finished
job is a JSON file in the run folder and never runs twice, an unfinished one goes on from its own checkpoint. Two
programs on one folder share the jobs between them.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from medseg_rl.errors import Cancelled, InputFileError
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.recipes.report import Report
from medseg_rl.rlhf.file_lock import tried

# Name on the command line -> module with `run(work)` and `SUMMARY`. Imported when asked for: each needs its extra.
RECIPES: dict[str, str] = {
    "command_rts": "medseg_rl.recipes.command_rts.recipe",
    "commands": "medseg_rl.recipes.refinement.commands",
    "flywheel": "medseg_rl.recipes.refinement.flywheel",
    "instructgpt": "medseg_rl.recipes.refinement.preferred",
    "lane_keeping": "medseg_rl.recipes.lane_keeping.recipe",
    "sentiment": "medseg_rl.recipes.sentiment.recipe",
    "task_rewards": "medseg_rl.recipes.refinement.task_rewards",
}

Result = dict[str, Any]  # what JSON can hold
POLL_SECONDS = 1.0


def _silent(stage: str, done: int, total: int) -> None:
    pass


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Work:
    """`smoke`: seconds instead of hours, proves the plumbing and claims nothing. `changes`: settings as "name=value".

    `seeds`: how many instead of the recipe's own number, None for that. `report(stage, done, total)` is progress.
    """

    folder: Path
    smoke: bool = False
    seeds: int | None = None
    changes: tuple[str, ...] = ()
    report: Callable[[str, int, int], None] = _silent
    cancel: Callable[[], bool] = _never

    def stop_if_cancelled(self) -> None:
        """Raises Cancelled after Ctrl-C: for between two steps, after the checkpoint."""
        if self.cancel():
            raise Cancelled("stopped; the same command goes on from here")

    def job(self, name: str, make: Callable[[], Result]) -> Result:
        """The result of `make`, from its file where it was finished before. CPU seconds stand under "cpu_seconds"."""
        path = self.folder / "jobs" / f"{name}.json"
        if path.exists():
            return cast("Result", json.loads(path.read_text(encoding="utf-8")))
        self.stop_if_cancelled()
        started = time.process_time()
        result = make()
        result.setdefault("cpu_seconds", time.process_time() - started)
        write_json(path, result)
        return result

    def jobs(self, stage: str, wanted: Mapping[str, Callable[[], Result]]) -> dict[str, Result]:
        """The results of all jobs, in their order. What another program is at is left to it and waited for."""
        done: dict[str, Result] = {}
        while len(done) < len(wanted):
            for name, make in wanted.items():
                self.report(f"{stage}: {name}", len(done), len(wanted))
                if name not in done:
                    with tried(self.folder / "jobs" / f".{name}.lock") as ours:
                        if ours or (self.folder / "jobs" / f"{name}.json").exists():
                            done[name] = self.job(name, make)
            if len(done) < len(wanted):
                self.stop_if_cancelled()
                time.sleep(POLL_SECONDS)
        return {name: done[name] for name in wanted}

    def checkpoint(self, name: str) -> Checkpoint:
        """Where an unfinished job keeps the state it goes on from."""
        return Checkpoint(self.folder / "checkpoints" / f"{name}.pt")

    def open(self, settings: Mapping[str, Any]) -> None:
        """Make the run folder, or check that it was made with the same settings. Raises InputFileError if not."""
        for part in ("", "jobs", "checkpoints"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        wanted = json.loads(json.dumps(dict(settings), default=str))
        path = self.folder / "settings.json"
        if path.exists() and (found := json.loads(path.read_text(encoding="utf-8"))) != wanted:
            differing = sorted(key for key in wanted | found if wanted.get(key) != found.get(key))
            raise InputFileError(f"{self.folder} was begun with another {', '.join(differing)}; choose another folder")
        write_json(path, wanted)


@dataclass(frozen=True)
class Checkpoint:
    """A file of tensors and numbers that is replaced as a whole."""

    path: Path

    def load(self) -> dict[str, Any] | None:
        """What was saved last, None where nothing was."""
        import torch

        return torch.load(self.path, weights_only=True) if self.path.exists() else None

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace it. Raises OutputError."""
        import torch

        with atomic_path(self.path) as temporary:
            torch.save(dict(state), temporary)


class Recipe(Protocol):
    """A module of a recipe: its one line for the list, and its work. `run` may be called again on the same folder."""

    SUMMARY: str

    def run(self, work: Work) -> Report:
        """Do what is not yet done of it, and report all of it."""


def find_recipe(name: str) -> Recipe:
    """The module of a recipe. Raises InputFileError: no such recipe, or a package that it needs is not installed."""
    if name not in RECIPES:
        raise InputFileError(f'there is no recipe "{name}"; choose {", ".join(sorted(RECIPES))}')
    try:
        return cast("Recipe", importlib.import_module(RECIPES[name]))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("medseg_rl"):
            raise
        raise InputFileError(f"recipe {name} needs {error.name}; see the extras in pyproject.toml") from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """One JSON object, replaced as a whole. Raises OutputError."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def seed_of(*parts: object) -> int:
    """A seed that depends on nothing but these names and numbers, the same in every process."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
