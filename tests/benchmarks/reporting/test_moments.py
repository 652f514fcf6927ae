"""Variances and degrees of freedom against hand arithmetic and least squares."""

import numpy as np
import pytest

from benchmarks.reporting import moments, student_t

RNG = np.random.default_rng(11)
SEEDS_BY_LEVELS = RNG.normal(size=(3, 4)) + np.array([[0.0], [2.0], [5.0]]) + np.array([0.0, 1.0, 4.0, 9.0])


def design(seeds, levels):
    """Rows of intercept, seeds and levels of a least-squares fit, in the order of a flattened (S, L) array."""
    s, level = np.divmod(np.arange(seeds * levels), levels)
    columns = [np.ones(seeds * levels), *(s == i for i in range(1, seeds)), *(level == j for j in range(1, levels))]
    return np.stack(columns, axis=1).astype(float)


def test_crossed_terms_by_hand():
    got = moments.crossed(np.array([[1.0, 3.0], [2.0, 6.0]]))
    # seed means 2, 4; level means 1.5, 4.5; residuals +-0.5, sum of squares 1 with 1 degree of freedom, over 4 cells
    assert (got.estimate, got.seeds.variance, got.levels.variance, got.shared.variance) == (3, 1, 2.25, 0.25)
    seeds, both = got.candidates("seeds and levels")
    assert seeds == got.seeds
    assert both.variance == 1 + 2.25 - 0.25
    assert both.df == pytest.approx(3**2 / (1 + 2.25**2 + 0.25**2))
    # t of 1 df 12.706 times 1 against t of 1.47 df 6.13 times sqrt(3): the seeds' own is wider here
    assert got.half_width("seeds and levels") == pytest.approx(12.7062, abs=1e-4)
    assert got.half_width("levels") == pytest.approx(12.7062 * 1.5, abs=1e-3)


def test_crossed_terms_are_those_of_a_two_way_fit():
    got = moments.crossed(SEEDS_BY_LEVELS)
    x, y = design(3, 4), SEEDS_BY_LEVELS.ravel()
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    assert got.shared.variance == pytest.approx(residual @ residual / 6 / 12)  # (3 - 1)(4 - 1) df, 12 cells
    assert (got.seeds.df, got.levels.df, got.shared.df) == (2, 3, 6)
    assert got.seeds.variance == pytest.approx(SEEDS_BY_LEVELS.mean(1).var(ddof=1) / 3)
    assert got.levels.variance == pytest.approx(SEEDS_BY_LEVELS.mean(0).var(ddof=1) / 4)


def test_leading_axes_are_experiments():
    batch = np.stack([SEEDS_BY_LEVELS, 3 * SEEDS_BY_LEVELS**2])
    together = moments.crossed(batch)
    for place in range(2):
        alone = moments.crossed(batch[place])
        for over in ("seeds", "levels", "seeds and levels"):
            assert together.half_width(over)[place] == pytest.approx(alone.half_width(over))
            assert together.p_value(over)[place] == pytest.approx(alone.p_value(over))


def terms(seeds, levels, shared, df=(2, 19, 38)):
    parts = [moments.term(v, d) for v, d in zip((seeds, levels, shared), df, strict=True)]
    return moments.Moments(np.array(1.0), *parts, 3, 20)


def test_negative_components_count_as_zero():
    def both(*variances):
        return terms(*variances).candidates("seeds and levels")[1]

    assert both(0.1, 5.0, 1.0) == (5.0, 19)  # the seeds' component is negative: the levels' term alone
    assert both(5.0, 0.1, 1.0) == (5.0, 2)
    assert both(0.1, 0.2, 1.0) == (1.0, 38)  # both negative: what is shared
    # none: 3 + 4 - 1, df 36 / (9/2 + 16/19 + 1/38)
    variance, df = both(3.0, 4.0, 1.0)
    assert (variance, df) == (6.0, pytest.approx(36 / (9 / 2 + 16 / 19 + 1 / 38)))


def test_never_narrower_than_the_seeds_own_interval():
    for variances in ((3.0, 0.0, 0.0), (3.0, 4.0, 1.0), (3.0, 1.5, 2.9), (0.1, 5.0, 1.0)):
        both = terms(*variances)
        assert both.half_width("seeds and levels") >= both.half_width("seeds") - 1e-12


def test_degrees_of_freedom_never_fall_below_the_smallest():
    # 2 = 1 + 10 - 9 has little left of what it is made from; seeds alone have 2
    assert terms(9.0, 9.5, 9.0).candidates("seeds and levels")[1].df >= 2


def test_nested_terms_of_unequal_numbers_of_levels():
    values = [np.array([1.0, 3.0]), np.array([4.0, 5.0, 9.0])]
    got = moments.nested(values)
    # means 2 and 6, every seed the same weight; of one seed 2 / 2 = 1, of the other 7 / 3
    assert (got.estimate, got.seeds.variance, got.seeds.df) == (4, 4, 1)  # (2^2 + 2^2) / 1 / 2
    assert got.levels.variance == pytest.approx((1 + 7 / 3) / 4)
    assert got.levels.df == pytest.approx((1 + 7 / 3) ** 2 / (1**2 / 1 + (7 / 3) ** 2 / 2))
    assert got.n_levels == 2
    variance, df = got.candidates("seeds and levels")[1]
    assert (variance, df) == (pytest.approx(4), 1)  # the levels' variance is inside of the seeds'


