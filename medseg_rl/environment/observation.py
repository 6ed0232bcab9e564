"""What an agent sees of its voxel: image, live probability, hint maps and click relations, as channels of one array.

Training and inference both build their observation here, so they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from medseg_rl.environment.click_relations import click_relations
from medseg_rl.environment.likeness import LIKENESS, likeness
from medseg_rl.hints.clicks import Click
from medseg_rl.hints.maps import HintMaps
from medseg_rl.refiner import MASK_THRESHOLD, Percent
from medseg_rl.volume import Spacing

FloatMap = npt.NDArray[np.float32]


class Relations:
    """How voxels stand to an interaction's clicks, taken from the state before it: maps by channel name.

    `percent`, `start`: states before these clicks and before any. `hints`: of all `clicks`, to which the `new_clicks`
    belong. Which maps are made depends on the channels that are asked for first.
    """

    def __init__(
        self,
        image: FloatMap,
        percent: Percent,
        start: Percent,
        hints: HintMaps,
        clicks: Sequence[Click],
        new_clicks: Sequence[Click],
        spacing: Spacing,
    ) -> None:
        self._maps = click_relations(image, percent, start, hints, new_clicks, spacing)
        self._image, self._mask, self._clicks = image, percent > MASK_THRESHOLD, tuple(clicks)

    def maps(self, channels: Sequence[str]) -> Mapping[str, FloatMap]:
        """The click relations, and likeness in the frame of the click where one of `channels` is that."""
        if not set(LIKENESS) <= set(self._maps) and set(LIKENESS) & set(channels):
            found = likeness(self._image, self._mask, self._clicks)
            self._maps |= {name: self._maps["click_sign"] * values for name, values in found.items()}
        return self._maps


def hint_channels(hints: HintMaps, relations: Relations, channels: Sequence[str]) -> dict[str, FloatMap]:
    """Maps by channel name: hints of all clicks so far, and how voxels stand to this interaction's clicks."""
    return {
        "foreground_hints": hints.foreground,
        "background_hints": hints.background,
        **relations.maps(channels),
    }


def build_observation(
    channels: Sequence[str], *, image: FloatMap, percent: Percent, hints: Mapping[str, FloatMap]
) -> FloatMap:
    """(channels, x, y, z) float32 in the order of `channels`; all inputs (x, y, z).

    "image" is the normalised image, "probability" the live state in 0.01..0.99, "mask" that state as 0 or 1, every
    other name a key of `hints`, which holds hint maps and click relations.
    """
    observation = np.empty((len(channels), *image.shape), np.float32)
    for plane, name in zip(observation, channels, strict=True):
        if name == "image":
            plane[:] = image
        elif name == "probability":
            np.multiply(percent, np.float32(0.01), out=plane)
        elif name == "mask":
            plane[:] = percent > MASK_THRESHOLD
        else:
            plane[:] = hints[name]
    return observation
