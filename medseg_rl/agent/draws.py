"""One uniform number a voxel, alike among neighbours, so that a draw leans one way in a place and not in a speck."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr

from medseg_rl.volume import Index, Spacing

ALIKE_MM = 6.0  # standard deviation of the smoothing
BOUND = 1e-6


def smooth_draw(shape: Index, spacing: Spacing, seed: int, *, alike_mm: float = ALIKE_MM) -> npt.NDArray[np.float32]:
    """Numbers in (0, 1), float32 (x, y, z), each uniform by itself.

    White normal noise is smoothed, put back to unit spread, and sent through the normal distribution function, so that
    a decision drawn by it has the policy's own probabilities at every voxel; only neighbours are no longer independent.
    """
    sigma = [alike_mm / step for step in spacing]
    pad = [min(64, int(np.ceil(2 * s))) for s in sigma]  # the border must spread as the middle does
    padded = [n + 2 * p for n, p in zip(shape, pad, strict=True)]
    noise = np.random.default_rng(seed).standard_normal(padded, dtype=np.float32)
    smooth = gaussian_filter(noise, sigma, mode="wrap", truncate=3.0)
    x, y, z = (slice(p, p + n) for p, n in zip(pad, shape, strict=True))
    inner = smooth[x, y, z] / max(float(smooth.std()), 1e-12)
    uniform: npt.NDArray[np.float32] = ndtr(inner).astype(np.float32).clip(BOUND, 1 - BOUND)
    return uniform
