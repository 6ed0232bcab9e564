"""A click on a given mask costs its surroundings, not the region: voxels that the agents look at are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from medseg_rl.agent.networks import build_network
from medseg_rl.agent.policy import AdjustmentPolicy, TwinPolicy
from medseg_rl.agent.refine import VoxelAgentRefiner
from medseg_rl.environment.actions import ADJUSTMENTS, FINE_ADJUSTMENTS
from medseg_rl.environment.click_relations import FARTHEST_MM
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.maps import HintConfig
from medseg_rl.interaction import InteractionConfig, TurnInput, take_turn
from medseg_rl.refiner import Percent, RefinementRequest, never_cancelled, no_preview, reach_of
from medseg_rl.volume import Box

SPACING = (1.0, 1.0, 1.0)


def agents(policy: AdjustmentPolicy | TwinPolicy | None = None, *, locality: float = 4.0) -> VoxelAgentRefiner:
    policy = policy or AdjustmentPolicy(FINE_ADJUSTMENTS)
    torch.manual_seed(5)
    network = build_network("pyramid", actions=policy.outputs)
    network.locality.fill_(locality)
    for head in (network.policy_head, network.belief_head):
        assert head is not None
        torch.nn.init.normal_(head[-1].weight, std=0.5)  # type: ignore[arg-type]
    return VoxelAgentRefiner(network, policy, hints=HintConfig(kind="edt_exp"))


def ball(side: int, radius: float) -> Percent:
    squares = sum((axis - side // 2) ** 2 for axis in np.ogrid[:side, :side, :side])
    return np.where(squares < radius**2, 90, 10).astype(np.uint8)


def request(side: int = 40, radius: float = 12) -> RefinementRequest:
    image = np.random.default_rng(2).normal(size=(side,) * 3).astype(np.float32)
    click = Click((side // 2, side // 2, side // 2 + 13), ClickLabel.FOREGROUND)
    return RefinementRequest(image, SPACING, ball(side, radius), (click,), 1)


class Counting:
    """A refiner that writes down how many voxels it was shown."""

    def __init__(self, refiner: VoxelAgentRefiner) -> None:
        self._refiner, self.name, self.reach_mm = refiner, refiner.name, refiner.reach_mm
        self.seen: list[int] = []

    def describe(self) -> dict[str, Any]:
        return self._refiner.describe()

    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        self.seen.append(request.percent.size)
        return self._refiner.refine(request, cancel=cancel, preview=preview)


def test_beyond_its_reach_a_click_changes_no_voxel() -> None:
    asked = request()
    after = agents().refine(asked)
    axes = zip(np.ogrid[:40, :40, :40], asked.clicks[0].index, strict=True)
    distance = np.sqrt(sum((axis - i) ** 2 for axis, i in axes))
    assert (after != asked.percent).any()
    assert (after == asked.percent)[distance >= FARTHEST_MM].all()


@pytest.mark.parametrize("label", list(ClickLabel))
def test_deciding_only_where_a_click_is_heard_gives_the_state_of_deciding_everywhere(label: ClickLabel) -> None:
    asked = replace(request(), clicks=(Click((20, 20, 30), label),))
    near, everywhere = agents(), agents()
    everywhere._heard = lambda request: Box.whole((40, 40, 40)).slices  # type: ignore[method-assign]
    np.testing.assert_array_equal(near.refine(asked), everywhere.refine(asked))


def test_only_agents_that_can_rest_have_a_reach() -> None:
    assert reach_of(agents()) == FARTHEST_MM
    assert reach_of(agents(TwinPolicy(bounded=False))) == FARTHEST_MM
    assert reach_of(agents(locality=0.0)) is None
    assert reach_of(agents(AdjustmentPolicy(ADJUSTMENTS))) is None
    assert reach_of(agents(TwinPolicy(bounded=True))) is None


def test_a_correction_of_a_large_mask_is_one_look_round_the_click() -> None:
    refiner = Counting(agents())
    turn = TurnInput(
        image=lambda box: np.zeros(box.shape, np.float32),
        spacing=SPACING,
        percent=ball(120, 40),
        background=10,
        locked=lambda box: None,
        clicks=(Click((60, 60, 102), ClickLabel.FOREGROUND),),
        n_new=1,
        mask_box=Box((21, 21, 21), (100, 100, 100)),
    )
    report = take_turn(turn, refiner, InteractionConfig()).report
    assert refiner.seen == [45 * 45 * 40]  # 12 mm of reach, 10 mm to be seen, cut at the end of the volume
    assert (report.levels, report.growths) == (1, 0)
