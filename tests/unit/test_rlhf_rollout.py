"""Advantages, means and rewards of rollouts: closed forms, and TorchRL and TRL as second opinions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medseg_rl.rlhf.rollout import (
    generalised_advantages,
    masked_mean,
    masked_whiten,
    over_agents,
    placed,
)


def test_advantages_of_a_late_reward_are_discounted():
    rewards = torch.tensor([[0.0, 0.0, 1.0]])
    found = generalised_advantages(
        rewards, torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool), discount=0.5, gae_lambda=1.0
    )
    assert found.advantages.tolist() == [[0.25, 0.5, 1.0]]


@given(seed=st.integers(0, 1000), discount=st.floats(0.1, 1), gae_lambda=st.floats(0, 1))
def test_advantages_are_those_of_torchrl(seed: int, discount: float, gae_lambda: float) -> None:
    functional = pytest.importorskip("torchrl.objectives.value.functional")
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(3, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    lengths = torch.tensor([6, 4, 1])
    mask = torch.arange(6) < lengths[:, None]
    found = generalised_advantages(rewards, values, mask, discount=discount, gae_lambda=gae_lambda)
    following = torch.cat([values[:, 1:], torch.zeros(3, 1)], 1)
    done = (torch.arange(6) == lengths[:, None] - 1)[..., None]
    expected, _ = functional.generalized_advantage_estimate(
        discount, gae_lambda, values[..., None], following[..., None], rewards[..., None], done, done
    )
    torch.testing.assert_close(found.advantages[mask], expected[..., 0][mask], rtol=1e-5, atol=1e-5)


def test_advantages_of_voxels_are_those_of_each_voxel_alone():
    rewards, values = torch.randn(2, 3, 2, 2, 1), torch.randn(2, 3, 2, 2, 1)
    mask = torch.ones_like(rewards, dtype=torch.bool)
    whole = generalised_advantages(rewards, values, mask, discount=0.9, gae_lambda=0.8).advantages
    one = generalised_advantages(
        rewards[:, :, 1, 0, 0], values[:, :, 1, 0, 0], mask[:, :, 1, 0, 0], discount=0.9, gae_lambda=0.8
    ).advantages
    torch.testing.assert_close(whole[:, :, 1, 0, 0], one)


def test_padding_neither_counts_nor_whitens():
    values = torch.tensor([[1.0, 3.0, 99.0]])
    mask = torch.tensor([[True, True, False]])
    assert masked_mean(values, mask) == 2
    whitened = masked_whiten(values, mask)[mask]
    torch.testing.assert_close(whitened, torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(masked_whiten(values, mask, shift_mean=False)[mask], torch.tensor([1.0, 3.0]))


def test_whitening_is_that_of_a_plain_tensor_where_all_counts():
    values = torch.randn(40, 7)
    expected = (values - values.mean()) / (values.var(correction=0) + 1e-8).sqrt()
    torch.testing.assert_close(masked_whiten(values, torch.ones_like(values)), expected)


def test_the_score_of_an_episode_stands_on_its_last_valid_step():
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert placed(torch.tensor([5.0, 7.0]), mask).tolist() == [[0, 5, 0], [0, 0, 7]]


def test_the_score_of_an_episode_is_given_to_each_voxel():
    mask = torch.ones(1, 2, 2, 2, 1, dtype=torch.bool)
    found = placed(torch.tensor([3.0]), mask)
    assert found[:, 0].abs().sum() == 0
    assert (found[:, 1] == 3).all()


def test_a_reward_that_fits_nothing_is_refused():
    with pytest.raises(ValueError, match="fits no rollout"):
        placed(torch.zeros(2, 5), torch.ones(2, 3))


@pytest.mark.parametrize("copies", [1, 8])
def test_the_mean_over_a_band_does_not_depend_on_the_size_of_the_crop(copies: int) -> None:
    values = torch.tensor([0.2, 0.4]).repeat(copies).reshape(1, 1, -1, 1, 1)
    weights = torch.tensor([1.0, 0.1]).repeat(copies).reshape(1, 1, -1, 1, 1)
    assert over_agents(values, weights, reduction="mean_band").item() == pytest.approx((0.2 + 0.04) / 1.1)
    assert over_agents(values, weights, reduction="sum").item() == pytest.approx(0.6 * copies)
