"""The segmentation session: the one object that a window, a command and an evaluation hold.

    session = SegmentationSession(read_volume("ct.nii.gz"), refiner=lambda: load_bundle("name").refiner("cpu"))
    session.click((23.4, 11.0, 45.0), ClickLabel.FOREGROUND)
    session.accept()
    session.export("mask.nii.gz")

Neither Qt nor torch is loaded here; the refiner is, at the first model action. No reference mask can be passed.
"""

from medseg_rl.session.candidates import Candidates
from medseg_rl.session.comparing import Comparison
from medseg_rl.session.editing_actions import EditDelta, EditReport
from medseg_rl.session.events import SessionEvent, SessionObserver
from medseg_rl.session.jobs import (
    Action,
    DeleteClick,
    Job,
    PlaceClicks,
    PlaceVoxelClicks,
    Refine,
    SessionDelta,
    StaleDeltaError,
    Start,
)
from medseg_rl.session.segmentation import SegmentationSession
from medseg_rl.session.state import Change, Proposal
from medseg_rl.session.suggestions import Suggestion
from medseg_rl.session.writing import Overwrite

__all__ = [
    "Action",
    "Candidates",
    "Change",
    "Comparison",
    "DeleteClick",
    "EditDelta",
    "EditReport",
    "Job",
    "Overwrite",
    "PlaceClicks",
    "PlaceVoxelClicks",
    "Proposal",
    "Refine",
    "SegmentationSession",
    "SessionDelta",
    "SessionEvent",
    "SessionObserver",
    "StaleDeltaError",
    "Start",
    "Suggestion",
]
