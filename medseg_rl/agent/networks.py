"""Fully convolutional actor-critics: one observation a voxel in, one policy and one value a voxel out.

No normalisation layer anywhere: statistics over the region would make a voxel's result depend on far voxels and on the
size of the region. `iso`, `aniso` and `small` follow the published kind (parallel dilated blocks of DeepIGeoS' R-Net);
`two_scale` is the product's net, shaped for a CPU.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg_rl.environment.click_relations import CLICK_RELATIONS
from medseg_rl.environment.likeness import LIKENESS
from medseg_rl.refiner import LOWEST

SLOPE = 0.01  # of LeakyReLU
PUBLISHED_CHANNELS = ("image", "probability", "foreground_hints", "background_hints")
BINARY_CHANNELS = ("image", "mask", "foreground_hints", "background_hints")  # of comparators that forget doubt
PRODUCT_CHANNELS = ("image", *CLICK_RELATIONS, "probability")
GENERAL_CHANNELS = ("image", *CLICK_RELATIONS, *LIKENESS, "probability")  # of agents that know no anatomy
ADJUSTMENTS = 6
LARGEST_RETURN = -math.log(LOWEST / 100)  # returns telescope into cross-entropies of states, none above 4.6 nats
MASK_ODDS, START_ODDS = 2.5, 0.75  # log-odds for 5 mm inside the mask, share of the start's own
PLANE, CUBE = (3, 3, 1), (3, 3, 3)


class Heads(NamedTuple):
    """What a network says of every voxel. `logits` (batch, actions, x, y, z); the others (batch, x, y, z).

    `value`: return expected from this step on (V). `future_value`: the part after this step (F). `belief`: log-odds of
    the voxel being object, from networks that say it. `hearing`: 0..1, how far the new clicks concern the voxel.
    """

    logits: Tensor
    value: Tensor
    future_value: Tensor
    belief: Tensor | None = None
    hearing: Tensor | None = None


class ActorCritic(nn.Module):
    """Features of a trunk, read by a policy head and a value head (20 -> 32 -> actions; 20 -> 32 -> V, F).

    `channels` names the observation's channels in order. `commands` > 0 adds an embedding of that many commands to the
    features; command 0 (none) is and stays the zero vector.

    With `belief` the trunk looks once an interaction, without the live probability, which only policy and value are
    given, and a third head says, in the frame of the click, by how much the log-odds are off that the start and the
    mask of before suggest. That belief does not hear the live probability: it is what it has said before. `locality`
    > 0, a buffer, lets a click speak for its surroundings only: beyond (1 - 1 / locality) * 12 mm the belief fades to
    the live probability, except where there is no mask yet or no click. Zero as built: everywhere.
    """

    locality: Tensor
    planar = False  # whether it treats the last axis as the thin one

    def __init__(
        self,
        trunk: nn.Module,
        *,
        width: int,
        channels: Sequence[str],
        actions: int = ADJUSTMENTS,
        commands: int = 0,
        dropout: float = 0.0,
        belief: bool = False,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.belief = belief
        self.trunk = trunk
        self.command = nn.Embedding(commands, width, padding_idx=0) if commands else None
        self.register_buffer("locality", torch.zeros(()))
        self.policy_head = _head(width + belief, actions, dropout)
        self.belief_head = _head(width, 1, dropout) if belief else None
        self.value_head = _head(width + belief, 2, 0.0)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE, nonlinearity="leaky_relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, ResidualBlocks):  # without a norm layer, sums of branches would grow with the depth
                for weight in module.parameters():
                    weight.data /= len(module.blocks)
        for head in filter(None, (self.policy_head, self.belief_head, self.value_head)):
            last = head[-1]
            assert isinstance(last, nn.Conv3d)
            nn.init.normal_(last.weight, std=0.01)  # starts undecided, so exploration is wide

    def forward(self, observation: Tensor, command: Tensor | None = None) -> Heads:
        """Observation (batch, channels, x, y, z) and command index (batch,) to heads."""
        return self.heads(self.features(observation, command), observation)

    def features(self, observation: Tensor, command: Tensor | None = None) -> Tensor:
        """(batch, width, x, y, z). With `belief` it is the same for all steps of an interaction."""
        features: Tensor = self.trunk(observation[:, :-1] if self.belief else observation)
        if self.command is not None and command is not None:
            features = features + self.command(command)[:, :, None, None, None].to(features.dtype)
        return features

    def heads(self, features: Tensor, observation: Tensor) -> Heads:
        """What the network says, from its features and the live probability, the last channel of the observation."""
        found = features
        if self.belief:
            features = torch.cat([features, observation[:, -1:].to(features.dtype)], 1)
        logits = self.policy_head(features).float()
        values = LARGEST_RETURN * torch.tanh(self.value_head(features).float() / LARGEST_RETURN)
        if self.belief_head is None:
            return Heads(logits, values[:, 0], values[:, 1])
        hearing = self._hearing(observation)
        seen = {name: observation[:, self.channels.index(name)].float() for name in self.channels}
        prior = MASK_ODDS * seen["boundary"] + START_ODDS * seen["start"]
        belief = seen["click_sign"] * (prior + self.belief_head(found)[:, 0].float())
        live = torch.logit(seen["probability"], eps=LOWEST / 100)
        return Heads(logits, values[:, 0], values[:, 1], torch.lerp(live, belief, hearing), hearing)

    def _hearing(self, observation: Tensor) -> Tensor:
        """How far each voxel (batch, x, y, z) listens to the network, 0..1."""
        seen = {name: observation[:, self.channels.index(name)].float() for name in self.channels}
        if self.locality == 0:
            return torch.ones_like(seen["image"])
        local = (self.locality * seen["click_nearness"]).clamp(max=1.0)
        everywhere = no_mask(observation, self.channels) | (seen["click_nearness"].flatten(1).amax(1) == 0)
        return torch.where(everywhere[:, None, None, None], torch.ones_like(local), local)


def no_mask(observation: Tensor, channels: Sequence[str]) -> Tensor:
    """Whether there was no mask before the interaction, (batch,) bool: as far as the observation shows."""
    sign, boundary = (observation[:, channels.index(name)] for name in ("click_sign", "boundary"))
    return (sign * boundary).flatten(1).amax(1) <= 0


class DilatedTrunk(nn.Module):
    """Resolution-keeping blocks of dilated convolutions, each reduced to 4 channels and concatenated to 20.

    `kernels` holds for each block the kernel sizes of its convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: int,
        dilations: Sequence[int],
        kernels: Sequence[Sequence[tuple[int, int, int]]],
    ) -> None:
        super().__init__()
        blocks, reductions, before = [], [], in_channels
        for dilation, block_kernels in zip(dilations, kernels, strict=True):
            layers: list[nn.Module] = []
            for kernel in block_kernels:
                layers += [_conv(before, width, kernel, dilation), nn.LeakyReLU(SLOPE, inplace=True)]
                before = width
            blocks.append(nn.Sequential(*layers))
            reductions.append(nn.Conv3d(width, 4, 1))
        self.blocks, self.reductions = nn.ModuleList(blocks), nn.ModuleList(reductions)

    def forward(self, observation: Tensor) -> Tensor:
        """(batch, channels, x, y, z) to features (batch, 20, x, y, z)."""
        features, joined = observation, []
        for block, reduction in zip(self.blocks, self.reductions, strict=True):
            features = block(features)
            joined.append(reduction(features))
        return torch.cat(joined, 1)


