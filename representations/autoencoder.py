"""Autoencoder (Hinton and Salakhutdinov 2006) and denoising autoencoder (Vincent et al. 2008 and 2010).

    loss = -log p(x | decoder(trunk(noisy x))),   Bernoulli with logits, nats per frame, summed over pixels and channels

An autoencoder has no noise. For a denoising one a fraction ``noise`` of the pixels is replaced by a uniform colour of
its own each, and x itself must come back.

``encode`` returns trunk(x), the rectified dense layer, of the unchanged image; the decoder is dropped.

Differs from the paper: the toolkit's trunk and decoder, trained as a whole and not layer by layer; noise of random
colours (masking with black in 2008, black or white in 2010), as most of a game's pixels are black and a masked one
would look the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.base import Config, Heads, Loss, Phase
from representations.cnn import Trunked
from representations.feature_metrics import feature_std
from representations.nets.decoders import Decoder
from representations.nets.images import pixels, tile
from representations.nets.trunks import orthogonal
from representations.vae import bernoulli_loss


def corrupt(
    image: UInt8[Tensor, "B C H W"], noise: float, channels: int, generator: torch.Generator
) -> UInt8[Tensor, "B C H W"]:
    """Images of which a random fraction ``noise`` of the pixels has a random colour; each stacked frame its own."""
    B, C, H, W = image.shape
    draws = torch.rand(B, C // channels, 1, H, W, generator=generator, device=image.device)
    colours = torch.randint(0, 256, (B, H, W, C), generator=generator, device=image.device, dtype=torch.uint8)
    chosen = (draws < noise).expand(-1, -1, channels, -1, -1).flatten(1, 2)
    return torch.where(chosen, colours.movedim(-1, 1), image).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class AutoencoderConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    learning_rate: float = 5e-4
    """Adam, pre-training; as for the VAE."""
    batch: int = 64
    """Frames per optimizer step offline."""

    def __post_init__(self) -> None:
        self.at_least(learning_rate=0, batch=1)


class Autoencoder(Trunked):
    """Trunk and decoder; see the module docstring."""

    Config = AutoencoderConfig
    default_mode = "frozen"

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.decoder = Decoder(self.features_dim, spec.image_shape)
        orthogonal(self.decoder.dense)  # at torch's own scale frames hardly differ in what is decoded first

    def noisy(self, image: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> UInt8[Tensor, "B C H W"]:
        """Input of the encoder in training."""
        return image

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        return self.reconstruction_loss(flatten(steps.obs)["image"], generator)

    def reconstruction_loss(self, image: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> Loss:
        """Nats per frame."""
        features = self.trunk(self.noisy(image, generator))
        loss = bernoulli_loss(self.decoder(features), pixels(image))
        return loss, {"loss": loss.detach(), "feature_std": feature_std(features)}

    def phases(self) -> list[Phase]:
        def offline_loss(steps: Steps, generator: torch.Generator) -> Loss:
            return self.reconstruction_loss(flatten(steps.obs)["image"], generator)

        parameters, config = list(self.parameters()), self.config
        return [Phase("autoencoder", parameters, offline_loss, config.learning_rate, batch=config.batch, splits=True)]

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``reconstructions``: frames, what the encoder is given, and what is decoded from that."""
        given = self.noisy(obs["image"], generator)
        rows = [pixels(obs["image"]), pixels(given), self.decoder(self.trunk(given)).float().sigmoid()]
        return {"reconstructions": tile(rows, self.spec.channels)}


@dataclass(frozen=True)
class DenoisingConfig(AutoencoderConfig):
    noise: float = 0.25
    """Fraction of the pixels that are replaced; the papers try 0.1 to 0.4 and more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(noise=0)
        if self.noise > 1:
            raise ValueError(f"noise={self.noise}: give a fraction of at most 1")


class DenoisingAutoencoder(Autoencoder):
    """Autoencoder that is given noisy frames."""

    Config = DenoisingConfig

    def noisy(self, image: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> UInt8[Tensor, "B C H W"]:
        return corrupt(image, self.config.noise, self.spec.channels, generator)
