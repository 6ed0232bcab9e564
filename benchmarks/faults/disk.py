"""What disks do: full at any byte, and folders that cannot be written.

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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchmarks.faults.specimens import UPRIGHT, image, segmentation, worked
from benchmarks.faults.tally import Tally
from benchmarks.faults.user import TORN, CubePainter, act, digest
from benchmarks.faults.user import image as user_image
from medseg_rl.errors import OutputError
from medseg_rl.hints.click_files import write_clicks
from medseg_rl.hints.clicks import ClickLabel
from medseg_rl.imageio import write_label_table, write_segmentation, write_volume
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.session import SegmentationSession
from medseg_rl.session.safekeeping import Safekeeping

NOBODY = 65534
TMPFS_BYTES = 64 << 10
RIGHT = "right: "
UNLIMITED = resource.RLIM_INFINITY


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


def full_disk(trials: int, seed: int) -> Tally:
    """Each writer over an old file, with room for a random part of it: the old file stays, or the new one is whole."""
    tally, rng = Tally(), random.Random(seed)
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
            _judge(tally, f"full disk, {name}", said, old, whole, contents(folder))
    return tally


def _judge(
    tally: Tally, name: str, said: str, old: dict[str, bytes], whole: dict[str, bytes], found: dict[str, bytes]
) -> None:
    if said not in ("", "refused"):
        tally.fail(name, said)
    elif said == "refused" and found.keys() != old.keys():
        tally.fail(name, f"left {sorted(found.keys() ^ old.keys())} behind")
    elif said == "refused" and any(found[path] != content for path, content in old.items()):
        tally.fail(name, "refused, but an old file was changed")
    elif not said and {p: len(c) for p, c in found.items()} != {p: len(c) for p, c in whole.items()}:
        tally.fail(name, "called written, but it is not whole")
    else:
        tally.note(name, "refused in one line and the old file as it was" if said else "written whole")


def full_disk_while_working(trials: int, seed: int) -> Tally:
    """A disk that fills and empties under a session: what is not safe is told, and all of it is safe once it can be."""
    tally, name = Tally(), "full disk under a session"
    for number in range(trials):
        with tempfile.TemporaryDirectory() as place:
            os.environ["MEDSEG_RL_HOME"] = place

            def work(folder: Path = Path(place), number: int = number) -> str:
                return _fill_and_empty(folder / "cases", random.Random(f"{seed}/{number}"))

            said = in_child(work)
        if said.startswith(RIGHT):
            tally.note(name, said.removeprefix(RIGHT))
        else:
            tally.fail(name, said)
    return tally


def _fill_and_empty(root: Path, rng: random.Random) -> str:
    """What came of it, after RIGHT where all that was called safe is there again."""
    keeping = Safekeeping.begin(SegmentationSession(user_image(), CubePainter()), root=root)
    session, was_told, room_again = keeping.session, False, False
    keeping.flushes_beside = rng.random() < 0.5
    states = {0: digest(session)}
    session.observers.append(lambda _: states.update({keeping.sequence: digest(session)}))
    for _ in range(rng.randrange(2, 6)):
        act(session, rng)
    keeping.settle()  # what is on its way to the disk is called safe by nobody
    safe = keeping.sequence
    biggest = max(path.stat().st_size for path in (keeping.case.lines, keeping.case.deltas))
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(0, biggest + rng.randrange(-200, 800)), UNLIMITED))
    for _ in range(rng.randrange(1, 8)):
        act(session, rng)
        if rng.random() < 0.2:
            keeping.autosave()
        keeping.settle()
        was_told |= bool(keeping.problem)
        safe = safe if keeping._journal_problem else keeping.sequence
    if rng.random() < 0.5:
        resource.setrlimit(resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))
        keeping.tick({"slice": 1})
        keeping.settle()
        if keeping._journal_problem:
            return f"there is room again, but still {keeping.problem}"
        safe, room_again = keeping.sequence, True
    keeping._worker.shutdown()  # type: ignore[union-attr]
    resource.setrlimit(resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))
    keeping.case._close_journal()
    keeping.case._lock._handle.close()  # as a kill leaves it
    again = Safekeeping.recover(keeping.case.folder, user_image(), CubePainter())
    if again.sequence < safe or digest(again.session) != states[again.sequence]:
        return f"step {safe} was called safe, but step {again.sequence} was recovered otherwise"
    if any(TORN in said for said in again.notices):
        return f"a torn file was left: {again.notices}"
    if not was_told and again.sequence < keeping.sequence:
        return f"step {keeping.sequence} was lost and nothing was said"
    if not was_told:
        return f"{RIGHT}with room enough, all recovered"
    if room_again:
        return f"{RIGHT}told, all recovered after there was room again"
    return f"{RIGHT}told, recovered up to the last step that was called safe or later"


def full_tmpfs(seed: int) -> Tally:
    """The writers on a real file system of 64 KiB that a ballast fills byte by byte."""
    tally, rng = Tally(), random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", place]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
            tally.skipped.append("a full tmpfs (this process may not mount one)")
            return tally
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
                    _judge(tally, f"full tmpfs, {name}", said, whole, whole, contents(folder))
        finally:
            subprocess.run(["umount", "-l", place], capture_output=True, check=False)
    return tally


def read_only_folder() -> Tally:
    """Each writer, a new case and the feedback store in a folder that may only be read; nothing in it changes."""
    tally = Tally()

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
            _judge(tally, f"read-only folder, {name}", said or "written all the same", before, before, contents(folder))
    return tally


def everything(*, trials: int, seed: int) -> Tally:
    """All of it."""
    tally = Tally()
    for part in (
        full_disk(trials, seed),
        full_disk_while_working(max(1, trials // 4), seed),
        full_tmpfs(seed),
        read_only_folder(),
    ):
        tally.add(part)
    return tally
