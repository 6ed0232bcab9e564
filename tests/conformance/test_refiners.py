"""Whatever claims the Refiner protocol must pass all of this. Add a builder below to put another one under test."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from medseg_rl.errors import Cancelled
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, RefinementRequest, Refiner
from medseg_rl.refiners.enforce_only import EnforceOnly
from medseg_rl.refiners.geodesic_threshold import GeodesicThreshold
from medseg_rl.refiners.graph_cut import GraphCut
from medseg_rl.refiners.grow_cut import GrowCut
from medseg_rl.refiners.paint_ball import PaintBall
from medseg_rl.refiners.random_walker import RandomWalker


def untrained_agent(policy: str) -> Refiner:
    """Voxel agents with random weights: whatever they decide, the rules hold."""
    import torch

    from medseg_rl.agent.networks import build_network
    from medseg_rl.agent.policy import build_policy
    from medseg_rl.agent.refine import VoxelAgentRefiner
    from medseg_rl.hints.maps import HintConfig

    torch.manual_seed(7)
    decides = build_policy(policy)
    network = build_network("two_scale", actions=decides.outputs)
    return VoxelAgentRefiner(network, decides, hints=HintConfig(), name=policy)


BUILDERS: dict[str, Callable[[], Refiner]] = {
    "enforce_only": EnforceOnly,
    "paint_ball": lambda: PaintBall(4.0),
    "geodesic_threshold": GeodesicThreshold,
    "graph_cut": GraphCut,
    "random_walker": RandomWalker,
    "grow_cut": GrowCut,
    "adjustment": lambda: untrained_agent("adjustment"),
    "twin_a": lambda: untrained_agent("twin_a"),
    "twin_b": lambda: untrained_agent("twin_b"),
}
FOREGROUND, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
SHAPE = (18, 20, 12)


@pytest.fixture(params=sorted(BUILDERS))
def refiner(request: pytest.FixtureRequest) -> Refiner:
    return BUILDERS[request.param]()


def box_request(
    clicks: tuple[Click, ...],
    *,
    new: int | None = None,
    start: str = "mask",
    held: np.ndarray | None = None,
    seed: int = 5,
) -> RefinementRequest:
    """A bright block in noise on an anisotropic grid, and a start that misses a part of it and adds another."""
    rng = np.random.default_rng(seed)
    reference = np.zeros(SHAPE, bool)
    reference[4:14, 5:15, 3:9] = True
    image = (reference * 2.0 - 1.0 + rng.normal(0, 0.2, SHAPE)).astype(np.float32)
    percent = np.full(SHAPE, LOWEST, np.uint8)
    if start == "mask":
        percent[:] = 10
        percent[4:10, 5:15, 3:9] = 90
        percent[4:10, 15:18, 3:9] = 90
    elif start == "soft":
        percent[:] = np.clip(50 + 30 * image + rng.normal(0, 8, SHAPE), LOWEST, HIGHEST).astype(np.uint8)
    return RefinementRequest(image, (1.0, 1.0, 2.5), percent, clicks, len(clicks) if new is None else new, held)


MANY = (
    Click((12, 10, 5), FOREGROUND),
    Click((7, 16, 5), BACKGROUND),
    Click((12, 6, 4), FOREGROUND),
    Click((0, 0, 0), BACKGROUND),
    Click((17, 19, 11), BACKGROUND),
)


@pytest.mark.parametrize("start", ["mask", "soft", "empty"])
@pytest.mark.parametrize("new", [0, 1, 5])
def test_the_same_request_gives_the_same_answer_also_from_a_new_instance(refiner: Refiner, start: str, new: int):
    first = refiner.refine(box_request(MANY, new=new, start=start))
    refiner.refine(box_request(MANY[:2], start="soft", seed=9))  # what it saw in between must not matter
    again = refiner.refine(box_request(MANY, new=new, start=start))
    fresh = BUILDERS[refiner.name]().refine(box_request(MANY, new=new, start=start))
    assert np.array_equal(first, again)
    assert np.array_equal(first, fresh)


@pytest.mark.parametrize("start", ["mask", "soft", "empty"])
def test_the_answer_is_uint8_hundredths_of_the_same_shape_in_a_new_array(refiner: Refiner, start: str):
    request = box_request(MANY, start=start)
    answer = refiner.refine(request)
    assert answer.dtype == np.uint8
    assert answer.shape == SHAPE
    assert answer.min() >= LOWEST
    assert answer.max() <= HIGHEST
    assert not np.shares_memory(answer, request.percent)


@pytest.mark.parametrize("start", ["mask", "soft", "empty"])
@pytest.mark.parametrize("new", [1, 5])
def test_every_click_holds_its_label_old_and_new(refiner: Refiner, start: str, new: int):
    answer = refiner.refine(box_request(MANY, new=new, start=start))
    for click in MANY:
        assert answer[click.index] == (HIGHEST if click.label is FOREGROUND else LOWEST)


@pytest.mark.parametrize("start", ["mask", "soft", "empty"])
def test_soft_clicks_change_the_answer_at_clicked_voxels_alone(refiner: Refiner, start: str):
    request = box_request(MANY, new=2, start=start)
    own = refiner.refine(replace(request, hard_clicks=False))
    for click in MANY:
        own[click.index] = HIGHEST if click.label is FOREGROUND else LOWEST
    assert np.array_equal(own, refiner.refine(request))


def test_the_newest_label_of_a_voxel_clicked_twice_wins(refiner: Refiner):
    twice = (Click((7, 8, 5), FOREGROUND), Click((7, 8, 5), BACKGROUND))
    assert refiner.refine(box_request(twice, new=1))[7, 8, 5] == LOWEST
    assert refiner.refine(box_request(twice[::-1], new=1))[7, 8, 5] == HIGHEST


def test_held_voxels_come_back_as_they_went(refiner: Refiner):
    held = np.zeros(SHAPE, bool)
    held[:, :, :4] = True
    held[11:, 8:, :] = True
    held[12, 10, 5] = False
    request = box_request(MANY[:2], held=held, start="soft")
    answer = refiner.refine(request)
    assert np.array_equal(answer[held], request.percent[held])


def test_nothing_of_the_request_is_changed(refiner: Refiner):
    held = np.zeros(SHAPE, bool)
    held[:3] = True
    request = box_request(MANY, held=held)
    kept = request.image.copy(), request.percent.copy(), held.copy()
    for array in (request.image, request.percent, held):
        array.setflags(write=False)
    refiner.refine(request)
    assert np.array_equal(request.image, kept[0])
    assert np.array_equal(request.percent, kept[1])
    assert np.array_equal(held, kept[2])


def test_a_cancelled_refinement_raises_and_shows_no_preview(refiner: Refiner):
    seen: list[np.ndarray] = []
    with pytest.raises(Cancelled):
        refiner.refine(box_request(MANY), cancel=lambda: True, preview=seen.append)
    assert seen == []


def test_the_last_preview_is_the_answer(refiner: Refiner):
    seen: list[np.ndarray] = []
    answer = refiner.refine(box_request(MANY[:3]), preview=lambda percent: seen.append(percent.copy()))
    assert np.array_equal(seen[-1], answer)


def test_an_empty_mask_and_one_object_click_give_a_mask(refiner: Refiner):
    answer = refiner.refine(box_request((Click((9, 10, 5), FOREGROUND),), start="empty"))
    assert (answer > MASK_THRESHOLD).any()


def test_a_region_of_one_voxel_is_answered(refiner: Refiner):
    request = RefinementRequest(
        np.zeros((1, 1, 1), np.float32),
        (1.0, 1.0, 1.0),
        np.full((1, 1, 1), LOWEST, np.uint8),
        (Click((0, 0, 0), FOREGROUND),),
        1,
    )
    assert refiner.refine(request)[0, 0, 0] == HIGHEST


def test_it_describes_itself_by_plain_values(refiner: Refiner):
    about = refiner.describe()
    assert refiner.name
    assert about["kind"]
    assert all(isinstance(key, str) for key in about)
