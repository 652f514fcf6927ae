"""The running scale is stable-baselines3's VecNormalize, step by step, and loops over time, not over environments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stable_baselines3.common.running_mean_std import RunningMeanStd

from intrinsic.normalise import DiscountedReturnStd

T, N = 7, 3


def stream(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(T, N, generator=generator) * 4, torch.rand(T, N, generator=generator) < 0.3


def test_by_hand():
    scale = DiscountedReturnStd(2, gamma=0.5, prior=False)
    scale.update(torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.tensor([[False, False], [False, False]]))
    # R: [1, 0], [1.5, 2]; mean 4.5/4 = 1.125, mean square (1 + 0 + 2.25 + 4)/4 = 1.8125, variance 0.546875.
    assert scale.std**2 == pytest.approx(0.546875, rel=1e-12)
    assert float(scale.mean) == pytest.approx(1.125, rel=1e-12)


def test_step_by_step_equals_vecnormalize():
    rewards, dones = stream()
    ours, theirs, returns = DiscountedReturnStd(N), RunningMeanStd(shape=()), np.zeros(N)
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


def test_goes_on_after_loading():
    rewards, dones = stream()
    whole, first, second = (DiscountedReturnStd(N) for _ in range(3))
    whole.update(rewards[:4], dones[:4])
    first.update(rewards[:4], dones[:4])
    second.load_state_dict(first.state_dict())
    for scale in (whole, second):
        scale.update(rewards[4:], dones[4:])
    assert whole.std == second.std
