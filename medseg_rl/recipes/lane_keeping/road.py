"""The road, and the simulated person beside the wheel: lane-keeping-v0 of highway-env as a bounded task.

The environment as it comes never ends off the lane, has a reward without lower bound, and shows the state of one step
ago; here an episode ends beyond 6 m, the reward is clipped to -1..1 and the state is the one after the step. Its start
lies on a straight piece whose end is 9 m off the winding lane; here an episode starts on the winding lane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import highway_env  # noqa: F401  registers the environments
import numpy as np
import numpy.typing as npt

from medseg_rl.rlhf.guidance import Takeovers

Observation = npt.NDArray[np.float32]
Quality = Literal["expert", "noisy", "bad"]

OFF_LANE_M = 6.0
START_M = 2.0
MAX_STEPS = 200  # of an episode: 20 s
# Lateral and heading error, lateral speed, yaw rate, and their rates of change, each to order one.
SCALES = np.array([3.0, 0.5, 2.0, 1.0, 8.0, 1.0, 8.0, 8.0])


@dataclass(frozen=True)
class Driver:
    """A simulated person: takes over beyond `takes_over_m` off centre and hands back within `hands_back_m`.

    Steers by a PD law on lateral and heading error: `gain` 1 is an expert, -1 the wrong way; `noise` in steering units.
    """

    gain: float = 1.0
    noise: float = 0.0
    takes_over_m: float = 2.0
    hands_back_m: float = 1.0

    def steering(self, lateral_m: float, heading_rad: float, rng: np.random.Generator) -> float:
        """Steering in -1..1."""
        wanted = self.gain * (-0.3 * lateral_m - 0.8 * heading_rad) + self.noise * rng.standard_normal()
        return float(np.clip(wanted, -1, 1))


DRIVERS: dict[Quality, Driver] = {
    "expert": Driver(),
    "noisy": Driver(noise=0.5),
    "bad": Driver(gain=-1.0),
}


class Road(gymnasium.Env[Observation, npt.NDArray[np.float32]]):
    """Observation (8,) float32, action (1,) in -1..1. `info` has "intervention" and "executed_action" after each step.

    `driver` None: nobody takes over.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  Gymnasium's own form

    def __init__(self, driver: Driver | None = None, intervention_penalty: float = 0.0) -> None:
        self.simulator: Any = gymnasium.make("lane-keeping-v0").unwrapped
        self.driver, self.takeovers = driver, Takeovers(intervention_penalty)
        self.observation_space = gymnasium.spaces.Box(-10, 10, (len(SCALES),), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        self._steps, self._human = 0, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A new episode somewhere on the winding lane, up to `START_M` off its centre, about along it."""
        super().reset(seed=seed)
        self.simulator.reset(seed=int(self.np_random.integers(2**31)))
        self._place()
        self._steps, self._human = 0, False
        self.takeovers.end_episode()
        return self._observe(), {}

    def step(self, action: npt.NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One tenth of a second; the driver may put another action in place of this one."""
        executed = np.clip(np.asarray(action, np.float32), -1, 1)
        lateral, heading = self.errors()
        if self.driver is not None:
            limit = self.driver.hands_back_m if self._human else self.driver.takes_over_m
            self._human = abs(lateral) > limit
            if self._human:
                executed = np.array([self.driver.steering(lateral, heading, self.np_random)], np.float32)
        _, reward, *_ = self.simulator.step(executed)
        self._steps += 1
        lateral, _ = self.errors()
        off_lane = abs(lateral) > OFF_LANE_M
        paid = float(np.clip(reward, -1, 1)) + self.takeovers.add(self._human)
        info = {"intervention": self._human, "executed_action": executed, "lateral_m": lateral}
        return self._observe(), paid, off_lane, self._steps >= MAX_STEPS and not off_lane, info

    def errors(self) -> tuple[float, float]:
        """Lateral error in m and heading error in rad, as the driver sees them: without the sensors' noise."""
        along, lateral = self.simulator.lane.local_coordinates(self.simulator.vehicle.position)
        turned = self.simulator.vehicle.heading - self.simulator.lane.heading_at(along)
        return float(lateral), math.remainder(float(turned), math.tau)

    def close(self) -> None:
        """Let go of the simulator."""
        self.simulator.close()

    def _place(self) -> None:
        simulator, rng = self.simulator, self.np_random
        simulator.lane, simulator.lanes = simulator.lanes[-1], []
        along, lateral = rng.uniform(0, 200), rng.uniform(-START_M, START_M)
        simulator.vehicle.position = simulator.lane.position(along, lateral)
        simulator.vehicle.heading = simulator.lane.heading_at(along) + rng.uniform(-0.2, 0.2)

    def _observe(self) -> Observation:
        seen = self.simulator.observation_type.observe()
        state, reference = seen["state"][:, 0], seen["reference_state"][:, 0]
        heading = math.remainder(float(state[1] - reference[1]), math.tau)
        features = np.array([state[0] - reference[0], heading, state[2], state[3], *seen["derivative"][:, 0]])
        seen_now: Observation = np.clip(features / SCALES, -10, 10).astype(np.float32)
        return seen_now
