"""What an image says inside a mask: mean, spread, extremes, percentiles."""

from __future__ import annotations

import numpy as np

from medseg_rl.quantities.quantity import Quantity
from medseg_rl.quantities.region import Region
from medseg_rl.volume import Volume

EMPTY = "empty mask"
OVER = "over the voxels inside the mask"
SPREAD = f"sqrt(sum of (x - mean)^2 / (N - 1)) {OVER}"
PERCENTILE = f"linear between order statistics, {OVER}"


def intensity_unit(image: Volume) -> str:
    """What the voxels of an image count: the reader's word for it, HU for CT, "" where nobody knows."""
    said = image.source.get("unit")
    if isinstance(said, str):
        return said
    return "HU" if image.modality == "CT" else ""


def intensities(region: Region, image: Volume) -> tuple[Quantity, ...]:
    """Statistics of the voxels of `image`, which lies on the grid of the region."""
    unit = intensity_unit(image)
    values = image.array[region.box.slices][region.mask].astype(np.float64) if region.box is not None else np.zeros(0)
    few = EMPTY if values.size == 0 else ""
    spread = float(values.std(ddof=1)) if values.size > 1 else None
    low, median, high = (float(v) for v in np.percentile(values, [10, 50, 90])) if values.size else (None,) * 3
    rows = (
        ("mean", "mean intensity", float(values.mean()) if values.size else None, f"mean {OVER}"),
        ("median", "median intensity", median, f"median {OVER}"),
        ("sd", "standard deviation of intensity", spread, SPREAD),
        ("minimum", "minimum intensity", float(values.min()) if values.size else None, f"smallest {OVER}"),
        ("maximum", "maximum intensity", float(values.max()) if values.size else None, f"largest {OVER}"),
        ("p10", "10th percentile of intensity", low, PERCENTILE),
        ("p90", "90th percentile of intensity", high, PERCENTILE),
    )
    return tuple(
        Quantity(f"intensity_{key}", name, value, unit, method, few or ("one voxel only" if value is None else ""))
        for key, name, value, method in rows
    )
