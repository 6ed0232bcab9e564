"""One user turn on a snapshot: clicks in, an encoded change of the percent state out. Pure; writes nothing it was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click, ClickLabel, clicks_inside
from medseg_rl.history import BoxDelta
from medseg_rl.interaction.config import InteractionConfig, Preview, Progress, Timings, TurnReport, TurnResult
from medseg_rl.interaction.levels import refine_region
from medseg_rl.interaction.region import (
    choose_region,
    grown,
    guard_box,
    guard_radius,
    held_by_guard,
    reach,
    reaches_border,
)
from medseg_rl.refiner import (
    HIGHEST,
    LOWEST,
    MASK_THRESHOLD,
    Percent,
    RefinementRequest,
    Refiner,
    never_cancelled,
)
from medseg_rl.volume import Box, Index, Spacing

Mask = npt.NDArray[np.bool_]
ReadImage = Callable[[Box], npt.NDArray[np.float32]]
ReadLocks = Callable[[Box], Mask | None]

UNTOUCHED = 0  # no percent has this value: it stands for the background of the start
SIGN_GUARD_MM = 10.0

NO_NEW_CLICK = "no new click: nothing changed"
NOTHING_THERE = "there is no mask and no object click yet: nothing changed; click inside the object first"


@dataclass(frozen=True, eq=False)
class TurnInput:
    """What one turn may read. Whole-volume indices everywhere.

    `percent`: state of the whole volume in hundredths 1..99, or 0 where nothing was ever written: there it is
    `background`. Only what `reach` of the turn covers must be filled. `image`: gives the normalised image of a box.
    `locked`: gives True at the voxels of a box that belong to locked labels, or None. `clicks`: one for each voxel, oldest
    first, the last `n_new` are this turn's. `mask_box`: tight box of percent > 50. `start_box`: that of the start.
    `asked`: refine although there is no new click.
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
    return np.where(percent == UNTOUCHED, np.uint8(background), percent)


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
) -> TurnResult:
    """Choose the region, refine it, write the clicks hard, keep what is held; grow and start over when it was too small.

    Raises `Cancelled` between refinement steps, and whatever the refiner raises; nothing was changed then.
    """
    message = why_nothing(turn.clicks, turn.n_new, turn.mask_box, asked=turn.asked)
    if message:
        return TurnResult(None, TurnReport(message), stored=False)
    clock = _Clock()
    radius = guard_radius(config, turn.mask_box, turn.n_new)
    box = _first_region(turn, config, radius)
    growths = 0
    while True:
        # A larger region starts again from the state before the turn: no voxel gets more than its refinement steps.
        work = _Work.read(turn, box, radius)
        clock.lap("region")
        wanted, levels = _refine(turn, work, refiner, config, cancel, progress)
        clock.lap("refine")
        after, respected_raw = _ruled(turn, work, wanted, config)
        changed = (after > MASK_THRESHOLD) != (work.before > MASK_THRESHOLD)
        larger = _larger(turn, box, radius, config, growths) if reaches_border(changed, box, turn.shape) else box
        if larger == box:
            break
        box, growths = larger, growths + 1
    delta = _encode(turn, work, after)
    clock.lap("encode")
    changed_box = Box.around_mask(changed)
    entered = int(np.count_nonzero(changed & (after > MASK_THRESHOLD)))
    report = TurnReport(
        roi=box,
        levels=levels,
        growths=growths,
        respected_raw=respected_raw,
        respected=tuple(_holds(after, click) for click in work.new_clicks),
        added_voxels=entered,
        removed_voxels=int(np.count_nonzero(changed)) - entered,
        changed_box=None if changed_box is None else changed_box.shifted(box.start),
        timings=Timings(region=clock.region, refine=clock.refine, encode=clock.encode),
    )
    return TurnResult(delta, report)


@dataclass(frozen=True, eq=False)
class _Work:
    """A region with all that is known of it; arrays and clicks count from its corner."""

    box: Box
    before: Percent  # as stored, with the background filled in
    percent: Percent  # the same, locked voxels at their lowest
    held: Mask | None
    clicks: tuple[Click, ...]
    new_clicks: tuple[Click, ...]

    @classmethod
    def read(cls, turn: TurnInput, box: Box, radius: float | None) -> _Work:
        before = filled(turn.percent[box.slices], turn.background)
        locked = turn.locked(box)
        guarded = None if radius is None else held_by_guard(turn.new_clicks, radius, turn.spacing, box)
        percent = before
        if locked is not None:
            percent = np.where(locked, np.uint8(LOWEST), before)
        held = guarded if locked is None else locked if guarded is None else locked | guarded
        return cls(box, before, percent, held, clicks_inside(turn.clicks, box), clicks_inside(turn.new_clicks, box))


