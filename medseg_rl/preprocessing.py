"""Prepares a volume for a network: intensities, the region of interest, the coarse level and back.

Sees images, masks and clicks; never a reference, so nothing here can leak one into inference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]

LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.5
INTENSITY_BOUND = 4.0  # no value leaves [-4, 4], whatever the scanner did

# Fixed CT window: Hounsfield units and the value each becomes, straight lines between. Soft tissue (-200..300 HU) takes
# four of six units, so that fat, muscle, blood and contrast medium stay as far apart as tissues of an MR image do after
# its z-score; lung and bone keep one unit each instead of being cut off.
CT_HOUNSFIELD = (-1000.0, -200.0, 300.0, 1500.0)
CT_VALUE = (-3.0, -2.0, 2.0, 3.0)


def normalise_intensity(array: npt.NDArray[Any], modality: str | None = None) -> FloatImage:
    """Image values of the *whole volume*, any shape and number type, as the float32 values networks and hints expect.

    "CT" goes through the fixed window above, so values lie in [-3, 3] and do not depend on the rest of the volume.
    Everything else (MR, PET, unknown) is cut at the 0.5 and 99.5 percentiles, then z-scored by mean and standard
    deviation of the cut values, and bounded by [-4, 4]. A constant image becomes zeros. NaN becomes 0 (CT: air),
    infinities the nearest bound; neither enters the statistics.
    """
    values = np.asarray(array, dtype=np.float32)
    if modality is not None and modality.upper() == "CT":
        return _window(values)
    finite = np.isfinite(values)
    known = values if finite.all() else values[finite]
    if known.size == 0:
        return np.zeros(values.shape, dtype=np.float32)
    low, high = (float(v) for v in np.percentile(known, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    if not high > low:  # an object of less than half a per cent of the volume must not vanish
        low, high = float(known.min()), float(known.max())
    cut = np.clip(known, low, high)
    mean, deviation = float(cut.mean(dtype=np.float64)), float(cut.std(dtype=np.float64))
    if not high > low or deviation <= 1e-6 * max(abs(low), abs(high)):
        return np.zeros(values.shape, dtype=np.float32)
    scaled: FloatImage = (np.clip(values, low, high) - np.float32(mean)) * np.float32(1.0 / deviation)
    np.nan_to_num(scaled, copy=False, nan=0.0)
    np.clip(scaled, -INTENSITY_BOUND, INTENSITY_BOUND, out=scaled)
    return scaled


def _window(hounsfield: FloatImage) -> FloatImage:
    known = np.nan_to_num(hounsfield, nan=CT_HOUNSFIELD[0])
    return np.interp(known, CT_HOUNSFIELD, CT_VALUE).astype(np.float32)
