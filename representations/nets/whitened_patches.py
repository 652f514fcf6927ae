"""Whitened patches of images, as k-means and sparse coding read them (Coates, Lee and Ng 2011).

A patch x is a square of ``side`` pixels of all channels, P numbers in [0, 1]; one begins every ``stride`` pixels:

    y = (x - mean x) / sqrt(var x + (10 / 255^2))        contrast normalised: brightness is lost, colours are not
    z = W (y - m),  W = V (E + 0.1)^(-1/2) V^T           ZCA; m, V, E: mean, eigenvectors and eigenvalues over patches

W is fitted to patches that are not flat: in a game's frames most have one colour all over, and would take most of the
centres of a fit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from representations.nets.trunks import Shape

CONTRAST = 10 / 255**2
"""Added to a patch's variance; the paper's 10 for pixels in 0..255."""
WHITENING = 0.1
"""Added to an eigenvalue, the paper's."""
FLAT = 1e-3
"""Mean square of y about the means of its channels below which a patch is flat."""
CHUNK = 64
"""Images cut at once in a fit."""


class WhitenedPatches(nn.Module):
    """Patches of images: uint8 (B, C, H, W) -> z (B, n, P), n places row by row, float32.

    Where the stride does not reach the last pixels the border is repeated. Before ``fit`` W is the identity.
    """

    def __init__(self, shape: Shape, side: int, stride: int):
        super().__init__()
        C, H, W = shape
        self.shape, self.side, self.stride = shape, side, stride
        self.border = (0, -(W - side) % stride, 0, -(H - side) % stride)
        self.grid = ((H + self.border[3] - side) // stride + 1, (W + self.border[1] - side) // stride + 1)
        self.size = C * side**2
        self.matrix = nn.Parameter(torch.eye(self.size))
        self.register_buffer("mean", torch.zeros(self.size))
        self.mean: Tensor

    def normalised(self, image: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B n P"]:
        """Contrast-normalised y of every place."""
        x = F.pad(image.float() / 255, self.border, mode="replicate")
        patches = F.unfold(x, self.side, stride=self.stride).transpose(1, 2)
        centred = patches - patches.mean(2, keepdim=True)
        y: Tensor = centred * (centred.square().mean(2, keepdim=True) + CONTRAST).rsqrt()
        return y

    def forward(self, image: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B n P"]:
        y = self.normalised(image).flatten(0, 1)
        z: Tensor = torch.addmm(-self.mean @ self.matrix, y, self.matrix).unflatten(0, (len(image), -1))
        return z

    def quadrants(self, codes: Float[Tensor, "B n K"]) -> Float[Tensor, "B F"]:
        """Mean (B, 4 K) of each code over the four quadrants; where the grid is odd they share its middle."""
        maps = codes.transpose(1, 2).unflatten(2, self.grid)
        return F.adaptive_avg_pool2d(maps, 2).flatten(1)

    @torch.no_grad()
    def fit(self, image: UInt8[Tensor, "N C H W"], count: int, generator: torch.Generator) -> Float[Tensor, "n P"]:
        """Take m and W from about ``count`` random patches that are not flat; returns their z."""
        each = -(-count // len(image))
        drawn = []
        for chunk in image.split(CHUNK):
            y = self.normalised(chunk.to(self.mean.device))
            draws = torch.rand(y.shape[:2], generator=generator, device=generator.device).to(y.device)
            by_channel = y.unflatten(2, (self.shape[0], -1))
            textured = by_channel.var(3, correction=0).mean(2) > FLAT
            order = (draws + textured).argsort(1, descending=True)[:, :each]  # flat patches come last
            picked = y.gather(1, order.unsqueeze(2).expand(-1, -1, self.size))
            drawn.append(picked[textured.gather(1, order)])
        y = torch.cat(drawn) if any(len(rows) for rows in drawn) else y.flatten(0, 1)
        self.mean.copy_(y.mean(0))
        covariance = (y - self.mean).T.double() @ (y - self.mean).double() / len(y)
        values, vectors = torch.linalg.eigh(covariance)
        self.matrix.copy_((vectors * (values.clamp(min=0) + WHITENING).rsqrt()) @ vectors.T)
        return (y - self.mean) @ self.matrix

    def images(self, z: Float[Tensor, "K P"]) -> Float[Tensor, "K C side side"]:
        """Pictures of patches: z without the whitening, each scaled to [0, 1] about its own grey."""
        y = z @ torch.linalg.pinv(self.matrix)
        scaled = y / y.abs().amax(1, keepdim=True).clamp(min=1e-12) / 2 + 0.5
        pictures: Tensor = scaled.unflatten(1, (self.shape[0], self.side, self.side))
        return pictures


def contact_rows(images: Float[Tensor, "K C h w"], columns: int = 16) -> list[Tensor]:
    """Rows of small images with a white border of one pixel; what does not fill a row is left out."""
    framed = F.pad(images, (1, 1, 1, 1), value=1.0)
    columns = min(columns, len(framed))
    return [row for row in framed.split(columns) if len(row) == columns]
