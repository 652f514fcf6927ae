"""A small gated PixelCNN (van den Oord et al. 2016) of grey frames of few levels: log p(x) = sum_i log p(x_i | x_<i).

Two stacks, so that no pixel above is out of sight: the vertical one sees the rows above, the horizontal one the pixels
to the left and, through a 1x1 convolution, the vertical stack shifted down by a row. No pixel sees itself.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class GatedLayer(nn.Module):
    """(vertical, horizontal) -> the same, each tanh(a) * sigmoid(b); ``first`` hides the pixel from itself."""

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
        ahead = self.out(_gate(columns + self.join(shifted)))
        return _gate(rows), ahead if self.first else horizontal + ahead


def _gate(both: Tensor) -> Tensor:
    value, gate = both.chunk(2, 1)
    return value.tanh() * gate.sigmoid()


class PixelCnn(nn.Module):
    """Levels (B, H, W) int64 in 0 .. levels - 1 -> logits (B, levels, H, W)."""

    def __init__(self, levels: int, channels: int, layers: int):
        super().__init__()
        self.levels = levels
        self.layers = nn.ModuleList(GatedLayer(channels if i else 1, channels, first=not i) for i in range(layers))
        self.head = nn.Conv2d(channels, levels, 1)

    def forward(self, image: Tensor) -> Tensor:
        vertical = horizontal = image.unsqueeze(1).to(self.head.weight.dtype) * (2 / (self.levels - 1)) - 1
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal)
        return self.head(F.relu(horizontal))


def grey_levels(seen: Tensor, side: int, levels: int) -> Tensor:
    """uint8 frames (B, C, H, W) -> (B, side, side) int64: mean of the channels, mean over areas, cut into levels."""
    grey = F.adaptive_avg_pool2d(seen.float().mean(1, keepdim=True), side).squeeze(1)
    return (grey * (levels / 256)).long().clamp_(max=levels - 1)


def negative_log_likelihood(logits: Tensor, image: Tensor) -> Tensor:
    """(B,) nats a frame, summed over pixels."""
    return F.cross_entropy(logits, image, reduction="none").sum((1, 2))
