"""Puts the records of one case into the feedback store, one after another, under the consent that holds at the time.

Knows nothing of sessions and events. A record that cannot be stored is a line in `problems`, never an error in the
middle of somebody's work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy.typing as npt

from medseg_rl.errors import MedSegError
from medseg_rl.imageio.dicom_patient import PATIENT
from medseg_rl.journal import patient_id
from medseg_rl.rlhf.arrays import encoded
from medseg_rl.rlhf.consent import Consent
from medseg_rl.rlhf.records import ArrayReference, Record, RecordError, Split, new_record_id, now_utc
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.volume import Volume

Pack = Callable[[npt.NDArray[Any]], ArrayReference]
Build = Callable[[Pack, dict[str, Any]], Record]
Submit = Callable[[Callable[[], None]], object]


def at_once(work: Callable[[], None]) -> None:
    """The default of `submit`: on the thread that asks."""
    work()


@dataclass(frozen=True)
class CaseIdentity:
    """Who a record is about, in salted hashes, and whose act it is.

    `group_id`: the patient, the case itself unless given. `policy_id`: gives what proposes, such as "name@hash"; the
    session's refiner unless given.
    """

    case_id: str
    group_id: str | None = None
    split: Split | None = None
    annotator_kind: Literal["human", "simulated"] = "human"
    policy_id: Callable[[], str | None] | None = None

    @classmethod
    def of(cls, case_id: str, image: Volume) -> CaseIdentity:
        """With the patient as its group where the image is DICOM that numbers its patient. Raises as `case_id` does."""
        known = image.source.get(PATIENT)
        return cls(case_id, patient_id(known) if known else None)


class Filed:
    """A record on its way to the store, and its latest form there; None before it arrived, or if it did not.

    `is_undone`: the action that it came of is undone now.
    """

    def __init__(self) -> None:
        self.latest: Record | None = None
        self.is_undone = False


@dataclass(frozen=True, eq=False)
class _Follower:
    """What becomes of a record when an action is undone, and when it is done again."""

    filed: Filed
    undone: dict[str, Any]
    done: dict[str, Any]
    is_its_own: bool


class FeedbackFiling:
    """`submit` must keep the order: the packing and writing of records may be given to one worker thread."""

    def __init__(self, store: FeedbackStore, identity: CaseIdentity, submit: Submit = at_once) -> None:
        self.store = store
        self.identity = identity
        self.problems: list[str] = []
        self.policy_id: Callable[[], str | None] = lambda: None
        self._submit = submit
        self._followers: WeakKeyDictionary[Any, list[_Follower]] = WeakKeyDictionary()

    @property
    def consent(self) -> Consent:
        """The consent that holds now."""
        return self.store.consent

    def file(self, build: Build) -> Filed:
        """Store what `build` makes, given a way to pack arrays and the keys that all records of the case share."""
        filed, common = Filed(), self._common()

        def write() -> None:
            files: dict[ArrayReference, bytes] = {}

            def pack(array: npt.NDArray[Any]) -> ArrayReference:
                reference, content = encoded(array)
                files[reference] = content
                return reference

            record = build(pack, common)
            self.store.append(record, files.items())
            filed.latest = record

        self._later(write)
        return filed

    def amend(self, filed: Filed, **changes: Any) -> None:
        """Store a later form of a record; nothing where the record was never stored, or was deleted since."""

        def write() -> None:
            later = None if filed.latest is None else _amended(filed.latest, **changes)
            if later is not None and later.amends is not None and self.store.holds(later.amends):
                self.store.append(later)
                filed.latest = later

        self._later(write)

    def replace(self, filed: Filed, build: Build) -> Filed:
        """Store what `build` makes in the place of an earlier record."""

        def instead(pack: Pack, common: dict[str, Any]) -> Record:
            earlier = filed.latest
            stands = earlier is not None and self.store.holds(earlier.record_id)
            return build(pack, {**common, "amends": earlier.record_id if earlier is not None and stands else None})

        return self.file(instead)

    def follow(
        self, action: object, filed: Filed, *, undone: dict[str, Any], done: dict[str, Any], is_its_own: bool = True
    ) -> None:
        """Amend a record whenever an action is undone or done again. `is_its_own`: it is the one the record came of."""
        self._followers.setdefault(action, []).append(_Follower(filed, undone, done, is_its_own))

    def follows(self, action: object, *, undone: dict[str, Any]) -> bool:
        """Whether a record is amended so when the action is undone."""
        return any(held.undone == undone for held in self._followers.get(action, []))

    def moved(self, action: object, direction: Literal["undo", "redo"]) -> None:
        """The action was undone or done again."""
        for held in self._followers.get(action, []):
            if held.is_its_own:
                held.filed.is_undone = direction == "undo"
            self.amend(held.filed, **(held.undone if direction == "undo" else held.done))

    def _later(self, write: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                if self.consent.allows_storing:
                    write()
            except (MedSegError, OSError, MemoryError) as error:
                self.problems.append(f"feedback was not stored: {error}")

        self._submit(guarded)

    def _common(self) -> dict[str, Any]:
        who = self.identity
        return {
            "case_id": who.case_id,
            "group_id": who.group_id or who.case_id,
            "split": who.split,
            "annotator": self.consent.annotator,
            "annotator_kind": who.annotator_kind,
            "policy_id": (who.policy_id or self.policy_id)(),
            "may_train": who.split != "test",
        }


def _amended(record: Record, **changes: Any) -> Record | None:
    """A record that takes the place of another; None where it would say the same."""
    if record.split == "test":
        changes.pop("may_train", None)
    if all(getattr(record, name, None) == value for name, value in changes.items()):
        return None
    try:
        return replace(record, record_id=new_record_id(), amends=record.record_id, created_utc=now_utc(), **changes)
    except TypeError:
        raise RecordError(f"a {record.kind} has none of {', '.join(changes)}") from None
