"""Sizes, receptive fields and the command input of the networks."""

import pytest
import torch

from medseg_rl.agent.learner import run_network
from medseg_rl.agent.networks import NETWORKS, PRODUCT_CHANNELS, PUBLISHED_CHANNELS, build_network
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
    last = run_network(network, observation, "fp32", spacing=(1.0, 1.0, 5.0)).logits
    first = run_network(network, observation.transpose(2, 4), "fp32", spacing=(5.0, 1.0, 1.0)).logits
    assert torch.allclose(first.transpose(2, 4), last, atol=1e-6)
    wrong = run_network(network, observation.transpose(2, 4), "fp32", spacing=(1.0, 1.0, 5.0)).logits
    assert not torch.allclose(wrong.transpose(2, 4), last, atol=1e-4)


def listening(reach: float, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Belief and greedy next state of a network far from undecided."""
    torch.manual_seed(2)
    network, policy = build_network("pyramid", actions=7), AdjustmentPolicy((*ADJUSTMENTS, 0))
    network.reach.fill_(reach)
    torch.nn.init.normal_(network.policy_head[-1].weight, std=10.0)
    percent = (observation[:, PRODUCT_CHANNELS.index("probability")] * 100).round().to(torch.uint8)
    heads = network(observation)
    return heads.belief[0], policy.greedy(heads, percent).percent[0].float() / 100


def observation_with(**channels: torch.Tensor | float) -> torch.Tensor:
    observation = torch.rand(1, len(PRODUCT_CHANNELS), 8, 8, 8)
    channels.setdefault("click_belief", channels["probability"])
    for name in PRODUCT_CHANNELS[1:]:
        observation[:, PRODUCT_CHANNELS.index(name)] = channels.get(name, 0.0)
    return observation


def some_state() -> torch.Tensor:
    return torch.randint(1, 100, (8, 8, 8), generator=torch.Generator().manual_seed(0)) / 100


def test_a_click_speaks_for_its_surroundings_and_the_rest_stands_still():
    near = torch.zeros(8, 8, 8)
    near[:3] = 1.0
    seen = observation_with(probability=some_state(), new_foreground_hints=near)
    (belief, state), (free_belief, _) = listening(2.0, seen), listening(0.0, seen)
    assert torch.allclose(torch.sigmoid(belief[3:]), some_state()[3:], atol=1e-5)
    assert torch.allclose(state[3:], some_state()[3:])
    assert torch.equal(belief[:3], free_belief[:3])
    assert not torch.allclose(state[:3], some_state()[:3])


def test_without_a_mask_or_without_a_new_click_the_network_decides_everywhere():
    no_click = observation_with(probability=some_state())
    assert torch.equal(listening(2.0, no_click)[0], listening(0.0, no_click)[0])
    corner = torch.zeros(8, 8, 8).index_fill(0, torch.tensor(0), 1.0)
    no_mask = observation_with(probability=0.01, new_foreground_hints=corner)
    assert torch.equal(listening(2.0, no_mask)[0], listening(0.0, no_mask)[0])


def test_an_untrained_agent_believes_the_state_it_finds_and_leaves_it():
    network, policy = build_network("two_scale", actions=7), AdjustmentPolicy((*ADJUSTMENTS, 0))
    torch.nn.init.zeros_(network.policy_head[-1].weight)
    percent = (some_state() * 100).round().to(torch.uint8)[None]
    heads = network(observation_with(probability=some_state()))
    assert torch.equal(policy.greedy(heads, percent).percent, percent)
