"""Puts a session back to where a crash left it: the newest readable generation, then every journalled step after it.

Changes nothing in the folder of the case.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg_rl.errors import InputFileError
from medseg_rl.journal.case_folder import ACTION, OPENED, SAVED, VIEW, CaseFolder, bases_of
from medseg_rl.journal.container import Container
from medseg_rl.journal.lines import DeltaIndex, JournalText
from medseg_rl.session.session_file import SessionFile, describe_session, read_manifest, read_now
from medseg_rl.session.steps import StepReader, follow
from medseg_rl.session.stored_state import put_into

if TYPE_CHECKING:
    from medseg_rl.session.segmentation import SegmentationSession


@dataclass(frozen=True)
class Recovered:
    """`sequence`: steps that were restored; `saved_sequence`: those of them that the user's own file holds.

    `journal_is_whole`: whether the journal leads from its start to here. `notices`: what could not be read.
    """

    sequence: int
    saved_sequence: int
    view: dict[str, Any]
    journal_is_whole: bool
    notices: tuple[str, ...]


def recovered(session: SegmentationSession, case: CaseFolder) -> Recovered:
    """Puts the newest readable generation into the session, and does the steps after it again."""
    text, notices = case.text(), []
    if text.lost_bytes:
        notices.append(f"the last {text.lost_bytes} bytes of the journal were cut off and are left out")
    about, unreadable = _newest_readable(session, case)
    notices += unreadable
    index = DeltaIndex(case.deltas)
    reader, sequence = StepReader(session, index.delta), about.sequence
    view, saved, whole = dict(about.view), 0, True
    for line in text.lines:
        kind, number = line.get("kind"), int(line.get("sequence", 0))
        if kind in (SAVED, OPENED):
            saved = number
        if number < about.sequence or (kind == ACTION and number <= sequence):
            with contextlib.suppress(InputFileError):  # what is older than the generation may be damaged
                reader.skip(line)
            continue
        try:
            reader.apply(line)
        except InputFileError as error:
            notices.append(f"{error}; what came after it could not be restored")
            whole = False
            break
        sequence = number if kind == ACTION else sequence
        if kind == VIEW and isinstance(line.get("view"), dict):
            view = line["view"]
            follow(session, line)
    last = max((line.get("sequence", 0) for line in text.lines if line.get("kind") == ACTION), default=sequence)
    whole = whole and last == sequence and _is_readable(case.start) and _are_stored(text, index)
    return Recovered(sequence, saved, view, whole, tuple(notices))


def _are_stored(text: JournalText, index: DeltaIndex) -> bool:
    """Whether every delta that a step names is there."""
    named = [line.get("deltas", []) for line in text.lines]
    return all(isinstance(deltas, list) for deltas in named) and all(
        isinstance(delta, list) and len(delta) == 2 and str(delta[1]) in index for deltas in named for delta in deltas
    )


def _newest_readable(session: SegmentationSession, case: CaseFolder) -> tuple[SessionFile, list[str]]:
    """Which generation the session now is, and what is to be said of those that could not be read."""
    notices = []
    for path in (*(path for _, path in bases_of(case.folder)), case.start):
        try:
            with Container.open(path) as container:
                about = read_manifest(container)
                state = read_now(container)
        except InputFileError as error:
            notices.append(f"an autosaved generation was passed over: {error}")
            continue
        about.image.check(session.image, session.image_hash)
        put_into(session, state)
        session.image = about.image.marked(session.image)
        return about, notices
    raise InputFileError(f"nothing of {case.folder.name} can be read; open the saved session instead")


def _is_readable(path: Path) -> bool:
    try:
        describe_session(path)
    except InputFileError:
        return False
    return True
