"""SegmentationSession: accepted label map, open proposal, clicks and undo of one case; the only writer of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medseg_rl.editing import Operation, Plane, scribble_voxels
from medseg_rl.errors import ClickError, MedSegError
from medseg_rl.hints.click_files import WorldClick
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.history import DEFAULT_CAP_BYTES, UndoEntry, UndoStack
from medseg_rl.interaction import InteractionConfig, Intervention, TurnReport, filled
from medseg_rl.labels import Colour, LabelMap
from medseg_rl.refiner import COMMANDS, MASK_THRESHOLD, Percent, Refiner
from medseg_rl.segmentation import Segmentation
from medseg_rl.session import label_actions, proposals
from medseg_rl.session.arrays import CaseArrays, percent_key
from medseg_rl.session.candidates import Candidates, CandidatesJob, check_count
from medseg_rl.session.editing_actions import EditDelta, EditJob, EditReport, prepare_edit, stroke_into
from medseg_rl.session.entry import array_on_grid, as_point, start_array
from medseg_rl.session.events import Direction, Parameters, SessionEvent, SessionObserver, tell
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
from medseg_rl.session.preparing import check_open_label, live, prepare
from medseg_rl.session.state import Change, LabelWork, Ledger, Proposal, union_of
from medseg_rl.session.suggestions import Suggestion, SuggestionJob, region_of
from medseg_rl.session.working import LazyRefiner, WorkingImage, box_in_file_order, index_in_file_order
from medseg_rl.session.writing import OVERWRITE, Deltas, Overwrite, read_barrier
from medseg_rl.volume import Box, Volume, content_hash


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
        segmentation: Segmentation | None = None,
        active: int | None = None,
        undo_bytes: int = DEFAULT_CAP_BYTES,
        observers: Sequence[SessionObserver] = (),
    ) -> None:
        """`refiner`: one, or a callable that loads it at the first model action. `label_map`: accepted masks;
        `segmentation`: the same with their table, in layers where they overlap. `active`: value of the label to begin
        with, added to the table if it is new; the first one of the table unless given.
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
        self._overwrite: Overwrite = "keep"
        layers: tuple[Volume, ...] = () if label_map is None else (label_map,)
        layers, labels = (layers, labels) if segmentation is None else (segmentation.layers, segmentation.labels)
        accepted = [self._working.order.apply(array_on_grid(layer, image)) for layer in layers]
        self._arrays = CaseArrays(self._working.shape, accepted)
        table = labels or LabelMap()
        for array in accepted[:1]:
            table = table.completed(array)
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
    def label_layers(self) -> tuple[npt.NDArray[Any], ...]:
        """Accepted labels in file order, 0 outside; read-only views, more than one only where labels overlap."""
        views = tuple(self._working.order.undo(layer).view() for layer in self._arrays.layers)
        for view in views:
            view.setflags(write=False)
        return views

    @property
    def label_map(self) -> npt.NDArray[Any]:
        """Accepted labels in one map: a read-only view; a copy where labels overlap, the later of the list on top."""
        layers = self.label_layers
        return layers[0] if len(layers) == 1 else self.segmentation.flattened().array

    @property
    def segmentation(self) -> Segmentation:
        """Accepted labels with their table, on the grid of the image; views of the layers."""
        volumes = tuple(self.image.with_array(layer) for layer in self.label_layers)
        table = self.labels
        top = max(label.layer for label in table.labels)
        empty = np.broadcast_to(self._arrays.layers[0].dtype.type(0), self.image.shape)
        volumes += tuple(self.image.with_array(empty) for _ in range(len(volumes), top + 1))
        return Segmentation(volumes, table)

    @property
    def overwrite(self) -> Overwrite:
        """What a write does where another label lies whose lock is open: "keep" it, "replace" it, or "overlap"."""
        return self._overwrite

    @overwrite.setter
    def overwrite(self, policy: Overwrite) -> None:
        if policy not in OVERWRITE:
            raise MedSegError(f"there is no overwrite policy {policy!r}; there are {', '.join(OVERWRITE)}")
        self._overwrite = policy

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
        """Voxels of all labels written so far, by source ("model", "brush", "operation")."""
        total: dict[str, int] = {}
        for counts in self._ledger.written.values():
            for source, voxels in counts.items():
                total[source] = total.get(source, 0) + voxels
        return total

    @property
    def written_by_label(self) -> dict[int, dict[str, int]]:
        """The same for each label, by value."""
        return {value: dict(counts) for value, counts in self._ledger.written.items()}

    @property
    def proposal(self) -> Proposal | None:
        """The open proposal, counted against the accepted mask; None when there is none."""
        return proposals.proposal(self)

    # --- the three calls ----------------------------------------------------------------------------------------------

    def prepare(self, action: Action) -> Job:
        """Check an action and copy what it needs: the region of interest, never the volume.

        Raises ClickError for a click outside the volume, in a locked label, or a number that is no click.
        """
        return prepare(self, action)

    def apply(self, delta: SessionDelta) -> TurnReport:
        """Take over what a job found: one undo entry, version + 1; nothing at all where nothing changed.

        Raises StaleDeltaError when the session changed since the job was prepared.
        """
        started = perf_counter()
        self._check_version(delta.base_version)
        if delta.percent is not None or delta.work != self._work(delta.label):
            deltas = () if delta.percent is None else ((percent_key(delta.label), delta.percent),)
            ledger = self._ledger.with_work(delta.label, delta.work)
            entry = self._entry(delta.name, delta.label, deltas, ledger, delta.action, delta.parameters)
            self._commit(entry, delta.report, delta.interventions)
        timings = replace(delta.report.timings, apply=perf_counter() - started)
        return replace(delta.report, timings=timings)

    def prepare_edit(self, operation: Operation) -> EditJob:
        """The job of an edit that may take long, for a worker. Raises as `edit`."""
        return prepare_edit(self, operation)

    def apply_edit(self, delta: EditDelta) -> EditReport:
        """Take over what an edit found: one undo entry, version + 1; nothing at all where nothing changed.

        Raises StaleDeltaError when the session changed since the edit was prepared.
        """
        self._check_version(delta.base_version)
        if delta.deltas:
            report = delta.report
            self._commit(
                self._entry(report.name, delta.label, delta.deltas, delta.ledger, delta.action, delta.parameters)
            )
        return delta.report

    def intervene(self, job: Job, operation: Operation) -> bool:
        """Paint into a job that is running: its step ends, the painted voxels become hard, the others go on around.

        False where it is too late, or the stroke leaves the region that is refined: then stop the job and edit. Raises
        EditError for an operation other than brush, eraser, lasso and box.
        """
        found = stroke_into(job, operation)
        return found is not None and job.strokes.put(*found)

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

    def scribble(
        self,
        points_mm: Sequence[Sequence[float]],
        label: ClickLabel = ClickLabel.FOREGROUND,
        plane: Plane | None = None,
    ) -> TurnReport:
        """A stroke as hints of one sign, one for each voxel of a line one voxel thick; one turn, one undo entry.

        `plane`: on the slice of the first point. Raises ClickError where no voxel of it is inside and free.
        """
        points = [as_point(point) for point in points_mm]
        voxels = scribble_voxels(self._working.grid, points, plane) if points else ()
        if not len(voxels):
            raise ClickError("the scribble passes no voxel of the volume; draw it inside")
        order, shape = self._working.order, self._working.shape
        inside = [index_in_file_order((int(i), int(j), int(k)), order, shape) for i, j, k in voxels]
        return self.run(PlaceVoxelClicks(tuple(Click(index, label) for index in inside), scribble=True))

    def refine(self, command: str = COMMANDS[0]) -> TurnReport:
        """Refine once more without a new click; with the intent of a command, see `commands`."""
        return self.run(Refine(command))

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands the model knows; loads it. Empty for a model without a command input."""
        return COMMANDS[1 : int(self._refiner.describe().get("commands", 0))]

    def prepare_candidates(self, count: int = 4, *, seed: int = 0) -> CandidatesJob:
        """The job that makes candidates to rank. Raises as `prepare`, and MedSegError for a count outside 2 to 9."""
        check_count(count)
        return CandidatesJob(self.prepare(Refine()), count, seed)

    def candidates(self, count: int = 4, *, seed: int = 0) -> Candidates:
        """Several refinements of what is shown, to choose from: in random order, near copies of another dropped."""
        return self.prepare_candidates(count, seed=seed).run()

    def choose(self, candidates: Candidates, number: int) -> TurnReport:
        """Make a candidate, by its number from 0, the proposal. Raises StaleDeltaError, and MedSegError for no such."""
        if not 0 <= number < len(candidates):
            raise MedSegError(f"there is no candidate {number}; there are {len(candidates)}, counted from 0")
        return self.apply(candidates.deltas[number])

    def mask_with(self, delta: SessionDelta) -> npt.NDArray[np.bool_]:
        """What `mask` of the label would be with that delta, for showing a candidate; whole volume, file order."""
        self._check_version(delta.base_version)
        percent = self._arrays.soft(delta.label).array.copy()
        if delta.percent is not None:
            delta.percent.apply(percent)
        return self._working.order.undo(percent > MASK_THRESHOLD)

    def prepare_suggestion(self, seen: Sequence[Suggestion] = ()) -> SuggestionJob:
        """The job that finds where to look next. Raises MedSegError before the first step of the model."""
        value = self.active_label
        snapshot = live(self, value)
        area = region_of(snapshot)
        return SuggestionJob(
            replace(
                snapshot,
                percent=self._arrays.soft(value).snapshot(area),
                extent=snapshot.extent.copy(),
                locked=read_barrier(self._arrays, area, self.labels, value, self.overwrite),
            ),
            tuple(seen),
        )

    def next_suggestion(self, seen: Sequence[Suggestion] = ()) -> Suggestion | None:
        """The slice that most needs a click, apart from those within 5 mm of `seen`; None where none is left."""
        return self.prepare_suggestion(seen).run()

    def edit(self, operation: Operation) -> EditReport:
        """An edit by hand of the active label, by an operation of `medseg_rl.editing`: one undo entry, or none.

        Raises EditError for what the operation cannot do, ClickError where the active label is locked by hand,
        MedSegError while a proposal is open.
        """
        return self.apply_edit(self.prepare_edit(operation).run())

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
        return proposals.accept(self)

    def discard(self) -> Change | None:
        """Take back the open proposal with its clicks. None when there is none."""
        return proposals.discard(self)

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
        check_open_label(self, value)
        self.active_label = value

    def add_label(self, name: str | None = None, value: int | None = None, colour: Colour | None = None) -> int:
        """Add a label and return its value, the next free one unless given. The active label stays."""
        return label_actions.add(self, name, value, colour)

    def rename_label(self, value: int, name: str) -> Change | None:
        """Give a label another name; None where it has that name."""
        return label_actions.rename(self, value, name)

    def recolour_label(self, value: int, colour: Colour) -> Change | None:
        """Give a label another colour, 0 to 255; None where it has that colour."""
        return label_actions.recolour(self, value, colour)

    def delete_label(self, value: int) -> Change:
        """Delete a label with its voxels and clicks. MedSegError for the only one, a locked one, an open proposal."""
        return label_actions.delete(self, value)

    def set_lock(self, value: int, locked: bool) -> None:
        """Close or open the padlock of a label by hand. One opened by hand stays open when another label is active."""
        label_actions.set_lock(self, value, locked)

    def export(self, path: str | PathLike[str], *, flatten: bool = False) -> Path:
        """Write the accepted labels to overlay their image; `flatten`: the later one where labels overlap.

        Raises OutputError; MedSegError while a proposal is open.
        """
        from medseg_rl.imageio import write_segmentation

        value = self._ledger.open_label
        if value is not None:
            raise MedSegError(f"label {self._name(value)} has an open proposal; accept or discard it before the export")
        touched = [v for v, counts in self._ledger.written.items() if counts.get("model")]
        write_segmentation(path, self.segmentation, like=self.image, flatten=flatten, touched_by_model=touched)
        return Path(path)

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

    def _check_version(self, base: int) -> None:
        if base != self.version:
            raise StaleDeltaError(
                f"the result is for version {base} but the session is at {self.version}; run it again"
            )

    def _entry(
        self, name: str, value: int, deltas: Deltas, ledger: Ledger, action: str, parameters: Parameters | None = None
    ) -> UndoEntry[Ledger]:
        return UndoEntry(name, deltas, self._ledger, ledger, value, action, parameters or {})

    def _commit(
        self, entry: UndoEntry[Ledger], report: TurnReport | None = None, met: tuple[Intervention, ...] = ()
    ) -> Change:
        self._check_not_read_only()
        for key, delta in entry.deltas:
            self._arrays.write(key, delta)
        self.history.push(entry)
        return self._moved_to(entry, "do", report, met)

    def _check_not_read_only(self) -> None:
        if self.read_only:
            raise MedSegError(f"nothing can be changed here: {self.read_only}")

    def _moved_to(
        self,
        entry: UndoEntry[Ledger],
        direction: Direction,
        report: TurnReport | None = None,
        met: tuple[Intervention, ...] = (),
    ) -> Change:
        self._ledger = entry.before if direction == "undo" else entry.after
        base, self.version = self.version, self.version + 1
        if self.active_label not in self.labels:  # the label itself was undone
            self.active_label = self.labels.values[-1]
        box = union_of(delta.box for _, delta in entry.deltas)
        shown = None if box is None else box_in_file_order(box, self._working.order, self._working.shape)
        label = entry.subject if isinstance(entry.subject, int) else None
        about = (entry.action, entry.parameters, entry.name, label)
        tell(self.observers, SessionEvent(*about, base, self.version, entry, direction, report, met))
        return Change(entry.name, label, shown)
