"""Inpainting (Pathak et al. 2016, "Context encoders: feature learning by inpainting").

A box of half the height and half the width, a quarter of the frame, is hidden at a random place. A decoder of the
features h must fill it in:

    loss = mean over hidden pixels and channels of  (decoder(h(mask(x))) - x)^2,     x in [0, 1];   mask: 1/2 in the box

``accuracy`` is the part of the hidden pixels' squared distance from the batch's mean frame that the decoder explains,
cut off at 0: 1 - sum (decoded - x)^2 / sum (mean - x)^2 over hidden pixels. Chance is 0. The mean frame takes away what
is at the same place in every frame, as displays and borders are.

``encode`` returns h = trunk(x), the rectified dense layer, of the whole frame; the decoder is dropped.

Differs from the paper: no adversarial loss (its weight there is 0.001 against 0.999), so the filling is blurred; the
toolkit's trunk and decoder; a box of one size (the centre, random boxes, or random shapes, of up to a quarter); the
colour of a hidden pixel is grey, not the data's mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.base import Config, Heads, Loss, Mode, Phase
from representations.cnn import Trunked
from representations.feature_metrics import feature_std
from representations.nets.decoders import Decoder
from representations.nets.images import pixels, tile

FILL = 0.5
"""Value of hidden pixels."""


def boxes(batch: int, height: int, width: int, generator: torch.Generator) -> Bool[Tensor, "B 1 H W"]:
    """True in a box of half the sides, at a place of its own in each image."""
    device = generator.device

    def span(side: int) -> Bool[Tensor, "B side"]:
        start = torch.randint(0, side - side // 2 + 1, (batch, 1), generator=generator, device=device)
        pixel = torch.arange(side, device=device)
        return (pixel >= start) & (pixel < start + side // 2)

    return (span(height)[:, :, None] & span(width)[:, None]).unsqueeze(1)


def hidden_error(
    decoded: Float[Tensor, "B C H W"], x: Float[Tensor, "B C H W"], hidden: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, ""]:
    """Squared error, mean over the hidden pixels and their channels."""
    return ((decoded - x).square() * hidden).sum() / (hidden.sum() * x.shape[1])


def explained(
    error: Float[Tensor, ""], x: Float[Tensor, "B C H W"], hidden: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, ""]:
    """Part of the hidden pixels' squared distance from the mean frame that is not ``error``, at least 0."""
    distance = hidden_error(x.mean(0, keepdim=True).expand_as(x), x, hidden)
    return (1 - error.detach() / distance.clamp(min=1e-8)).clamp(min=0)


@dataclass(frozen=True)
class InpaintingConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    learning_rate: float = 5e-4
    """Adam, pre-training."""
    batch: int = 64
    """Frames per optimizer step offline."""

    def __post_init__(self) -> None:
        self.at_least(learning_rate=0, batch=1)


class Inpainting(Trunked):
    """See the module docstring."""

    Config = InpaintingConfig
    default_mode: ClassVar[Mode] = "frozen"
    pretext = True

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.decoder = Decoder(self.features_dim, spec.image_shape)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        x = pixels(flatten(steps.obs)["image"]).float()
        hidden = boxes(len(x), x.shape[2], x.shape[3], generator)
        features = self.trunk(x.masked_fill(hidden, FILL))
        loss = hidden_error(self.decoder(features).sigmoid().float(), x, hidden)
        accuracy = explained(loss, x, hidden)
        return loss, {"loss": loss.detach(), "accuracy": accuracy, "feature_std": feature_std(features)}

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        rate, batch = self.config.learning_rate, self.config.batch
        return [replace(fit, name="inpainting", learning_rate=rate, batch=batch, splits=True)]

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``fillings``: frames, below each what the trunk sees, and the frame with its box filled in."""
        x = pixels(obs["image"]).float()
        hidden = boxes(len(x), x.shape[2], x.shape[3], generator)
        masked = x.masked_fill(hidden, FILL)
        filled = torch.where(hidden, self.decoder(self.trunk(masked)).sigmoid().float(), x)
        return {"fillings": tile([x, masked, filled], self.spec.channels)}
