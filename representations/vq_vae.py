"""VQ-VAE (van den Oord et al. 2017, "Neural discrete representation learning").

An encoder gives a map z_e of 8x8 places with D numbers each (of a 64x64 frame). Each place takes the nearest of K
vectors e_k of a codebook, and a decoder paints the frame from those, z_q:

    loss = -log p(x | z_q) + commitment sum_places ||z_e - sg[z_q]||^2,    nats per frame; Bernoulli with logits
    decoder input = z_e + sg[z_q - z_e]:   the decoder's gradient passes to z_e unchanged (straight through)
    n_k <- m n_k + (1 - m) count_k,   s_k <- m s_k + (1 - m) sum of z_e that took k,   e_k = s_k / n_k

The last line moves the codebook after every step of pre-training (the paper's appendix). A code that is taken less than
a tenth as often as the average one is put on one of the batch's z_e, in ``after_step``. In the first step m is 0.

perplexity = exp(entropy of how often codes are taken): 1 where one is, K where all are equally often.

``encode`` returns z_q, with the straight-through gradient (B, D h w). The policy reads it through a small convolution
and a dense layer that it trains (``neck``). No mode online: the codebook's averages are those of one process and one
batch at a time.

Differs from the paper: three strides of 2, not two, and D = 16 (64 there), so that a stored code map is no longer than
a trunk's features twice; 64 channels (256); Bernoulli likelihood; Adam 5e-4 (2e-4), as budgets are shorter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.base import Config, Heads, Loss, Phase, Representation, State
from representations.feature_metrics import feature_std
from representations.nets.images import pixels, tile
from representations.nets.trunks import ResidualBlock, Shape, orthogonal
from representations.threads import gather, is_first
from representations.vae import bernoulli_loss

DEAD = 0.1
"""Share of codes, relative to 1 / K, below which a code is restarted."""


@dataclass(frozen=True)
class VqVaeConfig(Config):
    codes: int = 512
    """K; the paper's."""
    latents: int = 16
    """D."""
    channels: int = 64
    """Channels of the convolutions."""
    commitment: float = 0.25
    """The paper's."""
    momentum: float = 0.99
    """m of the codebook; the paper's."""
    learning_rate: float = 5e-4
    """Adam, pre-training."""
    batch: int = 64
    """Frames per optimizer step."""

    def __post_init__(self) -> None:
        self.at_least(codes=1, latents=1, channels=1, commitment=0, momentum=0, learning_rate=0, batch=1)
        if self.momentum > 1:
            raise ValueError(f"momentum={self.momentum}: give a number of at most 1")


def encoder_of(channels: int, width: int, latents: int) -> nn.Sequential:
    """Image -> z_e, an eighth of its side: three convolutions k4 s2, two residual blocks, 1x1."""
    layers: list[nn.Module] = []
    for before, after in ((channels, width // 2 or 1), (width // 2 or 1, width), (width, width)):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU(inplace=True)]
    layers += [ResidualBlock(width), ResidualBlock(width), nn.ReLU(inplace=True), nn.Conv2d(width, latents, 1)]
    return nn.Sequential(*layers)


def decoder_of(channels: int, width: int, latents: int) -> nn.Sequential:
    """Mirror of the encoder: z_q -> logits."""
    layers: list[nn.Module] = [nn.Conv2d(latents, width, 3, padding=1), ResidualBlock(width), ResidualBlock(width)]
    for before, after in ((width, width), (width, width // 2 or 1), (width // 2 or 1, channels)):
        layers += [nn.ReLU(inplace=True), nn.ConvTranspose2d(before, after, 4, 2, 1)]
    return nn.Sequential(*layers)


class Codebook(nn.Module):
    """K vectors and the running averages that they follow; all 0 before the first ``update``."""

    def __init__(self, codes: int, latents: int):
        super().__init__()
        self.register_buffer("vectors", torch.randn(codes, latents))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, latents))
        self.vectors: Tensor
        self.counts: Tensor
        self.sums: Tensor

    def nearest(self, z: Float[Tensor, "n D"]) -> Int[Tensor, " n"]:
        """Index of the code with the least distance to each row."""
        distances = self.vectors.square().sum(1) - 2 * z.detach().float() @ self.vectors.T
        index: Tensor = distances.argmin(1)
        return index

    @torch.no_grad()
    def update(self, z: Float[Tensor, "n D"], momentum: float) -> None:
        """Move the codes to the rows that took them; restart those that hardly any takes on rows spread over all."""
        momentum = momentum if self.counts.any() else 0.0
        index = self.nearest(z)
        self.counts.lerp_(torch.bincount(index, minlength=len(self.counts)).to(z.dtype), 1 - momentum)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, index, z), 1 - momentum)
        share = len(z) / len(self.counts)
        dead = (self.counts < DEAD * share).nonzero().squeeze(1)
        rows = torch.arange(len(dead), device=z.device) * len(z) // max(len(dead), 1)
        self.counts[dead] = share
        self.sums[dead] = share * z[rows]
        self.vectors.copy_(self.sums / self.counts[:, None])


def perplexity(index: Int[Tensor, " n"], codes: int) -> Float[Tensor, ""]:
    """Exp of the entropy of how often each code is taken."""
    p = torch.bincount(index, minlength=codes).float() / max(len(index), 1)
    entropy: Tensor = torch.special.entr(p).sum()
    return entropy.exp()


