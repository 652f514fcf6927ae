"""Breakout's tracker against a random policy."""

import numpy as np

from envs.breakout.env import BreakoutVectorEnv
from envs.breakout.ground_truth import evaluate_window


def test_the_tracker_clears_bricks_and_a_random_policy_does_not():
    env = BreakoutVectorEnv(20, mode="entities", num_levels=1000)
    tracked = evaluate_window(env, lambda seen: env.scripted(), 600)
    rng = np.random.default_rng(0)
    chance = evaluate_window(env, lambda seen: rng.integers(3, size=20), 600)
    assert tracked.mean() > 5 > 0 > chance.mean()
