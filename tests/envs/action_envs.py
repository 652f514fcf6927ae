"""Environments of every action space, whose pixels and rewards follow from the actions, for tests."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from envs.wrappers.sb3 import Sb3VecEnv

SPACES = {
    "Discrete": gym.spaces.Discrete(5),
    "Discrete from -2": gym.spaces.Discrete(5, start=-2),
    "Box": gym.spaces.Box(np.float32([-1, -0.5, 0]), np.float32([1, 2, 0.25])),
    "Box of 2x1": gym.spaces.Box(-2, 1, (2, 1), np.float64),
    "MultiDiscrete": gym.spaces.MultiDiscrete([3, 2, 4]),
    "MultiDiscrete from 1": gym.spaces.MultiDiscrete([[3], [2]], start=[[1], [-1]]),
    "MultiBinary": gym.spaces.MultiBinary(3),
    "MultiBinary of 2x2": gym.spaces.MultiBinary((2, 2)),
}


class Painted(gym.Env):
    """The frame shows a draw and the newest action; the reward is how near the action is to the draw.

    Raises:
        AssertionError: an action that is not in the space, where ``strict``.
    """

    def __init__(self, space: gym.Space, shape: tuple[int, int] = (8, 8), episode_length: int = 5, strict: bool = True):
        self.action_space, self.shape, self.episode_length, self.strict = space, shape, episode_length, strict
        self.observation_space = gym.spaces.Box(0, 255, (*shape, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.wanted, self.shown = 0, self.np_random.integers(256), 0
        return self.frame(), {}

    def step(self, action):
        assert not self.strict or self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.time += 1
        self.shown = int(np.abs(np.asarray(action, np.float64)).sum() * 40) % 256
        reward = 1 - abs(self.shown - int(self.wanted)) / 256
        self.wanted = self.np_random.integers(256)
        cut = self.time == self.episode_length
        return self.frame(), reward, False, cut, {}

    def frame(self) -> np.ndarray:
        image = np.zeros((*self.shape, 3), np.uint8)
        image[..., 0], image[: self.shape[0] // 2, :, 1] = self.wanted, self.shown
        image[..., 2] = self.time
        return image


def vector_env(space: gym.Space, num_envs: int = 3, seed: int = 1, **options) -> SyncVectorEnv:
    """Environments side by side, seeded."""
    envs = SyncVectorEnv([lambda: Painted(space, **options)] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    envs.reset(seed=seed)  # a reset without a seed goes on from here
    return envs


def make_env(space: gym.Space, num_envs: int = 3, **options) -> Sb3VecEnv:
    """The same as a stable-baselines3 VecEnv."""
    return Sb3VecEnv(vector_env(space, num_envs, **options))
