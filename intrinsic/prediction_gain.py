"""Counts and pseudo-counts: a reward for rare states.

Bellemare et al. 2016, "Unifying count-based exploration and intrinsic motivation"; Ostrovski et al. 2017, "Count-based
exploration with neural density models".

    counts:    b = (N(x) + 0.01)^-1/2,   N visits to x = s_{t+1} before this one
    pixelcnn:  PG = log rho'(x) - log rho(x),   PG_n = c n^-1/2 max(0, PG),   N = 1 / (e^PG_n - 1),   b = N^-1/2

rho, rho' are the likelihoods of x before and after a step on it, in nats; n is the number of frames learnt so far.
``score`` returns b, without unit. N rises within a rollout, step by step and at one time stream by stream. Counted are
the hashes of ``state_hash``: symbols as they are, pixels coarsely, features by signs. A visit is an arrival: the frame
that opens an episode is not counted.

Differs from the papers: exact counts of hashes stand for the CTS density; 16x16 grey frames, where they were 42x42; PG
is to first order what a step on x alone would gain, the sum over weights of rate * (d log rho / d weight)^2. A real
step a frame, as published, cannot be batched, and a step on a batch says little: on six toys (8 or 16 frames, shares
over a factor of 256, 300 batches of 64) the gain of one in a mixture followed the counts by a Spearman correlation of
-0.05, by x's own gradient of 0.75, and over one of each frame of 0.97.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic.base import Config, IntrinsicBonus, Transitions, above, at_least, gradient_step
from intrinsic.models.gradient_gain import per_sample_gain, rms_adam
from intrinsic.models.pixel_cnn import PixelCnn, grey_levels, negative_log_likelihood
from intrinsic.state_hash import LEVELS, StateHash, count_before


def pseudo_count(rho: Tensor, rho_after: Tensor) -> Tensor:
    """Visits after which an empirical density rises from rho to rho_after by one more."""
    return rho * (1 - rho_after) / (rho_after - rho)


@dataclass(frozen=True)
class PredictionGainConfig(Config):
    model: Literal["auto", "counts", "pixelcnn"] = "auto"
    """'counts', 'pixelcnn' (frames of pixels alone), or 'auto': pixelcnn for frames of pixels, else counts."""
    bits: int = 20
    """2^bits counters; two of K states share one with probability K / 2^bits."""
    projections: int = 32
    """Signs kept of features; more of them distinguish more states."""
    scale: float = 0.1
    """c of PG_n; Ostrovski's."""
    side: int = 16
    """Pixels along each side of the PixelCNN's frames."""
    channels: int = 16
    """Channels of the PixelCNN's layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in ("auto", "counts", "pixelcnn"):
            raise ValueError(f"model='{self.model}': give 'auto', 'counts' or 'pixelcnn'")
        if not 1 <= self.bits <= 30:
            raise ValueError(f"bits={self.bits}: give a number from 1 to 30")
        at_least(1, projections=self.projections, side=self.side, channels=self.channels)
        above(0, scale=self.scale)


class PredictionGain(IntrinsicBonus):
    """Inverse root of a state's count or pseudo-count."""

    Config = PredictionGainConfig
    config: PredictionGainConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        pixels = self.inputs.is_pixels
        self.counting = self.config.model == "counts" or (self.config.model == "auto" and not pixels)
        if self.counting:
            self.hash = StateHash(self.inputs, self.config.projections)
            self.register_buffer("table", torch.zeros(2**self.config.bits, dtype=torch.int32))
            self.table: Tensor
            return
        if not pixels:
            raise UsageError("prediction_gain: model=pixelcnn wants frames of pixels; take model=counts here")
        self.net = PixelCnn(LEVELS, self.config.channels, layers=3)
        self.optimizer = rms_adam(self.net, self.config.learning_rate)
        self.register_buffer("learnt", torch.zeros((), dtype=torch.int64))
        self.learnt: Tensor

    @torch.no_grad()
    def compute(self, steps: Steps) -> Float[Tensor, "T N"]:
        bonus = torch.zeros(steps.done.numel(), device=steps.action.device)
        if self.counting:
            index, key = self.hash.arrivals(steps)
            bonus[index] = self.count_bonus(key)
        else:
            for batch in self.transitions(steps, self.config.batch):
                bonus[batch.index] = self.score(batch)
        return bonus.view(steps.shape)

    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        if self.counting:
            return self.count_bonus(self.hash(batch.next_obs))
        image = grey_levels(batch.next_obs, self.config.side, LEVELS)
        gain = per_sample_gain(self.net, self.optimizer, lambda net, x: negative_log_likelihood(net(x), x), image)
        n = self.learnt + len(image)  # above 0 from the start
        # log rho' is at most 0, and N^-1/2 = (e^PG_n - 1)^1/2
        gain = gain.minimum(negative_log_likelihood(self.net(image), image))
        bonus: Tensor = (self.config.scale * n**-0.5 * gain).expm1().sqrt()
        return bonus

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        if self.counting:
            cell = self.cell(self.hash(batch.next_obs))
            self.table.index_add_(0, cell, torch.ones_like(cell, dtype=torch.int32))
            return {"count": self.table[cell].float().mean()}
        image = grey_levels(batch.next_obs, self.config.side, LEVELS)
        loss = negative_log_likelihood(self.net(image), image).mean()
        gradient_step(self.optimizer, loss)
        self.learnt += len(image)
        return {"loss": loss.detach()}

    def cell(self, key: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """Counter of a hash: its high bits."""
        cell: Tensor = (key >> (64 - self.config.bits)) & (2**self.config.bits - 1)
        return cell

    def count_bonus(self, key: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Bonus of visits in this order, the table's and the earlier ones among them counted."""
        cell = self.cell(key)
        bonus: Tensor = (self.table[cell] + count_before(cell) + 0.01) ** -0.5
        return bonus
