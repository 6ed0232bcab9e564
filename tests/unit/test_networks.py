"""Sizes, receptive fields and the command input of the networks."""

import pytest
import torch

from medseg_rl.agent.learner import run_network
from medseg_rl.agent.networks import (
    GENERAL_CHANNELS,
    NETWORKS,
    PRODUCT_CHANNELS,
    PUBLISHED_CHANNELS,
    build_network,
    with_channels,
)
from medseg_rl.agent.policy import AdjustmentPolicy
from medseg_rl.environment.actions import ADJUSTMENTS


def reach(name: str, axis: int, size: int) -> int:
    """Voxels along `axis` whose observation can change the centre voxel's logits."""
    torch.manual_seed(0)
    network = build_network(name, channels=PUBLISHED_CHANNELS)
    for module in network.modules():  # all weights positive, so that no path is hidden by a dead unit
        if isinstance(module, torch.nn.Conv3d):
            module.weight.data = module.weight.data.abs() + 0.01
    shape = [3, 3, 3]
    shape[axis] = size
    observation = torch.rand(1, 4, *shape, requires_grad=True)
    centre = [n // 2 for n in shape]
    network(observation).logits[(0, slice(None), *centre)].sum().backward()
    touched = observation.grad[0].abs().sum(0).sum([a for a in range(3) if a != axis]).nonzero().flatten()
    return int(touched[-1] - touched[0]) + 1


@pytest.mark.parametrize(("name", "parameters"), [("iso", 86_828), ("aniso", 49_964), ("small", 66_044)])
def test_the_faithful_presets_have_the_published_kind_of_size(name, parameters):
    network = build_network(name)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "axis", "expected"),
    [("iso", 0, 181), ("iso", 2, 181), ("aniso", 0, 181), ("aniso", 2, 63), ("small", 1, 77)],
)
def test_the_receptive_field_is_as_computed(name, axis, expected):
    assert reach(name, axis, 199) == expected


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(8, 8, 8), (7, 9, 11), (1, 5, 6)])
def test_every_network_keeps_the_resolution_of_any_shape(name, shape):
    network = build_network(name)
    heads = network(torch.rand(2, len(network.channels), *shape))
    assert heads.logits.shape == (2, 6, *shape)
    assert heads.value.shape == heads.future_value.shape == (2, *shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_looks_at_statistics_of_the_region(name):
    kinds = {type(module).__name__ for module in build_network(name).modules()}
    assert not any("Norm" in kind for kind in kinds)


def test_the_command_none_is_zero_and_stays_zero_under_training():
    network = build_network("two_scale", commands=8)
    observation, optimiser = torch.rand(2, len(network.channels), 6, 6, 6), torch.optim.Adam(network.parameters(), 0.1)
    plain = network(observation).logits
    assert torch.equal(network(observation, torch.tensor([0, 0])).logits, plain)
    network(observation, torch.tensor([0, 3])).logits.sum().backward()
    optimiser.step()
    assert not network.command.weight[0].any()
    assert not torch.equal(network(observation, torch.tensor([3, 3])).logits, network(observation).logits)


def test_the_thin_axis_of_aniso_is_found_by_spacing_not_by_array_order():
    network, observation = build_network("aniso").eval(), torch.rand(1, 4, 9, 8, 7)
    last = run_network(network, observation, precision="fp32", spacing=(1.0, 1.0, 5.0))[1].logits
    first = run_network(network, observation.transpose(2, 4), precision="fp32", spacing=(5.0, 1.0, 1.0))[1].logits
    assert torch.allclose(first.transpose(2, 4), last, atol=1e-6)
    wrong = run_network(network, observation.transpose(2, 4), precision="fp32", spacing=(1.0, 1.0, 5.0))[1].logits
    assert not torch.allclose(wrong.transpose(2, 4), last, atol=1e-4)


def some_state() -> torch.Tensor:
    return torch.randint(1, 100, (8, 8, 8), generator=torch.Generator().manual_seed(0)) / 100


def observation_with(**channels: torch.Tensor | float) -> torch.Tensor:
    """Noise for an image, a mask in the first half, an object click that is everywhere; but for what is given."""
    torch.manual_seed(1)
    boundary = torch.linspace(1, -1, 8)[:, None, None].expand(8, 8, 8)
    given = {"image": torch.rand(8, 8, 8), "boundary": boundary, "click_sign": 1.0, "click_nearness": 1.0}
    given |= {"probability": some_state(), **channels}
    observation = torch.zeros(1, len(PRODUCT_CHANNELS), 8, 8, 8)
    for name, value in given.items():
        observation[:, PRODUCT_CHANNELS.index(name)] = value
    return observation


def listening(locality: float, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Belief and greedy next state of a network far from undecided."""
    torch.manual_seed(2)
    network, policy = build_network("pyramid", actions=7), AdjustmentPolicy((*ADJUSTMENTS, 0))
    network.locality.fill_(locality)
    torch.nn.init.normal_(network.belief_head[-1].weight, std=10.0)
    percent = (observation[:, PRODUCT_CHANNELS.index("probability")] * 100).round().to(torch.uint8)
    heads = network(observation)
    return heads.belief[0], policy.greedy(heads, percent).percent[0].float() / 100


def test_a_click_speaks_for_its_surroundings_and_the_rest_stands_still():
    near = torch.zeros(8, 8, 8)
    near[:3] = 1.0
    seen = observation_with(click_nearness=near)
    (belief, state), (free_belief, _) = listening(4.0, seen), listening(0.0, seen)
    assert torch.allclose(torch.sigmoid(belief[3:]), some_state()[3:], atol=1e-5)
    assert torch.allclose(state[3:], some_state()[3:])
    assert torch.equal(belief[:3], free_belief[:3])
    assert not torch.allclose(state[:3], some_state()[:3])


def test_without_a_mask_or_without_a_new_click_the_network_decides_everywhere():
    no_click = observation_with(click_nearness=0.0)
    assert torch.equal(listening(4.0, no_click)[0], listening(0.0, no_click)[0])
    corner = torch.zeros(8, 8, 8).index_fill(0, torch.tensor(0), 1.0)
    no_mask = observation_with(boundary=-1.0, click_nearness=corner)
    assert torch.equal(listening(4.0, no_mask)[0], listening(0.0, no_mask)[0])


def test_an_untrained_network_believes_the_start_and_the_mask_it_finds():
    network = build_network("two_scale", actions=7)
    torch.nn.init.zeros_(network.belief_head[-1].weight)
    start = torch.linspace(-1, 1, 8).expand(8, 8, 8)
    seen = observation_with(start=start)
    boundary = seen[0, PRODUCT_CHANNELS.index("boundary")]
    assert torch.allclose(network(seen).belief[0], 2.5 * boundary + 0.75 * start, atol=1e-5)


def test_after_a_background_click_the_same_question_gives_the_opposite_answer():
    for name in ("two_scale", "pyramid"):
        network = build_network(name, actions=7)
        torch.nn.init.normal_(network.belief_head[-1].weight, std=1.0)
        asked = observation_with()
        turned = asked.clone()
        turned[:, PRODUCT_CHANNELS.index("click_sign")] = -1.0
        features = network.features(asked)
        object_click = network.heads(features, asked).belief
        assert torch.allclose(network.heads(features, turned).belief, -object_click)


def test_product_networks_look_once_an_interaction_whatever_the_live_probability():
    network = build_network("pyramid")
    one, other = observation_with(), observation_with(probability=0.5)
    assert torch.equal(network.features(one), network.features(other))
    features, heads = run_network(network, one, precision="fp32", spacing=(1.0, 1.0, 1.0))
    again = run_network(network, other, precision="fp32", spacing=(1.0, 1.0, 1.0), features=features)[1]
    assert torch.equal(again.logits, network(other).logits)
    assert torch.equal(again.belief, heads.belief)  # within earshot of the click, which here is everywhere
    assert not torch.equal(again.logits, heads.logits)
    assert run_network(build_network("small"), one[:, :4], precision="fp32", spacing=(1.0, 1.0, 1.0))[0] is None


@pytest.mark.parametrize("name", ["pyramid", "two_scale"])
def test_a_network_that_sees_more_begins_with_the_answers_of_the_one_that_saw_less(name):
    less = build_network(name)
    for weight in less.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    more = with_channels(less, build_network(name, channels=GENERAL_CHANNELS))
    seen = torch.rand(1, len(GENERAL_CHANNELS), 9, 10, 11)
    as_before = seen[:, [GENERAL_CHANNELS.index(channel) for channel in PRODUCT_CHANNELS]]
    for one, other in zip(less(as_before), more(seen), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_network_does_not_go_on_without_a_channel_or_with_other_layers():
    with pytest.raises(ValueError, match="without the channels likeness, smooth_likeness"):
        with_channels(build_network("pyramid", channels=GENERAL_CHANNELS), build_network("pyramid"))
    with pytest.raises(ValueError, match="of another kind"):
        with_channels(build_network("two_scale"), build_network("pyramid"))


def test_a_twin_goes_on_from_an_agents_features_with_a_policy_head_of_its_own():
    agent = build_network("pyramid", actions=11)
    twin = with_channels(agent, build_network("pyramid", actions=1))
    assert torch.equal(agent.belief_head[-1].weight, twin.belief_head[-1].weight)
    assert twin.policy_head[-1].out_channels == 1
