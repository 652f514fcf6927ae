"""Masked autoencoder (He et al. 2022, "Masked autoencoders are scalable vision learners").

A frame is cut into patches of 8x8 pixels, and 3 of 4 are hidden. A small vision transformer reads the others alone; a
lighter one gets its tokens back at their places, a learnt token at the hidden ones, and must say what these show:

    loss = mean over hidden patches and their numbers of  (decoded - (x - mean) / sqrt(var + 0.0001))^2,

mean and variance those of the patch's own 64 C numbers in [0, 1], so that a patch's texture counts, not its brightness.
The loss is 1 where the mean patch is guessed, less where patches are plain.

``accuracy`` is the part of the targets' sum of squares that is explained, cut off at 0; chance is 0: a guess
of each patch's own mean, which is 0 in the targets, explains nothing.

``encode`` returns the mean of the encoder's tokens (128 numbers), all patches visible; the decoder is dropped.

Sizes: encoder of 4 blocks of width 128 and 4 heads, decoder of 1 block of width 64 and 2 heads. At 64x64 there are 64
tokens: 50 M multiply-adds to encode a frame, ten times Nature's, and a third of that to train on one.

Differs from the paper: a network this small; no class token; the hidden patches are drawn one number for each sample;
0.0001 (1e-6 there) keeps flat patches, of which games are full, from becoming noise of unit size; Adam.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.base import Config, Heads, Loss, Mode, Phase, Representation, State
from representations.feature_metrics import feature_std
from representations.nets.images import pixels, tile

PATCH = 8
"""Side of a patch in pixels."""
FLAT = 1e-4
"""Added to a patch's variance, of pixels in [0, 1]: 2.5 of 255 grey levels, squared."""


