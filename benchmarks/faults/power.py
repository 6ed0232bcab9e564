"""What a power cut leaves of a session: its files cut off anywhere, or only what was flushed to the disk.

What a recovery finds must be a state that the session had, and nothing that was safe may be lost without a word.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import traceback
from pathlib import Path
from typing import Any

from benchmarks.faults.disk import contents
from benchmarks.faults.flushed import FlushedOnly
from benchmarks.faults.tally import Tally
from benchmarks.faults.user import TORN, CubePainter, act, digest, image
from medseg_rl.errors import MedSegError
from medseg_rl.journal.case_folder import bases_of
from medseg_rl.journal.lines import read_lines
from medseg_rl.rlhf.records import Abstention
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.session import SegmentationSession
from medseg_rl.session.safekeeping import Safekeeping
from medseg_rl.session.session_file import describe_session

SAVED = "case.medseg"


class Loss(Exception):
    """What should not have come of a power cut, in words."""


def power_cuts(cuts: int, seed: int) -> Tally:
    """Every file of a session cut off at random bytes, alone and together, half the time with zeros behind the cut.

    One trial in five changes a single byte instead, as worn-out disks do.
    """
    tally, rng = Tally(), random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        os.environ["MEDSEG_RL_HOME"] = str(Path(place) / "home")
        made = Path(place) / "made"
        states = _long_work(made, rng)
        good = contents(made)
        names = [name for name in good if not name.endswith("lock")]
        for number in range(cuts):
            folder = Path(place) / f"cut-{number}"
            shutil.copytree(made, folder)
            several, rots = number % 5 == 4, number % 5 == 3
            chosen = rng.sample(names, rng.randrange(2, len(names) + 1)) if several else [names[number % len(names)]]
            if rots and rng.random() < 0.5:  # without generations all work hangs on the journal
                chosen = [name for name in names if name.endswith(".jsonl")]
                for base in (folder / "cases").rglob("base-*"):
                    base.unlink()
            for name in chosen:
                (folder / name).write_bytes((_rotten if rots else _cut)(good[name], rng))
            name = Path(chosen[0]).name
            kind = "several files at once" if several else "autosaved generation" if name[:4] == "base" else name
            what = f"{'one byte changed' if rots else 'power cut'}, {kind}"
            try:
                tally.note(what, _after_the_cut(folder, states, chosen))
            except Exception:
                tally.fail(what, f"trial {number}: {traceback.format_exc()}")
            shutil.rmtree(folder)
    return tally


def _cut(content: bytes, rng: random.Random) -> bytes:
    kept = content[: rng.randrange(len(content) + 1)]
    return kept + bytes(rng.choice((0, len(content) - len(kept))))


def _rotten(content: bytes, rng: random.Random) -> bytes:
    found = bytearray(content)
    found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def _long_work(root: Path, rng: random.Random) -> dict[int, str]:
    """A case folder and a saved file as a kill leaves them, and the digest of the state after every step."""
    keeping = Safekeeping.begin(SegmentationSession(image(), CubePainter()), root=root / "cases")
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
            keeping.save(root / SAVED)
    _die(keeping)
    return states


def _die(keeping: Safekeeping) -> None:
    """Let go of everything as a kill does."""
    keeping._worker.shutdown()  # type: ignore[union-attr]
    keeping.case._close_journal()
    keeping.case._lock._handle.close()


def _after_the_cut(root: Path, states: dict[int, str], chosen: list[str]) -> str:
    """What came of it, in words. Raises Loss."""
    (folder,) = tuple((root / "cases").iterdir())
    of_saved, of_case = _saved_again(root / SAVED, states), _recovered_again(folder, states)
    return of_saved if chosen == [SAVED] else of_case


def _saved_again(saved: Path, states: dict[int, str]) -> str:
    try:
        about = describe_session(saved)
        opened = SegmentationSession.open_saved(saved, image(), CubePainter())
    except MedSegError as error:
        _expect_one_line(error)
        return "refused in one line, the case recovered beside it"
    if digest(opened) != states[about.sequence]:
        raise Loss("the saved file opens as a state that never was")
    return "opened as it was saved"


def _recovered_again(folder: Path, states: dict[int, str]) -> str:
    generations = {sequence for sequence, path in bases_of(folder) if _opens(path)}
    lines = [line for line in read_lines(folder / "journal.jsonl").lines if line.get("kind") == "action"]
    last = max((int(line["sequence"]) for line in lines), default=0)
    try:
        keeping = Safekeeping.recover(folder, image(), CubePainter())
    except MedSegError as error:
        _expect_one_line(error)
        if generations or _opens(folder / "start.medseg"):
            raise Loss(f"refused, though a generation can be read: {error}") from error
        return "refused in one line, no generation being whole"
    try:
        found, told = keeping.sequence, bool(keeping.notices)
        if digest(keeping.session) != states.get(found):
            raise Loss(f"step {found} was recovered as a state that never was")
        if found < max(generations, default=0) or (found < last and not told):
            raise Loss(f"step {found} was recovered without a word, {max([last, *generations])} were there")
        keeping.session.add_label()
        if keeping.problem:
            raise Loss(f"work cannot go on: {keeping.problem}")
    finally:
        keeping.close()
    if found == max(states):
        return f"recovered to the last step{' and the damage told' if told else ''}"
    return f"recovered up to the cut{' and told' if told else ' between two lines'}"


def _expect_one_line(error: MedSegError) -> None:
    if "\n" in str(error):
        raise Loss(f"not one line: {error}") from error


def _opens(path: Path) -> bool:
    try:
        SegmentationSession.open_saved(path, image(), CubePainter())
    except MedSegError:
        return False
    return True


def cuts_of_what_was_not_flushed(cuts: int, seed: int) -> Tally:
    """The power goes after any step, and only what was flushed (fsync) is there: all that was acknowledged is.

    The disk is as mean as POSIX allows: neither a name nor a byte is there before its folder or file was flushed.
    """
    tally, name = Tally(), "power cut, all that was not flushed gone"
    for number in range(cuts):
        rng = random.Random(f"{seed}/{number}")
        with tempfile.TemporaryDirectory() as place:
            os.environ["MEDSEG_RL_HOME"] = str(Path(place) / "home")
            try:
                tally.note(name, _cut_at(Path(place), rng))
            except Exception:
                tally.fail(name, f"cut {number}: {traceback.format_exc()}")
    return tally


def _cut_at(place: Path, rng: random.Random) -> str:
    """Some steps, a saved file and an export, then the cut.

    Half of the work is flushed beside the steps, as a window does it, and half of that is cut before it was asked
    whether all is safe: then what was on its way to the disk may be missing, the newest first.
    """
    root = place / "disk"
    root.mkdir()
    beside, asked = rng.random() < 0.5, rng.random() < 0.5
    with FlushedOnly(root) as disk:
        keeping = Safekeeping.begin(SegmentationSession(image(), CubePainter()), root=root / "cases")
        keeping.flushes_beside = beside
        states = {0: digest(keeping.session)}
        keeping.session.observers.append(lambda _: states.update({keeping.sequence: digest(keeping.session)}))
        for _ in range(rng.randrange(1, 12)):
            act(keeping.session, rng)
            if rng.random() < 0.2:
                keeping.autosave()
                while keeping._autosaving:
                    pass
        safe = keeping.sequence
        saved = rng.random() < 0.4
        if saved:
            keeping.save(root / SAVED)
            act(keeping.session, rng)
            safe = keeping.sequence
        if asked:
            keeping.settle()
        under_way = len(keeping._flushing)
        disk.leave_in(place / "after")
    for flush, _ in keeping._flushing:
        flush.wait()
    _die(keeping)
    if saved and not _opens(place / "after" / SAVED):
        raise Loss("the saved file was acknowledged and cannot be opened")
    again = Safekeeping.recover(place / "after" / "cases" / keeping.case.folder.name, image(), CubePainter())
    lost = safe - again.sequence
    if not 0 <= lost <= under_way or digest(again.session) != states[again.sequence]:
        raise Loss(f"step {safe} was acknowledged, but step {again.sequence} was recovered otherwise")
    again.close()
    if any(TORN in said for said in again.notices):
        raise Loss(f"a torn file was left: {again.notices}")
    step = "the last step that was on the disk, the others on their way there" if lost else "the last step"
    return f"recovered to {step}{', the saved file whole' if saved else ''}"


def feedback_cuts(cuts: int, seed: int) -> Tally:
    """The record file of the feedback store cut off anywhere: whole lines stay, the next record is stored."""
    tally, rng = Tally(), random.Random(seed)
    name = "power cut, feedback records"
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
            try:
                store = FeedbackStore(Path(place))
                store.append(Abstention(**about, reason="after"))
                found = len(store.records())
            except Exception:
                tally.fail(name, f"cut {number}: {traceback.format_exc()}")
                continue
        if found == whole + 1:
            tally.note(name, "every whole record kept and the next one stored")
        else:
            tally.fail(name, f"cut {number}: {found} of {whole + 1} records")
    return tally


def everything(*, cuts: int, seed: int) -> Tally:
    """All of it."""
    tally = Tally()
    for part in (
        power_cuts(cuts, seed),
        cuts_of_what_was_not_flushed(max(1, cuts // 5), seed),
        feedback_cuts(max(1, cuts // 5), seed),
    ):
        tally.add(part)
    return tally
