"""The learning curve of stable-baselines3's PPO: its rows, levels and errors."""

import csv

import pytest

from benchmarks.baselines import sb3_curve
from benchmarks.baselines.sb3_curve import Args
from envs.level_sets import training_levels
from envs.registry import UsageError


def test_a_row_for_each_rollout_and_evaluations_at_sixths(tmp_path, monkeypatch):
    monkeypatch.setattr(sb3_curve, "N_STEPS", 40)
    monkeypatch.setattr(sb3_curve, "NUM_ENVS", 2)
    monkeypatch.setattr(sb3_curve, "EPISODES", 3)
    out = tmp_path / "curve.csv"
    sb3_curve.sb3_curve(Args(out=out, suite="counting", levels=3, published=False, steps=240, seed=4))
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
    with pytest.raises(UsageError, match="procgen16 has several tasks"):
        sb3_curve.sb3_curve(Args(out=tmp_path / "x.csv", suite="procgen16"))
