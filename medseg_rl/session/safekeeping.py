"""Keeps the work on one case: a journal of every step, autosaved generations, saved files, recovery after a crash.

    keeping = Safekeeping.begin(session)            # from here on every step is on the disk before the next one
    keeping.tick(view)                              # now and then, while input is idle: autosaves when one is due
    keeping.save(path)
    keeping.close()

A window that must not wait for its disk sets `flushes_beside`: a step is then in the file when it is made, so that it
outlives the program, and a thread brings it to the disk at once. Whatever calls work safe or saved waits for that.

After a crash `medseg_rl.journal.find_cases` tells what can be recovered, and `Safekeeping.recover` does it. Nothing
here raises into somebody's work: what cannot be written is said in `problem` until it could be.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from medseg_rl.errors import InputFileError, OutputError
from medseg_rl.journal.case_folder import OPENED, SAVED, VIEW, CaseFolder
from medseg_rl.journal.container import Container
from medseg_rl.journal.lines import Flush, encoded_line
from medseg_rl.session.case_files import empty_case, journal_taken_over
from medseg_rl.session.events import SessionEvent
from medseg_rl.session.recovery import recovered
from medseg_rl.session.session_file import (
    ImageFacts,
    JournalParts,
    Writing,
    describe_session,
    read_manifest,
    read_now,
)
from medseg_rl.session.steps import StepWriter, choices, now_utc
from medseg_rl.session.stored_state import put_into, taken_from
from medseg_rl.volume import Volume, content_hash

if TYPE_CHECKING:
    from medseg_rl.refiner import Refiner
    from medseg_rl.session.segmentation import SegmentationSession

AUTOSAVE_SECONDS = 60.0
MOST_FLUSHING = 8  # steps on their way to a slow disk; more have to wait
Work = Callable[[], None]
Submit = Callable[[Work], object]
View = Mapping[str, Any]
Waiting = tuple[bytes, dict[str, bytes], bool]  # a line, its deltas by digest, whether it has to be flushed


class Safekeeping:
    """The keeper of one session; call it from the thread of the session. `submit` hands work to a worker thread."""

    def __init__(self, session: SegmentationSession, case: CaseFolder, sequence: int, submit: Submit | None) -> None:
        self.session = session
        self.case = case
        self.sequence = sequence  # steps so far
        self.view: dict[str, Any] = {}
        self.notices: tuple[str, ...] = ()  # what the last opening, recovery or save has to say
        self._saved_sequence = sequence
        self._steps = StepWriter(session)
        self.flushes_beside = False  # see above
        self._pending: list[Waiting] = []
        self._flushing: list[tuple[Flush, list[Waiting]]] = []  # what is on its way to the disk, in order
        self._journal_problem = self._autosave_problem = ""
        self._worker = None if submit else ThreadPoolExecutor(1, thread_name_prefix="safekeeping")
        self._submit = submit or self._on_own_worker
        self._autosaving = False
        self._model_finished = False
        self._changed_at: float | None = None
        self._noted: tuple[dict[str, Any], dict[str, Any]] | None = None
        session.observers.append(self._observe)
        session.journal_facts = self._journal_facts

    # --- beginnings -------------------------------------------------------------------------------------------------

    @classmethod
    def begin(
        cls,
        session: SegmentationSession,
        *,
        image_path: Path | None = None,
        root: Path | None = None,
        submit: Submit | None = None,
    ) -> Self:
        """Keep a new session from here on. `root`: of all case folders, in the user's own folder unless given.

        Raises CaseBusyError when another window has the case open, MedSegError when there is unsaved work on it, which
        is to be recovered or discarded first, OutputError.
        """
        case = empty_case(session.image_hash, root)
        try:
            case.set_places(image=image_path)
            Writing(taken_from(session), ImageFacts.of(session)).write(case.start)
            keeping = cls(session, case, 0, submit)
            keeping._note(OPENED)
        except BaseException:
            case.close()
            raise
        return keeping

    @classmethod
    def open_saved(
        cls,
        path: Path,
        image: Volume,
        refiner: Refiner | Callable[[], Refiner],
        *,
        image_path: Path | None = None,
        root: Path | None = None,
        submit: Submit | None = None,
    ) -> Self:
        """Go on with a saved session, its journal included. Raises as `begin` does; InputFileError."""
        from medseg_rl.session.segmentation import SegmentationSession

        image_hash = content_hash(image)
        with Container.open(path) as container:
            about = read_manifest(container)
            about.image.check(image, image_hash)
            session = SegmentationSession(about.image.marked(image), refiner)
            session.image_hash = image_hash
            put_into(session, read_now(container))
            case = empty_case(image_hash, root)
            try:
                case.set_places(image=image_path or about.image_path, session=path)
                lost = journal_taken_over(container, about, case)
                if lost is not None:
                    Writing(taken_from(session), about.image, about.sequence).write(case.start)
                keeping = cls(session, case, about.sequence, submit)
                keeping.notices = (lost,) if lost else ()
                keeping.view = dict(about.view)
                Writing(taken_from(session), about.image, about.sequence, about.view).write(case.base(about.sequence))
                keeping._note(OPENED)
            except BaseException:
                case.clear()
                case.close()
                raise
        return keeping

    @classmethod
    def recover(
        cls,
        folder: Path,
        image: Volume,
        refiner: Refiner | Callable[[], Refiner],
        *,
        submit: Submit | None = None,
    ) -> Self:
        """Go on where a crash, or a close without saving, left a case: everything that was acknowledged is there.

        Raises CaseBusyError, OutputError, InputFileError when nothing can be read or `image` is another one.
        """
        from medseg_rl.session.segmentation import SegmentationSession

        case = CaseFolder(folder)
        try:
            session = SegmentationSession(image, refiner)
            found = recovered(session, case)
            keeping = cls(session, case, found.sequence, submit)
            keeping.view, keeping.notices = found.view, found.notices
            keeping._saved_sequence = found.saved_sequence
            if not found.journal_is_whole:
                keeping._begin_journal_anew()
            keeping._note(VIEW, view=keeping.view)
        except BaseException:
            case.close()
            raise
        return keeping

    # --- while it is open -------------------------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        """Why the newest work is not safe on the disk; empty while it is. Stays until it could be written.

        What is on its way there beside the work is no problem yet: `settle` waits for it.
        """
        self._take_note()
        return self._journal_problem or self._autosave_problem

    @property
    def unsaved_steps(self) -> int:
        """Steps since the session was saved to a file of the user's."""
        return self.sequence - self._saved_sequence

    @property
    def autosave_is_due(self) -> bool:
        """After every finished model job, and 60 s after the first change that no generation holds."""
        if self._autosaving or self._changed_at is None:
            return False
        return self._model_finished or time.monotonic() - self._changed_at >= AUTOSAVE_SECONDS

    def tick(self, view: View | None = None) -> None:
        """To be called while input is idle: notes a changed view, tries failed writes again, autosaves if due."""
        self.note_view(self.view if view is None else view)
        if self.autosave_is_due:
            self.autosave()

    def note_view(self, view: View) -> None:
        """Keep what the window wants to find again (JSON-ready); with it goes which label is active."""
        self.view = dict(view)
        noted = (choices(self.session), self.view)
        if self._noted != noted:
            self._note(VIEW, view=self.view)
            self._noted = noted
        elif self._pending:
            self._flush()

    def autosave(self) -> None:
        """Copy what was written on this thread, write it as a generation on the worker."""
        if self._autosaving:
            return
        writing, flushing = self._writing(), [flush for flush, _ in self._flushing]
        self._steps.restart()
        self._autosaving, self._model_finished, self._changed_at = True, False, None
        try:
            self._submit(lambda: self._write_generation(writing, flushing))
        except BaseException:
            self._autosaving = False
            raise

    def prepare_save(self, *, portable: bool = False, with_voxels: bool = False) -> Writing:
        """A session file to be written on any thread; then `note_saved`. `portable`: without the path of the image."""
        self._flush()
        self.settle()
        places = {} if portable else self.case.places()
        return Writing(
            taken_from(self.session),
            ImageFacts.of(self.session),
            self.sequence,
            self.view,
            self._journal_parts(),
            places.get("image"),
            self.session.image if with_voxels else None,
            self.case.folder,
        )

    def note_saved(self, path: Path, writing: Writing) -> None:
        """That file was written: the steps up to it need no recovery."""
        self.case.set_places(session=path)
        self._saved_sequence = writing.sequence
        self._note(SAVED, sequence=writing.sequence)
        self.settle()

    def save(self, path: Path, *, portable: bool = False, with_voxels: bool = False) -> None:
        """Write the session with its journal, here and now. Raises OutputError; an old file is then as it was."""
        writing = self.prepare_save(portable=portable, with_voxels=with_voxels)
        lost = writing.write(path)
        self.notices = (lost,) if lost else ()
        self.note_saved(path, writing)

    def provenance(self) -> dict[str, Any]:
        """What an export says of its origin; `SegmentationSession.provenance` says the same while a case is kept."""
        return self.session.provenance()

    def settle(self) -> None:
        """Wait until what was written is on the disk. What could not be brought there waits, and `problem` says so."""
        self._take_note(wait_for=len(self._flushing))

    def _take_note(self, wait_for: int = 0) -> None:
        """Of what has come to the disk, in order; the oldest so many are waited for.

        Where one did not, it and all after it are no part of the journal and are written again.
        """
        while self._flushing and (wait_for > 0 or self._flushing[0][0].is_over):
            flush, _ = self._flushing[0]
            try:
                flush.wait()
            except OutputError as error:
                self._take_back()
                self._journal_problem = str(error)
                return
            self.case.journal.keep(flush.written)
            self._journal_problem = ""
            del self._flushing[0]
            wait_for -= 1

    def _take_back(self) -> None:
        for flush, waiting in reversed(self._flushing):
            with contextlib.suppress(OutputError):
                flush.wait()
            self.case.journal.take_back(flush.written)
            self._pending[:0] = waiting
        self._flushing.clear()

    def close(self, *, discard: bool = False) -> None:
        """Let go of the case. Unsaved work stays for a recovery unless it is to be discarded.

        A worker of the caller's must have finished what it was given.
        """
        with contextlib.suppress(ValueError):
            self.session.observers.remove(self._observe)
            self.session.journal_facts = None
        self._flush()
        self.settle()
        if self._worker is not None:
            self._worker.shutdown(wait=True)
        finished = discard or (not self.unsaved_steps and not self._pending)
        try:
            if finished:
                self.case.clear()
        finally:
            self.case.close(remove=finished)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _journal_facts(self) -> dict[str, Any]:
        self.settle()
        return {"case": self.case.folder.name, "journal_sha256": self.case.journal.digest, "steps": self.sequence}

    def _observe(self, event: SessionEvent) -> None:
        self.sequence += 1
        line, deltas = self._steps.line(event, self.sequence)
        self._pending.append((encoded_line(line), deltas, True))
        self._changed_at = time.monotonic() if self._changed_at is None else self._changed_at
        self._model_finished |= event.report is not None
        self._flush()

    def _note(self, kind: str, **content: Any) -> None:
        line = {"kind": kind, "sequence": self.sequence, "time": now_utc(), **choices(self.session)}
        self._pending.append((encoded_line(line | content), {}, kind != VIEW))
        self._flush()

    def _flush(self) -> None:
        """Write what is waiting; what cannot be written waits on, and `problem` says so."""
        self._take_note(wait_for=len(self._flushing) - MOST_FLUSHING)
        if not self._pending:
            return
        deltas = {digest: payload for _, found, _ in self._pending for digest, payload in found.items()}
        lines = [line for line, _, _ in self._pending]
        durable = any(durable for _, _, durable in self._pending)
        try:
            if self._flushing or (durable and self.flushes_beside):
                self._flushing.append((self.case.journal.write(lines, deltas), self._pending.copy()))
            else:
                self.case.journal.append(lines, deltas, durable=durable)
                self._journal_problem = ""
        except OutputError as error:
            self._journal_problem = str(error)
        else:
            self._pending.clear()

    def _writing(self) -> Writing:
        return Writing(taken_from(self.session), ImageFacts.of(self.session), self.sequence, self.view)

    def _write_generation(self, writing: Writing, flushing: Sequence[Flush]) -> None:
        try:
            for flush in flushing:  # first the steps that it stands for; whether that failed is told by `problem`
                with contextlib.suppress(OutputError):
                    flush.wait()
            writing.write(self.case.base(writing.sequence))
            self.case.prune()
            self._autosave_problem = ""
        except Exception as error:  # on a worker: whatever went wrong is told, and tried again
            self._autosave_problem = f"the autosave failed: {error}"
            self._changed_at = time.monotonic()
        finally:
            self._autosaving = False

    def _journal_parts(self) -> JournalParts | None:
        """The journal as it stands; None where what is on the disk does not lead from a start to here."""
        if self._pending:
            return None
        try:
            describe_session(self.case.start)
        except InputFileError:
            return None
        journal = self.case.journal
        lines, deltas = journal.sizes
        return JournalParts(
            self.case.start, self.case.lines, self.case.deltas, lines, deltas, journal.digest, journal.digests
        )

    def _begin_journal_anew(self) -> None:
        """From the state as it is: the old journal does not lead to it."""
        writing = self._writing()
        writing.write(self.case.base(self.sequence))
        writing.write(self.case.start)
        self.case.set_journal_aside()
        self._steps.restart()

    def _on_own_worker(self, work: Work) -> Future[None]:
        assert self._worker is not None
        return self._worker.submit(work)
