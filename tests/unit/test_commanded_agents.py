"""Commands to the voxel agents: what they ask for, masks in the want of one, demonstrations, how obedience counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg_rl.agent.networks import build_network
from medseg_rl.agent.policy import AdjustmentPolicy
from medseg_rl.bundle.settings import AgentSettings
from medseg_rl.environment.actions import FINE_ADJUSTMENTS
from medseg_rl.hints.maps import HintConfig
from medseg_rl.recipes.refinement.intents import ASKED, clean, damaged, most_harmful, overlap, soft_state, target_of
from medseg_rl.recipes.refinement.obedience import done_of, gain_under, likeness_of, obeyed, won_under
from medseg_rl.recipes.refinement.obeying import with_commands
from medseg_rl.recipes.refinement.orders import WEIGHT, Order, demonstrated, drawn_orders, evenly, order_of
from medseg_rl.recipes.refinement.voxel_policy import VoxelPolicy, acted
from medseg_rl.refiner import COMMANDS, MASK_THRESHOLD
from medseg_rl.rlhf.grounded import COMMAND, CloningTrainer, commanded
from medseg_rl.training_scenes import TrainingCase
from medseg_rl.volume import Spacing

MM: Spacing = (1.0, 1.0, 1.0)


def a_ball(radius: float = 6.0, size: int = 20) -> np.ndarray:
    axes = np.ogrid[:size, :size, :size]
    return sum((axis - size / 2) ** 2 for axis in axes) <= radius**2


def a_case() -> TrainingCase:
    image = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    return TrainingCase("a", image, a_ball(), None, MM)


def an_order(command: str, remedy: str) -> Order:
    return order_of(a_case(), remedy, command, np.random.default_rng(1), HintConfig(), clicked=False)


def an_actor() -> VoxelPolicy:
    torch.manual_seed(0)
    policy = AdjustmentPolicy(FINE_ADJUSTMENTS)
    known = build_network("pyramid", actions=policy.outputs)
    agent = AgentSettings("pyramid", "adjustment", FINE_ADJUSTMENTS, known.channels, HintConfig())
    return VoxelPolicy(with_commands(known, agent).eval(), policy)


@pytest.mark.parametrize("remedy", ASKED)
@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_mask_comes_nearer_to_what_is_wanted_by_its_remedy(remedy: str, seed: int) -> None:
    wanted = clean(a_ball(), MM)
    mask = damaged(wanted, MM, remedy, np.random.default_rng(seed))
    assert overlap(target_of(remedy, mask, MM), wanted) > overlap(mask, wanted)


@pytest.mark.parametrize("remedy", ["fill_holes", "remove_islands"])
def test_holes_and_islands_are_mended_exactly_and_are_no_concern_of_the_other(remedy: str) -> None:
    wanted = clean(a_ball(), MM)
    mask = damaged(wanted, MM, remedy, np.random.default_rng(4))
    assert np.array_equal(target_of(remedy, mask, MM), wanted)
    (other,) = {"fill_holes", "remove_islands"} - {remedy}
    assert np.array_equal(target_of(other, mask, MM), mask)


def test_an_adversary_shrinks_what_is_too_small_and_grows_what_is_too_large() -> None:
    wanted = clean(a_ball(), MM)
    rng = np.random.default_rng(0)
    assert most_harmful(damaged(wanted, MM, "grow", rng), wanted, MM) == "shrink"
    assert most_harmful(damaged(wanted, MM, "shrink", rng), wanted, MM) == "grow"


def test_a_soft_state_has_its_mask_and_two_empty_masks_are_alike() -> None:
    state = soft_state(a_ball(), MM, np.random.default_rng(0))
    assert np.array_equal(state > MASK_THRESHOLD, a_ball())
    assert state.min() >= 1
    assert state.max() <= 99
    assert overlap(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)) == 1


def test_demonstrated_orders_end_in_their_targets_and_hold_a_command_at_every_step() -> None:
    actor = an_actor()
    orders = drawn_orders([a_case()], 5, 0, HintConfig())
    examples = demonstrated(orders, actor.policy, actor.network.channels, steps=2)
    commanded(examples, na_command=0)
    assert examples.inputs[COMMAND][:, 0].tolist() == [COMMANDS.index(command) for command in ASKED]
    last, actions = examples.inputs["percent"][:, -1].int(), examples.inputs["actions"][:, -1].long()
    ended = (last + torch.tensor(FINE_ADJUSTMENTS)[actions]).clamp(1, 99) > MASK_THRESHOLD
    for order, mask in zip(orders, ended, strict=True):
        free = ~order.episode.fixed_voxels
        assert np.array_equal(mask.numpy()[free], order.target[free])


def test_every_episode_weighs_alike_and_what_changes_weighs_as_much_as_the_rest() -> None:
    order = an_order("remove_islands", "remove_islands")
    examples = demonstrated([order], AdjustmentPolicy(FINE_ADJUSTMENTS), an_actor().network.channels, steps=1)
    changed = torch.from_numpy(order.episode.mask != order.target)
    assert float(examples.mask.sum()) == pytest.approx(WEIGHT, rel=1e-4)
    assert float(examples.mask[0, 0][changed].sum()) == pytest.approx(WEIGHT / 3, rel=1e-4)
    even = evenly(torch.rand(2, 1, 8, 8, 8) * torch.tensor([1.0, 0.5])[:, None, None, None, None])
    assert even.flatten(1).sum(1).tolist() == pytest.approx([WEIGHT, WEIGHT], rel=1e-4)


def test_before_cloning_no_command_is_heard_and_after_it_only_commands_are() -> None:
    actor = an_actor()
    order = an_order("grow", "grow")
    numbers = [0, COMMANDS.index("grow"), COMMANDS.index("shrink")]
    _, states = acted(actor, [order.episode] * 3, steps=1, generator=None, commands=numbers)
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
    examples = demonstrated([order], actor.policy, actor.network.channels, steps=1)
    CloningTrainer(actor, learning_rate=1e-2).step(examples)
    assert actor.network.command is not None
    heard = actor.network.command.weight.abs().sum(1) > 0
    assert heard.tolist() == [False, True, False, False, False, False]


def test_an_actor_that_does_what_it_is_told_gains_under_the_oracle_and_loses_under_the_adversary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from medseg_rl.recipes.refinement import obedience

    def perfect(actor: object, episodes: list, *, commands: list[int] | None = None, **_: object) -> tuple:
        ends = []
        for episode, command in zip(episodes, commands or [0] * len(episodes), strict=True):
            mask = target_of(COMMANDS[command], episode.mask, MM) if command else episode.mask
            ends.append(torch.from_numpy(np.where(mask, 99, 1).astype(np.uint8)))
        return {}, torch.stack(ends)[:, None]

    monkeypatch.setattr(obedience, "acted", perfect)
    case = TrainingCase("a", a_case().image, a_ball(), np.where(a_ball(5.0), 90, 5).astype(np.uint8), MM)
    masks = obeyed(an_actor(), case, 0, steps=1, hints=HintConfig())["masks"]
    for mask in masks:
        assert gain_under("Oracle", mask) > 0
        assert gain_under("NA", mask) == 0
        assert gain_under("Adversarial", mask) < 0
        assert won_under("Oracle", mask) == 1
        assert gain_under("Adversarial", mask) < gain_under("Random", mask) < gain_under("Oracle", mask)
    assert likeness_of(masks) == 1
    assert likeness_of(masks, "before") < 1
    islands = done_of("remove_islands", masks)
    assert islands.progress == 1
    assert islands.left_alone is not None
    assert islands.left_alone.rate == 1
