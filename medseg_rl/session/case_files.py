"""What a case folder begins with: nothing, or the journal of a saved session."""

from __future__ import annotations

from pathlib import Path

from medseg_rl.errors import InputFileError, MedSegError
from medseg_rl.journal.case_folder import CaseFolder, cases_folder
from medseg_rl.journal.case_id import case_id
from medseg_rl.journal.container import Container, in_pieces
from medseg_rl.session.session_file import CHANGES, LINES, SessionFile, Writing, read_lines_of, read_start


def empty_case(image_hash: str, root: Path | None) -> CaseFolder:
    """The folder of a case, empty. Raises MedSegError while there is unsaved work in it."""
    case = CaseFolder((root or cases_folder()) / case_id(image_hash))
    try:
        if case.unsaved_steps:
            raise MedSegError(
                f"{case.folder.name} has {case.unsaved_steps} unsaved steps of an earlier session; "
                "recover or discard them first"
            )
        case.clear()
    except BaseException:
        case.close()
        raise
    return case


def journal_taken_over(container: Container, about: SessionFile, case: CaseFolder) -> str | None:
    """Start and journal of a saved session, put into the folder; else why not, "" where there is none."""
    if LINES not in container:
        return ""
    try:
        read_lines_of(container)
        Writing(read_start(container), about.image).write(case.start)
    except InputFileError as error:
        return f"the journal of the saved session is left out: {error}"
    _copy(container, CHANGES, case.deltas)
    _copy(container, LINES, case.lines)
    return None


def _copy(container: Container, name: str, path: Path) -> None:
    with container.opened(name) as source, path.open("wb") as target:
        for piece in in_pieces(source):
            target.write(piece)
