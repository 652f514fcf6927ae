"""Procgen's contract: seeds, splits, and no value that would let the C++ end the process."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from envs.procgen.env import ProcgenVectorEnv
from envs.procgen.games import GAMES, LARGEST_SEED
from envs.registry import UsageError
from tests.envs.procgen.tools import assert_same, play

pytestmark = pytest.mark.procgen
NOTHING = 4
"""The action without an arrow."""


def test_same_seed_gives_the_same_rollout_and_another_seed_another(make):
    first, second, third = (make(4, num_levels=50, seed=seed) for seed in (3, 8, 8))
    frames, infos = first.reset()
    again, _ = second.reset(seed=3)
    np.testing.assert_array_equal(frames, again)
    assert infos["_level_seed"].all()
    assert_same(play(first, 150), play(second, 150))
    assert not np.array_equal(infos["level_seed"], third.reset()[1]["level_seed"])


def test_reset_with_a_seed_starts_the_level_order_anew(make):
    env = make(4, num_levels=1000, seed=1)
    _, first = env.reset(seed=5)
    play(env, 30)
    _, second = env.reset(seed=5)
    np.testing.assert_array_equal(first["level_seed"], second["level_seed"])


def test_reset_without_a_seed_goes_on_to_new_levels(make):
    env = make(4, num_levels=100_000, seed=1)
    _, first = env.reset()
    play(env, 3)
    frames, second = env.reset()
    assert (first["level_seed"] != second["level_seed"]).all()
    assert frames.shape == (4, 64, 64, 3)
    assert frames.dtype == np.uint8


def test_an_env_does_not_depend_on_their_number_or_on_threads(make):
    few, many = make(3, num_levels=30, seed=7, num_threads=0), make(8, num_levels=30, seed=7, num_threads=3)
    np.testing.assert_array_equal(few.reset()[0], many.reset()[0][:3])
    assert_same(play(few, 200), play(many, 200, columns=3))


def test_training_and_heldout_level_seeds_stay_in_their_ranges(make):
    seen = []
    for start, count in ((0, 5), (10**6, 10**5)):
        env = make(8, num_levels=count, start_level=start, distribution_mode="hard")
        _, infos = env.reset()
        levels = set(infos["level_seed"].tolist())
        for _ in range(20):
            levels |= set(env.reset()[1]["level_seed"].tolist())
        rng = np.random.default_rng(0)
        for _ in range(100):
            _, _, terminated, truncated, infos = env.step(rng.integers(0, 15, 8))
            if infos:
                ended = terminated | truncated
                np.testing.assert_array_equal(infos["_prev_level_seed"], ended)
                levels |= set(infos["level_seed"][ended].tolist()) | set(infos["prev_level_seed"][ended].tolist())
        assert all(start <= level < start + count for level in levels)
        seen.append(levels)
    assert len(seen[0]) == 5  # every training level came up
    assert not seen[0] & seen[1]


def test_prev_level_seed_is_the_level_that_was_announced(make):
    env = make(8, "starpilot", num_levels=500)
    _, infos = env.reset()
    playing, ends = infos["level_seed"].copy(), 0
    rng = np.random.default_rng(0)
    for _ in range(250):
        *_, infos = env.step(rng.integers(0, 15, 8))
        if infos:
            ended = infos["_level_seed"]
            np.testing.assert_array_equal(infos["prev_level_seed"][ended], playing[ended])
            playing[ended] = infos["level_seed"][ended]
            ends += ended.sum()
    assert ends > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"game": "coinrunn"}, "did you mean 'coinrun'"),
        ({"game": 3}, "unknown game"),
        ({"distribution_mode": "extreme"}, "it has easy, hard, exploration"),
        ({"game": "bigfish", "distribution_mode": "memory"}, "it has easy, hard$"),
        ({"distribution_mode": "exploration"}, "num_levels=1"),
        ({"num_levels": 0}, "every level, training levels included"),
        ({"num_levels": -1}, "num_levels=-1"),
        ({"num_levels": True}, "num_levels=True"),
        ({"num_levels": 2.0}, "num_levels=2.0"),
        ({"start_level": -1}, "start_level=-1"),
        ({"start_level": 2**31}, "start_level=2147483648"),
        ({"start_level": LARGEST_SEED, "num_levels": 1}, "lower start_level"),
        ({"num_envs": 0}, "num_envs=0"),
        ({"num_threads": -1}, "num_threads=-1"),
        ({"max_episode_steps": 0}, "max_episode_steps=0"),
        ({"max_episode_steps": 10, "use_generated_assets": True}, "use_generated_assets"),
        ({"max_episode_steps": 10, "use_sequential_levels": True}, "use_sequential_levels"),
        ({"use_backgrounds": 1}, "use_backgrounds=1"),
        ({"center_agent": "yes"}, "center_agent='yes'"),
        ({"debug_mode": 16}, "debug_mode=16"),
        ({"game": "maze", "debug_mode": 2}, "coinrun only"),
        ({"render_mode": "human"}, "rgb_array"),
        ({"use_background": False}, "did you mean 'use_backgrounds'"),
        ({"seed_of_all": 3}, "unknown option 'seed_of_all'"),
    ],
)
def test_a_bad_value_is_an_error_in_python(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        ProcgenVectorEnv(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("actions", [[15, 0], [0, -1]])
def test_actions_out_of_range_are_refused(make, actions):
    env = make(2)
    env.reset()
    with pytest.raises(UsageError, match=r"0\.\.14"):
        env.step(np.array(actions))


@pytest.mark.parametrize("seed", [2**40, -1, np.int64(3)])
def test_any_integer_is_a_seed(make, seed):
    assert len(make(2, seed=seed).reset(seed=seed)[0]) == 2


def test_a_list_of_seeds_is_refused(make):
    with pytest.raises(UsageError, match="one integer"):
        make(2).reset(seed=[1, 2])


@pytest.mark.parametrize("game", sorted(GAMES))
def test_all_games_and_all_their_modes_step(make, game):
    for mode in ("easy", "hard", *GAMES[game].modes):
        levels = {"num_levels": 1} if mode == "exploration" else {}
        env = make(2, game, distribution_mode=mode, **levels)
        env.reset()
        frames, reward, terminated, truncated, _ = env.step(np.array([7, 8]))
        assert (frames.shape, frames.dtype) == ((2, 64, 64, 3), np.uint8)
        assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float32, bool, bool)


def test_gymnasium_ids_pass_both_checkers():
    for env_id in ("Procgen/CoinRun-v0", "Procgen/Maze-v0"):
        env = gym.make(env_id, num_levels=10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # remarks on taste; a fault raises
            check_env(env.unwrapped)
            sb3_check_env(env)
        env.close()
    assert len(GAMES) == 16
    assert {f"Procgen/{game.title}-v0" for game in GAMES.values()} <= set(gym.registry)


def test_the_single_env_ends_with_the_frame_before_and_python_types():
    env = gym.make("Procgen/StarPilot-v0", num_levels=10, render_mode="rgb_array")
    frame, info = env.reset(seed=1)
    assert type(info["level_seed"]) is int
    level, done = info["level_seed"], False
    while not done:
        before = frame
        frame, reward, terminated, truncated, info = env.step(4)
        done = terminated or truncated
        assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(env.render(), frame)
    assert info == {"prev_level_seed": level, "prev_level_complete": False, "final_obs_is_previous": True}
    env.close()
    env.close()


def test_make_vec_builds_the_vector_class_and_hands_over_the_limit():
    envs = gym.make_vec("Procgen/CoinRun-v0", num_envs=3, num_levels=10, max_episode_steps=5)
    assert isinstance(envs, ProcgenVectorEnv)
    assert envs.max_episode_steps == 5
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    envs.close()


def test_gymnasiums_episode_recorder_works_on_it(make):
    env = RecordEpisodeStatistics(make(3, num_levels=10, max_episode_steps=7))
    env.reset()
    for _ in range(7):
        *_, infos = env.step(np.full(3, NOTHING))
    np.testing.assert_array_equal(infos["episode"]["l"], [7, 7, 7])
    assert infos["_episode"].all()


def test_render_gives_the_frames_only_when_asked(make):
    env = make(2, render_mode="rgb_array")
    frames, _ = env.reset()
    np.testing.assert_array_equal(env.render(), frames)
    assert make(2).render() is None
