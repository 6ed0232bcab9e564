"""Simulated users: they compare a mask with its reference and click where it is wrong.

Every robot of the project's evaluation protocol, by name in `ROBOTS`. In one turn of several clicks the mask stays as
it is, so each click goes to the next region.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np
from scipy import ndimage

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.regions import (
    VOXEL_UNITS,
    Components,
    Depth,
    Mask,
    Region,
    depth_mm,
    first_deepest,
    in_volume,
    largest_first,
    unravelled,
    without_clicks,
)
from medseg_rl.volume import Box, Index, Spacing

ROBOT_VERSION = "1"  # raise it when any robot's clicks change; manifests carry it
XOR_SEED = 42
XOR_VOXEL_LIMIT = 60_000_000  # padded box above which the XOR robot halves its resolution


class Robot(Protocol):
    """A simulated user."""

    @property
    def name(self) -> str:
        """Short name for tables."""

    @property
    def clicks_per_interaction(self) -> int:
        """Clicks it gives in one turn of its own protocol."""

    def next_clicks(
        self, reference: Mask, mask: Mask, clicks: Sequence[Click], spacing: Spacing, n: int, rng: np.random.Generator
    ) -> list[Click]:
        """At most `n` clicks for one turn; none where the mask is perfect or every wrong voxel has been clicked.

        `reference`, `mask`: (x, y, z) of the whole volume. `clicks`: all earlier ones. `spacing`: mm, in array order.
        """


def robot_rng(case: str, robot_seed: int, click_number: int) -> np.random.Generator:
    """Randomness that depends on these three alone, so that every method meets the same robot."""
    digest = hashlib.sha256(f"{case}\n{robot_seed}\n{click_number}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


@dataclass(frozen=True)
class LargestRegion:
    """The primary robot: the largest region's deepest voxel in mm. With `exponent` a voxel drawn by depth^exponent."""

    name: str = "primary"
    clicks_per_interaction: int = 1
    exponent: float | None = None

    def next_clicks(
        self, reference: Mask, mask: Mask, clicks: Sequence[Click], spacing: Spacing, n: int, rng: np.random.Generator
    ) -> list[Click]:
        """See `Robot`. One click per region."""
        given: list[Click] = []
        for region in itertools.takewhile(lambda _: len(given) < n, largest_first(reference, mask, spacing)):
            depth = without_clicks(region.depth, clicks, region.box)
            if depth.max() > 0:
                chosen = first_deepest(depth) if self.exponent is None else _drawn(depth, self.exponent, rng)
                given.append(Click(in_volume(chosen, region.box), region.label))
        return given


@dataclass(frozen=True)
class WholeMask:
    """The RITM robot: missed and false voxels as two whole masks; the greater depth in voxels, equal depth: false."""

    name: str = "ritm"
    clicks_per_interaction: int = 1

    def next_clicks(
        self, reference: Mask, mask: Mask, clicks: Sequence[Click], spacing: Spacing, n: int, rng: np.random.Generator
    ) -> list[Click]:
        """See `Robot`."""
        kinds = [(ClickLabel.BACKGROUND, mask & ~reference), (ClickLabel.FOREGROUND, reference & ~mask)]
        boxes = [(label, wrong, Box.around_mask(wrong)) for label, wrong in kinds]
        depths = [(label, box, depth_mm(wrong[box.slices])) for label, wrong, box in boxes if box is not None]
        given: list[Click] = []
        while len(given) < n:
            open_depths = [(label, box, without_clicks(d, (*clicks, *given), box)) for label, box, d in depths]
            if not any(d.max() > 0 for _, _, d in open_depths):
                break
            label, box, depth = max(open_depths, key=lambda kind: kind[2].max())  # the first of equals: false
            given.append(Click(in_volume(first_deepest(depth), box), label))
        return given


