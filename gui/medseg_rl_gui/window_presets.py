"""Grey levels by name, and which to start with. Numbers only: no keys (`actions.py`), no painting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import Volume
from medseg_rl_gui.view_model import Window

HOUNSFIELD: Mapping[str, Window] = {
    "soft_tissue": Window(400, 40),
    "lung": Window(1500, -600),
    "bone": Window(2000, 300),
    "brain": Window(80, 40),
    "stroke": Window(40, 40),
    "mediastinum": Window(350, 40),
    "liver": Window(150, 60),
    "angiography": Window(600, 150),
}
OUTER_PERCENT = 0.1  # of the voxels that "auto" leaves at either end
SAMPLES = 2_000_000  # enough for a percentile, few enough for the main thread
AIR = -900  # integers that reach down here are taken for Hounsfield units where no modality is known


def is_hounsfield(image: Volume, modality: str) -> bool:
    """Whether presets in HU make sense: CT, or unknown whole numbers that reach down to air."""
    if modality:
        return modality == "CT"
    return image.array.dtype.kind in "iu" and bool(_sample(image).min() <= AIR)


def full_range(image: Volume) -> Window:
    """From the darkest to the brightest voxel."""
    return _between(float(image.array.min()), float(image.array.max()))


def automatic(image: Volume) -> Window:
    """From the 0.1st to the 99.9th percentile, of a sample where the image is large."""
    low, high = np.percentile(_sample(image), (OUTER_PERCENT, 100 - OUTER_PERCENT))
    return _between(float(low), float(high))


def initial_window(image: Volume, modality: str, *, stored: Window | None = None, kept: Window | None = None) -> Window:
    """The window at load: the one `kept` from the last case, else the file's own, else by what the image is."""
    if kept is not None:
        return kept
    if stored is not None and stored.width > 0:
        return stored
    return HOUNSFIELD["soft_tissue"] if is_hounsfield(image, modality) else automatic(image)


def _sample(image: Volume) -> npt.NDArray[Any]:
    step = max(1, round((image.array.size / SAMPLES) ** (1 / 3)))
    return image.array[::step, ::step, ::step]


def _between(low: float, high: float) -> Window:
    return Window(high - low, (low + high) / 2) if high > low else Window(1.0, low)
