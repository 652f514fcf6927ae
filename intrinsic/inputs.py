"""Inputs of a bonus and encoders for them: the newest frame, or the agent's frozen features.

An environment of codes (MiniGrid's symbolic view: numbers below 16 with a meaning each) differs from one of pixels by
the bounds of its space; its codes are encoded one-hot.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from envs.action_codes import ActionCodes
from envs.registry import UsageError
from envs.spaces import FEATURES, IMAGE, EnvSpec
from envs.steps import Obs
from representations.nets.images import CODES, one_hot, pixels
from representations.nets.trunks import SMALLEST, make_trunk

InputKind = Literal["auto", "image", "features"]


class BonusInput:
    """Choice of what a bonus reads from an observation; holds no weights.

    ``shape``: (C, H, W) of the newest frame, or (D,) of the features. ``float_shape``: of what ``to_float`` gives.

    Args:
        spec: what Steps hold, by key, and how many frames an image's channels hold.
        on: "image", "features", or "auto" for the features where there are any.

    Raises:
        UsageError: the space has no such key.
    """

    def __init__(self, spec: EnvSpec, on: InputKind = "image"):
        spaces = spec.space.spaces
        if on not in ("auto", IMAGE, FEATURES):
            raise UsageError(f"on='{on}': a bonus reads 'image', 'features' or 'auto'")
        self.key = FEATURES if on == FEATURES or (on == "auto" and FEATURES in spaces) else IMAGE
        if self.key not in spaces:
            cure = "take --mode frozen, or on=image" if self.key == FEATURES else "take on=features"
            raise UsageError(f"a bonus on '{self.key}' finds only {', '.join(spaces)} here; {cure}")
        box: Any = spaces[self.key]
        self.is_image = self.key == IMAGE
        self.shape: tuple[int, ...] = (spec.channels, *box.shape[1:]) if self.is_image else box.shape
        self.symbolic = self.is_image and int(box.high.max()) < CODES
        planes = self.shape[0] * CODES if self.symbolic else self.shape[0]
        self.float_shape = (planes, *self.shape[1:])

    @property
    def is_pixels(self) -> bool:
        """True where the input is an image of pixels, not of codes."""
        return self.is_image and not self.symbolic

    def select(self, obs: Obs) -> Tensor:
        """Observations (T, B, ...) by key -> newest frames or features (T*B, ...)."""
        inputs = obs[self.key].flatten(0, 1)
        return inputs[:, -self.shape[0] :] if self.is_image else inputs

    def to_float(self, inputs: Tensor) -> Float[Tensor, "B ..."]:
        """Selected inputs as numbers for a loss: pixels in [0, 1], codes one-hot, features as they are."""
        if not self.is_image:
            return inputs
        return one_hot(inputs) if self.symbolic else pixels(inputs)

    def make_encoder(self, width: int) -> nn.Module:
        """Network from selected inputs to (B, width), rectified: a trunk for frames, two dense layers for features."""
        if self.is_image and (self.symbolic or min(self.shape[1:]) >= SMALLEST):
            return make_trunk("symbols" if self.symbolic else "nature", self.shape, width)
        layers = (nn.Linear(math.prod(self.shape), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        return nn.Sequential(FlattenInput(self), *layers)


class FlattenInput(nn.Module):
    """Selected inputs as rows of float32."""

    def __init__(self, inputs: BonusInput):
        super().__init__()
        self.inputs = inputs

    def forward(self, inputs: Tensor) -> Float[Tensor, "B D"]:
        return self.inputs.to_float(inputs).flatten(1)


def concat_action(
    hidden: Float[Tensor, "B D"], action: Shaped[Tensor, "B ..."], codes: ActionCodes
) -> Float[Tensor, "B D_plus_E"]:
    """Hidden features with the action's code at the end."""
    return torch.cat([hidden, codes.encode(action).to(hidden.dtype)], 1)


def zero_init_linear(width: int, classes: int) -> nn.Linear:
    """A layer of logits that starts at 0: every class equally likely, whatever the input."""
    layer = nn.Linear(width, classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
