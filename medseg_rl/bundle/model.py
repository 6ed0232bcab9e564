"""Loads a bundle: checks it against its manifest, and builds its networks when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg_rl.bundle.layout import (
    AGENT_WEIGHTS,
    AUTOMATIC_WEIGHTS,
    FORMAT_VERSION,
    METADATA,
    bundle_hash,
    checked_files,
    read_checked,
    read_json,
)
from medseg_rl.bundle.search import find_bundle
from medseg_rl.bundle.settings import AgentSettings, from_json
from medseg_rl.errors import BundleError
from medseg_rl.volume import Volume

if TYPE_CHECKING:
    from torch import nn

    from medseg_rl.agent.refine import VoxelAgentRefiner
    from medseg_rl.automatic.segmenter import AutomaticSegmenter

SPACING_SLACK = 1.25  # a spacing this factor outside the training range is still no reason to warn


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model folder whose files are as their manifest says. `metadata` is `configs/metadata.json`.

    `files`: SHA-256 by path inside the bundle. `hash` identifies the bundle as a whole.
    """

    folder: Path
    metadata: dict[str, Any]
    files: dict[str, str]

    @property
    def name(self) -> str:
        """Name on the card."""
        return str(self.metadata["name"])

    @property
    def version(self) -> str:
        """Version of the model."""
        return str(self.metadata["version"])

    @property
    def hash(self) -> str:
        """SHA-256 over the manifest's lines."""
        return bundle_hash(self.files)

    @property
    def has_agent(self) -> bool:
        """Whether it can refine."""
        return AGENT_WEIGHTS in self.files

    @property
    def has_automatic(self) -> bool:
        """Whether it can give an automatic start."""
        return AUTOMATIC_WEIGHTS in self.files

    @property
    def agent_settings(self) -> AgentSettings:
        """How the voxel agents are built and run. Raises `BundleError` where there are none."""
        if not self.has_agent:
            raise BundleError(f"the bundle {self.name} gives an automatic start but cannot refine; choose another")
        return from_json(AgentSettings, self._ours().get("agent"), f"agent of {self.name}")

    @property
    def steps(self) -> int:
        """Refinement steps a click."""
        return self.agent_settings.steps

    def refiner(self, device: str = "cpu", *, precision: str | None = None) -> VoxelAgentRefiner:
        """The voxel agents. `precision` "auto", "fp32" or "bf16" takes the place of the bundle's own."""
        from medseg_rl.agent.learner import fast_precision
        from medseg_rl.agent.networks import build_network
        from medseg_rl.agent.policy import build_policy
        from medseg_rl.agent.refine import VoxelAgentRefiner

        _check_device(device)
        settings = self.agent_settings
        wanted = precision or settings.precision
        if wanted == "auto":  # a GPU computes in float32, so that its masks are the CPU's
            wanted = fast_precision() if device == "cpu" else "fp32"
        try:
            policy = build_policy(settings.policy, settings.adjustments)
            network = build_network(
                settings.network, channels=settings.channels, actions=policy.outputs, commands=settings.commands
            )
        except ValueError as error:
            raise BundleError(f"the bundle {self.name} needs a newer version of medseg-rl: {error}") from None
        self._fill(network, AGENT_WEIGHTS)
        identity = {
            "bundle": self.name,
            "version": self.version,
            "bundle_hash": self.hash,
            "weights_hash": self.files[AGENT_WEIGHTS],
        }
        return VoxelAgentRefiner(
            network.to(device),
            policy,
            hints=settings.hints,
            name=self.name,
            precision="bf16" if wanted == "bf16" else "fp32",
            view_voxels=settings.view_voxels or None,
            identity=identity,
        )

    def automatic(self, device: str = "cpu") -> AutomaticSegmenter:
        """The network of the automatic start. Raises `BundleError` where there is none."""
        from medseg_rl.automatic.segmenter import AutomaticConfig, AutomaticSegmenter, build_network

        if not self.has_automatic:
            raise BundleError(f"the bundle {self.name} gives no automatic start; begin empty or from a mask file")
        _check_device(device)
        config = AutomaticConfig.from_dict(self._ours().get("automatic") or {})
        network = build_network(config)
        self._fill(network, AUTOMATIC_WEIGHTS)
        return AutomaticSegmenter(network, config, device=device)

    def warnings(self, volume: Volume) -> tuple[str, ...]:
        """What of the volume lies outside what the model was trained on: modality and spacing."""
        warnings = []
        modalities = self._ours().get("modalities") or []
        if modalities and volume.modality is not None and volume.modality not in modalities:
            warnings.append(f"this image is {volume.modality}, but {self.name} was trained on {', '.join(modalities)}")
        low, high = self._ours().get("spacing_range_mm") or (0.0, None)
        finest, coarsest = min(volume.spacing), max(volume.spacing)
        if finest * SPACING_SLACK < low or (high is not None and coarsest > high * SPACING_SLACK):
            warnings.append(
                f"voxels here are {finest:.2f} to {coarsest:.2f} mm wide, but {self.name} was trained on "
                + (f"{low:.2f} to {high:.2f} mm" if high is not None else f"{low:.2f} mm and more")
            )
        return tuple(warnings)

    def _ours(self) -> dict[str, Any]:
        return dict(self.metadata["medseg_rl"])

    def _fill(self, network: nn.Module, weights: str) -> None:
        """Copies the weights into `network`: every parameter, no other, shapes alike, all finite."""
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            stored = load(read_checked(self.folder, weights, self.files[weights]))
        except SafetensorError as error:
            raise BundleError(
                f"{self.folder / weights} is no safetensors file ({error}); copy the bundle again"
            ) from None
        wanted = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        differing = set(stored) ^ set(wanted) or {n for n in wanted if stored[n].shape != wanted[n].shape}
        if differing:
            raise BundleError(f"{self.folder / weights} does not fit its network at {min(differing)}; update medseg-rl")
        with torch.no_grad():
            for name, values in stored.items():
                if not bool(torch.isfinite(values).all()):
                    raise BundleError(f"{self.folder / weights} holds {name} with infinite values; train it again")
                wanted[name].copy_(values)


def load_bundle(name: str | Path | None = None, *, automatic: bool = False) -> Bundle:
    """The bundle of that name or path, or the default (`find_bundle`), its files checked; no network is built yet.

    Raises `BundleError`: not found, incomplete, corrupted, or written by a newer version of this program.
    """
    folder = find_bundle(name, automatic=automatic)
    metadata = read_json(folder / METADATA)
    ours = metadata.get("medseg_rl")
    if not isinstance(ours, dict) or not isinstance(ours.get("format_version"), int):
        raise BundleError(f"{folder / METADATA} has no 'medseg_rl' part, so another program made it; choose another")
    if ours["format_version"] > FORMAT_VERSION:
        raise BundleError(
            f"{folder.name} is a bundle of format {ours['format_version']}, this version reads up to {FORMAT_VERSION}; "
            "update medseg-rl"
        )
    if not isinstance(metadata.get("name"), str) or not isinstance(metadata.get("version"), str):
        raise BundleError(f"{folder / METADATA} gives no name and version; copy the bundle again")
    return Bundle(folder, metadata, checked_files(folder))


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: a build without CUDA
        raise BundleError(f'there is no device "{device}" here ({str(error).splitlines()[0]}); use "cpu"') from None
