"""Makes jobs: checks an action on the model and copies what it needs, the region of interest and never the volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np

from medseg_rl.editing import Plane, scribble_voxels
from medseg_rl.errors import ClickError, EditError, MedSegError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.interaction import why_nothing
from medseg_rl.refiner import COMMANDS
from medseg_rl.session.arrays import Mask, ReadLocks, no_locks
from medseg_rl.session.case import Case
from medseg_rl.session.entry import as_point, voxel_clicks
from medseg_rl.session.jobs import Action, Job, PlaceClicks, PlaceVoxelClicks, Refine, Run, Snapshot, Start
from medseg_rl.session.requests import bounds, done_again
from medseg_rl.session.turns import click_turn, delete_click, forget_click, refine_turn, start_from, turn_input
from medseg_rl.session.working import box_in_working_order, index_in_file_order
from medseg_rl.session.writing import read_barrier
from medseg_rl.volume import Box, Index

NOWHERE = Box((0, 0, 0), (0, 0, 0))


def prepare(session: Case, action: Action) -> Job:
    """The job of an action. Raises ClickError for a click outside the volume, in a lock, or a number that is none."""
    started = perf_counter()
    value = session.active_label
    check_open_label(session, value)
    session.labels.check_writable(value)
    snapshot = live(session, value)
    run, area = _work_of(session, snapshot, action)
    if area is not None:
        snapshot = copied(session, snapshot, area)
    name, parameters = done_again(session.image, action)
    if not isinstance(action, Start):
        parameters |= bounds(session)
    return Job(replace(snapshot, prepare_seconds=perf_counter() - started), run, name, parameters)


def _work_of(session: Case, snapshot: Snapshot, action: Action) -> tuple[Run, Box | None]:
    """What is to be run, and what of the volume it may come to read; None where it reads no array."""
    whole = Box.whole(snapshot.percent.shape)  # of which only what was ever written is copied
    if isinstance(action, PlaceClicks | PlaceVoxelClicks):
        clicks = working_clicks(session, action)
        return click_turn(clicks, scribble=action.scribble), reach(snapshot, clicks)
    if isinstance(action, Refine):
        if action.command not in COMMANDS:
            raise EditError(f"there is no command {action.command!r}; there are {', '.join(COMMANDS[1:])}")
        return refine_turn(action.command, action.variation), reach(snapshot, ())
    if isinstance(action, Start):
        return start_from(action), whole
    count = len(snapshot.work.clicks)
    if not 0 <= action.number < count:
        raise ClickError(f"there is no click {action.number}; the list has {count}, counted from 0")
    if snapshot.work.is_settled(action.number):
        return forget_click(action.number), None
    return delete_click(action.number), whole


def check_open_label(session: Case, value: int | None) -> None:
    """Raises MedSegError when a label other than `value` has an open proposal."""
    other = session._ledger.open_label
    if other is not None and other != value:
        name = session.labels[other].name
        raise MedSegError(f"label {name} has an open proposal; accept or discard it first")


def working_clicks(session: Case, action: PlaceClicks | PlaceVoxelClicks) -> tuple[Click, ...]:
    """The clicks in working order. Raises ClickError when one is outside or in a locked label.

    Of a scribble the voxels outside locked labels count, as long as there are any.
    """
    found = voxel_clicks(session.image, action.clicks)
    order = session._working.order
    free, refused = [], ""
    for click in found:
        index = order.apply_index(click.index, session.image.shape)
        stops = what_stops(session, index)
        if stops:
            refused = f"the click at voxel {click.index} lies {stops}"
            if not action.scribble:
                raise ClickError(refused)
        else:
            free.append(Click(index, click.label))
    if refused and not free:
        raise ClickError(refused)
    return tuple(free)


def what_stops(session: Case, index: Index) -> str:
    """Where a voxel in working order lies that the active label cannot get, and the way out; empty where it can."""
    limit = session.limit
    if limit is not None and not limit.contains(
        index_in_file_order(index, session._working.order, session._working.shape)
    ):
        return "outside the box that limits the model; lift the limit, or click inside it"
    present = session._arrays.values_at(index)
    if session.active_label in present:
        return ""
    for value in present:
        name = session.labels[value].name if value in session.labels else f"Label {value}"
        if session.labels.is_locked(value, active=session.active_label):
            return f"in {name}, which is locked; make it the active label, or click outside it"
        if session.overwrite == "keep":
            return f"in {name}, which is kept; choose to replace or overlap others, or click outside it"
    return ""


def why_no_click(session: Case, index: Index) -> str:
    """What keeps a click from a voxel of the file: a lock, another label, its place; empty where it can land."""
    if session.read_only:
        return f"nothing can be changed here: {session.read_only}"
    active, shape = session.active_label, session.image.shape
    if session.labels.is_locked(active, active=active):
        return f"label {session._name(active)} is locked; open its lock first"
    if not Box.whole(shape).contains(index):
        return f"voxel {index} lies outside the volume of {shape} voxels"
    return what_stops(session, session._working.order.apply_index(index, shape))


def live(session: Case, value: int) -> Snapshot:
    """Everything a job may come to read, nothing copied yet."""
    soft = session._arrays.soft(value)
    return Snapshot(
        image=session._working,
        refiner=session._refiner,
        config=session.config,
        base_version=session.version,
        label=value,
        label_name=session._name(value),
        work=session._work(value),
        percent=soft.array,
        extent=soft.extent,
        touched=soft.touched,
        locked=no_locks,
    )


def reach(snapshot: Snapshot, clicks: tuple[Click, ...]) -> Box:
    """The part of the volume a turn may come to read; empty where it has nothing to do."""
    turn = turn_input(snapshot, snapshot.work, clicks, snapshot.extent, asked=not clicks)
    if why_nothing(turn.clicks, turn.n_new, turn.mask_box, asked=turn.asked):
        return NOWHERE
    return turn.reach(snapshot.config)


def copied(session: Case, snapshot: Snapshot, area: Box) -> Snapshot:
    """With copies of what lies in `area`, so that a job may read it on any thread."""
    return replace(
        snapshot,
        percent=session._arrays.soft(snapshot.label).snapshot(area),
        extent=snapshot.extent.copy(),
        locked=_within(session, read_barrier(session._arrays, area, session.labels, snapshot.label, session.overwrite)),
    )


def _within(session: Case, locked: ReadLocks) -> ReadLocks:
    """Says True outside the limit as well, where the session has one."""
    if session.limit is None:
        return locked
    limit = box_in_working_order(session.limit, session._working.order, session.image.shape)

    def outside(box: Box) -> Mask:
        held, inside = np.ones(box.shape, np.bool_), limit.intersection(box)
        i, j, k = (-n for n in box.start)
        held[inside.shifted((i, j, k)).slices] = False
        others = locked(box)
        return held if others is None else held | others

    return outside


def scribble_clicks(
    session: Case, points_mm: Sequence[Sequence[float]], label: ClickLabel, plane: Plane | None
) -> PlaceVoxelClicks:
    """The voxels of a drawn line as clicks of one turn. Raises ClickError where it passes no voxel of the volume."""
    points = [as_point(point) for point in points_mm]
    working = session._working
    voxels = scribble_voxels(working.grid, points, plane) if points else ()
    if not len(voxels):
        raise ClickError("the scribble passes no voxel of the volume; draw it inside")
    inside = [index_in_file_order((int(i), int(j), int(k)), working.order, working.shape) for i, j, k in voxels]
    return PlaceVoxelClicks(tuple(Click(index, label) for index in inside), scribble=True)
