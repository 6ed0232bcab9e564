"""Turns clicks into hint maps, in millimetres. Knows nothing of networks: the result is plain numpy.

    D(i) = min over clicks c and paths c -> i of  sum over edges [ (1 - lam) * mm + lam * kappa * |change of image| ]
    h(i) = exp(-D(i) / tau)

`geodesic_exp` finds D as exact shortest paths on the graph of `edges.py`, from the new click outward, in ascending
order and no farther than the value `lowest`. Where an earlier click is nearer the search stops, so a new click costs
only the part it wins: D of old and new clicks is the minimum of both, bit for bit, and maps grown click by click
equal maps made at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click, ClickLabel, newest_per_voxel
from medseg_rl.hints.edges import edges_for
from medseg_rl.volume import Spacing

HintMap = npt.NDArray[np.float32]
HintKind = Literal["geodesic_exp", "edt_exp", "ball", "gaussian"]

PROFILES = {"edt_exp": 0, "gaussian": 1, "ball": 2}  # `shape` of kernels.stamp


@dataclass(frozen=True)
class HintConfig:
    """How clicks are encoded. Lengths in mm.

    `lam`: share of the image in a geodesic path, 0 to 1. `kappa_mm`: what one unit of normalised intensity costs.
    `tau_mm`: decay of both exponential kinds; `edt_exp` is `geodesic_exp` at lam = 0 with the exact distance.
    `radius_mm`: of `ball`; `sigma_mm`: of `gaussian`. Hints below `lowest` are exactly 0. `longest_edge` 1: 26
    neighbours alone, faster and coarser.
    """

    kind: HintKind = "geodesic_exp"
    lam: float = 0.5
    tau_mm: float = 5.0
    kappa_mm: float = 10.0
    radius_mm: float = 3.0
    sigma_mm: float = 2.0
    lowest: float = 0.01
    longest_edge: int = 2

    def __post_init__(self) -> None:
        if self.kind not in ("geodesic_exp", *PROFILES):
            raise ValueError(f"unknown kind of hint map {self.kind!r}; choose geodesic_exp, edt_exp, ball or gaussian")
        if not 0.0 <= self.lam <= 1.0 or not 0.0 < self.lowest < 1.0 or self.longest_edge not in (1, 2):
            raise ValueError("hint maps need 0 <= lam <= 1, 0 < lowest < 1 and longest_edge 1 or 2")
        if min(self.tau_mm, self.radius_mm, self.sigma_mm) <= 0.0 or self.kappa_mm < 0.0:
            raise ValueError("tau_mm, radius_mm and sigma_mm of hint maps must be positive, kappa_mm at least 0")

    @property
    def reach_mm(self) -> float:
        """Path cost (geodesic) or distance beyond which a hint is exactly 0."""
        if self.kind == "ball":
            return self.radius_mm
        if self.kind == "gaussian":
            return self.sigma_mm * math.sqrt(-2.0 * math.log(self.lowest))
        return -self.tau_mm * math.log(self.lowest)


DEFAULT_HINTS = HintConfig()


def hint_map(
    image: HintMap, clicks: Iterable[Click], label: ClickLabel, spacing: Spacing, config: HintConfig = DEFAULT_HINTS
) -> HintMap:
    """Map (x, y, z) in [0, 1] of the clicks of one label: 1 at a click, zeros without clicks.

    `image`: (x, y, z), normalised intensity (its shape alone counts unless geodesic). `spacing`: mm, in array order.
    A voxel clicked twice keeps its newest label. Raises ValueError where a click lies outside `image`.
    """
    maps = HintMaps(image, spacing, config)
    maps.set(clicks)
    return maps.foreground if label == ClickLabel.FOREGROUND else maps.background


class HintMaps:
    """Both maps of one region of interest, kept up to date click by click. Bit for bit those of `hint_map`."""

    def __init__(self, image: HintMap, spacing: Spacing, config: HintConfig = DEFAULT_HINTS) -> None:
        self._field: _Local | _Geodesic
        if config.kind == "geodesic_exp":
            self._field = _Geodesic(image, spacing, config)
        else:
            self._field = _Local(image.shape, spacing, config)
        self._shape = image.shape
        self._clicks: tuple[Click, ...] = ()

    @property
    def foreground(self) -> HintMap:
        """Hints (x, y, z) of the object clicks. A view of the live map: copy it to keep it."""
        return self._field.maps[ClickLabel.FOREGROUND]

    @property
    def background(self) -> HintMap:
        """Hints (x, y, z) of the background clicks. A view of the live map: copy it to keep it."""
        return self._field.maps[ClickLabel.BACKGROUND]

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks in the maps, oldest first, one per voxel."""
        return self._clicks

    def add(self, click: Click) -> None:
        """One click more. An older click on its voxel leaves the maps first. Raises ValueError outside the region."""
        if len(click.index) != 3 or any(not 0 <= i < n for i, n in zip(click.index, self._shape, strict=True)):
            raise ValueError(f"click {click.index} lies outside a region of {self._shape} voxels")
        contradicted = Click(click.index, ClickLabel(1 - click.label))
        if contradicted in self._clicks:
            self._clicks = tuple(c for c in self._clicks if c != contradicted)
            self._rebuild(contradicted.label)
        self._clicks = newest_per_voxel((*self._clicks, click))
        self._field.add(click)

    def set(self, clicks: Iterable[Click]) -> None:
        """Exactly these clicks, oldest first; cheap where they continue those already in the maps."""
        wanted = newest_per_voxel(clicks)
        kept = self._clicks
        if wanted[: len(kept)] != kept:
            self._clicks = ()
            for label in ClickLabel:
                self._field.clear(label)
            kept = ()
        for click in wanted[len(kept) :]:
            self.add(click)

    def _rebuild(self, label: ClickLabel) -> None:
        self._field.clear(label)
        for click in self._clicks:
            if click.label == label:
                self._field.add(click)


