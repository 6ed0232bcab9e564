"""The seam behind which everything that refines stands: the voxel agent, its twins, the classical refiners.

Plain numpy in, plain numpy out; no reference mask can be passed, so none can leak into inference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click
from medseg_rl.volume import Spacing

Percent = npt.NDArray[np.uint8]  # probability in hundredths, 1..99; the mask is percent > 50

MASK_THRESHOLD = 50
LOWEST, HIGHEST = 1, 99
NO_COMMAND = 0  # command index of "none" (NA): its embedding is zero
COMMANDS = ("na", "grow", "shrink", "smooth", "fill_holes", "remove_islands", "sharpen", "follow_slice_above")


@dataclass(frozen=True, eq=False)
class RefinementRequest:
    """One interaction on one region of interest. All arrays (x, y, z) of the region.

    `image`: float32, normalised by the statistics of the whole volume. `percent`: the live state before. `clicks`: all
    clicks so far inside the region, oldest first, indices counted from its corner; the last `n_new_clicks` are this
    interaction's. `held_voxels`: True where nothing may change (locked labels, beyond the guard). `steps`: how many.
    `hard_clicks`: False asks for clicked voxels as the refiner's own decisions leave them, so that the caller can count
    how often they agree with the click before it writes the labels; between steps they are hard either way.
    `seed`: draw the decisions with it instead of taking the best ones; a refiner that has nothing to draw ignores it.
    `started_from`: the state before the interaction where this request goes on after a stroke into it; None: `percent`.
    `before_clicks`: the state before any of these clicks, so that what was made of one is no evidence at the next;
    None: the same as before the interaction.
    `glance`: a refiner that can say at once where its steps would lead answers that instead; others take their steps.
    """

    image: npt.NDArray[np.float32]
    spacing: Spacing
    percent: Percent
    clicks: tuple[Click, ...]
    n_new_clicks: int
    held_voxels: npt.NDArray[np.bool_] | None = None
    steps: int = 3
    command: int = NO_COMMAND
    hard_clicks: bool = True
    seed: int | None = None
    started_from: Percent | None = None
    before_clicks: Percent | None = None
    glance: bool = False


def never_cancelled() -> bool:
    """The default of `cancel`."""
    return False


def no_preview(percent: Percent) -> None:
    """The default of `preview`."""


class Refiner(Protocol):
    """Turns a request into the new state of its region."""

    @property
    def name(self) -> str:
        """Short name for tables and journals."""

    def describe(self) -> dict[str, Any]:
        """What identifies it in a manifest: kind, parameters, weights hash; "commands": how many it knows, if any."""

    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        """New state, same shape. Calls `cancel` before and `preview` after each refinement step.

        Clicked voxels hold their label (99 or 1), unless `hard_clicks` is False; `held_voxels` return as they came.
        Raises `Cancelled` when `cancel` answers True.
        """


def view_side(refiner: Refiner) -> int | None:
    """How many voxels on a side a refiner wants to be shown around a click, from as far off as the error needs; None
    from those that take a region as it is. What a refiner says as `view_voxels`.
    """
    side: int | None = getattr(refiner, "view_voxels", None)
    return side


def reach_of(refiner: Refiner) -> float | None:
    """How many mm from a new click a refiner changes anything in a region that holds object and background; None from
    those that may change all of it. What a refiner says as `reach_mm`.
    """
    reach: float | None = getattr(refiner, "reach_mm", None)
    return reach


class Foresight(Protocol):
    """What a refiner with a value head offers besides: where it still expects to gain."""

    def expected_gain(self, request: RefinementRequest) -> npt.NDArray[np.float32]:
        """Return that each voxel's agent expects from the state of the request on, float32, shape of the region."""
