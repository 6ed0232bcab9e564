"""Turns a label map into the image a scanner might give: CT-like, MR-like or PET-like, normalised as a whole volume is.

Contrast of the target is set against the tissue next to it, in units of the noise, so that the task is anything from
plain to hardly visible. Everything else is drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.preprocessing import normalise_intensity
from medseg_rl.synthetic.anatomy import Canvas, Tissue
from medseg_rl.synthetic.fields import FloatMap
from medseg_rl.synthetic.shapes import smooth_noise, triple
from medseg_rl.synthetic.structures import Space
from medseg_rl.volume import Spacing

Levels = npt.NDArray[np.float64]

CT_LEVELS: dict[Tissue, tuple[float, float]] = {
    Tissue.AIR: (-1000.0, -990.0),
    Tissue.LUNG: (-900.0, -600.0),
    Tissue.FAT: (-125.0, -60.0),
    Tissue.FLUID: (-5.0, 35.0),
    Tissue.SOFT: (25.0, 130.0),
    Tissue.BLOOD: (40.0, 380.0),
    Tissue.BONE: (250.0, 1300.0),
    Tissue.MARROW: (0.0, 250.0),
}
PET_LEVELS: dict[Tissue, tuple[float, float]] = {
    Tissue.AIR: (0.0, 0.05),
    Tissue.LUNG: (0.2, 0.6),
    Tissue.FAT: (0.2, 0.5),
    Tissue.FLUID: (0.2, 1.5),
    Tissue.SOFT: (0.5, 2.5),
    Tissue.BLOOD: (1.0, 2.5),
    Tissue.BONE: (0.3, 1.0),
    Tissue.MARROW: (0.8, 2.0),
}


@dataclass(frozen=True, eq=False)
class Look:
    """Brightness and texture of each label, and the deviation of the noise, in the scanner's units."""

    levels: Levels
    textures: Levels
    noise: float


def draw_look(modality: str, canvas: Canvas, target: int, host: int, contrast: float, rng: np.random.Generator) -> Look:
    """Levels of all labels; that of `target` follows from that of `host`, the tissue around it: `contrast` times the
    noise away from it, or in PET mostly `contrast` times as high.
    """
    if modality == "PET":
        return _emitted(canvas, target, host, contrast, rng)
    if modality == "CT":
        levels, noise = _drawn(CT_LEVELS, canvas, rng), float(np.exp(rng.uniform(np.log(5.0), np.log(35.0))))
    else:
        levels, noise = _magnetic(canvas, rng), float(np.exp(rng.uniform(np.log(0.01), np.log(0.09))))
    levels[target] = _contrasted(modality, float(levels[host]), contrast * noise, rng)
    _copy_alike(levels, canvas)
    return Look(levels, noise * rng.uniform(0, 1.3, len(levels)) * (rng.random(len(levels)) < 0.7), noise)


def _emitted(canvas: Canvas, target: int, host: int, contrast: float, rng: np.random.Generator) -> Look:
    """PET: little difference between most tissues, now and then a hot one, uneven uptake in what is hot."""
    levels = _drawn(PET_LEVELS, canvas, rng)
    levels = levels ** rng.uniform(0.2, 1.0)
    levels[[t is Tissue.AIR for t in canvas.tissues]] = 0.02
    levels[rng.random(len(levels)) < 0.05] *= rng.uniform(2, 6)
    around = max(float(levels[host]), 0.2)
    levels[target] = around * contrast if rng.random() < 0.93 else around / contrast
    _copy_alike(levels, canvas)
    noise = float(rng.uniform(0.02, 0.2)) * max(1.0, 0.3 * float(levels[target]))
    return Look(levels, levels * rng.uniform(0, 0.35, len(levels)), noise)


def _copy_alike(levels: Levels, canvas: Canvas) -> None:
    for label, (model, likeness) in canvas.alike.items():
        levels[label] = likeness * levels[model] + (1 - likeness) * levels[label]


