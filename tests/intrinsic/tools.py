"""Environments, bonuses and Steps of given observations, for the tests of bonuses."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic.base import Transitions

BOXES = {
    "pixels": ("image", gym.spaces.Box(0, 255, (3, 36, 40), np.uint8)),
    "symbols": ("image", gym.spaces.Box(0, 10, (3, 7, 7), np.uint8)),
    "tiny": ("image", gym.spaces.Box(0, 255, (3, 4, 5), np.uint8)),
    "features": ("features", gym.spaces.Box(-np.inf, np.inf, (6,), np.float32)),
}
"""Key and space of each kind of observation."""
KINDS = tuple(BOXES)


def spec(*kinds: str, actions: int = 4, frames: int = 1) -> EnvSpec:
    """An environment that shows observations of these kinds, "tiny" images by default."""
    spaces = dict(BOXES[kind] for kind in kinds or ("tiny",))
    return EnvSpec(gym.spaces.Dict(spaces), gym.spaces.Discrete(actions), frames=frames)


def image_spec(*shape: int, actions: int = 4, frames: int = 1) -> EnvSpec:
    """An environment that shows images (C, H, W) of pixels."""
    image = gym.spaces.Box(0, 255, shape, np.uint8)
    return EnvSpec(gym.spaces.Dict({"image": image}), gym.spaces.Discrete(actions), frames=frames)


def feature_spec(size: int, actions: int = 4) -> EnvSpec:
    """An environment that shows so many features."""
    features = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
    return EnvSpec(gym.spaces.Dict({"features": features}), gym.spaces.Discrete(actions))


def build(cls: Any, env_spec: EnvSpec, seed: int = 0, **settings: Any) -> Any:
    """A bonus of class ``cls`` whose weights come from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(env_spec, cls.Config(**settings))


def make_steps(
    obs: Tensor,
    next_obs: Tensor,
    action: Tensor | None = None,
    done: Tensor | None = None,
    valid: Tensor | None = None,
    context: Tensor | None = None,
    reward: Tensor | None = None,
) -> Steps:
    """Steps (T, N) of one key; nothing ends unless ``done`` (T, N) says so, and every first step opens an episode.

    Args:
        obs: (T, N, ...) floats are features, anything else images.
        valid: (T, N) where the successor is known.
        context: (T, N, K).
    """
    T, N = obs.shape[:2]
    key = "features" if obs.is_floating_point() else "image"
    no = torch.zeros(T, N, dtype=torch.bool)
    done = no if done is None else done
    return Steps(
        obs={key: obs},
        action=torch.zeros(T, N, dtype=torch.int64) if action is None else action,
        reward=torch.zeros(T, N) if reward is None else reward,
        terminated=done,
        truncated=no,
        next_valid=~no if valid is None else valid,
        first=torch.cat([torch.ones(1, N, dtype=torch.bool), done[:-1]]),
        make_next_obs=lambda: {key: next_obs},
        context=context,
    )


def random_obs(T: int, N: int, kind: str = "tiny", seed: int = 0) -> Tensor:
    """Random observations (T, N, ...) of a kind."""
    box = BOXES[kind][1]
    generator = torch.Generator().manual_seed(seed)
    if box.dtype == np.uint8:
        return torch.randint(int(box.high.max()) + 1, (T, N, *box.shape), generator=generator).to(torch.uint8)
    return torch.randn(T, N, *box.shape, generator=generator)


def make_batch(
    obs: Tensor, next_obs: Tensor, action: Tensor | None = None, context: Tensor | None = None
) -> Transitions:
    """Transitions (B,) in order; action 0 by default."""
    index = torch.arange(len(obs))
    return Transitions(obs, torch.zeros_like(index) if action is None else action, next_obs, index, context)


def walled_grid() -> torch.Tensor:
    """p(s' | s, a) (25, 5, 25) of a walled 5x5 grid with 4 moves and stay."""
    transition = torch.zeros(25, 5, 25)
    for row in range(5):
        for column in range(5):
            for action, (down, right) in enumerate([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)]):
                to = min(max(row + down, 0), 4) * 5 + min(max(column + right, 0), 4)
                transition[row * 5 + column, action, to] = 1
    return transition
