"""Runs the refinement steps of one region and lets strokes in between two of them.

Asks the refiner to stop where a stroke waits, writes the stroke, and asks for the steps that are left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from medseg_rl.errors import Cancelled
from medseg_rl.interaction.strokes import Strokes
from medseg_rl.refiner import Percent, RefinementRequest, no_preview

Cancel = Callable[[], bool]
Preview = Callable[[Percent], None]
Run = Callable[[RefinementRequest, Cancel, Preview], Percent]  # region at the voxels of the file, in and out


class StepRunner:
    """`done`: refinement steps since the turn began; a tile counts as one. `shows`: whether anybody looks at the state
    after a step; without it a run need not make one.
    """

    def __init__(self, cancel: Cancel, preview: Preview | None, strokes: Strokes | None = None) -> None:
        self.cancel, self.strokes = cancel, strokes
        self.preview: Preview = preview or no_preview
        self.shows = preview is not None or strokes is not None
        self.done = 0
        self._stopped = False

    def stops(self) -> bool:
        """Whether the user stopped the turn, or a stroke waits."""
        self._stopped = self.cancel()
        return self._stopped or self.stroke_waits

    @property
    def stroke_waits(self) -> bool:
        """Whether a stroke is to be taken before the next step."""
        return self.strokes is not None and self.strokes.are_due(self.done)

    def run(self, request: RefinementRequest, run: Run) -> tuple[Percent, RefinementRequest]:
        """The state after the steps of `request`, and the request with the strokes that came in between."""
        wanted = self.done + request.steps
        while True:
            states = [request.percent]

            def after_step(percent: Percent, states: list[Percent] = states) -> None:
                states.append(percent)
                self.done += 1
                self.preview(percent)

            try:
                state = run(request, self.stops, after_step)
            except Cancelled:
                if self._stopped or not self.stroke_waits:
                    raise
                state = states[-1]
            else:
                if not self.stroke_waits:
                    return state, request
                self.done = wanted
            request = self.take(request, states[-2] if len(states) > 1 else states[0], state)
            request = replace(request, steps=wanted - self.done)
            if request.steps <= 0:
                return request.percent, request

    def take(self, request: RefinementRequest, before: Percent, state: Percent) -> RefinementRequest:
        """The request that goes on from `state` with the strokes that wait written into it and held."""
        assert self.strokes is not None
        assert self.strokes.region is not None
        proposed = None if state is request.percent else state
        due = self.strokes.take(self.done, before, proposed)
        percent, box = state.copy(), self.strokes.region
        held = np.zeros(state.shape, np.bool_) if request.held_voxels is None else request.held_voxels.copy()
        for stroke in due:
            stroke.apply(percent, box)
            stroke.mark(held, box)
        begun = request.percent if request.started_from is None else request.started_from
        return replace(request, percent=percent, held_voxels=held, started_from=begun)
