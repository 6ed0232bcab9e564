"""The state of a training run on disk: weights, optimiser, the best so far. Written atomically, never unpickled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medseg_rl.agent.learner import Learner
from medseg_rl.errors import BundleError
from medseg_rl.imageio.atomic import atomic_path

CHECKPOINT = "checkpoint.safetensors"
TIE = 0.001  # of AUC: what a few validation cases cannot tell apart


@dataclass(frozen=True, eq=False)
class Run:
    """Where a run stands: updates done, figures and weights of the best validation so far."""

    update: int = 0
    best: dict[str, float] = field(default_factory=dict)
    best_weights: dict[str, Tensor] | None = None

    def advanced(self, update: int) -> Run:
        """The same run after more updates."""
        return replace(self, update=update)

    def judged(self, figures: dict[str, float], network: nn.Module) -> Run:
        """With these weights as the best, if their validation "auc" is; of two that tie the later, of smaller steps."""
        if self.best and figures["auc"] <= self.best["auc"] - TIE:
            return self
        weights = {name: value.clone() for name, value in network.state_dict().items()}
        return replace(self, best={**figures, "update": float(self.update)}, best_weights=weights)


def save_checkpoint(folder: Path, run: Run, learner: Learner, config: Any) -> None:
    """Replaces the checkpoint in `folder`; after a kill there is the old one or the new one, never half of one.

    To be called by the first process of a run alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"network.{name}": value for name, value in learner.network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in learner.average.state_dict().items()}
    for index, state in learner.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    if learner.credit is not None:
        tensors |= {f"credit.{name}": value for name, value in learner.credit.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (run.best_weights or {}).items()}
    about = {"update": str(run.update), "best": json.dumps(run.best), "config": config_hash(config)}
    about["processes"] = str(learner.ranks.size)
    with atomic_path(folder / CHECKPOINT) as path:
        save_file({name: value.contiguous() for name, value in tensors.items()}, path, about)


def load_checkpoint(folder: Path, learner: Learner, config: Any) -> Run:
    """Restores a learner in place; a fresh run where `folder` holds no checkpoint.

    Raises `BundleError` when the file is corrupted, or was written by a run with another config or of another number
    of processes.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return Run()
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = file.metadata()
        tensors = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise BundleError(f"{path} is corrupted ({error}); delete it to start the run anew") from error
    if about["config"] != config_hash(config):
        raise BundleError(f"{path} was written by a run with another config; choose another folder or delete it")
    before, now = int(about.get("processes", "1")), learner.ranks.size
    if before != now:
        raise BundleError(f"{path} was written by {before} process(es), these are {now}; start {before}, or delete it")
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimiser": {}, "best": {}, "credit": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    learner.network.load_state_dict(parts["network"])
    learner.average.load_state_dict(parts["average"])
    if learner.credit is not None:
        learner.credit.load_state_dict(parts["credit"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimiser"].items():
        index, _, rest = name.partition(".")
        state.setdefault(int(index), {})[rest] = value
    learner.optimiser.load_state_dict({"state": state, "param_groups": learner.optimiser.state_dict()["param_groups"]})
    return Run(int(about["update"]), json.loads(about["best"]), parts["best"] or None)


def config_hash(config: Any) -> str:
    """SHA-256 over a config dataclass, nested ones included.

    A setting that came later and is as it was before there was a choice leaves the hash, so older runs go on.
    """
    return hashlib.sha256(json.dumps(_settings(config), sort_keys=True).encode()).hexdigest()


def _settings(config: Any) -> dict[str, Any]:
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    later = {field.name: field.default for field in fields(config) if field.metadata.get("added_later")}
    return {
        name: _settings(value) if is_dataclass(value) else value
        for name, value in values.items()
        if name not in later or value != later[name]
    }
