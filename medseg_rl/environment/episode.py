"""One case being refined: the state of the decision process, in numpy. Every environment and rollout stands on it.

An episode is a series of interactions (clicks arrive) of some refinement steps each (the agents adjust). The reference
is known here, because this is training: it places clicks and gives rewards, and never enters an observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg_rl.environment.observation import Relations, build_observation, hint_channels
from medseg_rl.hints.clicks import Click, ClickLabel, newest_per_voxel
from medseg_rl.hints.maps import HintConfig, HintMaps
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, Percent
from medseg_rl.volume import Spacing


@dataclass(frozen=True, eq=False)
class Scene:
    """One region to be refined, all arrays (x, y, z).

    `image`: normalised. `reference`: True inside the object. `start`: state at step 0, hundredths 1..99. `weights`:
    importance of every voxel in the losses, >= 0. `held_voxels`: True where nothing may change (locked), or None.
    """

    image: npt.NDArray[np.float32]
    reference: npt.NDArray[np.bool_]
    start: Percent
    weights: npt.NDArray[np.float32]
    spacing: Spacing
    held_voxels: npt.NDArray[np.bool_] | None = None


class Episode:
    """Live state of a scene: `percent`, `clicks`, and what they say of every voxel."""

    def __init__(self, scene: Scene, *, hints: HintConfig) -> None:
        self.scene = scene
        self.percent: Percent = scene.start.copy()
        self.clicks: tuple[Click, ...] = ()
        self.new_clicks: tuple[Click, ...] = ()
        self.interactions = 0
        self._hints = HintMaps(scene.image, scene.spacing, hints)
        self._relations: Relations | None = None  # an episode begins with clicks, mostly

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """True where the live state says object."""
        return self.percent > MASK_THRESHOLD

    @property
    def fixed_voxels(self) -> npt.NDArray[np.bool_]:
        """True where an adjustment has no effect: clicked and held voxels. They leave every loss."""
        fixed = np.zeros(self.percent.shape, bool)
        if self.scene.held_voxels is not None:
            fixed |= self.scene.held_voxels
        for click in self.clicks:
            fixed[click.index] = True
        return fixed

    def interact(self, new_clicks: Sequence[Click]) -> None:
        """Begins an interaction: its clicks join the earlier ones and are enforced at once."""
        self.new_clicks = newest_per_voxel(new_clicks)
        self.clicks = newest_per_voxel((*self.clicks, *new_clicks))
        self.interactions += 1
        for click in self.new_clicks:
            self._hints.add(click)
        self._relations = self._related()
        self._enforce()

    def observation(self, channels: Sequence[str]) -> npt.NDArray[np.float32]:
        """What the agents see, (channels, x, y, z) float32."""
        self._relations = self._relations or self._related()
        hints = hint_channels(self._hints, self._relations, channels)
        return build_observation(channels, image=self.scene.image, percent=self.percent, hints=hints)

    def step(self, percent: Percent) -> None:
        """Ends a refinement step with the state the agents want; held and clicked voxels keep theirs."""
        self._relations = self._relations or self._related()  # they are of the state before the steps
        if self.scene.held_voxels is not None:
            percent = np.where(self.scene.held_voxels, self.percent, percent)
        self.percent = percent.astype(np.uint8)
        self._enforce()

    def _related(self) -> Relations:
        scene = self.scene
        return Relations(
            scene.image, self.percent, scene.start, self._hints, self.clicks, self.new_clicks, scene.spacing
        )

    def _enforce(self) -> None:
        for click in self.clicks:
            self.percent[click.index] = HIGHEST if click.label == ClickLabel.FOREGROUND else LOWEST
