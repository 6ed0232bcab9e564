"""Other readings of the same request: decisions drawn at random, more or fewer steps, a lean to more or to less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medseg_rl.hints.clicks import ClickLabel
from medseg_rl.refiner import (
    HIGHEST,
    LOWEST,
    Percent,
    RefinementRequest,
    Refiner,
    never_cancelled,
    no_preview,
    view_side,
)


@dataclass(frozen=True)
class Variation:
    """`seed`: of the draws, None for the best decisions. `step_factor`: times as many steps, at least one. `lean`:
    hundredths added to what the refiner is not sure of.
    """

    seed: int | None = None
    step_factor: float = 1.0
    lean: int = 0

    @property
    def is_draw(self) -> bool:
        """Whether decisions drawn at random are all that differs."""
        return self.seed is not None and not self.lean


def variations(seed: int, count: int) -> tuple[Variation, ...]:
    """The ways to try for `count` candidates, in that order: the plain one, draws, then leans and other steps."""
    draws = [Variation(seed=(seed + n) % 2**31) for n in range(1, count + 2)]
    leans = [Variation(lean=lean) for lean in (20, -20, 35, -35, 45, -45)]
    mixed = [
        Variation(seed=(seed + n) % 2**31, lean=lean) for n, lean in enumerate((20, -20, 35, -35), start=count + 2)
    ]
    return (Variation(), *draws, *leans, Variation(step_factor=2.5), Variation(step_factor=0.3), *mixed)


class Varied:
    """A refiner that reads every request in another way."""

    def __init__(self, refiner: Refiner, variation: Variation) -> None:
        self._refiner, self._variation = refiner, variation

    @property
    def name(self) -> str:
        """That of the refiner."""
        return self._refiner.name

    @property
    def view_voxels(self) -> int | None:
        """What the refiner wants to be shown, see `view_side`."""
        return view_side(self._refiner)

    def describe(self) -> dict[str, Any]:
        """What identifies the refiner."""
        return self._refiner.describe()

    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        """What the refiner answers to the varied request; clicks stay as it left them, held voxels as they were."""
        varied = self._variation
        steps = max(1, round(request.steps * varied.step_factor)) if request.steps else 0
        answer = self._refiner.refine(replace(request, seed=varied.seed, steps=steps), cancel=cancel, preview=preview)
        if not varied.lean:
            return answer
        unsure = (answer > LOWEST) & (answer < HIGHEST)
        leaning = np.clip(answer.astype(np.int16) + varied.lean * unsure, LOWEST, HIGHEST).astype(np.uint8)
        if request.held_voxels is not None:
            np.copyto(leaning, request.percent, where=request.held_voxels)
        for click in request.clicks:
            hard = HIGHEST if click.label == ClickLabel.FOREGROUND else LOWEST
            leaning[click.index] = hard if request.hard_clicks else answer[click.index]
        return leaning
