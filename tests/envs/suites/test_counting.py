"""The counting suite's constants, measured."""

import numpy as np
import pytest

from envs.suites import build


def test_counting_normalises_random_to_0_and_perfect_to_1():
    (task,) = build("counting", 3)
    low, high = task.normalise
    env = task.source.make(4, seed=0)
    env.reset()
    rng, totals = np.random.default_rng(0), {"random": 0.0, "perfect": 0.0}
    for policy in totals:
        episodes = 0
        for _ in range(1000):
            best = env.scripted()
            actions = best if policy == "perfect" else rng.integers(0, 4, 4)
            _, reward, terminated, truncated, _ = env.step(actions)
            totals[policy] += reward.sum()
            episodes += (terminated | truncated).sum()
        totals[policy] /= episodes
    assert (totals["random"] - low) / (high - low) == pytest.approx(0, abs=0.03)
    assert (totals["perfect"] - low) / (high - low) == pytest.approx(1, abs=0.01)
