"""The running scale of a reward stream: the standard deviation of its discounted sum, over time, per environment."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DiscountedReturnStd(nn.Module):
    """Running variance of R_t = gamma R_{t-1} + r_t, pooled over environments.

    Published PPO divides Procgen's reward by its root (baselines' VecNormalize: gamma 0.99, clip 10, no mean shift,
    R reset where an episode ends); RND divides its bonus by it (R never reset). Parallel variance of Chan et al.

    Args:
        prior: start as baselines do, with mean 0, variance 1, count 1e-4 and 1e-8 added to the variance. Without it
            nothing is known at the start: then the unit of the stream cancels exactly, and a stream that has not
            varied yet is divided by 1.

    ``update(reward (T, N), done (T, N))`` advances R through time and pools all T*N values; ``std`` is the divisor.
    """

    def __init__(self, num_envs: int, gamma: float = 0.99, *, prior: bool = True):
        super().__init__()
        self.gamma, self.epsilon = gamma, 1e-8 if prior else 0.0
        self.register_buffer("running", torch.zeros(num_envs, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("variance", torch.full((), 1.0 if prior else 0.0, dtype=torch.float64))
        self.register_buffer("count", torch.full((), 1e-4 if prior else 0.0, dtype=torch.float64))
        self.running: Tensor
        self.mean: Tensor
        self.variance: Tensor
        self.count: Tensor

    @property
    def std(self) -> float:
        return float((self.variance + self.epsilon).sqrt()) or 1.0

    @torch.no_grad()
    def update(self, reward: Tensor, done: Tensor | None = None) -> None:
        sums = torch.empty(reward.shape, dtype=torch.float64)
        for t in range(reward.shape[0]):  # over time; the environments advance together
            self.running.mul_(self.gamma).add_(reward[t])
            sums[t] = self.running
            if done is not None:
                self.running.masked_fill_(done[t], 0.0)
        batch_mean, batch_variance, batch_count = sums.mean(), sums.var(unbiased=False), sums.numel()
        delta, total = batch_mean - self.mean, self.count + batch_count
        self.variance.copy_(
            (self.variance * self.count + batch_variance * batch_count + delta**2 * self.count * batch_count / total)
            / total
        )
        self.mean += delta * batch_count / total
        self.count.copy_(total)
