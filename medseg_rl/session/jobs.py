"""What a user can ask of the model, and the jobs that do it: pure, on a snapshot, on any thread.

The session prepares a job on its own thread, a worker runs it, the session applies what comes back. A job writes
nothing of the session, so that stopping it at any moment leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import Cancelled, MedSegError
from medseg_rl.hints.click_files import WorldClick
from medseg_rl.hints.clicks import Click
from medseg_rl.history import BoxDelta
from medseg_rl.interaction import (
    InteractionConfig,
    Intervention,
    MaskExtent,
    Preview,
    Progress,
    Strokes,
    TurnReport,
    Variation,
)
from medseg_rl.refiner import COMMANDS, MASK_THRESHOLD, NO_COMMAND, Percent, never_cancelled
from medseg_rl.session.arrays import ReadLocks
from medseg_rl.session.state import LabelWork, ModelUsed
from medseg_rl.session.working import LazyRefiner, WorkingImage, box_in_file_order
from medseg_rl.volume import Box

Cancel = Callable[[], bool]


class StaleDeltaError(MedSegError):
    """The session changed while a job ran; its result is dropped, never merged."""


@dataclass(frozen=True)
class PlaceClicks:
    """Clicks of one turn in world millimetres RAS+, in their order. `scribble`: they are voxels of one stroke."""

    clicks: tuple[WorldClick, ...]
    scribble: bool = False


@dataclass(frozen=True)
class PlaceVoxelClicks:
    """The same by voxel index in file order: for simulated users."""

    clicks: tuple[Click, ...]
    scribble: bool = False


@dataclass(frozen=True)
class Refine:
    """Refine once more without a new click. `command`: with that intent, of `COMMANDS`. `variation`: in another way."""

    command: str = COMMANDS[NO_COMMAND]
    variation: Variation | None = None


@dataclass(frozen=True)
class DeleteClick:
    """Take the click with this number (from 0) out of the list.

    What one of the open proposal did is undone, and the later clicks run again.
    """

    number: int


@dataclass(frozen=True, eq=False)
class Start:
    """Start again from a mask or a probability. `load` gives either, in file order: bool, or hundredths as uint8.

    `name` stands in the undo list. `model`: the one that makes it; None for a mask that is given.
    """

    load: Callable[[], npt.NDArray[np.bool_] | Percent]
    name: str = "Start"
    model: ModelUsed | None = None


Action = PlaceClicks | PlaceVoxelClicks | Refine | DeleteClick | Start


@dataclass(frozen=True, eq=False)
class SessionDelta:
    """What a job wants changed: the percent state of one label, and the small facts of it.

    `action`, `parameters`: as its event will have them; `interventions`: what strokes into the job met. `model`: the
    one that had a hand in it.
    """

    base_version: int
    label: int
    name: str
    percent: BoxDelta | None
    work: LabelWork
    report: TurnReport
    action: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    interventions: tuple[Intervention, ...] = ()
    model: ModelUsed | None = None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a job may read: copies, and things that never change. Working order throughout.

    `percent`: whole volume, of which only what the job needs was copied. `prepare_seconds`: what taking it took.
    """

    image: WorkingImage
    refiner: LazyRefiner
    config: InteractionConfig
    base_version: int
    label: int
    label_name: str
    work: LabelWork
    percent: Percent
    extent: MaskExtent
    touched: Box | None
    locked: ReadLocks
    prepare_seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an action came to: `name` for the undo list, the change of the percent state, facts after it, report.

    `model`: the one of an automatic start; that of any other action is the refiner.
    """

    name: str
    percent: BoxDelta | None
    work: LabelWork
    report: TurnReport
    interventions: tuple[Intervention, ...] = ()
    model: ModelUsed | None = None


Run = Callable[[Snapshot, Cancel, Progress | None, Strokes | None], Outcome]


@dataclass(frozen=True, eq=False)
class Job:
    """One action on a snapshot. `name`, `parameters`: id of the action and what it takes to do it again.

    `strokes`: where what is painted meanwhile is handed in, see `SegmentationSession.intervene`.
    """

    snapshot: Snapshot
    action: Run = field(repr=False)
    name: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strokes: Strokes = field(default_factory=Strokes)

    @property
    def base_version(self) -> int:
        """Version of the session the snapshot is of."""
        return self.snapshot.base_version

    @property
    def region(self) -> Box | None:
        """Voxels of the file that are being refined now; None before that is decided."""
        return _file_box(self.snapshot, self.strokes.region)

    def with_strokes_of(self, stopped: Job) -> Job:
        """This job with what was painted into another, which was stopped so that this one can run in its place."""
        return replace(self, strokes=Strokes(stopped.strokes.handed_in))

    def run(self, cancel: Cancel = never_cancelled, progress: Progress | None = None) -> SessionDelta:
        """Do it. `progress` gets a `Preview` in file order after each refinement step, of the label and no more.

        Raises `Cancelled` when `cancel` answers True, MedSegError when memory runs out, and what the refiner raises.
        """
        snapshot, started = self.snapshot, perf_counter()
        if cancel():
            raise Cancelled("stopped before it began; the mask is as before")
        self.strokes.start()
        strokes = self.strokes if progress is not None or self.strokes.are_coming else None
        try:
            found = self.action(snapshot, cancel, _in_file_order(snapshot, progress), strokes)
        except MemoryError as error:
            raise MedSegError(
                f"out of memory ({error or 'size unknown'}) while refining label {snapshot.label_name}; "
                "use a smaller region: lower roi_cap_voxels or edit_radius_mm"
            ) from error
        finally:
            self.strokes.stop()
        timings = found.report.timings
        rest = max(0.0, perf_counter() - started - timings.total)  # loading the refiner, replaying, a start
        report = replace(
            found.report,
            roi=_file_box(snapshot, found.report.roi),
            changed_box=_file_box(snapshot, found.report.changed_box),
            timings=replace(timings, prepare=snapshot.prepare_seconds, refine=timings.refine + rest),
        )
        if found.percent is not None:
            found.percent.crossing(MASK_THRESHOLD)  # worked out here, not by whoever applies it
        delta = SessionDelta(snapshot.base_version, snapshot.label, found.name, found.percent, found.work, report)
        given = {**self.parameters, "interventions": self.strokes.notes} if self.strokes.taken else self.parameters
        model = found.model if self.name == "start" or found.percent is None else ModelUsed.of(snapshot.refiner.loaded)
        return replace(delta, action=self.name, parameters=given, interventions=found.interventions, model=model)


def _file_box(snapshot: Snapshot, box: Box | None) -> Box | None:
    return None if box is None else box_in_file_order(box, snapshot.image.order, snapshot.image.shape)


def _in_file_order(snapshot: Snapshot, progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    order, shape = snapshot.image.order, snapshot.image.shape

    def forward(preview: Preview) -> None:
        part = _of_the_label(preview, snapshot.percent)
        progress(Preview(box_in_file_order(part.box, order, shape), order.undo(part.percent)))

    return forward


def _of_the_label(preview: Preview, percent: Percent) -> Preview:
    """The part of a preview where the label is or was, `percent` being the state before: whoever shows it is quick."""
    label = preview.percent > MASK_THRESHOLD
    label |= percent[preview.box.slices] > MASK_THRESHOLD
    part = Box.around_mask(label) or Box((0, 0, 0), (1, 1, 1))
    return Preview(part.shifted(preview.box.start), preview.percent[part.slices])
