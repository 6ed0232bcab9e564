"""The manifest beside each result file: what was run, on what data, with what weights, on what machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medseg_rl.imageio.atomic import atomic_path

PACKAGES = ("medseg-rl", "numpy", "scipy", "numba", "edt", "connected-components-3d", "nibabel", "torch", "monai")


@dataclass(frozen=True)
class Manifest:
    """Evaluation protocol section 9, and four fields more. Paths in `command` are relative to the data root.

    `failures`: one entry a run that ended in a time-out, a crash or an invalid mask. `not_run`: method to reason.
    """

    commit: str | None
    dirty: bool | None
    config: Mapping[str, Any]
    config_hash: str
    data_hash: str
    split_hash: str
    start_hash: str | None
    weights_hash: Mapping[str, str | None]
    train_seeds: Mapping[str, int | None]
    robot: str
    robot_version: str
    robot_seeds: Sequence[int]
    packages: Mapping[str, str]
    machine: Mapping[str, Any]
    command: str
    date: str
    wall_s: float
    failures: Sequence[Mapping[str, Any]]
    not_run: Mapping[str, str]
    cases: int
    empty_references: Sequence[str]
    respected_at_end: Mapping[str, float | None]
    code_hash: str

    def write(self, path: Path) -> None:
        """As JSON, atomically."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2, sort_keys=False) + "\n", encoding="utf-8")


def canonical_hash(content: Any) -> str:
    """SHA-256 of `content` as JSON with sorted keys: the same whatever the order it was built in."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def source_state(folder: Path | None = None) -> tuple[str | None, bool | None]:
    """Commit of the checkout this package runs from and whether it has changes; (None, None) outside a checkout."""
    where = folder or Path(__file__).resolve().parent
    commit = _git(where, "rev-parse", "HEAD")
    status = _git(where, "status", "--porcelain")
    return (commit, bool(status)) if commit is not None and status is not None else (None, None)


def source_hash() -> str:
    """SHA-256 over the library's own files, the command line left out: results of other code must not be mixed."""
    root = Path(__file__).resolve().parents[1]
    files = [path for path in root.rglob("*.py") if "cli" not in path.relative_to(root).parts]
    digests = {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return canonical_hash(digests)


def installed_packages(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of the packages that decide a result, of those that are installed."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine(threads: int) -> dict[str, Any]:
    """CPU model, cores, threads of one process, memory in GB, operating system; GPU if torch is loaded and sees one."""
    about: dict[str, Any] = {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": threads,
        "ram_gb": _memory_gb(),
        "os": f"{platform.system()} {platform.release()}",
        "gpu": None,
        "driver": None,
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        about |= {"gpu": torch.cuda.get_device_name(), "driver": f"CUDA {torch.version.cuda}"}
    return about


def relative_command(arguments: Sequence[str], data_root: Path) -> str:
    """The command with every absolute path made relative to the data root or to the working folder."""
    words = [Path(arguments[0]).name, *arguments[1:]]
    roots = {str(data_root.resolve()): "DATA", str(data_root): "DATA", str(Path.cwd()): ".", str(Path.home()): "~"}
    for root, name in roots.items():
        words = [re.sub(rf"(?<![\w.]){re.escape(root)}(?=/|$)", name, word) for word in words]
    return " ".join(words)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None
