"""The agents behind the seam: deterministic, obedient to clicks and locks, blind to references."""

import inspect

import numpy as np
import pytest
import torch

from medseg_rl.agent.networks import build_network
from medseg_rl.agent.policy import build_policy
from medseg_rl.agent.refine import GLANCES, VoxelAgentRefiner
from medseg_rl.errors import Cancelled
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.maps import HintConfig
from medseg_rl.interaction import Stroke, Strokes
from medseg_rl.interaction.steps import StepRunner
from medseg_rl.metrics import dice
from medseg_rl.refiner import RefinementRequest
from medseg_rl.volume import Box

SHAPE = (12, 11, 10)


def refiner(kind: str = "adjustment", network: str = "two_scale", device: str = "cpu") -> VoxelAgentRefiner:
    torch.manual_seed(1)
    policy = build_policy(kind)
    net = build_network(network, actions=policy.outputs)
    torch.nn.init.normal_(net.policy_head[-1].weight)  # far from undecided, so that every voxel does something
    return VoxelAgentRefiner(net.to(device), policy, hints=HintConfig())


def request(**changes) -> RefinementRequest:
    rng = np.random.default_rng(0)
    options = {
        "image": rng.normal(size=SHAPE).astype(np.float32),
        "spacing": (1.0, 1.0, 1.0),
        "percent": rng.integers(1, 100, SHAPE).astype(np.uint8),
        "clicks": (Click((5, 5, 5), ClickLabel.FOREGROUND), Click((1, 1, 1), ClickLabel.BACKGROUND)),
        "n_new_clicks": 1,
    }
    return RefinementRequest(**{**options, **changes})


@pytest.mark.parametrize("kind", ["adjustment", "twin_a", "twin_b"])
def test_the_same_request_twice_gives_the_same_state_and_clicks_hold(kind):
    agent, asked = refiner(kind), request()
    before = asked.percent.copy()
    first, second = agent.refine(asked), agent.refine(asked)
    assert np.array_equal(first, second)
    assert np.array_equal(asked.percent, before)
    assert not np.array_equal(first, before)
    assert (first[5, 5, 5], first[1, 1, 1]) == (99, 1)
    assert first.dtype == np.uint8
    assert first.min() >= 1
    assert first.max() <= 99


def believer() -> VoxelAgentRefiner:
    agent = refiner(network="pyramid")
    torch.nn.init.normal_(agent.network.belief_head[-1].weight)
    return agent


def nothing_yet(**changes) -> RefinementRequest:
    percent = np.ones(SHAPE, np.uint8)
    return request(percent=percent, clicks=(Click((5, 5, 5), ClickLabel.FOREGROUND),), **changes)


def test_a_glance_tells_what_the_agents_believe_and_holds_what_is_held():
    held = np.random.default_rng(1).random(SHAPE) < 0.5
    held[5, 5, 5] = False
    agent = believer()
    twin = VoxelAgentRefiner(agent.network, build_policy("twin_a"), hints=HintConfig())
    seen = agent.refine(nothing_yet(glance=True, held_voxels=held))
    believed = twin.refine(nothing_yet(steps=1, held_voxels=held))
    assert np.array_equal(seen, believed)
    assert len(np.unique(seen[~held])) > 10
    assert (seen[held] == 1).all()


def test_without_a_belief_a_glance_takes_the_steps():
    agent = refiner(network="iso")
    assert np.array_equal(agent.refine(request(glance=True)), agent.refine(request()))


def test_steps_after_a_glance_at_the_same_read_no_image_again_and_give_the_same():
    agent, plain = believer(), believer()
    read = []
    agent.network.trunk.register_forward_hook(lambda *_: read.append(1))
    other = request().image
    for image in (other, other + 1):
        agent.refine(nothing_yet(image=image, glance=True))
    assert np.array_equal(agent.refine(nothing_yet(image=other)), plain.refine(nothing_yet(image=other)))
    assert len(read) == 2
    changed = nothing_yet(image=other, before_clicks=np.full(SHAPE, 40, np.uint8))
    assert np.array_equal(agent.refine(changed), plain.refine(changed))
    assert len(read) == 3


def test_several_refinements_of_one_state_read_the_image_once_and_differ_by_their_draws():
    agent = believer()
    agent.view_voxels = 10
    read = []
    agent.network.trunk.register_forward_hook(lambda *_: read.append(1))
    for seed in (None, 3, 4, None):
        asked, alone = request(n_new_clicks=0, seed=seed), believer()
        alone.view_voxels = 10
        assert np.array_equal(agent.refine(asked), alone.refine(asked))
    assert len(read) == 1
    agent.refine(request(n_new_clicks=0, percent=np.full(SHAPE, 40, np.uint8)))
    assert len(read) == 2


