"""The program that reads bad inputs one after another under a cap on memory: `python -m benchmarks.faults.reading`.

Reads lines of JSON from stdin, `{"kind": ..., "path": ...}`, and answers each with the verdicts of the readers of that
kind. Started and watched by `inputs.py`, which notices when it hangs or dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.specimens import BUNDLE, CASE, CLICKS, IMAGE, MASK, RECORDS, SERIES, SESSION, TABLE, image
from benchmarks.faults.user import CubePainter
from medseg_rl.bundle.model import load_bundle
from medseg_rl.errors import MedSegError
from medseg_rl.hints.click_files import read_clicks
from medseg_rl.imageio import (
    describe,
    geometry_reports,
    holds_labels,
    read_label_table,
    read_mask,
    read_segmentation,
    read_volume,
)
from medseg_rl.journal import find_cases
from medseg_rl.rlhf.arrays import read_array
from medseg_rl.rlhf.manifest import effective, read_records
from medseg_rl.segmentation import Segmentation
from medseg_rl.session import SegmentationSession
from medseg_rl.session.replay import replay_recomputed, replay_stored
from medseg_rl.session.safekeeping import Safekeeping
from medseg_rl.session.session_file import describe_session
from medseg_rl.volume import Volume

REFUSED, READ = "refused in one line", "read"
AT_THE_CAP = "refused in one line for want of memory"
LONGEST_LINE = 2000  # characters; more is no line that a person reads
Reader = Callable[[Path], object]


def _volume(path: Path) -> None:
    first, second = (read_volume(path, replace_nonfinite=0.0) for _ in range(2))
    _check_volume(first)
    assert np.array_equal(first.array, second.array), "other voxels at a second reading: memory nobody filled"


def _kept_volume(path: Path) -> None:
    _check_volume(read_volume(path, missing="keep", tilt="resample", replace_nonfinite=0.0))


def _check_volume(volume: Volume) -> None:
    assert volume.array.ndim == 3, f"{volume.array.ndim} axes"
    assert np.isfinite(volume.affine).all(), "an affine that is not finite"
    assert min(volume.spacing) > 0, "a spacing of 0"


def _segmentation(path: Path) -> None:
    _check_segmentation(read_segmentation(path))


def _check_segmentation(found: Segmentation) -> None:
    for layer in found.layers:
        _check_volume(layer)
        assert set(np.unique(layer.array).tolist()) - {0} <= set(found.labels.values), "voxels without a label"


def _onto(like: Volume) -> Reader:
    return lambda path: _check_segmentation(read_segmentation(path, like=like))


def _session(path: Path) -> None:
    session = SegmentationSession.open_saved(path, None, CubePainter())
    _ = session.mask, session.percent, session.clicks, session.proposal, session.segmentation
    while session.undo():
        pass
    while session.redo():
        pass


def _recovery(path: Path) -> None:
    if not find_cases(path.parent):
        return
    keeping = Safekeeping.recover(path, image(), CubePainter())
    _ = keeping.session.segmentation, keeping.unsaved_steps, keeping.problem
    while keeping.session.undo():
        pass
    keeping.close()


def _bundle(path: Path) -> None:
    bundle = load_bundle(path)
    _ = bundle.name, bundle.hash, bundle.agent_settings, bundle.has_automatic, bundle.warnings(image())


def _records(path: Path) -> None:
    records = effective(read_records(path))
    for reference in {reference for record in records for reference in record.references}:
        read_array(path.parent, reference)


def readers(like: Volume) -> dict[str, dict[str, Reader]]:
    """Every reader that a user's file of that kind may meet."""
    plain: dict[str, Reader] = {"read_volume": _volume, "describe": describe}
    labels: dict[str, Reader] = {"read_segmentation": _segmentation, "holds_labels": holds_labels}
    onto: dict[str, Reader] = {"read_segmentation like an image": _onto(like), "describe": describe}
    return {
        IMAGE: plain | labels | {"read_mask": read_mask},
        MASK: plain | labels | {"read_mask like an image": lambda path: read_mask(path, like=image())},
        SERIES: plain | {"geometry_reports": geometry_reports, "read_volume keep": _kept_volume},
        "seg": onto | labels | {"geometry_reports": geometry_reports},
        "rtstruct": onto | {"geometry_reports": geometry_reports},
        TABLE: {"read_label_table": read_label_table},
        CLICKS: {"read_clicks": read_clicks},
        SESSION: {
            "open_saved": _session,
            "describe_session": describe_session,
            "replay_stored": replay_stored,
            "replay_recomputed": lambda path: replay_recomputed(path, None, CubePainter()),
        },
        CASE: {"recover": _recovery},
        BUNDLE: {"load_bundle": _bundle},
        RECORDS: {"read_records": _records},
    }


def verdict(reader: Reader, path: Path) -> tuple[str, str]:
    """`read`, `refused` (in one line for a user), or what is wrong; and the message."""
    try:
        reader(path)
    except MedSegError as error:
        if _because_of_memory(error):
            return AT_THE_CAP, str(error)
        if "\n" in str(error) or not str(error).strip() or len(str(error)) > LONGEST_LINE:
            return "not one line", str(error)[:300]
        return REFUSED, str(error)
    except MemoryError:
        return "MemoryError", traceback.format_exc()
    except BaseException as error:  # the very thing that is looked for
        return f"bare {type(error).__name__}", traceback.format_exc()
    return READ, ""


def _because_of_memory(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def main() -> None:
    """Answers until stdin ends."""
    cap, like_path = int(sys.argv[1]), Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # C libraries print where they like
    like = read_volume(like_path)
    known = readers(like)
    warnings.simplefilter("ignore")
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    used = 1024 * int(next(line for line in status if line.startswith("VmSize")).split()[1])
    resource.setrlimit(resource.RLIMIT_AS, (used + cap, used + cap))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        asked = json.loads(line)
        path = Path(asked["path"])
        before = _names_around(path)
        found: dict[str, Any] = {name: verdict(reader, path) for name, reader in known[asked["kind"]].items()}
        if asked["kind"] != CASE and _names_around(path) != before:
            found["files"] = ("wrote beside its input", str(sorted(_names_around(path) ^ before)))
        found_at = {"verdicts": found, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        with contextlib.suppress(BrokenPipeError):
            answers.write(json.dumps(found_at) + "\n")
            answers.flush()


def _names_around(path: Path) -> set[str]:
    """All names in the folder above the one of the input, where a slipped name would appear."""
    top = path if path.is_dir() else path.parent
    return {str(found) for found in top.parent.rglob("*")}


if __name__ == "__main__":
    main()
