"""The refinement as a Gymnasium environment: one scene, one action an voxel, a simulated user who clicks.

An interaction brings clicks and lasts `steps` refinement steps; the episode ends after `interactions` of them, or when
nothing is left to click.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces

from medseg_rl.environment.actions import ADJUSTMENTS, apply_adjustments
from medseg_rl.environment.episode import Episode, Scene
from medseg_rl.environment.rewards import cross_entropy_gain
from medseg_rl.hints.clicks import Click
from medseg_rl.hints.maps import HintConfig
from medseg_rl.preprocessing import INTENSITY_BOUND

Observation = npt.NDArray[np.float32]
Actions = npt.NDArray[np.integer[Any]]
User = Callable[[Episode, np.random.Generator], Sequence[Click]]
Reward = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class RefinementEnv(gymnasium.Env[Observation, Actions]):
    """`action`: an adjustment index for every voxel (x, y, z). `observation`: (channels, x, y, z) float32.

    The scalar reward is the mean over free voxels, weighted by the scene; `info` holds the map of it under
    "reward_map", the mask under "mask" and the clicks so far. `reward` may be replaced by any function of
    (before, after, reference).
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own form)

    def __init__(
        self,
        scene: Scene,
        user: User,
        *,
        channels: Sequence[str],
        hints: HintConfig | None = None,
        interactions: int = 5,
        steps: int = 3,
        adjustments: Sequence[int] = ADJUSTMENTS,
        reward: Reward = cross_entropy_gain,
    ) -> None:
        self._scene, self._user, self._reward = scene, user, reward
        self._channels, self._hints = tuple(channels), hints or HintConfig()
        self._interactions, self._steps, self._adjustments = interactions, steps, tuple(adjustments)
        shape = scene.image.shape
        lowest = [-INTENSITY_BOUND if name == "image" else 0.0 for name in channels]
        highest = [INTENSITY_BOUND if name == "image" else 1.0 for name in channels]
        self.observation_space = spaces.Box(
            np.broadcast_to(np.array(lowest, np.float32)[:, None, None, None], (len(channels), *shape)),
            np.broadcast_to(np.array(highest, np.float32)[:, None, None, None], (len(channels), *shape)),
            dtype=np.float32,
        )
        self.action_space = spaces.MultiDiscrete(np.full(shape, len(self._adjustments)))
        self.episode = Episode(scene, hints=self._hints)
        self._taken = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start state with the clicks of the first interaction."""
        super().reset(seed=seed)
        self.episode, self._taken = Episode(self._scene, hints=self._hints), 0
        self.episode.interact(self._user(self.episode, self.np_random))
        return self.episode.observation(self._channels), self._info(np.zeros(self._scene.image.shape, np.float32))

    def step(self, action: Actions) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One refinement step; `terminated` when nothing is left to click, `truncated` at the end of the budget."""
        before = torch.from_numpy(self.episode.percent[None])
        wanted = apply_adjustments(before, torch.from_numpy(np.asarray(action, np.int64)[None]), self._adjustments)
        self.episode.step(wanted[0].numpy())
        after = torch.from_numpy(self.episode.percent[None])
        gained = self._reward(before, after, torch.from_numpy(self._scene.reference[None]))[0].numpy()
        weights = self._scene.weights * ~self.episode.fixed_voxels
        reward = float((gained * weights).sum() / max(float(weights.sum()), 1e-8))
        self._taken += 1
        terminated = truncated = False
        if self._taken % self._steps == 0:
            truncated = self._taken >= self._interactions * self._steps
            clicks = [] if truncated else self._user(self.episode, self.np_random)
            terminated = not truncated and not clicks
            if clicks:
                self.episode.interact(clicks)
        return self.episode.observation(self._channels), reward, terminated, truncated, self._info(gained)

    def _info(self, reward_map: npt.NDArray[np.float32]) -> dict[str, Any]:
        return {"reward_map": reward_map, "mask": self.episode.mask, "clicks": self.episode.clicks}
