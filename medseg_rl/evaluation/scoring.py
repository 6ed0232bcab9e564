"""One turn compared with the reference: the measured part of a result row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg_rl import metrics
from medseg_rl.evaluation.turns import Turn
from medseg_rl.volume import Spacing

Mask = npt.NDArray[np.bool_]
UNIT: Spacing = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Scores:
    """How good one mask is."""

    dice: float
    nsd_2mm: float
    nsd_1vox: float
    hd95_mm: float
    assd_mm: float


def score(mask: Mask, reference: Mask, spacing: Spacing) -> Scores:
    """All figures of one mask, (x, y, z) on the native grid. Raises ValueError where the reference is empty."""
    distances = metrics.surface_distances(mask, reference, spacing)
    in_voxels = distances if spacing == UNIT else metrics.surface_distances(mask, reference, UNIT)
    return Scores(metrics.dice(mask, reference), distances.nsd(2.0), in_voxels.nsd(1.0), distances.hd95, distances.assd)


def respected(turn: Turn) -> tuple[float | None, float | None]:
    """Share of the turn's clicks whose voxel has its label after the turn, and before enforcement."""
    if not turn.n_new:
        return None, None
    new = turn.clicks[len(turn.clicks) - turn.n_new :]
    after = metrics.respected(turn.mask, ((click.index, click.label) for click in new))
    raw = turn.respected_raw
    return after, None if raw is None else sum(raw) / len(raw)
