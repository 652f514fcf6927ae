"""BigBiGAN (Donahue & Simonyan 2019, "Large scale adversarial representation learning"), heir of BiGAN (2017).

An encoder E and a generator G are trained against a discriminator that sees pairs, real (x, E(x)) and made (G(z), z):

    s_x = a f(x),   s_z = b h(z),   s_xz = d j(f(x), h(z))                  linear a, b, d on networks f, h, j
    loss of D     = mean over real pairs of  sum_s max(0, 1 - s)  +  mean over made pairs of  sum_s max(0, 1 + s)
                    + penalty / 2 * (mean of |grad by (x, z) of sum_s s|^2 over real pairs + the same over made pairs)
    loss of E, G  = mean over real pairs of  s_x + s_z + s_xz     -  mean over made pairs of  s_x + s_z + s_xz

without units; 6 and 0 where D knows nothing. Where D can tell no pair, E is the inverse of G. z ~ N(0, I), E(x) =
N(m(x), softplus(r(x))^2). D gets gradients from its own loss alone, E and G from theirs: one optimizer descends the
sum.

``encode`` returns the trunk's dense layer, as in the paper the features in front of E(x)'s last layer, not z.

Differs from the paper: the toolkit's trunk as E and its decoder as G, without BatchNorm, a small DCGAN as f; z of 32
(120 there); one step of D for one of E and G (two there); Adam's first momentum is 0.9, as for all methods (0 there),
batches of 64 (2,048 there). At that momentum spectral norms, the paper's, let both sides circle for ever on a mixture
of four Gaussians; the gradient penalty on both pairs (Mescheder et al. 2018) makes them converge, and takes their
place. 6 M multiply-adds of f, 5 M of the trunk and 7 M of G at 64x64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.base import Config, Heads, Loss, Mode, Phase
from representations.cnn import Trunked
from representations.feature_metrics import feature_std
from representations.nets.decoders import Decoder
from representations.nets.images import pixels, tile
from representations.nets.trunks import Shape


def perceptron(inputs: int, width: int) -> nn.Sequential:
    """Two dense layers."""
    return nn.Sequential(nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2))


class Look(nn.Sequential):
    """Four convolutions k4 s2 and a dense layer: images in [0, 1] -> (B, width)."""

    def __init__(self, shape: Shape, width: int):
        layers: list[nn.Module] = []
        channels = (shape[0], 16, 32, 64, 64)
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        flat = channels[-1] * (shape[1] // 16) * (shape[2] // 16)
        super().__init__(*layers, nn.Flatten(), nn.Linear(flat, width), nn.LeakyReLU(0.2))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Discriminator(nn.Module):
    """Scores of pairs of a sample and its latents.

    Args:
        look: f, from samples to (B, ``width``).
        latents: size of z.
        width: of the hidden layers.
    """

    def __init__(self, look: nn.Module, latents: int, width: int):
        super().__init__()
        self.look, self.read, self.join = look, perceptron(latents, width), perceptron(2 * width, width)
        self.score_x, self.score_z, self.score_xz = (nn.Linear(width, 1, bias=False) for _ in range(3))

    def forward(self, x: Float[Tensor, "B ..."], z: Float[Tensor, "B Z"]) -> Float[Tensor, "B 3"]:
        """s_x, s_z and s_xz."""
        f, h = self.look(x), self.read(z)
        joint = self.join(torch.cat([f, h.to(f.dtype)], 1))
        return torch.cat([self.score_x(f), self.score_z(h), self.score_xz(joint)], 1).float()


class Losses(NamedTuple):
    """The losses of both sides, and how often D is right."""

    discriminator: Float[Tensor, ""]
    """Hinges, with a gradient by D's parameters alone."""
    penalty: Float[Tensor, ""]
    """Mean squared size of D's gradients by its inputs, over real and over made pairs; with the same gradient."""
    autoencoder: Float[Tensor, ""]
    """With a gradient by the latents of real samples and by made samples, so by E and G, and none by D."""
    right: Float[Tensor, ""]
    """Fraction of pairs whose s_xz has the right sign."""


