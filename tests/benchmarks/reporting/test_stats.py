"""Aggregates against arithmetic and against rliable; what an interval says of itself."""

import numpy as np
import pytest

from benchmarks.reporting import stats

X = np.array([[0.12, 0.55, 0.91], [0.30, 0.48, 1.20], [0.05, 0.61, 0.87], [0.22, 0.70, 1.05], [0.41, 0.33, 0.79]])
Y = np.array([[0.10, 0.50, 0.95], [0.25, 0.52, 0.80], [0.15, 0.40, 0.87], [0.02, 0.66, 0.99]])

# rliable 1.2.0: aggregate_iqm, aggregate_mean, aggregate_median, aggregate_optimality_gap of X
RLIABLE = {"iqm": 0.56, "mean": 0.57266667, "median": 0.534, "optimality_gap": 0.444}


def test_aggregates_are_rliables():
    for name, value in RLIABLE.items():
        assert getattr(stats, name)(X) == pytest.approx(value, abs=1e-8)
    assert stats.probability_of_improvement(X, Y) == pytest.approx(0.6083333333333333, abs=1e-12)


def test_aggregates_equal_arithmetic_on_unequal_sizes():
    scores = np.array([[0.0, 1.0, 2.0], [4.0, 1.0, 8.0]])  # 2 runs, 3 tasks; sorted 0 1 1 2 4 8
    assert stats.iqm(scores) == (1 + 1 + 2 + 4) / 4  # floor(6 / 4) = 1 number cut from each end
    assert stats.mean(scores) == 16 / 6  # task means 2, 1, 5
    assert stats.median(scores) == 2  # of 2, 1, 5
    assert stats.optimality_gap(scores) == pytest.approx(1 - 5 / 6)  # min(., 1) = 0 1 1 1 1 1


def test_aggregates_keep_leading_axes():
    batch = np.stack([X, 2 * X])
    for aggregate in (stats.iqm, stats.mean, stats.median):
        np.testing.assert_allclose(aggregate(batch), [aggregate(X), 2 * aggregate(X)])


def test_iqm_is_the_quarter_trimmed_mean_for_any_size():
    for runs, tasks in ((1, 1), (3, 1), (5, 3), (7, 2)):
        scores = np.random.default_rng(runs).normal(size=(runs, tasks))
        flat = sorted(scores.ravel())
        cut = int(0.25 * len(flat))  # scipy.stats.trim_mean's rule, which rliable calls
        assert stats.iqm(scores) == pytest.approx(sum(flat[cut : len(flat) - cut]) / (len(flat) - 2 * cut))


def test_improvement_counts_pairs_and_halves_ties():
    assert stats.probability_of_improvement(Y, Y) == 0.5  # each pair and its mirror, ties one half
    assert stats.probability_of_improvement(X + 10, X) == 1
    assert stats.probability_of_improvement(X, X + 10) == 0
    # (2 beats 1) (2 ties 2) / (3 beats 1) (3 beats 2): (1 + 0.5 + 1 + 1) / 4
    assert stats.probability_of_improvement(np.array([[2.0], [3.0]]), np.array([[1.0], [2.0]])) == 0.875


def test_an_interval_says_whom_it_speaks_of():
    for over, words in (
        ("seeds", "new seeds"),
        ("episodes", "this agent's episodes"),
        ("levels", "these agents on these levels"),
    ):
        assert stats.Interval(1.0, 0.0, 2.0, over, 5).speaks_of == words
    assert not stats.Interval(1.0, 1.0, 1.0, "seeds", 1).usable


@pytest.mark.parametrize("bad", [[1.0, 2.0], np.zeros((0, 3)), [[np.nan]]])
def test_scores_that_are_no_matrix_of_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="scores"):
        stats.matrix(bad)
    with pytest.raises(ValueError, match="scores"):
        stats.same_tasks(bad, X)


def test_methods_on_other_tasks_are_refused():
    with pytest.raises(ValueError, match="the same tasks, got 3 and 2"):
        stats.same_tasks(X, Y[:, :2])


def test_against_rliable_where_it_is_installed():
    pytest.importorskip("rliable", reason="needs the extra 'stats'")
    from rliable import metrics

    for name in RLIABLE:
        assert getattr(stats, name)(X) == pytest.approx(getattr(metrics, f"aggregate_{name}")(X))
