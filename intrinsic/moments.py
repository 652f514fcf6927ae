"""Running mean and variance of each number of an observation, over everything seen so far."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 1e-8
"""Added to a variance before its root: far below one grey level, (1/255)^2 = 1.5e-5, far above float32's rounding."""


class RunningMeanStd(nn.Module):
    """Mean and variance by element, merged batch by batch (Chan et al.); buffers, so that a checkpoint holds them.

    Started as baselines start theirs: mean 0, variance 1, count 1e-4; the first batch overrules that.
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
    def update(self, batch: Tensor) -> None:
        """Takes in (B, *shape); B of 0 changes nothing."""
        if not len(batch):
            return
        variance, mean = torch.var_mean(batch, 0, unbiased=False)
        delta, total = mean - self.mean, self.count + len(batch)
        apart = delta.square() * self.count * len(batch) / total
        self.variance.copy_((self.variance * self.count + variance * len(batch) + apart) / total)
        self.mean += delta * len(batch) / total
        self.count.copy_(total)

    def whiten(self, batch: Tensor, clip: float) -> Tensor:
        """(B, *shape) -> mean 0 and standard deviation 1 by element, within +-clip."""
        std = (self.variance + FLOOR).sqrt()
        return ((batch - self.mean.to(batch.dtype)) / std.to(batch.dtype)).clamp_(-clip, clip)

    def standardise(self, batch: Tensor) -> Tensor:
        """(B, *shape) -> mean 0 by element, all divided by one number, so that the mean variance is 1."""
        std = (self.variance.mean() + FLOOR).sqrt()
        return (batch - self.mean.to(batch.dtype)) / std.to(batch.dtype)