Pair = tuple[Float[Tensor, "B ..."], Float[Tensor, "B Z"]]
"""Samples and their latents."""


def adversarial_losses(discriminator: nn.Module, real: Pair, made: Pair) -> Losses:
    """Losses over real pairs (x, E(x)) and made pairs (G(z), z)."""
    scores, penalties = [], []
    for pair in (real, made):
        inputs = tuple(value.detach().float().requires_grad_() for value in pair)
        scores.append(discriminator(*inputs))
        slopes = torch.autograd.grad(scores[-1].sum(), inputs, create_graph=True)
        penalties.append(sum((slope.float().flatten(1).square().sum(1) for slope in slopes), torch.zeros(())).mean())
    hinge = F.relu(1 - scores[0]).sum(1).mean() + F.relu(1 + scores[1]).sum(1).mean()
    fixed = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    against = functional_call(discriminator, fixed, real).sum(1) - functional_call(discriminator, fixed, made).sum(1)
    right = 0.5 * ((scores[0][:, 2] > 0).float() + (scores[1][:, 2] < 0).float()).mean()
    return Losses(hinge, penalties[0] + penalties[1], against.mean(), right.detach())


@dataclass(frozen=True)
class BiganConfig(Config):
    trunk: str = "nature"
    """Convolutions of E, 'nature', 'impala' or 'impoola'."""
    latents: int = 32
    """Size of z; 120 in the paper."""
    width: int = 256
    """Hidden units of h and j."""
    penalty: float = 1.0
    """Weight of the gradient penalty."""
    learning_rate: float = 2e-4
    """Adam, of all three networks; the paper's for D and G."""
    batch: int = 64
    """Frames per optimizer step; 2,048 in the paper."""

    def __post_init__(self) -> None:
        self.at_least(latents=1, width=1, penalty=0, learning_rate=0, batch=1)


class Bigan(Trunked):
    """Encoder, generator, and the discriminator of their pairs."""

    Config = BiganConfig
    modes = ("frozen", "finetune")
    default_mode: ClassVar[Mode] = "frozen"

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        Z = self.config.latents
        self.head = nn.Linear(self.features_dim, 2 * Z)
        self.generator = Decoder(Z, spec.image_shape)
        self.discriminator = Discriminator(Look(spec.image_shape, self.config.width), Z, self.config.width)

    def latents(self, features: Float[Tensor, "B D"], generator: torch.Generator | None) -> Float[Tensor, "B Z"]:
        """A draw of E(x), or its mean without a generator."""
        parameters: Tensor = self.head(features).float()
        mean, spread = parameters.chunk(2, 1)
        if generator is None:
            return mean
        return mean + F.softplus(spread) * torch.empty_like(mean).normal_(generator=generator)

    def generate(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B C H W"]:
        """G(z), images in [0, 1]."""
        return torch.sigmoid(self.generator(z))

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        image = flatten(steps.obs)["image"]
        features = self.trunk(image)
        encoded = self.latents(features, generator)
        z = torch.empty_like(encoded).normal_(generator=generator)
        losses = adversarial_losses(self.discriminator, (pixels(image), encoded), (self.generate(z), z))
        metrics = {
            "discriminator": losses.discriminator.detach(),
            "penalty": losses.penalty.detach(),
            "autoencoder": losses.autoencoder.detach(),
            "right": losses.right,
            "feature_std": feature_std(features),
        }
        penalty = 0.5 * self.config.penalty * losses.penalty
        return losses.discriminator + penalty + losses.autoencoder, metrics

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        rate, batch = self.config.learning_rate, self.frames_per_step(self.config)
        return [replace(fit, name="bigan", learning_rate=rate, batch=batch, splits=True)]

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Pictures ``reconstructions`` (frames over G(E(x))) and ``samples`` (G(z) of drawn z)."""
        image = obs["image"]
        encoded = self.latents(self.trunk(image), None)
        z = torch.empty_like(encoded).normal_(generator=generator)
        return {
            "reconstructions": tile([pixels(image), self.generate(encoded)], self.spec.channels),
            "samples": tile([self.generate(z)], self.spec.channels),
        }
