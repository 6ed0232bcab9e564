"""Everything of a session but its image as one value: taken from one session and put into another, nothing is lost.

Taking it copies the boxes where anything was ever written, so that it can be written on another thread. Knows no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medseg_rl.errors import InputFileError
from medseg_rl.history import UndoEntry, UndoStack
from medseg_rl.interaction import InteractionConfig
from medseg_rl.session.arrays import CaseArrays, StoredArray
from medseg_rl.session.state import Ledger
from medseg_rl.session.writing import Overwrite
from medseg_rl.volume import Index

if TYPE_CHECKING:
    from medseg_rl.session.segmentation import SegmentationSession


@dataclass(frozen=True, eq=False)
class StoredState:
    """A session at one moment, without its image; `shape` and all else in working order.

    `done`, `undone`, `dropped`, `undo_bytes`: its undo stack, as `UndoStack.of` takes them.
    """

    shape: Index
    arrays: tuple[StoredArray, ...]
    ledger: Ledger
    done: tuple[UndoEntry[Ledger], ...]
    undone: tuple[UndoEntry[Ledger], ...]
    dropped: int
    undo_bytes: int
    active: int
    version: int
    config: InteractionConfig
    overwrite: Overwrite = "keep"


def taken_from(session: SegmentationSession) -> StoredState:
    """The session as it is now; costs a copy of the boxes that were ever written."""
    history = session.history
    return StoredState(
        shape=session._arrays.shape,
        arrays=session._arrays.stored(),
        ledger=session._ledger,
        done=history.done,
        undone=history.undone,
        dropped=history.dropped,
        undo_bytes=history.cap_bytes,
        active=session.active_label,
        version=session.version,
        config=session.config,
        overwrite=session.overwrite,
    )


def put_into(session: SegmentationSession, state: StoredState) -> None:
    """Make a session what the stored one was. Raises InputFileError when its image has another grid."""
    if session._arrays.shape != state.shape:
        raise InputFileError(f"the stored session is of {state.shape} voxels, the image of {session._arrays.shape}")
    session.config = state.config
    session.history = UndoStack.of(state.done, state.undone, cap_bytes=state.undo_bytes, dropped=state.dropped)
    session._arrays = CaseArrays.of_stored(state.shape, state.arrays)
    session._ledger = state.ledger
    session.active_label = state.active
    session.version = state.version
    session.overwrite = state.overwrite
