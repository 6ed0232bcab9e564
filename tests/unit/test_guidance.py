"""Weights and losses of human guidance against the values computed by hand; the book of interventions."""

from __future__ import annotations

import math

import pytest
import torch

from medseg_rl.rlhf.config import HumanGuidanceConfig
from medseg_rl.rlhf.guidance import (
    Takeovers,
    guidance_weight,
    guided_actor_loss,
    human_adjustment,
    imitation_loss,
    lessons_of,
    value_advantage,
)
from medseg_rl.rlhf.records import ArrayReference, Demonstration, Grid, Intervention, VolumePrompt

PAPER = HumanGuidanceConfig(weight_schedule="paper")
HANDOVER = HumanGuidanceConfig()


@pytest.mark.parametrize(
    ("advantage", "cases", "expected"),
    [(-2.0, 0, 0.0), (0.0, 0, 0.0), (math.log(2), 0, 1.0), (math.log(3), 100, 1.480968)],
)
def test_the_weight_of_the_paper_has_the_values_computed_by_hand(advantage: float, cases: int, expected: float) -> None:
    weight = guidance_weight(torch.tensor([advantage], dtype=torch.float64), cases_done=cases, config=PAPER)
    assert float(weight) == pytest.approx(expected, abs=1e-6)


def test_half_of_the_weight_is_left_after_231_cases() -> None:
    one = torch.tensor([math.log(2)], dtype=torch.float64)
    assert float(guidance_weight(one, cases_done=231, config=PAPER)) == pytest.approx(0.49955, abs=1e-5)


def test_the_handover_begins_with_the_fixed_weight_whatever_the_critic_says() -> None:
    weight = guidance_weight(torch.tensor([-5.0, 0.0, 5.0]), cases_done=0, config=HANDOVER)
    assert weight.tolist() == [3.0, 3.0, 3.0]


def test_the_handover_ends_with_the_word_of_the_critic() -> None:
    late = guidance_weight(torch.tensor([-1.0, math.log(2)]), cases_done=1000, config=HANDOVER)
    left = 0.997**1000
    assert late.tolist() == pytest.approx([3 * left * left, 3 * left], rel=1e-5)


@pytest.mark.parametrize("config", [PAPER, HANDOVER])
def test_the_weight_is_never_negative_grows_with_the_advantage_and_decays(config: HumanGuidanceConfig) -> None:
    advantage = torch.linspace(-4, 4, 81)
    early, late = (guidance_weight(advantage, cases_done=k, config=config) for k in (10, 300))
    assert (late >= 0).all()
    assert (early.diff() >= 0).all()
    may_decay = advantage <= (0 if config is HANDOVER else 9)  # the handover gives a trusted critic more, later
    assert (late <= early)[may_decay].all()


def test_the_exponent_is_bounded() -> None:
    weight = guidance_weight(torch.tensor([3.0, 300.0]), cases_done=0, config=PAPER)
    assert weight[0] == weight[1] == pytest.approx(math.exp(3) - 1, rel=1e-6)


def test_methods_without_the_critic_give_a_constant() -> None:
    advantage = torch.tensor([-1.0, 2.0])
    assert guidance_weight(advantage, cases_done=9, config=HumanGuidanceConfig(method="ia")).tolist() == [3.0, 3.0]
    assert guidance_weight(advantage, cases_done=9, config=HumanGuidanceConfig(method="hi")).tolist() == [0.0, 0.0]


def test_no_gradient_goes_through_the_weight() -> None:
    advantage = torch.tensor([0.5], requires_grad=True)
    action = torch.tensor([[0.2]], requires_grad=True)
    weight = guidance_weight(advantage, cases_done=0, config=PAPER)
    guided_actor_loss(action[:, 0], action, torch.tensor([[0.9]]), torch.ones(1), weight).backward()
    assert advantage.grad is None
    assert not weight.requires_grad


