"""The agent with M = 0: the clicked voxels take their label and nothing else moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medseg_rl.errors import Cancelled
from medseg_rl.refiner import Percent, RefinementRequest, never_cancelled, no_preview
from medseg_rl.refiners.holding import hold


class EnforceOnly:
    """Writes the clicks and does nothing else: how much of a gain is the enforcement itself?"""

    name = "enforce_only"

    def describe(self) -> dict[str, Any]:
        """Its identity for a manifest."""
        return {"kind": self.name}

    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        """The state with the clicks written. Raises `Cancelled`."""
        if cancel():
            raise Cancelled("refinement was stopped; the mask is as before")
        percent = hold(request.percent.copy(), request)
        preview(percent)
        return percent
