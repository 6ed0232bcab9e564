"""Paint-ball: every click adds or erases a ball. Reads neither the image nor the probability: pure painting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medseg_rl.errors import Cancelled
from medseg_rl.hints.clicks import Click
from medseg_rl.refiner import Percent, RefinementRequest, never_cancelled, no_preview
from medseg_rl.refiners.holding import LABEL_PERCENT, hold
from medseg_rl.volume import Box, Spacing

RADII_MM = (2.0, 4.0, 6.0, 8.0)  # tried on validation, evaluation protocol section 6


class PaintBall:
    """A ball of `radius_mm` in the label of each new click; older clicks keep their own voxel."""

    name = "paint_ball"

    def __init__(self, radius_mm: float = 2.0) -> None:
        if not radius_mm > 0:
            raise ValueError(f"radius_mm is {radius_mm}; a ball needs a positive radius")
        self.radius_mm = float(radius_mm)

    def describe(self) -> dict[str, Any]:
        """Its identity for a manifest."""
        return {"kind": self.name, "radius_mm": self.radius_mm}

    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        """The state with one ball painted for each new click, oldest first. Raises `Cancelled`."""
        if cancel():
            raise Cancelled("refinement was stopped; the mask is as before")
        percent = request.percent.copy()
        new_clicks = request.clicks[len(request.clicks) - request.n_new_clicks :]
        for click in new_clicks:
            _paint(percent, click, self.radius_mm, request.spacing)
        hold(percent, request)
        preview(percent)
        return percent


def _paint(percent: Percent, click: Click, radius_mm: float, spacing: Spacing) -> None:
    """Write the ball of voxel centres within `radius_mm` of the click, in place."""
    box = Box.around_indices([click.index]).grown_mm(radius_mm, spacing, percent.shape)
    axes = np.ogrid[box.slices]
    squared_mm = sum(
        ((axis - centre) * size) ** 2 for axis, centre, size in zip(axes, click.index, spacing, strict=True)
    )
    percent[box.slices][squared_mm <= radius_mm**2] = LABEL_PERCENT[click.label]