class _Local:
    """Kinds whose value depends on the distance alone."""

    def __init__(self, shape: tuple[int, ...], spacing: Spacing, config: HintConfig) -> None:
        self.maps = {label: np.zeros(shape, dtype=np.float32) for label in ClickLabel}
        self._spacing = np.array(spacing, dtype=np.float64)
        self._profile = PROFILES[config.kind]
        self._scale = config.sigma_mm if config.kind == "gaussian" else config.tau_mm
        self._reach = config.reach_mm

    def clear(self, label: ClickLabel) -> None:
        self.maps[label][:] = 0.0

    def add(self, click: Click) -> None:
        from medseg_rl.hints.kernels import stamp  # loads numba: not before there is a click

        index = np.array(click.index, dtype=np.int64)
        stamp(self.maps[click.label], index, self._spacing, self._profile, self._scale, self._reach)


class _Geodesic:
    """Padded flat grids, one distance and one hint map per label; the maps shown are views without the padding."""

    def __init__(self, image: HintMap, spacing: Spacing, config: HintConfig) -> None:
        edges = edges_for(spacing, longest=config.longest_edge)
        pad = edges.reach
        self._image = np.pad(np.asarray(image, dtype=np.float32), pad)
        shape = self._image.shape
        self._inside = (slice(pad, shape[0] - pad), slice(pad, shape[1] - pad), slice(pad, shape[2] - pad))
        self._strides = np.array([shape[1] * shape[2], shape[2], 1], dtype=np.int64)
        self._pad = pad
        self._offsets = edges.steps @ self._strides
        self._ways = edges.ways @ self._strides
        self._way_counts = edges.way_counts
        self._lengths = ((1.0 - config.lam) * edges.lengths).astype(np.float32)
        self._contrast = np.float32(config.lam * config.kappa_mm)
        self._cutoff = np.float32(config.reach_mm)
        # An edge at least as long as a bucket is wide makes every voxel final when it leaves its bucket.
        self._bucket_width = np.float32(max(float(self._lengths.min()), config.reach_mm / 512))
        self._tau = config.tau_mm
        self._distance = {label: np.full(shape, -1.0, dtype=np.float32) for label in ClickLabel}
        self._hints = {label: np.zeros(shape, dtype=np.float32) for label in ClickLabel}
        self.maps = {label: self._hints[label][self._inside] for label in ClickLabel}
        for label in ClickLabel:
            self.clear(label)

    def clear(self, label: ClickLabel) -> None:
        self._distance[label][self._inside] = np.inf
        self._hints[label][:] = 0.0

    def add(self, click: Click) -> None:
        from medseg_rl.hints.kernels import decay, spread

        source = np.array([(np.array(click.index) + self._pad) @ self._strides], dtype=np.int64)
        distance = self._distance[click.label].reshape(-1)
        lowered = spread(
            distance,
            self._image.reshape(-1),
            source,
            self._offsets,
            self._lengths,
            self._ways,
            self._way_counts,
            self._contrast,
            self._cutoff,
            self._bucket_width,
        )
        decay(self._hints[click.label].reshape(-1), distance, lowered, self._tau)


def warm_up(config: HintConfig = DEFAULT_HINTS) -> None:
    """Compile (once per machine) and load the inner loops, so that no first click waits for them."""
    image = np.zeros((3, 3, 3), dtype=np.float32)
    HintMaps(image, (1.0, 1.0, 1.0), config).add(Click((1, 1, 1), ClickLabel.FOREGROUND))
