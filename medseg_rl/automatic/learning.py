"""Trains the automatic network on cases in minutes on a CPU. Every update draws from its own seed, so a run that was
stopped goes on from its checkpoint as if it had not been.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg_rl.automatic.grid import WorkingGrid
from medseg_rl.automatic.segmenter import AutomaticConfig, AutomaticSegmenter, autocast, build_network, centred
from medseg_rl.dataset import WHOLE, Case, Target
from medseg_rl.errors import BundleError, InputFileError
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.preprocessing import normalise_intensity
from medseg_rl.volume import AxisOrder, Index, Spacing

Progress = Callable[[str, int, int], None]  # stage, done, of how many

_ROTATION_DEGREES, _SCALE, _SHIFT_VOXELS = 12.0, 0.15, 3.0
_GRADIENT_NORM = 5.0
_WARM_UP = 0.05  # share of the updates


def no_progress(stage: str, done: int, total: int) -> None:
    """The default of `progress`."""


@dataclass(frozen=True)
class Sample:
    """A case on the working grid, padded to the patch: image and reference (x, y, z), float32."""

    image: Tensor
    reference: Tensor


def prepare_samples(cases: Sequence[Case], config: AutomaticConfig, target: Target = WHOLE) -> list[Sample]:
    """Loads cases onto the working grid."""
    samples = []
    for case in cases:
        volume, inside = case.load(target)
        grid = WorkingGrid.of(volume, config.spacing)
        image = torch.from_numpy(normalise_intensity(grid.to_working(volume.array), volume.modality))
        reference = torch.from_numpy(grid.to_working(inside)).ge(0.5).float()
        samples.append(Sample(centred(image, config.patch)[0], centred(reference, config.patch)[0]))
    return samples


def working_spacing(cases: Sequence[Case]) -> Spacing:
    """Median spacing in mm along right, anterior, superior: the `spacing` that suits a set."""
    volumes = [case.load()[0] for case in cases]
    a, b, c = np.median([AxisOrder.of(volume.affine).apply_spacing(volume.spacing) for volume in volumes], axis=0)
    return float(a), float(b), float(c)


def train_automatic(
    samples: Sequence[Sample],
    config: AutomaticConfig,
    *,
    checkpoint: Path | None = None,
    checkpoint_every: int = 100,
    progress: Progress = no_progress,
    stage: str = "automatic network",
    initial: nn.Module | None = None,
) -> AutomaticSegmenter:
    """The network after `config.updates` updates on `samples`, its weights averaged over the last ones. `initial`: a
    network to begin with, instead of drawn weights.

    With `checkpoint`, the state is written there every so many updates, and read from there when it belongs to the
    same configuration and samples.
    """
    if not samples:
        raise InputFileError("the automatic network has no case to learn from; check the training split")
    learner = _Learner(config, fingerprint(samples, config))
    if initial is not None:
        learner.begin_with(initial)
    if checkpoint is not None and checkpoint.is_file():
        learner.restore(checkpoint)
    while learner.done < config.updates:
        learner.update(*draw_batch(samples, config, learner.done))
        progress(stage, learner.done, config.updates)
        if checkpoint is not None and (learner.done % checkpoint_every == 0 or learner.done == config.updates):
            learner.save(checkpoint)
    return AutomaticSegmenter(learner.averaged, config)


def fingerprint(samples: Sequence[Sample], config: AutomaticConfig) -> str:
    """SHA-256 of configuration and samples: what a checkpoint must have been made from."""
    digest = hashlib.sha256(json.dumps(config.as_dict(), sort_keys=True).encode())
    for sample in samples:
        digest.update(f"{tuple(sample.image.shape)}".encode())
        digest.update(sample.image.numpy().tobytes())
        digest.update(sample.reference.numpy().tobytes())
    return digest.hexdigest()


def draw_batch(samples: Sequence[Sample], config: AutomaticConfig, update: int) -> tuple[Tensor, Tensor]:
    """Images and references (batch, 1, x, y, z) of one update, augmented; a function of seed and update alone."""
    rng = torch.Generator().manual_seed(config.seed * 1_000_003 + update)
    chosen = torch.randint(len(samples), (config.batch,), generator=rng)
    pairs = [_cropped(samples[int(i)], config.patch, rng) for i in chosen]
    images = torch.stack([image for image, _ in pairs])[:, None]
    references = torch.stack([reference for _, reference in pairs])[:, None]
    images, references = _moved(images, references, config, rng)
    return _recoloured(images, rng), references


def dice_and_cross_entropy(logits: Tensor, reference: Tensor) -> Tensor:
    """1 - soft Dice of the batch's volumes plus binary cross-entropy, means over the batch."""
    probability = torch.sigmoid(logits)
    axes = (1, 2, 3, 4)
    overlap = 2 * (probability * reference).sum(axes) + 1
    dice = overlap / (probability.sum(axes) + reference.sum(axes) + 1)
    return (1 - dice).mean() + functional.binary_cross_entropy_with_logits(logits, reference)


