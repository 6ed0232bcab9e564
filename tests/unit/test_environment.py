"""Episodes and the two environments on small scenes."""

import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from medseg_rl.agent.networks import PRODUCT_CHANNELS, PUBLISHED_CHANNELS
from medseg_rl.environment.episode import Episode, Scene
from medseg_rl.environment.refinement_env import RefinementEnv
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.maps import HintConfig
from medseg_rl.hints.robots import training_clicks

HINTS = HintConfig(kind="edt_exp")
UP, DOWN = 5, 0


def ball_scene(size: int = 8, held: bool = False) -> Scene:
    grid = np.indices((size, size, size)) - (size - 1) / 2
    reference = (grid**2).sum(0) <= (size / 3) ** 2
    held_voxels = np.zeros(reference.shape, bool)
    held_voxels[:2] = True
    return Scene(
        image=reference.astype(np.float32),
        reference=reference,
        start=np.full(reference.shape, 1, np.uint8),
        weights=np.ones(reference.shape, np.float32),
        spacing=(1.0, 1.0, 1.0),
        held_voxels=held_voxels if held else None,
    )


def user(episode: Episode, rng: np.random.Generator) -> list[Click]:
    scene = episode.scene
    return training_clicks(scene.reference, episode.mask, episode.clicks, scene.spacing, 1, rng)


def make_env(size: int = 8, **options) -> RefinementEnv:
    return RefinementEnv(ball_scene(size), user, channels=PUBLISHED_CHANNELS, hints=HINTS, **options)


def test_clicked_voxels_keep_their_label_through_every_step():
    episode = Episode(ball_scene(), hints=HINTS)
    episode.interact([Click((4, 4, 4), ClickLabel.FOREGROUND), Click((0, 0, 7), ClickLabel.BACKGROUND)])
    episode.step(np.full((8, 8, 8), 50, np.uint8))
    assert episode.percent[4, 4, 4] == 99
    assert episode.percent[0, 0, 7] == 1
    assert episode.fixed_voxels.sum() == 2


def test_held_voxels_are_never_changed():
    episode = Episode(ball_scene(held=True), hints=HINTS)
    episode.interact([])
    episode.step(np.full((8, 8, 8), 99, np.uint8))
    assert (episode.percent[:2] == 1).all()
    assert (episode.percent[2:] == 99).all()


CHANNELS = ("foreground_hints", "background_hints", *PRODUCT_CHANNELS)


def observed(episode):
    return dict(zip(CHANNELS, episode.observation(CHANNELS), strict=True))


def test_the_newest_click_on_a_voxel_wins_and_the_older_leaves_the_hints():
    episode = Episode(ball_scene(), hints=HINTS)
    episode.interact([Click((4, 4, 4), ClickLabel.FOREGROUND)])
    episode.interact([Click((4, 4, 4), ClickLabel.BACKGROUND)])
    observation = observed(episode)
    assert episode.percent[4, 4, 4] == 1
    assert not observation["foreground_hints"].any()
    assert observation["background_hints"][4, 4, 4] == 1


def test_relations_speak_of_this_interaction_alone_and_hints_of_all():
    episode = Episode(ball_scene(), hints=HINTS)
    episode.interact([Click((4, 4, 4), ClickLabel.FOREGROUND)])
    episode.interact([Click((1, 1, 1), ClickLabel.FOREGROUND)])
    observation = observed(episode)
    assert observation["same_hints"][4, 4, 4] == observation["same_hints"][1, 1, 1] == 1
    assert observation["click_nearness"][1, 1, 1] == 1
    assert observation["click_nearness"][4, 4, 4] == pytest.approx(1 - 27**0.5 / 12)
    assert not observation["opposite_hints"].any()


def test_an_observation_keeps_the_start_whatever_the_agents_made_of_it():
    episode = Episode(ball_scene(), hints=HINTS)
    before = observed(episode)["start"].copy()
    episode.interact([Click((4, 4, 4), ClickLabel.FOREGROUND)])
    episode.step(np.full((8, 8, 8), 99, np.uint8))
    assert np.array_equal(observed(episode)["start"], before)
    assert not np.array_equal(observed(episode)["probability"], observed(episode)["start"])


def test_an_observation_never_depends_on_the_reference():
    scenes = [ball_scene(), ball_scene()]
    scenes[1].reference[:] = ~scenes[1].reference
    seen = []
    for scene in scenes:
        episode = Episode(scene, hints=HINTS)
        episode.interact([Click((4, 4, 4), ClickLabel.FOREGROUND)])
        seen.append(episode.observation(PRODUCT_CHANNELS))
    assert np.array_equal(*seen)


def test_the_environment_conforms_to_gymnasium():
    check_env(make_env(), skip_render_check=True)


def test_moving_every_voxel_towards_the_reference_is_rewarded_and_away_is_punished():
    env = make_env(steps=2)
    env.reset(seed=0)
    reference = env.episode.scene.reference
    _, reward, terminated, truncated, info = env.step(np.where(reference, UP, DOWN))
    assert reward > 0
    assert info["reward_map"].shape == reference.shape
    assert not terminated
    assert not truncated
    env.reset(seed=0)
    assert env.step(np.where(reference, DOWN, UP))[1] < 0


def test_the_episode_terminates_when_nothing_is_left_to_click():
    env = make_env(steps=2)
    env.reset(seed=0)
    towards = np.where(env.episode.scene.reference, UP, DOWN)
    assert env.step(towards)[2] is False
    assert env.step(towards)[2] is True


def test_the_episode_is_truncated_at_its_budget_of_interactions():
    env = make_env(steps=1, interactions=2)
    env.reset(seed=0)
    wrong = np.where(env.episode.scene.reference, DOWN, UP)
    assert env.step(wrong)[2:4] == (False, False)
    assert env.step(wrong)[2:4] == (False, True)


def test_every_voxel_is_an_agent_of_the_pettingzoo_view():
    pytest.importorskip("pettingzoo")
    with warnings.catch_warnings():  # its checks load its own games in a way that it calls old
        warnings.simplefilter("ignore", DeprecationWarning)
        from pettingzoo.test import parallel_api_test

    from medseg_rl.environment.voxel_agents_env import VoxelAgentsEnv

    view = VoxelAgentsEnv(make_env(size=4))
    parallel_api_test(view, num_cycles=10)
    observations, _ = view.reset(seed=0)
    assert len(observations) == 64
    flat = view._env.episode.scene.reference
    actions = {agent: UP if flat[view._index[agent]] else DOWN for agent in view.agents}
    _, rewards, *_ = view.step(actions)
    assert sum(rewards.values()) > 0


def test_the_pettingzoo_view_refuses_large_grids():
    pytest.importorskip("pettingzoo")
    from medseg_rl.environment.voxel_agents_env import VoxelAgentsEnv

    with pytest.raises(ValueError, match="use RefinementEnv"):
        VoxelAgentsEnv(make_env(size=17))
