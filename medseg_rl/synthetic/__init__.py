"""Labelled volumes with known ground truth, and masks that are wrong in known ways. All randomness is passed in."""

from medseg_rl.synthetic.cases import SyntheticCase, synthetic_case
from medseg_rl.synthetic.config import SyntheticConfig
from medseg_rl.synthetic.corruptions import CORRUPTIONS, corrupt_mask
from medseg_rl.synthetic.phantoms import Phantom, phantom, random_image, random_labels
from medseg_rl.synthetic.shapes import ellipsoid, sheet, smooth_noise, tube
from medseg_rl.synthetic.starts import plausible_start

__all__ = [
    "CORRUPTIONS",
    "Phantom",
    "SyntheticCase",
    "SyntheticConfig",
    "corrupt_mask",
    "ellipsoid",
    "phantom",
    "plausible_start",
    "random_image",
    "random_labels",
    "sheet",
    "smooth_noise",
    "synthetic_case",
    "tube",
]
