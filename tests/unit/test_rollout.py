"""What a rollout says of the voxels it is to teach: weights by what is observed, never by the reference."""

import pytest
import torch

from medseg_rl.agent.learner import Learner, LearnerConfig
from medseg_rl.agent.networks import PRODUCT_CHANNELS, build_network
from medseg_rl.agent.policy import AdjustmentPolicy, TwinPolicy, build_policy
from medseg_rl.agent.rollout import UNCONCERNED, concern
from medseg_rl.environment.click_relations import FARTHEST_MM

NEAR, FAR = 1 - 2 / FARTHEST_MM, 1 - 11 / FARTHEST_MM  # nearness 2 mm and 11 mm from a click


@pytest.mark.parametrize(
    ("nearness", "boundary", "depth", "weight"),
    [
        (NEAR, 0.2, 0.1, 1.0),
        (FAR, 0.2, 0.1, UNCONCERNED),
        (NEAR, -1.0, 0.1, UNCONCERNED),
        (NEAR, -1.0, -1.0, 1.0),
        (0.0, 0.0, 0.0, UNCONCERNED),
    ],
    ids=["near the click and the surface", "far from the click", "far from the surface", "deep click", "no click"],
)
def test_clicks_concern_what_is_near_them_and_near_the_surface_or_as_deep(nearness, boundary, depth, weight):
    observation = observed(nearness, boundary, depth)
    observation[:, PRODUCT_CHANNELS.index("boundary"), 1] = 1.0  # a voxel deep inside the mask
    assert concern(observation, PRODUCT_CHANNELS)[0, 0].item() == pytest.approx(weight)


def test_where_there_is_no_mask_yet_a_click_concerns_everything():
    assert concern(observed(nearness=0.0, boundary=-1.0, depth=-1.0), PRODUCT_CHANNELS).tolist() == [[[[1.0]], [[1.0]]]]


def observed(nearness: float, boundary: float, depth: float) -> torch.Tensor:
    """Two voxels that lie alike, after an object click."""
    observation = torch.zeros(1, len(PRODUCT_CHANNELS), 2, 1, 1)
    values = {"click_nearness": nearness, "boundary": boundary, "click_boundary": depth, "click_sign": 1.0}
    for name, value in values.items():
        observation[:, PRODUCT_CHANNELS.index(name)] = value
    return observation


def learner(kind: str, network: str = "pyramid", **config) -> Learner:
    policy = build_policy(kind)
    return Learner(build_network(network, actions=policy.outputs), policy, LearnerConfig(**config), precision="fp32")


def test_agents_with_a_belief_follow_it_first_and_then_their_policy():
    ours = learner("adjustment", belief_first=0.5)
    assert isinstance(ours.acting(0.49), TwinPolicy)
    assert isinstance(ours.acting(0.5), AdjustmentPolicy)


@pytest.mark.parametrize(("kind", "network"), [("twin_b", "pyramid"), ("adjustment", "small")])
def test_a_twin_and_agents_without_a_belief_act_for_themselves_from_the_first_update(kind, network):
    ours = learner(kind, network)
    assert not ours.believes(0.0)
    assert ours.acting(0.0) is ours.policy
