"""The volumes that the window is measured on: a body of 512 x 512 x 300 voxels with organs, as files.

Deterministic, and nobody's: what matters is size, noise (for compression) and the shape of organs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from medseg_rl.imageio import write_volume
from medseg_rl.volume import Index, Volume

LARGE: Index = (512, 512, 300)
SPACING = (0.74, 0.74, 1.0)
AIR, TISSUE, LIVER, LESION = -1000, 40, 105, 60
NOISE_HU = 14.0


def affine() -> npt.NDArray[np.float64]:
    """LPS voxel axes, as scanners store them; the origin in the middle."""
    middle = [0.5 * n * s for n, s in zip(LARGE, SPACING, strict=True)]
    found = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    found[:3, 3] = middle[0], middle[1], -middle[2]
    return found


def ellipsoid(
    shape: Index, centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> npt.NDArray[np.bool_]:
    """True inside; centre and radii as parts of the shape."""
    axes = [((np.arange(n, dtype=np.float32) / n - c) / r) ** 2 for n, c, r in zip(shape, centre, radii, strict=True)]
    inside: npt.NDArray[np.bool_] = axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :] <= 1
    return inside


def ct(shape: Index = LARGE) -> Volume:
    """An abdomen of ellipsoids: body, liver and a lesion in it."""
    values = np.full(shape, AIR, np.float32)
    values[ellipsoid(shape, (0.5, 0.5, 0.5), (0.45, 0.34, 0.8))] = TISSUE
    values[liver(shape)] = LIVER
    values[lesion(shape)] = LESION
    rng = np.random.default_rng(7)
    for k in range(shape[2]):
        values[:, :, k] += rng.normal(0.0, NOISE_HU, shape[:2]).astype(np.float32)
    return Volume(np.clip(values, -1024, 3071).astype(np.int16), affine(), "CT")


def liver(shape: Index = LARGE) -> npt.NDArray[np.bool_]:
    """True in the organ: 2 million voxels at full size."""
    return ellipsoid(shape, (0.36, 0.45, 0.5), (0.17, 0.17, 0.21))


def lesion(shape: Index = LARGE) -> npt.NDArray[np.bool_]:
    """True in a lesion of 30 mm."""
    return ellipsoid(shape, (0.36, 0.45, 0.5), (0.04, 0.04, 0.05))


def write_large(folder: Path) -> tuple[Path, Path]:
    """Image and liver as .nii.gz; kept for the next run."""
    image, mask = folder / "large.nii.gz", folder / "large_liver.nii.gz"
    if not (image.is_file() and mask.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        write_volume(image, ct())
        write_volume(mask, Volume((liver() & ~_holes()).astype(np.uint8), affine()))
    return image, mask


def _holes() -> npt.NDArray[np.bool_]:
    """Vessels that run through, cavities and an island make the edits do something."""
    found = np.zeros(LARGE, bool)
    for x, y, z in ((0.30, 0.42, 0.45), (0.40, 0.50, 0.55), (0.36, 0.40, 0.60)):
        found |= ellipsoid(LARGE, (x, y, z), (0.012, 0.012, 0.02))
    return found


def write_many_labels(folder: Path) -> tuple[Path, Path]:
    """A DICOM series of 120 slices of 512 x 512 and a NIfTI of 20 labels on it."""
    from tests.gui.dicom_files import write_series

    study, labels = folder / "study", folder / "twenty.nii.gz"
    image = Volume(ct().array[:, :, 90:210], affine(), "CT")
    if not study.is_dir():
        write_series(study, image)
    if not labels.is_file():
        write_volume(labels, Volume(twenty_labels((512, 512, 120)), affine()))
    return study, labels


def twenty_labels(shape: Index) -> npt.NDArray[np.uint8]:
    """Twenty organs side by side."""
    found = np.zeros(shape, np.uint8)
    for number in range(20):
        across, down = divmod(number, 5)
        found[ellipsoid(shape, (0.2 + 0.2 * across, 0.22 + 0.14 * down, 0.5), (0.08, 0.06, 0.45))] = number + 1
    return found
