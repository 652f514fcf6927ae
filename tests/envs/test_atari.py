"""Atari Breakout: modes, catch and timed ones, exact states, and the picture's averages."""

import numpy as np
import pytest

pytest.importorskip("ale_py")

from envs.atari import MODES, AtariBreakoutVectorEnv, shrink
from envs.registry import UsageError


def test_averages_of_squares_of_two_and_a_half_pixels():
    field = np.zeros((160, 160), np.uint8)
    field[0, 0], field[2, 2], field[159, 159] = 200, 100, 50
    small = shrink(field)
    assert small.shape == (64, 64)
    # pixel (0, 0) counts 2 x 2 of 25 parts: 32; pixel (2, 2) is split over four squares, 1 of 25 each: 4
    assert small[0, 0] == 32 + 4
    assert (small[0, 1], small[1, 0], small[1, 1]) == (4, 4, 4)
    assert small[63, 63] == 8
    assert small.sum() == 32 + 16 + 8
    assert shrink(np.full((160, 160, 3), 77, np.uint8)).min() == 77


def test_timed_and_unknown_modes_are_refused_with_the_reason():
    for mode in (16, 20, 24, 28):
        with pytest.raises(UsageError, match="reward is the clock"):
            AtariBreakoutVectorEnv(1, mode=mode)
    for mode in (3, True, 48):
        with pytest.raises(UsageError, match="no mode"):
            AtariBreakoutVectorEnv(1, mode=mode)
    for bad in ({"difficulty": 2}, {"view": "grey"}, {"sticky": 1.5}, {"frameskip": 0}):
        with pytest.raises(UsageError, match=next(iter(bad))):
            AtariBreakoutVectorEnv(1, **bad)


def test_catch_modes_are_cut_sooner():
    limits = {mode: AtariBreakoutVectorEnv(1, mode=mode).max_episode_steps for mode in MODES}
    assert limits == {0: 6750, 4: 6750, 8: 1500, 12: 6750, 32: 6750, 36: 6750, 40: 1500, 44: 6750}


def test_the_script_earns_points_and_lives_fall():
    env = AtariBreakoutVectorEnv(3, seed=1)
    env.reset()
    assert env.lives.tolist() == [5, 5, 5]
    total = sum(env.step(env.scripted())[1] for _ in range(250))
    assert (total >= 2).all()
    idle = AtariBreakoutVectorEnv(1, seed=1)
    idle.reset()
    for _ in range(40):
        idle.step(np.zeros(1, int))  # the ball is served by itself, and lost by itself
    assert idle.lives[0] == 4


def test_difficulty_makes_the_paddle_smaller():
    widths = []
    for difficulty in (0, 1):
        env = AtariBreakoutVectorEnv(1, difficulty=difficulty, view="rgb", sticky=0)
        env.reset()
        frame = env.step(np.zeros(1, int))[0][0]
        red = (frame[62] > [120, 40, 40]).all(1) & (frame[62, :, 1] < 90)  # the paddle's row, 189..192 of 210
        widths.append(red[4:60].sum())
    assert widths[0] > widths[1] > 0


def test_in_breakthru_the_ball_goes_on_through_the_bricks():
    points = {}
    for mode in (0, 32):
        env = AtariBreakoutVectorEnv(4, mode=mode, seed=2, sticky=0)
        env.reset()
        points[mode] = sum(env.step(env.scripted())[1] for _ in range(150)).mean()
    assert points[32] > 2 * points[0]


def test_sticky_frames_repeat_the_action_before():
    env = AtariBreakoutVectorEnv(1, sticky=1.0)
    env.reset()
    x = env.factors()["paddle_x"][0]
    for _ in range(5):
        env.step(np.array([2]))
    assert env.factors()["paddle_x"][0] == x  # every frame repeats the nothing of the start
    env = AtariBreakoutVectorEnv(1, sticky=0.0)
    env.reset()
    for _ in range(5):
        env.step(np.array([2]))
    assert env.factors()["paddle_x"][0] > x


def test_states_of_unequal_length_go_on_exactly():
    one, two = AtariBreakoutVectorEnv(2, seed=1), AtariBreakoutVectorEnv(2, seed=8)
    one.reset()
    two.reset()
    rng = np.random.default_rng(0)
    for _ in range(40):
        one.step(rng.integers(4, size=2))
    one.reset(options={"reset_mask": np.array([True, False])})  # a fresh state beside an old one
    two.set_state(one.state())
    for _ in range(40):
        actions = rng.integers(4, size=2)
        for x, y in zip(one.step(actions)[:4], two.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_level_is_where_the_paddle_starts():
    env = AtariBreakoutVectorEnv(12, seed=1, num_levels=10**6)
    env.reset()
    places = env.factors()["paddle_x"]
    assert len(set(places.tolist())) > 6
    again = AtariBreakoutVectorEnv(3, seed=9, num_levels=1, start_level=int(env.level[4]))
    again.reset()
    assert (again.factors()["paddle_x"] == places[4]).all()
