"""What disks do: full at any byte, folders that cannot be written, files of a session cut off by a power cut.

A full disk is a limit on the size of files (RLIMIT_FSIZE), and a small tmpfs too where this process may mount one; a
read-only folder is tried as another user where this one is root. Every trial runs in a child of its own.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults.specimens import image, segmentation, worked
from benchmarks.session_kills import CubePainter, act, digest
from benchmarks.session_kills import image as kill_image
from medseg_rl.errors import MedSegError, OutputError
from medseg_rl.hints.click_files import write_clicks
from medseg_rl.hints.clicks import ClickLabel
from medseg_rl.imageio import write_label_table, write_segmentation, write_volume
from medseg_rl.journal.case_folder import bases_of
from medseg_rl.journal.lines import read_lines
from medseg_rl.rlhf.records import Abstention
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.session import SegmentationSession
from medseg_rl.session.safekeeping import Safekeeping
from medseg_rl.session.session_file import describe_session
from medseg_rl.volume import Volume

NOBODY = 65534
TMPFS_BYTES = 64 << 10
UNLIMITED = resource.RLIM_INFINITY


@dataclass
class Outcome:
    """`trials` and `refused` by name; `lost`: one line for each thing that went wrong."""

    trials: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    skipped: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def _session() -> SegmentationSession:
    session = SegmentationSession(image(), CubePainter())
    worked(session)
    session.accept()
    return session


def _export(name: str) -> Callable[[Path], object]:
    return lambda folder: _session().export(folder / name, flatten=True)


def _masks(folder: Path) -> None:
    write_segmentation(folder / "labels.seg.nrrd", segmentation(image()), like=image())


def _mhd(folder: Path) -> None:
    from benchmarks.faults.specimens import UPRIGHT

    write_volume(folder / "image.mhd", image(UPRIGHT))


WRITERS: dict[str, Callable[[Path], object]] = {
    "NIfTI mask": _export("mask.nii.gz"),
    "NRRD mask": _export("mask.nrrd"),
    ".seg.nrrd": _masks,
    "NIfTI image": lambda folder: write_volume(folder / "image.nii", image()),
    "MetaImage pair": _mhd,
    "session file": lambda folder: _session().save(folder / "case.medseg"),
    "label table": lambda folder: write_label_table(folder / "labels.json", segmentation(image()).labels),
    "click file": lambda folder: write_clicks(folder / "clicks.json", [((1.0, 2.0, 3.0), ClickLabel.FOREGROUND)]),
}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def in_child(work: Callable[[], str]) -> str:
    """What `work` returns, run in a forked child; `crash` or the trace where it does not end well."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = ""
        try:
            os.close(reading)
            said = work()
        except BaseException:
            said = f"bare {traceback.format_exc()}"
        finally:
            os.write(writing, said.encode()[:60000])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        found = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    return found if status == 0 else f"crash with status {status}"


def _refusal(write: Callable[[Path], object], folder: Path) -> str:
    """Empty where it was written, `refused` where one line said why not, else what was wrong."""
    try:
        write(folder)
    except OutputError as error:
        return "refused" if "\n" not in str(error) else f"not one line: {error}"
    return ""


def full_disk(trials: int, seed: int) -> Outcome:
    """Each writer over an old file, with room for a random part of it: the old file stays, or the new one is whole."""
    outcome, rng = Outcome(), random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        for number in range(trials):
            name = list(WRITERS)[number % len(WRITERS)]
            write, folder = WRITERS[name], Path(place) / str(number)
            folder.mkdir()
            write(folder)
            whole = contents(folder)
            old = {path: b"the old file " + path.encode() for path in whole}
            for path, content in old.items():
                (folder / path).write_bytes(content)
            limit = int(rng.random() * 1.2 * max(len(content) for content in whole.values()))

            def limited(write: Callable[[Path], object] = write, folder: Path = folder, limit: int = limit) -> str:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, UNLIMITED))
                return _refusal(write, folder)

            said = in_child(limited)
            _judge(outcome, f"full disk, {name}", said, old, whole, contents(folder))
    return outcome


def _judge(
    outcome: Outcome, name: str, said: str, old: dict[str, bytes], whole: dict[str, bytes], found: dict[str, bytes]
) -> None:
    outcome.trials[name] += 1
    outcome.refused[name] += said == "refused"
    if said not in ("", "refused"):
        outcome.lost.append(f"{name}: {said}")
    elif said == "refused" and found.keys() != old.keys():
        outcome.lost.append(f"{name}: left {sorted(found.keys() ^ old.keys())} behind")
    elif said == "refused" and any(found[path] != content for path, content in old.items()):
        outcome.lost.append(f"{name}: refused, but an old file was changed")
    elif not said and {p: len(c) for p, c in found.items()} != {p: len(c) for p, c in whole.items()}:
        outcome.lost.append(f"{name}: called written, but it is not whole")


