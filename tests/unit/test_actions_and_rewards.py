"""The decision process in closed form: adjustments, gains, returns, credit."""

import itertools
import math

import pytest
import torch

from medseg_rl.environment.actions import ADJUSTMENTS, apply_adjustments, greedy_actions, sample_actions
from medseg_rl.environment.rewards import (
    LearnedCredit,
    NeighbourCredit,
    cross_entropy,
    cross_entropy_gain,
    discounted_returns,
    gain_of_every_action,
)

SHAPE = (2, 3, 4, 5)


def states(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    percent = torch.randint(1, 100, SHAPE, generator=generator, dtype=torch.uint8)
    return percent, torch.rand(SHAPE, generator=generator) > 0.5


def test_an_adjustment_is_exact_and_stays_between_1_and_99():
    percent = torch.arange(1, 100, dtype=torch.uint8).view(1, 1, 1, 99)
    for action, adjustment in enumerate(ADJUSTMENTS):
        after = apply_adjustments(percent, torch.full(percent.shape, action))
        assert after.flatten().tolist() == [min(99, max(1, k + adjustment)) for k in range(1, 100)]


def test_two_steps_cross_from_sure_background_to_object_and_three_saturate():
    percent, up = torch.ones(1, 1, 1, 1, dtype=torch.uint8), torch.full((1, 1, 1, 1), len(ADJUSTMENTS) - 1)
    seen = [int(percent := apply_adjustments(percent, up)) for _ in range(3)]
    assert seen == [41, 81, 99]


def test_greedy_ties_go_to_the_smallest_change_then_to_the_first():
    assert ADJUSTMENTS[int(greedy_actions(torch.zeros(1, 6, 1, 1, 1)))] == -10
    logits = torch.tensor([1.0, 0, 0, 0, 0, 1.0]).view(1, 6, 1, 1, 1)
    assert ADJUSTMENTS[int(greedy_actions(logits))] == -40


def test_sampled_actions_follow_the_softmax():
    logits = torch.tensor([0.0, 1, 2, 0, -1, 0.5]).view(1, 6, 1, 1, 1).expand(1, 6, 50, 50, 40)
    drawn = sample_actions(logits, generator=torch.Generator().manual_seed(1))
    shares = torch.bincount(drawn.flatten(), minlength=6) / drawn.numel()
    assert torch.allclose(shares, torch.softmax(logits[0, :, 0, 0, 0], 0), atol=0.006)


def test_cross_entropy_is_minus_log_of_the_probability_of_the_truth():
    percent, reference = torch.tensor([[[[30, 30]]]], dtype=torch.uint8), torch.tensor([[[[True, False]]]])
    expected = torch.tensor([-math.log(0.3), -math.log(0.7)])
    assert torch.allclose(cross_entropy(percent, reference).flatten(), expected)


def test_the_gain_is_bounded_by_the_largest_adjustment_at_the_clip():
    gains = [
        float(cross_entropy_gain(before, apply_adjustments(before, torch.full(before.shape, a)), truth).abs().max())
        for truth, a in itertools.product((torch.ones(1, 1, 1, 99) > 0, torch.zeros(1, 1, 1, 99) > 0), range(6))
        for before in [torch.arange(1, 100, dtype=torch.uint8).view(1, 1, 1, 99)]
    ]
    assert max(gains) == pytest.approx(math.log(0.41 / 0.01), abs=1e-5)


def test_the_gain_of_every_action_equals_the_gain_of_doing_it():
    percent, reference = states()
    table = gain_of_every_action(percent, reference)
    for action in range(len(ADJUSTMENTS)):
        after = apply_adjustments(percent, torch.full(SHAPE, action))
        assert torch.allclose(table[:, action], cross_entropy_gain(percent, after, reference), atol=1e-6)


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.95, 1.0])
def test_the_return_telescopes_into_the_cross_entropies_of_the_states(discount):
    generator, reference = torch.Generator().manual_seed(3), states()[1]
    steps = 5
    path = [torch.randint(1, 100, SHAPE, generator=generator, dtype=torch.uint8) for _ in range(steps + 1)]
    rewards = torch.stack([cross_entropy_gain(a, b, reference) for a, b in itertools.pairwise(path)])
    returns, _ = discounted_returns(rewards, discount=discount)
    entropy = [cross_entropy(state, reference) for state in path]
    expected = entropy[0] - discount ** (steps - 1) * entropy[steps]
    for t in range(1, steps):
        expected = expected - (1 - discount) * discount ** (t - 1) * entropy[t]
    assert torch.allclose(returns[0], expected, atol=1e-5)


