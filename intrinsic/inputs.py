"""What a bonus looks at, and networks that take it: the newest frame, or the agent's frozen features.

A world of codes (MiniGrid's symbolic view: numbers below 16 that mean something each) is told from one of pixels by the
bounds of its space; its codes are seen one-hot.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from envs.registry import UsageError
from envs.spaces import FEATURES, IMAGE, EnvSpec
from envs.steps import Obs
from representations.nets import CODES, SMALLEST, make_trunk, one_hot, pixels

Look = Literal["auto", "image", "features"]


class BonusInput:
    """Chooses what is looked at; holds no weights.

    ``shape``: (C, H, W) of the newest frame, or (D,) of the features. ``float_shape``: of what ``to_float`` gives.

    Args:
        spec: what Steps hold, by key, and how many frames an image's channels hold.
        on: "image", "features", or "auto" for the features where there are any.

    Raises:
        UsageError: the space has no such key.
    """

    def __init__(self, spec: EnvSpec, on: Look = "image"):
        space = spec.space
        if on not in ("auto", "image", "features"):
            raise UsageError(f"on='{on}': a bonus looks at 'image', 'features' or 'auto'")
        self.key = FEATURES if on == FEATURES or (on == "auto" and FEATURES in space.spaces) else "image"
        if self.key not in space.spaces:
            cure = "take --mode frozen, or on=image" if self.key == FEATURES else "take on=features"
            raise UsageError(f"a bonus on '{self.key}' finds only {', '.join(space.spaces)} here; {cure}")
        box: Any = space[self.key]
        self.pictured = self.key == IMAGE
        self.shape: tuple[int, ...] = (spec.channels, *box.shape[1:]) if self.pictured else box.shape
        self.symbolic = self.pictured and int(box.high.max()) < CODES
        planes = self.shape[0] * CODES if self.symbolic else self.shape[0]
        self.float_shape = (planes, *self.shape[1:])

    def select(self, obs: Obs) -> Tensor:
        """Observations (T, B, ...) by key -> what is looked at (T*B, ...)."""
        seen = obs[self.key].flatten(0, 1)
        return seen[:, -self.shape[0] :] if self.pictured else seen

    def to_float(self, seen: Tensor) -> Tensor:
        """What is looked at, as numbers for a loss: pixels in [0, 1], codes one-hot, features as they are."""
        if not self.pictured:
            return seen
        return one_hot(seen) if self.symbolic else pixels(seen)

    def make_encoder(self, width: int) -> nn.Module:
        """(B, ...) as ``select`` gives it -> (B, width), rectified: a trunk for frames, two dense layers for
        features."""
        if self.pictured and (self.symbolic or min(self.shape[1:]) >= SMALLEST):
            return make_trunk("symbols" if self.symbolic else "nature", self.shape, width)
        layers = (nn.Linear(math.prod(self.shape), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        return nn.Sequential(Flat(self), *layers)


class Flat(nn.Module):
    """What is looked at -> (B, numbers) float32."""

    def __init__(self, inputs: BonusInput):
        super().__init__()
        self.inputs = inputs

    def forward(self, seen: Tensor) -> Tensor:
        return self.inputs.to_float(seen).flatten(1)


def concat_action(hidden: Tensor, action: Tensor, actions: int) -> Tensor:
    """(B, D) and (B,) int64 -> (B, D + actions): the action one-hot at the end."""
    return torch.cat([hidden, nn.functional.one_hot(action, actions).to(hidden.dtype)], 1)
