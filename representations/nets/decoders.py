"""Encoder and decoder of images that latents lie between."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from representations.nets.trunks import Shape, make_trunk


class GaussianEncoder(nn.Module):
    """Trunk with a dense layer of 256, then the mean and log-variance of q(z|x)."""

    def __init__(self, trunk: str, shape: Shape, latents: int):
        super().__init__()
        self.trunk = make_trunk(trunk, shape, 256)
        self.mean = nn.Linear(256, latents)
        self.log_variance = nn.Linear(256, latents)

    def forward(self, image: UInt8[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"]]:
        hidden = self.trunk(image)
        with torch.autocast(hidden.device.type, enabled=False):  # a KL of bfloat16 numbers would be noise
            hidden = hidden.to(self.mean.weight.dtype)
            return self.mean(hidden), self.log_variance(hidden)


class Decoder(nn.Module):
    """z (B, latents) -> logits (B, C, H, W): dense 256, dense, transposed convolutions k4 s2 of 64 and 32, then x4.

    The last factor of 4 mirrors Nature's stride 4 as a 3x3 convolution and a pixel shuffle (Shi et al. 2016), the same
    map as a transposed convolution of kernel 12 and stride 4, at twice the speed here. Sides that are no multiple of
    16 are built larger and cropped.
    """

    def __init__(self, latents: int, shape: Shape):
        super().__init__()
        channels, self.height, self.width = shape
        h, w = -(-self.height // 16), -(-self.width // 16)
        self.dense = nn.Sequential(
            nn.Linear(latents, 256), nn.ReLU(inplace=True), nn.Linear(256, 64 * h * w), nn.ReLU(inplace=True)
        )
        self.grid = (64, h, w)
        self.body = nn.Sequential(
            nn.ConvTranspose2d(64, 64, 4, 2, 1),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, channels * 16, 3, padding=1),
            nn.PixelShuffle(4),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B C H W"]:
        grid = self.dense(z).unflatten(1, self.grid).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.body(grid)[:, :, : self.height, : self.width]
        return logits
