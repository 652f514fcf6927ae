"""Rollouts of Procgen environments, and their comparison."""

import numpy as np


def play(env, steps, seed=0, columns=None):
    """(steps) tuples of a random policy; ``columns`` keeps envs, whose actions do not depend on the number of envs."""
    rng = np.random.default_rng(seed)
    rows = slice(None) if columns is None else slice(columns)
    return [
        (*(x[rows] for x in env.step(actions)[:4]),) for actions in rng.integers(0, 15, (steps, 8))[:, : env.num_envs]
    ]


def assert_same(first, second):
    assert len(first) == len(second)
    for step_a, step_b in zip(first, second, strict=True):
        for a, b in zip(step_a, step_b, strict=True):
            np.testing.assert_array_equal(a, b)
