"""The road is bounded, the driver is what he is called, and the learner stores what was executed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("highway_env")
pytest.importorskip("stable_baselines3")

from gymnasium.utils.env_checker import check_env

from medseg_rl.recipes.lane_keeping.learner import ExecutedActions, GuidedSamples, new_learner, returns_alone
from medseg_rl.recipes.lane_keeping.road import DRIVERS, MAX_STEPS, OFF_LANE_M, Driver, Road
from medseg_rl.rlhf.config import HumanGuidanceConfig

ZERO = np.zeros(1, np.float32)


def test_the_road_is_an_environment_of_gymnasium() -> None:
    check_env(Road(), skip_render_check=True)


def _drive(driver: Driver | None, seed: int) -> tuple[float, int, float]:
    road = Road(driver)
    road.reset(seed=seed)
    total, steps, over, lateral = 0.0, 0, False, 0.0
    while not over:
        _, reward, terminated, truncated, info = road.step(ZERO)
        assert -1 <= reward <= 1
        total, steps, over, lateral = total + reward, steps + 1, terminated or truncated, info["lateral_m"]
        assert terminated == (abs(lateral) > OFF_LANE_M)
    return total, steps, road.takeovers.rate


def test_an_expert_keeps_a_lane_that_nobody_and_a_bad_driver_leave() -> None:
    assert _drive(DRIVERS["expert"], 3)[1] == MAX_STEPS
    assert _drive(None, 3)[1] < MAX_STEPS
    assert _drive(DRIVERS["bad"], 3)[1] < _drive(None, 3)[1]


def test_the_same_seed_gives_the_same_drive() -> None:
    assert _drive(DRIVERS["noisy"], 5) == _drive(DRIVERS["noisy"], 5)


def test_the_buffer_holds_the_executed_action_and_who_executed_it() -> None:
    road = Road(DRIVERS["expert"])
    buffer = ExecutedActions(64, road.observation_space, road.action_space, "cpu")
    seen, _ = road.reset(seed=1)
    told = []
    for _ in range(64):
        proposed = np.array([0.9], np.float32)
        following, reward, terminated, _, info = road.step(proposed)
        buffer.add(seen, following, proposed, np.array([reward]), np.array([terminated]), [info])
        told.append((float(info["executed_action"][0]), float(info["intervention"])))
        seen = following if not terminated else road.reset()[0]
    assert [(float(a), float(i)) for a, i in zip(buffer.actions[:, 0, 0], buffer.intervened[:, 0], strict=True)] == told
    assert 0 < sum(i for _, i in told) < 64


def _batch(intervened: float, done: float = 0.0) -> GuidedSamples:
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(16, 8, generator=generator)
    full = torch.full((16, 1), 0.9)
    return GuidedSamples(seen, full, seen, torch.full((16, 1), done), torch.ones(16, 1), torch.full((16,), intervened))


def test_a_terminal_state_is_worth_its_reward() -> None:
    learner = new_learner(Road(), HumanGuidanceConfig(), steps=100, seed=0)
    assert torch.equal(learner.values_to_learn(_batch(0, done=1)), torch.ones(16, 1))
    assert not torch.equal(learner.values_to_learn(_batch(0)), torch.ones(16, 1))


def test_a_batch_of_interventions_draws_the_actor_to_the_person() -> None:
    learner = new_learner(Road(), HumanGuidanceConfig(), steps=100, seed=0)
    batch = _batch(1)
    before = float(learner.actor(batch.observations).detach().mean())
    for _ in range(50):
        learner._learn_actions(batch)
    assert float(learner.actor(batch.observations).detach().mean()) > before + 0.3


def test_learning_is_the_same_for_the_same_seed_and_changes_the_policy() -> None:
    found = []
    for _ in range(2):
        learner = new_learner(Road(DRIVERS["expert"]), HumanGuidanceConfig(), steps=300, seed=7)
        start = returns_alone(learner, episodes=1, seed=0)
        learner.learn(300)
        found.append((start, returns_alone(learner, episodes=1, seed=0)))
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]
