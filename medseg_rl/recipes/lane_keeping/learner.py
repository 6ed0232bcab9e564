"""TD3 that can listen to a person: stable-baselines3's, with the executed action in its buffer and its own actor loss.

The critic learns from what was executed, as ever; how the actor learns is the method of `HumanGuidanceConfig`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import TD3
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.utils import polyak_update
from torch import Tensor

from medseg_rl.recipes.lane_keeping.road import Observation, Road
from medseg_rl.rlhf.config import HumanGuidanceConfig
from medseg_rl.rlhf.guidance import guidance_weight, guided_actor_loss

HIDDEN = [64, 64]


class GuidedSamples(NamedTuple):
    """A batch as stable-baselines3 gives it, and where the person acted (batch,)."""

    observations: Tensor
    actions: Tensor
    next_observations: Tensor
    dones: Tensor
    rewards: Tensor
    intervened: Tensor


class ExecutedActions(ReplayBuffer):
    """Stores the action that was executed, scaled as the proposed one, and who executed it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.intervened = np.zeros((self.buffer_size, self.n_envs), np.float32)

    def add(
        self,
        obs: npt.NDArray[Any],
        next_obs: npt.NDArray[Any],
        action: npt.NDArray[Any],
        reward: npt.NDArray[Any],
        done: npt.NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Reads "executed_action" and "intervention" from each `info`; the action space is -1..1, so scaled already."""
        self.intervened[self.pos] = [info["intervention"] for info in infos]
        executed = np.stack([info["executed_action"] for info in infos])
        super().add(obs, next_obs, executed, reward, done, infos)

    def _get_samples(self, batch_inds: npt.NDArray[Any], env: Any = None) -> ReplayBufferSamples:
        found = super()._get_samples(batch_inds, env)
        intervened = self.to_torch(self.intervened[batch_inds, 0])  # one environment
        samples = GuidedSamples(
            found.observations, found.actions, found.next_observations, found.dones, found.rewards, intervened
        )
        return cast("ReplayBufferSamples", samples)


class GuidedTD3(TD3):
    """TD3 (Fujimoto et al. 2018) with the guided actor loss; terminal states are masked, timeouts are not terminal."""

    guidance = HumanGuidanceConfig(method="none")

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """One critic step each, an actor step every `policy_delay`."""
        self.policy.set_training_mode(True)
        assert self.replay_buffer is not None
        for _ in range(gradient_steps):
            self._n_updates += 1
            batch = cast("GuidedSamples", self.replay_buffer.sample(batch_size))
            self._learn_values(batch)
            if self._n_updates % self.policy_delay == 0:
                self._learn_actions(batch)
                polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
                polyak_update(self.actor.parameters(), self.actor_target.parameters(), self.tau)

    def values_to_learn(self, batch: GuidedSamples) -> Tensor:
        """(batch, 1): r + (1 - done) gamma min Q'(s', mu'(s') + clipped noise); actions stay in -1..1."""
        with torch.no_grad():
            noise = torch.randn_like(batch.actions) * self.target_policy_noise
            noise = noise.clamp(-self.target_noise_clip, self.target_noise_clip)
            following = (self.actor_target(batch.next_observations) + noise).clamp(-1, 1)
            value = torch.cat(self.critic_target(batch.next_observations, following), 1).amin(1, keepdim=True)
            return batch.rewards + (1 - batch.dones) * self.gamma * value

    def actor_loss(self, batch: GuidedSamples) -> Tensor:
        """The loss of the guided actor; with method "none" or "hi" that of plain TD3 on all rows."""
        action = self.actor(batch.observations)
        value = self.critic.q1_forward(batch.observations, action)[:, 0]
        if self.guidance.method in ("none", "hi"):
            return -value.mean()
        with torch.no_grad():
            gain = self.critic.q1_forward(batch.observations, batch.actions)[:, 0] - value
        weight = guidance_weight(gain, cases_done=self._episode_num, config=self.guidance)
        return guided_actor_loss(value, action, batch.actions, batch.intervened, self.guidance.guidance_coef * weight)

    @property
    def episodes_done(self) -> int:
        """Finished episodes: the k of the human's weight."""
        return self._episode_num

    def _learn_values(self, batch: GuidedSamples) -> None:
        target = self.values_to_learn(batch)
        errors = [torch.nn.functional.mse_loss(v, target) for v in self.critic(batch.observations, batch.actions)]
        self.critic.optimizer.zero_grad()
        torch.stack(errors).sum().backward()
        self.critic.optimizer.step()

    def _learn_actions(self, batch: GuidedSamples) -> None:
        loss = self.actor_loss(batch)
        self.actor.optimizer.zero_grad()
        loss.backward()
        self.actor.optimizer.step()


def new_learner(road: Road, guidance: HumanGuidanceConfig, *, steps: int, seed: int) -> GuidedTD3:
    """A fresh learner for `steps` steps: discount .95, batch 128, critics and actor at 1e-3, exploration .3."""
    learner = GuidedTD3(
        "MlpPolicy",
        road,
        learning_rate=1e-3,
        buffer_size=steps,
        learning_starts=100,
        batch_size=128,
        tau=0.005,
        gamma=0.95,
        policy_delay=2,
        action_noise=NormalActionNoise(np.zeros(1), np.full(1, 0.3)),
        replay_buffer_class=ExecutedActions,
        policy_kwargs={"net_arch": HIDDEN},
        seed=seed,
        device="cpu",
    )
    learner.guidance = guidance
    return learner


def returns_alone(learner: GuidedTD3, *, episodes: int, seed: int) -> list[float]:
    """Returns of the greedy policy with nobody beside it, on the same `episodes` starts for every learner."""
    road = Road()
    found = []
    for episode in range(episodes):
        seen: Observation
        seen, _ = road.reset(seed=seed + episode)
        total, over = 0.0, False
        while not over:
            action, _ = learner.predict(seen, deterministic=True)
            seen, reward, terminated, truncated, _ = road.step(action)
            total, over = total + reward, terminated or truncated
        found.append(total)
    road.close()
    return found
