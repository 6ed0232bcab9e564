"""One user turn on a snapshot: clicks in, an encoded change of the percent state out. Writes nothing it was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import Cancelled
from medseg_rl.hints.clicks import Click, ClickLabel, clicks_inside
from medseg_rl.history import BoxDelta
from medseg_rl.interaction.config import InteractionConfig, Preview, Progress, Timings, TurnReport, TurnResult
from medseg_rl.interaction.levels import glance_at_view, refine_region, refine_view
from medseg_rl.interaction.region import (
    grown,
    guard_box,
    guard_radius,
    held_by_guard,
    product_region,
    reach,
    reaches_border,
)
from medseg_rl.interaction.rules import RegionState, respected, with_rules
from medseg_rl.interaction.steps import StepRunner
from medseg_rl.interaction.strokes import Stroke, Strokes
from medseg_rl.interaction.view import View, click_view, hope, mask_view, may_be_apart, scouted_view
from medseg_rl.refiner import MASK_THRESHOLD, Percent, RefinementRequest, Refiner, never_cancelled, reach_of, view_side
from medseg_rl.volume import Box, Index, Spacing

Mask = npt.NDArray[np.bool_]
ReadImage = Callable[[Box], npt.NDArray[np.float32]]
ReadLocks = Callable[[Box], Mask | None]
ReadPercent = Callable[[Box], Percent]

UNTOUCHED = 0  # no percent has this value: it stands for the background of the start

SMALL_REGION_VOXELS = 64**3  # a region up to this size is refined as a whole: what lies beyond the reach is context

NO_NEW_CLICK = "no new click: nothing changed"
AGREED = "the mask agrees with this click already: it is kept, and nothing else changed"
NOTHING_THERE = "there is no mask and no object click yet: nothing changed; click inside the object first"


@dataclass(frozen=True, eq=False)
class TurnInput:
    """What one turn may read. Whole-volume indices everywhere.

    `percent`: state of the whole volume in hundredths 1..99, or 0 where nothing was ever written: there it is
    `background`. Only what `reach` of the turn covers must be filled. `image`: gives the normalised image of a box.
    `locked`: gives True at the voxels of a box that belong to locked labels, or None. `clicks`: one for each voxel,
    oldest first, the last `n_new` are this turn's. `mask_box`: tight box of percent > 50. `start_box`: that of the
    start. `asked`: refine although there is no new click. `before_clicks`: gives the state of a box before any click
    of the open proposal, stored as `percent` is; None: the state itself.
    """

    image: ReadImage
    spacing: Spacing
    percent: Percent
    background: int
    locked: ReadLocks
    clicks: tuple[Click, ...]
    n_new: int
    mask_box: Box | None
    start_box: Box | None = None
    asked: bool = False
    before_clicks: ReadPercent | None = None

    @property
    def shape(self) -> Index:
        """Voxels of the volume along each axis."""
        a, b, c = self.percent.shape
        return a, b, c

    @property
    def new_clicks(self) -> tuple[Click, ...]:
        """This turn's clicks."""
        return self.clicks[len(self.clicks) - self.n_new :]

    def reach(self, config: InteractionConfig) -> Box:
        """Everything the turn may come to read."""
        return reach(
            config,
            mask_box=self.mask_box,
            start_box=self.start_box,
            clicks=self.clicks,
            n_new=self.n_new,
            spacing=self.spacing,
            shape=self.shape,
        )


def filled(percent: Percent, background: int) -> Percent:
    """A copy with `background` where nothing was ever written."""
    known: Percent = (percent == UNTOUCHED).view(np.uint8)  # sums of bytes are a fraction of a choice between them
    known *= np.uint8(background)
    known += percent
    return known


def why_nothing(clicks: Sequence[Click], n_new: int, mask_box: Box | None, *, asked: bool) -> str:
    """One line that says why a turn would change nothing; empty when it has something to do."""
    if n_new == 0 and not asked:
        return NO_NEW_CLICK
    if mask_box is None and not any(click.label == ClickLabel.FOREGROUND for click in clicks):
        return NOTHING_THERE
    return ""


