"""What an agent sees of its voxel: image, live probability and hint maps, as channels of one array.

Training and inference both build their observation here, so they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.maps import HintConfig, HintMaps, hint_map
from medseg_rl.refiner import HIGHEST, LOWEST, Percent
from medseg_rl.volume import Spacing

EVIDENCE = HintConfig(kind="edt_exp", tau_mm=8.0)  # how the evidence of a click fades with distance
EVIDENCE_MARGIN = 0.1  # log-odds by which a click must come out on its side

FloatMap = npt.NDArray[np.float32]


def hint_channels(hints: HintMaps, new_hints: HintMaps, belief: FloatMap) -> dict[str, FloatMap]:
    """Maps by channel name: hints of all clicks so far and of this interaction's alone, and the click belief."""
    return {
        "click_belief": belief,
        "foreground_hints": hints.foreground,
        "background_hints": hints.background,
        "new_foreground_hints": new_hints.foreground,
        "new_background_hints": new_hints.background,
    }


def click_belief(percent: Percent, new_clicks: Iterable[Click], spacing: Spacing) -> FloatMap:
    """Probability (x, y, z) in 0.01..0.99 that a state holds once its user has clicked, before any network is asked.

    Where a click contradicts the state, the log-odds move by what the clicked voxel lacks, fading over 8 mm around it:
    an error at one place of a boundary makes the same error likely beside it. `percent` is the state before the click.
    """
    odds = _log_odds(percent)
    evidence = np.zeros((2, *percent.shape), np.float32)
    for click in new_clicks:
        sign = 1 if click.label == ClickLabel.FOREGROUND else -1
        lacking = EVIDENCE_MARGIN - sign * odds[click.index]
        if lacking > 0:
            reach = hint_map(odds, [click], click.label, spacing, EVIDENCE)
            np.maximum(evidence[click.label], lacking * reach, out=evidence[click.label])
    moved = odds + evidence[ClickLabel.FOREGROUND] - evidence[ClickLabel.BACKGROUND]
    belief: FloatMap = np.clip(1 / (1 + np.exp(-moved)), LOWEST / 100, HIGHEST / 100).astype(np.float32)
    return belief


def _log_odds(percent: Percent) -> FloatMap:
    probability = percent.astype(np.float32) / 100
    odds: FloatMap = np.log(probability / (1 - probability))
    return odds


def build_observation(
    channels: Sequence[str], *, image: FloatMap, percent: Percent, hints: Mapping[str, FloatMap]
) -> FloatMap:
    """(channels, x, y, z) float32 in the order of `channels`; all inputs (x, y, z).

    "image" is the normalised image, "probability" the live state in 0.01..0.99, every other name a key of `hints`,
    which holds hint maps and the click belief.
    """
    observation = np.empty((len(channels), *image.shape), np.float32)
    for plane, name in zip(observation, channels, strict=True):
        if name == "image":
            plane[:] = image
        elif name == "probability":
            np.multiply(percent, np.float32(0.01), out=plane)
        else:
            plane[:] = hints[name]
    return observation
