"""How a user turn is run, and what is reported of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from medseg_rl.history import BoxDelta
from medseg_rl.interaction.strokes import Intervention, Stroke
from medseg_rl.refiner import NO_COMMAND, Percent
from medseg_rl.volume import Box

RoiKind = Literal["product", "common", "whole"]

MAX_STEPS = 8  # beyond four steps without a click quality can collapse; eight is already an experiment


@dataclass(frozen=True)
class InteractionConfig:
    """`roi`: "product" (grows round clicks and mask), "common" (the protocol's), "whole" (all voxels, small volumes).

    `steps`, `coarse_steps`: refinement steps at the voxels of the file and, for regions above `roi_cap_voxels`,
    before that on a coarse level (`two_scale`; without it such a region runs at its full size). `edit_radius_mm`:
    nothing farther from this turn's clicks changes, None for no such guard. `enforce_clicks`: clicked voxels take
    their label whatever the refiner says. `sign_guard`: a turn of background clicks adds nothing, one of object
    clicks removes nothing beyond 10 mm. `max_growths`: how often a product region may grow when the change reaches
    its border. `empty_start_side_mm`: side of the common region of an empty start, from the training set.
    """

    roi: RoiKind = "product"
    steps: int = 3
    coarse_steps: int = 3
    edit_radius_mm: float | None = 40.0
    enforce_clicks: bool = True
    sign_guard: bool = False
    roi_cap_voxels: int = 96**3
    two_scale: bool = True
    max_growths: int = 4
    empty_start_side_mm: float | None = None
    command: int = NO_COMMAND

    def __post_init__(self) -> None:
        if self.roi not in ("product", "common", "whole"):
            raise ValueError(f"roi is {self.roi!r}, not one of product, common, whole")
        if not (0 <= self.steps <= MAX_STEPS and 0 <= self.coarse_steps <= MAX_STEPS):
            raise ValueError(f"steps {self.steps} and coarse_steps {self.coarse_steps} must lie in 0..{MAX_STEPS}")
        if self.edit_radius_mm is not None and not self.edit_radius_mm > 0:
            raise ValueError(f"edit_radius_mm is {self.edit_radius_mm}; use a positive radius, or None for no guard")
        if self.roi_cap_voxels < 1000 or self.max_growths < 0:
            raise ValueError(f"roi_cap_voxels {self.roi_cap_voxels} or max_growths {self.max_growths} is too small")


@dataclass(frozen=True, eq=False)
class Preview:
    """A state on the way: `percent` of `box`, after one refinement step."""

    box: Box
    percent: Percent


Progress = Callable[[Preview], None]


@dataclass(frozen=True)
class Timings:
    """Seconds of a turn's parts. `region`: choice and reading; `refine`: hints and network; `encode`: rules and delta.

    `prepare` and `apply` are the session's parts; `total` is click in, mask out.
    """

    region: float = 0.0
    refine: float = 0.0
    encode: float = 0.0
    prepare: float = 0.0
    apply: float = 0.0

    @property
    def total(self) -> float:
        """All parts together."""
        return self.region + self.refine + self.encode + self.prepare + self.apply


@dataclass(frozen=True)
class TurnReport:
    """What one user turn did. Boxes and counts are of the mask, not of the probabilities.

    `message` says in one line why nothing was done but to keep the clicks, or is empty. `respected_raw`, `respected`:
    one truth value for each new click, before and after enforcement. `levels`: 1, or 2 with a coarse pass.
    `changed_box`: None if no voxel of the mask changed.
    """

    message: str = ""
    roi: Box | None = None
    levels: int = 1
    growths: int = 0
    respected_raw: tuple[bool, ...] = ()
    respected: tuple[bool, ...] = ()
    added_voxels: int = 0
    removed_voxels: int = 0
    changed_box: Box | None = None
    timings: Timings = Timings()

    @property
    def n_new_clicks(self) -> int:
        """Clicks of this turn."""
        return len(self.respected)

    @property
    def click_rescued(self) -> int:
        """New clicks whose voxel the refiner had wrong before enforcement."""
        return sum(after and not raw for raw, after in zip(self.respected_raw, self.respected, strict=True))

    @property
    def changed_voxels(self) -> int:
        """Voxels that entered or left the mask."""
        return self.added_voxels + self.removed_voxels


@dataclass(frozen=True, eq=False)
class TurnResult:
    """`delta`: change of the percent state, None if none. `stored`: whether the turn's clicks are to be kept.

    `strokes`: what was painted into the turn, with the step it came after; `interventions`: what each of them met.
    """

    delta: BoxDelta | None
    report: TurnReport
    stored: bool = True
    strokes: tuple[Stroke, ...] = ()
    interventions: tuple[Intervention, ...] = ()
