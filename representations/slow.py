"""Slow feature analysis (Wiskott and Sejnowski 2002, "Slow feature analysis: unsupervised learning of invariances").

Functions y_j of a frame that change the least from step to step, under unit variance and without correlation:

    minimise  slowness_j = E (y_j(t+1) - y_j(t))^2,   E y_j = 0,  E y_j^2 = 1,  E y_i y_j = 0

0 never changes; 2 says no more about the next frame than about any other. Let h be the frame's numbers, and z the same
whitened. Then y = R^T z, R the eigenvectors of E (z(t+1) - z(t)) (z(t+1) - z(t))^T, smallest eigenvalue first. This
solves the generalised eigenproblem A w = slowness B w of the covariances A of changes and B of values. No pair lies
across the end of an episode.

h are the ``components`` strongest directions of frames (PCA); with ``quadratic`` = Q > 0 also all products of two of
the first Q, the paper's expansion.

``encode`` returns y (B, ``features``), the slowest first; directions of no variance come last and are 0.

Differs from the paper: quadratic is off at first: products of 32 directions more need more frames than are stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Obs
from representations.base import Config, Phase, Representation, State, solving
from representations.collect import FIRST
from representations.linear import FRAMES, flat_pixels, whitening
from representations.nets.images import tile
from representations.scikit import some_rows


@dataclass(frozen=True)
class SlowConfig(Config):
    components: int = 128
    """Directions of frames, the strongest."""
    quadratic: int = 0
    """Q, directions whose products are taken, too: Q (Q + 1) / 2 more numbers."""
    features: int = 32
    """Features, the slowest."""

    def __post_init__(self) -> None:
        self.at_least(components=1, quadratic=0, features=1)
        for name in ("quadratic", "features"):
            if getattr(self, name) > self.components:
                raise ValueError(f"{name}={getattr(self, name)}: give at most components={self.components}")


def slowest(
    now: Float[Tensor, "n H"], then: Float[Tensor, "n H"], count: int, generator: torch.Generator
) -> tuple[Float[Tensor, " H"], Float[Tensor, "F H"], Float[Tensor, " F"]]:
    """The F = ``count`` slowest directions of data whose row i of ``then`` follows row i of ``now``.

    Returns:
        Mean of the data; directions w, of unit variance, 0 beyond the rank; their slowness.
    """
    both = torch.cat([now, then])
    white = whitening(both, min(both.shape), generator)
    live = white.directions[white.directions.any(1)].double()
    change = (then - now).double() @ live.T
    slowness, vectors = torch.linalg.eigh(change.T @ change / len(change))
    kept = min(count, len(live))
    directions = torch.zeros(count, both.shape[1], device=both.device, dtype=torch.double)
    directions[:kept] = (vectors.T @ live)[:kept]
    return white.mean, directions.to(both), slowness[:kept].to(both)


class Slow(Representation):
    """See the module docstring."""

    Config = SlowConfig
    modes = ("frozen", "finetune")
    closed_form = True
    has_loss = False
    window = 2

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        config = self.config
        size, expanded = math.prod(spec.image_shape), config.quadratic * (config.quadratic + 1) // 2
        self.features_dim = config.features
        self.directions = nn.Linear(size, config.components)
        self.slow = nn.Linear(config.components + expanded, config.features)
        self.register_buffer("mean", torch.zeros(size))
        self.mean: Tensor
        first, second = torch.triu_indices(config.quadratic, config.quadratic).unbind()
        self.register_buffer("first_factor", first, persistent=False)
        self.register_buffer("second_factor", second, persistent=False)
        self.first_factor: Tensor
        self.second_factor: Tensor

    def expanded(self, x: Float[Tensor, "B S"]) -> Float[Tensor, "B H"]:
        """Numbers h of frames' pixels: PCA, and products."""
        z = self.directions(x - self.mean)
        return torch.cat([z, z[:, self.first_factor] * z[:, self.second_factor]], 1)

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        x = flat_pixels(obs["image"])
        with torch.autocast(x.device.type, enabled=False):  # whitening enlarges what bfloat16 rounds
            return self.slow(self.expanded(x)), state

    def phases(self) -> list[Phase]:
        return [solving("slow", list(self.parameters()), self.fit)]

    def fit(self, frames: Obs, generator: torch.Generator) -> dict[str, Tensor]:
        """Take all directions from stored windows of two frames."""
        unbroken = (~frames[FIRST][:, 1]).nonzero().squeeze(1)
        image = frames["image"][some_rows(unbroken, FRAMES // 2, generator)]
        now, then = flat_pixels(image[:, 0]), flat_pixels(image[:, 1])
        white = whitening(torch.cat([now, then]), self.config.components, generator)
        self.mean.copy_(white.mean)
        self.directions.weight.copy_(white.directions)
        self.directions.bias.zero_()
        mean, directions, slowness = slowest(self.expanded(now), self.expanded(then), self.features_dim, generator)
        self.slow.weight.copy_(directions)
        self.slow.bias.copy_(-directions @ mean)
        return {"explained": white.explained, "slowness": slowness.mean(), "slowest": slowness.min()}

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``patterns``: change of a frame by a unit of each of the 16 slowest features, products left out.

        Grey is 0, the largest value of each is at black or white.
        """
        linear = self.slow.weight[:, : self.config.components]
        rows = torch.linalg.pinv(linear @ self.directions.weight).T[:16]
        shown = rows / rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / 2 + 0.5
        grid = [row for row in shown.unflatten(1, self.spec.image_shape).split(min(8, len(shown)))]
        return {"patterns": tile([row for row in grid if len(row) == len(grid[0])], self.spec.channels)}
