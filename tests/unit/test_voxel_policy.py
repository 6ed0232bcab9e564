"""The voxel agents as a policy of `rlhf`: same numbers when re-scored, weights of the band, the supervised loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medseg_rl.agent.networks import build_network
from medseg_rl.agent.policy import AdjustmentPolicy
from medseg_rl.environment.actions import FINE_ADJUSTMENTS
from medseg_rl.environment.rewards import gain_of_every_action
from medseg_rl.hints.maps import HintConfig
from medseg_rl.recipes.refinement.voxel_policy import OUTSIDE, VoxelPolicy, prompts_of, rolled_out, weights_of
from medseg_rl.training_scenes import TrainingCase


def a_policy() -> VoxelPolicy:
    torch.manual_seed(1)
    policy = AdjustmentPolicy(FINE_ADJUSTMENTS)
    return VoxelPolicy(build_network("pyramid", actions=policy.outputs).eval(), policy)


def a_case(size: int = 14) -> TrainingCase:
    rng = np.random.default_rng(0)
    reference = np.zeros((size,) * 3, bool)
    reference[4:10, 4:10, 4:10] = True
    start = np.where(np.roll(reference, 2, 0), 90, 3).astype(np.uint8)
    return TrainingCase("a", rng.normal(size=reference.shape).astype(np.float32), reference, start, (1.0, 1.0, 1.0))


def test_what_was_sampled_is_rescored_to_the_same_numbers_and_kl_is_zero_at_the_start() -> None:
    policy = a_policy()
    prompts = prompts_of([a_case()], (16, 16, 16), HintConfig())
    rollout, states = rolled_out(policy, policy, prompts, steps=3, generator=torch.Generator().manual_seed(0))
    again = policy.evaluate(rollout.inputs)
    assert states.shape == (1, 4, 16, 16, 16)
    assert torch.equal(rollout.logprobs, rollout.ref_logprobs)
    torch.testing.assert_close(again.logprobs, rollout.logprobs, atol=1e-4, rtol=0)


def test_the_band_holds_the_contour_and_the_click_and_clicked_voxels_do_not_count() -> None:
    (prompt,) = prompts_of([a_case()], (16, 16, 16), HintConfig())
    weights = weights_of(prompt)
    (click,) = prompt.clicks
    assert weights[click.index] == 0
    assert weights[0, 0, 0] == pytest.approx(OUTSIDE)
    assert [round(value, 6) for value in weights.unique().tolist()] == [0.0, OUTSIDE, 1.0]


def test_the_supervised_loss_is_minus_the_log_of_the_nearest_action() -> None:
    policy = a_policy()
    prompts = prompts_of([a_case()], (16, 16, 16), HintConfig())
    rollout, _ = rolled_out(policy, policy, prompts, steps=1, generator=None)
    label = torch.from_numpy(prompts[0].scene.reference[None])
    one = torch.zeros_like(rollout.mask)
    one[0, 0, 6, 6, 6] = 1.0
    with torch.no_grad():
        found = float(policy.consistent({**rollout.inputs, "mask": one}, label))
        _, logs = policy.heads(rollout.inputs)[0]
    best = gain_of_every_action(rollout.inputs["percent"][:, 0], label, FINE_ADJUSTMENTS).argmax(1)[0, 6, 6, 6]
    assert found == pytest.approx(-float(logs[0, best, 6, 6, 6]), abs=1e-5)
    assert math.isfinite(found)
