"""Case: accepted labels, open proposal, clicks and undo list of one image; shown, taken back and done again.

Knows what there is and how a change is committed; what a user may do is the session's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import MedSegError
from medseg_rl.hints.click_files import WorldClick
from medseg_rl.hints.clicks import Click
from medseg_rl.history import DEFAULT_CAP_BYTES, UndoEntry, UndoStack
from medseg_rl.interaction import InteractionConfig, Intervention, TurnReport, filled
from medseg_rl.labels import LabelMap
from medseg_rl.refiner import MASK_THRESHOLD, Percent, Refiner
from medseg_rl.segmentation import Segmentation
from medseg_rl.session.arrays import CaseArrays, Mask
from medseg_rl.session.entry import array_on_grid, as_point
from medseg_rl.session.events import Direction, Parameters, SessionEvent, SessionObserver, tell
from medseg_rl.session.jobs import (
    StaleDeltaError,
)
from medseg_rl.session.state import Change, LabelWork, Ledger, Proposal, union_of
from medseg_rl.session.working import LazyRefiner, WorkingImage, box_in_file_order, index_in_file_order
from medseg_rl.session.writing import DEFAULT_OVERWRITE, OVERWRITE, Deltas, Overwrite
from medseg_rl.volume import Box, Volume, content_hash


class Case:
    """One image, its labels and what was done with them.

    Public arrays and boxes are in file order, points in RAS+ millimetres. `version` counts every change of labels,
    locks, clicks and proposal.
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
        self.limit: Box | None = None  # voxels of the file outside which the model changes nothing
        self.read_only = ""  # why nothing may change here, such as another window that has the case open
        self.history: UndoStack[Ledger] = UndoStack(undo_bytes)
        self.observers: list[SessionObserver] = list(observers)
        self._working = WorkingImage(image)
        self._refiner = LazyRefiner(refiner)
        self._overwrite: Overwrite = DEFAULT_OVERWRITE
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
        self._counted: tuple[int, Ledger, Proposal | None] | None = None  # what a version proposes
        self.active_label = table.values[0] if active is None else active

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

    def percent_in(self, box: Box, label: int | None = None) -> Percent:
        """The same inside a box of the file's voxels: what an undo, redo or preview asks to be painted again.

        `label`: another than the active one.
        """
        value = self.active_label if label is None else label
        state = self._arrays.soft(value)
        return filled(self._working.order.undo(state.array)[box.slices], self._work(value).background)

    def mask_in(self, box: Box, label: int | None = None) -> Mask:
        """`percent_in` above the threshold, at a fraction of its cost."""
        value = self.active_label if label is None else label
        if self._work(value).background > MASK_THRESHOLD:
            return self.percent_in(box, label) > MASK_THRESHOLD
        inside: Mask = self._working.order.undo(self._arrays.soft(value).array)[box.slices] > MASK_THRESHOLD
        return inside

    @property
    def clicks(self) -> tuple[Click, ...]:
        """Clicks of the active label by voxel index in file order, oldest first; `delete_click` counts in this list."""
        return tuple(self._in_file(click) for click in self._work(self.active_label).clicks)

    @property
    def clicks_by_label(self) -> dict[int, tuple[Click, ...]]:
        """Clicks of every label that has some, by value; each as `clicks`."""
        works = ((value, self._ledger.works.get(value)) for value in self.labels.values)
        found = {value: tuple(self._in_file(click) for click in work.clicks) for value, work in works if work}
        return {value: clicks for value, clicks in found.items() if clicks}

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
        """The open proposal, counted against the accepted mask; None when there is none. Counted once a version."""
        if self._counted is None or self._counted[0] != self.version or self._counted[1] is not self._ledger:
            self._counted = self.version, self._ledger, self._count_proposal()
        return self._counted[2]

    def _count_proposal(self) -> Proposal | None:
        value = self._ledger.open_label
        if value is None:
            return None
        work = self._work(value)
        added, removed = self._arrays.difference(value, work.crossed_box)
        return Proposal(value, len(work.open_clicks), added, removed)

    @property
    def mask_box(self) -> Box | None:
        """The smallest box of the active label as shown, in file order; None while it is empty. Costs nothing."""
        box = self._arrays.soft(self.active_label).extent.box
        return None if box is None else box_in_file_order(box, self._working.order, self._working.shape)

    @property
    def labelled_box(self) -> Box | None:
        """A box that holds every accepted voxel, in file order, perhaps larger than need be; None for none. Costs
        nothing.
        """
        box = self._arrays.occupied
        return None if box is None else box_in_file_order(box, self._working.order, self._working.shape)

    @property
    def proposal_box(self) -> Box | None:
        """Box of all that the open proposal changed, in file order; None for none, or one that changed nothing.

        Without what lies beyond the label, before and after: nothing of it is to be seen there.
        """
        value = self._ledger.open_label
        box = None if value is None else self._proposed_box(value)
        return None if box is None else box_in_file_order(box, self._working.order, self._working.shape)

    @property
    def refiner_is_loaded(self) -> bool:
        """Whether the next refinement begins at once, without loading a model first."""
        return self._refiner.loaded is not None

    def use_refiner(self, refiner: Refiner | Callable[[], Refiner]) -> None:
        """Refine with another model from the next action on; one that is loaded, or a callable that loads it."""
        self._refiner = LazyRefiner(refiner)

    # --- back and forth ----------------------------------------------------------------------------------------------

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

    def _proposed_box(self, value: int) -> Box | None:
        """Where the open proposal of a label can differ from what is accepted, and show anything, in working order."""
        work, extent = self._work(value), self._arrays.soft(value).extent
        changed, label = work.open_box, union_of(box for box in (extent.box, work.crossed_box) if box is not None)
        shown = None if changed is None or label is None else changed.intersection(label)
        return shown if shown is not None and shown.voxels else None

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
