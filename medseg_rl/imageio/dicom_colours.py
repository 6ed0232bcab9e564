"""Colours of DICOM segments: CIELab in three 16-bit numbers, and back to the same 8-bit sRGB.

PS3.3 C.10.7.1.1 gives the scaling. The white is D65 without adaptation: the standard means the D50 of ICC profiles, but
PixelMed, dcmqi, dcmjs and highdicom all write D65, and whoever reads theirs has to do the same to get their colours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg_rl.labels import Colour
from medseg_rl.volume import FloatArray

TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # IEC 61966-2-1
FROM_XYZ = np.linalg.inv(TO_XYZ)
WHITE = np.array([0.95047, 1.0, 1.08883])
EDGE = 6 / 29  # below it the cube root of CIELab is a straight line
RANGES = np.array([[0.0, 100.0], [-128.0, 127.0], [-128.0, 127.0]])


def cielab_of(colour: Colour) -> tuple[int, int, int]:
    """Recommended Display CIELab Value of a colour (red, green, blue, 0-255)."""
    share = np.array(colour) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    ratio = TO_XYZ @ linear / WHITE
    x, y, z = np.where(ratio > EDGE**3, np.cbrt(ratio), ratio / (3 * EDGE**2) + 4 / 29)
    lab = np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])
    stored = np.rint((lab - RANGES[:, 0]) / np.ptp(RANGES, axis=1) * 65535).clip(0, 65535)
    return int(stored[0]), int(stored[1]), int(stored[2])


def colour_of(stored: Sequence[int]) -> Colour:
    """The nearest sRGB colour of a Recommended Display CIELab Value. Raises ValueError when it is none."""
    numbers: FloatArray = np.array([float(part) for part in stored])
    if numbers.shape != (3,) or not ((numbers >= 0) & (numbers <= 65535)).all():
        raise ValueError(f"{list(stored)} is no CIELab colour")
    lightness, a, b = numbers / 65535 * np.ptp(RANGES, axis=1) + RANGES[:, 0]
    y = (lightness + 16) / 116
    root = np.array([y + a / 500, y, y - b / 200])
    linear = FROM_XYZ @ (np.where(root > EDGE, root**3, 3 * EDGE**2 * (root - 4 / 29)) * WHITE)
    linear = linear.clip(0, 1)
    share = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (round(float(part) * 255) for part in share.clip(0, 1))
    return red, green, blue
