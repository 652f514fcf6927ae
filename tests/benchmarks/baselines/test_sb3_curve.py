"""The learning curve of stable-baselines3's PPO: its rows, levels and errors."""

import csv

import pytest

from benchmarks.baselines import sb3_curve
from benchmarks.baselines.sb3_curve import Args
from envs.level_sets import training_levels
from envs.registry import UsageError


def test_a_row_for_each_rollout_and_evaluations_at_sixths(tmp_path, monkeypatch):
    monkeypatch.setattr(sb3_curve, "algorithm_settings", lambda *names: {"n_steps": 40, "minibatches": 1})
    monkeypatch.setattr(sb3_curve, "NUM_ENVS", 2)
    monkeypatch.setattr(sb3_curve, "EPISODES", 3)
    out = tmp_path / "curve.csv"
    sb3_curve.sb3_curve(Args(out=out, suite="counting", levels=3, drawn=True, steps=240, seed=4))
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frames"] for row in rows] == ["80", "160", "240"]
    assert {row["level_set"] for row in rows} == {str(training_levels("counting", 4, 3))}
    # sixths of 240 are 40, 80, ..., so each rollout of 80 frames passes one
    assert all(float(row["validation_return"]) >= 0 for row in rows)
    # counting: an episode has 10 to 13 steps
    assert all(10 <= float(row["episode_length"]) <= 13 for row in rows)


def test_bad_values_are_named(tmp_path):
    with pytest.raises(UsageError, match="--steps 5"):
        sb3_curve.sb3_curve(Args(out=tmp_path / "x.csv", steps=5))
    with pytest.raises(UsageError, match="name one task with --task, of suite minigrid: minigrid-empty, "):
        sb3_curve.sb3_curve(Args(out=tmp_path / "x.csv", suite="minigrid"))
    with pytest.raises(UsageError, match="--task doorkey is not in suite minigrid: minigrid-empty, "):
        sb3_curve.sb3_curve(Args(out=tmp_path / "x.csv", suite="minigrid", task="doorkey"))


def test_the_task_and_its_own_settings_reach_the_agent(tmp_path, monkeypatch):
    seen = []

    def stop(env, settings, trunk, seed):
        seen.append((env.num_envs, settings, trunk, seed))
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.baselines.frameworks.sb3_ppo", stop)
    args = Args(out=tmp_path / "x.csv", suite="minigrid", task="minigrid-doorkey", levels=20, drawn=True, seed=3)
    with pytest.raises(KeyboardInterrupt):
        sb3_curve.sb3_curve(args)
    ((envs, settings, trunk, seed),) = seen
    assert (envs, settings.gamma, settings.n_steps, trunk, seed) == (64, 0.99, 128, "nature", 3)
