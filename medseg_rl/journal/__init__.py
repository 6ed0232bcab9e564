"""Keeps the work on a case safe on the disk: session files, the journal, autosaved generations, the lock of a case.

Knows how to store deltas, small values and lines, not what a session is: that half stands in `medseg_rl.session`.
Opens no network connection, unpickles nothing, and reads every file as if a stranger had made it.
"""

from medseg_rl.journal.case_folder import CaseFolder, CaseReport, discard_case, find_cases
from medseg_rl.journal.case_id import case_id, patient_id
from medseg_rl.journal.case_lock import CaseBusyError
from medseg_rl.journal.formats import FORMAT_VERSION, SESSION_ENDING

__all__ = [
    "FORMAT_VERSION",
    "SESSION_ENDING",
    "CaseBusyError",
    "CaseFolder",
    "CaseReport",
    "case_id",
    "discard_case",
    "find_cases",
    "patient_id",
]
