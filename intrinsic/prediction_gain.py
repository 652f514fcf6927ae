"""Counts and pseudo-counts (Bellemare et al. 2016, "Unifying count-based exploration and intrinsic motivation";
Ostrovski et al. 2017, "Count-based exploration with neural density models"): what was seen seldom pays.

    counts:    b = (N(x) + 0.01)^-1/2,   N visits to x = s_{t+1} before this one
    pixelcnn:  PG = log rho'(x) - log rho(x),   PG_n = c n^-1/2 max(0, PG),   N = 1 / (e^PG_n - 1),   b = N^-1/2

rho, rho' are the likelihoods of x before and after a step on it, in nats; n is the number of frames learnt so far.
``score`` returns b, without unit. N rises within a rollout, step by step and at one time stream by stream. Counted is a
hash of: symbols as they are; pixels as 8x8 areas of 8 grey levels; features by the signs of random projections
(SimHash, Tang et al. 2017). A visit is an arrival: the frame that opens an episode is not counted.

``episodic`` pays only an episode's first visit to a state (RIDE, NovelD), by exact comparison of 64-bit hashes.

Differs from the papers: exact counts of hashes stand for the CTS density; 16x16 grey frames, where they were 42x42; PG
is to first order what a step on x alone would gain, the sum over weights of rate * (d log rho / d weight)^2. A real
step a frame, as published, cannot be batched, and a step on a batch tells little: on six toys (8 or 16 frames, shares
over a factor of 256, 300 batches of 64) the gain of one in a mixture followed the counts by a Spearman correlation of
-0.05, by x's own gradient of 0.75, and over one of each frame of 0.97.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import torch
from torch import Tensor, nn

from envs.registry import UsageError
from envs.steps import Steps
from intrinsic.base import CHUNK, Config, IntrinsicBonus, Transitions
from intrinsic.pixel_cnn import PixelCnn, grey_levels, negative_log_likelihood
from intrinsic.sight import Sight
from intrinsic.trial import own_gain, rms_adam


def pseudo_count(rho: Tensor, rho_after: Tensor) -> Tensor:
    """Visits that an empirical density would have seen, were it to rise from rho to rho_after by one more."""
    return rho * (1 - rho_after) / (rho_after - rho)


@dataclass(frozen=True)
class PredictionGainConfig(Config):
    model: Literal["auto", "counts", "pixelcnn"] = "auto"
    """'counts', 'pixelcnn' (frames of pixels alone), or 'auto': pixelcnn for frames of pixels, else counts."""
    episodic: bool = False
    """Pay only the first visit of each episode to a state."""
    bits: int = 20
    """2^bits counters; two of K states share one with probability K / 2^bits."""
    projections: int = 32
    """Signs kept of features; more of them tell more states apart."""
    scale: float = 0.1
    """c of PG_n; Ostrovski's."""
    side: int = 16
    """Pixels of a side of what the PixelCNN sees."""
    channels: int = 16
    """Of the PixelCNN's layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in ("auto", "counts", "pixelcnn"):
            raise ValueError(f"model='{self.model}': give 'auto', 'counts' or 'pixelcnn'")
        if not 1 <= self.bits <= 30:
            raise ValueError(f"bits={self.bits}: give a number from 1 to 30")
        if min(self.projections, self.side, self.channels) < 1 or not self.scale > 0:
            raise ValueError("projections, side, channels and scale must be above 0")


LEVELS = 8
"""Of grey, for both models."""
COARSE = 8
"""Areas of a side of a counted frame."""


class Hash(nn.Module):
    """What is seen (B, ...) -> (B,) int64: b + sum_i a_i x_i modulo 2^64, a and b random; its high bits are universal.

    ``tagged`` mixes more whole numbers in.
    """

    def __init__(self, sight: Sight, projections: int):
        super().__init__()
        self.sight = sight
        size = projections
        if sight.pictured:
            size = sight.shape[0] * sight.shape[1] * sight.shape[2] if sight.symbolic else COARSE**2
        else:
            self.register_buffer("directions", torch.randn(sight.shape[0], projections))
        self.register_buffer("a", torch.randint(-(2**63), 2**63 - 1, (size,)))
        self.register_buffer("b", torch.randint(-(2**63), 2**63 - 1, (3,)))
        self.directions: Tensor
        self.a: Tensor
        self.b: Tensor

    def codes(self, seen: Tensor) -> Tensor:
        """(B, size) int64."""
        if not self.sight.pictured:
            return (seen @ self.directions > 0).long()
        return seen.flatten(1).long() if self.sight.symbolic else grey_levels(seen, COARSE, LEVELS).flatten(1)

    def forward(self, seen: Tensor) -> Tensor:
        return (self.codes(seen) * self.a).sum(1) + self.b[0]

    def tagged(self, key: Tensor, stream: Tensor, episode: Tensor) -> Tensor:
        # A shift between the products, for the low bits of a sum know nothing of the high ones
        mixed = (key ^ (key >> 29)) * (self.b[1] | 1)
        return (mixed ^ (mixed >> 32)) + stream * (self.b[2] | 1) + episode * (self.b[0] | 1)


def earlier(key: Tensor) -> Tensor:
    """(B,) how many before each are equal to it."""
    order = key.argsort(stable=True)
    ordered = key[order]
    position = torch.arange(len(key), device=key.device)
    opens = torch.cat([ordered[:1] == ordered[:1], ordered[1:] != ordered[:-1]])
    rank = torch.empty_like(position)
    rank[order] = position - torch.where(opens, position, 0).cummax(0).values
    return rank


class PredictionGain(IntrinsicBonus):
    Config = PredictionGainConfig
    config: PredictionGainConfig

    def __init__(self, space: gym.spaces.Dict, actions: int, config: Any = None):
        super().__init__(space, actions, config)
        frames = self.sight.pictured and not self.sight.symbolic
        self.counting = self.config.model == "counts" or (self.config.model == "auto" and not frames)
        self.hash = Hash(self.sight, self.config.projections)
        # (K, 2) stream and key of every visit of the episodes under way; it grows and shrinks with them
        self.register_buffer("visited", torch.zeros(0, 2, dtype=torch.int64))
        self.visited: Tensor
        self.register_load_state_dict_pre_hook(_resize_visited)
        if self.counting:
            self.register_buffer("table", torch.zeros(2**self.config.bits, dtype=torch.int32))
            self.table: Tensor
            return
        if not frames:
            raise UsageError("prediction_gain: model=pixelcnn wants frames of pixels; take model=counts here")
        self.net = PixelCnn(LEVELS, self.config.channels, layers=3)
        self.optimizer = rms_adam(self.net, self.config.learning_rate)
        self.register_buffer("learnt", torch.zeros((), dtype=torch.int64))
        self.learnt: Tensor

    @torch.no_grad()
    def compute(self, steps: Steps) -> Tensor:
        bonus = torch.zeros(steps.action.numel(), device=steps.action.device)
        place, key = self.arrivals(steps)
        if self.counting:
            bonus[place] = self.worth(key)
        else:
            for batch in self.transitions(steps, self.config.batch):
                bonus[batch.place] = self.score(batch)
        if self.config.episodic:
            bonus[place] *= self.first_visits(steps, place, key)
        return bonus.view(steps.shape)

    def update(self, steps: Steps, generator: torch.Generator) -> dict[str, float]:
        if self.config.episodic:
            self.remember(steps)
        return super().update(steps, generator)

    def score(self, batch: Transitions) -> Tensor:
        if self.counting:
            return self.worth(self.hash(batch.next))
        image = grey_levels(batch.next, self.config.side, LEVELS)
        gain = own_gain(self.net, self.optimizer, lambda net, x: negative_log_likelihood(net(x), x), image)
        n = self.learnt + len(image)  # above 0 from the start
        # log rho' is at most 0, and N^-1/2 = (e^PG_n - 1)^1/2
        gain = gain.minimum(negative_log_likelihood(self.net(image), image))
        return (self.config.scale * n**-0.5 * gain).expm1().sqrt()

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        if self.counting:
            cell = self.cell(self.hash(batch.next))
            self.table.index_add_(0, cell, torch.ones_like(cell, dtype=torch.int32))
            return {"count": self.table[cell].float().mean()}
        image = grey_levels(batch.next, self.config.side, LEVELS)
        loss = negative_log_likelihood(self.net(image), image).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.learnt += len(image)
        return {"loss": loss.detach()}

    def cell(self, key: Tensor) -> Tensor:
        return (key >> (64 - self.config.bits)) & (2**self.config.bits - 1)

    def worth(self, key: Tensor) -> Tensor:
        """(B,) bonus of visits in this order, the table's and the earlier ones among them counted."""
        cell = self.cell(key)
        return (self.table[cell] + earlier(cell) + 0.01) ** -0.5

    def arrivals(self, steps: Steps) -> tuple[Tensor, Tensor]:
        """Place and key of every known successor, in time order."""
        parts = [(batch.place, self.hash(batch.next)) for batch in self.transitions(steps, CHUNK)]
        place, key = zip(*parts, strict=True)
        return torch.cat(place), torch.cat(key)

    def first_visits(self, steps: Steps, place: Tensor, key: Tensor) -> Tensor:
        """(B,) bool, the episode was not here before. Episode 0 of a stream is the one that came into the rollout."""
        stream, episode = place % steps.shape[1], steps.first.long().cumsum(0).flatten()[place]
        tag = self.hash.tagged(key, stream, episode)
        before = self.hash.tagged(self.visited[:, 1], self.visited[:, 0], torch.zeros_like(self.visited[:, 0]))
        return (earlier(tag) == 0) & ~torch.isin(tag, before)

    @torch.no_grad()
    def remember(self, steps: Steps) -> None:
        """Keep the visits of the episodes that go on after this rollout."""
        place, key = self.arrivals(steps)
        stream, episode = place % steps.shape[1], steps.first.long().cumsum(0)
        goes_on, came_in = ~steps.done[-1], episode[-1] == 0
        here = (episode.flatten()[place] == episode[-1][stream]) & goes_on[stream]
        old = self.visited[(goes_on & came_in)[self.visited[:, 0]]]
        self.visited = torch.cat([old, torch.stack([stream, key], 1)[here]]).unique(dim=0)


def _resize_visited(module: PredictionGain, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    saved = state[f"{prefix}visited"]
    module.visited = torch.zeros_like(saved, device=module.visited.device)
