"""Quantiles and tail probabilities against printed tables and, where it is installed, scipy."""

import numpy as np
import pytest

from benchmarks.reporting import student_t


def test_quantiles_are_those_of_printed_tables():
    # two-sided 95%, as in any table: df 1, 2, 5, 30
    np.testing.assert_allclose(student_t.quantile([1, 2, 5, 30]), [12.706, 4.303, 2.571, 2.042], atol=5e-4)
    assert student_t.quantile(2, 0.99) == pytest.approx(9.925, abs=5e-4)


def test_quantile_and_tail_probability_are_inverse():
    df = np.array([[1.0, 1.7, 2.5], [9.3, 255.0, 4e4]])
    np.testing.assert_allclose(student_t.two_sided_p(student_t.quantile(df, 0.9), df), np.full((2, 3), 0.1), atol=1e-9)


def test_tail_of_zero_and_of_infinity():
    np.testing.assert_allclose(student_t.two_sided_p([0.0, np.inf], 3), [1, 0])
    # df 1 is Cauchy: P(|T| > 1) = 1/2, whatever the sign
    np.testing.assert_allclose(student_t.two_sided_p([1.0, -1.0], 1), [0.5, 0.5])


def test_against_scipy_where_it_is_installed():
    scipy_stats = pytest.importorskip("scipy.stats", reason="comes with the extra 'stats'")
    df = np.array([1, 1.3, 3.7, 19, 255, 1e4])
    np.testing.assert_allclose(student_t.quantile(df), scipy_stats.t.ppf(0.975, df), rtol=1e-9)
    for t in (0.1, 2, 10):
        np.testing.assert_allclose(student_t.two_sided_p(t, df), 2 * scipy_stats.t.sf(t, df), rtol=1e-9, atol=1e-11)
