"""ConvDRAW (Gregor et al. 2016, "Towards conceptual compression").

A frame is painted in T steps on a canvas of logits, which begins as a learnt image b:

    c_0 = b,   e_t = x - sigmoid(c_{t-1}),   c_t = c_{t-1} + write(h_t)
    g_t = LSTM(e_t, h_{t-1}, x; g_{t-1}),    q(z_t | x, z_<t) = N(posterior(g_t)),    p(z_t | z_<t) = N(prior(h_{t-1}))
    h_t = LSTM(z_t, c_{t-1}; h_{t-1}),       g_0 = h_0 = 0
    loss = E_q[-log p(x | c_T)] + sum_t KL(q(z_t | x, z_<t) || p(z_t | z_<t)),   nats per frame

p(x | c_T) is Bernoulli with logits, summed over pixels and channels as in ``vae``. z_t is a map on an eighth of the
image, both LSTMs are convolutional (``nets.recurrent``, GQN's), and all steps share their weights.

``encode`` returns the means of q at all steps, each step running on the mean of the one before: D = T * latents * H/8 *
W/8, 512 at 64x64. The later steps hold what the earlier left over, so none is dropped.

Differs from the paper: one layer of LSTMs with 24 channels on an eighth of the image, 4 steps (there larger ones on a
quarter, up to 32 steps); Bernoulli pixels, not discretised Gaussian ones. 10 M multiply-adds a step at 64x64:
a core encodes about 500 frames a second.
"""

from __future__ import annotations

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
from representations.base import Config, Heads, Loss, Phase, Representation, State
from representations.feature_metrics import feature_std
from representations.nets.images import pixels, tile
from representations.nets.recurrent import ConvLstm, kl
from representations.vae import bernoulli_loss, draw

FACTOR = 8
"""Image side over the side of the latents' map."""


@dataclass(frozen=True)
class ConvDrawConfig(Config):
    steps: int = 4
    """T."""
    latents: int = 2
    """Channels of z_t."""
    channels: int = 24
    """Channels of the LSTMs' states."""
    learning_rate: float = 5e-4
    """Adam."""
    batch: int = 64
    """Frames per optimizer step offline."""

    def __post_init__(self) -> None:
        self.at_least(steps=1, latents=1, channels=1, learning_rate=0, batch=1)


@dataclass
class Painting:
    """Outcome of painting a batch of frames."""

    canvases: list[Float[Tensor, "B C H W"]]
    """c_0 to c_T, logits."""
    means: list[Float[Tensor, "B Z h w"]]
    """Means of q, of z_1 to z_T."""
    divergence: Float[Tensor, " B"]
    """KL of each frame, all steps together, nats."""


class ConvDraw(Representation):
    """Frames painted step by step."""

    Config = ConvDrawConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        config = self.config
        C, H, W = spec.image_shape
        n, Z = config.channels, config.latents
        self.grid = (-(-H // FACTOR), -(-W // FACTOR))
        self.features_dim = config.steps * Z * self.grid[0] * self.grid[1]
        self.blank = nn.Parameter(torch.zeros(C, FACTOR * self.grid[0], FACTOR * self.grid[1]))
        self.look, self.look_error = _reader(C, n), _reader(C, n)
        self.inference = ConvLstm(2 * n, n, n)
        self.generation = ConvLstm(Z, n, C * FACTOR**2)
        self.prior, self.posterior = (nn.Conv2d(n, 2 * Z, 3, padding=1) for _ in range(2))
        self.write = nn.Sequential(nn.Conv2d(n, C * FACTOR**2, 3, padding=1), nn.PixelShuffle(FACTOR))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def paint(self, image: UInt8[Tensor, "B C H W"], generator: torch.Generator | None) -> Painting:
        """Paint frames from q; ``generator`` draws z, None takes the means of q."""
        height, width = image.shape[2:]
        x = pixels(image).float()
        # An image whose sides do not divide by 8 is painted on a larger canvas, of which the rest is cut off.
        x = F.pad(x, (0, self.blank.shape[2] - width, 0, self.blank.shape[1] - height))
        canvas = self.blank.expand(len(x), -1, -1, -1)
        zero = x.new_zeros(len(x), self.config.channels, *self.grid).contiguous(memory_format=torch.channels_last)
        inferring, generating = (zero, zero), (zero, zero)
        frame = self.inference.condition(self.look(x))
        painting = Painting([canvas[:, :, :height, :width]], [], x.new_zeros(len(x)))
        for _ in range(self.config.steps):
            error = x - torch.sigmoid(canvas)
            inferring = self.inference(torch.cat([self.look_error(error), generating[0]], 1), inferring, frame)
            mean, log_variance = self.posterior(inferring[0]).float().chunk(2, 1)
            prior = self.prior(generating[0]).float().chunk(2, 1)
            painting.divergence = painting.divergence + kl(mean, log_variance, *prior).sum((1, 2, 3))
            painting.means.append(mean)
            z = mean if generator is None else draw(mean, log_variance, generator)
            so_far = self.generation.condition(F.pixel_unshuffle(torch.sigmoid(canvas), FACTOR))
            generating = self.generation(z, generating, so_far)
            canvas = canvas + self.write(generating[0]).float()
            painting.canvases.append(canvas[:, :, :height, :width])
        return painting

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        means = self.paint(obs["image"], None).means
        return torch.cat([mean.flatten(1) for mean in means], 1), state

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        image = flatten(steps.obs)["image"]
        painting = self.paint(image, generator)
        reconstruction = bernoulli_loss(painting.canvases[-1], pixels(image))
        divergence = painting.divergence.mean()
        metrics = {
            "reconstruction": reconstruction.detach(),
            "kl": divergence.detach(),
            "feature_std": feature_std(torch.stack(painting.means, 1).flatten(1)),
        }
        return reconstruction + divergence, metrics

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        rate, batch = self.config.learning_rate, self.frames_per_step(self.config)
        return [replace(fit, name="conv_draw", learning_rate=rate, batch=batch, splits=True)]

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Pictures ``reconstructions`` (frames over the last canvas) and ``canvases`` (a row a step, c_0 first)."""
        frames = pixels(obs["image"]).float()
        canvases = [torch.sigmoid(canvas) for canvas in self.paint(obs["image"], None).canvases]
        return {
            "reconstructions": tile([frames, canvases[-1]], self.spec.channels),
            "canvases": tile(canvases, self.spec.channels),
        }


def _reader(channels: int, width: int) -> nn.Sequential:
    """Two convolutions from an image to the latents' map, k4 s4 and k4 s2."""
    return nn.Sequential(
        *(nn.Conv2d(channels, width, 4, 4), nn.ReLU(inplace=True)),
        *(nn.Conv2d(width, width, 4, 2, 1), nn.ReLU(inplace=True)),
    )