def test_glances_that_no_step_followed_are_forgotten_after_some():
    agent = believer()
    read = []
    agent.network.trunk.register_forward_hook(lambda *_: read.append(1))
    images = [request().image + number for number in range(GLANCES + 1)]
    for image in images:
        agent.refine(nothing_yet(image=image, glance=True))
    agent.refine(nothing_yet(image=images[0]))
    assert len(read) == len(images) + 1


def test_held_voxels_come_back_as_they_went():
    held = np.random.default_rng(1).random(SHAPE) < 0.5
    held[5, 5, 5] = held[1, 1, 1] = False
    asked = request(held_voxels=held)
    assert np.array_equal(refiner().refine(asked)[held], asked.percent[held])


def test_kept_hints_give_what_fresh_hints_give():
    agent, first = refiner(), request(clicks=(Click((5, 5, 5), ClickLabel.FOREGROUND),))
    agent.refine(first)
    later = request(clicks=(*first.clicks, Click((8, 2, 7), ClickLabel.BACKGROUND)))
    assert np.array_equal(agent.refine(later), refiner().refine(later))


def test_one_step_moves_a_probability_by_at_most_forty_hundredths():
    asked = request(steps=1)
    change = refiner().refine(asked).astype(int) - asked.percent
    change[5, 5, 5] = change[1, 1, 1] = 0
    assert abs(change).max() <= 40


def test_cancel_is_asked_before_and_preview_shown_after_every_step():
    seen = []
    refiner().refine(request(steps=3), preview=lambda percent: seen.append(percent.copy()))
    assert len(seen) == 3
    with pytest.raises(Cancelled):
        refiner().refine(request(), cancel=lambda: True)


def test_bf16_and_fp32_agree_on_nearly_every_mask_voxel():
    torch.manual_seed(0)
    policy = build_policy("twin_a")
    net = build_network("two_scale", actions=1)
    masks = [
        VoxelAgentRefiner(net, policy, hints=HintConfig(), precision=precision).refine(request()) > 50
        for precision in ("fp32", "bf16")
    ]
    assert (masks[0] == masks[1]).mean() > 0.97


def test_no_reference_can_be_passed_to_inference():
    fields = set(RefinementRequest.__dataclass_fields__) | set(inspect.signature(VoxelAgentRefiner.refine).parameters)
    assert not any("reference" in name or "truth" in name for name in fields)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_masks_agree_on_processor_and_gpu():
    on_cpu, on_gpu = refiner().refine(request()), refiner(device="cuda").refine(request())
    assert dice(on_gpu > 50, on_cpu > 50) >= 0.999


# ---- draws, value, strokes -------------------------------------------------------------------------------------------


def test_a_seed_draws_the_same_decisions_again_and_none_is_greedy():
    drawn = [refiner().refine(request(seed=seed)) for seed in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0], refiner().refine(request()))
    for percent in drawn:
        assert (percent[5, 5, 5], percent[1, 1, 1]) == (99, 1)


def test_drawn_decisions_keep_what_is_held():
    held = np.zeros(SHAPE, bool)
    held[6:] = True
    asked = request(held_voxels=held, seed=4)
    assert np.array_equal(refiner().refine(asked)[held], asked.percent[held])


def test_a_twin_has_nothing_to_draw():
    assert np.array_equal(refiner("twin_a").refine(request(seed=1)), refiner("twin_a").refine(request()))


def test_the_critic_says_of_every_voxel_what_it_still_expects():
    agent = refiner()
    gain = agent.expected_gain(request())
    assert gain.shape == SHAPE
    assert gain.dtype == np.float32
    assert np.isfinite(gain).all()
    assert gain.std() > 0
    assert np.array_equal(gain, agent.expected_gain(request()))


def test_commands_are_known_from_the_embedding_alone():
    assert "commands" not in refiner().describe()
    policy = build_policy("adjustment")
    net = build_network("two_scale", actions=policy.outputs, commands=3)
    assert VoxelAgentRefiner(net, policy, hints=HintConfig()).describe()["commands"] == 3


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("kind", ["adjustment", "twin_a", "twin_b"])
def test_a_turn_that_a_stroke_interrupts_goes_on_as_it_would_have(kind, after):
    """The stroke lies on voxels that are so already, so that nothing may differ."""
    asked = request(hard_clicks=False)
    whole = refiner(kind).refine(asked)
    clicked = Box((5, 5, 5), (6, 6, 6))
    stroke = Stroke.of(clicked, np.ones((1, 1, 1), bool), foreground=True, after_step=after)
    strokes = Strokes([(stroke, {})])
    strokes.begin(Box.whole(SHAPE))
    agent = refiner(kind)
    runner = StepRunner(lambda: False, None, strokes)
    found, _ = runner.run(asked, lambda given, cancel, show: agent.refine(given, cancel=cancel, preview=show))
    found, whole = found.copy(), whole.copy()
    found[5, 5, 5] = whole[5, 5, 5] = 0  # painted in one, decided in the other
    assert np.array_equal(found, whole)
    assert len(strokes.met) == 1
    assert runner.done == 3
