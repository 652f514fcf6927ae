"""Augmentations: random changes of images that leave a frame's meaning as it is, for contrastive losses and DrAC.

    image uint8 (B, C, H, W) -> uint8 (B, C, H, W), channels-last, every draw from one generator

Each image of the batch has its own draw. The frames stacked in its channels share it, or their motion would be lost;
``channels`` says how many channels one frame has (3: colours, 1: grey).

``crop`` and the sizes of ``cutout`` and ``colour`` are those of DrAC (Raileanu et al. 2021) at 64x64. Which one helps
depends on the game: ``colour`` destroys what differs in colour alone (keys, goals).

Differs from the paper: ``colour`` scales each channel where theirs turns the hue in HSV; ``cutout`` places its box
anywhere, theirs on a diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from envs.registry import UsageError

JITTER = 0.4
"""Brightness, contrast, saturation and channel gains are uniform in 1 - JITTER .. 1 + JITTER, as in DrAC."""
BOX = (7 / 64, 22 / 64)
"""Sides of the cut-out box as fractions of the image's side; DrAC: 7 to 21 pixels of 64."""


Images = UInt8[Tensor, "B C H W"]


def shift(image: Images, dy: Int[Tensor, " B"], dx: Int[Tensor, " B"]) -> Images:
    """Images whose pixel (y, x) is the input's (y + dy, x + dx), beyond the border the nearest one."""
    B, C, H, W = image.shape
    device = image.device
    row = (torch.arange(H, device=device) + dy[:, None]).clamp_(0, H - 1)
    column = (torch.arange(W, device=device) + dx[:, None]).clamp_(0, W - 1)
    row += torch.arange(B, device=device)[:, None] * H
    source = (row[:, :, None] * W + column[:, None, :]).flatten()
    # Whole pixels of a flat table are copied 3 times faster than image[b, :, y, x] gathers them.
    pixels = image.permute(0, 2, 3, 1).reshape(-1, C).index_select(0, source)
    return pixels.view(B, H, W, C).permute(0, 3, 1, 2)


def crop(image: Images, generator: torch.Generator, pad: int = 12, channels: int = 3) -> Images:
    """Pad by repeating the border, then cut back to size at a uniform offset: a shift by -pad..pad pixels each way."""
    draws = torch.randint(-pad, pad + 1, (2, len(image)), generator=generator, device=image.device)
    return shift(image, draws[0], draws[1])


def recolour(
    image: Images,
    brightness: Float[Tensor, " B"],
    contrast: Float[Tensor, " B"],
    saturation: Float[Tensor, " B"],
    gain: Float[Tensor, "B c"],
) -> Images:
    """Scale channels, then saturation, contrast and brightness; a factor of 1 changes nothing.

    c is the number of channels of one frame:

        x' = gain x,  x'' = grey + saturation (x - grey),  x''' = brightness (mean + contrast (x'' - mean)),

    grey the mean over a pixel's input channels, mean over the whole input image. Rounded and cut off at 0 and 255.
    """
    B, C, H, W = image.shape
    channels = gain.shape[1]
    x = image.permute(0, 2, 3, 1).float().reshape(B, -1)
    slope, bias = brightness * contrast, brightness * (1 - contrast) * x.mean(1) + 0.5
    own = torch.diag_embed((slope * saturation)[:, None] * gain)
    matrix = own + (slope * (1 - saturation) / channels)[:, None, None]
    # The result is linear in a pixel's colours. The matrix is applied to 16 pixels at once, as a block-diagonal one:
    # products with 3x3 matrices and sums over so short an axis take three times as long.
    block = torch.eye(math.gcd(16, x.shape[1] // channels), device=image.device)
    rows = x.view(B, -1, channels * len(block))
    result = torch.baddbmm(bias[:, None, None], rows, torch.kron(block, matrix))
    return result.clamp_(0, 255).to(torch.uint8).view(B, H, W, C).permute(0, 3, 1, 2)


def colour(image: Images, generator: torch.Generator, pad: int = 12, channels: int = 3) -> Images:
    """Draw another brightness, contrast, saturation and tint for the whole image."""
    draws = torch.rand(len(image), 3 + max(3, channels), generator=generator, device=image.device)
    draws = draws * (2 * JITTER) + (1 - JITTER)
    return recolour(image, draws[:, 0], draws[:, 1], draws[:, 2], draws[:, 3 : 3 + channels])


def cutout(image: Images, generator: torch.Generator, pad: int = 12, channels: int = 3) -> Images:
    """Paint a box of one random colour, wholly inside the image, its place and its sides uniform."""
    B, C, H, W = image.shape
    device = image.device
    draws = torch.rand(B, 4, generator=generator, device=device)
    paint = torch.randint(0, 256, (B, max(3, channels)), generator=generator, device=device).to(torch.uint8)
    inside = _span(draws[:, 0], draws[:, 1], H)[:, None, :, None] & _span(draws[:, 2], draws[:, 3], W)[:, None, None, :]
    fill = paint[:, :channels].repeat(1, C // channels)[:, :, None, None]
    return torch.where(inside, fill, image).contiguous(memory_format=torch.channels_last)


def _span(length: Float[Tensor, " B"], start: Float[Tensor, " B"], side: int) -> Bool[Tensor, "B side"]:
    """Interval of random length and place, from two draws in [0, 1)."""
    low, high = max(1, round(BOX[0] * side)), max(1, round(BOX[1] * side) - 1)
    count = low + (length * (high - low + 1)).long()
    begin = (start * (side - count + 1)).long()
    pixel = torch.arange(side, device=length.device)
    return (pixel >= begin[:, None]) & (pixel < (begin + count)[:, None])


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator, int, int], Tensor]] = {
    "crop": crop,
    "colour": colour,
    "cutout": cutout,
}
"""All take (image, generator, pad, channels). ``crop`` reads ``pad``, in pixels; the other two read ``channels``."""


def check_names(names: Sequence[str]) -> None:
    """UsageError where a name is not in ``AUGMENTATIONS``."""
    for name in names:
        if name not in AUGMENTATIONS:
            raise UsageError(f"unknown augmentation '{name}'; known: {', '.join(AUGMENTATIONS)}")


def augment(image: Images, names: Sequence[str], pad: int, channels: int, generator: torch.Generator) -> Images:
    """Images after the named augmentations, one after the other; ``channels`` of one frame."""
    check_names(names)
    for name in names:
        image = AUGMENTATIONS[name](image, generator, pad, channels)
    return image
