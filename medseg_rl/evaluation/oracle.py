"""The oracle's region: the box around the reference. A column of its own and never a headline, as it is a leak.

The session and the rules of a turn stay as they are; only what the refiner is shown and may change is cut out here, so
that no code under inference learns of a reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click
from medseg_rl.interaction.region import LEAST_SIDE_MM, MARGIN_MM, at_least
from medseg_rl.refiner import Percent, RefinementRequest, Refiner, never_cancelled, no_preview
from medseg_rl.volume import AxisOrder, Box, Volume


def oracle_box(image: Volume, reference: npt.NDArray[np.bool_]) -> Box:
    """Box around the reference + 10 mm, at least 32 mm wide, in the axis order in which refiners see a volume."""
    order = AxisOrder.of(image.affine)
    turned, spacing = order.apply(reference), order.apply_spacing(image.spacing)
    x, y, z = turned.shape
    box = Box.around_mask(turned) or Box.whole((x, y, z))
    return at_least(box.grown_mm(MARGIN_MM, spacing, (x, y, z)), LEAST_SIDE_MM, spacing, (x, y, z))


@dataclass(frozen=True)
class InsideBox:
    """A refiner that is shown a box of the volume alone; the rest stays. Asked about the whole volume only."""

    refiner: Refiner
    box: Box

    @property
    def name(self) -> str:
        """As the refiner inside."""
        return self.refiner.name

    def describe(self) -> dict[str, Any]:
        """As the refiner inside."""
        return self.refiner.describe()

    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        """See `Refiner`. Nothing changes where no new click lies in the box."""
        kept = [(place, click) for place, click in enumerate(request.clicks) if self.box.contains(click.index)]
        n_new = sum(place >= len(request.clicks) - request.n_new_clicks for place, _ in kept)
        if request.n_new_clicks and not n_new:
            return request.percent
        inside = replace(
            request,
            image=self._cut(request.image),
            percent=self._cut(request.percent),
            clicks=tuple(self._moved(click) for _, click in kept),
            n_new_clicks=n_new,
            held_voxels=None if request.held_voxels is None else self._cut(request.held_voxels),
            started_from=None if request.started_from is None else self._cut(request.started_from),
            before_clicks=None if request.before_clicks is None else self._cut(request.before_clicks),
        )

        def whole(percent: Percent) -> Percent:
            out = request.percent.copy()
            out[self.box.slices] = percent
            return out

        answer = self.refiner.refine(inside, cancel=cancel, preview=lambda percent: preview(whole(percent)))
        return answer if answer.shape != self.box.shape else whole(answer)

    def _cut(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.ascontiguousarray(array[self.box.slices])

    def _moved(self, click: Click) -> Click:
        a, b, c = (i - start for i, start in zip(click.index, self.box.start, strict=True))
        return replace(click, index=(a, b, c))
