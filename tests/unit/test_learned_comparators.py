"""R-Net and InterCNN style: what they see, how they are trained, and that they decide once an interaction."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medseg_rl.agent.networks import BINARY_CHANNELS, build_network
from medseg_rl.agent.policy import build_policy
from medseg_rl.agent.refine import VoxelAgentRefiner
from medseg_rl.bundle import AgentSettings, BundleCard, save_bundle
from medseg_rl.config import run_config
from medseg_rl.environment.observation import build_observation
from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.methods import OnePass, parse_method
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.maps import HintConfig
from medseg_rl.refiner import RefinementRequest

SHAPE = (12, 10, 8)


def request(percent: np.ndarray, steps: int = 3) -> RefinementRequest:
    image = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    return RefinementRequest(
        image, (1.0, 1.0, 1.0), percent, (Click((4, 5, 3), ClickLabel.FOREGROUND),), 1, steps=steps
    )


def comparator() -> VoxelAgentRefiner:
    torch.manual_seed(1)
    policy = build_policy("twin_a")
    network = build_network("small", channels=BINARY_CHANNELS, actions=policy.outputs)
    for parameter in network.policy_head[-1].parameters():  # as built it is undecided everywhere
        torch.nn.init.normal_(parameter, std=0.5)
    return VoxelAgentRefiner(network, policy, hints=HintConfig(), name="rnet_style")


def test_the_mask_channel_is_the_state_without_its_doubt():
    percent = np.array([1, 50, 51, 99], np.uint8).reshape(4, 1, 1)
    zeros = np.zeros(percent.shape, np.float32)
    seen = build_observation(("mask", "image"), image=zeros, percent=percent, hints={})
    assert seen[0].ravel().tolist() == [0, 0, 1, 1]


def test_states_with_the_same_mask_are_one_to_a_comparator_with_a_binary_state():
    refiner = comparator()
    soft = np.random.default_rng(5).integers(1, 100, SHAPE).astype(np.uint8)
    hard = np.where(soft > 50, 90, 10).astype(np.uint8)
    assert np.array_equal(refiner.refine(request(soft, steps=1)), refiner.refine(request(hard, steps=1)))
    assert not np.array_equal(refiner.refine(request(soft, steps=1)), refiner.refine(request(100 - soft, steps=1)))


def test_one_pass_is_one_step_however_many_are_asked_for():
    refiner = comparator()
    percent = np.random.default_rng(5).integers(1, 100, SHAPE).astype(np.uint8)
    once = refiner.refine(request(percent, steps=1))
    assert np.array_equal(OnePass(refiner).refine(request(percent, steps=3)), once)
    assert not np.array_equal(refiner.refine(request(percent, steps=3)), once)


@pytest.mark.parametrize(("steps", "counted"), [(1, 1), (3, 3)])
def test_a_bundle_of_one_step_is_run_and_counted_as_such(tmp_path: Path, steps: int, counted: int):
    folder = tmp_path / "model"
    settings = AgentSettings("small", "twin_a", (-10, 10), BINARY_CHANNELS, steps=steps)
    network = build_network("small", channels=BINARY_CHANNELS, actions=1)
    save_bundle(folder, BundleCard("model", "0", "", "card", "licence", ""), agent=network, agent_settings=settings)
    method = parse_method(f"model={folder}")
    assert method.refinement_steps(3) == counted
    assert isinstance(method.build(), OnePass) == (steps == 1)


def test_the_presets_differ_in_how_many_interactions_they_are_trained_for():
    single, several = (run_config(name).training for name in ("rnet_style", "intercnn_style"))
    assert (single.max_interactions, several.max_interactions) == (1, 10)
    for training in (single, several):
        assert training.binary_state
        assert training.policy == "twin_a"
        assert training.steps_choices == (1,)
        assert training.updates == run_config("small").training.updates


def test_a_network_with_a_belief_of_its_own_has_no_binary_state():
    with pytest.raises(InputFileError, match="binary_state needs a network that reads the state: not pyramid"):
        run_config("product", changes=["training.binary_state=true"])
