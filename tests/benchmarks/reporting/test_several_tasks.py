"""Aggregates over tasks: intervals against arithmetic and known tables, coverage with few seeds, Holm's steps."""

import math

import numpy as np
import pytest

from benchmarks.reporting import several_tasks, stats

X = np.array([[0.12, 0.55, 0.91], [0.30, 0.48, 1.20], [0.05, 0.61, 0.87], [0.22, 0.70, 1.05], [0.41, 0.33, 0.79]])
Y = np.array([[0.10, 0.50, 0.95], [0.25, 0.52, 0.80], [0.15, 0.40, 0.87], [0.02, 0.66, 0.99]])


def test_interval_of_the_mean_is_students():
    got = several_tasks.aggregate(X, stats.mean)
    per_seed = X.mean(axis=1)
    half = 2.77645 * per_seed.std(ddof=1) / 5**0.5  # t of 4 df
    assert (got.estimate, got.high - got.estimate) == (pytest.approx(X.mean()), pytest.approx(half, rel=1e-5))
    assert (got.over, got.n) == ("seeds", 5)


def test_default_aggregate_is_the_iqm_of_all_numbers():
    assert several_tasks.aggregate(X).estimate == stats.iqm(X)


def test_iqm_of_equal_scores_has_no_width_and_one_seed_no_interval():
    got = several_tasks.aggregate(np.full((4, 3), 0.25))
    assert (got.low, got.high) == (0.25, 0.25)
    assert not several_tasks.aggregate(X[:1]).usable


def test_iqm_covers_with_few_seeds_and_tasks():
    # A percentile bootstrap covers 75% of 3 seeds. 1,000 experiments: standard error 0.7%, three of them below 95%.
    rng = np.random.default_rng(0)
    for seeds, tasks in ((3, 2), (5, 6)):
        level, spread = np.linspace(0, 1, tasks), np.linspace(0.05, 0.2, tasks)
        draws = level + spread * rng.normal(size=(1000, seeds, tasks))
        truth = stats.iqm(level + spread * rng.normal(size=(20_000, seeds, tasks))).mean()
        hits = [i.low <= truth <= i.high for i in map(several_tasks.aggregate, draws)]
        assert np.mean(hits) > 0.93


def test_paired_difference_cancels_what_a_seed_shares():
    got = several_tasks.aggregate_difference(X + 1, X, paired=True)
    assert (got.estimate, got.low, got.high) == pytest.approx((1, 1, 1))
    apart = several_tasks.aggregate_difference(X + 1, X)
    assert apart.estimate == pytest.approx(1)
    assert apart.high - apart.low > 0.1
    assert several_tasks.aggregate_difference(X, X + 1).estimate == pytest.approx(-1)
    with pytest.raises(ValueError, match="as many rows, got 5 and 4"):
        several_tasks.aggregate_difference(X, Y, paired=True)


def test_welchs_interval_of_two_means():
    scipy_stats = pytest.importorskip("scipy.stats", reason="comes with the extra 'stats'")
    got = several_tasks.aggregate_difference(X[:, :1], Y[:, :1], stats.mean)
    expected = scipy_stats.ttest_ind(X[:, 0], Y[:, 0], equal_var=False)
    assert got.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert (got.low, got.high) == pytest.approx((low, high))


def test_improvement_stays_open_where_all_pairs_are_won():
    first, second = X[:3, :1] + 9, X[:3, :1]
    got = several_tasks.improvement(first, second)
    assert (got.estimate, got.high) == (1, 1)
    assert 0.2 < got.low < 0.5  # 3 against 3 on one task: an exact rank test gives p = 0.1 at best
    assert several_tasks.improvement(X + 9, X).low > 0.5  # 5 against 5 on three tasks
    assert several_tasks.improvement(second, first).estimate == 0


def test_improvement_solves_newcombes_equation():
    got = several_tasks.improvement(X, Y)
    assert got.estimate == pytest.approx(0.6083333333333333)  # rliable's
    for q in (got.low, got.high):
        inside = 1 + 3.5 * ((1 - q) / (2 - q) + q / (1 + q))  # (5 + 4) / 2 - 1
        assert abs(got.estimate - q) == pytest.approx(
            2.364624 * math.sqrt(q * (1 - q) * inside / (5 * 4 * 3)), rel=1e-5
        )
    mirrored = several_tasks.improvement(Y, X)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - got.high, 1 - got.low))
    assert (got.p < 0.05) == (got.low > 0.5)


def test_profile_counts_runs_above_each_threshold():
    low, middle, high = several_tasks.performance_profile(X, [0.0, 0.55, 2.0])
    # above 0.55, itself not: 0.61, 0.70 and five of the last task, of 15
    assert (low.estimate, middle.estimate, high.estimate) == (1, 7 / 15, 0)
    assert (low.high, high.low) == (1, 0)
    # Wilson's upper end at 0 of n: t^2 / (n + t^2), t of 14 df 2.144787
    assert high.high == pytest.approx(2.144787**2 / (15 + 2.144787**2), rel=1e-5)


def test_holm_multiplies_by_the_number_still_open():
    # 0.01 * 4; 0.02 * 3; 0.03 * 2 = 0.06, not below the one before; 0.5 * 1
    assert several_tasks.holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert several_tasks.holm([0.7, 0.9]) == [1, 1]  # 1.4, 0.9: none above 1 and none falls


def test_holm_does_not_count_what_has_no_p():
    adjusted = several_tasks.holm([math.nan, 0.02, 0.03])
    assert math.isnan(adjusted[0])
    assert adjusted[1:] == pytest.approx([0.04, 0.04])
    assert several_tasks.holm([]) == []
