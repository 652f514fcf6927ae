"""DARLA (Higgins et al. 2017, "DARLA: improving zero-shot transfer in reinforcement learning").

Three stages. (1) A denoising autoencoder learns to undo random rectangular occlusions of frames of a random policy;
J(x) is its bottleneck. (2) A beta-VAE whose reconstruction is compared in J's space, not in pixels,

    E_q ||J(x_hat) - J(x)||^2 + beta KL(q(z|x) || N(0, I)),    summed over features and latents, mean over the batch,

J fixed, its gradient flowing through J into x_hat. (3) The encoder is frozen; RL reads mu(x), on unseen targets, too.

``encode`` returns mu (B, latents). Its own protocol is ``--pretrain-on all`` where a task's variants recombine factors
of the source (sprites, coinrun-themes). Two controls are settings: ``beta`` near 0 leaves z entangled; ``features``
"denoiser" gives the policy J(x) (B, bottleneck) and leaves out stage 2, while stage 1 stays as long. The pixels x_hat
resemble noise, since only J measures them: pictures show them through the denoiser, too.

Differs from the paper: J's features are standardised by running statistics of stage 1, so that one beta serves every
game (raw, their scale drifts with the length of stage 1) and a J that shrinks cannot pass for a good one. The trunk is
the toolkit's, bottleneck 128 (100 there), and stage 2 uses Adam 5e-4 (1e-4), as budgets are 100 times smaller. Held
random actions gather the frames (see ``collect``). Mode online trains both stages beside RL, J a step ahead.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.base import Heads, Loss, Phase, State
from representations.nets.decoders import Decoder
from representations.nets.images import pixels, tile
from representations.nets.trunks import Shape, make_trunk, orthogonal
from representations.threads import gather, is_first
from representations.vae import Latent, LatentConfig, bernoulli_loss


@dataclass(frozen=True)
class DarlaConfig(LatentConfig):
    beta: float = 0.1
    """Weight of the KL. The paper has 1 on DeepMind Lab, with features of another scale; on CoinRun frames (64 latents)
    1 leaves 15 active with 13 nats in all (120 000 samples of stage 2), 0.1 leaves 49 with 40 nats (240 000)."""
    bottleneck: int = 128
    """Size of J(x)."""
    denoiser_learning_rate: float = 1e-3
    """Adam, stage 1; the paper's."""
    denoiser_share: float = 1 / 3
    """Fraction of the pre-training samples for stage 1; below a third J's reconstructions were blurred."""
    features: str = "vae"
    """Features of the policy: 'vae', mu of stage 2, or 'denoiser', J of stage 1, the paper's control."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(beta=0, bottleneck=2, denoiser_learning_rate=0, denoiser_share=0)
        if self.denoiser_share >= 1:
            raise ValueError(f"denoiser_share={self.denoiser_share}: stage 2 needs samples too; give less than 1")
        if self.features not in ("vae", "denoiser"):
            raise ValueError(f"features='{self.features}': known are vae, denoiser")


def occlude(image: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> UInt8[Tensor, "B C H W"]:
    """Frames with a rectangle of one random colour in each, both its corners uniform over the frame.

    A black one could not be seen on a black background, and there would be nothing to undo.
    """
    B, C, H, W = image.shape
    device = image.device
    ys = torch.randint(0, H + 1, (B, 2, 1, 1), generator=generator, device=device)
    xs = torch.randint(0, W + 1, (B, 2, 1, 1), generator=generator, device=device)
    row = torch.arange(H, device=device).view(1, H, 1)
    column = torch.arange(W, device=device).view(1, 1, W)
    inside = (row >= ys.amin(1)) & (row < ys.amax(1)) & (column >= xs.amin(1)) & (column < xs.amax(1))
    colour = torch.randint(0, 256, (B, C, 1, 1), generator=generator, device=device).to(torch.uint8)
    return torch.where(inside.unsqueeze(1), colour, image).contiguous(memory_format=torch.channels_last)


class Denoiser(nn.Module):
    """Autoencoder of occluded frames; ``forward`` is J: (B, C, H, W) -> (B, bottleneck), unit variance in training."""

    def __init__(self, trunk: str, shape: Shape, bottleneck: int):
        super().__init__()
        self.trunk = make_trunk(trunk, shape, bottleneck)
        orthogonal(self.trunk.dense, 1.0)
        self.standardise = nn.BatchNorm1d(bottleneck, affine=False)
        self.decoder = Decoder(bottleneck, shape)

    def forward(self, image: Tensor, learn: bool = False) -> Float[Tensor, "B D"]:
        """J of images, uint8 or floats in [0, 1].

        ``learn`` standardises by the batch and moves the running statistics; otherwise those standardise.
        """
        hidden = self.trunk.dense(self.trunk.flat(image))
        norm = self.standardise
        hidden = hidden.to(self.trunk.dense.weight.dtype)
        if not learn:
            return F.batch_norm(hidden, norm.running_mean, norm.running_var)
        batch, own = gather(hidden)  # the whole batch, also where threads share it
        running = (norm.running_mean, norm.running_var) if is_first() else (None, None)
        return F.batch_norm(batch, *running, training=True, momentum=0.01)[own]


class Darla(Latent):
    Config = DarlaConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.denoiser = Denoiser(self.config.trunk, spec.image_shape, self.config.bottleneck)
        self.denoiser_only = self.config.features == "denoiser"
        self.traversable = not self.denoiser_only
        if self.denoiser_only:
            self.features_dim = self.config.bottleneck

    @classmethod
    def needed_samples(cls, config: Any) -> int:
        """Those of both stages, or of the first alone."""
        samples = super().needed_samples(config)
        return round(samples * config.denoiser_share) if config.features == "denoiser" else samples

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        if self.denoiser_only:
            return self.denoiser(obs["image"]).float(), state
        return super().encode(obs, state, first)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        """Sum of both stages: neither's gradient reaches the other's parameters."""
        image = flatten(steps.obs)["image"]
        denoising, denoising_metrics = self.denoising_loss(image, generator)
        if self.denoiser_only:
            return denoising, denoising_metrics
        latent, metrics = self.latent_loss(image, generator)
        return denoising + latent, {"denoising": denoising_metrics["reconstruction"], **metrics}

    def denoising_loss(self, image: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> Loss:
        """Stage 1: Bernoulli cross-entropy of the whole frame given the occluded one, nats per frame."""
        features = self.denoiser(occlude(image, generator), learn=True)
        loss = bernoulli_loss(self.denoiser.decoder(features), pixels(image))
        raw_std = self.denoiser.standardise.running_var.sqrt().mean()  # type: ignore[union-attr]
        return loss, {"reconstruction": loss.detach(), "feature_std": raw_std}

    def features(self, image: Tensor) -> Float[Tensor, "B D"]:
        """J of images, with a gradient to the images and none to J."""
        # A copy whose parameters are the same memory without gradient; functional_call would swap those of a module
        # that other threads use, too.
        fixed = {id(parameter): parameter.detach() for parameter in self.denoiser.parameters()}
        buffers = {id(buffer): buffer for buffer in self.denoiser.buffers()}
        denoiser: Denoiser = copy.deepcopy(self.denoiser, {**fixed, **buffers})
        features: Tensor = denoiser(image)
        return features.float()

    def distance(self, logits: Float[Tensor, "B C H W"], image: UInt8[Tensor, "B C H W"]) -> Float[Tensor, ""]:
        with torch.no_grad():
            target = self.features(image)
        difference = self.features(torch.sigmoid(logits)) - target
        return difference.square().sum(1).mean()

    def penalty(self, divergence: Float[Tensor, ""]) -> Float[Tensor, ""]:
        beta: float = self.config.beta
        return beta * divergence

    def phases(self) -> list[Phase]:
        def denoise(steps: Steps, generator: torch.Generator) -> Loss:
            return self.denoising_loss(flatten(steps.obs)["image"], generator)

        (vae,) = super().phases()
        share = self.config.denoiser_share
        parameters, rate = list(self.denoiser.parameters()), self.config.denoiser_learning_rate
        first = Phase("denoiser", parameters, denoise, rate, share, vae.batch, splits=True)
        if self.denoiser_only:
            return [first]
        return [first, replace(vae, share=1 - share)]

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Those of a VAE, or with the denoiser alone ``reconstructions``: frames, and below each its denoised one."""
        if not self.denoiser_only:
            return super().pictures(obs, generator)
        decoded = self.denoiser.decoder(self.denoiser(obs["image"])).float().sigmoid()
        return {"reconstructions": tile([pixels(obs["image"]).float(), decoded], self.spec.channels)}

    def show(self, logits: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Decoded pixels, and the same through the denoiser."""
        decoded = torch.sigmoid(logits)
        return [decoded, torch.sigmoid(self.denoiser.decoder(self.denoiser(decoded)))]
