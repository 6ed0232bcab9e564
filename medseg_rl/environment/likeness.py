"""Whether a voxel is as bright as the object or as what surrounds it: a colour model that this case's own mask and
clicks make, as graph cuts have one. Channels that a network need not learn, and cannot learn for tissues it never saw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.preprocessing import INTENSITY_BOUND
from medseg_rl.volume import Box

FloatMap = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

LIKENESS = ("likeness", "smooth_likeness")
BIN = 0.05  # of the normalised image
BINS = round(2 * INTENSITY_BOUND / BIN)
BLUR = 3.0  # bins, standard deviation: what so few voxels say of their tissue
FLOOR = 0.05  # share of all brightnesses alike, so that none is impossible
CLICKS_SHARE = 0.5  # of a class's model where there is a mask too
AROUND = 2, 1  # voxels to each side of a click whose brightness counts: in the image, in the smooth one
LARGEST_ODDS = 3.0  # unit of the log-odds


def likeness(image: FloatMap, mask: Mask, clicks: Sequence[Click]) -> dict[str, FloatMap]:
    """The channels of `LIKENESS`, (x, y, z) float32 in -1..1: positive where a voxel is like the object.

    Log-odds of two histograms, blurred: brightness in the mask and around the object clicks, against that outside and
    around the background clicks. "smooth_likeness": the same of the image averaged over 3 x 3 x 3 voxels.
    `image`: normalised, (x, y, z). `mask`: before the newest of `clicks`.
    """
    smooth: FloatMap = ndimage.uniform_filter(image, 3, mode="nearest")
    pairs = zip(LIKENESS, (image, smooth), AROUND, strict=True)
    return {name: _log_odds(_bins(values), mask, clicks, around) for name, values, around in pairs}


def _bins(image: FloatMap) -> npt.NDArray[np.int32]:
    """Number of the bin of each voxel."""
    scaled = (image + np.float32(INTENSITY_BOUND)) * np.float32(1 / BIN)
    numbers: npt.NDArray[np.int32] = np.clip(scaled, 0, BINS - 1).astype(np.int32)
    return numbers


def _log_odds(bins: npt.NDArray[np.int32], mask: Mask, clicks: Sequence[Click], around: int) -> FloatMap:
    everything = np.bincount(bins.ravel(), minlength=BINS).astype(np.float64)
    inside = np.bincount(bins[mask], minlength=BINS).astype(np.float64)
    models = [
        _model(bins, [click for click in clicks if click.label == label], region, around)
        for label, region in ((ClickLabel.FOREGROUND, inside), (ClickLabel.BACKGROUND, everything - inside))
    ]
    odds = np.tanh(np.log(models[0] / models[1]) / LARGEST_ODDS).astype(np.float32)
    looked_up: FloatMap = odds[bins]
    return looked_up


def _model(
    bins: npt.NDArray[np.int32], clicks: Sequence[Click], region: npt.NDArray[np.float64], around: int
) -> npt.NDArray[np.float64]:
    """Share of each bin (BINS,) among the voxels of a class, never zero."""
    clicked = np.zeros(BINS)
    for click in clicks:
        box = Box.around_indices([click.index]).grown(around, bins.shape)
        clicked += np.bincount(bins[box.slices].ravel(), minlength=BINS)
    known = [(share, counts) for share, counts in ((CLICKS_SHARE, clicked), (1 - CLICKS_SHARE, region)) if counts.any()]
    total = sum(share for share, _ in known)
    model = sum((share / total * counts / counts.sum() for share, counts in known), np.zeros(BINS))
    blurred: npt.NDArray[np.float64] = ndimage.gaussian_filter1d(model, BLUR, mode="nearest") + FLOOR / BINS
    return blurred