class _Learner:
    """Network, its running average, optimiser and how many updates are done."""

    def __init__(self, config: AutomaticConfig, made_from: str) -> None:
        self.config, self.made_from, self.done = config, made_from, 0
        self.network = build_network(config).to(memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
        self.averaged = build_network(config)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate, weight_decay=1e-4)

    def begin_with(self, network: nn.Module) -> None:
        self.network.load_state_dict(network.state_dict())
        self.averaged.load_state_dict(network.state_dict())

    def update(self, images: Tensor, references: Tensor) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * _rate(self.done / self.config.updates)
        with autocast(self.config.precision, images.device):
            logits = self.network(images.contiguous(memory_format=torch.channels_last_3d))
        loss = dice_and_cross_entropy(logits.float(), references)
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), _GRADIENT_NORM)
        if torch.isfinite(norm):  # bfloat16 kernels have given NaN where a level is two voxels wide
            self.optimiser.step()
        self.done += 1
        decay = min(self.config.average_decay, self.done / (self.done + 10))
        with torch.no_grad():
            for mean, new in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(new, 1 - decay)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "made_from": self.made_from,
            "done": self.done,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)  # tensors alone, no code
        except Exception as error:  # what a damaged file raises differs from byte to byte
            raise BundleError(f"{path} cannot be read ({type(error).__name__}); delete it to train anew") from error
        if state["made_from"] != self.made_from:
            return  # of another configuration or other cases: begin anew
        self.done = int(state["done"])
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])


def _rate(share_done: float) -> float:
    if share_done < _WARM_UP:
        return (share_done + 0.01) / (_WARM_UP + 0.01)
    return 0.5 * (1 + math.cos(math.pi * (share_done - _WARM_UP) / (1 - _WARM_UP))) + 0.01


def _cropped(sample: Sample, patch: Index, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    shape = sample.image.shape
    if tuple(shape) == tuple(patch):
        return sample.image, sample.reference
    room = torch.tensor([size - side for size, side in zip(shape, patch, strict=True)])
    corner = (torch.rand(3, generator=rng) * (room + 1)).long()
    inside = sample.reference.nonzero()
    if len(inside) and float(torch.rand(1, generator=rng)) < 0.67:
        centre = inside[int(torch.randint(len(inside), (1,), generator=rng))]
        corner = torch.minimum((centre - torch.tensor(patch) // 2).clamp(min=0), room)
    cut = tuple(slice(int(c), int(c) + side) for c, side in zip(corner, patch, strict=True))
    return sample.image[cut], sample.reference[cut]


def _moved(images: Tensor, references: Tensor, config: AutomaticConfig, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    for axis in config.mirror:
        for i in torch.nonzero(torch.rand(len(images), generator=rng) < 0.5).flatten():
            images[i], references[i] = images[i].flip(axis + 1), references[i].flip(axis + 1)
    size = torch.tensor(config.patch, dtype=torch.float32) * torch.tensor(config.spacing)
    matrices = torch.stack([_placement(size, config, rng) for _ in range(len(images))])
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    inside = functional.grid_sample(references, grid, align_corners=False)
    return moved, (inside > 0.5).float()


def _placement(size: Tensor, config: AutomaticConfig, rng: torch.Generator) -> Tensor:
    """Rotation, scale and shift (3, 4) in grid_sample's coordinates (-1..1 along z, y, x)."""
    angles = (torch.rand(3, generator=rng) * 2 - 1) * math.radians(_ROTATION_DEGREES)
    rotation = torch.eye(3)
    for axis in range(3):
        c, s = torch.cos(angles[axis]), torch.sin(angles[axis])
        i, j = [a for a in range(3) if a != axis]
        turn = torch.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        rotation = rotation @ turn
    scale = 1 + (torch.rand(3, generator=rng) * 2 - 1) * _SCALE
    millimetres = rotation * scale
    half = size.flip(0) / 2
    linear = millimetres * half[None, :] / half[:, None]
    shift = (torch.rand(3, generator=rng) * 2 - 1) * _SHIFT_VOXELS * 2 / torch.tensor(config.patch).flip(0)
    return torch.cat([linear, shift[:, None]], 1)


def _recoloured(images: Tensor, rng: torch.Generator) -> Tensor:
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(count, generator=rng))[:, None, None, None, None]

    field = torch.randn((count, 1, 3, 3, 3), generator=rng) * 0.2
    bias = functional.interpolate(field, images.shape[2:], mode="trilinear", align_corners=True)
    gamma = torch.exp(uniform(-0.3, 0.3))
    low, high = images.amin((2, 3, 4), keepdim=True), images.amax((2, 3, 4), keepdim=True)
    curved = ((images - low) / (high - low + 1e-6)).pow(gamma) * (high - low) + low
    noise = torch.randn(images.shape, generator=rng) * uniform(0.0, 0.15)
    return curved * uniform(0.85, 1.15) * torch.exp(bias) + uniform(-0.15, 0.15) + noise