def _drawn(table: dict[Tissue, tuple[float, float]], canvas: Canvas, rng: np.random.Generator) -> Levels:
    return np.array([rng.uniform(*table[tissue]) for tissue in canvas.tissues])


def _magnetic(canvas: Canvas, rng: np.random.Generator) -> Levels:
    """A brightness for each tissue of this sequence, and some spread between labels of the same tissue."""
    base = {tissue: float(rng.uniform(0.08, 1.0)) for tissue in Tissue}
    base[Tissue.AIR] = float(rng.uniform(0.0, 0.04))
    base[Tissue.LUNG] = float(rng.uniform(0.02, 0.15))
    if rng.random() < 0.7:
        base[Tissue.BONE] = float(rng.uniform(0.02, 0.2))
    spread = rng.uniform(0.02, 0.25)
    drawn = [base[t] + (0 if t is Tissue.AIR else rng.normal(0, spread)) for t in canvas.tissues]
    levels: Levels = np.clip(np.array(drawn), 0.0, 1.2)
    return levels


def _contrasted(modality: str, host: float, contrast: float, rng: np.random.Generator) -> float:
    up = rng.random() < 0.5
    if modality == "CT":
        return host + contrast if up else max(-1000.0, host - contrast)
    most = 1.3
    if not 0.0 <= (host + contrast if up else host - contrast) <= most:
        up = not up
    return float(np.clip(host + contrast if up else host - contrast, 0.0, most))


def latent_image(canvas: Canvas, look: Look, space: Space, rng: np.random.Generator) -> FloatMap:
    """Levels and two scales of texture on the fine grid, before any scanner."""
    image = look.levels.astype(np.float32)[canvas.labels]
    fine = space.noise(rng.uniform(1.0, 3.0) * min(space.spacing), rng)
    coarse = space.noise(rng.uniform(4.0, 10.0) * min(space.spacing), rng)
    share = rng.random()
    texture: FloatMap = np.float32(share) * fine + np.float32(1 - share) * coarse
    image += look.textures.astype(np.float32)[canvas.labels] * texture
    return image


