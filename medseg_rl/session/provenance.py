"""What an export of a session says of its origin: programs, models, journal, and what the voxels came from.

Hashes and counts; no name of a patient, no UID, no path. A name of the user's only where one is given.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from medseg_rl import __version__

if TYPE_CHECKING:
    from medseg_rl.session.segmentation import SegmentationSession

PROGRAM = f"medseg-rl {__version__}"


def provenance_of(session: SegmentationSession, *, application: str = "", user: str = "") -> dict[str, Any]:
    """Ready for JSON, what matters most first. `application`: name and version of the program around the library.

    `written`: voxels that each source wrote or erased, "model", "brush", "operation", or "mask" for one that was given
    as a start; `models`: those that had a hand in it. What a journal adds stands there only while one is kept.
    """
    said: dict[str, Any] = {"program": PROGRAM}
    if application:
        said["application"] = application
    said["image_sha256"] = session.image_hash
    said["models"] = [asdict(model) for model in session._ledger.models]
    said |= {"journal_sha256": None} if session.journal_facts is None else session.journal_facts()
    said["written"] = session.written_voxels
    if disabled := session.image.source.get("quantities"):
        said["quantities"] = disabled
    if user:
        said["user"] = user
    return said | {"written_by_label": {str(value): counts for value, counts in session.written_by_label.items()}}


def touched_by_model(session: SegmentationSession) -> tuple[int, ...]:
    """Values of the labels that a model had a hand in."""
    return tuple(value for value, counts in session.written_by_label.items() if counts.get("model"))