def test_a_batch_of_interventions_pulls_towards_the_person_and_no_other_way() -> None:
    action = torch.zeros(4, 1, requires_grad=True)
    executed = torch.full((4, 1), 0.8)
    guided_actor_loss(100 * action[:, 0], action, executed, torch.ones(4), torch.full((4,), 3.0)).backward()
    assert action.grad is not None
    assert action.grad[:, 0].tolist() == pytest.approx([-2 * 3 * 0.8 / 4] * 4)


def test_rows_without_a_person_follow_the_critic_alone() -> None:
    action = torch.zeros(4, 1, requires_grad=True)
    guided_actor_loss(action[:, 0], action, torch.ones(4, 1), torch.zeros(4), torch.full((4,), 3.0)).backward()
    assert action.grad is not None
    assert action.grad[:, 0].tolist() == [-0.25] * 4


def test_an_advantage_of_values_is_what_the_step_gained() -> None:
    gain = value_advantage(torch.tensor(0.5), torch.tensor(2.0), torch.tensor(1.0), discount=0.95)
    assert float(gain) == pytest.approx(1.4)


def test_a_stroke_asks_for_the_nearest_adjustment() -> None:
    painted = torch.tensor([1, 1, 0, 0])
    probability = torch.tensor([0.5, 0.92, 0.18, 0.75])
    assert human_adjustment(painted, probability).tolist() == [5, 3, 1, 0]


def test_imitation_counts_the_touched_agents_alone() -> None:
    logprobs = torch.log(torch.tensor([[0.5, 0.1], [0.25, 0.1]]))
    touched = torch.tensor([[True, False], [True, False]])
    loss = imitation_loss(logprobs, touched, torch.tensor([[1.0, 9.0], [2.0, 9.0]]))
    assert float(loss) == pytest.approx((math.log(2) + 2 * math.log(4)) / 2)
    assert float(imitation_loss(logprobs, torch.zeros(2, 2), torch.ones(2, 2))) == 0


def test_only_the_first_step_of_a_takeover_costs() -> None:
    book = Takeovers(penalty=10)
    costs = [book.add(acting) for acting in (False, True, True, False, True)]
    assert costs == [0, -10, 0, 0, -10]
    book.end_episode()
    assert book.add(True) == -10
    assert (book.steps, book.human_steps, book.events) == (6, 4, 3)
    assert book.rate == pytest.approx(4 / 6)


def _reference(name: str) -> ArrayReference:
    return ArrayReference(f"arrays/{name}.npz", "0" * 64)


def _stroke(case: str, *, retracted: bool = False, may_train: bool = True) -> Intervention:
    grid = Grid(spacing=(1, 1, 1), start=(0, 0, 0), shape=(4, 4, 4), volume_shape=(4, 4, 4))
    prompt = VolumePrompt(grid=grid, initial_probability=_reference("p"), image=_reference("i"))
    return Intervention(
        case_id=case, group_id=case, annotator="a", annotator_kind="simulated", prompt=prompt, may_train=may_train,
        step=0, case_index=0, voxels=_reference("v"), label=1, proposed_action=None, executed_action=_reference("e"),
        retracted=retracted,
    )  # fmt: skip


def test_strokes_that_were_taken_back_or_whose_case_was_never_accepted_teach_nothing() -> None:
    strokes = [
        _stroke("one"), _stroke("one", retracted=True), _stroke("two"), _stroke("one", may_train=False)
    ]  # fmt: skip
    accepted = Demonstration(
        case_id="one", group_id="one", annotator="a", annotator_kind="simulated", prompt=strokes[0].prompt,
        completion=_reference("m"),
    )  # fmt: skip
    found = lessons_of([*strokes, accepted])
    assert [lesson.stroke for lesson in found.lessons] == strokes[:1]
    assert found.lessons[0].accepted is accepted
    assert (found.retracted, found.never_accepted, found.not_allowed) == (1, 1, 1)
    assert found.retracted_share == 0.25