def full_disk_while_working(trials: int, seed: int) -> Outcome:
    """A disk that fills and empties under a session: what is not safe is told, and all of it is safe once it can be."""
    outcome = Outcome()
    for number in range(trials):
        with tempfile.TemporaryDirectory() as place:
            os.environ["MEDSEG_RL_HOME"] = place

            def work(folder: Path = Path(place), number: int = number) -> str:
                return _fill_and_empty(folder / "cases", random.Random(f"{seed}/{number}"))

            said = in_child(work)
        name = "full disk under a session"
        outcome.trials[name] += 1
        outcome.refused[name] += said == "told"
        if said not in ("", "told"):
            outcome.lost.append(f"{name}: {said}")
    return outcome


def _fill_and_empty(root: Path, rng: random.Random) -> str:
    keeping = Safekeeping.begin(SegmentationSession(kill_image(), CubePainter()), root=root)
    session, told = keeping.session, ""
    for _ in range(rng.randrange(2, 6)):
        act(session, rng)
    safe = (keeping.sequence, digest(session))
    biggest = max(path.stat().st_size for path in (keeping.case.lines, keeping.case.deltas))
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(0, biggest + rng.randrange(-200, 800)), UNLIMITED))
    for _ in range(rng.randrange(1, 8)):
        act(session, rng)
        if rng.random() < 0.2:
            keeping.autosave()
        if keeping.problem:
            told = "told"
        else:
            safe = (keeping.sequence, digest(session))
    if rng.random() < 0.5:
        resource.setrlimit(resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))
        keeping.tick({"slice": 1})
        if keeping._journal_problem:
            return f"there is room again, but still {keeping.problem}"
        safe = (keeping.sequence, digest(session))
    keeping._worker.shutdown()  # type: ignore[union-attr]
    resource.setrlimit(resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))
    keeping.case._close_journal()
    keeping.case._lock._handle.close()  # as a kill leaves it
    again = Safekeeping.recover(keeping.case.folder, kill_image(), CubePainter())
    if (again.sequence, digest(again.session)) != safe:
        return f"step {safe[0]} was called safe, but step {again.sequence} was recovered otherwise"
    return told


def full_tmpfs(seed: int) -> Outcome:
    """The writers on a real file system of 64 KiB that a ballast fills byte by byte."""
    outcome, rng = Outcome(), random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", place]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
            outcome.skipped.append("a full tmpfs (this process may not mount one)")
            return outcome
        try:
            for name, write in WRITERS.items():
                for _ in range(4):
                    folder = Path(place) / "here"
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir()
                    write(folder)
                    whole = contents(folder)
                    ballast = Path(place) / "ballast"
                    with suppress(OSError), ballast.open("wb", buffering=0) as file:
                        while file.write(bytes(1024)):
                            pass
                    with suppress(OSError):
                        os.truncate(ballast, max(0, ballast.stat().st_size - 4096 * rng.randrange(3)))
                    said = in_child(lambda write=write, folder=folder: _refusal(write, folder))  # type: ignore[misc]
                    ballast.unlink()
                    _judge(outcome, f"full tmpfs, {name}", said, whole, whole, contents(folder))
        finally:
            subprocess.run(["umount", "-l", place], capture_output=True, check=False)
    return outcome


def read_only_folder() -> Outcome:
    """Each writer, a new case and the feedback store in a folder that may only be read; nothing in it changes."""
    outcome = Outcome()

    def new_case(folder: Path) -> None:
        Safekeeping.begin(SegmentationSession(image(), CubePainter()), root=folder / "cases")

    def feedback(folder: Path) -> None:
        FeedbackStore(folder / "feedback").set_consent(store=True)

    for name, write in (WRITERS | {"a new case": new_case, "feedback store": feedback}).items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "here"
            folder.mkdir()
            os.environ["MEDSEG_RL_HOME"] = str(folder / "home")
            if name in WRITERS:
                write(folder)
            before = contents(folder)
            folder.chmod(0o555)
            Path(place).chmod(0o755)

            def barred(write: Callable[[Path], object] = write, folder: Path = folder) -> str:
                if os.geteuid() == 0:
                    os.setegid(NOBODY)
                    os.seteuid(NOBODY)
                return _refusal(write, folder)

            said = in_child(barred)
            folder.chmod(0o755)
            _judge(
                outcome, f"read-only folder, {name}", said or "written all the same", before, before, contents(folder)
            )
    return outcome


def power_cuts(cuts: int, seed: int) -> Outcome:
    """Every file of a session cut off at random bytes, alone and together, half the time with zeros behind the cut.

    What a recovery finds must be a state that the session had: the one of the last whole line or a later generation.
    """
    outcome, rng = Outcome(), random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        os.environ["MEDSEG_RL_HOME"] = str(Path(place) / "home")
        made = Path(place) / "made"
        states = _long_work(made, rng)
        good = contents(made)
        names = [name for name in good if not name.endswith("lock")]
        for number in range(cuts):
            folder = Path(place) / f"cut-{number}"
            shutil.copytree(made, folder)
            chosen = (
                rng.sample(names, rng.randrange(2, len(names) + 1)) if number % 5 == 4 else [names[number % len(names)]]
            )
            for name in chosen:
                content = good[name]
                kept = content[: rng.randrange(len(content) + 1)]
                (folder / name).write_bytes(kept + bytes(rng.choice((0, len(content) - len(kept)))))
            what = "several files at once" if len(chosen) > 1 else Path(chosen[0]).name
            kind = f"power cut, {'autosaved generation' if what.startswith('base') else what}"
            outcome.trials[kind] += 1
            said = _after_the_cut(folder, states)
            outcome.refused[kind] += said == "refused"
            if said not in ("", "refused"):
                outcome.lost.append(f"{kind} (cut {number}): {said}")
            shutil.rmtree(folder)
    return outcome


