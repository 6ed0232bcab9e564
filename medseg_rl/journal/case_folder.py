"""The folder in which the open work on one case lies: start, autosaved generations, journal, lock, places.

    start.medseg            the session as the journal found it
    base-00000042.medseg    the session after step 42; the newest three are kept
    journal.jsonl, .deltas  every step, on the disk before the next one
    places.json             where image and saved session lie: on this computer only, in no export
    lock                    who has it open

Knows files and sequence numbers, not what a session is.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg_rl.errors import MedSegError, OutputError
from medseg_rl.imageio.atomic import atomic_path, flush_folder, make_folder
from medseg_rl.journal.case_id import CASE_NAME
from medseg_rl.journal.case_lock import CaseLock, holder_of
from medseg_rl.journal.formats import SESSION_ENDING
from medseg_rl.journal.lines import JournalText, JournalWriter, encoded_line, read_lines
from medseg_rl.user_data import user_data_folder

GENERATIONS = 3
LINES, DELTAS, START, PLACES, LOCK = "journal.jsonl", "journal.deltas", f"start{SESSION_ENDING}", "places.json", "lock"
ACTION, SAVED, DISCARDED, VIEW, OPENED = "action", "saved", "discarded", "view", "opened"  # kinds of lines
_BASE = re.compile(rf"base-(\d{{8}}){re.escape(SESSION_ENDING)}")


@dataclass(frozen=True)
class CaseReport:
    """What a case folder holds. `unsaved_steps`: since the session was saved; `last_utc`: when the newest was made.

    `crashed`: whoever had it open never closed it. `is_open`: a living program has it open. Paths are None where they
    are not known.
    """

    case_id: str
    folder: Path
    unsaved_steps: int
    last_utc: str | None
    crashed: bool
    is_open: bool
    image_path: Path | None
    saved_path: Path | None


def cases_folder() -> Path:
    """Where the folders of all cases stand."""
    return user_data_folder() / "cases"


def find_cases(root: Path | None = None) -> tuple[CaseReport, ...]:
    """The cases with unsaved work that nobody has open, newest first: what a start may offer to recover."""
    folders = (root or cases_folder()).glob("case-*")
    reports = [report_of(folder) for folder in folders if CASE_NAME.fullmatch(folder.name) and folder.is_dir()]
    waiting = [report for report in reports if report.unsaved_steps and not report.is_open]
    return tuple(sorted(waiting, key=lambda report: report.last_utc or "", reverse=True))


def report_of(folder: Path) -> CaseReport:
    """What a case folder holds; changes nothing in it."""
    text = _readable(folder / LINES)
    holder, is_open = holder_of(folder / LOCK)
    places = _read_places(folder)
    steps = [line for line in text.lines if line.get("kind") == ACTION]
    return CaseReport(
        case_id=folder.name,
        folder=folder,
        unsaved_steps=_unsaved(text, [sequence for sequence, _ in bases_of(folder)]),
        last_utc=str(steps[-1].get("time")) if steps else None,
        crashed=holder is not None and not is_open,
        is_open=is_open,
        image_path=places.get("image"),
        saved_path=places.get("session"),
    )


def discard_case(folder: Path) -> None:
    """Remove the unsaved work of a case for good; it is never offered again. Raises CaseBusyError, OutputError."""
    with contextlib.closing(CaseFolder(folder)) as case:
        case.clear()


def bases_of(folder: Path) -> tuple[tuple[int, Path], ...]:
    """Sequence number and path of every autosaved generation, newest first."""
    found = [(int(match[1]), path) for path in folder.glob("base-*") if (match := _BASE.fullmatch(path.name))]
    return tuple(sorted(found, reverse=True))


class CaseFolder:
    """A case folder, open and locked. Made if there is none."""

    def __init__(self, folder: Path) -> None:
        """Raises CaseBusyError when another program has it open, OutputError when it cannot be made."""
        try:
            make_folder(folder)
        except OSError as error:
            raise OutputError(f"cannot make {folder}: {error.strerror or error}; choose another place") from None
        self.folder = folder
        self._lock = CaseLock.take(folder / LOCK)
        self._writer: JournalWriter | None = None
        if any(line.get("kind") == DISCARDED for line in self.text().lines):
            self.clear()  # a discard that was cut short

    @property
    def start(self) -> Path:
        """The session as the journal found it."""
        return self.folder / START

    @property
    def deltas(self) -> Path:
        """The deltas of the journal."""
        return self.folder / DELTAS

    @property
    def lines(self) -> Path:
        """The lines of the journal."""
        return self.folder / LINES

    @property
    def journal(self) -> JournalWriter:
        """For appending."""
        if self._writer is None:
            self._writer = JournalWriter(self.lines, self.deltas)
        return self._writer

    @property
    def unsaved_steps(self) -> int:
        """How many steps were made since the session was saved."""
        return _unsaved(self.text(), [sequence for sequence, _ in bases_of(self.folder)])

    def text(self) -> JournalText:
        """The journal as it stands on the disk."""
        return _readable(self.lines)

    def base(self, sequence: int) -> Path:
        """Where the generation after that step belongs."""
        return self.folder / f"base-{sequence:08d}{SESSION_ENDING}"

    def prune(self) -> None:
        """Leave the newest generations alone."""
        for _, path in bases_of(self.folder)[GENERATIONS:]:
            with contextlib.suppress(OSError):
                path.unlink()

    def set_places(self, **paths: Path | None) -> None:
        """Note where the image and the saved session lie. Raises OutputError."""
        places = {name: path for name, path in {**_read_places(self.folder), **paths}.items() if path is not None}
        with atomic_path(self.folder / PLACES) as temporary:
            temporary.write_text(json.dumps({name: str(path) for name, path in places.items()}), encoding="utf-8")

    def places(self) -> Mapping[str, Path]:
        """What was noted: "image", "session"."""
        return _read_places(self.folder)

    def set_journal_aside(self) -> None:
        """Begin a new journal; the old one, which is damaged, stays beside it until the folder is cleared."""
        self._close_journal()
        with _told(self.folder):
            for path in (self.lines, self.deltas):
                if path.exists():
                    path.replace(path.with_name(f"{path.name}.damaged"))
            flush_folder(self.folder)

    def clear(self) -> None:
        """Remove everything but the lock. Once begun it is finished, if need be by the next who opens the folder."""
        if self.lines.exists():
            self.journal.append([encoded_line({"kind": DISCARDED})], {})
        self._close_journal()
        with _told(self.folder):
            others = [path for path in self.folder.iterdir() if path.name not in (LINES, LOCK) and path.is_file()]
            for path in (*others, self.lines):  # the journal last: it says that the rest is to go
                path.unlink(missing_ok=True)
            flush_folder(self.folder)

    def close(self, *, remove: bool = False) -> None:
        """Let go of the folder; `remove` it too if nothing in it is wanted any more."""
        self._close_journal()
        self._lock.release()
        if remove:
            with contextlib.suppress(OSError):
                (self.folder / LOCK).unlink(missing_ok=True)
                self.folder.rmdir()

    def _close_journal(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _unsaved(text: JournalText, bases: list[int]) -> int:
    newest, saved = max(bases, default=0), 0
    for line in text.lines:
        kind, sequence = line.get("kind"), line.get("sequence")
        if kind == DISCARDED:
            return 0
        if isinstance(sequence, int):
            newest = max(newest, sequence)
            saved = sequence if kind in (SAVED, OPENED) else saved
    return max(0, newest - saved)


def _readable(path: Path) -> JournalText:
    try:
        return read_lines(path)
    except OSError as error:
        raise MedSegError(f"the journal {path} cannot be read: {error.strerror or error}") from None


def _read_places(folder: Path) -> dict[str, Path]:
    try:
        content: Any = json.loads((folder / PLACES).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {str(name): Path(path) for name, path in content.items() if isinstance(path, str)}


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot change {folder}: {error.strerror or error}; see to its rights and free space"
        ) from None
