"""Spread, dead units and effective rank of features, by hand."""

from __future__ import annotations

import pytest
import torch

from representations.feature_metrics import (
    dead_units,
    effective_rank,
    feature_std,
    warn_if_collapsed,
    warn_if_few_directions,
)


def test_feature_std_by_hand():
    # column 1: 1, 1, 1 -> 0; column 2: 0, 3, 6 -> sqrt(6); mean sqrt(6) / 2
    features = torch.tensor([[1.0, 0], [1, 3], [1, 6]], requires_grad=True)
    value = feature_std(features)
    assert float(value) == pytest.approx(6**0.5 / 2)
    assert not value.requires_grad
    assert float(feature_std(features[:1])) == 0


def test_a_unit_that_is_active_in_one_row_of_a_hundred_is_dead():
    features = torch.zeros(200, 5)
    features[:2, 1] = 3.0  # 2 of 200: still dead
    features[:3, 2] = -3.0  # 3 of 200: alive, whatever the sign
    features[:, 3] = 1.0  # constant, but not 0
    features[:, 4] = 1e-9  # as good as 0 beside the others
    assert float(dead_units(features)) == pytest.approx(3 / 5)
    assert float(dead_units(features * 1e-8)) == pytest.approx(3 / 5)  # the unit of the features does not matter


def test_features_that_are_all_0_are_all_dead():
    assert float(dead_units(torch.zeros(3, 4))) == 1.0


@pytest.mark.parametrize("transposed", [False, True])
def test_effective_rank_by_hand(transposed):
    # Centred columns (2, -2, 0, 0) and (0, 0, 1, -1): singular values 2 sqrt(2) and sqrt(2), so p = 2/3 and 1/3:
    # H = 2/3 ln(3/2) + 1/3 ln 3, exp(H) = 3 / 2^(2/3) = 1.8899; both columns 5 apart from 0, which centring takes away
    features = torch.tensor([[2.0, 0], [-2, 0], [0, 1], [0, -1]])
    if transposed:  # more columns than rows: the same singular values, as these rows sum to 0 already
        features = torch.cat([features, torch.zeros(4, 7)], 1)
    assert float(effective_rank(features + 5)) == pytest.approx(3 / 2 ** (2 / 3), rel=1e-5)


def test_effective_rank_of_one_direction_is_1_of_none_0():
    direction = torch.tensor([[1.0, 2, -3]])
    assert float(effective_rank(torch.arange(9.0)[:, None] * direction)) == pytest.approx(1, abs=1e-3)
    assert float(effective_rank(direction.repeat(4, 1))) == 0


def test_effective_rank_of_independent_features_is_their_number():
    features = torch.randn(20_000, 6, generator=torch.Generator().manual_seed(0))
    assert float(effective_rank(features)) == pytest.approx(6, abs=0.01)


def test_a_collapse_is_a_small_spread_relative_to_the_size():
    assert not warn_if_collapsed("mine", 0.001, 1.0, "now")  # saturated, but told apart
    assert not warn_if_collapsed("mine", 1e-7, 1e-4, "now")  # small, but told apart
    with pytest.warns(RuntimeWarning, match="mine: features have collapsed now: .* is 5e-05, their size 1;"):
        assert warn_if_collapsed("mine", 5e-5, 1.0, "now")
    with pytest.warns(RuntimeWarning, match="is 0, their size 0"):
        assert warn_if_collapsed("mine", 0.0, 0.0, "now")


def test_few_directions_are_fewer_than_five():
    assert not warn_if_few_directions("mine", 5.0, 64, "now")
    assert not warn_if_few_directions("mine", 4.9, 63, "now")  # too few frames to have many
    with pytest.warns(RuntimeWarning, match=r"^mine: features have an effective rank of 4\.9 now: ") as given:
        assert warn_if_few_directions("mine", 4.9, 64, "now")
    assert "\n" not in str(given[0].message)
