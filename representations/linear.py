"""PCA and ICA of whole frames: the linear floor of every table.

x is a frame's D pixels in [0, 1], m their mean, v_k and l_k the eigenvectors and eigenvalues of their covariance:

    PCA   z_k = v_k^T (x - m) / sqrt(l_k),              k = 1..K, the largest l first: unit variance, uncorrelated
    ICA   s = R z,  R orthogonal, by FastICA (Hyvarinen 1999): maximise  sum_k (E log cosh s_k - E log cosh n)^2,
          n ~ N(0, 1): directions that are the least Gaussian

The best reconstruction from K numbers is m + sum_k sqrt(l_k) z_k v_k. Its error, summed over pixels and averaged over
frames, is the sum of the eigenvalues that were dropped. ICA's is the same.

``encode`` returns z, or s (B, K). Directions whose variance is rounding (below 1e-6 of the first) give 0.

Differs from the paper: eigenvectors by a randomised solver (Halko et al. 2011) on at most 8,192 frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Obs
from representations.base import Config, Phase, Representation, State, solving
from representations.nets.images import tile
from representations.scikit import estimator, fit, seed_from, some_rows

FRAMES = 8192
"""Frames that a fit reads at most: 400 MB as floats at 64x64x3."""
POWER = 4
"""Power iterations of the randomised solver, half the time of scikit-learn's 7. On frames of 192 independent blocks,
whose spectrum is flat, 128 directions then explain 0.708 of the variance (0.716 with 7)."""
ROUNDING = 1e-6
"""Variance below which a direction is dropped, relative to the largest."""


def flat_pixels(image: UInt8[Tensor, "n C H W"]) -> Float[Tensor, "n D"]:
    """Pixels in [0, 1] in (C, H, W) order, float32 under autocast, too: means are subtracted from them."""
    return image.flatten(1).float() / 255


@dataclass(frozen=True)
class Whitening:
    """Mean and K whitening directions of data (n, D)."""

    mean: Float[Tensor, " D"]
    directions: Float[Tensor, "K D"]
    """v_k / sqrt(l_k); 0 where l_k is rounding."""
    variances: Float[Tensor, " K"]
    """l_k, the largest first; 0 beyond the rank of the data."""
    explained: Float[Tensor, ""]
    """Fraction of the total variance that lies along the K directions."""

    def __call__(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n K"]:
        """Rows on the K directions."""
        return (x - self.mean) @ self.directions.T


def whitening(x: Float[Tensor, "n D"], components: int, generator: torch.Generator) -> Whitening:
    """PCA of ``x`` by scikit-learn, K = ``components``."""
    count, kept = len(x), min(components, *x.shape)
    total = x.var(0, correction=0).sum()
    pca = estimator("decomposition", "PCA")(kept, iterated_power=POWER, random_state=seed_from(generator))
    if total > 0:  # of frames that are all alike, PCA divides by 0
        fit(pca, x)
        variances, vectors = pca.explained_variance_ * ((count - 1) / count), pca.components_
    else:
        variances, vectors = np.zeros(kept, np.float32), np.zeros((kept, x.shape[1]), np.float32)
    values = torch.zeros(components, device=x.device)
    values[:kept] = torch.from_numpy(variances)
    directions = torch.zeros(components, x.shape[1], device=x.device)
    directions[:kept] = torch.from_numpy(vectors)
    scale = torch.where(values > ROUNDING * values[0], values.clamp(min=1e-30).rsqrt(), 0.0)
    return Whitening(x.mean(0), directions * scale[:, None], values, values.sum() / total.clamp(min=1e-30))


@dataclass(frozen=True)
class LinearConfig(Config):
    components: int = 64
    """K, as many as the VAE's latents; 32 to 256 are usual. Whitening makes weak directions as long as strong ones: on
    noisy frames a read-out from few labels was worse with 128."""

    def __post_init__(self) -> None:
        self.at_least(components=1)


class Pca(Representation):
    """Whitened principal components."""

    Config = LinearConfig
    modes = ("frozen", "finetune")
    closed_form = True
    has_loss = False

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.features_dim = self.config.components
        self.projection = nn.Linear(math.prod(spec.image_shape), self.features_dim)
        self.register_buffer("mean", torch.zeros(self.projection.in_features))
        self.mean: Tensor

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        x = flat_pixels(obs["image"]) - self.mean
        with torch.autocast(x.device.type, enabled=False):  # whitening enlarges what bfloat16 rounds
            return self.projection(x), state

    def phases(self) -> list[Phase]:
        return [solving(self.name, list(self.parameters()), self.fit)]

    def fit(self, frames: Obs, generator: torch.Generator) -> dict[str, Tensor]:
        """Take mean and directions from stored frames."""
        x = flat_pixels(some_rows(frames["image"], FRAMES, generator))
        white = whitening(x, self.features_dim, generator)
        rotation, metrics = self.rotation(white(x), generator)
        self.mean.copy_(white.mean)
        self.projection.weight.copy_(rotation.to(x) @ white.directions)
        self.projection.bias.zero_()
        return {"explained": white.explained, **metrics}

    def rotation(
        self, z: Float[Tensor, "n K"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "K K"], dict[str, Tensor]]:
        """Orthogonal matrix that turns whitened rows into features, and metrics of its fit."""
        return torch.eye(z.shape[1]), {}

    def patterns(self) -> Float[Tensor, "D K"]:
        """Change of the reconstruction by a unit of each feature; for PCA sqrt(l_k) v_k."""
        patterns: Tensor = torch.linalg.pinv(self.projection.weight)
        return patterns

    def reconstruct(self, features: Float[Tensor, "n K"]) -> Float[Tensor, "n C H W"]:
        """Frames from features."""
        x = self.mean + (features - self.projection.bias) @ self.patterns().T
        frames: Tensor = x.unflatten(1, self.spec.image_shape)
        return frames

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Pictures ``reconstructions`` (frames, and below each its own) and ``patterns``.

        Patterns: the first 16, grey is 0, each with its largest value at black or white.
        """
        image = obs["image"]
        decoded = self.reconstruct(self.encode(obs)[0]).clamp(0, 1)
        columns = self.patterns().T[:16]
        shown = columns / columns.abs().amax(1, keepdim=True).clamp(min=1e-12) / 2 + 0.5
        rows = list(shown.unflatten(1, self.spec.image_shape).split(8))
        rows = rows if len(rows[-1]) == len(rows[0]) else rows[:-1]
        return {
            "reconstructions": tile([image.float() / 255, decoded], self.spec.channels),
            "patterns": tile(rows, self.spec.channels),
        }


@dataclass(frozen=True)
class IcaConfig(LinearConfig):
    iterations: int = 200
    """FastICA's at most; scikit-learn's default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(iterations=1)


class Ica(Pca):
    """Independent components of the whitened principal ones."""

    Config = IcaConfig

    def rotation(
        self, z: Float[Tensor, "n K"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "K K"], dict[str, Tensor]]:
        """FastICA, all directions at once; directions of no variance stay as they are."""
        K, live = z.shape[1], int((z.square().mean(0) > 0.5).sum())
        rotation = torch.eye(K)
        if live < 2:
            return rotation, {"iterations": torch.zeros(())}
        ica = estimator("decomposition", "FastICA")(
            whiten=False, fun="logcosh", max_iter=self.config.iterations, tol=1e-3, random_state=seed_from(generator)
        )
        fit(ica, z[:, :live].double())
        rotation[:live, :live] = torch.from_numpy(ica.components_)
        return rotation, {"iterations": torch.tensor(float(ica.n_iter_))}
