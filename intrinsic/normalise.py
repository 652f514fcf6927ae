"""Running moments: of each number of an observation, and of the discounted sum of a reward stream."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

FLOOR = 1e-8
"""Added to a variance before its root: far below one grey level, (1/255)^2 = 1.5e-5, far above float32's rounding."""


def merge_moments(
    mean: Tensor, variance: Tensor, count: Tensor, batch_mean: Tensor, batch_variance: Tensor, batch_count: int
) -> None:
    """Merge the moments of a batch into running ones, in place (Chan et al., parallel variance)."""
    delta, total = batch_mean - mean, count + batch_count
    between = delta.square() * count * batch_count / total
    variance.copy_((variance * count + batch_variance * batch_count + between) / total)
    mean += delta * batch_count / total
    count.copy_(total)


class RunningMeanStd(nn.Module):
    """Mean and variance by element, merged batch by batch; buffers, so that a checkpoint holds them.

    Starts as in baselines with mean 0, variance 1 and count 1e-4; the first batch outweighs that.
    """

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.full((), 1e-4, dtype=torch.float64))
        self.mean: Tensor
        self.variance: Tensor
        self.count: Tensor

    @torch.no_grad()
    def update(self, batch: Float[Tensor, "B ..."]) -> None:
        """Merge a batch; an empty one changes nothing."""
        if not len(batch):
            return
        variance, mean = torch.var_mean(batch, 0, unbiased=False)
        merge_moments(self.mean, self.variance, self.count, mean, variance, len(batch))

    def whiten(self, batch: Float[Tensor, "B ..."], clip: float) -> Float[Tensor, "B ..."]:
        """The batch with mean 0 and standard deviation 1 by element, within +-clip."""
        std = (self.variance + FLOOR).sqrt()
        return ((batch - self.mean.to(batch.dtype)) / std.to(batch.dtype)).clamp_(-clip, clip)

    def standardise(self, batch: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """The batch with mean 0 by element, divided by one number for all, so that the mean variance is 1."""
        std = (self.variance.mean() + FLOOR).sqrt()
        return (batch - self.mean.to(batch.dtype)) / std.to(batch.dtype)


class DiscountedReturnStd(nn.Module):
    """Running variance of R_t = gamma R_{t-1} + r_t, pooled over environments.

    Published PPO divides Procgen's reward by its root (baselines' VecNormalize: gamma 0.99, clip 10, no mean shift,
    R reset where an episode ends); RND divides its bonus by it (R never reset).

    Args:
        prior: start as baselines do, with mean 0, variance 1, count 1e-4 and 1e-8 added to the variance. Without it
            nothing is known at the start: then the unit of the stream cancels exactly, and a stream that has not
            varied yet is divided by 1.
    """

    def __init__(self, num_envs: int, gamma: float = 0.99, *, prior: bool = True):
        super().__init__()
        self.gamma, self.epsilon = gamma, FLOOR if prior else 0.0
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
        """The divisor, in units of the reward."""
        return float((self.variance + self.epsilon).sqrt()) or 1.0

    @torch.no_grad()
    def update(self, reward: Float[Tensor, "T N"], done: Bool[Tensor, "T N"] | None = None) -> None:
        """Advance R through time and merge all T*N values; R restarts after a step that is ``done``."""
        sums = torch.empty(reward.shape, dtype=torch.float64)
        for t in range(reward.shape[0]):  # over time; the environments advance together
            self.running.mul_(self.gamma).add_(reward[t])
            sums[t] = self.running
            if done is not None:
                self.running.masked_fill_(done[t], 0.0)
        merge_moments(self.mean, self.variance, self.count, sums.mean(), sums.var(unbiased=False), sums.numel())
