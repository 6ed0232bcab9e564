"""A training of seconds on generated balls: it learns, and a killed run ends with the weights of an unbroken one."""

import hashlib
import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medseg_rl.agent.learner import Learner, LearnerConfig
from medseg_rl.agent.networks import build_network
from medseg_rl.agent.policy import build_policy
from medseg_rl.config import run_config
from medseg_rl.errors import BundleError, Cancelled
from medseg_rl.hints.maps import HintConfig
from medseg_rl.training import EpisodePool, TrainingConfig, train
from medseg_rl.training_checkpoint import CHECKPOINT, config_hash, load_checkpoint
from medseg_rl.training_scenes import SceneConfig, TrainingCase, draw_scene

TINY = TrainingConfig(
    updates=6,
    batch=2,
    pool=3,
    interactions_per_update=1,
    steps_choices=(2,),
    generation=2,
    validate_every=4,
    threads=1,
    precision="fp32",
    hints=HintConfig(kind="edt_exp"),
    learner=LearnerConfig(belief_first=0.5),
    scenes=SceneConfig(automatic_share=0.3, corrupted_share=0.3),
)


def balls(count: int = 3, size: int = 12) -> list[TrainingCase]:
    cases = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        grid = np.indices((size, size, size)) - rng.uniform(4, 7, 3)[:, None, None, None]
        reference = (grid**2).sum(0) <= 16
        image = (reference + rng.normal(0, 0.3, reference.shape)).astype(np.float32)
        start = np.where(np.roll(reference, 1, 0), 90, 10).astype(np.uint8)
        cases.append(TrainingCase(f"ball{seed}", image, reference, start, (1.0, 1.0, 1.0)))
    return cases


def no_choice(network, policy) -> dict[str, float]:
    return {"auc": 0.0}


def weights_of(config: TrainingConfig, folder: Path, **options) -> dict[str, torch.Tensor]:
    return train(balls(), config, folder, validate=no_choice, **options).network.state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_killed_run_goes_on_to_the_weights_of_an_unbroken_one(tmp_path):
    whole = weights_of(TINY, tmp_path / "whole")
    asked = iter(range(100))
    with pytest.raises(Cancelled, match="goes on from 2"):
        weights_of(TINY, tmp_path / "broken", cancel=lambda: next(asked) == 3)
    updates: list[int] = []
    resumed = weights_of(TINY, tmp_path / "broken", progress=lambda update, *rest: updates.append(update))
    assert min(updates) == 3
    assert same(whole, resumed)


def test_another_seed_gives_other_weights(tmp_path):
    assert not same(weights_of(TINY, tmp_path / "a"), weights_of(replace(TINY, seed=1), tmp_path / "b"))


def test_a_checkpoint_of_another_config_is_refused(tmp_path):
    weights_of(TINY, tmp_path)
    with pytest.raises(BundleError, match="another config"):
        weights_of(replace(TINY, updates=8), tmp_path)


def test_a_corrupted_checkpoint_is_named(tmp_path):
    weights_of(TINY, tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BundleError, match="corrupted"):
        weights_of(TINY, tmp_path)


def test_the_weights_of_the_best_validation_are_kept(tmp_path):
    seen: list[dict[str, torch.Tensor]] = []

    def worse_each_time(network, policy) -> dict[str, float]:
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return {"auc": -float(len(seen))}

    trained = train(balls(), TINY, tmp_path, validate=worse_each_time)
    assert len(seen) > 1
    assert same(trained.network.state_dict(), seen[0])
    assert not same(seen[0], seen[-1])


@pytest.mark.parametrize(
    "changes",
    [
        {"learner": LearnerConfig(belief_first=1.0)},
        {"learner": LearnerConfig(mode="sampled", belief_first=0.0)},
        {"learner": LearnerConfig(discount=0.0, belief_first=0.0)},
        {"learner": LearnerConfig(reward="absolute", credit_rho=0.5, belief_first=0.0)},
        {"learner": LearnerConfig(credit_voxels=3, belief_first=0.0, foresight_warmup=0.0)},
        {"learner": LearnerConfig(mode="sampled", credit_voxels=3, belief_first=0.0)},
        {"policy": "twin_a"},
        {"policy": "twin_b"},
        {"network": "small", "commands": 3},
        {"network": "small", "policy": "twin_a", "binary_state": True, "steps_choices": (1,)},
    ],
)
def test_every_mode_trains(tmp_path, changes):
    before = weights_of(replace(TINY, updates=0, **changes), tmp_path / "before")
    after = weights_of(replace(TINY, updates=2, **changes), tmp_path / "after")
    assert not same(before, after)
    assert all(torch.isfinite(value).all() for value in after.values())


