"""Breakout's rewards, noise of actions, mixed batches and state."""

import numpy as np
import pytest

from envs.breakout.env import BreakoutVectorEnv
from envs.registry import UsageError
from tests.envs.breakout.reference import SCHEMA


def test_paddle_noise_and_sticky_actions_have_their_rates():
    n = 4000
    env = BreakoutVectorEnv(n, mode="entities", bounce_noise=0.0, paddle_noise=0.25, sticky=0.5)
    env.reset()
    env.set_state({"paddle": np.tile([20, 2], (n, 1))})
    env.step(np.full(n, 2))
    moved = env.paddle[:, 0] - 20
    # half repeat the action before (0 at the start), of the others a quarter moves one pixel
    assert np.abs(np.bincount(moved, minlength=3) - [2000, 500, 1500]).max() < 130


def test_the_last_positive_brick_wins_and_negative_ones_cost():
    env = BreakoutVectorEnv(2, variant="half_negative", negative_side="left", **SCHEMA)
    env.reset()
    # 6 columns begin left of x = 47
    assert (env.brick_reward.reshape(2, 6, 11)[:, :, :6] == -1).all()
    assert (env.brick_reward.reshape(2, 6, 11)[:, :, 6:] == 1).all()
    bricks = np.zeros((2, 66), bool)
    bricks[:, [0, 10]] = True
    env.set_state({"bricks": bricks, "balls": np.array([[[4, 87, 0, 1]], [[85, 87, 0, 1]]])})
    _, reward, terminated, _, infos = env.step(np.zeros(2, int))
    assert reward.tolist() == [-1, 1]
    assert terminated.tolist() == [False, True]
    assert infos["_final_obs"].tolist() == [False, True]


def test_a_hit_target_jumps_elsewhere_and_not_onto_the_ball():
    n = 60
    env = BreakoutVectorEnv(n, variant="random_target", target_area=(3, 5, 88, 88), **{**SCHEMA, "mode": "entities"})
    env.reset()
    # the block covers x = 3..18; the ball goes on to (20, 91), which a block at 5 (5..20) would cover: only 4 is left
    env.set_state({"target": np.tile([3, 88], (n, 1)), "balls": np.tile([19, 90, -1, 1], (n, 1, 1))})
    reward = env.step(np.zeros(n, int))[1]
    assert (reward == 1).all()
    assert (env.balls[:, 0] == [20, 91, 1, 1]).all()
    assert (env.target == [4, 88]).all()


def test_row_values_are_not_clipped():
    env = BreakoutVectorEnv(1, variant="row_value", **SCHEMA)
    bricks = np.zeros((1, 66), bool)
    bricks[0, [55 + 5, 0]] = True  # row 5 begins at y = 108
    env.set_state({"bricks": bricks, "balls": np.array([[[47, 107, 0, 1]]])})
    assert env.step(np.array([0]))[1][0] == 7


def test_sparse_rewards_the_two_top_rows_alone():
    env = BreakoutVectorEnv(6, variant="sparse", **SCHEMA)
    env.reset()
    # of rows 0..5 the brick in column 5 alone stands, so each game but the last two has a brick with a reward left
    bricks = np.zeros((6, 66), bool)
    for row in range(6):
        bricks[row, row * 11 + 5] = True
    bricks[:4, 65] = True
    # rows begin at y = 88, 92, ..., 108, and the ball is 1 pixel below
    balls = np.array([[[47, 87 + 4 * row, 0, 1]] for row in range(6)])
    env.set_state({"bricks": bricks, "balls": balls})
    _, reward, terminated, _, _ = env.step(np.zeros(6, int))
    assert reward.tolist() == [0, 0, 0, 0, 1, 1]
    assert terminated.tolist() == [False, False, False, False, True, True]
    assert env.bricks[:4].sum(axis=1).tolist() == [1, 1, 1, 1]  # bricks of the other rows break all the same


def test_a_lost_ball_has_the_reward_of_the_rules():
    last = {"balls": np.array([[[20, 1, 0, -1]]]), "paddle": np.array([[60, 3]])}
    for rules, paid in ({}, -1), ({"variant": "sparse"}, 0), ({"lost_reward": -0.25}, -0.25):
        env = BreakoutVectorEnv(1, **rules, **SCHEMA)
        rewards, ended = [], []
        for _ in range(3):
            env.set_state(last)
            _, reward, terminated, _, _ = env.step(np.array([0]))
            rewards.append(reward[0])
            ended.append(bool(terminated[0]))
        assert rewards == [paid] * 3
        assert ended == [False, False, True]  # lives go all the same


def test_a_mixed_batch_steps_each_row_as_its_own_env():
    names = ["juggling", "middle_wall", "moving_obstacles", "random_target", "narrow_paddle", "offset_paddle"]
    mixed = BreakoutVectorEnv(6, variant=names, mode="index", seed=2)
    alone = [BreakoutVectorEnv(6, variant=name, mode="index", seed=2) for name in names]
    frames = [env.reset()[0] for env in (mixed, *alone)]
    rng = np.random.default_rng(0)
    for _ in range(150):
        actions = rng.integers(3, size=6)
        outcomes = [env.step(actions) for env in (mixed, *alone)]
        frames = [outcome[0] for outcome in outcomes]
        for i in range(6):
            np.testing.assert_array_equal(frames[0][i], frames[1 + i][i])
            assert outcomes[0][1][i] == outcomes[1 + i][1][i]


def test_state_of_a_fresh_env_and_bad_states():
    old = BreakoutVectorEnv(2, variant="juggling", **SCHEMA)
    old.reset()
    for _ in range(30):
        old.step(np.ones(2, int))
    new = BreakoutVectorEnv(2, variant="juggling", **SCHEMA)
    new.set_state(old.get_state())
    np.testing.assert_array_equal(new._observe_all(), old._observe_all())
    for bad, words in (
        ({"balls": np.full((2, 3, 4), 3)}, "speed above"),
        ({"paddle": np.array([[3, 3], [69, 3]])}, "paddle"),
        ({"speed": np.array([1, 3])}, "speed"),
        ({"balls": np.zeros((2, 1, 4))}, "shape"),
        ({"nothing": 1}, "nothing"),
    ):
        with pytest.raises(UsageError, match=words):
            new.set_state(bad)
    with pytest.raises(UsageError, match="more balls"):
        BreakoutVectorEnv(2, variant=["juggling", "standard"]).set_state({"balls": np.tile([9, 9, 1, 1], (2, 3, 1))})
