"""K-means on patches (Coates, Lee and Ng 2011, "An analysis of single-layer networks in unsupervised learning").

K centres c_k of whitened patches z (``nets.whitened_patches``). A patch is coded by the triangle function: how much
nearer than usual each centre is,

    f_k(z) = max(0, mean_j d_j - d_k),   d_k = ||z - c_k||,

about half of them 0. Each code is averaged over the four quadrants of the frame.

``encode`` returns these averages (B, 4 K). The centres minimise the mean over patches of min_k ||z - c_k||^2:
scikit-learn's MiniBatchKMeans, then Lloyd's steps over all patches, which never raise it.

Differs from the paper: 128 centres (1,600 there and up to 4,000), so that features are as many as a trunk's; a stride
of 2 pixels (1 there), a quarter of the work; averages for sums; flat patches take no part in the fit, as they make up
most of a game's frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Obs
from representations.base import Config, Phase, Representation, State, solving
from representations.nets.images import tile
from representations.nets.whitened_patches import WhitenedPatches, contact_rows
from representations.scikit import estimator, fit, seed_from, some_rows

FRAMES = 4096
"""Frames that a fit takes patches from at most."""
LLOYD = 10
"""Lloyd's steps at the end."""


@dataclass(frozen=True)
class PatchConfig(Config):
    side: int = 6
    """Pixels of a patch's side; the paper's."""
    stride: int = 2
    """Pixels between patches; 1 in the paper. With 3 a read-out on the toy ``shape`` fell from R2 0.44 to 0.09;
    with 2 a frame takes 1.8 ms of a core (0.13 for the trunk 'nature')."""
    patches: int = 100_000
    """Patches that the fit reads."""

    def __post_init__(self) -> None:
        self.at_least(side=2, stride=1, patches=1)


@dataclass(frozen=True)
class KMeansConfig(PatchConfig):
    centres: int = 128
    """K; features are four times as many."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(centres=1)


class PatchCoded(Representation):
    """Codes of whitened patches, averaged over quadrants: the base of ``KMeans`` and sparse coding."""

    modes = ("frozen", "finetune")
    closed_form = True
    has_loss = False
    at_once = 8
    """Images coded at once; of more, codes no longer fit into a processor's cache, and take twice as long."""

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        if min(spec.image_shape[1:]) < 2 * self.config.side:
            raise UsageError(f"{self.name}: patches of {self.config.side} pixels need images of twice that side")
        self.patches = WhitenedPatches(spec.image_shape, self.config.side, self.config.stride)

    def codes(self, z: Float[Tensor, "n P"]) -> Float[Tensor, "n K"]:
        """Code of each whitened patch."""
        raise NotImplementedError

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        image = obs["image"]
        with torch.autocast(image.device.type, enabled=False):  # differences of distances are small
            return torch.cat([self.pooled(images) for images in image.split(self.at_once)]), state

    def pooled(self, image: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """Codes of the patches of images, averaged over quadrants."""
        z = self.patches(image)
        codes: Tensor = self.codes(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        return self.patches.quadrants(codes)

    def phases(self) -> list[Phase]:
        return [solving(self.name, list(self.parameters()), self.fit)]

    def fit(self, frames: Obs, generator: torch.Generator) -> dict[str, Tensor]:
        """Take all parameters from stored frames."""
        image = some_rows(frames["image"], FRAMES, generator)
        return self.fit_codes(self.patches.fit(image, self.config.patches, generator), generator)

    def fit_codes(self, z: Float[Tensor, "n P"], generator: torch.Generator) -> dict[str, Tensor]:
        """Take what ``codes`` reads from whitened patches."""
        raise NotImplementedError


def squared_distances(z: Float[Tensor, "n P"], centres: Float[Tensor, "K P"]) -> Float[Tensor, "n K"]:
    """||z - c_k||^2."""
    return torch.addmm(centres.square().sum(1), z, centres.T, alpha=-2) + z.square().sum(1, keepdim=True)


def lloyd(
    z: Float[Tensor, "n P"], centres: Float[Tensor, "K P"]
) -> tuple[Float[Tensor, "K P"], Float[Tensor, ""], Float[Tensor, ""]]:
    """One step: each centre becomes the mean of the patches that are nearest to it, one without any stays.

    Returns:
        The new centres; objective and fraction of centres with a patch, both of the old centres.
    """
    nearest, owner = squared_distances(z, centres).min(1)
    counts = torch.bincount(owner, minlength=len(centres)).to(z.dtype)
    sums = torch.zeros_like(centres).index_add_(0, owner, z)
    moved = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return moved, nearest.clamp(min=0).mean(), (counts > 0).float().mean()


class KMeans(PatchCoded):
    """See the module docstring."""

    Config = KMeansConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.centres = nn.Parameter(torch.randn(self.config.centres, self.patches.size))
        self.features_dim = 4 * self.config.centres

    def codes(self, z: Float[Tensor, "n P"]) -> Float[Tensor, "n K"]:
        """Triangle code of each patch."""
        # The lower bound keeps the gradient finite where a patch lies on its centre.
        distance = squared_distances(z, self.centres).clamp(min=1e-6).sqrt()
        return (distance.mean(-1, keepdim=True) - distance).relu()

    def fit_codes(self, z: Float[Tensor, "n P"], generator: torch.Generator) -> dict[str, Tensor]:
        """Centres of the patches; fewer patches than centres are centres themselves, the rest stay as drawn."""
        count = min(len(z), self.config.centres)
        library = estimator("cluster", "MiniBatchKMeans")(count, n_init=1, random_state=seed_from(generator))
        fit(library, z)
        centres = torch.from_numpy(library.cluster_centers_).to(z)
        for _ in range(LLOYD):
            centres, objective, used = lloyd(z, centres)
        self.centres[:count] = centres
        return {
            "objective": objective,
            "explained": 1 - objective / (z - z.mean(0)).square().sum(1).mean(),
            "used": used,
        }

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``centres``: each as a patch, without the whitening."""
        return {"centres": tile(contact_rows(self.patches.images(self.centres)), self.spec.channels)}
