"""Toy images with known factors, and the linear read-out that asks features for them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor


def image_space(shape: tuple[int, int, int]) -> gym.spaces.Dict:
    return gym.spaces.Dict({"image": gym.spaces.Box(0, 255, shape, np.uint8)})


def moving_square(size: int = 64, side: int = 16, positions: int = 16) -> tuple[Tensor, Tensor]:
    """All positions of one white square: images (positions^2, 1, size, size) uint8 and factors (positions^2, 2)."""
    starts = torch.linspace(0, size - side, positions).round().long()
    y, x = (grid.flatten() for grid in torch.meshgrid(starts, starts, indexing="ij"))
    pixel = torch.arange(size)
    rows = (pixel >= y[:, None]) & (pixel < y[:, None] + side)
    columns = (pixel >= x[:, None]) & (pixel < x[:, None] + side)
    images = (rows[:, :, None] & columns[:, None, :]).unsqueeze(1).to(torch.uint8) * 255
    return images, torch.stack([y, x], 1).float()


def read_out(features: Tensor, factors: Tensor) -> float:
    """R^2 of a ridge regression fitted on even rows, on odd rows."""
    x = torch.cat([features.double(), torch.ones(len(features), 1).double()], 1)
    y = factors.double()
    a, b = x[::2], x[1::2]
    weights = torch.linalg.solve(a.T @ a + 1e-3 * torch.eye(a.shape[1]).double(), a.T @ y[::2])
    error = (b @ weights - y[1::2]).square().sum(0)
    return float((1 - error / (y[1::2] - y[1::2].mean(0)).square().sum(0)).mean())
