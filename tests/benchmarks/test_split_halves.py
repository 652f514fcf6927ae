"""Halves of one method's seeds through the report: equal ones stay equal, a known shift is found."""

import csv

import numpy as np
import pytest

from benchmarks import split_halves
from benchmarks.split_halves import main
from tests.benchmarks.tools import make_run

SEEDS, LEVELS = 12, 16


@pytest.fixture(scope="module")
def twelve_seeds(tmp_path_factory):
    """One method whose seeds, levels and episodes all differ; seeds with a standard deviation of 1."""
    experiment, rng = tmp_path_factory.mktemp("twelve"), np.random.default_rng(3)
    difficulty = rng.normal(0, 2, LEVELS)
    for seed in range(SEEDS):
        skill = rng.normal()
        train, heldout = 8 + skill + rng.normal(0, 2, LEVELS), 6 + skill + difficulty + rng.normal(0, 1, LEVELS)
        make_run(experiment, "darla", seed, {"train": train.tolist(), "heldout": heldout.tolist()}, levels=LEVELS)
    return experiment


def test_equal_halves_are_seldom_called_different_and_a_shift_is_found(twelve_seeds, tmp_path, capsys):
    out = tmp_path / "halves.csv"
    assert main([str(twelve_seeds), "--splits", "20", "--out", str(out)]) == 0
    rows = {row["outcome"]: row for row in csv.DictReader(out.read_text().splitlines())}
    assert set(rows) == {"held-out return", "gap"}
    for row in rows.values():
        # 20 splits of the same 12 seeds are few and alike: 5% is one of them
        assert float(row["called_different"]) <= 0.2
        assert (row["seeds"], row["size"], row["splits"]) == ("12", "5", "20")
        assert float(row["stated_power"]) == pytest.approx(0.8, abs=0.02)
    found = float(rows["held-out return"]["shift_found"])
    assert found == pytest.approx(0.8, abs=0.25)
    assert "called different" in capsys.readouterr().out


def test_a_shift_that_is_given_is_added_to_one_half_alone(twelve_seeds, tmp_path):
    for shift, least, most in ((9.0, 1.0, 1.0), (0.01, 0.0, 0.2)):
        out = tmp_path / "halves.csv"
        assert main([str(twelve_seeds), "--splits", "5", "--shift", str(shift), "--out", str(out)]) == 0
        for row in csv.DictReader(out.read_text().splitlines()):
            assert float(row["shift"]) == shift
            assert least <= float(row["shift_found"]) <= most
            assert float(row["called_different"]) <= 0.2  # of the splits without the shift


def test_power_is_that_of_tables():
    # two groups of 5, 2 standard deviations apart: 0.79 in tables, with a pooled variance; Welch's df cost a little
    assert 0.75 < split_halves.power(2.0, 1.0, 5) < 0.79
    assert split_halves.power(0.0, 1.0, 5) == pytest.approx(0.05, abs=0.01)
    assert split_halves.detectable_shift(3.0, 5) == pytest.approx(6.2, abs=0.2)


def test_what_is_not_one_method_with_enough_seeds_is_refused(tmp_path, capsys):
    for seed in range(3):
        make_run(tmp_path, "darla", seed)
    assert main([str(tmp_path)]) == 2
    assert "has 3 seeds of darla, fewer than 2 x --size 5" in capsys.readouterr().err
    make_run(tmp_path, "vae", 0)
    assert main([str(tmp_path), "--size", "2"]) == 2
    assert "needs one method on each task" in capsys.readouterr().err
    assert main([str(tmp_path), "--size", "1"]) == 2