class ResidualBlocks(nn.Module):
    """Dilated convolutions that each add to what came before."""

    def __init__(self, width: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_conv(width, width, CUBE, dilation) for dilation in dilations)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, width, x, y, z) to the same."""
        for block in self.blocks:
            features = features + functional.leaky_relu(block(features), SLOPE, inplace=True)
        return features


class TwoScaleTrunk(nn.Module):
    """A narrow stem at full resolution beside a wide dilated residual trunk at half resolution, fused.

    Odd sizes are padded by repeating the last plane and cut again.
    """

    def __init__(self, in_channels: int, *, stem: int, width: int, out: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.stem = _convs(in_channels, stem, stem)
        self.down = nn.Conv3d(stem + in_channels, width, 2, stride=2)
        self.trunk = ResidualBlocks(width, dilations)
        self.up = nn.Conv3d(width, out, 1)
        self.fuse = _conv(stem, out)
        self.last = _conv(out, out)

    def forward(self, observation: Tensor) -> Tensor:
        """(batch, channels, x, y, z) to features (batch, out, x, y, z)."""
        shape = observation.shape[2:]
        padding = [p for size in reversed(shape) for p in (0, size % 2)]
        padded = functional.pad(observation, padding, mode="replicate") if any(padding) else observation
        stem = self.stem(padded)
        wide = functional.leaky_relu(self.down(torch.cat([padded, stem], 1)), SLOPE, inplace=True)
        fused = self.fuse(stem) + _doubled(self.up(self.trunk(wide)))
        features = functional.leaky_relu(fused, SLOPE, inplace=True)
        features = functional.leaky_relu(self.last(features), SLOPE, inplace=True)
        return features[:, :, : shape[0], : shape[1], : shape[2]]


class PyramidTrunk(nn.Module):
    """Stems at full, half and quarter resolution, joined from the coarsest up by addition.

    Sides that are no multiple of four are padded by repeating the last plane and cut again.
    """

    def __init__(self, in_channels: int, *, widths: tuple[int, int, int], out: int) -> None:
        super().__init__()
        full, half, quarter = widths
        self.at_full = _convs(in_channels, full, full)
        self.to_half = nn.Conv3d(full, half, 2, stride=2)
        self.at_half = _convs(half, half, half)
        self.to_quarter = nn.Conv3d(half, quarter, 2, stride=2)
        self.at_quarter = ResidualBlocks(quarter, (1, 2, 1))
        self.from_quarter = nn.Conv3d(quarter, half, 1)
        self.half_again = _convs(half, half, half)
        self.from_half = nn.Conv3d(half, full, 1)
        self.full_again = _convs(full, 2 * full, out)

    def forward(self, observation: Tensor) -> Tensor:
        """(batch, channels, x, y, z) to features (batch, out, x, y, z)."""
        shape = observation.shape[2:]
        padding = [p for size in reversed(shape) for p in (0, -size % 4)]
        padded = functional.pad(observation, padding, mode="replicate") if any(padding) else observation
        full = self.at_full(padded)
        half = self.at_half(functional.leaky_relu(self.to_half(full), SLOPE))
        quarter = self.at_quarter(functional.leaky_relu(self.to_quarter(half), SLOPE))
        half = self.half_again(half + _doubled(self.from_quarter(quarter)))
        features: Tensor = self.full_again(full + _doubled(self.from_half(half)))
        return features[:, :, : shape[0], : shape[1], : shape[2]]


def _head(width: int, out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(width, 32, 1), nn.LeakyReLU(SLOPE, inplace=True), nn.Dropout(dropout), nn.Conv3d(32, out, 1)
    )


def _conv(before: int, after: int, kernel: tuple[int, int, int] = (3, 3, 3), dilation: int = 1) -> nn.Conv3d:
    x, y, z = (dilation * (k // 2) for k in kernel)
    return nn.Conv3d(before, after, kernel, padding=(x, y, z), dilation=dilation)


def _convs(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [_conv(before, after), nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*layers)


def _doubled(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")


def _iso(channels: Sequence[str]) -> tuple[nn.Module, int]:
    counts = (2, 2, 3, 3, 3)
    kernels = [[CUBE] * n for n in counts]
    return DilatedTrunk(len(channels), width=16, dilations=(1, 2, 4, 8, 16), kernels=kernels), 20


def _aniso(channels: Sequence[str]) -> tuple[nn.Module, int]:
    counts = (2, 2, 3, 3, 3)
    kernels = [[CUBE] + [PLANE] * (n - 1) for n in counts]
    return DilatedTrunk(len(channels), width=16, dilations=(1, 2, 4, 8, 16), kernels=kernels), 20


def _small(channels: Sequence[str]) -> tuple[nn.Module, int]:
    kernels = [[CUBE] * 2] * 5
    return DilatedTrunk(len(channels), width=16, dilations=(1, 2, 4, 8, 4), kernels=kernels), 20


def _two_scale(channels: Sequence[str]) -> tuple[nn.Module, int]:
    return TwoScaleTrunk(len(channels) - 1, stem=8, width=32, out=16, dilations=(1, 2, 4, 2, 1)), 16


def _pyramid(channels: Sequence[str]) -> tuple[nn.Module, int]:
    return PyramidTrunk(len(channels) - 1, widths=(16, 32, 64), out=16), 16


_TRUNKS: dict[str, Callable[[Sequence[str]], tuple[nn.Module, int]]] = {
    "iso": _iso,
    "aniso": _aniso,
    "small": _small,
    "two_scale": _two_scale,
    "pyramid": _pyramid,
}
NETWORKS = tuple(_TRUNKS)
PRODUCT_NETWORKS = ("two_scale", "pyramid")  # they also see this interaction's hints apart


def build_network(name: str, **options: Any) -> ActorCritic:
    """Network `name` of `NETWORKS`; options `channels`, `actions`, `commands`, `dropout` as in `ActorCritic`.

    The thin axis of `aniso` is the last: `run_network` turns the array so that the largest spacing comes last.
    """
    if name not in _TRUNKS:
        raise ValueError(f"network {name!r} is none of {', '.join(NETWORKS)}")
    channels = tuple(options.pop("channels", PRODUCT_CHANNELS if name in PRODUCT_NETWORKS else PUBLISHED_CHANNELS))
    trunk, width = _TRUNKS[name](channels)
    network = ActorCritic(trunk, width=width, channels=channels, belief=name in PRODUCT_NETWORKS, **options)
    network.planar = name == "aniso"
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


def with_channels(network: ActorCritic, like: ActorCritic) -> ActorCritic:
    """`like`, a network of the same kind, with the weights of `network`: it answers as that does, whatever a channel
    says that only `like` sees. A policy head of another policy stays undecided.
    Raises ValueError where `like` lacks a channel of `network` or differs in more than these.
    """
    unseen = set(network.channels) - set(like.channels)
    if unseen:
        raise ValueError(f"a network cannot go on without the channels {', '.join(sorted(unseen))}")
    wanted = like.state_dict()
    weights = {name: _wider(weight, wanted.get(name), network, like) for name, weight in network.state_dict().items()}
    if network.policy_head[-1].out_channels != like.policy_head[-1].out_channels:
        weights |= {name: weight for name, weight in wanted.items() if name.startswith("policy_head.")}
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in wanted.items()}:
        raise ValueError("the network to begin with is of another kind: its layers differ in more than the channels")
    like.load_state_dict(weights)
    return like


def _wider(weight: Tensor, wanted: Tensor | None, network: ActorCritic, like: ActorCritic) -> Tensor:
    """A layer of `network`; if it reads the observation, then that of `like`, with zeros for what is new."""
    more = len(like.channels) - len(network.channels)
    if not more or wanted is None or wanted.ndim != 5 or wanted.shape[1] != weight.shape[1] + more:
        return weight
    read = len(network.channels) - network.belief
    places = [like.channels.index(name) for name in network.channels[:read]]
    wider = torch.zeros_like(wanted)
    wider[:, [*places, *range(read + more, wanted.shape[1])]] = weight
    return wider
