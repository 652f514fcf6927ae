"""Channel capacity: noisy channels and grids whose empowerment is known."""

from __future__ import annotations

import math

import pytest
import torch

from intrinsic.models.channel_capacity import blahut_arimoto, exact_empowerment
from tests.intrinsic.tools import walled_grid


@pytest.mark.parametrize(
    ("n", "centre", "edge", "corner"), [(1, 5, 4, 3), (2, 13, 9, 6), (3, 21, 14, 10)]
)  # cells within reach: E = log2 of 2.322, 2, 1.585; 3.700, 3.170, 2.585; 4.392, 3.807, 3.322 bits
def test_a_walled_grid_is_known_exactly(n, centre, edge, corner):
    empowerment = exact_empowerment(walled_grid(), n)
    for cell, reach in ((12, centre), (2, edge), (10, edge), (14, edge), (22, edge), (0, corner), (24, corner)):
        assert float(empowerment[cell]) == pytest.approx(math.log2(reach), abs=1e-6)
    is_reached = (
        torch.linalg.matrix_power(walled_grid().sum(1), n) > 0
    )  # without chance: log2 of how many cells are in reach
    torch.testing.assert_close(empowerment, is_reached.sum(1).double().log2(), rtol=0, atol=1e-6)


def test_noisy_channels_of_known_capacity():
    def entropy(p):
        return -p * math.log2(p) - (1 - p) * math.log2(1 - p)

    for p in (0.05, 0.11, 0.3):
        symmetric = torch.tensor([[1 - p, p], [p, 1 - p]])
        assert float(blahut_arimoto(symmetric)) == pytest.approx(1 - entropy(p), abs=1e-6)
        # Z: 0 arrives as 0, 1 arrives as 0 with probability p
        z = torch.tensor([[1.0, 0], [p, 1 - p]])
        assert float(blahut_arimoto(z)) == pytest.approx(math.log2(1 + (1 - p) * p ** (p / (1 - p))), abs=2e-6)
        erasure = torch.tensor([[1 - p, p, 0], [0, p, 1 - p]])
        assert float(blahut_arimoto(erasure)) == pytest.approx(1 - p, abs=1e-6)
    assert float(blahut_arimoto(torch.full((4, 3), 1 / 3))) == pytest.approx(0, abs=1e-9)


def test_many_channels_at_once_are_within_tolerance_from_below():
    channels = torch.rand(3, 2, 5, 4, generator=torch.Generator().manual_seed(0)).mul(6).softmax(-1)
    fine, rough = blahut_arimoto(channels, 1e-7), blahut_arimoto(channels, 0.02)
    assert fine.shape == (3, 2)
    assert (rough <= fine + 1e-7).all()
    assert (fine - rough).max() <= 0.02
    for place in ((0, 0), (2, 1)):
        assert float(fine[place]) == pytest.approx(float(blahut_arimoto(channels[place], 1e-7)), abs=2e-7)


def test_actions_are_composed_in_their_order():
    transition = torch.rand(3, 2, 3, generator=torch.Generator().manual_seed(0)).pow(4).double()
    transition /= transition.sum(2, keepdim=True)
    for state in range(3):
        channel = torch.stack([transition[state, a] @ transition[:, b] for a in range(2) for b in range(2)])
        assert float(exact_empowerment(transition, 2)[state]) == pytest.approx(float(blahut_arimoto(channel)), abs=2e-6)


def test_a_bad_tolerance_or_length_is_refused():
    for small in (0.0, 1e-13):  # rounding alone might never let the bounds so near
        with pytest.raises(ValueError, match=f"tolerance={small}"):
            blahut_arimoto(torch.eye(2), small)
    with pytest.raises(ValueError, match="n=0"):
        exact_empowerment(torch.eye(2).unsqueeze(1), 0)
