"""Rank correlation with a third quantity fixed: values by hand, and whose rows are resampled."""

import numpy as np
import pytest

from benchmarks.reporting.rank_correlation import left_out_error, partial_spearman, prediction, ranks, spearman


def test_ties_share_their_mean_rank():
    assert ranks(np.array([3.0, 1, 3, 2, 3])).tolist() == [4, 1, 4, 2, 4]


def test_spearman_by_hand():
    # ranks 1 2 3 4 and 1 3 2 4: differences 0 1 1 0, 1 - 6 * 2 / (4 * 15) = 0.8
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 300, 20, 1000])) == pytest.approx(0.8)
    assert spearman(np.ones(4), np.arange(4.0)) == 0


def test_what_the_fixed_quantity_explains_is_taken_out():
    z = np.array([1.0, 2, 3, 4, 5, 6, 7, 8])
    x, y = z + np.array([0.6, -0.6] * 4), z + np.array([0, 0, 0.9, -0.9, 0, 0, 0, 0]) * 1.2
    assert spearman(x, y) > 0.9
    # by hand: xz = 1 - 6 sum d^2 / (8 * 63) with the ranks of each
    xz, yz, xy = spearman(x, z), spearman(y, z), spearman(x, y)
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_spearman(x, y, z) == pytest.approx(expected)
    assert partial_spearman(z, y, z) == 0


def study(methods=12, seeds=3, effect=1.0, noise=0.0, seed=0):
    """Scores, outcomes, source returns and names of runs; the outcome is effect * score + source return + noise."""
    rng = np.random.default_rng(seed)
    of_method = rng.normal(size=methods)
    score = np.repeat(of_method, seeds) + 0.01 * rng.normal(size=methods * seeds)
    fixed = rng.normal(size=methods * seeds)
    outcome = effect * score + fixed + noise * np.repeat(rng.normal(size=methods), seeds)
    return score, outcome, fixed, [f"m{i}" for i in range(methods) for _ in range(seeds)]


def test_a_score_that_decides_the_outcome_is_known():
    known = prediction(*study(), draws=400)
    assert known.correlation > 0.8
    assert known.low > 0.4
    assert known.p < 0.01
    assert known.error < 0.05 < known.error_without


def test_seeds_of_a_method_are_one_point():
    """Scores without effect: with 3 seeds a method, p < 0.05 in about 5%; points counted alone would give far more."""
    ps = [prediction(*study(effect=0.0, noise=1.0, seed=seed), draws=100).p for seed in range(60)]
    assert np.mean(np.array(ps) < 0.05) <= 0.15


def test_the_error_is_that_of_the_method_left_out():
    # methods a (rows 0, 1), b (2), c (3): outcome 2 x, but for c, whose line from a and b says 6 and which has 7
    columns, outcome = np.array([[0.0], [1], [2], [3]]), np.array([0.0, 2, 4, 7])
    rows = [np.array([0, 1]), np.array([2]), np.array([3])]
    # left out c: error 1. Left out b: the line through (0, 0), (1, 2), (3, 7), 2.357 x - 0.143, gives 4.571
    # left out a: the line through (2, 4), (3, 7): 3 x - 2 gives -2 and 1, errors 2 and 1
    expected = np.sqrt((1 + 0.571428**2 + 4 + 1) / 4)
    assert left_out_error(columns, outcome, rows) == pytest.approx(expected, rel=1e-4)


def test_two_methods_are_too_few():
    with pytest.raises(ValueError, match="2 methods"):
        prediction(*study(methods=2), draws=10)
