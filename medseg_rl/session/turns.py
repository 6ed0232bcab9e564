"""What jobs do: a turn of clicks, a click taken back, a new start. Each says what it wants changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import Cancelled
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.history import BoxDelta
from medseg_rl.interaction import MaskExtent, Progress, TurnInput, TurnReport, take_turn
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, Percent
from medseg_rl.session.jobs import Cancel, Outcome, Run, Snapshot, Start
from medseg_rl.session.state import (
    BINARY_BACKGROUND,
    BINARY_OBJECT,
    LabelWork,
    OpenTurn,
    deduplicated,
    union_of,
)
from medseg_rl.volume import Box


def click_turn(new_clicks: tuple[Click, ...], *, asked: bool = False) -> Run:
    """One turn with these clicks, or a refinement that was asked for without any."""

    def run(snapshot: Snapshot, cancel: Cancel, progress: Progress | None) -> Outcome:
        turn = turn_input(snapshot, snapshot.work, new_clicks, snapshot.extent, asked=asked)
        result = take_turn(turn, snapshot.refiner, snapshot.config, cancel=cancel, progress=progress)
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


def delete_click(number: int) -> Run:
    """Take a click of the open proposal back: the state before it, then the later turns again without it."""

    def run(snapshot: Snapshot, cancel: Cancel, progress: Progress | None) -> Outcome:
        at, within = snapshot.work.turn_of(number)
        old = snapshot.work.turns[at:]
        desk = replace(snapshot, percent=_copy(snapshot), extent=snapshot.extent.copy())
        for turn in reversed(old):
            if turn.delta is not None:
                turn.delta.revert(desk.percent)
                desk.extent.follow(turn.delta, reverted=True)
        remaining = old[0].clicks[:within] + old[0].clicks[within + 1 :]
        again = (replace(old[0], clicks=remaining), *old[1:])
        work = replace(snapshot.work, turns=snapshot.work.turns[:at])
        for turn in again:
            if turn.clicks or turn.kind == "refine":
                work = _replayed(desk, work, turn, cancel, progress)
        delta = _overall(desk.percent, old, work.turns[at:])
        if not work.turns:
            work = snapshot.work.discarded()
        return f"Delete click {number + 1}, {snapshot.label_name}", delta, work, _counted(delta)

    return run


def forget_click(number: int) -> Run:
    """Take a click out of the hints; the mask stays."""

    def run(snapshot: Snapshot, cancel: Cancel, progress: Progress | None) -> Outcome:
        work = snapshot.work.without_click(number)
        return f"Delete click {number + 1}, {snapshot.label_name}", None, work, TurnReport()

    return run


def _copy(snapshot: Snapshot) -> Percent:
    """The percent of a snapshot, free to be changed: a job may be run again after it was cancelled."""
    percent: Percent = np.zeros(snapshot.percent.shape, np.uint8)
    if snapshot.touched is not None:
        percent[snapshot.touched.slices] = snapshot.percent[snapshot.touched.slices]
    return percent


def _replayed(desk: Snapshot, work: LabelWork, turn: OpenTurn, cancel: Cancel, progress: Progress | None) -> LabelWork:
    """`work` after that turn was run again on the percent and extent of `desk`, which are changed in place."""
    given = turn_input(desk, work, turn.clicks, desk.extent, asked=turn.kind == "refine")
    result = take_turn(given, desk.refiner, desk.config, cancel=cancel, progress=progress)
    if result.delta is not None:
        result.delta.apply(desk.percent)
        desk.extent.follow(result.delta)
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


def start_from(start: Start) -> Run:
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
