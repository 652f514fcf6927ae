"""Trunks: networks from an observation to one vector, which two or more methods use.

Sizes at 64x64x3: Nature 4.7 M multiply-adds and 0.90 M parameters, IMPALA 30.6 M and 0.62 M, Impoola 30.1 M and
0.11 M. Everything is channels-last in memory and takes any image size and number of channels that its strides allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from envs.registry import UsageError
from representations.nets.images import CODES, one_hot, pixels

Shape = tuple[int, ...]
"""(C, H, W) of one image, or (n,) of a vector."""
SMALLEST = 36
"""Least side of an image for Nature's strides, in pixels."""


def orthogonal(module: nn.Module, gain: float = math.sqrt(2)) -> None:
    """Orthogonal weights and zero biases throughout, as stable-baselines3 does for a features extractor."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Trunk(nn.Module):
    """Body, flatten, one dense layer, relu: (B, C, H, W) -> (B, width).

    ``forward`` takes uint8 images, or floats in [0, 1] where a loss must reach the pixels (DARLA's denoiser).
    """

    def __init__(self, body: nn.Sequential, shape: Shape, width: int):
        super().__init__()
        self.body = body
        with torch.no_grad():
            self.flat_dim = int(body(torch.zeros(1, *shape)).flatten(1).shape[1])
        self.dense = nn.Linear(self.flat_dim, width)
        self.width = width
        orthogonal(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def flat(self, image: Tensor) -> Float[Tensor, "B F"]:
        """Rectified output of the last convolution (B, flat_dim), flattened in (C, H, W) order."""
        if image.dtype == torch.uint8:
            image = pixels(image, self.dense.weight.dtype)
        flat: Tensor = self.body(image).flatten(1)
        return flat

    def forward(self, image: Tensor) -> Float[Tensor, "B D"]:
        return F.relu(self.dense(self.flat(image)), inplace=True)


class Nature(Trunk):
    """Mnih et al. 2015; parameters in the order and layout of stable-baselines3's NatureCNN.

    At 84x84, the published size, the two are equal. At 64x64 the published strides would never reach the last 4 rows
    and columns (where Breakout's paddle is); a convolution that does not fit is padded, so that every pixel counts.
    """

    def __init__(self, shape: Shape, width: int = 512):
        _check_image("nature", shape, SMALLEST)
        layers: list[nn.Module] = []
        before, sides = shape[0], shape[1:]
        for channels, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            padding = (_padding(sides[0], kernel, stride), _padding(sides[1], kernel, stride))
            layers += [nn.Conv2d(before, channels, kernel, stride, padding), nn.ReLU(inplace=True)]
            sides = tuple((side + 2 * pad - kernel) // stride + 1 for side, pad in zip(sides, padding, strict=True))
            before = channels
        super().__init__(nn.Sequential(*layers), shape, width)


def _padding(side: int, kernel: int, stride: int) -> int:
    """Least padding of both ends under which the last window reaches the last pixel."""
    return next(pad for pad in range(stride) if (side + 2 * pad - kernel) % stride <= pad)


class ResidualBlock(nn.Module):
    """Residual of two convolutions: x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        # Only the first relu must copy: x is still needed for the skip. A convolution does not keep its output for
        # the backward pass, so the rest may overwrite it.
        hidden = F.relu(self.first(F.relu(x)), inplace=True)
        residual: Tensor = self.second(hidden)
        return residual.add_(x)


class Impala(Trunk):
    """Espeholt et al. 2018 as in Procgen's PPO (Cobbe et al. 2020): channels 16, 32, 32, two residual blocks each."""

    def __init__(self, shape: Shape, width: int = 256, channels: Sequence[int] = (16, 32, 32)):
        _check_image("impala", shape, 8)
        layers: list[nn.Module] = []
        for before, after in zip((shape[0], *channels), channels, strict=False):
            layers += [
                nn.Conv2d(before, after, 3, padding=1),
                nn.MaxPool2d(3, 2, 1),
                ResidualBlock(after),
                ResidualBlock(after),
            ]
        super().__init__(nn.Sequential(*layers, nn.ReLU(inplace=True), *self.pooling()), shape, width)

    @staticmethod
    def pooling() -> tuple[nn.Module, ...]:
        """Layers between the last relu and the flattening."""
        return ()


class Impoola(Impala):
    """IMPALA's convolutions, their mean over space, dense layer (Trumpp et al. 2025, "Impoola").

    32 numbers are flattened where IMPALA flattens 2,048 at 64x64, so the dense layer is 64 times smaller and hardly
    depends on where things are. They report higher returns than IMPALA on Procgen's unseen levels, most in games whose
    camera does not follow the agent. Differs from the paper: channels 16, 32, 32, a width scale of 1 (2 there).
    """

    @staticmethod
    def pooling() -> tuple[nn.Module, ...]:
        return (nn.AdaptiveAvgPool2d(1),)


class Symbols(Trunk):
    """One-hot, two 3x3 convolutions of 16 and 32, dense: for images of codes, as MiniGrid's symbolic view (3, 7, 7).

    0.3 M multiply-adds at 7x7, a fifteenth of Nature's on the pixels of the same view.
    """

    def __init__(self, shape: Shape, width: int = 256):
        _check_image("symbols", shape, 5)
        body = nn.Sequential(
            nn.Conv2d(shape[0] * CODES, 16, 3), nn.ReLU(inplace=True), nn.Conv2d(16, 32, 3), nn.ReLU(inplace=True)
        )
        super().__init__(body, (shape[0] * CODES, *shape[1:]), width)

    def flat(self, image: Tensor) -> Float[Tensor, "B F"]:
        flat: Tensor = self.body(one_hot(image, self.dense.weight.dtype)).flatten(1)
        return flat


class Mlp(Trunk):
    """Two layers of 64 and tanh for a vector observation, the sizes of stable-baselines3's MlpPolicy.

    The policy and the value share both (stable-baselines3 gives each its own). The vector is taken as it is, unscaled.
    """

    def __init__(self, shape: Shape, width: int = 64):
        if len(shape) != 1:
            raise UsageError(f"trunk 'mlp' reads a vector (n,), got an observation of shape {tuple(shape)}")
        super().__init__(nn.Sequential(nn.Linear(shape[0], 64), nn.Tanh()), shape, width)

    def flat(self, image: Tensor) -> Float[Tensor, "B F"]:
        flat: Tensor = self.body(image.to(self.dense.weight.dtype))
        return flat

    def forward(self, image: Tensor) -> Float[Tensor, "B D"]:
        return torch.tanh(self.dense(self.flat(image)))


def _check_image(name: str, shape: Shape, side: int) -> None:
    if len(shape) != 3:
        raise UsageError(f"trunk '{name}' reads images (C, H, W), got an observation of shape {tuple(shape)}")
    if min(shape[1:]) < side:
        smaller = name == "nature" and min(shape[1:]) >= 8
        cure = "take the trunk impala, as in --set cnn.trunk=impala" if smaller else "enlarge the observation"
        raise UsageError(f"trunk '{name}' needs images of at least {side}x{side}, got {shape[1]}x{shape[2]}; {cure}")


TRUNKS: dict[str, type[Nature] | type[Impala] | type[Symbols] | type[Mlp]] = {
    "nature": Nature,
    "impala": Impala,
    "impoola": Impoola,
    "symbols": Symbols,
    "mlp": Mlp,
}


def make_trunk(name: str, shape: Shape, width: int | None = None) -> Trunk:
    """Trunk of this name for observations of ``shape``; ``width`` of its dense layer defaults to the published one."""
    if name not in TRUNKS:
        raise UsageError(f"unknown trunk '{name}'; known: {', '.join(TRUNKS)}")
    return TRUNKS[name](shape) if width is None else TRUNKS[name](shape, width)
