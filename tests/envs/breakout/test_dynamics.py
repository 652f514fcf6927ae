"""Breakout's moves: traces of the original game, a slow reference, and single steps by hand."""

import numpy as np
import pytest

from envs.breakout.dynamics import paddle_response
from envs.breakout.env import BreakoutVectorEnv
from envs.breakout.variants import PRESETS, VARIANTS
from tests.envs.breakout.reference import QUIET, SCHEMA, Reference, compare, scatter

# Data of the original game, noise off, 2-pixel paddle steps: state (x, y, vx, vy, paddle x) after step t, and every
# brick hit up to step 1200 as (t, column, row).
TRACES = {
    "speed 1": (
        (47, 44, 1, -1),
        {
            10: (57, 34, 1, -1, 44),
            40: (87, 10, 1, 1, 68),
            100: (33, 70, -1, 1, 24),
            400: (81, 50, -1, 1, 68),
            1200: (14, 26, 0, 1, 3),
        },
        [(118, 1, 0), (278, 3, 0), (438, 5, 0), (598, 6, 0), (758, 8, 0), (922, 1, 1), (1094, 1, 2)],
    ),
    "speed 2": (
        (47, 44, 1, -2),
        {
            10: (57, 24, 1, -2, 44),
            40: (87, 52, 1, 2, 68),
            200: (73, 60, 1, 2, 59),
            800: (57, 12, 1, -2, 43),
            1200: (71, 40, -1, -2, 62),
        },
        [
            (58, 9, 0),
            (136, 0, 0),
            (214, 10, 0),
            (292, 1, 0),
            (370, 8, 0),
            (448, 3, 0),
            (526, 4, 0),
            (606, 4, 1),
            (686, 7, 0),
            (764, 2, 0),
            (844, 9, 1),
            (926, 0, 1),
            (1092, 0, 2),
            (1176, 10, 1),
        ],
    ),
}


