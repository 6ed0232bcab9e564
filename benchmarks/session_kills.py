"""Kills a working session again and again, at any moment, and counts what was lost of what it had acknowledged.

    python benchmarks/session_kills.py --kills 200

A child process works on a case: clicks, strokes, labels, undo, autosaves, saves to a file, exports. After every step
it tells its parent what the session holds. The parent kills it at a random moment, recovers the case, and compares:
masks, proposal, clicks, undo list, view, the saved file, the exported masks. The next child goes on where the last one
was killed. Needs a system with `fork`. Exit code 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.editing import Brush, FillHoles, Islands
from medseg_rl.errors import MedSegError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.imageio import read_segmentation
from medseg_rl.journal import find_cases
from medseg_rl.journal.values import expanded
from medseg_rl.refiner import RefinementRequest
from medseg_rl.segmentation import Segmentation
from medseg_rl.session import SegmentationSession
from medseg_rl.session.events import SessionEvent
from medseg_rl.session.safekeeping import Safekeeping
from medseg_rl.session.session_file import describe_session
from medseg_rl.session.stored_state import taken_from
from medseg_rl.volume import Volume

SHAPE = (40, 36, 24)
LONGEST_LIFE = 0.6  # seconds until a child is killed
SAVED = "saved.medseg"
EXPORTED = ("exported.seg.nrrd", "exported.nii.gz")


DOING = (
    ("autosave", 0.08),
    ("save", 0.12),
    ("view", 0.2),
    ("export", 0.3),
    ("edit", 1.0),
)  # and the chance below which


class CubePainter:
    """A model that costs nothing: paints a cube round each new click."""

    name = "cube painter"

    def describe(self) -> dict[str, Any]:
        """What identifies it."""
        return {"kind": self.name}

    def refine(self, request: RefinementRequest, **_: Any) -> npt.NDArray[np.uint8]:
        """The state with the cubes in it; what is held stays."""
        percent = request.percent.copy()
        for click in request.clicks[len(request.clicks) - request.n_new_clicks :]:
            cube = tuple(slice(max(0, i - 3), i + 4) for i in click.index)
            percent[cube] = 99 if click.label == ClickLabel.FOREGROUND else 1
        if request.held_voxels is not None:
            np.copyto(percent, request.percent, where=request.held_voxels)
        return percent


@dataclass
class Outcome:
    """What the kills came to. `lost`: one line for each loss."""

    kills: int = 0
    steps: int = 0
    exported: int = 0
    lost: list[str] = field(default_factory=list)
    during: Counter[str] = field(default_factory=Counter)
    exports: dict[Path, list[str]] = field(default_factory=dict)  # what may be in a file, the last acknowledged first
    saved: set[Path] = field(default_factory=set)  # folders in which a saved file was acknowledged


def digest(session: SegmentationSession) -> str:
    """SHA-256 of everything that steps change: what a user could see or undo."""
    state = taken_from(session)
    whole = hashlib.sha256()
    for key, _, box, values in sorted(state.arrays, key=lambda array: str(array.key)):
        if values is not None and values.any():
            array = np.zeros(state.shape, values.dtype)
            assert box is not None
            array[box.slices] = values
            whole.update(str(key).encode() + array.tobytes())
    names = [entry.name for entry in (*state.done, None, *state.undone) if entry is not None]
    small = [expanded(state.ledger), names, len(state.done)]
    whole.update(json.dumps(small, default=str, sort_keys=True).encode())
    return whole.hexdigest()


def of_labels(found: Segmentation, *, flat: bool) -> str:
    """SHA-256 of the voxels of every label, in one map where the format holds no more."""
    if flat:
        return hashlib.sha256(found.flattened().array.astype(np.int32).tobytes()).hexdigest()
    masks = {value: found.mask_of(value) for value in sorted(found.labels.values)}
    return hashlib.sha256(b"".join(b"%d" % v + m.tobytes() for v, m in masks.items() if m.any())).hexdigest()


def choices(session: SegmentationSession) -> str:
    """What is restored too, but is no step."""
    return f"{session.active_label}/{session.overwrite}"


def image() -> Volume:
    """The image of the case."""
    array = np.random.default_rng(3).normal(100, 10, SHAPE).astype(np.float32)
    return Volume(array, np.array([[-1.5, 0, 0, 9], [0, 1.5, 0, -4], [0, 0, 2, 0], [0, 0, 0, 1.0]]), "MR")


def act(session: SegmentationSession, rng: random.Random) -> None:
    """One action of a hasty user; what the session refuses does not happen."""
    index = (rng.randrange(SHAPE[0]), rng.randrange(SHAPE[1]), rng.randrange(SHAPE[2]))
    x, y, z = (float(v) for v in session.image.index_to_world(index))
    value = rng.choice(session.labels.values)
    label = ClickLabel.FOREGROUND if rng.random() < 0.7 else ClickLabel.BACKGROUND
    actions: dict[str, tuple[int, Callable[[], object]]] = {
        "click": (8, lambda: session.click_voxels([Click(index, label)])),
        "accept": (4, session.accept),
        "discard": (1, session.discard),
        "brush": (6, lambda: session.edit(Brush(((x, y, z), (x + 6, y, z)), 4.0, erase=rng.random() < 0.3))),
        "islands": (1, lambda: session.edit(Islands("keep_largest"))),
        "holes": (1, lambda: session.edit(FillHoles())),
        "undo": (5, session.undo),
        "redo": (3, session.redo),
        "add": (1, session.add_label),
        "lock": (1, lambda: session.set_lock(value, not session.labels[value].locked)),
        "rename": (1, lambda: session.rename_label(value, f"name {rng.randrange(99)}")),
        "delete": (1, lambda: session.delete_label(value)),
        "activate": (2, lambda: session.activate(value)),
        "overwrite": (1, lambda: setattr(session, "overwrite", rng.choice(("keep", "replace", "overlap")))),
    }
    name = rng.choices(list(actions), [weight for weight, _ in actions.values()])[0]
    with contextlib.suppress(MedSegError):
        actions[name][1]()


def work(folder: Path, seed: int, pipe: int) -> None:
    """What the child does until it is killed."""

    def tell(*words: object) -> None:
        os.write(pipe, (" ".join(str(word) for word in words) + "\n").encode())

    rng = random.Random(seed)
    tell("doing", "recovery")
    waiting = find_cases(folder)
    if waiting:
        keeping = Safekeeping.recover(waiting[0].folder, image(), CubePainter())
    else:
        keeping = Safekeeping.begin(SegmentationSession(image(), CubePainter()), root=folder)
    session = keeping.session

    def announce(_: SessionEvent) -> None:
        tell("announced", keeping.sequence + 1, digest(session))

    def export(name: str) -> None:
        flat = name.endswith(".nii.gz")
        if session._ledger.open_label is not None:
            return
        tell("exporting", name, of_labels(session.segmentation, flat=flat))
        session.export(folder / name, flatten=flat)
        tell("exported", name)

    session.observers.insert(0, announce)
    tell("acknowledged", keeping.sequence, digest(session), choices(session), keeping.view.get("n", 0))
    while True:
        chance = rng.random()
        tell("doing", next(name for name, below in DOING if chance < below))
        if chance < 0.08:
            keeping.autosave()
        elif chance < 0.12:
            keeping.save(folder / SAVED)
            tell("saved", keeping.sequence)
        elif chance < 0.2:
            keeping.note_view({"n": keeping.view.get("n", 0) + 1})
        elif chance < 0.3:
            export(rng.choice(EXPORTED))
        else:
            act(session, rng)
            keeping.note_view(keeping.view)  # which label is active is part of what was acknowledged
        if keeping.problem:
            tell("problem", keeping.problem)
        tell("acknowledged", keeping.sequence, digest(session), choices(session), keeping.view.get("n", 0))


def run_and_kill(folder: Path, seed: int, rng: random.Random) -> list[list[str]]:
    """What a child said until it was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            work(folder, seed, writing)
        except BaseException as error:
            os.write(writing, f"failed {type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os.close(writing)
    end = time.monotonic() + rng.uniform(0.0, LONGEST_LIFE)
    said = b""
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while (left := end - time.monotonic()) > 0:
            if select.select([pipe], [], [], left)[0]:
                found = pipe.read(2**16)
                said += found
                if not found:
                    break
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while found := pipe.read(2**16):
            said += found
    return [line.split(" ") for line in said.decode().splitlines()]


def judge(folder: Path, said: list[list[str]], outcome: Outcome) -> None:
    """Recovers the case as a user would after the kill, and compares it with what was acknowledged."""
    outcome.kills += 1
    outcome.during[next((words[1] for words in reversed(said) if words[0] == "doing"), "start")] += 1
    for words in said:
        if words[0] in ("failed", "problem"):
            outcome.lost.append(" ".join(words))
    acknowledged = [words for words in said if words[0] == "acknowledged"]
    announced = {int(words[1]): words[2] for words in said if words[0] == "announced"}
    _judge_saved(folder, said, outcome)
    _judge_exports(folder, said, outcome)
    if not acknowledged:
        return
    _, sequence, expected, chosen, view = acknowledged[-1]
    waiting = find_cases(folder)
    if not waiting:
        if int(sequence) > _saved(said):
            outcome.lost.append(f"step {sequence} was acknowledged, but there is nothing to recover")
        return
    keeping = Safekeeping.recover(waiting[0].folder, image(), CubePainter())
    outcome.steps = max(outcome.steps, keeping.sequence)
    found = digest(keeping.session)
    if keeping.sequence == int(sequence):
        at_rest = said[-1][0] == "acknowledged"
        right = found == expected and (not at_rest or choices(keeping.session) == chosen)
    else:  # journalled, but killed before it was acknowledged
        right = keeping.sequence == int(sequence) + 1 and found == announced.get(keeping.sequence)
    if not right:
        outcome.lost.append(f"step {sequence} was acknowledged, but step {keeping.sequence} was recovered otherwise")
    if keeping.view.get("n", 0) < int(view):
        outcome.lost.append(f"view {view} was acknowledged, but view {keeping.view.get('n', 0)} was recovered")
    keeping._worker.shutdown()  # type: ignore[union-attr]
    keeping.case.close()


def _judge_saved(folder: Path, said: list[list[str]], outcome: Outcome) -> None:
    """The saved file opens, and holds at least the step that was told to be in it."""
    told = max((int(words[1]) for words in said if words[0] == "saved"), default=-1)
    outcome.saved |= {folder} if told >= 0 else set()
    if folder not in outcome.saved and not (folder / SAVED).exists():
        return
    try:
        SegmentationSession.open_saved(folder / SAVED, image(), CubePainter())
        if describe_session(folder / SAVED).sequence < told:
            outcome.lost.append(f"saved file: step {told} was told to be in it, and is not")
    except MedSegError as error:
        outcome.lost.append(f"saved file: {error}")


def _judge_exports(folder: Path, said: list[list[str]], outcome: Outcome) -> None:
    """An exported mask is whole: the last that was acknowledged, or the one that was being written."""
    for name in EXPORTED:
        path = folder / name
        may = outcome.exports.setdefault(path, [])
        for words in said:
            if words[:2] == ["exporting", name]:
                may.append(words[2])
            elif words == ["exported", name]:
                del may[:-1]
                outcome.exported += 1
        if not path.exists():
            if len(may) == 1 and ["exported", name] in said:
                outcome.lost.append(f"{name} was exported and is not there")
            continue
        try:
            found = of_labels(read_segmentation(path, like=image()), flat=name.endswith(".nii.gz"))
        except MedSegError as error:
            outcome.lost.append(f"exported mask: {error}")
            continue
        if found not in may:
            outcome.lost.append(f"{name} holds neither the last export nor the one that was cut short")


def _saved(said: list[list[str]]) -> int:
    """The last step that is in the saved file, or may be."""
    saved = [int(words[1]) for words in said if words[0] == "saved"]
    if next((words[1] for words in reversed(said) if words[0] == "doing"), "") == "save":
        saved += [int(words[1]) for words in said if words[0] == "acknowledged"]
    return max(saved, default=0)


def summary(outcome: Outcome) -> str:
    """The figures in one line."""
    when = ", ".join(f"{count} during {name}" for name, count in outcome.during.most_common())
    return (
        f"{outcome.kills} kills ({when}); longest session {outcome.steps} steps; {outcome.exported} exports;"
        f" {len(outcome.lost)} losses"
    )


def main() -> int:
    """Prints what was lost and how much was tried; 1 when anything was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcome = kill(options.kills, options.seed)
    for line in outcome.lost:
        print("LOST:", line)
    print(summary(outcome))
    return 1 if outcome.lost else 0


def kill(kills: int, seed: int) -> Outcome:
    """That many kills, a new case after every 20 of them."""
    outcome, rng = Outcome(), random.Random(seed)
    with tempfile.TemporaryDirectory() as home:
        os.environ["MEDSEG_RL_HOME"] = home
        for number in range(kills):
            folder = Path(home) / f"cases-{number // 20}"
            folder.mkdir(exist_ok=True)
            judge(folder, run_and_kill(folder, seed * 1_000_003 + number, rng), outcome)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
