"""Reward models from rankings: the values of the formulas, invariances, and a planted utility."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg_rl.rlhf.config import RewardConfig
from medseg_rl.rlhf.preferences import pairwise_loss, position_bias, ranking_loss, simulated_ranks, strict_pairs
from medseg_rl.rlhf.reward_model import RankedPrompt, RewardModelTrainer, telescoped

FOUR, NINE = torch.arange(3.0, -1, -1), torch.arange(8.0, -1, -1)


def ranks(count: int) -> Tensor:
    return torch.arange(1, count + 1)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([torch.zeros(4)], math.log(2)), ([FOUR], 0.2070381), ([NINE], 0.1059253), ([FOUR, NINE], 0.1564817)],
)
def test_the_loss_counts_each_prompt_once(scores: list[Tensor], expected: float) -> None:
    found = ranking_loss(scores, [ranks(len(s)) for s in scores])
    assert found.loss.item() == pytest.approx(expected, abs=1e-6)


def test_the_mean_over_all_pairs_is_another_number():
    every = torch.cat([pairwise_loss(s[b], s[w]) for s in (FOUR, NINE) for b, w in [strict_pairs(ranks(len(s)))]])
    assert len(every) == 42
    assert every.mean().item() == pytest.approx(0.1203700, abs=1e-6)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=9), st.integers(0, 1000))
def test_the_loss_is_that_of_two_loops(given_ranks: list[int], seed: int) -> None:
    scores = torch.randn(len(given_ranks), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    terms = [
        -math.log(1 / (1 + math.exp(-(float(scores[a]) - float(scores[b])))))
        for a in range(len(given_ranks))
        for b in range(len(given_ranks))
        if given_ranks[a] < given_ranks[b]
    ]
    if not terms:
        with pytest.raises(ValueError, match="no strict pair"):
            ranking_loss([scores], [torch.tensor(given_ranks)])
        return
    found = ranking_loss([scores], [torch.tensor(given_ranks)])
    assert found.loss.item() == pytest.approx(sum(terms) / len(terms))
    shifted = ranking_loss([scores + 5], [torch.tensor(given_ranks)])
    assert shifted.loss.item() == pytest.approx(found.loss.item())


def test_the_gradient_is_that_of_pairs_weighed_by_their_prompt():
    scores = [torch.randn(4, requires_grad=True), torch.randn(9, requires_grad=True)]
    ranking_loss(scores, [ranks(4), ranks(9)]).loss.backward()
    found = [s.grad.clone() for s in scores if s.grad is not None]
    for s in scores:
        s.grad = None
        better, worse = strict_pairs(ranks(len(s)))
        (pairwise_loss(s[better], s[worse]) / math.comb(len(s), 2) / len(scores)).sum().backward()
    for ours, s in zip(found, scores, strict=True):
        torch.testing.assert_close(ours, s.grad)


def test_ties_are_dropped_and_prompts_of_ties_are_counted():
    found = ranking_loss(
        [torch.tensor([1.0, 0.0, 9.0]), torch.zeros(2)], [torch.tensor([1, 2, 2]), torch.tensor([1, 1])]
    )
    assert (found.skipped, found.pairs, found.correct) == (1, 2, 1)


def test_the_pairwise_loss_is_minus_the_log_of_a_sigmoid():
    from torch.nn import functional

    chosen, rejected = torch.randn(20), torch.randn(20)
    expected = -functional.logsigmoid(chosen - rejected)
    torch.testing.assert_close(pairwise_loss(chosen, rejected), expected)


def test_a_person_without_noise_ranks_by_the_utility_and_ties_equals():
    found = simulated_ranks(torch.tensor([0.2, 0.9, 0.9, 0.1]), temperature=0, generator=torch.Generator())
    assert found.tolist() == [3, 1, 1, 4]


def test_a_noisy_person_chooses_by_plackett_and_luce():
    generator = torch.Generator().manual_seed(0)
    utility, temperature = torch.tensor([0.0, 1.0, 2.0]), 1.5
    first = torch.zeros(3)
    for _ in range(4000):
        first[simulated_ranks(utility, temperature=temperature, generator=generator).argmin()] += 1
    torch.testing.assert_close(first / 4000, torch.softmax(utility / temperature, 0), atol=0.025, rtol=0)


def test_the_bias_for_the_answer_shown_first_is_found():
    generator = torch.Generator().manual_seed(1)
    difference = torch.randn(4000, generator=generator)
    won = torch.rand(4000, generator=generator) < torch.sigmoid(difference + 0.5)
    found = position_bias(difference, won)
    assert abs(found.bias - 0.5) < 3 * found.standard_error < 0.2


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(5, 1)

    def score(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.layer(inputs["features"])[:, 0]


def prompts(count: int, temperature: float, annotator: str, seed: int) -> list[RankedPrompt]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.tensor([1.0, -1.0, 0.5, 0.0, 0.0])
    made = []
    for _ in range(count):
        features = torch.randn(int(torch.randint(4, 10, (), generator=generator)), 5, generator=generator)
        order = simulated_ranks(features @ hidden, temperature=temperature, generator=generator)
        made.append(RankedPrompt({"features": features}, order, annotator))
    return made


def test_a_planted_utility_is_learned_from_ranks_and_demonstrations_score_zero():
    trainer = RewardModelTrainer(Linear(), RewardConfig(learning_rate=0.05, num_epochs=3, prompts_per_batch=16))
    metrics = trainer.fit(prompts(200, 0.3, "train", 0))
    held_out = prompts(100, 0.0, "careful", 1) + prompts(100, 1.0, "hasty", 2)
    found = trainer.accuracy(held_out)
    assert found["accuracy/careful"] > 0.9 > found["accuracy"] > found["accuracy/hasty"] > 0.6
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert metrics[0].keys() >= {"accuracy", "min_reward", "mean_reward", "max_reward", "margin", "rm/skipped_prompts"}
    demonstrations = {"features": torch.randn(50, 5) + 2}
    trainer.normalise(demonstrations, unit_deviation=True)
    scores = trainer.rewards(demonstrations)
    assert abs(float(scores.mean())) < 1e-5
    assert float(scores.std()) == pytest.approx(1, abs=1e-4)


def test_prompts_of_ties_alone_change_nothing():
    model = Linear()
    before = copy.deepcopy(model.state_dict())
    tied = RankedPrompt({"features": torch.randn(4, 5)}, torch.ones(4, dtype=torch.long))
    assert RewardModelTrainer(model, RewardConfig()).update([tied]) == {"rm/skipped_prompts": 1.0}
    assert torch.equal(model.layer.weight, before["layer.weight"])


def test_the_same_seed_gives_the_same_numbers():
    runs = [
        RewardModelTrainer(Linear(), RewardConfig(prompts_per_batch=8), seed=3).fit(prompts(20, 1, "a", 0))
        for _ in "ab"
    ]
    assert runs[0] == runs[1]


def test_rewards_of_a_map_telescope():
    maps = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(telescoped(maps).sum(1), maps[:, -1] - maps[:, 0])