def sliced(fine: FloatMap, axis: int, factor: int) -> FloatMap:
    """Mean over each `factor` voxels along `axis`, whose length is a multiple: a thick slice."""
    if factor == 1:
        return fine
    shape = list(fine.shape)
    shape[axis : axis + 1] = [shape[axis] // factor, factor]
    thick: FloatMap = fine.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    return thick


def scanned(
    modality: str, latent: FloatMap, look: Look, space: Space, axis: int, factor: int, rng: np.random.Generator
) -> FloatMap:
    """Point spread, thick slices, shading, artefacts, noise, reconstruction; values in the scanner's units."""
    low, high = (0.6, 1.2) if modality == "PET" else (0.3, 0.65) if rng.random() < 0.75 else (0.65, 1.2)
    widths = [rng.uniform(low, high)] * 3
    widths[axis] *= rng.uniform(0.6, 1.2)
    image = sliced(ndimage.gaussian_filter(latent, widths, mode="nearest", truncate=2.5), axis, factor)
    shape = triple(image.shape)
    spacing = _thick(space.spacing, axis, factor)
    if modality == "CT":
        if rng.random() < 0.05:
            image += _streaks(space, axis, factor, look.noise * rng.uniform(0.5, 3), rng)
    else:
        shading = rng.uniform(0, 0.22) if modality == "MR" else rng.uniform(0, 0.1)
        length = float(np.max(space.extent)) * rng.uniform(0.5, 2.0)
        image *= np.exp(np.float32(shading) * smooth_noise(shape, spacing, length, rng))
    if modality == "MR" and rng.random() < 0.08:
        moved = np.roll(image, int(rng.integers(4, max(5, shape[0] // 2))), int(rng.integers(3)))
        image += np.float32(rng.uniform(0.02, 0.1)) * moved
    return _noisy(modality, image, look, axis, rng)


def _thick(spacing: Spacing, axis: int, factor: int) -> Spacing:
    a, b, c = (s * factor if n == axis else s for n, s in enumerate(spacing))
    return a, b, c


def _noisy(modality: str, image: FloatMap, look: Look, axis: int, rng: np.random.Generator) -> FloatMap:
    """White or correlated noise: Gaussian (CT), of a magnitude (MR), growing with the signal (PET)."""
    noise = _grain(image.shape, axis, 0.8 if modality == "PET" else 0.0, rng) * np.float32(look.noise)
    if modality == "PET":
        noise *= np.sqrt(np.maximum(image, 0.05))  # counts
        return np.maximum(image + noise, 0)
    if modality == "CT":
        return image + noise
    other = rng.standard_normal(image.shape, np.float32) * np.float32(look.noise)
    magnitude: FloatMap = np.sqrt(np.square(np.maximum(image, 0) + noise) + np.square(other))
    return magnitude


def _grain(shape: tuple[int, ...], axis: int, least: float, rng: np.random.Generator) -> FloatMap:
    """Noise of unit deviation, mostly a little correlated within the slice."""
    noise = rng.standard_normal(shape, np.float32)
    width = least + max(0.0, float(rng.uniform(-0.5, 0.9)))
    if width > 0.2:
        widths = [width] * 3
        widths[axis] *= 0.8 if least else 0.0  # PET is reconstructed as a volume, the others slice by slice
        noise = ndimage.gaussian_filter(noise, widths, mode="wrap", truncate=2.0)
        noise /= np.float32(max(float(noise.std()), 1e-6))
    return noise


def _streaks(space: Space, axis: int, factor: int, strength: float, rng: np.random.Generator) -> FloatMap:
    """Bright and dark rays in the slice from one point, as metal leaves them."""
    first, second = (a for a in range(3) if a != axis)
    centre = rng.uniform(0, 1, 3) * space.extent
    u, v = space.positions[first] - centre[first], space.positions[second] - centre[second]
    angle, radius = np.arctan2(u, v), np.hypot(u, v)
    rays = sum(np.cos(int(rng.integers(1, 20)) * angle + rng.uniform(0, 6.3)) for _ in range(4))
    rays = rays * np.abs(np.cos(angle + rng.uniform(0, 6.3)))  # stronger to two sides
    field = np.float32(strength) * rays / (1 + radius / np.float32(0.4 * np.max(space.extent)))
    return sliced(field.astype(np.float32), axis, factor)


def as_stored(modality: str, image: FloatMap, look: Look, rng: np.random.Generator) -> FloatMap:
    """What a file would hold, normalised with the statistics of a whole volume of which this is a part.

    MR and PET: at times clipped, a power of itself, inverted, rounded to 8 bits.
    """
    if modality == "CT":
        return normalise_intensity(image, "CT")
    rest = _rest_of_volume(image.size, look, rng)
    values = np.concatenate([image.ravel(), rest])
    high = float(np.percentile(image[::2, ::2, ::2], rng.uniform(97, 99.9))) if rng.random() < 0.15 else np.inf
    values = np.clip(values, 0, max(high, 1e-3))
    top = max(float(values.max()), 1e-6)
    if modality == "MR" and rng.random() < 0.6:
        values = top * (values / top) ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    if modality == "MR" and rng.random() < 0.06:
        values = top - values
    if rng.random() < 0.12:
        values = np.rint(values * (255 / top)).astype(np.float32)
    normalised = normalise_intensity(values.astype(np.float32))[: image.size].reshape(image.shape)
    return np.ascontiguousarray(normalised)


def _rest_of_volume(size: int, look: Look, rng: np.random.Generator) -> FloatMap:
    """Values seen elsewhere in the volume: air, and the same tissues in other shares."""
    count = int(size * rng.uniform(0, 1.0))
    shares = rng.dirichlet(np.full(len(look.levels), 0.7))
    levels = rng.choice(look.levels, size=count, p=shares).astype(np.float32)
    levels[rng.random(count) < rng.uniform(0, 0.7)] = 0.0
    values: FloatMap = np.abs(levels + np.float32(look.noise) * rng.standard_normal(count, np.float32))
    return values
