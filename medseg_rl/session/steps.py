"""One step of a session as a line of its journal, and back: what a recovery and a replay do again.

A line holds what the step changed (the digests of its deltas, the small facts afterwards) and what it takes to do the
step anew (action, parameters, model). Writes and reads no file.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from medseg_rl.errors import InputFileError
from medseg_rl.history import BoxDelta
from medseg_rl.journal.case_folder import ACTION
from medseg_rl.journal.formats import FORMAT_VERSION, migrated
from medseg_rl.journal.values import ValueReader, ValueWriter
from medseg_rl.refiner import MASK_THRESHOLD
from medseg_rl.session.arrays import percent_key
from medseg_rl.session.events import SessionEvent
from medseg_rl.session.state import Ledger
from medseg_rl.session.state_files import MISTAKES, check_entry, check_ledger, entry_of, fitting, key_json
from medseg_rl.session.writing import OVERWRITE

if TYPE_CHECKING:
    from medseg_rl.session.segmentation import SegmentationSession

Json = dict[str, Any]


class StepWriter:
    """Turns the events of one session into lines. A line names only values that came after the last `restart`."""

    def __init__(self, session: SegmentationSession) -> None:
        self._session = session
        self._values = ValueWriter()
        self._epoch = secrets.token_hex(4)

    def restart(self) -> None:
        """From here on the lines can be read without those before: for a generation that begins here."""
        self._values, self._epoch = ValueWriter(), secrets.token_hex(4)

    def line(self, event: SessionEvent, sequence: int) -> tuple[Json, dict[str, bytes]]:
        """The line of an event, and the packed deltas it names by digest."""
        session, entry, values = self._session, event.entry, self._values
        line: Json = {
            "kind": ACTION,
            "sequence": sequence,
            "time": now_utc(),
            "action": event.action,
            "direction": event.direction,
            "parameters": dict(event.parameters),
            "name": event.name,
            "label": event.label,
            "base_version": event.base_version,
            "version": event.version,
            **choices(session),
            "states": list(session._arrays.soft_values),
            **_mask_facts(event, session),
        }
        if event.report is not None:
            line |= _model_facts(event, session)
        if event.direction == "do":
            line |= {
                "subject": entry.subject,
                "deltas": [[key_json(key), values.reference(delta)] for key, delta in entry.deltas],
                "after": values.reference(entry.after),
            }
        rows, deltas = values.taken()
        return line | {"schema": FORMAT_VERSION, "epoch": self._epoch, "values": rows}, deltas


class StepReader:
    """Does again, in a session, what lines say was done. Raises InputFileError where a line does not follow on it."""

    def __init__(self, session: SegmentationSession, delta_of: Callable[[str], BoxDelta]) -> None:
        self._session = session
        self._delta_of = delta_of
        self._values = ValueReader(fitting(delta_of, session._arrays.shape))
        self._epoch: Any = None

    def skip(self, line: Mapping[str, Any]) -> None:
        """Take note of the values of a line without doing it."""
        if line.get("kind") != ACTION:
            return
        if line.get("epoch") != self._epoch:
            self._epoch = line.get("epoch")
            self._values.restart()
        self._values.extend(migrated(line.get("values"), line.get("schema")))

    def apply(self, line: Mapping[str, Any]) -> None:
        """Do the step of a line; other lines are passed over."""
        if line.get("kind") != ACTION:
            return
        self.skip(line)
        session = self._session
        if line.get("base_version") != session.version:
            raise InputFileError(
                f"step {line.get('sequence')} follows on version {line.get('base_version')}, "
                f"but the session is at {session.version}; the journal is not of this session"
            )
        try:
            for value in line["states"]:  # those there were: they come of the labels as they stood at the time
                if value in session.labels:
                    session._arrays.soft(value)
            self._step(session, line)
            follow(session, line)
        except MISTAKES as error:
            raise InputFileError(f"step {line.get('sequence')} makes no sense ({error})") from None

    def _step(self, session: SegmentationSession, line: Mapping[str, Any]) -> None:
        if line["direction"] != "do":
            moved = session.undo() if line["direction"] == "undo" else session.redo()
            if moved is None:
                raise InputFileError(
                    f"step {line['sequence']} is an {line['direction']}, but there is nothing to do so"
                )
            return
        after = self._values.value(Ledger, line["after"])
        entry = entry_of(dict(line), session._ledger, after, self._delta_of)
        arrays = session._arrays
        label_type = arrays.layers[0].dtype
        check_entry(entry, arrays.shape, label_type)
        check_ledger(after, after.labels.values[0], arrays.shape, label_type)
        session._commit(entry)


def choices(session: SegmentationSession) -> Json:
    """What `follow` takes over."""
    return {"active": session.active_label, "overwrite": session.overwrite}


def follow(session: SegmentationSession, line: Mapping[str, Any]) -> None:
    """Take over what a line says of the choices that are no steps: the active label, the overwrite policy."""
    if line.get("active") in session.labels.values:
        session.active_label = int(line["active"])
    if line.get("overwrite") in OVERWRITE:
        session.overwrite = line["overwrite"]


def now_utc() -> str:
    """The time as journals write it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _mask_facts(event: SessionEvent, session: SegmentationSession) -> Json:
    """Voxels that the shown mask of the label gained and lost, and its Dice to the one before."""
    facts: Json = {"changed_voxels": sum(delta.voxels for _, delta in event.entry.deltas)}
    if event.label not in session._arrays.soft_values:
        return facts
    entered = left = 0
    for key, delta in event.entry.deltas:
        if key == percent_key(event.label):
            crossing = delta.crossing(MASK_THRESHOLD)
            entered, left = entered + crossing.entered, left + crossing.left
    if event.direction == "undo":
        entered, left = left, entered
    now = session._arrays.soft(event.label).extent.voxels
    both = 2 * (now - entered)
    whole = now + (now - entered + left)
    return facts | {"entered": entered, "left": left, "dice_to_previous": round(both / whole, 6) if whole else None}


def _model_facts(event: SessionEvent, session: SegmentationSession) -> Json:
    refiner = session._refiner.loaded
    report = event.report
    assert report is not None
    return {
        "model": None if refiner is None else {"name": refiner.name, **refiner.describe()},
        "device": None if refiner is None else str(getattr(refiner, "device", "cpu")),
        "seed": event.parameters.get("seed"),
        "seconds": round(report.timings.total, 4),
    }
