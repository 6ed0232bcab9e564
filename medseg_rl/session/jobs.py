"""What a user can ask of the model, and the jobs that do it: pure, on a snapshot, on any thread.

The session prepares a job on its own thread, a worker runs it, the session applies what comes back. A job writes
nothing of the session, so that stopping it at any moment leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import Cancelled, MedSegError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.history import BoxDelta
from medseg_rl.interaction import (
    InteractionConfig,
    MaskExtent,
    Preview,
    Progress,
    TurnInput,
    TurnReport,
    take_turn,
)
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, Percent, never_cancelled
from medseg_rl.session.state import (
    BINARY_BACKGROUND,
    BINARY_OBJECT,
    LabelWork,
    LazyRefiner,
    OpenTurn,
    WorkingImage,
    box_in_file_order,
    deduplicated,
    union_of,
)
from medseg_rl.volume import Box

Point = tuple[float, float, float]
Cancel = Callable[[], bool]
ReadLocks = Callable[[Box], npt.NDArray[np.bool_] | None]


class StaleDeltaError(MedSegError):
    """The session changed while a job ran; its result is dropped, never merged."""


@dataclass(frozen=True)
class PlaceClicks:
    """Clicks of one turn: (world millimetres RAS+, label), in their order."""

    points: tuple[tuple[Point, ClickLabel], ...]


@dataclass(frozen=True)
class PlaceVoxelClicks:
    """The same by voxel index in file order: for simulated users."""

    clicks: tuple[Click, ...]


@dataclass(frozen=True)
class Refine:
    """Refine once more without a new click."""


@dataclass(frozen=True)
class DeleteClick:
    """Take the click with this number (from 0) out of the list.

    What one of the open proposal did is undone, and the later clicks run again.
    """

    number: int


@dataclass(frozen=True, eq=False)
class Start:
    """Start again from a mask or a probability. `load` gives either, in file order: bool, or hundredths as uint8.

    `name` stands in the undo list.
    """

    load: Callable[[], npt.NDArray[np.bool_] | Percent]
    name: str = "Start"


Action = PlaceClicks | PlaceVoxelClicks | Refine | DeleteClick | Start


@dataclass(frozen=True, eq=False)
class SessionDelta:
    """What a job wants changed: the percent state of one label, and the small facts of it."""

    base_version: int
    label: int
    name: str
    percent: BoxDelta | None
    work: LabelWork
    report: TurnReport


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


Outcome = tuple[str, BoxDelta | None, LabelWork, TurnReport]


@dataclass(frozen=True, eq=False)
class Job:
    """One action on a snapshot."""

    snapshot: Snapshot
    action: Callable[[Snapshot, Cancel, Progress | None], Outcome] = field(repr=False)

    @property
    def base_version(self) -> int:
        """Version of the session the snapshot is of."""
        return self.snapshot.base_version

    def run(self, cancel: Cancel = never_cancelled, progress: Progress | None = None) -> SessionDelta:
        """Do it. `progress` gets a `Preview` in file order after each refinement step.

        Raises `Cancelled` when `cancel` answers True, MedSegError when memory runs out, and what the refiner raises.
        """
        snapshot = self.snapshot
        if cancel():
            raise Cancelled("stopped before it began; the mask is as before")
        try:
            name, percent, work, report = self.action(snapshot, cancel, _in_file_order(snapshot, progress))
        except MemoryError as error:
            raise MedSegError(
                f"out of memory ({error or 'size unknown'}) while refining label {snapshot.label_name}; "
                "use a smaller region: lower roi_cap_voxels or edit_radius_mm"
            ) from error
        report = replace(
            report,
            roi=_file_box(snapshot, report.roi),
            changed_box=_file_box(snapshot, report.changed_box),
            timings=replace(report.timings, prepare=snapshot.prepare_seconds),
        )
        return SessionDelta(snapshot.base_version, snapshot.label, name, percent, work, report)


def click_turn(
    new_clicks: tuple[Click, ...], *, asked: bool = False
) -> Callable[[Snapshot, Cancel, Progress | None], Outcome]:
    """One turn with these clicks, or a refinement that was asked for without any."""

    def run(snapshot: Snapshot, cancel: Cancel, progress: Progress | None) -> Outcome:
        turn = turn_input(snapshot, snapshot.work, new_clicks, snapshot.extent, asked=asked)
        result = take_turn(turn, snapshot.refiner.get(), snapshot.config, cancel=cancel, progress=progress)
        if not result.stored:
            return "", None, snapshot.work, result.report
        work = snapshot.work.with_turn(OpenTurn("refine" if asked else "click", new_clicks, result.delta))
        what = "Refine" if asked else _clicks_name(new_clicks)
        counts = f"+{result.report.added_voxels} -{result.report.removed_voxels} voxels"
        return f"{what}, {snapshot.label_name}, {counts}", result.delta, work, result.report

    return run


def turn_input(
    snapshot: Snapshot, work: LabelWork, new_clicks: tuple[Click, ...], extent: MaskExtent, *, asked: bool = False
) -> TurnInput:
    """The snapshot as one turn sees it, after `work` and before `new_clicks`."""
    clicks, n_new = deduplicated(work.clicks, new_clicks)
    return TurnInput(
        image=snapshot.image.read,
        spacing=snapshot.image.spacing,
        percent=snapshot.percent,
        background=work.background,
        locked=snapshot.locked,
        clicks=clicks,
        n_new=n_new,
        mask_box=extent.box,
        start_box=work.start_box,
        asked=asked,
    )


def delete_click(number: int) -> Callable[[Snapshot, Cancel, Progress | None], Outcome]:
    """Take a click of the open proposal back: the state before it, then the later turns again without it."""

    def run(snapshot: Snapshot, cancel: Cancel, progress: Progress | None) -> Outcome:
        at, within = snapshot.work.turn_of(number)
        old = snapshot.work.turns[at:]
        percent, extent = snapshot.percent, snapshot.extent.copy()
        for turn in reversed(old):
            if turn.delta is not None:
                turn.delta.revert(percent)
                extent.follow(turn.delta, reverted=True)
        remaining = old[0].clicks[:within] + old[0].clicks[within + 1 :]
        again = (replace(old[0], clicks=remaining), *old[1:])
        work = replace(snapshot.work, turns=snapshot.work.turns[:at])
        for turn in again:
            if turn.clicks or turn.kind == "refine":
                work = _replayed(snapshot, work, turn, extent, cancel, progress)
        delta = _overall(percent, old, work.turns[at:])
        if not work.turns:
            work = snapshot.work.discarded()
        return f"Delete click {number + 1}, {snapshot.label_name}", delta, work, _counted(delta)

    return run


def forget_click(number: int) -> Callable[[Snapshot, Cancel, Progress | None], Outcome]:
    """Take a click out of the hints; the mask stays."""

    def run(snapshot: Snapshot, cancel: Cancel, progress: Progress | None) -> Outcome:
        work = snapshot.work.without_click(number)
        return f"Delete click {number + 1}, {snapshot.label_name}", None, work, TurnReport()

    return run


def _replayed(
    snapshot: Snapshot,
    work: LabelWork,
    turn: OpenTurn,
    extent: MaskExtent,
    cancel: Cancel,
    progress: Progress | None,
) -> LabelWork:
    """`work` after that turn was run again on the snapshot's percent, which is changed in place."""
    given = turn_input(snapshot, work, turn.clicks, extent, asked=turn.kind == "refine")
    result = take_turn(given, snapshot.refiner.get(), snapshot.config, cancel=cancel, progress=progress)
    if result.delta is not None:
        result.delta.apply(snapshot.percent)
        extent.follow(result.delta)
    return replace(work, turns=(*work.turns, replace(turn, delta=result.delta)))