class CodeHead(nn.Module):
    """The policy's reading of the code maps of a few frames (B, frames * D * h * w): 3x3 convolution, dense, relu."""

    width = 256

    def __init__(self, frames: int, grid: Shape):
        super().__init__()
        self.frames, self.grid = frames, grid
        D, h, w = grid
        self.body = nn.Sequential(
            nn.Conv2d(frames * D, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(64 * h * w, self.width),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B W"]:
        D, h, w = self.grid
        read: Tensor = self.body(x.view(len(x), self.frames * D, h, w))
        return read


class VqVae(Representation):
    """See the module docstring."""

    Config = VqVaeConfig
    modes = ("frozen", "finetune")

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        config = self.config
        C, self.height, self.width = spec.image_shape
        self.grid = (config.latents, -(-self.height // 8), -(-self.width // 8))
        self.border = (0, -self.width % 8, 0, -self.height % 8)
        self.encoder = encoder_of(C, config.channels, config.latents)
        self.decoder = decoder_of(C, config.channels, config.latents)
        orthogonal(self.encoder)
        self.codebook = Codebook(config.codes, config.latents)
        self.features_dim = config.latents * self.grid[1] * self.grid[2]
        self.taken: Tensor | None = None  # z_e of the last step, for `after_step`
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encoded(self, image: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """z_e, float32."""
        z: Tensor = self.encoder(F.pad(pixels(image), self.border, mode="replicate"))
        return z.float()

    def quantised(
        self, z: Float[Tensor, "B D h w"]
    ) -> tuple[Float[Tensor, "B D h w"], Int[Tensor, " n"], Float[Tensor, "n D"]]:
        """z_q without gradient, the index of each place's code, and z_e by place."""
        rows = z.movedim(1, 3).flatten(0, 2)
        with torch.autocast(z.device.type, enabled=False):
            index = self.codebook.nearest(rows)
        code: Tensor = self.codebook.vectors[index].view(len(z), *z.shape[2:], -1).movedim(3, 1)
        return code, index, rows

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        z = self.encoded(obs["image"])
        return straight_through(z, self.quantised(z)[0]).flatten(1), state

    def neck(self, frames: int = 1) -> nn.Module | None:
        return CodeHead(frames, self.grid)

    def decoded(self, code: Float[Tensor, "B D h w"]) -> Float[Tensor, "B C H W"]:
        """Logits."""
        logits: Tensor = self.decoder(code)[:, :, : self.height, : self.width]
        return logits

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        return self.terms(flatten(steps.obs)["image"])[:2]

    def terms(
        self, image: UInt8[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor], Float[Tensor, "n D"]]:
        """Loss and metrics of a batch, and its z_e by place."""
        z = self.encoded(image)
        code, index, rows = self.quantised(z)
        reconstruction = bernoulli_loss(self.decoded(straight_through(z, code)), pixels(image))
        distance = (z - code).square().sum() / len(z)
        loss = reconstruction + self.config.commitment * distance
        metrics = {
            "loss": loss.detach(),
            "reconstruction": reconstruction.detach(),
            "distance": distance.detach(),
            "perplexity": perplexity(index, self.config.codes),
            "feature_std": feature_std(code.flatten(1)),
        }
        return loss, metrics, rows

    def phases(self) -> list[Phase]:
        def offline_loss(steps: Steps, generator: torch.Generator) -> Loss:
            loss, metrics, rows = self.terms(flatten(steps.obs)["image"])
            batch, _ = gather(rows.detach())  # of all threads
            if is_first():
                self.taken = batch
            return loss, metrics

        parameters, config = list(self.parameters()), self.config
        return [Phase("vq_vae", parameters, offline_loss, config.learning_rate, batch=config.batch, splits=True)]

    def after_step(self) -> None:
        """Move the codebook after a step of pre-training; in RL it stays as it is."""
        if self.taken is not None:
            self.codebook.update(self.taken, self.momentum(self.config.momentum))
            self.taken = None

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Pictures ``reconstructions``, with which code lies where, and ``codebook``: each code all over a map.

        Where a code lies is shown as a grey level of its own; of the codes the 64 are decoded that are taken most.
        """
        image = obs["image"]
        code, index, _ = self.quantised(self.encoded(image))
        levels = (index * 0.618034 % 1).view(len(image), 1, *self.grid[1:])  # neighbours in number get far greys
        shown = F.interpolate(levels, scale_factor=8)[:, :, : self.height, : self.width]
        rows = [pixels(image), self.decoded(code).sigmoid(), shown.expand_as(image)]
        common = self.codebook.counts.argsort(descending=True)[:64]
        flat = self.codebook.vectors[common][:, :, None, None].expand(-1, -1, *self.grid[1:])
        middle = self.decoded(flat).sigmoid()[:, :, self.height // 2 - 8 :, self.width // 2 - 8 :][:, :, :16, :16]
        columns = min(16, len(middle))
        codes = [row for row in middle.split(columns) if len(row) == columns]
        return {"reconstructions": tile(rows, self.spec.channels), "codebook": tile(codes, self.spec.channels)}


def straight_through(z: Float[Tensor, "*B"], code: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """``code``, with the gradient passed on to ``z`` as it is."""
    return z + (code - z).detach()
