"""Runs a refiner on a region: at the voxels of the file, and before that on a coarse level if it is large.

The coarse level finds the extent; the voxels of the file decide every edge. No mask is resampled to a fixed cube.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from medseg_rl.hints.clicks import Click, ClickLabel, clicks_inside, newest_per_voxel
from medseg_rl.interaction.config import InteractionConfig
from medseg_rl.interaction.steps import StepRunner
from medseg_rl.preprocessing import (
    CoarseLevel,
    coarse_level,
    held_to_level,
    indices_to_level,
    percent_from_level,
    percent_to_level,
    to_level,
)
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, Percent, RefinementRequest, Refiner
from medseg_rl.volume import Box, Index

Preview = Callable[[Percent], None]

TILE_SIDE = 64  # voxels, with its halo: what a processor refines in a tenth of a second
HALO_SHARE = 8  # the halo is this part of the side: seen by the refiner, not written
UNDECIDED = (10, 90)  # hundredths between which a voxel still has to make up its mind


def refine_region(
    refiner: Refiner, request: RefinementRequest, config: InteractionConfig, runner: StepRunner
) -> tuple[Percent, int]:
    """New state of the region and the number of levels it took.

    A region above the cap is refined on a coarse level first, then tile by tile at the voxels of the file, but only
    where the coarse level left an edge or doubt that it changed, or a new click lies. All tiles start from the coarse
    result, so their order has no effect. Strokes come in between steps, and between tiles.
    """
    level = None
    if config.two_scale:
        level = coarse_level(request.percent.shape, request.spacing, cap_voxels=config.roi_cap_voxels)
    if level is None:
        after, _ = runner.run(request, lambda asked, cancel, show: refiner.refine(asked, cancel=cancel, preview=show))
        return after, 1
    return _refine_tiles(refiner, request, _refine_coarse(refiner, request, level, config, runner), config, runner), 2


def refine_view(
    refiner: Refiner, request: RefinementRequest, voxels: int, config: InteractionConfig, runner: StepRunner
) -> Percent:
    """New state of a region that is shown to the refiner with at most so many voxels, and at no other resolution."""
    level = coarse_level(request.percent.shape, request.spacing, cap_voxels=voxels)
    if level is not None:
        return _refine_coarse(refiner, request, level, config, runner).percent
    after, _ = runner.run(request, lambda asked, cancel, show: refiner.refine(asked, cancel=cancel, preview=show))
    return after


def glance_at_view(refiner: Refiner, request: RefinementRequest, voxels: int) -> tuple[Percent, Percent]:
    """The state before, and what is seen at a glance (`RefinementRequest.glance`), both at the voxels of the view."""
    level = coarse_level(request.percent.shape, request.spacing, cap_voxels=voxels)
    request = replace(request, glance=True, hard_clicks=True)
    request = request if level is None else _on_level(level, request)
    return request.percent, refiner.refine(request)


def _refine_coarse(
    refiner: Refiner, request: RefinementRequest, level: CoarseLevel, config: InteractionConfig, runner: StepRunner
) -> RefinementRequest:
    """The request with the state at the voxels of the file after the coarse level, and strokes so far held."""

    def run(asked: RefinementRequest, cancel: Callable[[], bool], show: Preview) -> Percent:
        coarse_request = _on_level(level, asked)

        def back(coarse: Percent) -> Percent:
            fine = percent_from_level(level, asked.percent, coarse_request.percent, coarse)
            for click in asked.clicks:
                fine[click.index] = HIGHEST if click.label == ClickLabel.FOREGROUND else LOWEST
            if asked.held_voxels is not None:
                np.copyto(fine, asked.percent, where=asked.held_voxels)
            return fine

        def show_fine(coarse: Percent) -> None:
            if runner.shows:
                show(back(coarse))

        return back(refiner.refine(coarse_request, cancel=cancel, preview=show_fine))

    coarse, asked = runner.run(replace(request, steps=config.coarse_steps), run)
    return replace(asked, percent=coarse, started_from=None, steps=request.steps)


def _on_level(level: CoarseLevel, request: RefinementRequest) -> RefinementRequest:
    """The request at the voxels of a coarse level."""
    clicks, n_new = _clicks_on(level, request)
    begun, start = request.started_from, request.before_clicks
    return replace(
        request,
        image=to_level(level, request.image),
        spacing=level.spacing,
        percent=percent_to_level(level, request.percent),
        clicks=clicks,
        n_new_clicks=n_new,
        held_voxels=None if request.held_voxels is None else held_to_level(level, request.held_voxels),
        hard_clicks=True,
        started_from=None if begun is None else percent_to_level(level, begun),
        before_clicks=None if start is None else percent_to_level(level, start),
    )


def _clicks_on(level: CoarseLevel, request: RefinementRequest) -> tuple[tuple[Click, ...], int]:
    """Clicks by coarse voxel, the newest where several share one, and how many of them are new."""
    indices = indices_to_level(level, [click.index for click in request.clicks])
    clicks = [Click(index, click.label) for index, click in zip(indices, request.clicks, strict=True)]
    new = clicks[len(clicks) - request.n_new_clicks :]
    return newest_per_voxel(clicks), len(newest_per_voxel(new))


def _refine_tiles(
    refiner: Refiner,
    request: RefinementRequest,
    coarse: RefinementRequest,
    config: InteractionConfig,
    runner: StepRunner,
) -> Percent:
    """`request`: before the coarse level, `coarse`: after it."""
    after = coarse.percent.copy()
    new_clicks = request.clicks[len(request.clicks) - request.n_new_clicks :]
    side = min(TILE_SIDE, int(config.roi_cap_voxels ** (1 / 3)))
    halo = side // HALO_SHARE
    whole = Box.whole(after.shape)
    for core in tiles(whole.shape, side - 2 * halo):
        if runner.stroke_waits:
            painted = runner.take(coarse, coarse.percent, after)
            changed = painted.percent != after
            coarse = replace(painted, percent=np.where(changed, painted.percent, coarse.percent), started_from=None)
            after = painted.percent
        near = core.grown(1, whole.shape).slices
        clicked = any(core.contains(click.index) for click in new_clicks)
        if not clicked and not _unsettled(request.percent[near], coarse.percent[near]):
            continue
        box = core.grown(halo, whole.shape)
        tile_request = replace(
            coarse,
            image=np.ascontiguousarray(coarse.image[box.slices]),
            percent=np.ascontiguousarray(coarse.percent[box.slices]),
            before_clicks=None if coarse.before_clicks is None else coarse.before_clicks[box.slices],
            clicks=clicks_inside(coarse.clicks, box),
            n_new_clicks=sum(box.contains(click.index) for click in new_clicks),
            held_voxels=None if coarse.held_voxels is None else coarse.held_voxels[box.slices],
        )
        refined = refiner.refine(tile_request, cancel=runner.cancel)
        after[core.slices] = refined[core.shifted((-box.start[0], -box.start[1], -box.start[2])).slices]
        runner.done += 1
        runner.preview(after)
    return after


def _unsettled(before: Percent, coarse: Percent) -> bool:
    """Whether the coarse level changed something here and left an edge of the mask or an undecided voxel."""
    if np.array_equal(before, coarse):
        return False
    mask = coarse > MASK_THRESHOLD
    doubt = (coarse > UNDECIDED[0]) & (coarse < UNDECIDED[1])
    return bool(mask.any() and not mask.all()) or bool(doubt.any())


def tiles(shape: Index, side: int) -> Iterator[Box]:
    """Boxes of at most `side` voxels along each axis, of nearly equal size, that cover an array of `shape` once."""
    edges = [np.linspace(0, n, -(-n // side) + 1).round().astype(int).tolist() for n in shape]
    for a, b in zip(edges[0], edges[0][1:], strict=False):
        for c, d in zip(edges[1], edges[1][1:], strict=False):
            for e, f in zip(edges[2], edges[2][1:], strict=False):
                yield Box((a, c, e), (b, d, f))
