"""One scale for the features of every frozen or fine-tuned method.

    y = (f - m) / d,    m, s = mean and standard deviation of each dimension over frames of the pre-training data
    d = max(s, 0.1 sqrt(mean over dimensions of s^2))

A KL term or BatchNorm gives some methods features of unit scale and others none, and a policy's learning rate fits one
scale. So all get the same wrapper over the same frames, ``random`` included. The lower bound of d keeps latents that an
encoder has shut from becoming noise of unit size. m and d stay as they were fitted, also where the RL loss then moves
the encoder, and are saved with the run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from envs.history import History
from envs.steps import Obs, Steps
from representations.base import Heads, Loss, Representation, State
from representations.collect import FIRST
from representations.feature_metrics import (
    COLLAPSED,
    effective_rank,
    feature_std,
    warn_if_collapsed,
    warn_if_few_directions,
)
from representations.wrappers import RepresentationWrapper

FRAMES = 4096
"""Frames that the scale is fitted on at least, where so many were collected."""
FLOOR = 0.1
"""Least divisor of a dimension, in units of the root mean square of all standard deviations."""
BATCH = 256
"""Rows encoded at once; changes no value but by rounding."""


class Standardised(RepresentationWrapper):
    """``inner`` with each feature centred and scaled by fixed numbers; nothing is changed until ``fit``."""

    def __init__(self, inner: Representation):
        super().__init__(inner)
        self.features_dim = inner.features_dim
        self.register_buffer("centre", torch.zeros(self.features_dim))
        self.register_buffer("divisor", torch.ones(self.features_dim))
        self.centre: Tensor
        self.divisor: Tensor

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        features, state = self.inner.encode(obs, state, first)
        return self.scaled(features), state

    def scaled(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """``inner``'s features on the common scale."""
        return (features - self.centre) / self.divisor

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        return self.inner.loss(steps, self._heads_of_inner(heads), generator)

    def auxiliary(self, history: History, streams: int, heads: Heads, generator: torch.Generator) -> Loss:
        return self.inner.auxiliary(history, streams, self._heads_of_inner(heads), generator)

    def _heads_of_inner(self, heads: Heads) -> Heads:
        """``heads`` as a function of the inner method's features."""
        return lambda features, obs, first=None: heads(self.scaled(features), obs, first)

    @torch.no_grad()
    def fit(self, features: Float[Tensor, "B D"]) -> int:
        """Take the scale of these features of ``inner``; the number of dimensions at the lower bound.

        Features that have collapsed are only centred: what is left of them is rounding.
        """
        features = features.double()
        mean, std = features.mean(0), features.std(0, correction=0)
        floor = FLOOR * std.square().mean().sqrt()
        size = float(features.square().mean().sqrt())
        collapsed = warn_if_collapsed(self.name, float(feature_std(features)), size, f"over {len(features):,} frames")
        self.centre.copy_(mean)
        self.divisor.copy_(torch.ones_like(std) if collapsed else std.clamp(min=floor))
        return int((std < floor).sum())


def standardise(representation: Representation, frames: Obs, worlds: int = 1) -> dict[str, float]:
    """Fit the ``Standardised`` among the wrappers of ``representation``; nothing where there is none.

    Args:
        representation: outermost wrapper of a method that is pre-trained already.
        frames: as ``collect`` gives them for this method.
        worlds: number of environments they come from; equally many are taken of each.

    Returns:
        Metrics by name: frames used, dimensions at the lower bound, and, before scaling, the features' spread, size and
        effective rank, with a RuntimeWarning where that is small.
    """
    wrapper = find_standardised(representation)
    if wrapper is None:
        return {}
    training = representation.training
    representation.eval()
    features = _features(wrapper.inner, frames, worlds, wrapper.centre.device)
    representation.train(training)
    spread, size = float(feature_std(features)), float(features.square().mean().sqrt())
    rank, count = float(effective_rank(features)), len(features)
    if spread > COLLAPSED * size:  # else ``fit`` says so
        warn_if_few_directions(wrapper.name, rank, count, f"over {count:,} frames")
    return {
        "standardise/frames": float(count),
        "standardise/floored": float(wrapper.fit(features)),
        "standardise/feature_std": spread,
        "standardise/feature_size": size,
        "standardise/effective_rank": rank,
    }


def find_standardised(representation: Representation) -> Standardised | None:
    """The ``Standardised`` among the wrappers of ``representation``, if there is one."""
    while isinstance(representation, RepresentationWrapper):
        if isinstance(representation, Standardised):
            return representation
        representation = representation.inner
    return None


@torch.no_grad()
def _features(method: Representation, frames: Obs, worlds: int, device: torch.device) -> Float[Tensor, "B D"]:
    """Features of the first frames of each world, in float32.

    A window is run through from its first frame by a method that carries a state. Any other takes a few frames of each
    window, no more than needed: neighbours resemble each other, and of 64 whole windows the features' standard
    deviations were 0.84 of those over single frames (Breakout). Of a moment's views the policy's own is taken, which
    comes first, from an empty state (GQN).
    """
    windows, rows_stored = method.window > 1, len(next(iter(frames.values())))
    times = _times(method, rows_stored)
    collected = []
    for index in _first_rows(rows_stored, -(-FRAMES // len(times)), worlds).split(BATCH):
        rows = {key: frames[key][index.to(frames[key].device)].to(device) for key in method.keys}
        opens_window = torch.ones(len(index), 1, dtype=torch.bool)
        first = (frames[FIRST][index.to(frames[FIRST].device)] if FIRST in frames else opens_window).to(device)
        state = tuple(carried.to(device) for carried in method.initial_state(len(index)))
        for t in times:
            obs = {key: value[:, t] for key, value in rows.items()} if windows else rows
            opens = first[:, t] if t else torch.ones(len(index), dtype=torch.bool, device=device)
            features, state = method.encode(obs, state, opens)
            collected.append(features.float())
    return torch.cat(collected)


def _times(method: Representation, rows: int) -> Sequence[int]:
    """Frames that are taken of each stored row; t = 0 alone where it is no window of steps."""
    if method.window == 1 or method.views:
        return (0,)
    if method.initial_state(1):
        return range(method.window)
    count = min(method.window, -(-FRAMES // rows))
    return [method.window * i // count for i in range(count)]


def _first_rows(rows: int, wanted: int, worlds: int) -> Int[Tensor, " R"]:
    """Indices of the first rows of each world, ``wanted`` in all, among ``rows`` that lie world by world."""
    edges = [rows * i // worlds for i in range(worlds + 1)]
    share = -(-wanted // worlds)
    blocks = [torch.arange(edges[i], min(edges[i + 1], edges[i] + share)) for i in range(worlds)]
    return torch.cat(blocks)
