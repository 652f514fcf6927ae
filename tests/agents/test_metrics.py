"""Weighted means by hand, and the explained variance."""

from __future__ import annotations

import math

import pytest
import torch

from agents.metrics import MetricMeans, explained_variance


def test_means_are_weighted():
    metrics = MetricMeans()
    for value, weight in ((1.0, 1.0), (4.0, 3.0)):
        metrics.add("loss", torch.tensor(value), weight)
    assert metrics.compute() == {"loss": pytest.approx((1 + 12) / 4)}


def test_merged_means_are_those_of_all_values():
    one, other = MetricMeans(), MetricMeans()
    one.add("loss", torch.tensor(1.0), 1.0)
    other.add("loss", torch.tensor(4.0), 3.0)
    other.add("norm", torch.tensor(2.0))
    one.merge(other)
    assert one.compute() == {"loss": pytest.approx(3.25), "norm": 2.0}


def test_means_take_no_gradient():
    metrics, value = MetricMeans(), torch.ones((), requires_grad=True)
    metrics.add("loss", 2 * value)
    assert metrics.compute() == {"loss": 2.0}


def test_explained_variance_by_hand():
    # R = 0, 2, 4: variance 4. R - V = 0, 1, 2: variance 1, so a quarter is left.
    returns, values = torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    assert explained_variance(returns, values) == pytest.approx(0.75)
    assert math.isnan(explained_variance(torch.ones(3, 1), values))