def take_turn(
    turn: TurnInput,
    refiner: Refiner,
    config: InteractionConfig,
    *,
    cancel: Callable[[], bool] = never_cancelled,
    progress: Progress | None = None,
    strokes: Strokes | None = None,
) -> TurnResult:
    """Choose the region, refine it, write the clicks hard, keep what is held; grow and do it again if need be.

    `strokes`: what is painted meanwhile. It holds from then on, whatever the refiner says, also in a grown region.

    Raises `Cancelled` between refinement steps, and whatever the refiner raises; nothing was changed then.
    """
    message = why_nothing(turn.clicks, turn.n_new, turn.mask_box, asked=turn.asked)
    if message:
        return TurnResult(None, TurnReport(message), stored=False)
    clock = _Clock()
    radius = guard_radius(config, turn.mask_box, turn.n_new)
    side = view_side(refiner)
    view = None if side is None else _view(turn, refiner, config, side, cancel, progress)
    box = _near_clicks(turn, refiner, config, _first_region(turn, config, radius)) if view is None else view.box
    growths = 0
    while True:
        # A larger region starts again from the state before the turn: no voxel gets more than its refinement steps.
        work = _read(turn, box, radius)
        if strokes is not None:
            strokes.begin(box)
            work = _around(work, strokes.taken)
        clock.lap("region")
        request = _request(turn, work, config)
        agreed = view is not None and view.magnification > 1 and _agreed(work)
        if agreed:
            wanted, levels = work.percent, 1
        else:
            wanted, levels = _refine(request, work, refiner, config, cancel, progress, strokes, view)
        closer = view is not None and view.is_far and turn.mask_box is None
        if view is not None and closer:
            wanted = _closer(request, wanted, view, refiner, config, cancel)
        clock.lap("refine")
        after = with_rules(_painted(work, strokes), wanted, config, turn.spacing)
        if view is not None or not reaches_border(_changed(work, after), box, turn.shape):
            break
        larger = _larger(turn, box, radius, config, growths)
        if larger == box:
            break
        box, growths = larger, growths + 1
    while strokes is not None and not strokes.close():
        steps = max(config.steps, config.coarse_steps) + closer  # the closer look is one more
        strokes.take(strokes.last(steps), work.percent, after)
        after = with_rules(_around(work, strokes.taken), wanted, config, turn.spacing)
    delta = _encode(turn, work, after)
    clock.lap("encode")
    timings = Timings(region=clock.region, refine=clock.refine, encode=clock.encode)
    report = replace(
        _report(work, wanted, after), message=AGREED if agreed else "", levels=levels, growths=growths, timings=timings
    )
    if strokes is None:
        return TurnResult(delta, report)
    return TurnResult(delta, report, strokes=tuple(strokes.taken), interventions=tuple(strokes.met))


def _report(work: RegionState, wanted: Percent, after: Percent) -> TurnReport:
    """What became of the region, from what the refiner wanted to what holds."""
    changed, mask = _changed(work, after), after > MASK_THRESHOLD
    changed_box, entered = Box.around_mask(changed), int(np.count_nonzero(changed & mask))
    return TurnReport(
        roi=work.box,
        respected_raw=respected(wanted, work.new_clicks),
        respected=respected(after, work.new_clicks),
        added_voxels=entered,
        removed_voxels=int(np.count_nonzero(changed)) - entered,
        changed_box=None if changed_box is None else changed_box.shifted(work.box.start),
    )


def _changed(work: RegionState, after: Percent) -> Mask:
    changed: Mask = (after > MASK_THRESHOLD) != (work.before > MASK_THRESHOLD)
    return changed


def _agreed(work: RegionState) -> bool:
    """Whether all new clicks say what the mask says. Deep in it, or far from it, they have nothing to correct."""
    return bool(work.new_clicks) and all(respected(work.before, work.new_clicks))


def _painted(work: RegionState, strokes: Strokes | None) -> RegionState:
    return work if strokes is None else _around(work, strokes.taken)


def _around(work: RegionState, strokes: Sequence[Stroke]) -> RegionState:
    """The region with what was painted so far written into it and held, clicked voxels apart."""
    if not strokes:
        return work
    percent = work.percent.copy()
    held = np.zeros(percent.shape, np.bool_) if work.held is None else work.held.copy()
    for stroke in strokes:
        stroke.apply(percent, work.box)
        stroke.mark(held, work.box)
    for click in work.clicks:  # a click stays what it says until it is deleted
        if held[click.index] and (work.held is None or not work.held[click.index]):
            held[click.index] = False
    return replace(work, percent=percent, held=held)


def _first_region(turn: TurnInput, config: InteractionConfig, radius: float | None) -> Box:
    within = turn.reach(config)
    if config.roi != "product":
        return within
    if turn.mask_box is None:
        return product_region(None, within.start, turn.new_clicks or turn.clicks, turn.spacing, turn.shape)
    part = turn.mask_box.intersection(within)
    mask = turn.percent[part.slices] > MASK_THRESHOLD
    box = product_region(mask, part.start, turn.new_clicks, turn.spacing, turn.shape)
    # Beyond the guard everything is held: seeing ten millimetres of it is enough.
    return box if radius is None else box.intersection(guard_box(turn.new_clicks, radius, turn.spacing, turn.shape))


def _near_clicks(turn: TurnInput, refiner: Refiner, config: InteractionConfig, box: Box) -> Box:
    """Of a large region only what the refiner may change about the new clicks, with what it has to see for that.

    The whole region where that would hold object alone or background alone: there a refiner cannot tell what is asked.
    """
    reach_mm = reach_of(refiner)
    if config.roi != "product" or reach_mm is None or not turn.n_new or box.voxels <= SMALL_REGION_VOXELS:
        return box
    near = guard_box(turn.new_clicks, reach_mm, turn.spacing, turn.shape).intersection(turn.reach(config))
    if near.voxels >= box.voxels:
        return box
    inside = turn.percent[near.slices] > MASK_THRESHOLD
    return near if inside.any() and not inside.all() else box