def test_future_parts_and_rewards_add_up_to_returns_with_bootstrap():
    rewards, end = torch.rand(3, *SHAPE), torch.rand(SHAPE)
    returns, futures = discounted_returns(rewards, discount=0.9, bootstrap=end)
    assert torch.allclose(returns, rewards + futures)
    assert torch.allclose(futures[-1], 0.9 * end)


def test_neighbour_credit_keeps_the_sum_inside_and_is_the_identity_at_rho_zero():
    reward = torch.zeros(1, 31, 31, 31)
    reward[0, 15, 15, 15] = 1.0
    spread = NeighbourCredit(spacing=(1.0, 1.0, 2.0), rho=0.5, sigma_mm=3.0)(reward)
    assert float(spread.sum()) == pytest.approx(1.0, abs=1e-4)
    assert float(spread[0, 15, 15, 15]) > 0.5
    assert float(spread[0, 15, 15, 16]) < float(spread[0, 16, 15, 15])  # 2 mm away against 1 mm
    assert torch.equal(NeighbourCredit(spacing=(1.0, 1.0, 1.0), rho=0.0)(reward), reward)


def test_a_learned_credit_begins_as_the_identity_bit_for_bit():
    rewards = torch.randn(3, *SHAPE)
    plain = discounted_returns(rewards, discount=0.9)
    learned = discounted_returns(rewards, discount=0.9, credit=LearnedCredit(3))
    for one, other in zip(plain, learned, strict=True):
        assert torch.equal(one, other)


def test_a_learned_credit_is_a_mean_over_neighbours_in_closed_form():
    credit = LearnedCredit(3)
    with torch.no_grad():
        credit.share.fill_(0.6)
        credit.logits[2, 1, 1] = math.log(27.0)  # one neighbour weighs 27, the other 26 of the kernel 1
    reward_map = torch.zeros(1, 5, 5, 5)
    reward_map[0, 3, 2, 2] = 1
    credited = credit(reward_map)[0]
    unit = 0.6 / (27 + 26)
    assert torch.isclose(credited[2, 2, 2], torch.tensor(27 * unit))  # its neighbour along x earned that
    assert torch.isclose(credited[3, 2, 2], torch.tensor(0.4 + unit))
    assert torch.isclose(credited[4, 2, 2], torch.tensor(unit))
    assert torch.isclose(credited.sum(), torch.tensor(1.0))


@pytest.mark.parametrize("seed", range(5))
def test_a_learned_credit_stays_a_mean_whatever_is_done_to_it(seed):
    credit = LearnedCredit(3)
    optimiser = torch.optim.SGD(credit.parameters(), lr=5.0)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(5):
        optimiser.zero_grad()
        (credit(torch.randn(SHAPE, generator=generator)) * torch.randn(SHAPE, generator=generator)).sum().backward()
        optimiser.step()
        credit.project()
        assert torch.isclose(credit.kernel.sum(), torch.tensor(1.0))
        assert (credit.kernel >= 0).all()


def test_the_gradient_of_a_learned_credit_is_that_of_the_value_loss_by_finite_differences():
    rewards = torch.randn(3, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    credit = LearnedCredit(3).double()
    with torch.no_grad():
        credit.share.fill_(0.3)

    def loss() -> torch.Tensor:
        return (discounted_returns(rewards, discount=0.9, credit=credit)[0] ** 2).mean()

    loss().backward()
    for parameter, place in ((credit.share, ()), (credit.logits, (0, 1, 2)), (credit.logits, (1, 1, 1))):
        sides = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter[place] += step
                sides.append(float(loss()))
                parameter[place] -= step
        assert float(parameter.grad[place]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4, abs=1e-9)


def test_a_credit_learns_which_neighbour_earned_the_return():
    generator = torch.Generator().manual_seed(0)
    credit = LearnedCredit(3)
    optimiser = torch.optim.Adam(credit.parameters(), lr=0.1)
    for _ in range(150):
        later = torch.randn(4, 6, 6, 6, generator=generator)
        earned = torch.roll(later, -1, 1)  # a voxel's value is what its neighbour along x gains
        optimiser.zero_grad()
        ((credit(later) - earned)[:, 1:-1] ** 2).mean().backward()
        optimiser.step()
        credit.project()
    assert credit.kernel[2, 1, 1] > 0.8
