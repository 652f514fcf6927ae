"""A small gated PixelCNN (van den Oord et al. 2016) of grey frames of few levels: log p(x) = sum_i log p(x_i | x_<i).

Two stacks leave no pixel above unseen: the vertical one covers the rows above, the horizontal one the pixels to the
left and, through a 1x1 convolution, the vertical stack shifted down by a row. No pixel enters its own prediction.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn


class GatedLayer(nn.Module):
    """Both stacks by one layer, each tanh(a) * sigmoid(b); ``first`` hides the pixel from itself."""

    def __init__(self, before: int, channels: int, first: bool):
        super().__init__()
        self.first = first
        self.above = nn.Conv2d(before, 2 * channels, (2, 3))
        self.left = nn.Conv2d(before, 2 * channels, (1, 2))
        self.join = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, vertical: Tensor, horizontal: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.above(F.pad(vertical, (1, 1, 1, 0)))  # rows i - 1 and i
        shifted = F.pad(rows, (0, 0, 1, 0))[:, :, :-1]  # so that row i holds rows below i alone
        # Columns j - 2 and j - 1 of the pixels, later j - 1 and j of what came of them
        columns = self.left(F.pad(horizontal, (2, -1) if self.first else (1, 0)))
        gated = self.out(_gate(columns + self.join(shifted)))
        return _gate(rows), gated if self.first else horizontal + gated


def _gate(both: Tensor) -> Tensor:
    value, gate = both.chunk(2, 1)
    return value.tanh() * gate.sigmoid()


class PixelCnn(nn.Module):
    """Logits of every pixel's level, from levels in 0 .. ``levels`` - 1."""

    def __init__(self, levels: int, channels: int, layers: int):
        super().__init__()
        self.levels = levels
        self.layers = nn.ModuleList(GatedLayer(channels if i else 1, channels, first=not i) for i in range(layers))
        self.head = nn.Conv2d(channels, levels, 1)

    def forward(self, image: Int[Tensor, "B H W"]) -> Float[Tensor, "B levels H W"]:
        vertical = horizontal = image.unsqueeze(1).to(self.head.weight.dtype) * (2 / (self.levels - 1)) - 1
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal)
        logits: Tensor = self.head(F.relu(horizontal))
        return logits


def grey_levels(frame: UInt8[Tensor, "B C H W"], side: int, levels: int) -> Int[Tensor, "B {side} {side}"]:
    """Small grey frames: mean of the channels, mean over areas, cut into levels."""
    grey = F.adaptive_avg_pool2d(frame.float().mean(1, keepdim=True), side).squeeze(1)
    return (grey * (levels / 256)).long().clamp_(max=levels - 1)


def negative_log_likelihood(logits: Float[Tensor, "B levels H W"], image: Int[Tensor, "B H W"]) -> Float[Tensor, " B"]:
    """Nats of each frame, summed over pixels."""
    return F.cross_entropy(logits, image, reduction="none").sum((1, 2))