def _read(turn: TurnInput, box: Box, radius: float | None) -> RegionState:
    return RegionState.of(
        box,
        filled(turn.percent[box.slices], turn.background),
        locked=turn.locked(box),
        guarded=None if radius is None else held_by_guard(turn.new_clicks, radius, turn.spacing, box),
        clicks=clicks_inside(turn.clicks, box),
        n_new=turn.n_new,
    )


def _larger(turn: TurnInput, box: Box, radius: float | None, config: InteractionConfig, growths: int) -> Box:
    """The next region, or the same box when it may not grow."""
    if config.roi != "product" or growths >= config.max_growths:
        return box
    larger = grown(box, turn.shape)
    if radius is not None:
        larger = larger.intersection(guard_box(turn.new_clicks, radius, turn.spacing, turn.shape)).union(box)
    if not config.two_scale and larger.voxels > config.roi_cap_voxels:
        return box
    return larger


def _view(
    turn: TurnInput,
    refiner: Refiner,
    config: InteractionConfig,
    side: int,
    cancel: Callable[[], bool],
    progress: Progress | None,
) -> View:
    """What the turn looks at. What is seen at the voxels of the file while finding out is shown."""
    within = turn.reach(config)
    if turn.mask_box is not None and not turn.n_new:
        return mask_view(_first_region(turn, config, None), side)
    mask = farthest = None
    if turn.mask_box is not None:
        mask = filled(turn.percent[within.slices], turn.background) > MASK_THRESHOLD
    if mask is not None and mask.any():
        farthest = click_view(mask, within, turn.clicks, turn.n_new, turn.spacing, side)
        if not any(may_be_apart(farthest, mask, within, click) for click in turn.new_clicks):
            return farthest

    def hoped(view: View) -> float:
        if cancel():
            raise Cancelled("stopped while looking for the size of the object; the mask is as before")
        work = _read(turn, view.box, None)
        before, seen = glance_at_view(refiner, _request(turn, work, config), view.voxels)
        if progress is not None and seen.shape == work.percent.shape:
            progress(Preview(view.box, with_rules(work, seen, config, turn.spacing)))
        return hope(seen, before, view.box, turn.shape)

    close = click_view(None, within, turn.clicks, turn.n_new or len(turn.clicks), turn.spacing, side)
    return scouted_view(close, within, turn.shape, turn.spacing, hoped, farthest)


def _refine(
    request: RefinementRequest,
    work: RegionState,
    refiner: Refiner,
    config: InteractionConfig,
    cancel: Callable[[], bool],
    progress: Progress | None,
    strokes: Strokes | None,
    view: View | None,
) -> tuple[Percent, int]:
    """State the refiner wants, clicked voxels as it left them, and the number of levels."""

    def preview(percent: Percent) -> None:
        if progress is not None:
            progress(Preview(work.box, with_rules(_painted(work, strokes), percent, config, request.spacing)))

    runner = StepRunner(cancel, None if progress is None else preview, strokes)
    if view is None:
        return refine_region(refiner, request, config, runner)
    return refine_view(refiner, request, view.voxels, config, runner), 1


def _closer(
    request: RefinementRequest,
    wanted: Percent,
    view: View,
    refiner: Refiner,
    config: InteractionConfig,
    cancel: Callable[[], bool],
) -> Percent:
    """What a first click gave, from far off, after one step without a click at finer voxels: a sharper edge."""
    again = replace(request, percent=wanted, n_new_clicks=0, steps=1)
    return refine_view(refiner, again, view.closer_voxels, replace(config, coarse_steps=1), StepRunner(cancel, None))


def _request(turn: TurnInput, work: RegionState, config: InteractionConfig) -> RefinementRequest:
    return RefinementRequest(
        image=turn.image(work.box),
        spacing=turn.spacing,
        percent=work.percent,
        clicks=work.clicks,
        n_new_clicks=len(work.new_clicks),
        held_voxels=work.held,
        steps=config.steps,
        command=config.command,
        hard_clicks=False,
        before_clicks=None if turn.before_clicks is None else filled(turn.before_clicks(work.box), turn.background),
    )


def _encode(turn: TurnInput, work: RegionState, after: Percent) -> BoxDelta | None:
    """What changes in the stored state; voxels that keep their value stay untouched if they were."""
    stored = turn.percent[work.box.slices]
    return BoxDelta.encode(work.box.start, stored, np.where(after == work.before, stored, after), keep=True)


class _Clock:
    """Sums the seconds of the parts of a turn."""

    def __init__(self) -> None:
        self.region = self.refine = self.encode = 0.0
        self._last = perf_counter()

    def lap(self, part: str) -> None:
        now = perf_counter()
        setattr(self, part, getattr(self, part) + now - self._last)
        self._last = now