@dataclass(frozen=True)
class MergedErrors:
    """The XOR robot of the CVPR 2025 challenge: errors of both signs merged; depth in voxels; the reference's label.

    Its published form draws one of the equally deep voxels with a fresh seed of 42; `ties` "first" takes the first.
    """

    name: str = "xor"
    clicks_per_interaction: int = 1
    ties: Literal["random", "first"] = "random"
    voxel_limit: int = XOR_VOXEL_LIMIT

    def next_clicks(
        self, reference: Mask, mask: Mask, clicks: Sequence[Click], spacing: Spacing, n: int, rng: np.random.Generator
    ) -> list[Click]:
        """See `Robot`. Earlier clicks do not count, as in the original."""
        components = Components.of(reference ^ mask, ClickLabel.FOREGROUND)
        given = []
        for k in np.argsort(-components.volumes, kind="stable")[:n]:
            region = components.region(int(k), VOXEL_UNITS)
            index = in_volume(self._voxel(region), region.box)
            given.append(Click(index, ClickLabel(int(reference[index]))))
        return given

    def _voxel(self, region: Region) -> Index:
        padded = math.prod(size + 2 * max(1, size // 4) for size in region.inside.shape)
        depth = region.depth if padded <= self.voxel_limit else _depth_at_half_resolution(region.inside)
        if self.ties == "first":
            return first_deepest(depth)
        tied = np.argwhere(depth == depth.max())
        i, j, k = (int(v) for v in tied[np.random.RandomState(XOR_SEED).choice(len(tied))])
        return i, j, k


@dataclass(frozen=True)
class Jittered:
    """The primary robot with a shaking hand: its voxel moved two to three voxels, the label kept."""

    name: str = "jitter"
    clicks_per_interaction: int = 1
    user: Robot = field(default_factory=LargestRegion)

    def next_clicks(
        self, reference: Mask, mask: Mask, clicks: Sequence[Click], spacing: Spacing, n: int, rng: np.random.Generator
    ) -> list[Click]:
        """See `Robot`."""
        meant = self.user.next_clicks(reference, mask, clicks, spacing, n, rng)
        return [_moved(click, reference.shape, clicks, nearest=2, farthest=3, rng=rng) for click in meant]


@dataclass(frozen=True)
class OffTarget:
    """The primary robot, of whose object clicks a share lands one to three voxels outside the reference, label kept."""

    name: str = "off_target"
    clicks_per_interaction: int = 1
    share: float = 0.25
    user: Robot = field(default_factory=LargestRegion)

    def next_clicks(
        self, reference: Mask, mask: Mask, clicks: Sequence[Click], spacing: Spacing, n: int, rng: np.random.Generator
    ) -> list[Click]:
        """See `Robot`. The voxel at the drawn distance from the reference that is nearest to the meant one."""
        meant = self.user.next_clicks(reference, mask, clicks, spacing, n, rng)
        missing = [c.label == ClickLabel.FOREGROUND and rng.random() < self.share for c in meant]
        return [
            _outside(click, reference, int(rng.integers(1, 4))) if misses else click
            for click, misses in zip(meant, missing, strict=True)
        ]


@dataclass(frozen=True)
class WrongSign:
    """The primary robot that presses the wrong button with probability `share`."""

    name: str = "wrong_sign"
    clicks_per_interaction: int = 1
    share: float = 0.05
    user: Robot = field(default_factory=LargestRegion)

    def next_clicks(
        self, reference: Mask, mask: Mask, clicks: Sequence[Click], spacing: Spacing, n: int, rng: np.random.Generator
    ) -> list[Click]:
        """See `Robot`."""
        meant = self.user.next_clicks(reference, mask, clicks, spacing, n, rng)
        return [_flipped(click) if rng.random() < self.share else click for click in meant]


ROBOTS: dict[str, Callable[[], Robot]] = {
    "primary": LargestRegion,
    "ritm": WholeMask,
    "xor": MergedErrors,
    "native": lambda: LargestRegion("native", clicks_per_interaction=5),
    "depth1": lambda: LargestRegion("depth1", exponent=1.0),
    "depth4": lambda: LargestRegion("depth4", exponent=4.0),
    "depth8": lambda: LargestRegion("depth8", exponent=8.0),
    "jitter": Jittered,
    "off_target": OffTarget,
    "wrong_sign": WrongSign,
}


CAREFUL_VOLUME, CAREFUL_DEPTH = 3.0, 16.0  # exponents of a user who aims at the middle of the largest error


def training_clicks(
    reference: Mask,
    mask: Mask,
    clicks: Sequence[Click],
    spacing: Spacing,
    n: int,
    rng: np.random.Generator,
    *,
    exponents: Sequence[float] = (1.0, 4.0, 8.0),
    jitter_share: float = 0.2,
    jitter_voxels: float = 2.0,
    wrong_share: float = 0.02,
    careful_share: float = 0.7,
) -> list[Click]:
    """At most `n` clicks as a varied user gives them; arguments as in `Robot.next_clicks`.

    Region drawn in proportion to its volume, voxel by depth^a with a drawn from `exponents`. A `jitter_share` of the
    clicks then moves by at most `jitter_voxels`, label kept; a `wrong_share` has the wrong label. In a `careful_share`
    of the turns the user aims at what matters most, near the middle of a large region (volume^3, depth^16), and does
    not err: only such clicks tell how large the error around them may be.
    """
    kinds = [
        Components.of(reference & ~mask, ClickLabel.FOREGROUND),
        Components.of(mask & ~reference, ClickLabel.BACKGROUND),
    ]
    weights = np.concatenate([c.volumes for c in kinds]).astype(np.float64)
    regions: dict[int, Region] = {}
    given: list[Click] = []
    careful = rng.random() < careful_share
    while len(given) < n and weights.sum() > 0:
        drawn = _weighted(weights**CAREFUL_VOLUME if careful else weights, rng)
        if drawn not in regions:
            missed = len(kinds[0].volumes)
            regions[drawn] = (
                kinds[0].region(drawn, spacing) if drawn < missed else kinds[1].region(drawn - missed, spacing)
            )
        region = regions[drawn]
        depth = without_clicks(region.depth, (*clicks, *given), region.box)
        if depth.max() <= 0:
            weights[drawn] = 0.0
            continue
        click = Click(
            in_volume(_drawn(depth, 16.0 if careful else rng.choice(exponents), rng), region.box), region.label
        )
        if careful:
            given.append(click)
            continue
        if rng.random() < jitter_share:
            click = _moved(click, reference.shape, (*clicks, *given), nearest=1, farthest=jitter_voxels, rng=rng)
        given.append(_flipped(click) if rng.random() < wrong_share else click)
    return given


def _weighted(weights: Depth, rng: np.random.Generator) -> int:
    """Flat position drawn in proportion to the weights, one uniform number."""
    cumulative = np.cumsum(weights)
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def _drawn(depth: Depth, exponent: float, rng: np.random.Generator) -> Index:
    return unravelled(_weighted((depth / depth.max()) ** exponent, rng), depth.shape)


def _flipped(click: Click) -> Click:
    return replace(click, label=ClickLabel(1 - click.label))


def _moved(
    click: Click,
    shape: tuple[int, ...],
    taken: Sequence[Click],
    *,
    nearest: float,
    farthest: float,
    rng: np.random.Generator,
) -> Click:
    """Moved `nearest` to `farthest` voxels, to one not clicked before; as it was where there is none."""
    steps = range(-math.floor(farthest), math.floor(farthest) + 1)
    offsets = np.array([o for o in itertools.product(steps, repeat=3) if nearest <= math.hypot(*o) <= farthest])
    targets = offsets.reshape(-1, 3) + click.index
    clicked = {c.index for c in taken}
    free = [(int(i), int(j), int(k)) for i, j, k in targets[np.all((targets >= 0) & (targets < shape), axis=1)]]
    free = [index for index in free if index not in clicked]
    return replace(click, index=free[int(rng.integers(len(free)))]) if free else click


def _outside(click: Click, reference: Mask, voxels: int) -> Click:
    """Moved to the nearest voxel whose distance to the reference rounds to `voxels`; as it was where there is none."""
    tight = Box.around_mask(reference)
    if tight is None:
        return click
    box = tight.grown(voxels + 1, Box.whole(reference.shape).shape)
    distance = ndimage.distance_transform_edt(~reference[box.slices])
    candidates = np.argwhere((np.rint(distance) == voxels) & (distance <= 3.0)) + box.start
    if len(candidates) == 0:
        return click
    nearest = np.square(candidates - click.index).sum(axis=1).argmin()
    i, j, k = (int(v) for v in candidates[nearest])
    return replace(click, index=(i, j, k))


def _depth_at_half_resolution(inside: Mask) -> Depth:
    """Depth in half voxels: blocks of two count as inside where any of their voxels is; repeated on the full grid."""
    even = np.pad(inside, [(0, size % 2) for size in inside.shape])
    x, y, z = (size // 2 for size in even.shape)
    blocks: Mask = even.reshape(x, 2, y, 2, z, 2).max(axis=(1, 3, 5))
    fine = depth_mm(blocks).repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    return fine[: inside.shape[0], : inside.shape[1], : inside.shape[2]]