def _overall(percent: Percent, old: tuple[OpenTurn, ...], new: tuple[OpenTurn, ...]) -> BoxDelta | None:
    """One delta from the state after the old turns to `percent`, which is the state after the new ones."""
    box = union_of(turn.delta.box for turn in (*old, *new) if turn.delta is not None)
    if box is None:
        return None
    before = percent[box.slices].copy()
    for turn in reversed(new):
        if turn.delta is not None:
            turn.delta.revert(before, box.start)
    for turn in old:
        if turn.delta is not None:
            turn.delta.apply(before, box.start)
    return BoxDelta.encode(box.start, before, percent[box.slices])


def start_from(start: Start) -> Callable[[Snapshot, Cancel, Progress | None], Outcome]:
    """Replace the state by a mask or a probability; clicks made so far stay and are written into it."""

    def run(snapshot: Snapshot, cancel: Cancel, progress: Progress | None) -> Outcome:
        loaded = snapshot.image.order.apply(start.load())
        if cancel():
            raise Cancelled("the start was stopped; the mask is as before")
        wanted, background = _start_percent(loaded)
        clicks = [Box.around_indices([click.index]) for click in snapshot.work.clicks]
        present = Box.around_mask(wanted != background)
        box = union_of([*clicks, *(b for b in (present, snapshot.touched) if b is not None)])
        if box is None:
            return "", None, snapshot.work, TurnReport("the start mask is empty: nothing changed")
        after = np.where(wanted[box.slices] == background, np.uint8(0), wanted[box.slices])
        _write_clicks(after, box, snapshot)
        locked = snapshot.locked(box)
        if locked is not None:
            after[locked] = LOWEST
        delta = BoxDelta.encode(box.start, snapshot.percent[box.slices], after)
        inside = Box.around_mask(after > MASK_THRESHOLD)
        work = snapshot.work.with_turn(
            OpenTurn("start", (), delta),
            background=background,
            start_box=None if inside is None else inside.shifted(box.start),
        )
        return f"{start.name}, {snapshot.label_name}", delta, work, _counted(delta)

    return run


