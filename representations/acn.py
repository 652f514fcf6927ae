"""ACN, associative compression network (Graves, Menick & van den Oord 2018, "Associative compression networks").

A VAE whose prior is made anew for every frame: what the frame's neighbours are already tell need not be coded.

    loss = KL(q(z|x) || r(z|c')) + E_q[-log p(x|z)],   nats per frame,      q(z|x) = N(c(x), s(x)^2)
    c' = the code of a random one of the K codes nearest to c(x) in a table with a row for each stored frame
    table[row of x] <- c(x),   after every optimizer step; rows begin as draws of N(0, I)

r is an MLP from one code to a Gaussian. No gradient reaches the table. With r = N(0, I) this is the VAE's loss.

A frame is no neighbour of itself, nor of those of the same episode near it, which would tell all: stored rows
``NUM_ENVS`` apart are of one environment, ``STRIDE`` steps apart, and the ``apart`` rows before and after a frame in
this count are left out. Frames that are not stored (an evaluation) take all rows; a module without a table takes the
other codes of the batch. ``encode`` returns c(x).

Differs from the paper: frames of games, so a convolutional decoder with Bernoulli pixels, where an autoregressive one
there forces the code to hold what is global; 64 latents (16 there); r is a single Gaussian. As costly as the VAE (5 M
multiply-adds to encode a frame at 64x64); the search of the table adds 2 M a frame for 32,768 rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.base import Heads, Loss, Phase, State
from representations.collect import NUM_ENVS
from representations.feature_metrics import feature_std
from representations.nets.decoders import Decoder, GaussianEncoder
from representations.nets.images import pixels, tile
from representations.nets.recurrent import kl
from representations.stored_rows import StoredRows
from representations.vae import LatentConfig, bernoulli_loss, draw


def nearest(
    codes: Float[Tensor, "B Z"], table: Float[Tensor, "N Z"], excluded: Int[Tensor, "B E"], count: int
) -> tuple[Int[Tensor, "B K"], Bool[Tensor, "B K"]]:
    """Rows of the table nearest to each code, nearest first, and False where there are too few that are not excluded.

    Args:
        excluded: rows that are no neighbours of each code.
        count: K, or the number of rows where that is smaller.
    """
    distances = table.square().sum(1) - 2 * codes @ table.T  # without |code|^2, which orders nothing
    distances.scatter_(1, excluded, torch.inf)
    values, rows = distances.topk(min(count, len(table)), largest=False)
    return rows, values.isfinite()


def near_rows(row: Int[Tensor, " B"], apart: int, rows: int) -> Int[Tensor, "B E"]:
    """The rows themselves, and the ``apart`` stored before and after each from the same environment."""
    offsets = NUM_ENVS * torch.arange(-apart, apart + 1, device=row.device)
    near = row.unsqueeze(1) + offsets
    return torch.where((near < 0) | (near >= rows), row.unsqueeze(1), near)


@dataclass(frozen=True)
class AcnConfig(LatentConfig):
    neighbours: int = 5
    """K; the paper's."""
    apart: int = 4
    """Stored frames before and after a frame, of the same environment, that are no neighbours: 32 steps each way."""
    hidden: int = 256
    """Units of r's two hidden layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(neighbours=1, apart=0, hidden=1)


class Acn(StoredRows):
    """Autoencoder whose prior is conditioned on the code of a similar frame."""

    Config = AcnConfig
    modes = ("frozen", "finetune")
    pretrain_steps = 30_000  # the VAE's

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        Z, hidden = self.config.latents, self.config.hidden
        self.encoder = GaussianEncoder(self.config.trunk, spec.image_shape, Z)
        self.decoder = Decoder(Z, spec.image_shape)
        self.prior = nn.Sequential(
            *(nn.Linear(Z, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 2 * Z))
        )
        self.features_dim = Z
        self.register_buffer("table", torch.zeros(0, Z))
        self.visited: tuple[Tensor, Tensor] | None = None
        """Stored rows of the last batch of pre-training, and their codes."""

    def prepare(self, frames: Obs) -> None:
        draws = torch.Generator().manual_seed(0)
        self.table = torch.randn(len(frames["image"]), self.features_dim, generator=draws).to(self.table.device)

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        return self.encoder(obs["image"])[0], state

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        return self.bound(flatten(steps.obs)["image"], steps.row, generator)[0]

    def bound(
        self, image: UInt8[Tensor, "B C H W"], row: Int[Tensor, " B"] | None, generator: torch.Generator
    ) -> tuple[Loss, Float[Tensor, "B Z"]]:
        """Negative evidence bound of frames, and their codes; ``row`` where they are stored ones."""
        mean, log_variance = self.encoder(image)
        z = draw(mean, log_variance, generator)
        neighbour = self.neighbour(mean.detach(), row, generator)
        divergence = kl(mean, log_variance, *self.prior_of(neighbour)).sum(1).mean()
        reconstruction = bernoulli_loss(self.decoder(z), pixels(image))
        metrics = {
            "reconstruction": reconstruction.detach(),
            "kl": divergence.detach(),
            "neighbour_distance": (neighbour - mean.detach()).square().sum(1).sqrt().mean(),
            "feature_std": feature_std(mean),
        }
        return (reconstruction + divergence, metrics), mean.detach()

    def prior_of(self, neighbour: Float[Tensor, "B Z"]) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"]]:
        """Mean and log-variance of r(z | neighbour)."""
        with torch.autocast(neighbour.device.type, enabled=False):
            mean, log_variance = self.prior(neighbour).chunk(2, 1)
            return mean, log_variance

    def neighbour(
        self, codes: Float[Tensor, "B Z"], row: Int[Tensor, " B"] | None, generator: torch.Generator
    ) -> Float[Tensor, "B Z"]:
        """The code of a random one of the K nearest, for each code."""
        table = self.table if len(self.table) else codes
        if not len(self.table):
            excluded = torch.arange(len(codes), device=codes.device).unsqueeze(1)
        elif row is None:
            excluded = torch.empty(len(codes), 0, dtype=torch.int64, device=codes.device)
        else:
            excluded = near_rows(row, self.config.apart, len(table))
        with torch.autocast(codes.device.type, enabled=False):
            rows, allowed = nearest(codes, table, excluded, self.config.neighbours)
        draws = torch.rand(len(codes), generator=generator, device=codes.device)
        choice = (draws * allowed.sum(1).clamp(min=1)).long()
        return table[rows.gather(1, choice.unsqueeze(1)).squeeze(1)]

    def phases(self) -> list[Phase]:
        def offline_loss(steps: Steps, generator: torch.Generator) -> Loss:
            result, codes = self.bound(flatten(steps.obs)["image"], steps.row, generator)
            if steps.row is not None:
                self.visited = steps.row, codes
            return result

        batch = self.frames_per_step(self.config)
        return [Phase("acn", list(self.parameters()), offline_loss, self.config.learning_rate, batch=batch)]

    def after_step(self) -> None:
        if self.visited is not None:
            rows, codes = self.visited
            self.table[rows] = codes.to(self.table)
            self.visited = None

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``reconstructions``: frames, what their codes decode to, and a neighbour's code, and r's mean."""
        image = obs["image"]
        mean = self.encoder(image)[0]
        neighbour = self.neighbour(mean, None, generator)
        rows = [torch.sigmoid(self.decoder(z).float()) for z in (mean, neighbour, self.prior_of(neighbour)[0])]
        return {"reconstructions": tile([pixels(image), *rows], self.spec.channels)}
