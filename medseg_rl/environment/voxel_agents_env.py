"""The same refinement as a PettingZoo parallel environment: every voxel is an agent of its own. For small grids.

Needs the optional package `pettingzoo`; nothing else in the project imports this module.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pettingzoo import ParallelEnv

from medseg_rl.environment.refinement_env import RefinementEnv

LARGEST_GRID = 4096  # agents; a Python dictionary an agent and step is not meant for more


class VoxelAgentsEnv(ParallelEnv[str, npt.NDArray[np.float32], int]):  # type: ignore[misc]  # has no types
    """View of a `RefinementEnv`: agent "voxel_i_j_k" sees its own channels (channels,) and picks one adjustment.

    Its reward is its own voxel's, so the sum over agents is the sum of the reward map. Raises ValueError on grids
    of more than `LARGEST_GRID` voxels.
    """

    metadata = {"name": "voxel_agents_v0", "render_modes": []}  # noqa: RUF012  (PettingZoo's own form)

    def __init__(self, env: RefinementEnv) -> None:
        self._env = env
        self._shape = env.episode.percent.shape
        if np.prod(self._shape) > LARGEST_GRID:
            raise ValueError(f"{self._shape} voxels make more than {LARGEST_GRID} agents; use RefinementEnv")
        self._index = {f"voxel_{i}_{j}_{k}": (i, j, k) for i, j, k in np.ndindex(self._shape)}
        self.possible_agents = list(self._index)
        self.agents: list[str] = []
        box = env.observation_space
        assert isinstance(box, spaces.Box)
        self._observation_space = spaces.Box(box.low[:, 0, 0, 0], box.high[:, 0, 0, 0], dtype=np.float32)
        self._action_space = spaces.Discrete(int(env.action_space.nvec.flat[0]))  # type: ignore[attr-defined]

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The channels of one voxel."""
        return self._observation_space

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Indices of the adjustments."""
        return self._action_space

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, dict[str, Any]]]:
        """All voxels are agents again."""
        observation, _ = self._env.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return self._by_agent(observation), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        """Every agent adjusts at once; all end together."""
        grid = np.zeros(self._shape, np.int64)
        for agent, action in actions.items():
            grid[self._index[agent]] = action
        observation, _, terminated, truncated, info = self._env.step(grid)
        agents = self.agents
        rewards = {agent: float(info["reward_map"][self._index[agent]]) for agent in agents}
        if terminated or truncated:
            self.agents = []
        return (
            self._by_agent(observation, agents),
            rewards,
            dict.fromkeys(agents, terminated),
            dict.fromkeys(agents, truncated),
            {agent: {} for agent in agents},
        )

    def _by_agent(
        self, observation: npt.NDArray[np.float32], agents: list[str] | None = None
    ) -> dict[str, npt.NDArray[np.float32]]:
        return {agent: observation[(slice(None), *self._index[agent])] for agent in agents or self.agents}
