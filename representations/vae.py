"""VAE (Kingma & Welling 2014), beta-VAE (Higgins et al. 2017) and its controlled capacity (Burgess et al. 2018).

Objective (minimised, nats per frame):  E_q[-log p(x|z)] + beta KL(q(z|x) || N(0, I)),
KL = 0.5 sum_latents (mu^2 + s^2 - log s^2 - 1); the likelihood is Bernoulli with logits, SUMMED over pixels and
channels, then averaged over the batch: beta means nothing otherwise. beta = 1 is the VAE. With a capacity C_max the
KL term is gamma |KL - C|, C rising linearly from 0 to C_max nats over the first ``capacity_share`` of training.

``encode`` returns mu (B, latents); a latent that the KL has shut gives about 0.

Differs from the paper: the encoder is the toolkit's trunk with a dense layer of 256, so that rows of one table share
it; the decoder ends in one factor of 4 (see ``nets.decoders``); Adam 5e-4, not 1e-4, as budgets are 100 times smaller.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.base import Config, Heads, Loss, Phase, Representation, State
from representations.feature_metrics import feature_std
from representations.nets.decoders import Decoder, GaussianEncoder
from representations.nets.images import pixels, tile

ACTIVE = 0.1
"""Nats of mean KL above which a latent counts as active."""


def kl_to_prior(mean: Float[Tensor, "*B"], log_variance: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of each latent, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def draw(
    mean: Float[Tensor, "*B"], log_variance: Float[Tensor, "*B"], generator: torch.Generator
) -> Float[Tensor, "*B"]:
    """Sample z = mu + s e, e ~ N(0, 1) from ``generator``; with gradient."""
    noise = torch.empty_like(mean).normal_(generator=generator)
    return mean + (0.5 * log_variance).exp() * noise


def bernoulli_loss(logits: Float[Tensor, "B C H W"], x: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """Negative log p(x|z) in nats, summed over pixels and channels, mean over the batch; x in [0, 1]."""
    return F.binary_cross_entropy_with_logits(logits.float(), x.float(), reduction="sum") / x.shape[0]


@dataclass(frozen=True)
class LatentConfig(Config):
    trunk: str = "nature"
    """Convolutions of the encoder, 'nature', 'impala' or 'impoola'."""
    latents: int = 64
    """Size of z. 10 in the study of Locatello et al. 2019 on sprites; Procgen frames hold more."""
    learning_rate: float = 5e-4
    """Adam. Papers: 1e-4 for 300k steps; measured for budgets of some thousand steps."""
    batch: int = 64
    """Frames per optimizer step offline."""

    def __post_init__(self) -> None:
        self.at_least(latents=1, learning_rate=0, batch=1)


class Latent(Representation):
    """Gaussian encoder whose mean is the feature, decoder, and pictures: the base of VAE, beta-VAE and DARLA."""

    Config = LatentConfig
    pretrain_steps = 30_000
    traversable = True
    """``traverse`` shows latents that were fitted."""

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.encoder = GaussianEncoder(self.config.trunk, spec.image_shape, self.config.latents)
        self.decoder = Decoder(self.config.latents, spec.image_shape)
        self.features_dim = self.config.latents

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        return self.encoder(obs["image"])[0], state

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        return self.latent_loss(flatten(steps.obs)["image"], generator)

    def latent_loss(self, image: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> Loss:
        """Negative evidence bound of a batch, with this method's two terms."""
        mean, log_variance = self.encoder(image)
        divergences = kl_to_prior(mean, log_variance)
        divergence = divergences.sum(1).mean()
        distance = self.distance(self.decoder(draw(mean, log_variance, generator)), image)
        metrics = {
            "reconstruction": distance.detach(),
            "kl": divergence.detach(),
            "active_latents": (divergences.detach().mean(0) > ACTIVE).sum().float(),
            "feature_std": feature_std(mean),
        }
        return distance + self.penalty(divergence), metrics

    def distance(self, logits: Float[Tensor, "B C H W"], image: UInt8[Tensor, "B C H W"]) -> Float[Tensor, ""]:
        """Reconstruction term, nats per frame."""
        return bernoulli_loss(logits, pixels(image))

    @abstractmethod
    def penalty(self, divergence: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """KL term, from the mean total KL in nats."""

    def phases(self) -> list[Phase]:
        def offline_loss(steps: Steps, generator: torch.Generator) -> Loss:
            return self.latent_loss(flatten(steps.obs)["image"], generator)

        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        batch = self.frames_per_step(self.config)
        return [Phase("vae", parameters, offline_loss, self.config.learning_rate, batch=batch, splits=True)]

    def show(self, logits: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Rows of images in [0, 1] that show decoded frames."""
        return [torch.sigmoid(logits.float())]

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Pictures ``reconstructions`` and ``traversals``.

        Reconstructions: frames, and below each the image decoded from its mean. Traversals of the first frame: a row
        for each of the (at most 8) latents with the largest KL, moved from -3 to 3 standard deviations of N(0, 1).
        """
        image = obs["image"]
        mean, log_variance = self.encoder(image)
        order = kl_to_prior(mean, log_variance).mean(0).argsort(descending=True)[:8]
        moved = self.traverse(mean[0], order, torch.linspace(-3, 3, 7, device=mean.device))
        rows = [pixels(image), *self.show(self.decoder(mean))]
        return {
            "reconstructions": tile(rows, self.spec.channels),
            "traversals": tile(list(moved), self.spec.channels),
        }

    @torch.no_grad()
    def traverse(self, z: Float[Tensor, " Z"], latents: Int[Tensor, " L"], values: Float[Tensor, " V"]) -> Tensor:
        """Images (L, V, C, H, W) in [0, 1] decoded from ``z`` with one of ``latents`` at one of ``values``.

        Values are in standard deviations of N(0, 1).
        """
        moved = z.repeat(len(latents), len(values), 1)
        moved[torch.arange(len(latents)), :, latents] = values
        images: Tensor = self.show(self.decoder(moved.flatten(0, 1)))[-1]
        return images.view(len(latents), len(values), *images.shape[1:])


class Vae(Latent):
    """Plain evidence bound, beta = 1."""

    def penalty(self, divergence: Float[Tensor, ""]) -> Float[Tensor, ""]:
        return divergence


@dataclass(frozen=True)
class BetaVaeConfig(LatentConfig):
    beta: float = 4.0
    """Weight of the KL; 4 is Higgins et al.'s on dSprites and in the middle of Locatello et al.'s 1..16."""
    capacity: float = 0.0
    """C_max in nats; 0 switches controlled capacity off, then ``beta`` holds. Burgess et al.: 25 on dSprites."""
    gamma: float = 1000.0
    """Weight of |KL - C|, Burgess et al."""
    capacity_share: float = 1 / 3
    """Fraction of training after which C = C_max. Burgess et al.: 100,000 of some 300,000 steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(beta=0, capacity=0, gamma=0)
        if not 0 < self.capacity_share <= 1:
            raise ValueError(f"capacity_share={self.capacity_share}: give a fraction above 0, at most 1")


class BetaVae(Latent):
    """VAE whose KL is weighted by beta, or held at a rising capacity."""

    Config = BetaVaeConfig

    def penalty(self, divergence: Float[Tensor, ""]) -> Float[Tensor, ""]:
        config: BetaVaeConfig = self.config
        if not config.capacity:
            return config.beta * divergence
        capacity = config.capacity * min(1.0, self.progress / config.capacity_share)
        return config.gamma * (divergence - capacity).abs()
