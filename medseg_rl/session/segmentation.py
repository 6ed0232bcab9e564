"""SegmentationSession: accepted label map, open proposal, clicks and undo of one case; the only writer of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import ClickError, MedSegError
from medseg_rl.hints.click_files import WorldClick
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.history import DEFAULT_CAP_BYTES, BoxDelta, UndoEntry, UndoStack
from medseg_rl.interaction import InteractionConfig, TurnReport, filled, why_nothing
from medseg_rl.labels import LabelMap
from medseg_rl.refiner import Percent, Refiner
from medseg_rl.session.arrays import LABEL_MAP, CaseArrays, no_locks, percent_key
from medseg_rl.session.entry import array_on_grid, as_point, start_array, voxel_clicks
from medseg_rl.session.events import Direction, Parameters, SessionEvent, SessionObserver, tell
from medseg_rl.session.jobs import (
    Action,
    DeleteClick,
    Job,
    PlaceClicks,
    PlaceVoxelClicks,
    Refine,
    SessionDelta,
    Snapshot,
    StaleDeltaError,
    Start,
)
from medseg_rl.session.requests import done_again
from medseg_rl.session.state import Change, LabelWork, Ledger, Proposal, union_of
from medseg_rl.session.turns import click_turn, delete_click, forget_click, start_from, turn_input
from medseg_rl.session.working import LazyRefiner, WorkingImage, box_in_file_order, index_in_file_order
from medseg_rl.volume import Box, Volume, content_hash

MODEL = "model"
Deltas = tuple[tuple[Hashable, BoxDelta], ...]


class SegmentationSession:
    """One image, its labels, and what the user did with them.

    Public arrays and boxes are in file order, points in RAS+ millimetres. `version` counts every change of labels,
    locks, clicks and proposal. Call everything but `Job.run` from one thread.
    """

    def __init__(
        self,
        image: Volume,
        refiner: Refiner | Callable[[], Refiner],
        config: InteractionConfig | None = None,
        *,
        labels: LabelMap | None = None,
        label_map: Volume | None = None,
        active: int | None = None,
        undo_bytes: int = DEFAULT_CAP_BYTES,
        observers: Sequence[SessionObserver] = (),
    ) -> None:
        """`refiner`: one, or a callable that loads it at the first model action. `label_map`: accepted masks. `active`:
        value of the label to begin with, added to the table if it is new; the first one of the table unless given.
        `observers`: told of every action, undo and redo once the state has changed; the list may be changed later.

        Raises GeometryError when `label_map` lies on another grid.
        """
        self.image = image
        self.config = config or InteractionConfig()
        self.version = 0
        self.read_only = ""  # why nothing may change here, such as another window that has the case open
        self.history: UndoStack[Ledger] = UndoStack(undo_bytes)
        self.observers: list[SessionObserver] = list(observers)
        self._working = WorkingImage(image)
        self._refiner = LazyRefiner(refiner)
        accepted = None if label_map is None else self._working.order.apply(array_on_grid(label_map, image))
        self._arrays = CaseArrays(self._working.shape, accepted)
        table = labels or LabelMap()
        table = table if accepted is None else table.completed(accepted)
        if (active is None and not table.labels) or (active is not None and active not in table):
            table = table.adding(value=active)
        self._ledger = Ledger(table)
        self.active_label = table.values[0] if active is None else active

    @classmethod
    def open(cls, path: str | PathLike[str], refiner: Refiner | Callable[[], Refiner], **options: Any) -> Self:
        """Read an image file or DICOM folder and start on it; `options` as for the class."""
        from medseg_rl.imageio import read_volume

        return cls(read_volume(path), refiner, **options)

    @classmethod
    def open_saved(
        cls, path: str | PathLike[str], image: Volume | None, refiner: Refiner | Callable[[], Refiner]
    ) -> Self:
        """A session as it was saved, its undo list included. `image`: what it is of; None takes it from the file, where
        it was saved with the session. Raises InputFileError when the file is damaged or of another image.
        """
        from medseg_rl.session.saving import opened

        return opened(cls, Path(path), image, refiner)

    # --- what there is ----------------------------------------------------------------------------------------------

    @cached_property
    def image_hash(self) -> str:
        """SHA-256 of the voxels and affine of the image; computed once."""
        return content_hash(self.image)

    @property
    def labels(self) -> LabelMap:
        """The label table."""
        return self._ledger.labels

    @property
    def label_map(self) -> npt.NDArray[Any]:
        """Accepted labels, file order, 0 outside; a read-only view."""
        view = self._working.order.undo(self._arrays.labels).view()
        view.setflags(write=False)
        return view

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """True inside the active label as shown: the proposal if one is open, else the accepted mask. Whole volume."""
        return self._working.order.undo(self._arrays.soft(self.active_label).mask(self._whole))

    @property
    def percent(self) -> Percent:
        """Live state of the active label in hundredths 1..99, whole volume, file order."""
        work = self._work(self.active_label)
        return self._working.order.undo(self._arrays.soft(self.active_label).read(self._whole, work.background))

    def percent_in(self, box: Box) -> Percent:
        """The same inside a box of the file's voxels: what an undo, redo or preview asks to be painted again."""
        state = self._arrays.soft(self.active_label)
        return filled(self._working.order.undo(state.array)[box.slices], self._work(self.active_label).background)

    @property
    def clicks(self) -> tuple[Click, ...]:
        """Clicks of the active label by voxel index in file order, oldest first; `delete_click` counts in this list."""
        return tuple(self._in_file(click) for click in self._work(self.active_label).clicks)

    @property
    def world_clicks(self) -> tuple[WorldClick, ...]:
        """The same clicks in RAS+ millimetres."""
        return tuple(WorldClick(as_point(self.image.index_to_world(c.index)), c.label) for c in self.clicks)

    @property
    def written_voxels(self) -> dict[str, int]:
        """Voxels of the label map written so far, by source ("model")."""
        return dict(self._ledger.written)

    @property
    def proposal(self) -> Proposal | None:
        """The open proposal, counted against the accepted mask; None when there is none."""
        value = self._ledger.open_label
        if value is None:
            return None
        work = self._work(value)
        added, removed = self._arrays.difference(value, work.open_box)
        return Proposal(value, len(work.open_clicks), added, removed)

    # --- the three calls ----------------------------------------------------------------------------------------------

    def prepare(self, action: Action) -> Job:
        """Check an action and copy what it needs: the region of interest, never the volume.

        Raises ClickError for a click outside the volume, in a locked label, or a number that is no click.
        """
        started = perf_counter()
        value = self.active_label
        self._check_open_label(value)
        self.labels.check_writable(value)
        live = self._live(value)
        area = self._whole  # of which only what was ever written is copied
        if isinstance(action, PlaceClicks | PlaceVoxelClicks):
            clicks = self._working_clicks(action)
            run, area = click_turn(clicks), self._reach(live, clicks)
        elif isinstance(action, Refine):
            run, area = click_turn((), asked=True), self._reach(live, ())
        elif isinstance(action, Start):
            run = start_from(action)
        elif not 0 <= action.number < len(live.work.clicks):
            raise ClickError(f"there is no click {action.number}; the list has {len(live.work.clicks)}, counted from 0")
        elif live.work.is_settled(action.number):
            return Job(live, forget_click(action.number), *done_again(self.image, action))
        else:
            run = delete_click(action.number)
        snapshot = self._copied(live, area)
        return Job(replace(snapshot, prepare_seconds=perf_counter() - started), run, *done_again(self.image, action))

    def apply(self, delta: SessionDelta) -> TurnReport:
        """Take over what a job found: one undo entry, version + 1; nothing at all where nothing changed.

        Raises StaleDeltaError when the session changed since the job was prepared.
        """
        started = perf_counter()
        if delta.base_version != self.version:
            raise StaleDeltaError(
                f"the result is for version {delta.base_version} but the session is at {self.version}; run it again"
            )
        if delta.percent is not None or delta.work != self._work(delta.label):
            deltas = () if delta.percent is None else ((percent_key(delta.label), delta.percent),)
            ledger = self._ledger.with_work(delta.label, delta.work)
            entry = self._entry(delta.name, delta.label, deltas, ledger, delta.action, delta.parameters)
            self._commit(entry, delta.report)
        timings = replace(delta.report.timings, apply=perf_counter() - started)
        return replace(delta.report, timings=timings)

    def run(self, action: Action) -> TurnReport:
        """Prepare, run and apply in one call: for scripts and simulated users."""
        return self.apply(self.prepare(action).run())

    # --- what a user does ---------------------------------------------------------------------------------------------

    def click(self, point_mm: Sequence[float], label: ClickLabel = ClickLabel.FOREGROUND) -> TurnReport:
        """One click at RAS+ millimetres."""
        return self.click_together([WorldClick(as_point(point_mm), label)])

    def click_together(self, clicks: Sequence[WorldClick]) -> TurnReport:
        """Several clicks at RAS+ millimetres in one turn."""
        return self.run(PlaceClicks(tuple(clicks)))

    def click_voxels(self, clicks: Sequence[Click]) -> TurnReport:
        """Clicks of one turn by voxel index in file order: for simulated users."""
        return self.run(PlaceVoxelClicks(tuple(clicks)))

    def refine(self) -> TurnReport:
        """Refine once more without a new click."""
        return self.run(Refine())

    def delete_click(self, number: int) -> TurnReport:
        """Take a click out of the list by its number in `clicks`.

        Of the open proposal: what it did is undone and later clicks run again. Of an accepted one: it leaves the
        hints only.
        """
        return self.run(DeleteClick(number))

    def set_start(self, start: Volume | Percent | npt.NDArray[np.bool_], name: str = "Start from a mask") -> TurnReport:
        """Open a proposal from a mask or a probability: a `Volume` of integers (not 0 is object), or an array on the
        grid of the image, bool or hundredths as uint8. Raises GeometryError when the grids disagree.
        """
        return self.run(Start(lambda: start_array(start, self.image), name))

    def automatic_start(self, predict: Callable[[Volume], Percent]) -> TurnReport:
        """Open a proposal from what `predict` makes of the image: hundredths, whole volume, file order."""
        return self.run(Start(lambda: start_array(predict(self.image), self.image), "Automatic start"))

    def accept(self) -> Change | None:
        """Write the open proposal into the label map, within the locks. None when there is none."""
        value = self._ledger.open_label
        if value is None:
            return None
        self.labels.check_writable(value)
        work = self._work(value)
        delta = self._arrays.accepted(value, work.open_box, self.labels)
        count = len(work.open_clicks)
        name = f"Accept proposal, {self._name(value)}, {count} click{'' if count == 1 else 's'}"
        ledger = self._ledger.with_work(value, work.accepted())
        if delta is not None:
            ledger = ledger.with_written(MODEL, delta.voxels)
        return self._commit(self._entry(name, value, () if delta is None else ((LABEL_MAP, delta),), ledger, "accept"))

    def discard(self) -> Change | None:
        """Take back the open proposal with its clicks. None when there is none."""
        value = self._ledger.open_label
        if value is None:
            return None
        work = self._work(value)
        delta = self._arrays.discarded(value, work)
        name = f"Discard proposal, {self._name(value)}"
        deltas = () if delta is None else ((percent_key(value), delta),)
        return self._commit(
            self._entry(name, value, deltas, self._ledger.with_work(value, work.discarded()), "discard")
        )

    def undo(self) -> Change | None:
        """Take the newest action back, bit for bit. None when there is none."""
        self._check_not_read_only()
        entry = self.history.undo()
        if entry is None:
            return None
        for key, delta in reversed(entry.deltas):
            self._arrays.write(key, delta, reverted=True)
        return self._moved_to(entry, "undo")

    def redo(self) -> Change | None:
        """Do the action undone last again, bit for bit. None when there is none."""
        self._check_not_read_only()
        entry = self.history.redo()
        if entry is None:
            return None
        for key, delta in entry.deltas:
            self._arrays.write(key, delta)
        return self._moved_to(entry, "redo")

    def activate(self, value: int) -> None:
        """Make another label the active one; all others are locked then. MedSegError while a proposal is open."""
        self._name(value)
        self._check_open_label(value)
        self.active_label = value

    def add_label(self, name: str | None = None, value: int | None = None) -> int:
        """Add a label and return its value, the next free one unless given. The active label stays."""
        value = self.labels.free_value if value is None else value
        if value in self.labels or not 0 < value <= np.iinfo(self._arrays.labels.dtype).max:
            raise MedSegError(f"label value {value} is taken or out of range; {self.labels.free_value} is free")
        table = self.labels.adding(name, value=value)
        given = {"value": value, "name": table[value].name, "colour": list(table[value].colour)}
        name = f"Add label {table[value].name}"
        self._commit(self._entry(name, value, (), self._ledger.with_labels(table), "add_label", given))
        return value

    def set_lock(self, value: int, locked: bool) -> None:
        """Close or open the padlock of a label."""
        name = self._name(value)
        if self.labels[value].locked != locked:
            table = self.labels.changing(value, locked=locked)
            verb, given = "Lock" if locked else "Unlock", {"value": value, "locked": locked}
            ledger = self._ledger.with_labels(table)
            self._commit(self._entry(f"{verb} {name}", value, (), ledger, "lock_label", given))

    def export(self, path: str | PathLike[str]) -> Path:
        """Write the accepted label map to overlay its image. OutputError; MedSegError while a proposal is open."""
        from medseg_rl.imageio import write_mask

        value = self._ledger.open_label
        if value is not None:
            raise MedSegError(f"label {self._name(value)} has an open proposal; accept or discard it before the export")
        values = (0, *self.labels.values)
        narrow = np.result_type(np.min_scalar_type(min(values)), np.min_scalar_type(max(values)))
        write_mask(path, self.image.with_array(self.label_map.astype(narrow)), like=self.image)
        return Path(path)

    def save(self, path: str | PathLike[str], **options: Any) -> Path:
        """Write everything but the image as a session file; `options` as for `medseg_rl.session.saving.save`.

        Raises OutputError; an old file of that name is then as it was.
        """
        from medseg_rl.session.saving import save

        return save(self, Path(path), **options)

    def warm_up(self) -> None:
        """Load the refiner and normalise the image now, so that the first click need not."""
        self._refiner.get()
        self._working.read(Box((0, 0, 0), (1, 1, 1)))

    # --- inside -----------------------------------------------------------------------------------------------------

    @property
    def _whole(self) -> Box:
        return Box.whole(self._working.shape)

    def _name(self, value: int) -> str:
        if value not in self.labels:
            raise MedSegError(f"there is no label {value}; there are {list(self.labels.values)}")
        return self.labels[value].name

    def _work(self, value: int) -> LabelWork:
        work = self._ledger.works.get(value)
        return self._arrays.first_work(value) if work is None else work

    def _in_file(self, click: Click) -> Click:
        return Click(index_in_file_order(click.index, self._working.order, self._working.shape), click.label)

    def _check_open_label(self, value: int) -> None:
        other = self._ledger.open_label
        if other not in (None, value):
            raise MedSegError(f"label {self._name(other)} has an open proposal; accept or discard it first")

    def _working_clicks(self, action: PlaceClicks | PlaceVoxelClicks) -> tuple[Click, ...]:
        """The clicks in working order. Raises ClickError when one is outside or in a locked label."""
        found = voxel_clicks(self.image, action.clicks)
        clicks = tuple(Click(self._working.order.apply_index(c.index, self.image.shape), c.label) for c in found)
        for click, original in zip(clicks, found, strict=True):
            lock = self.labels.lock_at(self._arrays.labels, click.index, active=self.active_label)
            if lock is not None:
                where = f"the click at voxel {original.index} lies in label {lock.name}, which is locked"
                raise ClickError(f"{where}; make it the active label, or click outside it")
        return clicks

    def _live(self, value: int) -> Snapshot:
        """Everything a job may come to read, nothing copied yet."""
        soft = self._arrays.soft(value)
        return Snapshot(
            image=self._working,
            refiner=self._refiner,
            config=self.config,
            base_version=self.version,
            label=value,
            label_name=self._name(value),
            work=self._work(value),
            percent=soft.array,
            extent=soft.extent,
            touched=soft.touched,
            locked=no_locks,
        )

    def _reach(self, live: Snapshot, clicks: tuple[Click, ...]) -> Box:
        """The part of the volume a turn may come to read; empty where it has nothing to do."""
        turn = turn_input(live, live.work, clicks, live.extent, asked=not clicks)
        if why_nothing(turn.clicks, turn.n_new, turn.mask_box, asked=turn.asked):
            return Box((0, 0, 0), (0, 0, 0))
        return turn.reach(self.config)

    def _copied(self, live: Snapshot, area: Box) -> Snapshot:
        return replace(
            live,
            percent=self._arrays.soft(live.label).snapshot(area),
            extent=live.extent.copy(),
            locked=self._arrays.locks(area, self.labels, live.label),
        )

    def _entry(
        self, name: str, value: int, deltas: Deltas, ledger: Ledger, action: str, parameters: Parameters | None = None
    ) -> UndoEntry[Ledger]:
        return UndoEntry(name, deltas, self._ledger, ledger, value, action, parameters or {})

    def _commit(self, entry: UndoEntry[Ledger], report: TurnReport | None = None) -> Change:
        self._check_not_read_only()
        for key, delta in entry.deltas:
            self._arrays.write(key, delta)
        self.history.push(entry)
        return self._moved_to(entry, "do", report)

    def _check_not_read_only(self) -> None:
        if self.read_only:
            raise MedSegError(f"nothing can be changed here: {self.read_only}")

    def _moved_to(self, entry: UndoEntry[Ledger], direction: Direction, report: TurnReport | None = None) -> Change:
        self._ledger = entry.before if direction == "undo" else entry.after
        base, self.version = self.version, self.version + 1
        if self.active_label not in self.labels:  # the label itself was undone
            self.active_label = self.labels.values[-1]
        box = union_of(delta.box for _, delta in entry.deltas)
        shown = None if box is None else box_in_file_order(box, self._working.order, self._working.shape)
        label = entry.subject if isinstance(entry.subject, int) else None
        about = (entry.action, entry.parameters, entry.name, label)
        tell(self.observers, SessionEvent(*about, base, self.version, entry, direction, report))
        return Change(entry.name, label, shown)