def patchify(image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N P"]:
    """Patches, row by row, of an image whose border is repeated up to a multiple of 8 pixels; P = 64 C."""
    H, W = image.shape[2:]
    padded = F.pad(image, (0, -W % PATCH, 0, -H % PATCH), mode="replicate")
    return F.pixel_unshuffle(padded, PATCH).flatten(2).transpose(1, 2)


def unpatchify(patches: Float[Tensor, "B N P"], height: int, width: int) -> Float[Tensor, "B C H W"]:
    """Image of this size of its patches."""
    grid = (-(-height // PATCH), -(-width // PATCH))
    return F.pixel_shuffle(patches.transpose(1, 2).unflatten(2, grid), PATCH)[:, :, :height, :width]


def positions(rows: int, columns: int, width: int) -> Float[Tensor, "N width"]:
    """Sines and cosines of each token's row, then of its column, at wavelengths from 2 pi to 20,000 pi tokens."""
    rates = 10_000.0 ** -(torch.arange(width // 4) / (width // 4))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.flatten()[:, None] * rates for place in (y, x)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)


def normalised(patches: Float[Tensor, "B N P"]) -> Float[Tensor, "B N P"]:
    """Patches less their own mean, over their own standard deviation."""
    variance, mean = torch.var_mean(patches, 2, correction=0, keepdim=True)
    return (patches - mean) / (variance + FLAT).sqrt()


class Block(nn.Module):
    """Block of a transformer that normalises first: attention among tokens, then a hidden layer four times as wide."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        inputs = self.query_key_value(self.before_attention(tokens))
        query, key, value = inputs.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.out(attended)
        updated: Tensor = tokens + self.mlp(self.before_mlp(tokens))
        return updated


class Transformer(nn.Module):
    """Linear layer, fixed positions, blocks, LayerNorm."""

    def __init__(self, inputs: int, grid: tuple[int, int], width: int, blocks: int, heads: int):
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.place: Tensor
        self.register_buffer("place", positions(*grid, width), persistent=False)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width)

    def forward(
        self, tokens: Float[Tensor, "B n P"], index: Int[Tensor, "B n"] | None = None
    ) -> Float[Tensor, "B n D"]:
        """Tokens of the patches number ``index`` of each image; None: of all, in order."""
        place = self.place if index is None else self.place[index]
        result: Tensor = self.norm(self.blocks(self.embed(tokens) + place))
        return result


@dataclass(frozen=True)
class MaeConfig(Config):
    hidden_fraction: float = 0.75
    """Fraction of patches that are hidden, the paper's."""
    width: int = 128
    """Size of the encoder's tokens, a multiple of 16; the features."""
    blocks: int = 4
    """Blocks of the encoder."""
    learning_rate: float = 5e-4
    """Adam, pre-training."""
    batch: int = 128
    """Frames per optimizer step offline."""

    def __post_init__(self) -> None:
        self.at_least(hidden_fraction=0, width=16, blocks=1, learning_rate=0, batch=1)
        if self.width % 16:
            raise ValueError(f"width={self.width}: give a multiple of 16, for four heads and positions")
        if not 0 < self.hidden_fraction < 1:
            raise ValueError(f"hidden_fraction={self.hidden_fraction}: give a fraction between 0 and 1")


class Mae(Representation):
    """See the module docstring."""

    Config = MaeConfig
    default_mode: ClassVar[Mode] = "frozen"
    pretext = True

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        C, H, W = spec.image_shape
        numbers, width = C * PATCH**2, self.config.width
        grid = (-(-H // PATCH), -(-W // PATCH))
        self.tokens = grid[0] * grid[1]
        self.encoder = Transformer(numbers, grid, width, self.config.blocks, heads=4)
        self.decoder = Transformer(width, grid, width // 2, 1, heads=2)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.patches = nn.Linear(width // 2, numbers)
        self.features_dim = width

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        tokens = self.encoder(patchify(pixels(obs["image"])))
        return tokens.to(self.mask_token.dtype).mean(1), state

    def shuffled(self, batch: int, generator: torch.Generator) -> Int[Tensor, "B N"]:
        """Numbers of the patches in a random order of each sample; the first ``visible`` of them are."""
        draws = torch.rand(batch, self.tokens, generator=generator, device=generator.device)
        return draws.argsort(1)

    @property
    def visible(self) -> int:
        """Patches that are not hidden, at least one."""
        hidden_fraction: float = self.config.hidden_fraction
        return max(1, round(self.tokens * (1 - hidden_fraction)))

    def reconstruct(
        self, patches: Float[Tensor, "B N P"], order: Int[Tensor, "B N"]
    ) -> tuple[Float[Tensor, "B N P"], Float[Tensor, "B n D"]]:
        """All patches decoded, in their own order, and the tokens of the visible ones."""
        index = order[:, : self.visible]
        seen = self.encoder(patches.take_along_dim(index[:, :, None], 1), index)
        hidden = self.mask_token.to(seen.dtype).expand(len(seen), self.tokens - self.visible, -1)
        tokens = torch.cat([seen, hidden], 1).take_along_dim(order.argsort(1)[:, :, None], 1)
        return self.patches(self.decoder(tokens)).float(), seen

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        patches = patchify(pixels(flatten(steps.obs)["image"]))
        order = self.shuffled(len(patches), generator)
        decoded, seen = self.reconstruct(patches, order)
        hidden = order[:, self.visible :, None]
        target = normalised(patches.float()).take_along_dim(hidden, 1)
        loss = F.mse_loss(decoded.take_along_dim(hidden, 1), target)
        accuracy = (1 - loss.detach() / target.square().mean().clamp(min=1e-8)).clamp(min=0)
        return loss, {"loss": loss.detach(), "accuracy": accuracy, "feature_std": feature_std(seen.mean(1))}

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        rate, batch = self.config.learning_rate, self.config.batch
        return [replace(fit, name="mae", learning_rate=rate, batch=batch, splits=True)]

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``reconstructions``: frames, below each its visible patches, and these with the hidden ones decoded.

        A decoded patch takes the true one's mean and deviation, which the network is not asked for.
        """
        image = obs["image"]
        patches = patchify(pixels(image)).float()
        order = self.shuffled(len(patches), generator)
        variance, mean = torch.var_mean(patches, 2, correction=0, keepdim=True)
        decoded = (self.reconstruct(patches, order)[0] * (variance + FLAT).sqrt() + mean).clamp(0, 1)
        hidden = (order.argsort(1) >= self.visible)[:, :, None]
        rows = [patches, patches.masked_fill(hidden, 0.5), torch.where(hidden, decoded, patches)]
        shown = [unpatchify(row, *image.shape[2:]) for row in rows]
        return {"reconstructions": tile(shown, self.spec.channels)}
