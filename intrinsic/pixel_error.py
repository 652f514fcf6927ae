"""Prediction error in pixels (Burda et al. 2018, "Large-scale study of curiosity-driven learning", its pixel features).

A forward model predicts the next observation itself, as the change from this one:

    bonus = mean over numbers of (x_t + f(x_t, a_t) - x_{t+1})^2

x is the newest frame in [0, 1], averaged down to ``side`` pixels; symbols' codes, one-hot; features as they are.
``score`` returns that mean, in squares of those units, and the model descends it. What moves by chance on a large part
of the screen is rewarded for ever: the weakness for which the other bonuses leave the pixels.

Differs from the paper: an encoder and a decoder without the U-net's bridges; what they would carry over, the still part
of the picture, comes from predicting the change. Frames are not whitened.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from envs.spaces import EnvSpec
from intrinsic import base
from intrinsic.base import IntrinsicBonus, Transitions, at_least, gradient_step
from intrinsic.inputs import concat_action
from representations.nets.decoders import Decoder


@dataclass(frozen=True)
class PixelErrorConfig(base.Config):
    width: int = 256
    """Numbers between encoder and decoder."""
    side: int = 32
    """Most rows and columns of the predicted frame, in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, width=self.width, side=self.side)


class PixelError(IntrinsicBonus):
    """Squared error of a predicted frame."""

    Config = PixelErrorConfig
    config: PixelErrorConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        width = self.config.width
        hidden = width + self.codes.size
        self.encoder = self.inputs.make_encoder(width)
        self.decoder: nn.Module
        if self.inputs.is_pixels:
            planes, rows, columns = self.inputs.float_shape
            self.sides = (min(self.config.side, rows), min(self.config.side, columns))
            self.decoder = Decoder(hidden, (planes, *self.sides))
        else:
            outputs = math.prod(self.inputs.float_shape)
            self.decoder = nn.Sequential(nn.Linear(hidden, width), nn.ReLU(), nn.Linear(width, outputs))
        self.optimizer = torch.optim.Adam(self.parameters(), self.config.learning_rate)

    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        hidden = concat_action(self.encoder(batch.obs), batch.action, self.codes)
        change: Tensor = self.decoder(hidden).flatten(1)
        return (self.numbers(batch.obs) + change - self.numbers(batch.next_obs)).square().mean(1)

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        loss = self.score(batch).mean()
        gradient_step(self.optimizer, loss)
        return {"loss": loss.detach()}

    def numbers(self, inputs: Tensor) -> Float[Tensor, "B D"]:
        """x, the numbers to predict."""
        x = self.inputs.to_float(inputs)
        return (F.adaptive_avg_pool2d(x, self.sides) if self.inputs.is_pixels else x).flatten(1)