def _first_region(turn: TurnInput, config: InteractionConfig, radius: float | None) -> Box:
    within = turn.reach(config)
    if config.roi != "product":
        return within
    return choose_region(
        config,
        mask_inside=turn.percent[within.slices] > MASK_THRESHOLD,
        reach_box=within,
        start_box=turn.start_box,
        clicks=turn.clicks,
        n_new=turn.n_new,
        spacing=turn.spacing,
        shape=turn.shape,
        radius_mm=radius,
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


def _refine(
    turn: TurnInput,
    work: _Work,
    refiner: Refiner,
    config: InteractionConfig,
    cancel: Callable[[], bool],
    progress: Progress | None,
) -> tuple[Percent, int]:
    """State the refiner wants, clicked voxels as it left them, and the number of levels."""
    request = RefinementRequest(
        image=turn.image(work.box),
        spacing=turn.spacing,
        percent=work.percent,
        clicks=work.clicks,
        n_new_clicks=len(work.new_clicks),
        held_voxels=work.held,
        steps=config.steps,
        command=config.command,
        hard_clicks=False,
    )

    def preview(percent: Percent) -> None:
        if progress is not None:
            progress(Preview(work.box, _with_rules(work, percent, config)))

    return refine_region(refiner, request, config, cancel=cancel, preview=None if progress is None else preview)


def _ruled(
    turn: TurnInput, work: _Work, wanted: Percent, config: InteractionConfig
) -> tuple[Percent, tuple[bool, ...]]:
    """The state after all rules of the product, and whether each new click was respected before them."""
    if wanted.shape != work.percent.shape or wanted.dtype != np.uint8:
        raise ValueError(
            f"the refiner returned {wanted.shape} {wanted.dtype} for a region of {work.percent.shape} uint8"
        )
    respected_raw = tuple(_holds(wanted, click) for click in work.new_clicks)
    after = np.clip(wanted, LOWEST, HIGHEST)
    if config.sign_guard and work.new_clicks:
        _guard_sign(after, work, turn.spacing)
    return _with_rules(work, after, config), respected_raw


def _with_rules(work: _Work, wanted: Percent, config: InteractionConfig) -> Percent:
    """A copy with clicked voxels at their label and held voxels as they were."""
    after = wanted.copy()
    if config.enforce_clicks:
        for click in work.clicks:
            after[click.index] = HIGHEST if click.label == ClickLabel.FOREGROUND else LOWEST
    if work.held is not None:
        np.copyto(after, work.percent, where=work.held)
    return after


def _guard_sign(after: Percent, work: _Work, spacing: Spacing) -> None:
    """In place: background clicks alone add nothing, object clicks alone remove nothing beyond 10 mm of them."""
    labels = {click.label for click in work.new_clicks}
    if len(labels) != 1:
        return
    was, now = work.percent > MASK_THRESHOLD, after > MASK_THRESHOLD
    if labels == {ClickLabel.BACKGROUND}:
        undone = now & ~was
    else:
        far = held_by_guard(work.new_clicks, SIGN_GUARD_MM, spacing, Box.whole(work.box.shape))
        undone = np.zeros_like(was) if far is None else was & ~now & far
    np.copyto(after, work.percent, where=undone)


def _encode(turn: TurnInput, work: _Work, after: Percent) -> BoxDelta | None:
    """What changes in the stored state; voxels that keep their value stay untouched if they were."""
    stored = turn.percent[work.box.slices]
    return BoxDelta.encode(work.box.start, stored, np.where(after == work.before, stored, after))


def _holds(percent: Percent, click: Click) -> bool:
    return bool(percent[click.index] > MASK_THRESHOLD) == (click.label == ClickLabel.FOREGROUND)


class _Clock:
    """Sums the seconds of the parts of a turn."""

    def __init__(self) -> None:
        self.region = self.refine = self.encode = 0.0
        self._last = perf_counter()

    def lap(self, part: str) -> None:
        now = perf_counter()
        setattr(self, part, getattr(self, part) + now - self._last)
        self._last = now
