"""The factor grid: the change by each factor, and images that are the same."""

import numpy as np
import pytest

from envs.registry import UsageError
from envs.sprites.dsprites import DSprites


def test_the_grid_and_its_indices():
    data = DSprites()
    assert len(data) == 737_280 == 3 * 6 * 40 * 32 * 32
    assert DSprites(coloured=True).factor_sizes == (3, 6, 40, 32, 32, 8, 8)
    # ((((2*6 + 1)*40 + 5)*32 + 7)*32 + 9)
    assert data.index(np.array([[2, 1, 5, 7, 9]])).tolist() == [((((2 * 6 + 1) * 40 + 5) * 32 + 7) * 32 + 9)]
    index = np.array([0, 12345, len(data) - 1])
    np.testing.assert_array_equal(data.index(data.factors(index)), index)
    assert data.factors(np.array([len(data) - 1])).tolist() == [[2, 5, 39, 31, 31]]


def test_area_of_square_and_ellipse():
    image = DSprites().images(np.array([[0, 5, 0, 16, 16], [0, 0, 0, 16, 16], [1, 5, 0, 16, 16]]))
    square, small, ellipse = (image > 0).sum((1, 2, 3))
    side = 14 * np.sqrt(2)  # the square in a circle of radius 14
    assert square == pytest.approx(side**2, abs=4 * side)  # within a ring of one pixel
    assert small == pytest.approx((side / 2) ** 2, abs=2 * side)
    assert ellipse == pytest.approx(np.pi * 14 * 14 * 0.6, abs=2 * np.pi * 12)
    assert set(np.unique(image)) == {0, 255}


def test_x_and_y_move_the_centre_by_their_step():
    base = [0, 3, 0, 0, 0]
    factors = np.array([base, [0, 3, 0, 31, 0], [0, 3, 0, 0, 31]])
    rows, columns = np.mgrid[:64, :64] + 0.5
    mass = DSprites().images(factors)[..., 0] / 255
    x, y = ((part * mass).sum((1, 2)) / mass.sum((1, 2)) for part in (columns, rows))
    np.testing.assert_allclose(x, [15, 49, 15], atol=0.6)
    np.testing.assert_allclose(y, [15, 15, 49], atol=0.6)


@pytest.mark.parametrize(("shape", "period"), [(0, 10), (1, 20)])
def test_orientation_repeats_after_its_period_and_not_before(shape, period):
    data = DSprites()
    assert data.orientation_period[shape] == period
    turned = np.array([[shape, 5, turn, 15, 16] for turn in (3, 3 + period, 3 + period // 2)])
    first, again, half = data.images(turned)
    assert (first != again).mean() < 0.003  # rounding at the edge
    assert (first != half).mean() > 0.01


def test_fixed_factor_batches_and_draws():
    data = DSprites()
    factors = data.fix_factor("scale", 50, seed=3)
    assert len(set(factors[:, 1])) == 1
    assert all(len(set(factors[:, k])) > 1 for k in (0, 2, 3, 4))
    np.testing.assert_array_equal(data.sample_factors(7, 1), data.sample_factors(20, 1)[:7])
    drawn = data.sample_factors(6000, 2)
    np.testing.assert_allclose(np.bincount(drawn[:, 0]) / 6000, 1 / 3, atol=0.03)  # 5 s.e.


def test_training_never_has_held_out_hues():
    train, heldout = DSprites(True, "train").sample_factors(2000, 0), DSprites(True, "heldout").sample_factors(2000, 0)
    for column in (5, 6):
        assert set(train[:, column]) == {0, 1, 3, 4, 6, 7}
        assert set(heldout[:, column]) == {2, 5}
    image = DSprites(True).images(np.array([[0, 5, 0, 16, 16, 0, 4]]))[0]
    assert image[32, 32].tolist() == [255, 25, 25]  # hue 0, saturation 0.9: 255 * (1 - 0.9) = 25.5 less rounding
    assert image[0, 0].tolist() == [51, 102, 102]  # hue 1/2, saturation 0.5, value 0.4: 102 and half of it


@pytest.mark.parametrize(
    "bad", [lambda: DSprites(split="train"), lambda: DSprites(True, "test"), lambda: DSprites().fix_factor("hue", 2, 0)]
)
def test_bad_names(bad):
    with pytest.raises(UsageError, match="dsprites"):
        bad()


def test_factors_outside_the_grid():
    with pytest.raises(UsageError, match="indices below"):
        DSprites().images(np.array([[3, 0, 0, 0, 0]]))