def test_a_setting_that_came_later_leaves_the_hash_of_older_runs_alone():
    older = asdict(TINY)
    for part, config in ((older, TINY), (older["learner"], TINY.learner), (older["scenes"], TINY.scenes)):
        for field in fields(config):
            if field.metadata.get("added_later"):
                del part[field.name]
    assert config_hash(TINY) == hashlib.sha256(json.dumps(older, sort_keys=True).encode()).hexdigest()
    assert config_hash(replace(TINY, min_clicks=3)) != config_hash(TINY)


def test_a_learned_credit_moves_and_is_resumed(tmp_path):
    config = replace(TINY, steps_choices=(3,), learner=LearnerConfig(mode="sampled", credit_voxels=3, belief_first=0.0))
    whole = load_file(tmp_path / "whole" / CHECKPOINT) if weights_of(config, tmp_path / "whole") else {}
    asked = iter(range(100))
    with pytest.raises(Cancelled):
        weights_of(config, tmp_path / "broken", cancel=lambda: next(asked) == 3)
    weights_of(config, tmp_path / "broken")
    resumed = load_file(tmp_path / "broken" / CHECKPOINT)
    assert resumed.keys() == whole.keys() >= {"credit.share", "credit.logits"}
    assert same(whole, resumed)


def test_the_published_preset_gives_exactly_five_clicks_an_interaction():
    config = replace(TINY, one_click_share=0.0, zero_click_share=0.0, min_clicks=5, max_clicks=5)
    published = run_config("itermrl").training
    assert (published.one_click_share, published.min_clicks, published.max_clicks) == (0.0, 5, 5)
    pool = EpisodePool(balls(), config, np.random.default_rng(0))
    assert [len(pool.clicks(pool.take()[0])) for _ in range(10)] == [5] * 10


def test_training_lowers_the_loss(tmp_path):
    config = replace(
        TINY, updates=120, generation=40, batch=4, pool=6, learner=LearnerConfig(learning_rate=3e-3, belief_first=0.5)
    )
    losses: list[float] = []

    def keep(update: int, updates: int, logged: dict[str, float]) -> None:
        losses.extend(logged[name] for name in ("loss",) if name in logged)

    weights_of(config, tmp_path, progress=keep)
    assert np.mean(losses[-30:]) < 0.8 * np.mean(losses[:30])


def test_the_averaged_weights_are_shipped_and_lag_behind_the_trained_ones(tmp_path):
    shipped = train(balls(), TINY, tmp_path, validate=no_choice).network.state_dict()
    network = build_network(TINY.network, actions=len(TINY.adjustments))
    learner = Learner(network, build_policy(TINY.policy, TINY.adjustments), TINY.learner, precision="fp32")
    run = load_checkpoint(tmp_path, learner, TINY)
    assert same(run.best_weights or {}, shipped)
    assert not same(network.state_dict(), learner.average.state_dict())


def test_a_scene_is_drawn_the_same_for_the_same_seed_and_within_its_bounds():
    config = SceneConfig(crop_voxels=(8, 10, 12))
    first, second = (draw_scene(balls(), config, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.reference, second.reference)
    assert first.image.shape == (8, 10, 12)
    assert first.start.min() >= 1
    assert first.start.max() <= 99
    assert set(np.unique(first.weights)) == {1.0}


def test_voxels_near_the_surface_may_weigh_more():
    scene = draw_scene(balls(), SceneConfig(boundary_weight=3.0), np.random.default_rng(5))
    assert set(np.unique(scene.weights)) == {1.0, 4.0}


@pytest.mark.parametrize(("soft_share", "levels"), [(0.0, {10, 90}), (1.0, set(range(1, 100)))])
def test_a_corrupted_start_is_bare_or_as_sure_of_itself_as_a_network(soft_share, levels):
    config = SceneConfig(automatic_share=0.0, corrupted_share=1.0, soft_share=soft_share, reader_share=0.0)
    starts = [draw_scene(balls(), config, np.random.default_rng(seed)).start for seed in range(5)]
    seen = set(np.unique(starts))
    assert seen <= levels
    assert {10, 90} <= seen if not soft_share else len(seen - {1, 99}) > 4
    assert all(not np.array_equal(start > 50, start > 99) for start in starts)
