"""The small network that gives the automatic start, and its answer for a whole volume.

Knows nothing of training (`learning`) nor of folds (`starts`). The network is MONAI's DynUNet, a plain U-Net with
instance normalisation; volumes wider than the patch are covered by MONAI's sliding window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from medseg_rl.automatic.grid import WorkingGrid
from medseg_rl.errors import BundleError, Cancelled
from medseg_rl.preprocessing import normalise_intensity
from medseg_rl.refiner import HIGHEST, LOWEST, Percent, never_cancelled
from medseg_rl.volume import Index, Spacing, Volume

Precision = Literal["auto", "float32", "bfloat16"]

_OVERLAP = 0.25  # of neighbouring windows
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class AutomaticConfig:
    """What makes one network. `spacing` in mm and `patch` in voxels, both along right, anterior, superior.

    `features`: width of each level, the resolution halved from one to the next; each side of `patch` must be a multiple
    of 2 ** (levels - 1). `mirror` lists the axes (0 right-left, 1 front-back, 2 up-down) along which a mirrored image
    is as good as the original.
    """

    spacing: Spacing = (1.0, 1.0, 1.0)
    patch: Index = (40, 56, 40)
    features: tuple[int, ...] = (
        16,
        32,
        64,
        96,
    )  # a fifth level is two voxels wide: bfloat16 gradients went wrong there
    mirror: tuple[int, ...] = (0,)
    updates: int = 600
    batch: int = 2
    learning_rate: float = 3e-3
    average_decay: float = 0.99
    seed: int = 1
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if len(self.features) < 3:
            raise ValueError(f"the automatic network has {len(self.features)} levels; it needs three or more")
        shrink = 2 ** (len(self.features) - 1)
        if any(size % shrink or size <= 0 for size in self.patch):
            raise ValueError(f"the automatic network's patch is {self.patch}; each side must be a multiple of {shrink}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AutomaticConfig:
        """From `as_dict`, lists taken as tuples. Raises `BundleError` at an unknown field."""
        try:
            settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**settings)
        except (TypeError, ValueError) as error:
            raise BundleError(f"the automatic network's settings are of another version: {error}") from None


class AutomaticSegmenter:
    """Image in, probability in hundredths out. `weights_hash` identifies the network in manifests."""

    def __init__(self, network: nn.Module, config: AutomaticConfig, *, device: str = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)
        self.network = network.to(self.device, memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
        self.weights_hash = hash_weights(network)

    def predict(self, volume: Volume, *, cancel: Callable[[], bool] = never_cancelled) -> Percent:
        """Percent 1..99 of every voxel of `volume`, whatever the order of its axes. Raises `Cancelled`."""
        grid = WorkingGrid.of(volume, self.config.spacing)
        image = torch.from_numpy(normalise_intensity(grid.to_working(volume.array), volume.modality))
        probability = self._probability(image, cancel)
        return to_percent(grid.from_working(probability.numpy()))

    @torch.inference_mode()
    def _probability(self, image: Tensor, cancel: Callable[[], bool]) -> Tensor:
        from monai.inferers.utils import sliding_window_inference

        def window(batch: Tensor) -> Tensor:
            if cancel():
                raise Cancelled("the automatic start was stopped; nothing was changed")
            with autocast(self.config.precision, self.device):
                return torch.sigmoid(self.network(batch.contiguous(memory_format=torch.channels_last_3d)).float())

        padded, corner = centred(image, self.config.patch)
        answer = sliding_window_inference(
            padded[None, None].to(self.device), self.config.patch, 1, window, overlap=_OVERLAP, mode="gaussian"
        )
        inside = tuple(slice(c, c + size) for c, size in zip(corner, image.shape, strict=True))
        assert isinstance(answer, Tensor)
        return answer[0, 0][inside].float().cpu()


def build_network(config: AutomaticConfig) -> nn.Module:
    """The network with weights drawn from `config.seed`; the caller's random state is left as it was."""
    from monai.networks.nets.dynunet import DynUNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return DynUNet(**network_arguments(config))


def network_arguments(config: AutomaticConfig) -> dict[str, Any]:
    """Keyword arguments of `monai.networks.nets.DynUNet`, ready for JSON."""
    levels = len(config.features)
    return {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "kernel_size": [3] * levels,
        "strides": [1] + [2] * (levels - 1),
        "upsample_kernel_size": [2] * (levels - 1),
        "filters": list(config.features),
        "norm_name": ["instance", {"affine": True}],
    }


def hash_weights(network: nn.Module) -> str:
    """SHA-256 over name, shape and float32 bytes of every parameter, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.named_parameters()):
        values = tensor.detach().cpu().contiguous().float()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def to_percent(probability: np.ndarray[Any, np.dtype[np.float32]]) -> Percent:
    """Probability 0..1 to hundredths 1..99."""
    percent: Percent = np.clip(np.rint(probability * 100), LOWEST, HIGHEST).astype(np.uint8)
    return percent


def centred(image: Tensor, patch: Index) -> tuple[Tensor, Index]:
    """Pads the sides of (x, y, z) that are shorter than the patch, the image in the middle; and where it begins."""
    missing = [max(0, side - size) for side, size in zip(patch, image.shape, strict=True)]
    before = [m // 2 for m in missing]
    padding = [p for b, m in zip(reversed(before), reversed(missing), strict=True) for p in (b, m - b)]
    return nn.functional.pad(image, padding), (before[0], before[1], before[2])


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """bfloat16 where asked for, or where "auto" finds a processor that computes in it; else float32."""
    fast = precision == "bfloat16" or (precision == "auto" and (device.type == "cuda" or _processor_has_bfloat16()))
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def _processor_has_bfloat16() -> bool:
    try:
        flags = _CPU_INFO.read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
