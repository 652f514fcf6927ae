"""Ends of Procgen's episodes: terminated or truncated, at which step, with which final frame."""

import numpy as np
import pytest

from envs.procgen.games import GAMES, Options
from tests.envs.procgen.tools import play

pytestmark = pytest.mark.procgen
NOTHING = 4
"""The action without an arrow."""


def test_the_time_limit_is_truncated_exactly_at_its_step(make):
    env = make(2, num_levels=1, start_level=3)
    env.reset()
    for step in range(1, 1001):
        _, reward, terminated, truncated, infos = env.step(np.full(2, NOTHING))
        assert not terminated.any()
        assert truncated.all() == (step == 1000)
    assert (reward == 0).all()
    assert not infos["prev_level_complete"].any()
    assert infos["final_obs_is_previous"].all()


def test_the_limit_counts_the_steps_of_each_env_by_itself(make):
    env = make(2, "maze", num_levels=50)
    env.reset()
    play(env, 60)
    env.reset()
    np.testing.assert_array_equal(env.state()["steps"], [0, 0])
    for _ in range(200):
        env.step(np.full(2, NOTHING))
    env.reset(options={"reset_mask": np.array([False, True])})
    np.testing.assert_array_equal(env.state()["steps"], [200, 0])
    ends = []
    for step in range(201, 701):
        _, _, terminated, truncated, _ = env.step(np.full(2, NOTHING))
        assert not terminated.any()
        ends += [(step, i) for i in np.flatnonzero(truncated)]
    assert ends == [(500, 0), (700, 1)]


def test_the_coin_at_the_very_last_step_is_terminated(make):
    env = make(8, num_levels=100, seed=2)
    env.reset()
    rng, coin = np.random.default_rng(1), np.zeros(8, bool)
    while not coin.any():
        state, actions = env.state(), rng.choice([7, 8], 8)
        coin = env.step(actions)[1] == 10
    state["steps"][:] = 999
    env.set_state(state)
    _, _, terminated, truncated, _ = env.step(actions)
    assert terminated[coin].all()
    assert not truncated[coin].any()


def test_death_and_the_coin_are_terminated_not_truncated(make):
    env = make(8, num_levels=100, seed=2)
    env.reset()
    rng, rewards = np.random.default_rng(1), []
    for _ in range(400):
        _, reward, terminated, truncated, infos = env.step(rng.choice([7, 8], 8))  # run right, jump
        assert not truncated.any()
        if terminated.any():
            rewards += reward[terminated].tolist()
            np.testing.assert_array_equal(infos["prev_level_complete"][terminated], reward[terminated] == 10)
    assert set(rewards) == {0.0, 10.0}  # both kinds of end were seen


def test_the_final_frame_is_the_one_before_and_says_so(make):
    env = make(8, num_levels=100, seed=2)
    before, _ = env.reset()
    rng, ends = np.random.default_rng(1), 0
    for _ in range(150):
        frames, _, terminated, _, infos = env.step(rng.choice([7, 8], 8))
        for i in np.flatnonzero(terminated):
            np.testing.assert_array_equal(infos["final_obs"][i], before[i])
            assert infos["final_obs_is_previous"][i]
            ends += 1
        if infos:
            assert all(infos["final_obs"][i] is None for i in np.flatnonzero(~terminated))
        assert not np.shares_memory(frames, before)
        before = frames
    assert ends > 5


def test_a_shorter_limit_gives_the_true_final_frame(make):
    free, short = make(3, num_levels=30, seed=6), make(3, num_levels=30, seed=6, max_episode_steps=12)
    free.reset()
    short.reset()
    for step in range(1, 13):
        free_frames, *_ = free.step(np.full(3, NOTHING))
        frames, _, terminated, truncated, infos = short.step(np.full(3, NOTHING))
        assert truncated.all() == (step == 12)
        assert not terminated.any()
    assert not infos["final_obs_is_previous"].any()
    for i in range(3):
        np.testing.assert_array_equal(infos["final_obs"][i], free_frames[i])
    # the next levels are those that a reset of every env would have opened
    expected, levels = free.reset()
    np.testing.assert_array_equal(frames, expected)
    np.testing.assert_array_equal(infos["level_seed"], levels["level_seed"])


def test_an_end_of_the_games_own_at_our_limit_is_terminated(make):
    env, free = make(8, num_levels=100, seed=2, max_episode_steps=900), make(8, num_levels=100, seed=2)
    env.reset()
    free.reset()
    rng, coin = np.random.default_rng(1), np.zeros(8, bool)
    while not coin.any():
        state, actions = env.state(), rng.choice([7, 8], 8)
        *_, infos = free.step(actions)
        coin = env.step(actions)[1] == 10
    state["steps"][:] = 899
    env.set_state(state)
    _, _, terminated, truncated, again = env.step(actions)
    np.testing.assert_array_equal(truncated, ~terminated)
    np.testing.assert_array_equal(again["final_obs_is_previous"], terminated)
    np.testing.assert_array_equal(again["level_seed"][terminated], infos["level_seed"][terminated])


def test_a_limit_at_or_above_the_games_own_changes_nothing(make):
    assert make(1, "maze", max_episode_steps=500).max_episode_steps is None
    assert make(1, "maze", max_episode_steps=499).max_episode_steps == 499


def test_sequential_levels_start_the_clock_anew_without_an_end(make):
    env = make(8, num_levels=100, seed=2, use_sequential_levels=True)
    env.reset()
    rng, solved = np.random.default_rng(1), 0
    for _ in range(150):
        counts = env.state()["steps"]
        _, reward, terminated, _, _ = env.step(rng.choice([7, 8], 8))
        coin = reward == 10
        assert not (coin & terminated).any()
        assert (env.state()["steps"] == np.where(coin | terminated, 0, counts + 1)).all()
        solved += coin.sum()
    assert solved


def test_time_limits_of_the_games():
    limits = {game: Options(game=game).time_limit for game in GAMES}
    special = {"bigfish": 6000, "bossfight": 4000, "plunder": 4000, "leaper": 500, "maze": 500}
    assert limits == {game: special.get(game, 1000) for game in GAMES}
    assert Options(game="jumper", distribution_mode="memory").time_limit == 2000