def test_nested_seeds_that_agree_still_have_the_spread_of_their_levels():
    got = moments.nested([np.array([0.0, 10.0, 2.0]), np.array([10.0, 0.0, 2.0])])
    assert got.half_width("seeds") == 0
    assert got.half_width("seeds and levels") == pytest.approx(student_t.quantile(4) * np.sqrt(got.levels.variance))


def test_welchs_degrees_of_freedom():
    first, second = moments.term(2.0, 4), moments.term(1.0, 9)
    variance, df = moments.added([first, second])
    assert (variance, df) == (3, pytest.approx(9 / (4 / 4 + 1 / 9)))


def test_gap_by_hand():
    train = [np.array([9.0, 7.0]), np.array([6.0, 6.0])]
    heldout = np.array([[5.0, 1.0], [6.0, 4.0]])
    means = np.array([8.0, 6.0]), np.array([3.0, 5.0])
    got = moments.gap(moments.nested(train), moments.crossed(heldout), *means)
    assert got.estimate == 7 - 4
    assert (got.seeds.variance, got.seeds.df) == (4, 1)  # gaps 5 and 1: 8 / 2
    # within training sets (1 + 0) / 4; held-out levels 5.5 and 2.5: 4.5 / 2; residuals +-0.5: 1 / 4
    assert got.levels.variance == pytest.approx(0.25 + 2.25)
    assert got.shared.variance == pytest.approx(0.25 + 0.25)


def test_difference_on_the_same_levels_loses_their_difficulty():
    difficulty = np.array([0.0, 50.0, -30.0, 7.0])
    first, second = RNG.normal(size=(3, 4)), RNG.normal(size=(5, 4))
    plain = moments.independent_seeds(first, second)
    moved = moments.independent_seeds(first + difficulty, second + difficulty)
    assert moved.half_width("seeds and levels") == pytest.approx(plain.half_width("seeds and levels"))
    apart = moments.independent(moments.crossed(first + difficulty), moments.crossed(second + difficulty))
    assert apart.half_width("seeds and levels") > 5 * plain.half_width("seeds and levels")
    assert apart.estimate == pytest.approx(first.mean() - second.mean())


@pytest.mark.parametrize("agents", [3, 4, 7])
def test_crossed_gap_is_the_least_squares_fit_off_the_diagonal(agents):
    means = RNG.normal(size=(agents, agents))
    got = moments.crossed_gap(means, moments.term(0.0, 1), 9)
    x, off = design(agents, agents), ~np.eye(agents, dtype=bool).ravel()
    fit = x @ np.linalg.lstsq(x[off], means.ravel()[off], rcond=None)[0]
    own = np.diag(means - fit.reshape(agents, agents))
    assert got.estimate == pytest.approx(own.mean())
    assert got.estimate == pytest.approx(np.trace(means) / agents - means[~np.eye(agents, dtype=bool)].mean())
    assert got.seeds.variance == pytest.approx(own.var(ddof=1) / agents)
    assert got.seeds.df == agents - 1


def test_crossed_gap_is_blind_to_skill_and_difficulty():
    skill, difficulty = RNG.normal(size=(5, 1)), 10 * RNG.normal(size=(1, 5))
    got = moments.crossed_gap(skill + difficulty + 1.5 * np.eye(5), moments.term(0.0, 1), 9)
    assert got.estimate == pytest.approx(1.5)
    assert got.seeds.variance == pytest.approx(0, abs=1e-20)


def test_p_is_below_five_percent_where_the_interval_excludes_zero():
    values = RNG.normal(0.35, 1, size=(400, 3, 6)) + RNG.normal(0, 0.3, size=(400, 3, 1))
    got = moments.crossed(values)
    for over in ("seeds", "levels", "seeds and levels"):
        excluded = np.abs(got.estimate) > got.half_width(over)
        assert 20 < excluded.sum() < 380
        np.testing.assert_array_equal(got.p_value(over) < 0.05, excluded)


def test_one_seed_resamples_levels_and_one_level_seeds():
    one_seed = moments.crossed(SEEDS_BY_LEVELS[:1])
    assert one_seed.resampled("seeds and levels") == "levels"
    # sd of the levels' means over sqrt(4), t of 3 df
    expected = 3.18245 * SEEDS_BY_LEVELS[0].std(ddof=1) / 2
    assert one_seed.half_width("seeds") == pytest.approx(expected, rel=1e-5)
    one_level = moments.crossed(SEEDS_BY_LEVELS[:, :1])
    assert one_level.resampled("levels") == "seeds"
    assert one_level.half_width("levels") == pytest.approx(
        4.30265 * SEEDS_BY_LEVELS[:, 0].std(ddof=1) / 3**0.5, rel=1e-5
    )
    alone = moments.crossed(SEEDS_BY_LEVELS[:1, :1])
    assert alone.half_width("seeds and levels") == 0
    assert np.isnan(alone.p_value("seeds and levels"))
