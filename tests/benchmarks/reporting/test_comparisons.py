"""Marks: what a row needs before it may be said to differ from its baseline."""

import math

import numpy as np
import pytest

from benchmarks.experiment.outcomes import UNDECLARED, declared
from benchmarks.reporting.comparisons import main_comparisons
from benchmarks.reporting.runs import load
from benchmarks.reporting.summary import summarise
from tests.benchmarks.reporting.test_summary import allow
from tests.benchmarks.tools import make_run


def pair(experiment, seeds=3, shift=2.0, **changes):
    """cnn and a darla that gets ``shift`` more on unseen levels, in every seed but for a little noise."""
    rng = np.random.default_rng(0)
    for seed in range(seeds):
        values = {"train": [8.0] * 6, "heldout": (4 + 0.2 * rng.random(6)).tolist()}
        make_run(experiment, "cnn", seed, values)
        better = values | {"heldout": (4 + shift + 0.2 * rng.random(6)).tolist()}
        make_run(experiment, "darla", seed, better, **changes)


def marks(experiment):
    return {row.outcome: row.marked for row in main_comparisons(summarise(load(experiment)))}


def test_only_declared_outcomes_are_marked(tmp_path, monkeypatch):
    pair(tmp_path)
    assert marks(tmp_path) == {"held-out return": False, "gap": True}  # coinrun-easy at quick declares the gap only
    allow(monkeypatch, "held-out return")
    assert marks(tmp_path) == {"held-out return": True, "gap": False}
    allow(monkeypatch)
    assert marks(tmp_path) == {"held-out return": False, "gap": False}


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_fewer_than_three_seeds_are_never_marked(tmp_path, seeds):
    pair(tmp_path, seeds)
    assert marks(tmp_path)["gap"] == (seeds == 3)


def test_a_fall_or_several_commits_take_the_mark(tmp_path):
    fell = {"best_validation": {"step": 1, "return": 9.0}, "final_validation": {"step": 2, "return": 7.0}}
    for name, source in (("fell", fell), ("mixed", {"commit": "other"})):
        pair(tmp_path / name)
        make_run(tmp_path / name, "darla", 3, {"train": [8.0] * 6, "heldout": [6.0] * 6}, source=source)
        make_run(tmp_path / name, "cnn", 3, {"train": [8.0] * 6, "heldout": [4.1] * 6})
        assert marks(tmp_path / name)["gap"] is False


def test_an_interval_around_zero_is_not_marked(tmp_path):
    pair(tmp_path, shift=0.0)
    (row,) = (row for row in main_comparisons(summarise(load(tmp_path))) if row.outcome == "gap")
    assert row.difference.low < 0 < row.difference.high
    assert not row.marked


def test_p_values_are_corrected_for_the_declared_rows_alone(tmp_path, monkeypatch):
    allow(monkeypatch, "gap", "held-out return")
    pair(tmp_path, shift=1.0)
    rng = np.random.default_rng(1)
    for seed in range(3):
        values = {"train": rng.normal(8, 1, 6).tolist(), "heldout": rng.normal(5, 1, 6).tolist()}
        make_run(tmp_path, "vae", seed, values)
    rows = main_comparisons(summarise(load(tmp_path)))
    raw = sorted(row.difference.p for row in rows)
    corrected = sorted(row.corrected_p for row in rows)
    assert len(rows) == 4
    assert corrected[0] == pytest.approx(4 * raw[0])  # Holm: the smallest of four, times four
    allow(monkeypatch, "gap")
    rows = main_comparisons(summarise(load(tmp_path)))
    assert sorted(math.isnan(row.corrected_p) for row in rows) == [False, False, True, True]
    gaps = sorted((row.difference.p, row.corrected_p) for row in rows if row.outcome == "gap")
    assert gaps[0][1] == pytest.approx(2 * gaps[0][0])


def test_a_declaration_holds_for_its_size_alone():
    assert declared("coinrun-easy", "quick", 1_000_000, 20).outcomes == {"gap"}
    assert declared("coinrun-easy", "quick", 999_999, 20) is UNDECLARED
    assert declared("coinrun-easy", "quick", 1_000_000, 500) is UNDECLARED
    assert declared("coinrun-easy", "smoke", 1_000_000, 20) is UNDECLARED
    assert declared("mine", "quick", 1_000_000, 20).outcomes == frozenset()
