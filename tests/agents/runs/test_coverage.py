"""What an agent has seen, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from agents import checkpoint
from agents.runs.coverage import Coverage

NO = np.zeros(3, bool)


def told(states, coverage):
    return {"state_hash": np.array(states, np.uint64), "coverage": np.array(coverage)}


def test_states_are_counted_once_and_an_episode_by_its_last_coverage():
    coverage = Coverage()
    coverage.see(told([1, 2, 2**64 - 1], [0.1, 0.2, 0.3]), NO)
    coverage.see(told([2, 3, 3], [0.2, 0.2, 0.4]), NO)
    assert coverage.metrics() == {"explore/states": 4.0}
    # Env 0 ends: what is told now is of its next episode; the one that ended had 0.2. Env 2's ended with 0.4.
    coverage.see(told([9, 3, 1], [0.05, 0.3, 0.05]), np.array([True, False, True]))
    assert coverage.metrics() == {"explore/states": 5.0, "explore/coverage": pytest.approx(0.3)}
    assert coverage.metrics() == {}


def test_a_world_that_tells_nothing_is_not_counted():
    coverage = Coverage()
    coverage.see({"level_seed": np.zeros(3)}, NO)
    assert coverage.metrics() == {}


def test_it_goes_on_after_a_restart(tmp_path):
    first, second = Coverage(), Coverage()
    first.see(told([1, 2**64 - 1, 5], [0.5, 0.2, 0.3]), NO)
    first.metrics()
    checkpoint.save(tmp_path, 1, {"coverage": first})
    checkpoint.load(tmp_path, {"coverage": second})
    for one in (first, second):
        one.see(told([1, 7, 2**64 - 1], [0.1, 0.3, 0.4]), np.array([True, False, False]))
        assert one.metrics() == {"explore/states": 4.0, "explore/coverage": 0.5}
