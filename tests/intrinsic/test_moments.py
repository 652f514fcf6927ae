"""Running moments: merged batches equal one pass over all, and what whitening makes of them."""

from __future__ import annotations

import pytest
import torch

from intrinsic.moments import RunningMeanStd


def test_by_hand():
    moments = RunningMeanStd((2,))
    moments.update(torch.tensor([[1.0, 5], [3, 5]]))
    moments.update(torch.tensor([[8.0, 5]]))
    # 1, 3, 8: mean 4, variance (9 + 1 + 16)/3; the start (mean 0, variance 1) weighs 1e-4 against 3
    assert moments.mean.tolist() == pytest.approx([4, 5], abs=1e-3)
    assert moments.variance.tolist() == pytest.approx([26 / 3, 0], abs=2e-3)
    # 8 is (8 - 4)/2.944 = 1.359 deviations; a constant element's deviations stay within the clip
    assert moments.whiten(torch.tensor([[8.0, 6]]), 5.0)[0].tolist() == pytest.approx([1.359, 5], abs=1e-3)
    # one divisor for both: root of the mean variance 13/3, 2.082
    assert moments.standardise(torch.tensor([[8.0, 6]]))[0].tolist() == pytest.approx([1.922, 0.480], abs=1e-3)


def test_batches_in_any_cut_equal_all_at_once():
    rows = torch.randn(30, 2, 3, generator=torch.Generator().manual_seed(0)) * 3 + 7
    whole, parts = RunningMeanStd((2, 3)), RunningMeanStd((2, 3))
    whole.update(rows)
    for part in rows.split([1, 12, 0, 17]):
        parts.update(part)
    assert torch.allclose(whole.mean, parts.mean, rtol=1e-6)
    assert torch.allclose(whole.variance, parts.variance, rtol=1e-5)
    assert float(parts.count) == pytest.approx(30, abs=1e-3)
    assert torch.allclose(parts.mean.float(), rows.mean(0), atol=1e-3)
    assert torch.allclose(parts.variance.float(), rows.var(0, unbiased=False), rtol=1e-3)


def test_standardised_numbers_have_no_unit():
    rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2, 3, 0.1])
    one, other = RunningMeanStd((4,)), RunningMeanStd((4,))
    one.update(rows)
    other.update(rows * 1000 + 3)
    assert torch.allclose(one.standardise(rows), other.standardise(rows * 1000 + 3), atol=1e-3)
    assert float(one.standardise(rows).var(0, unbiased=False).mean()) == pytest.approx(1, rel=1e-3)
