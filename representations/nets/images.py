"""Conversion of uint8 images to floats for networks, and pictures of rows of images.

Shapes in annotations, here and in the other files of this folder: T steps, B samples, C H W images, D features,
Z latents, A actions, K slots, V views, P poses.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from envs.registry import UsageError

CODES = 16
"""Codes of a symbolic observation are below this (MiniGrid's go to 10)."""


def pixels(image: UInt8[Tensor, "B C H W"], dtype: torch.dtype = torch.float32) -> Float[Tensor, "B C H W"]:
    """uint8 images as floats in [0, 1], channels-last.

    The result has the dtype of the running autocast (straight to bfloat16: 0..255 are exact there), else ``dtype``.
    """
    if image.dtype != torch.uint8:
        raise UsageError(f"images must be uint8 in 0..255, got {image.dtype}; leave the scaling to the network")
    kind = image.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    return image.to(dtype).contiguous(memory_format=torch.channels_last).div_(255)


def one_hot(image: UInt8[Tensor, "B C H W"], dtype: torch.dtype = torch.float32) -> Float[Tensor, "B CK H W"]:
    """Codes below CODES as C * CODES planes of 0 and 1; memory and dtype as of ``pixels``."""
    kind = image.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    planes = image.permute(0, 2, 3, 1).unsqueeze(-1) == torch.arange(CODES, dtype=torch.uint8, device=image.device)
    return planes.flatten(3).to(dtype).permute(0, 3, 1, 2)


def tile(rows: list[Tensor], channels: int) -> NDArray[np.uint8]:
    """Picture (R*H, n*W, 3) of R rows of n images (n, C, H, W) in [0, 1].

    Of stacked frames the newest is shown, the last ``channels``; one that does not have three is shown as grey.
    """
    grid = torch.stack([row.float() for row in rows])[:, :, -channels:]
    if channels != 3:
        grid = grid.mean(2, keepdim=True).expand(-1, -1, 3, -1, -1)
    R, n, _, H, W = grid.shape
    flat = grid.permute(0, 3, 1, 4, 2).reshape(R * H, n * W, 3)
    picture: NDArray[np.uint8] = (flat * 255).round().to(torch.uint8).cpu().numpy()
    return picture
