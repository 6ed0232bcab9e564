"""Edits by hand on the undo stack: what an operation wants, as far as locks and the overwrite policy let it.

Short edits are done at once; long ones run as a job on a worker. Only the box of the edit is read and written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from medseg_rl.editing import Edit, EditContext, Operation, to_json
from medseg_rl.errors import Cancelled, EditError
from medseg_rl.history import BoxDelta
from medseg_rl.interaction import Stroke
from medseg_rl.labels import LabelMap
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, never_cancelled
from medseg_rl.session.arrays import CaseArrays, Mask, percent_key
from medseg_rl.session.case import Case
from medseg_rl.session.jobs import Job
from medseg_rl.session.preparing import check_open_label
from medseg_rl.session.state import LabelWork, Ledger, OpenTurn, Source, union_of
from medseg_rl.session.working import box_in_file_order
from medseg_rl.session.writing import Deltas, Overwrite, barrier, separated, written
from medseg_rl.volume import Box

NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class EditReport:
    """What an edit did. `message`: why it did nothing, or less than asked for; empty where there is nothing to say.

    `changed_box`: in file order, None if no voxel changed. `refused`: by name, voxels that locked or kept labels did
    not give up. `new_labels`: values of the labels it made. `is_proposal`: it waits to be accepted or discarded.
    """

    name: str = ""
    label: int | None = None
    added_voxels: int = 0
    removed_voxels: int = 0
    changed_box: Box | None = None
    refused: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    new_labels: tuple[int, ...] = ()
    is_proposal: bool = False
    message: str = ""

    @property
    def changed_voxels(self) -> int:
        """Voxels that entered or left the label."""
        return self.added_voxels + self.removed_voxels


@dataclass(frozen=True, eq=False)
class EditDelta:
    """What an edit wants changed; `ledger` as it is to be afterwards."""

    base_version: int
    label: int
    deltas: Deltas
    ledger: Ledger
    report: EditReport
    action: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class EditJob:
    """An operation on the session of one version.

    It reads the live arrays without copying them: whoever changes them meanwhile raises the version, and then what it
    found is refused.
    """

    operation: Operation
    arrays: CaseArrays
    ledger: Ledger
    context: EditContext
    overwrite: Overwrite
    base_version: int
    to_file: Callable[[Box], Box]

    @property
    def label(self) -> int:
        """Value of the label it edits."""
        return self.context.value

    def run(self, cancel: Callable[[], bool] = never_cancelled) -> EditDelta:
        """Do it. Raises EditError for what the operation cannot do, `Cancelled` when stopped before or after it."""
        _check(cancel)
        edit = self.operation.apply(self.context)
        _check(cancel)
        deltas, ledger, report = _proposed(self, edit) if self.operation.is_proposal else _made(self, edit)
        parameters = {"operation": to_json(self.operation), "overwrite": self.overwrite}
        return EditDelta(self.base_version, self.label, deltas, ledger, report, "edit", parameters)


def prepare_edit(session: Case, operation: Operation) -> EditJob:
    """The job of an operation on the active label.

    Raises MedSegError while a proposal is open, ClickError when the active label is locked by hand.
    """
    value, arrays = session.active_label, session._arrays
    check_open_label(session, None)
    session.labels.check_writable(value)
    for other in session.labels.open_values(value):  # made here, so that the worker makes none
        arrays.soft(other)
    working = session._working
    context = EditContext(
        working.grid,
        value,
        arrays.accepted_mask,
        lambda wanted: arrays.soft(value).extent.box if wanted == value else arrays.accepted_box(wanted),
        working.intensities,
    )

    def to_file(box: Box) -> Box:
        return box_in_file_order(box, working.order, working.shape)

    return EditJob(operation, arrays, session._ledger, context, session.overwrite, session.version, to_file)


def _check(cancel: Callable[[], bool]) -> None:
    if cancel():
        raise Cancelled("the edit was stopped; the mask is as before")


def _made(job: EditJob, edit: Edit) -> tuple[Deltas, Ledger, EditReport]:
    """Written into the accepted labels, parts as labels of their own."""
    value, table = job.label, job.ledger.labels
    if edit.box.voxels == 0:
        return (), job.ledger, EditReport(message=edit.note or _nothing(job))
    if edit.parts:
        found, new = separated(job.arrays, table, value, edit.box, edit.inside, edit.parts)
    else:
        found, new = written(job.arrays, table, value, edit.box, edit.inside, job.overwrite), ()
    deltas, table = found.deltas, found.table
    name, refused = table[value].name, _named(table, found.refused)
    if not deltas:
        return (), job.ledger, EditReport(refused=refused, message=edit.note or _held_by(refused) or _nothing(job))
    work = _work_after(job).agreeing_with(edit.box, found.inside)
    ledger = job.ledger.with_labels(table).with_work(value, work)
    ledger = ledger.with_written(value, _source(job.operation), found.added + found.removed)
    for part, number in zip(edit.parts, new, strict=True):
        ledger = ledger.with_written(number, "operation", int(np.count_nonzero(part)))
    voxels = found.added + found.removed
    changed = union_of(delta.box for _, delta in deltas)
    report = EditReport(
        name=f"{job.operation.name}, {name}, {voxels} voxel{'' if voxels == 1 else 's'}",
        label=value,
        added_voxels=found.added,
        removed_voxels=found.removed,
        changed_box=None if changed is None else job.to_file(changed),
        refused=refused,
        new_labels=new,
        message=edit.note or _held_by(refused),
    )
    return deltas, ledger, report


def _proposed(job: EditJob, edit: Edit) -> tuple[Deltas, Ledger, EditReport]:
    """As an open proposal: the percent state alone changes."""
    value, table, box = job.label, job.ledger.labels, edit.box
    if box.voxels == 0:
        return (), job.ledger, EditReport(message=edit.note or _nothing(job))
    before = job.arrays.soft(value).array[box.slices]
    shown = before > MASK_THRESHOLD
    blocked = barrier([layer[box.slices] for layer in job.arrays.layers], table, value, job.overwrite)
    inside = edit.inside & ~blocked
    after = before.copy()
    after[inside & ~shown] = HIGHEST
    after[shown & ~inside] = LOWEST
    delta = BoxDelta.encode(box.start, before, after)
    if delta is None:
        return (), job.ledger, EditReport(message=edit.note or _nothing(job))
    added, removed = int(np.count_nonzero(inside & ~shown)), int(np.count_nonzero(shown & ~inside))
    ledger = job.ledger.with_work(value, _work_after(job).with_turn(OpenTurn("operation", (), delta)))
    report = EditReport(
        name=f"{job.operation.name}, {table[value].name}, +{added} -{removed} voxels",
        label=value,
        added_voxels=added,
        removed_voxels=removed,
        changed_box=job.to_file(delta.box),
        is_proposal=True,
        message=edit.note,
    )
    return ((percent_key(value), delta),), ledger, report


def _work_after(job: EditJob) -> LabelWork:
    """What is known of the label, as it was before the edit: an empty label stays one that began empty."""
    work = job.ledger.works.get(job.label)
    return job.arrays.first_work(job.label) if work is None else work


def _named(table: LabelMap, refused: Mapping[int, int]) -> Mapping[str, int]:
    return {table[value].name if value in table else f"Label {value}": voxels for value, voxels in refused.items()}


def _held_by(refused: Mapping[str, int]) -> str:
    """Which labels kept voxels to themselves; empty for none."""
    if not refused:
        return ""
    kept = ", ".join(f"{name} ({voxels} voxels)" for name, voxels in refused.items())
    return f"kept by the lock or the overwrite policy: {kept}; open the lock and replace or overlap to write there"


def _source(operation: Operation) -> Source:
    return "brush" if operation.source == "brush" else "operation"


def _nothing(job: EditJob) -> str:
    return f"{job.operation.name} changes nothing"


def stroke_into(job: Job, operation: Operation) -> tuple[Stroke, dict[str, Any]] | None:
    """A stroke of the brush into a running job, and what it takes to paint it again; None where it covers nothing free.

    Raises EditError for an operation that paints nothing of its own.
    """
    erase = getattr(operation, "erase", None)
    if operation.source != "brush" or erase is None:
        raise EditError(f"{operation.name} cannot go into a running refinement; wait for its end, or stop it")
    snapshot = job.snapshot
    working = snapshot.image

    def blank(_: int, box: Box) -> Mask:
        return np.full(box.shape, erase, np.bool_)

    whole = Box.whole(working.shape)
    edit = operation.apply(EditContext(working.grid, snapshot.label, blank, lambda _: whole, working.intensities))
    if edit.box.voxels == 0:
        return None
    voxels = ~edit.inside if erase else edit.inside.copy()
    locked = snapshot.locked(edit.box)
    if locked is not None:
        voxels &= ~locked
    stroke = Stroke.of(edit.box, voxels, foreground=not erase)
    return None if stroke is None else (stroke, {"operation": to_json(operation)})
