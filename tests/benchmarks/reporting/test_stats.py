"""Aggregates against arithmetic and against rliable; intervals against cases with a known answer."""

import numpy as np
import pytest

from benchmarks.reporting import stats

X = np.array([[0.12, 0.55, 0.91], [0.30, 0.48, 1.20], [0.05, 0.61, 0.87], [0.22, 0.70, 1.05], [0.41, 0.33, 0.79]])
Y = np.array([[0.10, 0.50, 0.95], [0.25, 0.52, 0.80], [0.15, 0.40, 0.87], [0.02, 0.66, 0.99]])

# rliable 1.2.0, pandas 2, numpy 1.26, np.random.seed(0) before each: get_interval_estimates(reps=50_000) on X of
# aggregate_iqm, aggregate_mean, aggregate_median, aggregate_optimality_gap; of probability_of_improvement on (X, Y)
# with reps=20_000.
RLIABLE = {
    "iqm": (0.56, 0.48555556, 0.62777778),
    "mean": (0.57266667, 0.506, 0.64),
    "median": (0.534, 0.42, 0.638),
    "optimality_gap": (0.444, 0.388, 0.50133333),
}
RLIABLE_IMPROVEMENT = (0.6083333333333333, 0.38333333, 0.81666667)


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


@pytest.mark.parametrize("name", ["iqm", "mean", "median", "optimality_gap"])
def test_equal_scores_give_that_score_and_an_interval_of_zero_width(name):
    found = stats.over_seeds(np.full((4, 3), 0.25), getattr(stats, name), resamples=200)
    expected = 0.75 if name == "optimality_gap" else 0.25
    assert (found.estimate, found.low, found.high) == (expected, expected, expected)
    assert found.usable


@pytest.mark.parametrize("name", sorted(RLIABLE))
def test_intervals_equal_rliables_within_monte_carlo_error(name):
    found = stats.over_seeds(X, getattr(stats, name), resamples=50_000)
    estimate, low, high = RLIABLE[name]
    assert found.estimate == pytest.approx(estimate, abs=1e-8)
    # a 2.5% quantile of 50,000 draws: s.e. of its rank 0.07%, under 0.002 in score here; twice that, both sides noisy
    assert (found.low, found.high) == (pytest.approx(low, abs=0.004), pytest.approx(high, abs=0.004))


def test_improvement_equals_rliables():
    found = stats.improvement(X, Y, resamples=20_000)
    assert found.estimate == pytest.approx(RLIABLE_IMPROVEMENT[0], abs=1e-12)
    # the statistic moves in steps of 1 / (5 * 4 * 3) = 0.0167: allow one step
    assert (found.low, found.high) == pytest.approx(RLIABLE_IMPROVEMENT[1:], abs=0.0168)
    assert found.n == 4


def test_improvement_exact_cases():
    assert stats.improvement(Y, Y, resamples=10).estimate == 0.5  # each pair and its mirror, ties one half
    above = stats.improvement(X + 10, X, resamples=100)
    assert (above.estimate, above.low, above.high) == (1.0, 1.0, 1.0)
    assert stats.improvement(X, X + 10, resamples=10).estimate == 0.0
    # (2 beats 1) (2 ties 2) / (3 beats 1) (3 beats 2): (1 + 0.5 + 1 + 1) / 4
    assert stats.improvement([[2.0], [3.0]], [[1.0], [2.0]], resamples=10).estimate == 0.875


def test_runs_are_resampled_within_their_task():
    # Two tasks of different scale: mixing them across tasks would give means far from 50.5.
    scores = np.array([[1.0, 100.0]] * 4)
    found = stats.over_seeds(scores, stats.mean, resamples=200)
    assert (found.low, found.high) == (50.5, 50.5)


def test_each_task_draws_its_own_runs():
    # x_run = (v, -v): one draw of rows for both tasks would always cancel to 0; own draws do not.
    values = np.arange(5.0)
    found = stats.over_seeds(np.stack([values, -values], axis=1), stats.mean, resamples=500)
    assert found.estimate == 0
    assert found.low < -0.3 < 0.3 < found.high


def test_paired_difference_cancels_what_both_splits_share():
    held_out = np.array([[1.0], [5.0], [9.0]])
    found = stats.paired_difference(held_out + 2, held_out, resamples=300)
    assert (found.estimate, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
    unpaired = stats.independent_difference(held_out + 2, held_out, resamples=300)
    assert unpaired.estimate == 2.0
    assert unpaired.high - unpaired.low > 4


def test_paired_difference_has_the_sign_of_train_minus_heldout():
    found = stats.paired_difference([[9.0], [8.0]], [[4.0], [5.0]], resamples=300)
    assert found.estimate == 4.0  # 8.5 - 4.5
    assert (found.low, found.high) == (3.0, 5.0)  # only the first seed, only the second


def test_one_run_is_flagged():
    found = stats.over_seeds(X[:1], resamples=50)
    assert found.low == found.high == found.estimate
    assert not found.usable
    assert not stats.independent_difference(X, X[:1], resamples=50).usable
    assert found.over == "seeds"


def test_episode_intervals_are_labelled_and_shrink_with_the_root():
    rng = np.random.default_rng(3)
    coin = 10.0 * (rng.random(400) < 0.8)
    found = stats.over_episodes(coin)
    assert found.over == "episodes"
    assert found.n == 400
    # normal 95% interval of a mean: 1.96 * sd / sqrt(n) each side
    half = 1.96 * coin.std() / 20
    assert found.high - found.estimate == pytest.approx(half, rel=0.1)
    assert found.estimate - found.low == pytest.approx(half, rel=0.1)


def test_episode_difference_adds_the_variances():
    rng = np.random.default_rng(4)
    a, b = rng.normal(5, 1, 300), rng.normal(3, 2, 200)
    found = stats.episode_difference(a, b)
    assert found.estimate == pytest.approx(a.mean() - b.mean())
    half = 1.96 * np.sqrt(a.var() / 300 + b.var() / 200)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)
    assert (found.over, found.n) == ("episodes", 200)


def test_intervals_depend_on_their_seed_alone():
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    assert stats.over_seeds(X, stats.iqm) == stats.over_seeds(X, stats.iqm)
    assert stats.over_seeds(X, seed=1, resamples=300) != stats.over_seeds(X, resamples=300)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_drawing_in_blocks_gives_every_resample(monkeypatch):
    monkeypatch.setattr(stats, "_BLOCK_NUMBERS", 40)  # 15 scores: two resamples a block
    counts = []

    def counting(scores):
        counts.append(len(scores) if scores.ndim == 3 else 0)
        return stats.mean(scores)

    stats.over_seeds(X, counting, resamples=7)
    assert sum(counts) == 7
    assert max(counts) == 2


@pytest.mark.parametrize("bad", [[1.0, 2.0], np.zeros((0, 3)), [[np.nan]]])
def test_scores_that_are_no_matrix_of_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="scores"):
        stats.over_seeds(bad)


def test_against_rliable_where_it_is_installed():
    pytest.importorskip("rliable", reason="needs the extra 'stats'")
    from rliable import metrics

    for name in RLIABLE:
        assert getattr(stats, name)(X) == pytest.approx(getattr(metrics, f"aggregate_{name}")(X))