def _long_work(root: Path, rng: random.Random) -> dict[int, str]:
    """A case folder and a saved file as a kill leaves them, and the digest of the state after every step."""
    keeping = Safekeeping.begin(SegmentationSession(kill_image(), CubePainter()), root=root / "cases")
    states = {0: digest(keeping.session)}
    keeping.session.observers.append(lambda _: states.update({keeping.sequence: digest(keeping.session)}))
    for number in range(60):
        act(keeping.session, rng)
        keeping.note_view({"n": number})
        if number % 15 == 10:
            keeping.autosave()
            while keeping._autosaving:
                pass
        if number == 40:
            keeping.save(root / "case.medseg")
    keeping._worker.shutdown()  # type: ignore[union-attr]
    keeping.case._close_journal()
    keeping.case._lock._handle.close()
    return states


def _after_the_cut(root: Path, states: dict[int, str]) -> str:
    saved, (folder,) = root / "case.medseg", tuple((root / "cases").iterdir())
    try:
        about = describe_session(saved)
        opened = SegmentationSession.open_saved(saved, kill_image(), CubePainter())
        if digest(opened) != states[about.sequence]:
            return "the saved file opens as a state that never was"
    except MedSegError as error:
        if "\n" in str(error):
            return f"not one line: {error}"
    try:
        return _recovered_rightly(folder, kill_image(), states)
    except MedSegError as error:
        readable = [path for _, path in bases_of(folder) if _opens(path)]
        if readable or _opens(folder / "start.medseg"):
            return f"refused, though a generation can be read: {error}"
        return "refused" if "\n" not in str(error) else f"not one line: {error}"
    except Exception:
        return traceback.format_exc()


def _opens(path: Path) -> bool:
    try:
        SegmentationSession.open_saved(path, kill_image(), CubePainter())
    except MedSegError:
        return False
    return True


def _recovered_rightly(folder: Path, like: Volume, states: dict[int, str]) -> str:
    generations = {sequence for sequence, path in bases_of(folder) if _opens(path)}
    lines = [line for line in read_lines(folder / "journal.jsonl").lines if line.get("kind") == "action"]
    last = max((int(line["sequence"]) for line in lines), default=0)
    keeping = Safekeeping.recover(folder, like, CubePainter())
    try:
        found = keeping.sequence
        if digest(keeping.session) != states.get(found):
            return f"step {found} was recovered as a state that never was"
        if found < max(generations, default=0) or (found < last and not keeping.notices):
            return f"step {found} was recovered without a word, {max([last, *generations])} were there"
        keeping.session.add_label()
        if keeping.problem:
            return f"work cannot go on: {keeping.problem}"
        return ""
    finally:
        keeping.close()


def feedback_cuts(cuts: int, seed: int) -> Outcome:
    """The record file of the feedback store cut off anywhere: whole lines stay, the next record is stored."""
    outcome, rng = Outcome(), random.Random(seed)
    about: dict[str, Any] = {"case_id": "case-0011aabb", "group_id": "g-1", "annotator": "a", "annotator_kind": "human"}
    about |= {"predicted_class": "D", "correct_class": "A"}
    for number in range(cuts):
        with tempfile.TemporaryDirectory() as place:
            store = FeedbackStore(Path(place))
            store.set_consent(store=True)
            for n in range(4):
                store.append(Abstention(**about, reason=f"reason_{n}"))
            (path,) = Path(place).rglob("*.jsonl")
            content = path.read_bytes()
            cut = content[: rng.randrange(len(content) + 1)]
            path.write_bytes(cut)
            whole = cut.count(b"\n")
            outcome.trials["power cut, feedback records"] += 1
            try:
                store = FeedbackStore(Path(place))
                store.append(Abstention(**about, reason="after"))
                if len(store.records()) != whole + 1:
                    outcome.lost.append(f"feedback cut {number}: {len(store.records())} of {whole + 1} records")
            except Exception:
                outcome.lost.append(f"feedback cut {number}: {traceback.format_exc()}")
    return outcome


def everything(*, trials: int, cuts: int, seed: int) -> Outcome:
    """All of it as one outcome."""
    whole = Outcome()
    for part in (
        full_disk(trials, seed),
        full_disk_while_working(max(1, trials // 4), seed),
        full_tmpfs(seed),
        read_only_folder(),
        power_cuts(cuts, seed),
        feedback_cuts(max(1, cuts // 5), seed),
    ):
        whole.trials.update(part.trials)
        whole.refused.update(part.refused)
        whole.skipped += part.skipped
        whole.lost += part.lost
    return whole
