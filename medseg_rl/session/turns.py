"""What jobs do: a turn of clicks, a click taken back, a new start. Each says what it wants changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import Cancelled, MedSegError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.history import BoxDelta
from medseg_rl.interaction import (
    MaskExtent,
    Progress,
    Strokes,
    TurnInput,
    TurnReport,
    TurnResult,
    Variation,
    Varied,
    take_turn,
)
from medseg_rl.refiner import COMMANDS, HIGHEST, LOWEST, MASK_THRESHOLD, NO_COMMAND, Percent, Refiner
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


def click_turn(new_clicks: tuple[Click, ...], *, scribble: bool = False) -> Run:
    """One turn with these clicks."""
    return _turn(OpenTurn("click", new_clicks, None), _clicks_name(new_clicks, scribble))


def refine_turn(command: str = COMMANDS[NO_COMMAND], variation: Variation | None = None) -> Run:
    """A refinement that was asked for without any new click."""
    number = COMMANDS.index(command)
    named = "Refine" if variation is None else "Candidate"
    turn = OpenTurn("refine", (), None, command=number, variation=variation)
    return _turn(turn, named if number == NO_COMMAND else command.replace("_", " ").capitalize())


def _turn(asked: OpenTurn, what: str) -> Run:
    def run(snapshot: Snapshot, cancel: Cancel, progress: Progress | None, strokes: Strokes | None) -> Outcome:
        result = _take(snapshot, snapshot.work, asked, cancel, progress, strokes)
        if not result.stored:
            return Outcome("", None, snapshot.work, result.report)
        work = snapshot.work.with_turn(replace(asked, delta=result.delta, strokes=result.strokes))
        name = f"{what}, {snapshot.label_name}, +{result.report.added_voxels} -{result.report.removed_voxels} voxels"
        return Outcome(name, result.delta, work, result.report, result.interventions)

    return run


def _take(
    snapshot: Snapshot,
    work: LabelWork,
    asked: OpenTurn,
    cancel: Cancel,
    progress: Progress | None,
    strokes: Strokes | None,
) -> TurnResult:
    """Runs a turn on a snapshot, after `work`. Raises MedSegError for a command that the model does not know."""
    refiner: Refiner = snapshot.refiner
    config = snapshot.config
    if asked.command != NO_COMMAND:
        check_command(refiner, asked.command)
        config = replace(config, command=asked.command)
    if asked.variation is not None:
        refiner = Varied(refiner, asked.variation)
    turn = turn_input(snapshot, work, asked.clicks, snapshot.extent, asked=asked.kind == "refine")
    return take_turn(turn, refiner, config, cancel=cancel, progress=progress, strokes=strokes)


def check_command(refiner: Refiner, command: int) -> None:
    """Raises MedSegError, saying why, where the model has no such command."""
    known = int(refiner.describe().get("commands", 0))
    if command >= known:
        has = "takes no commands" if not known else f"knows only {', '.join(COMMANDS[1:known])}"
        raise MedSegError(f"the model {refiner.name} {has}, so not {COMMANDS[command]}; click, or use the exact edits")


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
        before_clicks=before_clicks(snapshot.percent, work),
    )


def before_clicks(percent: Percent, work: LabelWork) -> Callable[[Box], Percent]:
    """Tells what a box of `percent` held before the turns of the open proposal that came after its newest start."""
    turns = list(itertools.takewhile(lambda turn: turn.kind != "start", reversed(work.turns)))
    deltas = [turn.delta for turn in turns if turn.delta is not None]

    def start(box: Box) -> Percent:
        whole = union_of([box, *(delta.box for delta in deltas)]) or box
        before = percent[whole.slices].copy()
        for delta in deltas:
            delta.revert(before, whole.start)
        return before[box.shifted((-whole.start[0], -whole.start[1], -whole.start[2])).slices]

    return start


def delete_click(number: int) -> Run:
    """Take a click of the open proposal back: the state before it, then the later turns again without it."""

    def run(snapshot: Snapshot, cancel: Cancel, progress: Progress | None, strokes: Strokes | None) -> Outcome:
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
        return Outcome(f"Delete click {number + 1}, {snapshot.label_name}", delta, work, counted(delta))

    return run


def once_more(snapshot: Snapshot, cancel: Cancel, progress: Progress | None, strokes: Strokes | None) -> Outcome:
    """The turns of the open proposal since its newest start again, by another model; one refinement where there are
    none."""
    turns = snapshot.work.turns
    at = max((n + 1 for n, turn in enumerate(turns) if turn.kind == "start"), default=0)
    old = turns[at:]
    desk = replace(snapshot, percent=_copy(snapshot), extent=snapshot.extent.copy())
    for turn in reversed(old):
        if turn.delta is not None:
            turn.delta.revert(desk.percent)
            desk.extent.follow(turn.delta, reverted=True)
    work = replace(snapshot.work, turns=turns[:at])
    for turn in old or (OpenTurn("refine", (), None),):
        work = _replayed(desk, work, turn, cancel, progress)
    delta = _overall(desk.percent, old, work.turns[at:])
    return Outcome(f"Compare, {snapshot.label_name}", delta, work, counted(delta))


def forget_click(number: int) -> Run:
    """Take a click out of the hints; the mask stays."""

    def run(snapshot: Snapshot, cancel: Cancel, progress: Progress | None, strokes: Strokes | None) -> Outcome:
        work = snapshot.work.without_click(number)
        return Outcome(f"Delete click {number + 1}, {snapshot.label_name}", None, work, TurnReport())

    return run


def _copy(snapshot: Snapshot) -> Percent:
    """The percent of a snapshot, free to be changed: a job may be run again after it was cancelled."""
    percent: Percent = np.zeros(snapshot.percent.shape, np.uint8)
    if snapshot.touched is not None:
        percent[snapshot.touched.slices] = snapshot.percent[snapshot.touched.slices]
    return percent


def _replayed(desk: Snapshot, work: LabelWork, turn: OpenTurn, cancel: Cancel, progress: Progress | None) -> LabelWork:
    """`work` after that turn was run again on the percent and extent of `desk`, which are changed in place."""
    result = _take(desk, work, turn, cancel, progress, Strokes((s, {}) for s in turn.strokes) if turn.strokes else None)
    if result.delta is not None:
        desk.extent.follow(result.delta)
        result.delta.apply(desk.percent)
        result.delta.let_go()
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
    return BoxDelta.encode(box.start, before, percent[box.slices], keep=True)


def start_from(start: Start) -> Run:
    """Replace the state by a mask or a probability; clicks made so far stay and are written into it."""

    def run(snapshot: Snapshot, cancel: Cancel, progress: Progress | None, strokes: Strokes | None) -> Outcome:
        loaded = snapshot.image.order.apply(start.load())
        if cancel():
            raise Cancelled("the start was stopped; the mask is as before")
        wanted, background = _start_percent(loaded)
        clicks = [Box.around_indices([click.index]) for click in snapshot.work.clicks]
        present = Box.around_mask(wanted != background)
        box = union_of([*clicks, *(b for b in (present, snapshot.touched) if b is not None)])
        if box is None:
            return Outcome("", None, snapshot.work, TurnReport("the start mask is empty: nothing changed"))
        after = np.where(wanted[box.slices] == background, np.uint8(0), wanted[box.slices])
        _write_clicks(after, box, snapshot)
        locked = snapshot.locked(box)
        if locked is not None:
            after[locked] = LOWEST
        delta = BoxDelta.encode(box.start, snapshot.percent[box.slices], after, keep=True)
        inside = Box.around_mask(after > MASK_THRESHOLD)
        work = snapshot.work.with_turn(
            OpenTurn("start", (), delta, by_model=start.model is not None),
            background=background,
            start_box=None if inside is None else inside.shifted(box.start),
        )
        return Outcome(f"{start.name}, {snapshot.label_name}", delta, work, counted(delta), model=start.model)

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


def counted(delta: BoxDelta | None) -> TurnReport:
    """Counts and box of a delta's change of the mask."""
    if delta is None:
        return TurnReport()
    crossing = delta.crossing(MASK_THRESHOLD)
    return TurnReport(added_voxels=crossing.entered, removed_voxels=crossing.left, changed_box=crossing.box)


def _clicks_name(clicks: tuple[Click, ...], scribble: bool) -> str:
    if scribble:
        return "Scribble"
    if len(clicks) != 1:
        return f"{len(clicks)} clicks"
    return "Object click" if clicks[0].label == ClickLabel.FOREGROUND else "Background click"
