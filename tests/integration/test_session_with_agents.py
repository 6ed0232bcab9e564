"""The session with real voxel agents in it: untrained ones for what must hold for any, shipped ones for the rest."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from medseg_rl.agent.networks import build_network
from medseg_rl.agent.policy import build_policy
from medseg_rl.agent.refine import VoxelAgentRefiner
from medseg_rl.bundle import bundle_names, load_bundle
from medseg_rl.editing import Brush
from medseg_rl.errors import MedSegError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.maps import HintConfig
from medseg_rl.imageio import read_mask, read_volume
from medseg_rl.interaction import InteractionConfig
from medseg_rl.metrics import dice
from medseg_rl.samples import sample_path
from medseg_rl.session import PlaceVoxelClicks, SegmentationSession
from medseg_rl.volume import AxisOrder, Volume

OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND


def untrained():
    torch.manual_seed(3)
    policy = build_policy("adjustment")
    network = build_network("two_scale", actions=policy.outputs)
    torch.nn.init.normal_(network.policy_head[-1].weight, std=20.0)  # far from undecided
    return VoxelAgentRefiner(network, policy, hints=HintConfig())


def reordered(image, permutation, flips):
    affine = image.affine.copy()
    affine[:, :3] = image.affine[:, permutation]
    array = image.array.transpose(permutation)
    for axis in np.flatnonzero(flips):
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
    return Volume(np.flip(array, np.flatnonzero(flips)), affine, image.modality)


def test_the_agents_give_the_same_world_mask_in_all_48_axis_orders():
    rng = np.random.default_rng(0)
    affine = np.diag([0.9, 1.1, 2.5, 1.0])
    affine[:3, 3] = (-20, 13, 5)
    image = Volume(rng.normal(size=(22, 20, 12)).astype(np.float32), affine, "MR")
    agents, expected = untrained(), None
    for permutation in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            session = SegmentationSession(reordered(image, permutation, flips), agents, InteractionConfig(steps=2))
            session.click(image.index_to_world((11, 10, 6)), OBJECT)
            session.click(image.index_to_world((15, 9, 5)), BACKGROUND)
            result = AxisOrder.of(session.image.affine).apply(session.percent)
            expected = result.copy() if expected is None else expected
            assert np.array_equal(result, expected), (permutation, flips)
    assert len(np.unique(expected)) > 3


@pytest.fixture(scope="module", params=bundle_names() or [None])
def trained(request):
    """A shipped bundle with agents."""
    if request.param is None:
        pytest.skip("no bundle is shipped")
    bundle = load_bundle(request.param)
    if not bundle.has_agent:
        pytest.skip(f"{bundle.name} has no agents")
    return bundle


@pytest.fixture
def case():
    """The right hippocampus of the samples and its reference."""
    image = read_volume(sample_path("hippocampus_right_t1.nii.gz"))
    return image, read_mask(sample_path("hippocampus_right_label.nii.gz"), like=image).array > 0


def opened(bundle, image, reference):
    """From the automatic start; from a mask that is a little off where the bundle gives none."""
    session = SegmentationSession(image, bundle.refiner, InteractionConfig(steps=bundle.steps))
    if bundle.has_automatic:
        session.automatic_start(bundle.automatic().predict)
    else:
        session.set_start(np.roll(reference, 2, axis=1))
    return session


def some_clicks(reference):
    """Two voxels of the object far apart, and one of the background beside it."""
    inside = np.argwhere(reference)
    first, last = inside[len(inside) // 4], inside[3 * len(inside) // 4]
    outside = inside[len(inside) // 2].copy()
    while reference[tuple(outside)]:
        outside[0] += 1
    outside[0] += 1
    return [
        Click(tuple(int(v) for v in index), label)
        for index, label in ((first, OBJECT), (last, OBJECT), (outside, BACKGROUND))
    ]


def test_clicks_of_one_turn_match_the_same_clicks_one_by_one(trained, case):
    image, reference = case
    clicks = some_clicks(reference)
    batched, single = opened(trained, image, reference), opened(trained, image, reference)
    batched.click_voxels(clicks)
    for click in clicks:
        single.click_voxels([click])
    assert dice(batched.mask, single.mask) >= 0.98


def test_trained_agents_respect_clicks_repeat_themselves_and_undo_bit_for_bit(trained, case):
    image, reference = case
    one, two = opened(trained, image, reference), opened(trained, image, reference)
    states = []
    for click in some_clicks(reference):
        states.append(one.percent)
        one.click_voxels([click])
        two.click_voxels([click])
        assert one.mask[click.index] == (click.label == OBJECT)
        assert np.array_equal(one.percent, two.percent)
    for expected in reversed(states):
        one.undo()
        assert np.array_equal(one.percent, expected)


def test_candidates_of_shipped_agents_are_distinct_whole_and_keep_the_clicks(trained, case):
    image, reference = case
    session = opened(trained, image, reference)
    inside = tuple(int(v) for v in np.argwhere(reference)[len(np.argwhere(reference)) // 2])
    session.click_voxels([Click(inside, OBJECT)])
    found = session.candidates(4)
    masks = [session.mask_with(delta) for delta in found.deltas]
    assert len(masks) >= 2
    assert all(dice(a, b) < 0.99 for n, a in enumerate(masks) for b in masks[:n])
    assert all(mask[inside] for mask in masks)
    session.choose(found, 0)
    assert np.array_equal(session.mask, masks[0])


def test_shipped_agents_say_where_to_look_next_and_that_they_take_no_commands(trained, case):
    image, reference = case
    session = opened(trained, image, reference)
    session.click_voxels([Click(tuple(int(v) for v in np.argwhere(reference)[0]), OBJECT)])
    seen = []
    for _ in range(3):
        found = session.next_suggestion(seen)
        assert found.measure == "value"
        assert found.score > 0
        seen.append(found)
    assert len(set(seen)) == 3
    if not session.commands:
        with pytest.raises(MedSegError, match="takes no commands"):
            session.refine("grow")


def test_what_is_painted_while_shipped_agents_refine_holds(trained, case):
    image, reference = case
    session = opened(trained, image, reference)
    first = tuple(int(v) for v in np.argwhere(reference)[len(np.argwhere(reference)) // 2])
    stroke = Brush((image.index_to_world(np.add(first, (0, 0, 3))),), 2.0, erase=True)
    job = session.prepare(PlaceVoxelClicks((Click(first, OBJECT),)))
    taken, before = [], []

    def progress(preview):
        if not taken:
            before.append(preview)
            taken.append(session.intervene(job, stroke))

    session.apply(job.run(progress=progress))
    assert taken == [True]
    painted = np.linalg.norm((np.indices(image.shape).T - np.add(first, (0, 0, 3))) * image.spacing, axis=-1).T <= 2.0
    painted[first] = False
    assert not session.mask[painted].any()
    assert session.mask[first]
