"""Toy environments, images with known factors, a linear read-out, and a module with a fixed answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Obs
from envs.toys import ToyVectorEnv
from representations.collect import collect


def image_spec(shape: tuple[int, int, int], frames: int = 1, actions: int = 2, discount: float = 0.99) -> EnvSpec:
    """Facts about an environment of images (C, H, W) with ``frames`` stacked in C."""
    space = gym.spaces.Dict({"image": gym.spaces.Box(0, 255, shape, np.uint8)})
    return EnvSpec(space, gym.spaces.Discrete(actions) if actions else None, discount, frames)


def with_vector(spec: EnvSpec, key: str, size: int, low: float = -1, high: float = 1) -> EnvSpec:
    """``spec`` with a vector of ``size`` numbers in low..high after the image."""
    space = gym.spaces.Dict({**spec.space.spaces, key: gym.spaces.Box(low, high, (size,), np.float32)})
    return replace(spec, space=space)


def moving_square(size: int = 64, side: int = 16, positions: int = 16) -> tuple[Tensor, Tensor]:
    """White square at all positions: images (positions^2, 1, size, size) uint8 and factors (positions^2, 2)."""
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


def shapes_anywhere(each: int = 48, size: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Four white shapes at random places: images (4 each, 1, size, size) uint8, and which one, one-hot (4 each, 4)."""
    draws = torch.Generator().manual_seed(seed)
    shapes = [torch.zeros(16, 16, dtype=torch.uint8) for _ in range(4)]
    shapes[0][:, 6:10] = shapes[1][6:10] = shapes[2][4:12, 4:12] = 255
    shapes[3][torch.arange(16), torch.arange(16)] = shapes[3][torch.arange(15), torch.arange(1, 16)] = 255
    shapes[3][torch.arange(1, 16), torch.arange(15)] = shapes[3][torch.arange(14), torch.arange(2, 16)] = 255
    images = torch.zeros(4 * each, 1, size, size, dtype=torch.uint8)
    for place in range(4 * each):
        y, x = torch.randint(0, size - 15, (2,), generator=draws).tolist()
        images[place, 0, y : y + 16, x : x + 16] = shapes[place % 4]
    order = torch.randperm(4 * each, generator=draws)
    return images[order], torch.eye(4).repeat(each, 1)[order]


def bars(count: int, squares: int = 3) -> tuple[Tensor, Tensor]:
    """A grey vertical bar before white squares that lie anywhere: images (count, 1, 40, 40), and the bar's column."""
    draws = torch.Generator().manual_seed(0)
    images = torch.zeros(count, 1, 40, 40, dtype=torch.uint8)
    column = torch.randint(0, 37, (count,), generator=draws)
    places = torch.randint(0, 33, (count, squares, 2), generator=draws)
    for image, x, corners in zip(images, column.tolist(), places.tolist(), strict=True):
        for top, left in corners:
            image[0, top : top + 8, left : left + 8] = 255
        image[0, :, x : x + 4] = 120
    return images, column[:, None].float()


def horizons(count: int) -> tuple[Tensor, Tensor]:
    """Frames (count, 1, 40, 40), lighter from a random row down, and that row; each has its own sky and ground."""
    draws = torch.Generator().manual_seed(0)
    row = torch.randint(12, 29, (count,), generator=draws)
    sky, ground = (
        torch.randint(0, 100, (count, 1), generator=draws),
        torch.randint(130, 256, (count, 1), generator=draws),
    )
    column = torch.where(torch.arange(40) >= row[:, None], ground, sky)
    images = column[:, None, :, None].expand(-1, -1, -1, 40).to(torch.uint8)
    return images.contiguous(memory_format=torch.channels_last), row[:, None].float()


def strongest(features: Tensor, count: int = 6) -> Tensor:
    """Projections of features (n, D) on their ``count`` strongest directions: all D of them read anything on a toy."""
    u, s, _ = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    return u[:, :count] * s[:count] / s[0]


class Fixed(nn.Module):
    """Network that gives the same answer to every input."""

    def __init__(self, answer: Any):
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer


class ToyWorld:
    """Maker of one of the toy environments (``envs.toys``), as ``collect`` takes it."""

    def __init__(self, toy: str):
        self.toy = toy

    def make(self, num_envs: int, seed: int) -> ToyVectorEnv:
        return ToyVectorEnv(num_envs, toy=self.toy, seed=seed)


def toy_windows(toy: str, windows: int, length: int = 1, seed: int = 0) -> tuple[Obs, Tensor]:
    """Stored windows of a toy as ``collect`` gives them, or frames, and the factor of each frame (frames, F)."""
    frames = collect([ToyWorld(toy)], windows * length, seed, lambda envs: envs.factors(), length)
    factor = frames.pop("shape" if toy == "shape" else "place").float()
    return frames, factor.flatten(0, -2)


def few_label_read_out(features: Tensor, factors: Tensor, labels: int = 64) -> float:
    """R^2 of a ridge regression from standardised features on ``labels`` rows, on the rest, at its best strength."""
    x, y = features.double(), factors.double()
    std = x.std(0)
    x = (x - x.mean(0)) / std.clamp(min=0.1 * float(std.square().mean().sqrt()))
    y = y - y[:labels].mean(0)
    kernel, rest = x[:labels] @ x[:labels].T, x[labels:] @ x[:labels].T
    variance = (y[labels:] - y[labels:].mean(0)).square().sum(0)
    scores = []
    for strength in (1e-3, 1e-2, 1e-1, 1.0):
        ridge = strength * x.shape[1] * torch.eye(labels).double()
        error = (rest @ torch.linalg.solve(kernel + ridge, y[:labels]) - y[labels:]).square().sum(0)
        scores.append(float((1 - error / variance).mean()))
    return max(scores)
