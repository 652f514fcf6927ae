"""The gap at matched source return, by hand."""

import math

import numpy as np
import pytest

from benchmarks.reporting.cells import Cell
from benchmarks.reporting.episodes import KeptPolicies
from benchmarks.reporting.matching import first_fraction, isotonic, match
from benchmarks.reporting.runs import load
from tests.benchmarks.tools import make_run, write_rows

FRACTIONS = np.array([0.1, 0.4, 0.6, 1.0])


def kept(a, b, target):
    halves = {("train", "a"): a, ("train", "b"): b, ("heldout", "b"): target}
    return {key: KeptPolicies(FRACTIONS, np.array(means, dtype=float)) for key, means in halves.items()}


def test_isotonic_pools_what_falls():
    # 3, 1 -> 2, 2; then 6, 4, 5 -> 5, 5, 5
    assert isotonic(np.array([3.0, 1, 6, 4, 5])).tolist() == [2, 2, 5, 5, 5]
    # 4, then 3 pools to 3.5, then 1 pools all three to 8 / 3
    assert isotonic(np.array([4.0, 3, 1])).tolist() == pytest.approx([8 / 3] * 3)
    assert isotonic(np.array([1.0, 2, 2, 7])).tolist() == [1, 2, 2, 7]


def test_the_first_fraction_at_a_return_is_interpolated():
    returns = np.array([2.0, 4, 4, 8])
    assert first_fraction(FRACTIONS, returns, 3) == pytest.approx(0.25)
    assert first_fraction(FRACTIONS, returns, 4) == pytest.approx(0.4)
    assert first_fraction(FRACTIONS, returns, 6) == pytest.approx(0.8)
    assert first_fraction(FRACTIONS, returns, 2) == pytest.approx(0.1)
    assert math.isnan(first_fraction(FRACTIONS, returns, 8.1))
    assert math.isnan(first_fraction(FRACTIONS, returns, 1.9))


def test_half_a_chooses_and_half_b_gives_the_figures():
    runs = kept([2, 4, 4, 8], [10, 20, 30, 40], [1, 5, 6, 12])
    # half a is at 6 halfway between 0.6 and 1.0; there half b has 35 and 9
    reached = match(runs, "heldout", 6.0)
    assert (reached.fraction, reached.source, reached.target) == pytest.approx((0.8, 35, 9))
    assert reached.gap == pytest.approx(26)


def test_a_curve_that_falls_is_made_monotone_first():
    # 6, 2, 4, 8 -> 4, 4, 4, 8: 5 is a quarter of the way from 0.6 to 1.0; at 2, as measured, nothing is reached
    runs = kept([6, 2, 4, 8], [0, 0, 0, 4], [0, 0, 0, 8])
    reached = match(runs, "heldout", 5.0)
    assert (reached.fraction, reached.source, reached.target) == pytest.approx((0.7, 1, 2))
    assert math.isnan(match(runs, "heldout", 2.0).fraction)


def test_a_source_return_out_of_reach_is_never_extrapolated():
    runs = kept([2, 4, 4, 8], [2, 4, 4, 8], [1, 2, 3, 4])
    assert math.isnan(match(runs, "heldout", 9.0).gap)
    assert match(runs, "monochrome", 6.0) is None


def test_a_cell_says_how_many_seeds_did_not_reach(tmp_path):
    header = ("fraction", "split", "half", "level", "episode", "return")
    for seed, top in enumerate((9.0, 9.0, 7.0)):
        path = make_run(tmp_path, "cnn", seed, normalise=[2, 12])  # 0.43 is a return of 6.3
        rows = [
            (fraction, split, half, 1, 0, fraction * best)
            for fraction in (0.1, 1.0)
            for split, best in (("train", top), ("heldout", top - 2 * seed))
            for half in "ab"
        ]
        write_rows(path / "matched.csv", header, rows)
    cell = Cell("cnn", tuple(sorted(load(tmp_path), key=lambda run: run.config["seed"])))
    assert cell.matched_gap("heldout", 0.6) == "not by 1 of 3"
    assert cell.matched_gap("heldout", 0.8) == "not reached"
    # at 6.3: fractions 0.7, 0.7, 0.9; gaps 0, 0.7 * 2, 0.9 * 4
    gap = cell.matched_gap("heldout", 0.43)
    assert gap.estimate == pytest.approx((0 + 1.4 + 3.6) / 3)
    assert (gap.over, gap.n) == ("seeds", 3)
    assert cell.matched_gap("monochrome", 0.43) == ""
