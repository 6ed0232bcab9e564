"""A network plays the primary robot on regions that records hold: for choosing weights and for games of a league.

The images are normalised already, so no session is needed; the session's own proof is `flywheel`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from medseg_rl import metrics
from medseg_rl.agent.refine import VoxelAgentRefiner
from medseg_rl.automatic.segmenter import AutomaticSegmenter
from medseg_rl.hints.clicks import Click
from medseg_rl.hints.robots import LargestRegion, robot_rng
from medseg_rl.refiner import MASK_THRESHOLD, RefinementRequest
from medseg_rl.training_scenes import TrainingCase
from medseg_rl.volume import Volume


def dice_curve(case: TrainingCase, refiner: VoxelAgentRefiner, *, clicks: int, steps: int) -> list[float]:
    """Dice with the case's mask after 0, 1, ... `clicks` clicks of the primary robot, from the case's start."""
    robot = LargestRegion()
    percent = np.ones(case.image.shape, np.uint8) if case.start is None else case.start.copy()
    given: tuple[Click, ...] = ()
    curve = [metrics.dice(percent > MASK_THRESHOLD, case.reference)]
    for number in range(1, clicks + 1):
        rng = robot_rng(case.id, 0, number)
        new = robot.next_clicks(case.reference, percent > MASK_THRESHOLD, given, case.spacing, 1, rng)
        if new:
            given = (*given, *new)
            request = RefinementRequest(case.image, case.spacing, percent, given, len(new), steps=steps)
            percent = refiner.refine(request)
        curve.append(metrics.dice(percent > MASK_THRESHOLD, case.reference))
    return curve


def curves(
    cases: Sequence[TrainingCase],
    refiner: VoxelAgentRefiner,
    *,
    clicks: int,
    steps: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[float]]:
    """`dice_curve` of each case."""
    found = []
    for done, case in enumerate(cases, 1):
        found.append(dice_curve(case, refiner, clicks=clicks, steps=steps))
        progress(done, len(cases))
    return found


def with_start_of(case: TrainingCase, automatic: AutomaticSegmenter) -> TrainingCase:
    """The same case with what the network gives for its region as start."""
    with torch.no_grad():
        percent = automatic.predict(Volume(case.image, np.diag((*case.spacing, 1.0))))
    return TrainingCase(case.id, case.image, case.reference, percent, case.spacing)
