"""The last refinement step as one answer of independent voxels, and the rewards of masks, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from medseg_rl.agent.networks import build_network
from medseg_rl.agent.policy import AdjustmentPolicy
from medseg_rl.environment.actions import FINE_ADJUSTMENTS
from medseg_rl.environment.episode import Episode, Scene
from medseg_rl.hints.maps import HintConfig
from medseg_rl.recipes.refinement.last_step import Before, LastStep, before_last
from medseg_rl.recipes.refinement.task_rewards import credit_of, figures, rewards_of
from medseg_rl.recipes.refinement.voxel_policy import VoxelPolicy, acted, prompts_of
from medseg_rl.rlhf.config import REINFORCEConfig
from medseg_rl.rlhf.task_reward import TaskRewardTrainer
from medseg_rl.training_scenes import TrainingCase


def an_actor(network: str = "pyramid") -> VoxelPolicy:
    torch.manual_seed(1)
    policy = AdjustmentPolicy(FINE_ADJUSTMENTS)
    return VoxelPolicy(build_network(network, actions=policy.outputs).eval().requires_grad_(False), policy)


def prompts() -> list[Episode]:
    rng = np.random.default_rng(0)
    reference = np.zeros((12, 12, 12), bool)
    reference[3:8, 3:8, 3:8] = True
    start = np.where(np.roll(reference, 2, 0), 62, 35).astype(np.uint8)
    case = TrainingCase("a", rng.normal(size=reference.shape).astype(np.float32), reference, start, (1.0, 1.0, 1.0))
    return prompts_of([case], (12, 12, 12), HintConfig())


def a_scene(reference: np.ndarray) -> Episode:
    shape = reference.shape
    scene = Scene(
        np.zeros(shape, np.float32), reference, np.ones(shape, np.uint8), np.ones(shape, np.float32), (1.0, 1.0, 1.0)
    )
    return Episode(scene, hints=HintConfig())


def test_a_voxel_ends_inside_with_the_chance_of_the_adjustments_that_lead_there() -> None:
    actor = an_actor()
    prompt = before_last(actor, prompts(), steps=2)
    with torch.no_grad():
        found = LastStep(actor).probability(prompt)[0, 5, 5, 5]
        heads = actor.network.heads(actor.network.features(prompt.first), prompt.seen)
        chances = functional.softmax(actor.policy.logits(heads, prompt.percent), 1)[0, :, 5, 5, 5]
    percent = int(prompt.percent[0, 5, 5, 5])
    leads = [min(max(percent + step, 1), 99) > 50 for step in FINE_ADJUSTMENTS]
    assert float(found) == pytest.approx(sum(float(c) for c, lead in zip(chances, leads, strict=True) if lead))


def test_what_stands_before_the_last_step_is_what_the_greedy_policy_left() -> None:
    actor = an_actor()
    prompt = before_last(actor, prompts(), steps=3)
    _, states = acted(actor, prompts(), steps=3, generator=None)
    assert torch.equal(prompt.percent, states[:, 2])
    assert torch.equal(LastStep(actor).greedy(prompt), states[:, 3] > 50)


def test_fixed_voxels_are_no_decision() -> None:
    actor = an_actor()
    prompt = before_last(actor, prompts(), steps=2)
    (click,) = prompt.episodes[0].clicks
    model = LastStep(actor)
    answer = model.draw(prompt, torch.Generator().manual_seed(0))
    assert float(model.probability(prompt)[(0, *click.index)]) in (0.0, 1.0)
    assert float(model.logprobs(prompt, answer)[(0, *click.index)]) == 0.0
    assert bool(answer[(0, *click.index)]) is (int(prompt.percent[(0, *click.index)]) > 50)


def test_the_four_figures_of_masks_that_are_known() -> None:
    reference = np.zeros((30, 30, 30), bool)
    reference[5:10, 5:10, 5:10] = True
    episode = a_scene(reference)
    assert figures(reference, episode) == {"dice": 1.0, "nsd": 1.0, "hd95": 1.0, "islands": 1.0}
    empty = figures(np.zeros_like(reference), episode)
    assert empty == {"dice": 0.0, "nsd": 0.0, "hd95": 0.0, "islands": 0.0}
    with_specks = reference.copy()
    with_specks[20, 20, 20] = with_specks[25, 25, 25] = True
    found = figures(with_specks, episode)
    assert found["dice"] == pytest.approx(2 * 125 / (125 + 127))
    assert found["islands"] == pytest.approx(found["dice"] - 0.1)
    moved = np.roll(reference, 4, 0)
    assert figures(moved, episode)["hd95"] == pytest.approx(1 - 4 / 20)


@pytest.mark.parametrize("name", ["nsd", "hd95", "islands"])
def test_credit_by_flipping_falls_on_undecided_voxels_alone(name: str) -> None:
    actor = an_actor()
    prompt = before_last(actor, prompts(), steps=2)
    model = LastStep(actor)
    answer = model.draw(prompt, torch.Generator().manual_seed(0))
    credit = credit_of(name, model, prompt, answer, picks=5, generator=torch.Generator().manual_seed(0))
    assert credit.shape == answer.shape
    assert 0 <= int((credit != 0).sum()) <= 5
    assert not credit[prompt.fixed].any()


def test_reward_and_credit_agree_on_what_one_voxel_is_worth() -> None:
    """Two masks that differ in one voxel: the difference of their rewards is the sum of that voxel's two credits."""
    actor = an_actor()
    prompt = before_last(actor, prompts(), steps=2)
    model = LastStep(actor)
    inside = torch.zeros_like(prompt.label)
    inside[0, 4:8, 4:8, 4:8] = True
    outside = inside.clone()
    outside[0, 5, 5, 5] = False
    gap = rewards_of("dice", prompt, inside) - rewards_of("dice", prompt, outside)
    picking = torch.Generator()
    credits = [
        credit_of("dice", model, prompt, answer, picks=1, generator=picking)[0, 5, 5, 5] for answer in (inside, outside)
    ]
    assert float(credits[0] - credits[1]) == pytest.approx(float(gap[0]), abs=1e-6)


def test_dice_of_the_samples_rises_with_marginal_credit_on_one_planted_prompt() -> None:
    actor = an_actor("small")  # without a belief, so that drawn weights are decided nowhere
    actor.network.requires_grad_(True)
    model, episodes = LastStep(actor), prompts()
    picking = torch.Generator().manual_seed(0)
    trainer = TaskRewardTrainer(
        model,
        lambda prompt, answer: rewards_of("dice", prompt, answer),
        REINFORCEConfig(counterfactual=True, num_samples=2, learning_rate=3e-3),
        credit=lambda prompt, answer: credit_of("dice", model, prompt, answer, picks=1, generator=picking),
    )

    def expected(prompt: Before) -> float:
        with torch.no_grad():
            chance = model.probability(prompt)[prompt.label]
        return float(chance.mean())

    prompt = before_last(actor, episodes, steps=1)
    first, chance = trainer.step(prompt)["reward"], expected(prompt)
    for _ in range(12):
        last = trainer.step(prompt)["reward"]
    assert last > first
    assert expected(prompt) > chance
