"""The segmentation session: the one object that a window, a command and an evaluation hold.

    session = SegmentationSession(read_volume("ct.nii.gz"), refiner=lambda: load_bundle("name").refiner("cpu"))
    session.click((23.4, 11.0, 45.0), ClickLabel.FOREGROUND)
    session.accept()
    session.export("mask.nii.gz")

Neither Qt nor torch is loaded here; the refiner is, at the first model action. No reference mask can be passed.
"""

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

__all__ = [
    "Action",
    "Change",
    "DeleteClick",
    "Job",
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
]
