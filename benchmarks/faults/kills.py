"""Kills a working session again and again, at any moment, and counts what was lost of what it had acknowledged.

A child process works on a case: clicks, strokes, labels, undo, autosaves, saves to a file, exports. After every step
it tells its parent what the session holds. The parent kills it at a random moment, recovers the case, and compares:
masks, proposal, clicks, undo list, view, the saved file, the exported masks. The next child goes on where the last one
was killed. Needs a system with `fork`.
"""

from __future__ import annotations

import os
import random
import select
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.tally import Row, Tally
from benchmarks.faults.user import TORN, CubePainter, act, choices, digest, image, of_labels
from medseg_rl.errors import MedSegError
from medseg_rl.imageio import read_segmentation
from medseg_rl.journal import find_cases
from medseg_rl.session import SegmentationSession
from medseg_rl.session.events import SessionEvent
from medseg_rl.session.safekeeping import Safekeeping
from medseg_rl.session.session_file import describe_session

LONGEST_TALK = 150  # lines that a child says until it is killed; an action takes about three
LONGEST_WAIT = 0.02  # seconds from then on, so that it dies in the middle of something
LONGEST_LIFE = 20.0  # seconds at most, on whatever machine
SAVED = "saved.medseg"
EXPORTED = tuple(f"exported-{n}{ending}" for n in range(4) for ending in (".seg.nrrd", ".nii.gz"))


DOING = (
    ("autosave", 0.08),
    ("save", 0.12),
    ("view", 0.2),
    ("export", 0.3),
    ("edit", 1.0),
)  # and the chance below which


@dataclass
class Export:
    """A file of exported masks. `may`: digests of what may be in it, the last acknowledged first."""

    may: list[str] = field(default_factory=list)
    acknowledged: bool = False


@dataclass
class Outcome:
    """What the kills came to. `lost`: one line for each loss; `found`: what was found after a kill during what."""

    kills: int = 0
    steps: int = 0
    exported: int = 0
    lost: list[str] = field(default_factory=list)
    found: Tally = field(default_factory=Tally)
    exports: dict[Path, Export] = field(default_factory=dict)
    saved: set[Path] = field(default_factory=set)  # folders in which a saved file was acknowledged

    @property
    def rows(self) -> list[Row]:
        """A row for each thing that was cut short, and one for all."""
        said = (
            f"longest session {self.steps} steps, {self.exported} exports acknowledged; compared: masks, proposal,"
            " clicks, undo list, labels, view, saved file, exported masks"
        )
        return [*self.found.rows, ("**kills together**", self.kills, said, len(self.lost))]


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
    session, keeping.flushes_beside = keeping.session, rng.random() < 0.5  # half of them as a window does it

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
    end = time.monotonic() + LONGEST_LIFE
    said, lines, wait = b"", rng.randrange(LONGEST_TALK), rng.uniform(0.0, LONGEST_WAIT)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while said.count(b"\n") < lines and (left := end - time.monotonic()) > 0:
            if select.select([pipe], [], [], left)[0]:
                found = pipe.read(2**16)
                said += found
                if not found:
                    break
        time.sleep(wait)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while found := pipe.read(2**16):
            said += found
    return [line.split(" ") for line in said.decode().splitlines()]


def judge(folder: Path, said: list[list[str]], outcome: Outcome) -> None:
    """Recovers the case as a user would after the kill, and compares it with what was acknowledged."""
    before = len(outcome.lost)
    outcome.kills += 1
    for words in said:
        if words[0] in ("failed", "problem"):
            outcome.lost.append(" ".join(words))
    _judge_saved(folder, said, outcome)
    _judge_exports(folder, said, outcome)
    found = _judge_case(folder, said, outcome)
    during = next((words[1] for words in reversed(said) if words[0] == "doing"), "start")
    outcome.found.note(f"kill (SIGKILL) during {during}", found if len(outcome.lost) == before else "FAILED")


def _judge_case(folder: Path, said: list[list[str]], outcome: Outcome) -> str:
    """What was found of the case, in words."""
    acknowledged = [words for words in said if words[0] == "acknowledged"]
    announced = {int(words[1]): words[2] for words in said if words[0] == "announced"}
    if not acknowledged:
        return "before anything was acknowledged"
    _, sequence, expected, chosen, view = acknowledged[-1]
    waiting = find_cases(folder)
    if not waiting:
        if int(sequence) > _saved(said):
            outcome.lost.append(f"step {sequence} was acknowledged, but there is nothing to recover")
        return "nothing to recover: all of it is in the saved file"
    keeping = Safekeeping.recover(waiting[0].folder, image(), CubePainter())
    try:
        outcome.steps = max(outcome.steps, keeping.sequence)
        found = digest(keeping.session)
        if keeping.sequence == int(sequence):
            at_rest = said[-1][0] == "acknowledged"
            right = found == expected and (not at_rest or choices(keeping.session) == chosen)
        else:  # journalled, but killed before it was acknowledged
            right = keeping.sequence == int(sequence) + 1 and found == announced.get(keeping.sequence)
        if not right:
            outcome.lost.append(
                f"step {sequence} was acknowledged, but step {keeping.sequence} was recovered otherwise"
            )
        outcome.lost += [f"a torn file: {said}" for said in keeping.notices if TORN in said]
        if keeping.view.get("n", 0) < int(view):
            outcome.lost.append(f"view {view} was acknowledged, but view {keeping.view.get('n', 0)} was recovered")
        if keeping.sequence == int(sequence):
            return "recovered as acknowledged"
        return "recovered with the step that was under way"
    finally:
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
        export = outcome.exports.setdefault(path, Export())
        for words in said:
            if words[:2] == ["exporting", name]:
                export.may.append(words[2])
            elif words == ["exported", name]:
                del export.may[:-1]
                export.acknowledged = True
                outcome.exported += 1
        if not path.exists():
            if export.acknowledged:
                outcome.lost.append(f"{name} was exported and is not there")
            continue
        try:
            found = of_labels(read_segmentation(path, like=image()), flat=name.endswith(".nii.gz"))
        except MedSegError as error:
            outcome.lost.append(f"exported mask: {error}")
            continue
        if found not in export.may:
            outcome.lost.append(f"{name} holds neither the last export nor the one that was cut short")
        export.may = [found]  # nothing older may come back


def _saved(said: list[list[str]]) -> int:
    """The last step that is in the saved file, or may be."""
    saved = [int(words[1]) for words in said if words[0] == "saved"]
    if next((words[1] for words in reversed(said) if words[0] == "doing"), "") == "save":
        saved += [int(words[1]) for words in said if words[0] == "acknowledged"]
    return max(saved, default=0)


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