def _start_percent(loaded: npt.NDArray[np.bool_] | Percent) -> tuple[Percent, int]:
    """Hundredths of a start, and the value that stands for its background."""
    if loaded.dtype != np.bool_:
        return np.clip(loaded, LOWEST, HIGHEST).astype(np.uint8), LOWEST
    background = BINARY_BACKGROUND if loaded.any() else LOWEST
    return np.where(loaded, np.uint8(BINARY_OBJECT), np.uint8(background)), background


def _write_clicks(after: Percent, box: Box, snapshot: Snapshot) -> None:
    if snapshot.config.enforce_clicks:
        for click in snapshot.work.clicks:
            i, j, k = (n - m for n, m in zip(click.index, box.start, strict=True))
            after[i, j, k] = HIGHEST if click.label == ClickLabel.FOREGROUND else LOWEST


def _counted(delta: BoxDelta | None) -> TurnReport:
    """Counts and box of a delta's change of the mask."""
    if delta is None:
        return TurnReport()
    before, after = delta.old_values() > MASK_THRESHOLD, delta.new_values() > MASK_THRESHOLD
    changed = np.zeros(delta.box.shape, np.bool_)
    changed[delta.changed_voxels()] = before != after
    box = Box.around_mask(changed)
    return TurnReport(
        added_voxels=int(np.count_nonzero(after & ~before)),
        removed_voxels=int(np.count_nonzero(before & ~after)),
        changed_box=None if box is None else box.shifted(delta.box.start),
    )


def _clicks_name(clicks: tuple[Click, ...]) -> str:
    if len(clicks) > 1:
        return f"{len(clicks)} clicks"
    return "Object click" if clicks[0].label == ClickLabel.FOREGROUND else "Background click"


def _file_box(snapshot: Snapshot, box: Box | None) -> Box | None:
    return None if box is None else box_in_file_order(box, snapshot.image.order, snapshot.image.shape)


def _in_file_order(snapshot: Snapshot, progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    order, shape = snapshot.image.order, snapshot.image.shape

    def forward(preview: Preview) -> None:
        progress(Preview(box_in_file_order(preview.box, order, shape), order.undo(preview.percent)))

    return forward


def timed(snapshot: Snapshot, started: float) -> Snapshot:
    """With the seconds since `started` as the time its preparation took."""
    return replace(snapshot, prepare_seconds=perf_counter() - started)