@pytest.mark.parametrize("name", TRACES)
def test_golden_traces_of_the_original(name):
    ball, expected, expected_hits = TRACES[name]
    env = BreakoutVectorEnv(1, **SCHEMA)
    env.set_state({"balls": np.array([[ball]]), "paddle": np.array([[36, 3]])})
    assert env.speed[0] == max(abs(ball[2]), abs(ball[3]))
    seen, hits, standing = {}, [], env.get_state()["bricks"][0]
    for t in range(1, 1201):
        reward = env.step(env.scripted())[1]
        state = env.get_state()
        gone = np.flatnonzero(standing & ~state["bricks"][0])
        assert reward[0] == len(gone)
        hits += [(t, k % 11, k // 11) for k in gone]
        standing = state["bricks"][0]
        if t in expected:
            seen[t] = (*state["balls"][0, 0], state["paddle"][0, 0])
    assert seen == expected
    assert hits == expected_hits


CASES = {
    **{name: {"variant": name} for name in VARIANTS if VARIANTS[name].distractors == 0},
    "left wall": {"variant": "middle_wall", "wall_location": "left", "ball_speed": 2},
    "right wall": {"variant": "middle_wall", "wall_location": "right", "ball_speed": 2},
    "three balls": {"num_balls": 3, "ball_speed": 2, "brick_strength": 2},
    "even paddle": {"paddle_width": 24, "ball_speed": 2},
    "blocks and high paddle": {"variant": "moving_obstacles", "paddle_y": 9, "obstacles": ((9, 2), (10, -1), (14, 3))},
}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", CASES)
def test_every_variant_moves_as_the_slow_reference(name, preset):
    options = {"accelerate": "episode", **QUIET, "sticky": 0.0, **CASES[name], "preset": preset}
    env = BreakoutVectorEnv(2, seed=4, **options)
    env.reset()
    rng, games = np.random.default_rng(0), [Reference(env, i) for i in range(2)]
    for t in range(120):
        if t % 12 == 0:
            scatter(env, rng)
        env.board.lives[:] = np.maximum(env.lives, 1 + (t < 100))
        for i, game in enumerate(games):
            game.take(env, i)
        actions = np.where(rng.random(2) < 0.5, rng.integers(3, size=2), env.scripted())
        _, reward, terminated, _, _ = env.step(np.where(env.swapped, (3 - actions) % 3, actions))
        for i, game in enumerate(games):
            expected, over, drawn = game.step(int(actions[i]))
            assert (reward[i], terminated[i]) == (expected, over)
            if over:
                games[i] = Reference(env, i)
            else:
                compare(env, i, game, drawn)


def test_paddle_response_tables():
    # the sheet: width 23, r=1: -1 (11 px), 0, +1; r=2: -2 x6, -1 x5, 0, +1 x5, +2 x6; 24 has two zeros
    assert paddle_response(23, 1).tolist() == [-1] * 11 + [0] + [1] * 11
    assert paddle_response(23, 2).tolist() == [-2] * 6 + [-1] * 5 + [0] + [1] * 5 + [2] * 6
    assert paddle_response(24, 2).tolist() == [-2] * 6 + [-1] * 5 + [0, 0] + [1] * 5 + [2] * 6
    assert paddle_response(15, 2).tolist() == [-2] * 4 + [-1] * 3 + [0] + [1] * 3 + [2] * 4


def test_serves_follow_the_rules():
    env = BreakoutVectorEnv(400, preset="schema", mode="entities", num_levels=100000)
    env.reset()
    x, y, u, v = env.balls[:, 0].T
    # x = 47 + {-2..2}, y = 88 // 2 - {0, 1}; falling velocities of radius 1
    assert set(x) == set(range(45, 50))
    assert set(y) == {43, 44}
    assert set(zip(u, v, strict=True)) == {(-1, -1), (0, -1), (1, -1)}
    assert env.paddle[:, 0].min() == 3
    assert env.paddle[:, 0].max() == 68
    three = BreakoutVectorEnv(400, variant="juggling", preset="schema", mode="entities", num_levels=100000)
    three.reset()
    # no bricks: 113 // 2 - {0, 1}; x = 47 + {-4..4}; 7 falling velocities of radius 2; three different pixels
    assert set(three.balls[:, :, 1].flat) == {55, 56}
    assert set(three.balls[:, :, 0].flat) == set(range(43, 52))
    assert len({tuple(pair) for pair in three.balls[:, :, 2:].reshape(-1, 2)}) == 7
    assert all(len({tuple(ball[:2]) for ball in balls}) == 3 for balls in three.balls)


def test_bounce_noise_keeps_the_signs_and_its_rate():
    n = 3000
    env = BreakoutVectorEnv(n, **{**SCHEMA, "bounce_noise": 0.5, "mode": "entities"})
    env.reset()
    # one step before the left wall: (5, 40) with (-2, 1) is sent back as (2, 1), or as one of (1,2) (2,1) (2,2)
    env.set_state({"balls": np.tile([3, 40, -2, 1], (n, 1, 1))})
    env.step(np.zeros(n, int))
    found, counts = np.unique(env.balls[:, 0, 2:], axis=0, return_counts=True)
    assert found.tolist() == [[1, 2], [2, 1], [2, 2]]
    # 1/6, 1/2 + 1/6, 1/6 of 3000; standard deviation below 26
    assert np.abs(counts - [500, 2000, 500]).max() < 100
    assert (env.balls[:, 0, :2] == [3, 40] + env.balls[:, 0, 2:]).all()


def test_speed_up_doubles_the_velocity_once_an_episode():
    env = BreakoutVectorEnv(1, **{**QUIET, "preset": "schema"})
    env.reset()
    # the brick above (47, 87) is column (47 - 3) // 8 = 5 of row 0; three are broken already, so it is the fourth
    env.set_state({"balls": np.array([[[47, 87, 1, 1]]]), "broken": np.array([3])})
    reward = env.step(np.array([0]))[1]
    assert reward[0] == 1
    assert not env.bricks[0, 5]
    assert env.broken[0] == 4
    assert env.balls[0, 0].tolist() == [48, 86, 2, -2]
    assert env.speed[0] == 2
    off = BreakoutVectorEnv(1, **SCHEMA)
    off.set_state({"balls": np.array([[[47, 87, 1, 1]]]), "broken": np.array([3])})
    off.step(np.array([0]))
    assert off.balls[0, 0].tolist() == [48, 86, 1, -1]


def test_row_two_speeds_up_too():
    env = BreakoutVectorEnv(1, **{**QUIET, "preset": "schema"})
    bricks = np.ones((1, 66), bool)
    bricks[0, :22] = False  # rows 0 and 1 gone: row 2 begins at y = 96
    env.set_state({"balls": np.array([[[47, 95, 0, 1]]]), "bricks": bricks})
    env.step(np.array([0]))
    assert env.balls[0, 0].tolist() == [47, 94, 0, -2]
    assert not env.bricks[0, 2 * 11 + 5]


def test_three_lives_and_the_ball_skipped_by_the_list():
    env = BreakoutVectorEnv(1, variant="juggling", **SCHEMA)
    env.reset()
    low = np.array([[[20, 1, 0, -2], [30, 1, 0, -2], [40, 1, 0, -2]]])
    rewards, ended = [], []
    for _ in range(3):
        env.set_state({"balls": low, "live": np.ones((1, 3), bool)})
        for _ in range(2):
            _, reward, terminated, _, _ = env.step(np.array([0]))
            rewards.append(reward[0])
            ended.append(terminated[0])
    # first and third at once (-2, clipped), the second a step later; three lives are six steps
    assert rewards == [-1] * 6
    assert ended == [False] * 5 + [True]


def test_a_ball_in_the_paddle_goes_on_and_may_leave_the_field():
    env = BreakoutVectorEnv(1, **SCHEMA)
    env.set_state({"balls": np.array([[[3, 5, -2, 1]]]), "paddle": np.array([[3, 3]])})
    places = []
    for _ in range(4):
        env.step(np.array([0]))
        places.append(env.balls[0, 0, :2].tolist())
    assert places == [[1, 6], [-1, 7], [-3, 8], [-5, 9]]


def test_a_bounce_off_the_paddle_into_the_wall_is_mirrored():
    env = BreakoutVectorEnv(1, **SCHEMA)
    # column 0 answers vx = -1, which would end in the left wall (2, 8)
    env.set_state({"balls": np.array([[[3, 7, 1, -1]]]), "paddle": np.array([[3, 3]])})
    env.step(np.array([0]))
    assert env.balls[0, 0].tolist() == [4, 8, 1, 1]


def test_a_block_turns_at_the_paddle_it_shares_rows_with():
    env = BreakoutVectorEnv(1, obstacles=((5, 2),), **SCHEMA)
    # 54..61 would meet the paddle, which begins at 60
    env.set_state({"obstacles": np.array([[[52, 5, 2]]]), "paddle": np.array([[60, 3]])})
    env.step(np.array([0]))
    assert env.obstacles[0, 0].tolist() == [50, 5, -2]


def test_two_balls_that_hit_a_brick_together_hit_it_once():
    env = BreakoutVectorEnv(1, num_balls=2, brick_strength=2, **SCHEMA)
    rewards = []
    for _ in range(2):
        env.set_state({"balls": np.array([[[44, 87, 0, 1], [48, 87, 0, 1]]])})
        rewards.append(float(env.step(np.array([0]))[1][0]))
    assert rewards == [0, 1]
    assert env.damage.sum() == 2
    assert env.broken[0] == 1


def test_gravity_pulls_skips_zero_and_the_paddle_throws_up():
    env = BreakoutVectorEnv(1, variant="gravity", **{**QUIET, "preset": "schema", "gravity_period": 3})
    env.set_state({"balls": np.array([[[47, 30, 1, 2]]]), "paddle": np.array([[36, 3]])})
    speeds = []
    for _ in range(12):
        env.step(np.array([0]))
        speeds.append(int(env.balls[0, 0, 3]))
    # after steps 3, 6, 9: 2 -> 1 -> -1 (not 0) -> -2, and no further
    assert speeds == [2, 2, 1, 1, 1, -1, -1, -1, -2, -2, -2, -2]
    env.set_state({"balls": np.array([[[47, 7, 1, -1]]]), "speed": np.array([2]), "time": np.array([0])})
    env.step(np.array([0]))
    # column 47 - 36 = 11 is the centre: straight up, with vy = r
    assert env.balls[0, 0].tolist() == [47, 9, 0, 2]
