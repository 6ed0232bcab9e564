"""Accepting and discarding the open proposal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import MedSegError
from medseg_rl.refiner import MASK_THRESHOLD
from medseg_rl.session.arrays import percent_key
from medseg_rl.session.case import Case
from medseg_rl.session.state import Change, LabelWork, Ledger
from medseg_rl.session.writing import Deltas, written
from medseg_rl.volume import Box

NO_DELTAS: Deltas = ()


def accept(session: Case) -> Change | None:
    """Write the open proposal into the accepted labels, as far as locks and the overwrite policy let it.

    Raises ClickError where its label is locked by hand, MedSegError where another is active and so this one locked.
    """
    value = session._ledger.open_label
    if value is None:
        return None
    session.labels.check_writable(value)
    if session.labels.is_locked(value, active=session.active_label):
        name, active = session._name(value), session._name(session.active_label)
        raise MedSegError(f"the proposal is of label {name}, locked while {active} is active; activate {name} first")
    work = session._work(value)
    count, name = len(work.open_clicks), session._name(value)
    ledger = session._ledger.with_work(value, work.accepted())
    box, deltas = session._proposed_box(value), NO_DELTAS
    if box is not None:
        shown = session._arrays.soft(value).mask(box)
        found = written(session._arrays, session.labels, value, box, shown, session.overwrite)
        deltas, ledger = found.deltas, ledger.with_labels(found.table)
        kept = _kept_of_mask(work, box, shown)
        ledger = _attributed(ledger, value, work, found.added + found.removed, kept)
    entry_name = f"Accept proposal, {name}, {count} click{'' if count == 1 else 's'}"
    given = {"overwrite": session.overwrite}
    return session._commit(session._entry(entry_name, value, deltas, ledger, "accept", given))


def _kept_of_mask(work: LabelWork, box: Box, shown: npt.NDArray[np.bool_]) -> int:
    """How many voxels of a proposal are those of a mask that was given as its start."""
    start = next((turn for turn in reversed(work.turns) if turn.kind == "start"), None)
    if start is None or start.by_model or start.delta is None:
        return 0
    whole = box.union(start.delta.box)
    given = np.zeros(whole.shape, np.uint8)
    start.delta.apply(given, whole.start)
    here = given[box.shifted((-whole.start[0], -whole.start[1], -whole.start[2])).slices]
    return int(np.count_nonzero((here > MASK_THRESHOLD) & shown))


def _attributed(ledger: Ledger, value: int, work: LabelWork, voxels: int, kept: int) -> Ledger:
    """Counts what was written under what proposed it; what was painted into a running step is the brush's.

    `kept`: voxels of a given mask that the proposal still holds; they are the mask's.
    """
    if all(turn.kind == "operation" for turn in work.turns):
        return ledger.with_written(value, "operation", voxels)
    if not any(turn.by_model for turn in work.turns if turn.kind != "operation"):
        return ledger.with_written(value, "mask", voxels)
    painted = sum(stroke.painted.voxels for turn in work.turns for stroke in turn.strokes)
    given = min(kept, voxels)
    brushed = min(painted, voxels - given)
    ledger = ledger.with_written(value, "mask", given).with_written(value, "brush", brushed)
    return ledger.with_written(value, "model", voxels - given - brushed)


def discard(session: Case) -> Change | None:
    """Take back the open proposal with its clicks."""
    value = session._ledger.open_label
    if value is None:
        return None
    work = session._work(value)
    deltas = tuple((percent_key(value), turn.delta.inverse) for turn in reversed(work.turns) if turn.delta is not None)
    ledger = session._ledger.with_work(value, work.discarded())
    return session._commit(
        session._entry(f"Discard proposal, {session._name(value)}", value, deltas, ledger, "discard")
    )
