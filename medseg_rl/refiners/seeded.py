"""What the refiners share that solve a labelling from seeds: the part that new clicks may decide, and its hard labels.

Where there was something before the clicks, a new click decides only its surroundings: beyond them the mask as it is
holds, and is the boundary condition of what is solved. An empty start leaves everything to the clicks and to the border
of the region. How a labelling is found is the solver's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.errors import Cancelled
from medseg_rl.hints.clicks import Click, ClickLabel, clicks_inside, newest_per_voxel
from medseg_rl.refiner import MASK_THRESHOLD, Percent, RefinementRequest, never_cancelled, no_preview
from medseg_rl.refiners.holding import LABEL_PERCENT, hold
from medseg_rl.refiners.seeds import Region, at, border, knows_the_object, seed_regions
from medseg_rl.volume import Box, Spacing


@dataclass(frozen=True)
class SeededConfig:
    """`reach_mm`: how far from a new click the mask may change where there was something before the clicks;
    `empty_reach_mm`: the same where there was nothing.

    Seeds, evaluation protocol section 7.3: the mask eroded by `core_mm` (or its deepest voxel), what lies farther than
    `outside_mm` from the mask, and the border of the region; clicks override seeds within `override_mm`. The first
    click on nothing is meant for the middle: it seeds what lies within `ball_mm` and nearer than clicks that disagree.
    """

    reach_mm: float = 6.0
    empty_reach_mm: float = 1000.0
    core_mm: float = 3.0
    outside_mm: float = 5.0
    override_mm: float = 3.0
    ball_mm: float = 0.0


@dataclass(frozen=True, eq=False)
class SeededProblem:
    """What a solver is asked; all arrays (x, y, z) of the part in question, clicks counted from its corner.

    `image`: normalised. `percent`: the state before; `informed`: whether it knows more than clicks said. `foreground`,
    `background`: labels that stand; `free`: voxels that the answer may change. `clicks`: all so far, the newest label
    of a voxel alone.
    """

    image: npt.NDArray[np.float32]
    spacing: Spacing
    percent: Percent
    informed: bool
    foreground: Region
    background: Region
    free: Region
    clicks: tuple[Click, ...]

    @property
    def mask(self) -> Region:
        """True where the state before says object."""
        return self.percent > MASK_THRESHOLD


class SeededRefiner(ABC):
    """A refiner that fills what seeds leave open. Deterministic; one pass whatever the number of steps."""

    name: str
    config: SeededConfig

    def describe(self) -> dict[str, Any]:
        """Its identity for a manifest."""
        return {"kind": self.name, **asdict(self.config)}

    @abstractmethod
    def solve(self, problem: SeededProblem) -> Region:
        """True inside the object; only what it says of free voxels counts. Both labels have a seed."""

    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        """The state with the surroundings of the new clicks solved anew. Raises `Cancelled`."""
        if cancel():
            raise Cancelled("refinement was stopped; the mask is as before")
        percent = request.percent.copy()
        if request.n_new_clicks:
            box, problem = posed(request, self.config)
            solvable = problem.free.any() and problem.foreground.any() and problem.background.any()
            inside = np.where(problem.free, self.solve(problem) if solvable else problem.mask, problem.foreground)
            changed = inside != problem.mask
            part = percent[box.slices]
            part[changed & inside] = LABEL_PERCENT[ClickLabel.FOREGROUND]
            part[changed & ~inside] = LABEL_PERCENT[ClickLabel.BACKGROUND]
        hold(percent, request)
        preview(percent)
        return percent


def posed(request: RefinementRequest, config: SeededConfig) -> tuple[Box, SeededProblem]:
    """The part of the region that the new clicks may change, with a margin of what stands, and its seeds."""
    new_clicks = request.clicks[len(request.clicks) - request.n_new_clicks :]
    whole = request.percent > MASK_THRESHOLD
    before = request.percent if request.before_clicks is None else request.before_clicks
    # A mask that crosses the border of the region is a part of more than clicks here can say.
    informed = knows_the_object(before) or bool(whole[border(whole.shape)].any())
    reach = config.reach_mm if informed else config.empty_reach_mm
    if not whole.any():
        reach = np.inf
    box = Box.whole(request.percent.shape)
    if np.isfinite(reach):
        margin = reach + max(config.core_mm, config.outside_mm)
        near = Box.around_indices([click.index for click in new_clicks])
        box = near.grown_mm(margin, request.spacing, box.shape)
    percent = np.ascontiguousarray(request.percent[box.slices])
    clicks = clicks_inside(newest_per_voxel(request.clicks), box)
    seeds = seed_regions(percent, clicks, request.spacing, config, informed=informed)
    if config.ball_mm and not informed and clicks and clicks[0] in clicks_inside(request.clicks[:1], box):
        _begin_wide(seeds, clicks, request.spacing, config.ball_mm)
    fixed = np.zeros(percent.shape, bool)
    if np.isfinite(reach):
        far = ndimage.distance_transform_edt(
            ~at(percent.shape, clicks_inside(new_clicks, box)), sampling=request.spacing
        )
        fixed = far > reach
    if request.held_voxels is not None:
        fixed |= request.held_voxels[box.slices]
    mask = percent > MASK_THRESHOLD
    foreground = np.where(fixed, mask, seeds[ClickLabel.FOREGROUND])
    background = np.where(fixed, ~mask, seeds[ClickLabel.BACKGROUND])
    return box, SeededProblem(
        image=np.ascontiguousarray(request.image[box.slices]),
        spacing=request.spacing,
        percent=percent,
        informed=informed,
        foreground=foreground,
        background=background,
        free=~(foreground | background),
        clicks=clicks,
    )


def _begin_wide(seeds: dict[ClickLabel, Region], clicks: tuple[Click, ...], spacing: Spacing, ball_mm: float) -> None:
    """Adds the surroundings of the first click to the seeds of its label, in place, where no other click is nearer."""
    first, others = clicks[0], [click for click in clicks if click.label != clicks[0].label]
    own, other = seeds[first.label], seeds[ClickLabel(1 - first.label)]
    distance = ndimage.distance_transform_edt(~at(own.shape, [first]), sampling=spacing)
    ball = distance <= ball_mm
    if others:
        ball &= distance < ndimage.distance_transform_edt(~at(own.shape, others), sampling=spacing)
    own |= ball
    other &= ~ball
