"""Metrics that an environment tells of itself, summed up by hand."""

from __future__ import annotations

import numpy as np
import pytest

from agents import checkpoint
from agents.runs.env_metrics import EnvMetrics, NewestEpisodes

NO = np.zeros(3, bool)
INFOS = {"state_hash": ("states", "distinct"), "coverage": ("coverage", "final"), "tv_seen": ("tv", "mean")}


def infos(states, coverage, **others):
    return {"state_hash": np.array(states, np.uint64), "coverage": np.array(coverage), **others}


def test_states_are_counted_once_and_an_episode_by_its_last_coverage():
    metrics = EnvMetrics(INFOS)
    metrics.add(infos([1, 2, 2**64 - 1], [0.1, 0.2, 0.3]), NO)
    metrics.add(infos([2, 3, 3], [0.2, 0.2, 0.4]), NO)
    assert metrics.metrics() == {"states": 4.0}
    # Env 0 ends: its infos now are of its next episode; the one that ended had 0.2. Env 2's ended with 0.4.
    metrics.add(infos([9, 3, 1], [0.05, 0.3, 0.05]), np.array([True, False, True]))
    assert metrics.metrics() == {"states": 5.0}  # env 1 still plays its first episode
    # Env 0 ends again, with 0.05, and env 1 for the first time, with 0.3: the mean of 0.05, 0.3, 0.4
    metrics.add(infos([9, 3, 1], [0.1, 0.1, 0.1]), np.array([True, True, False]))
    assert metrics.metrics() == {"states": 5.0, "coverage": pytest.approx(0.25)}
    assert metrics.metrics() == {"coverage": pytest.approx(0.25)}  # no step since


def test_a_mean_is_over_the_steps_since_the_last_call():
    metrics = EnvMetrics(INFOS)
    for seen in ([True, False, False], [True, True, True]):
        metrics.add({"tv_seen": np.array(seen)}, NO)
    assert metrics.metrics() == {"tv": pytest.approx(2 / 3)}
    metrics.add({"tv_seen": NO}, NO)
    assert metrics.metrics() == {"tv": 0.0}


def test_infos_that_no_environment_names_are_left_alone():
    metrics = EnvMetrics({})
    metrics.add(infos([1, 2, 3], [0.1, 0.2, 0.3], level_seed=np.zeros(3)), NO)
    assert metrics.metrics() == {}


def test_counts_go_on_after_a_restart(tmp_path):
    first, second = EnvMetrics(INFOS), EnvMetrics(INFOS)
    first.add(infos([1, 2**64 - 1, 5], [0.5, 0.2, 0.3]), NO)
    first.metrics()
    checkpoint.save(tmp_path, 1, {"env_metrics": first})
    checkpoint.load(tmp_path, {"env_metrics": second})
    for metrics in (first, second):
        metrics.add(infos([1, 7, 2**64 - 1], [0.1, 0.3, 0.4]), np.array([True, False, True]))
        assert metrics.metrics() == {"states": 4.0}
        metrics.add(infos([1, 7, 5], [0.1, 0.3, 0.4]), np.array([False, True, False]))
        assert metrics.metrics() == {"states": 4.0, "coverage": pytest.approx((0.5 + 0.3 + 0.3) / 3)}


def episode(r, steps):
    return {"episode": {"r": r, "l": steps}}


def test_each_env_counts_its_newest_episode_once():
    newest = NewestEpisodes(3)
    assert newest.metrics() == {}
    newest.add([episode(0.0, 2), {}, {}], np.array([True, False, False]))
    newest.add([episode(4.0, 3), {}, episode(-1.0, 9)], np.array([True, False, True]))
    newest.add([{}, episode(0.0, 15), {}], np.array([False, True, False]))
    # env 0: 4 in 3 steps, its first is forgotten; env 1: 0 in 15; env 2: -1 in 9
    assert newest.metrics() == {"return": 1.0, "episode_length": 9.0, "success": pytest.approx(1 / 3)}


def test_short_first_episodes_do_not_speak_for_all_envs():
    # One env of four finds the goal every second step, the others run out of time after 9: success 1/4, never 1.
    newest, records = NewestEpisodes(4), []
    for step in range(1, 19):
        done = np.array([step % 2 == 0, *[step % 9 == 0] * 3])
        newest.add([episode(1.0, 2), *[episode(0.0, 9)] * 3], done)
        records.append(newest.metrics())
    assert records[:8] == [{}] * 8
    assert records[8:] == [{"return": 0.25, "episode_length": 7.25, "success": 0.25}] * 10  # (2 + 3 x 9) / 4


def test_newest_episodes_go_on_from_their_state():
    newest, again = NewestEpisodes(2), NewestEpisodes(2)
    newest.add([episode(7.0, 5), {}], np.array([True, False]))
    again.load_state_dict(newest.state_dict())
    for one in (newest, again):
        assert one.metrics() == {}
        one.add([{}, episode(0.0, 9)], np.array([False, True]))
        assert one.metrics() == {"return": 3.5, "episode_length": 7.0, "success": 0.5}
