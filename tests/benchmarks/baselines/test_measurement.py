"""Measurements: rounds, ratios by hand, and processes that fail; never how fast this machine is."""

import os

import pytest

from benchmarks.baselines import measurement
from benchmarks.baselines.frameworks import Figures
from benchmarks.baselines.measurement import Measured, bonus_costs, dropped, in_own_process, measure, ratios
from benchmarks.baselines.speed_rows import Row
from envs.registry import UsageError
from envs.tasks import World


def measured(key, *speeds):
    group, _, name = key.partition(": ")
    return Measured(Row(group, name, "ours", {}), [Figures(speed, 100.0) for speed in speeds])


def test_ratios_are_taken_within_rounds():
    rows = [
        measured("agents: impala, ours", 10.0, 60.0),
        measured("agents: impala, single file", 5.0, 20.0),
        measured("environments: coinrun", 1.0, 1.0),
    ]
    assert ratios(rows) == {"impala: ours / single file": [2.0, 3.0]}
    rows[1].rounds.pop()  # the second round was cut short
    assert ratios(rows) == {"impala: ours / single file": [2.0]}


def test_the_cost_of_a_bonus():
    """60 frames/s instead of 80: a quarter of the run; 40 instead of 80, a half; the median of 1/4, 1/2, 1/4."""
    rows = [measured("bonuses: none", 80.0, 80.0, 80.0), measured("bonuses: rnd", 60.0, 40.0, 60.0)]
    assert bonus_costs(rows) == {"bonuses: rnd": 0.25}
    assert bonus_costs(rows[1:]) == {}


def test_ratios_that_fell_are_named():
    """The median of 3.0, 3.5, 9.0 is 3.5: 70% of 5, 88% of 4."""
    now = {"a": [9.0, 3.0, 3.5], "new": [1.0]}
    assert dropped(now, {"a": [5.0, 5.0, 5.0]}) == ["fell: a is 3.50, committed 5.00"]
    assert dropped(now, {"a": [4.0]}) == []


def test_rows_of_ratios_have_all_rounds_and_results_come_at_once(monkeypatch):
    rows = [Row("environments", name, "environment", {}) for name in ("other", "gone", "coinrun")]

    def fake(row, seconds, device):
        if row.name == "gone":
            raise UsageError("not installed")
        return Figures(1.0, 100.0)

    monkeypatch.setattr(measurement, "in_own_process", fake)
    counts = [[len(row.rounds) for row in measured_rows] for measured_rows, _ in measure(rows, 3, 1.0, "cpu")]
    assert counts == [[1], [1], [1, 1], [1, 2], [1, 3]]
    *_, (_, absent) = measure(rows, 1, 1.0, "cpu")
    assert absent == {"environments: gone": "not installed"}


def test_a_row_is_measured_in_a_process_of_its_own():
    row = Row("environments", "counting", "environment", {"world": World("counting", {"size": 36}), "num_envs": 5})
    figures = in_own_process(row, 0.05, "cpu")
    assert figures.frames_per_second > 10
    assert 10 < figures.peak_mib < 10_000


def test_a_killed_process_is_named(monkeypatch):
    monkeypatch.setattr(measurement, "_call", _die)
    with pytest.raises(UsageError, match="its process was killed"):
        in_own_process(Row("environments", "gone", "environment", {}), 1.0, "cpu")


def _die(row, seconds, device):
    os._exit(9)
