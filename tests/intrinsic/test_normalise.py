"""The running scale is stable-baselines3's VecNormalize, step by step, and loops over time, not over environments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stable_baselines3.common import running_mean_std

from intrinsic.normalise import DiscountedReturnStd, RunningMeanStd

T, N = 7, 3


def stream(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(T, N, generator=generator) * 4, torch.rand(T, N, generator=generator) < 0.3


def test_the_std_of_a_discounted_sum_by_hand():
    scale = DiscountedReturnStd(2, gamma=0.5, prior=False)
    scale.update(torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.tensor([[False, False], [False, False]]))
    # R: [1, 0], [1.5, 2]; mean 4.5/4 = 1.125, mean square (1 + 0 + 2.25 + 4)/4 = 1.8125, variance 0.546875.
    assert scale.std**2 == pytest.approx(0.546875, rel=1e-12)
    assert float(scale.mean) == pytest.approx(1.125, rel=1e-12)


def test_step_by_step_equals_vecnormalize():
    rewards, dones = stream()
    ours, theirs, returns = DiscountedReturnStd(N), running_mean_std.RunningMeanStd(shape=()), np.zeros(N)
    for t in range(T):
        ours.update(rewards[t : t + 1], dones[t : t + 1])
        returns = returns * 0.99 + rewards[t].double().numpy()
        theirs.update(returns)
        returns[dones[t].numpy()] = 0
        assert ours.std == pytest.approx(float(np.sqrt(theirs.var + 1e-8)), rel=1e-9)


def test_whole_rollout_equals_a_loop_over_time():
    rewards, _ = stream()
    scale = DiscountedReturnStd(N, gamma=0.9)
    scale.update(rewards)
    running, sums = np.zeros(N), []
    for t in range(T):
        running = 0.9 * running + rewards[t].double().numpy()
        sums.append(running.copy())
    assert scale.std == pytest.approx(np.std(sums), rel=1e-4)
    np.testing.assert_allclose(scale.running.numpy(), running)


def test_an_end_resets_its_own_stream_only():
    scale = DiscountedReturnStd(2, gamma=0.5)
    scale.update(torch.tensor([[4.0, 4.0]]), torch.tensor([[True, False]]))
    scale.update(torch.tensor([[1.0, 1.0]]), torch.tensor([[False, False]]))
    assert scale.running.tolist() == [1.0, 3.0]


def test_a_loaded_state_continues_equally():
    rewards, dones = stream()
    whole, first, second = (DiscountedReturnStd(N) for _ in range(3))
    whole.update(rewards[:4], dones[:4])
    first.update(rewards[:4], dones[:4])
    second.load_state_dict(first.state_dict())
    for scale in (whole, second):
        scale.update(rewards[4:], dones[4:])
    assert whole.std == second.std


def test_running_moments_by_hand():
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


def test_moments_do_not_depend_on_how_batches_are_cut():
    rows = torch.randn(30, 2, 3, generator=torch.Generator().manual_seed(0)) * 3 + 7
    whole, in_batches = RunningMeanStd((2, 3)), RunningMeanStd((2, 3))
    whole.update(rows)
    for batch in rows.split([1, 12, 0, 17]):
        in_batches.update(batch)
    assert torch.allclose(whole.mean, in_batches.mean, rtol=1e-6)
    assert torch.allclose(whole.variance, in_batches.variance, rtol=1e-5)
    assert float(in_batches.count) == pytest.approx(30, abs=1e-3)
    assert torch.allclose(in_batches.mean.float(), rows.mean(0), atol=1e-3)
    assert torch.allclose(in_batches.variance.float(), rows.var(0, unbiased=False), rtol=1e-3)


def test_standardised_numbers_have_no_unit():
    rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2, 3, 0.1])
    one, other = RunningMeanStd((4,)), RunningMeanStd((4,))
    one.update(rows)
    other.update(rows * 1000 + 3)
    assert torch.allclose(one.standardise(rows), other.standardise(rows * 1000 + 3), atol=1e-3)
    assert float(one.standardise(rows).var(0, unbiased=False).mean()) == pytest.approx(1, rel=1e-3)
