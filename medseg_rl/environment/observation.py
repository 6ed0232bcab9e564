"""What an agent sees of its voxel: image, live probability, hint maps and click relations, as channels of one array.

Training and inference both build their observation here, so they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.maps import HintMaps
from medseg_rl.refiner import MASK_THRESHOLD, Percent

FloatMap = npt.NDArray[np.float32]


def hint_channels(hints: HintMaps, relations: Mapping[str, FloatMap]) -> dict[str, FloatMap]:
    """Maps by channel name: hints of all clicks so far, and how voxels stand to this interaction's clicks."""
    return {"foreground_hints": hints.foreground, "background_hints": hints.background, **relations}


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
