"""Strokes out of a store, and what they teach: alignment, weights against hand values, loss against closed forms."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from medseg_rl.agent.networks import build_network
from medseg_rl.agent.policy import AdjustmentPolicy
from medseg_rl.editing import FillBox
from medseg_rl.environment.actions import FINE_ADJUSTMENTS
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.maps import HintConfig
from medseg_rl.interaction import InteractionConfig
from medseg_rl.recipes.recipe import Work
from medseg_rl.recipes.refinement.guided import GuidedConfig, Lesson, guided, guided_loss, lesson_of, weight_of
from medseg_rl.recipes.refinement.strokes import Stroke, on_grid, strokes_of
from medseg_rl.rlhf.config import HumanGuidanceConfig
from medseg_rl.rlhf.guidance import guidance_weight, value_advantage
from medseg_rl.rlhf.manifest import effective
from medseg_rl.rlhf.records import Grid
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.session import PlaceVoxelClicks, SegmentationSession
from medseg_rl.session.feedback import FeedbackRecorder
from medseg_rl.session.feedback_filing import CaseIdentity
from medseg_rl.volume import Volume

HINTS, POLICY = HintConfig(), AdjustmentPolicy(FINE_ADJUSTMENTS)
SHAPE = (12, 12, 12)


def a_stroke(*, inside: bool = True, agrees: bool = True, case_index: int = 0) -> Stroke:
    """Two voxels painted; `agrees`: the accepted mask says what was painted."""
    voxels = np.zeros(SHAPE, bool)
    voxels[6, 6, 5:7] = True
    rng = np.random.default_rng(0)
    return Stroke(
        "s", "g", rng.normal(size=SHAPE).astype(np.float32), np.full(SHAPE, 40, np.uint8), voxels, inside,
        voxels if inside is agrees else ~voxels, (), (Click((3, 3, 3), ClickLabel.BACKGROUND),), (1.0, 1.0, 1.0),
        case_index,
    )  # fmt: skip


def a_network() -> torch.nn.Module:
    torch.manual_seed(1)
    return build_network("pyramid", actions=POLICY.outputs).eval()


def a_lesson(stroke: Stroke) -> Lesson:
    return lesson_of(stroke, a_network().channels, FINE_ADJUSTMENTS, HINTS)


class Waiting:
    """A refiner of two steps, between which a person can paint."""

    name = "waiting"

    def describe(self):
        return {"kind": self.name}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        percent = request.percent.copy()
        for _ in range(request.steps):
            preview(percent)
        return percent


def test_a_mask_over_one_region_is_read_off_on_another() -> None:
    held = Grid((1, 1, 1), (2, 0, 0), (4, 3, 3), (10, 3, 3))
    wanted = Grid((1, 1, 1), (4, 0, 0), (5, 3, 3), (10, 3, 3))
    found = on_grid(np.ones(held.shape, bool), held, wanted)
    assert found[:2].all()
    assert not found[2:].any()
    assert not on_grid(np.ones(held.shape, bool), held, Grid((1, 1, 1), (7, 0, 0), (3, 3, 3), (10, 3, 3))).any()


def test_a_stroke_of_a_real_session_comes_back_with_its_state_and_the_mask_accepted_later(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path)
    store.set_consent(store=True, images=True)
    image = Volume(np.random.default_rng(1).normal(0, 1, (40, 40, 40)).astype(np.float32), np.eye(4), "MR")
    session = SegmentationSession(image, Waiting(), InteractionConfig(steps=2, edit_radius_mm=None))
    recorder = FeedbackRecorder(store, CaseIdentity("case", "patient", annotator_kind="simulated"))
    recorder.watch(session)
    job = session.prepare(PlaceVoxelClicks((Click((20, 20, 20), ClickLabel.FOREGROUND),)))
    stroke, painted = FillBox((28.0, 20.0, 20.0), (30.0, 21.0, 21.0)), []

    def paint(preview) -> None:
        if not painted:
            painted.append(session.intervene(job, stroke))

    session.apply(job.run(progress=paint))
    session.accept()
    recorder.finish()
    assert painted == [True]
    (found,) = strokes_of(effective(store.records()), tmp_path).strokes
    assert found.inside
    assert int(found.voxels.sum()) == 3 * 2 * 2
    assert found.reference[found.voxels].all()
    assert int(found.reference.sum()) == int(session.segmentation.mask_of(1).sum())
    assert [click.label for click in (*found.clicks, *found.new_clicks)] == [ClickLabel.FOREGROUND]


def test_what_was_painted_is_the_nearest_adjustment_and_clicked_voxels_are_no_decision() -> None:
    lesson = a_lesson(a_stroke())
    assert {FINE_ADJUSTMENTS[int(a)] for a in lesson.action[lesson.touched]} == {40}  # from 40 towards 100
    erased = a_lesson(a_stroke(inside=False))
    assert {FINE_ADJUSTMENTS[int(a)] for a in erased.action[erased.touched]} == {-40}
    clicked = a_stroke()
    clicked.voxels[3, 3, 3] = True
    assert not a_lesson(clicked).touched[0, 3, 3, 3]


def test_the_weight_is_that_of_what_the_stroke_gained_by_the_accepted_mask() -> None:
    """Both values are 0 in a network whose value head is: dQ is the gain in cross-entropy, log .8 - log .4."""
    network = a_network()
    for parameter in network.value_head.parameters():
        torch.nn.init.zeros_(parameter)
    paper = HumanGuidanceConfig(weight_schedule="paper")
    good, bad = (a_lesson(a_stroke(agrees=agrees)) for agrees in (True, False))
    found = weight_of(network, POLICY, good, discount=0.95, config=paper)[good.touched]
    gain = torch.tensor([np.log(0.8) - np.log(0.4)])
    advantage = value_advantage(gain, torch.zeros(1), torch.zeros(1), discount=0.95)
    expected = guidance_weight(advantage, cases_done=0, config=paper)  # max(exp dQ, 1) - 1 = 1
    assert float(expected) == pytest.approx(1.0)
    torch.testing.assert_close(found, expected.float().expand_as(found), atol=1e-4, rtol=0)
    assert not weight_of(network, POLICY, bad, discount=0.95, config=paper)[bad.touched].any()


def test_at_the_start_the_loss_is_the_imitation_alone() -> None:
    network, lesson = a_network(), a_lesson(a_stroke())
    config = GuidedConfig()
    weight = weight_of(network, POLICY, lesson, discount=0.95, config=config.human)
    with torch.no_grad():
        loss = guided_loss(network, copy.deepcopy(network), POLICY, lesson, weight, config)
        heads = network.heads(network.features(lesson.seen), lesson.seen)
        logs = torch.log_softmax(POLICY.logits(heads, lesson.percent), 1).gather(1, lesson.action[:, None])[:, 0]
    assert float(loss) == pytest.approx(-3.0 * float(logs[lesson.touched].mean()), rel=1e-5)  # handover, case 0: 3


def test_strokes_move_the_policy_where_they_were_and_hold_it_elsewhere(tmp_path: Path) -> None:
    network, stroke = a_network(), a_stroke()
    config = GuidedConfig(updates=4, every=2)
    work = Work(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    learned = guided(network, POLICY, [stroke], config, work, hints=HINTS)
    lesson = a_lesson(stroke)

    def logs(of) -> torch.Tensor:
        heads = of.heads(of.features(lesson.seen), lesson.seen)
        return torch.log_softmax(POLICY.logits(heads, lesson.percent), 1)

    with torch.no_grad():
        before, after = logs(network), logs(learned)
    chosen = [found.gather(1, lesson.action[:, None])[:, 0][lesson.touched].mean() for found in (before, after)]
    assert chosen[1] > chosen[0]
    apart = (before.exp() * (before - after)).sum(1)[~lesson.touched].mean()
    assert -1e-6 <= float(apart) <= config.most_drift + 1e-6
    again = guided(network, POLICY, [stroke], config, work, hints=HINTS)  # from its last checkpoint
    assert all(torch.equal(a, b) for a, b in zip(learned.parameters(), again.parameters(), strict=True))


def test_a_person_whom_the_critic_trusts_in_nothing_moves_nothing(tmp_path: Path) -> None:
    network = a_network()
    for parameter in network.value_head.parameters():
        torch.nn.init.zeros_(parameter)
    (tmp_path / "checkpoints").mkdir()
    config = GuidedConfig(updates=1, human=HumanGuidanceConfig(weight_schedule="paper"))
    learned = guided(network, POLICY, [a_stroke(agrees=False)], config, Work(tmp_path), hints=HINTS)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), learned.parameters(), strict=True))
