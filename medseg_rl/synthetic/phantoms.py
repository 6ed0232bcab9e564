"""Domain-randomised volumes with labels.

Nothing here imitates an organ: structures differ in shape, contrast and surroundings,
so that only clicks and mask can tell which of them is meant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.synthetic.shapes import (
    FloatMap,
    Mask,
    ellipsoid,
    extent_mm,
    random_direction,
    roughened,
    sheet,
    smooth_noise,
    triple,
    tube,
)
from medseg_rl.volume import Index, Spacing

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Phantom:
    """`image`: float32 (x, y, z), arbitrary units. `labels`: uint8, 0 = background. `spacing`: mm, in array order."""

    image: FloatMap
    labels: Labels
    spacing: Spacing

    def target(self, rng: np.random.Generator) -> Mask:
        """One label, or the union of some: what a user might mean."""
        present = np.unique(self.labels[self.labels > 0])
        chosen = rng.choice(present, size=int(rng.integers(1, len(present) + 1)), replace=False)
        return np.isin(self.labels, chosen)


def phantom(shape: Index, spacing: Spacing, rng: np.random.Generator, *, structures: int = 4) -> Phantom:
    """Some structures of random shape and contrast under bias field, blur, noise and gamma. At least one is visible."""
    labels = random_labels(shape, spacing, rng, structures=structures)
    return Phantom(random_image(labels, spacing, rng), labels, spacing)


def random_labels(shape: Index, spacing: Spacing, rng: np.random.Generator, *, structures: int = 4) -> Labels:
    """Label map uint8: up to `structures` of ellipsoid, tube, sheet or blob, warped; later ones cover earlier ones."""
    labels = np.zeros(shape, dtype=np.uint8)
    makers = (_random_ellipsoid, _random_tube, _random_sheet, _random_blob)
    for value in range(1, int(rng.integers(1, structures + 1)) + 1):
        labels[makers[int(rng.integers(len(makers)))](shape, spacing, rng)] = value
    if not labels.any():
        labels[ellipsoid(shape, spacing, extent_mm(shape, spacing) / 2, extent_mm(shape, spacing) / 4 + spacing)] = 1
    return labels


def random_image(labels: Labels, spacing: Spacing, rng: np.random.Generator, *, distractors: int = 2) -> FloatMap:
    """An image of the label map: intensity and texture per label, distractors with a label's contrast, then a scanner.

    The scanner: blur up to 1.5 mm, multiplicative bias field, noise, gamma, random scale and offset.
    """
    scene = labels.copy()
    for _ in range(int(rng.integers(distractors + 1)) if labels.any() else 0):
        lookalike = rng.choice(np.unique(labels[labels > 0]))
        scene[_random_ellipsoid(triple(labels.shape), spacing, rng) & (labels == 0)] = lookalike
    levels = rng.uniform(0, 1, int(scene.max()) + 1)
    levels[1:] += np.where(np.abs(levels[1:] - levels[0]) < 0.1, 0.2, 0.0)  # visible against the background
    texture = smooth_noise(triple(labels.shape), spacing, rng.uniform(2, 6), rng)
    image = levels[scene] + rng.uniform(0, 0.08, len(levels))[scene] * texture
    image = ndimage.gaussian_filter(image, [rng.uniform(0, 1.5) / s for s in spacing], mode="nearest")
    image *= np.exp(rng.uniform(0, 0.3) * smooth_noise(triple(labels.shape), spacing, 60.0, rng))
    image += rng.uniform(0, 0.06) * rng.standard_normal(image.shape)
    image = np.clip(image - image.min(), 1e-6, None) ** rng.uniform(0.7, 1.4)
    arbitrary: FloatMap = (rng.uniform(50, 2000) * image + rng.uniform(-500, 500)).astype(np.float32)
    return arbitrary


def _random_ellipsoid(shape: Index, spacing: Spacing, rng: np.random.Generator) -> Mask:
    extent = extent_mm(shape, spacing)
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    radii = rng.uniform(0.08, 0.3, 3) * max(float(extent.max()), 1.0)
    solid = ellipsoid(shape, spacing, rng.uniform(0.2, 0.8, 3) * extent, radii, axes)
    return roughened(solid, spacing, rng.uniform(0, 2), rng)


def _random_tube(shape: Index, spacing: Spacing, rng: np.random.Generator) -> Mask:
    extent = extent_mm(shape, spacing)
    knots = rng.uniform(0.05, 0.95, (int(rng.integers(2, 5)), 3)) * extent
    return tube(shape, spacing, knots, rng.uniform(0.03, 0.1) * max(float(extent.max()), 1.0))


def _random_sheet(shape: Index, spacing: Spacing, rng: np.random.Generator) -> Mask:
    extent = extent_mm(shape, spacing)
    flat = sheet(shape, spacing, rng.uniform(0.3, 0.7, 3) * extent, random_direction(rng), rng.uniform(2, 6))
    return roughened(flat, spacing, rng.uniform(0, 1), rng) & _random_ellipsoid(shape, spacing, rng)


def _random_blob(shape: Index, spacing: Spacing, rng: np.random.Generator) -> Mask:
    field = smooth_noise(shape, spacing, rng.uniform(8, 25), rng)
    inside: Mask = field > np.quantile(field, rng.uniform(0.8, 0.97))
    return inside
