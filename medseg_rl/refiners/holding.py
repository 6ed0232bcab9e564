"""What every refiner here owes its caller: clicked voxels hold their label, held voxels stay as they came."""

from __future__ import annotations

from medseg_rl.hints.clicks import ClickLabel, newest_per_voxel
from medseg_rl.refiner import HIGHEST, LOWEST, Percent, RefinementRequest

LABEL_PERCENT = {ClickLabel.BACKGROUND: LOWEST, ClickLabel.FOREGROUND: HIGHEST}


def hold(percent: Percent, request: RefinementRequest) -> Percent:
    """`percent` (changed in place) with the clicks written hard where the request asks so, and held voxels restored."""
    if request.hard_clicks:
        for click in newest_per_voxel(request.clicks):
            percent[click.index] = LABEL_PERCENT[click.label]
    if request.held_voxels is not None:
        percent[request.held_voxels] = request.percent[request.held_voxels]
    return percent
