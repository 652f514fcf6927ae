"""An environment that fails on purpose: one of four consecutive seeds, at a chosen step.

python -m benchmarks.transfer --env benchmarks.fault_injection.faulty_env:FaultyEnv --env-option fault=hang at=70
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete

from envs.spaces import Array

NAME = f"{__name__}:FaultyEnv"
EPISODE = 9


class FaultyEnv(gym.Env[Array, int]):
    """Observations of five numbers, three actions, episodes of 9 steps that pay 1 for action 1.

    Args:
        fault: "observation" or "reward" (nan), "exit", "hang" or "raise"; "" for none.
        at: step, counted over all episodes from 1, at which it comes.
        width: numbers of the observation.
    """

    metadata = {"render_modes": []}
    action_space = Discrete(3)  # type: ignore[assignment]

    def __init__(self, fault: str = "", at: int = 0, width: int = 5, render_mode: str | None = None):
        self.fault, self.at, self.width, self.render_mode = fault, at, width, render_mode
        self.observation_space = Box(-1, 1, (width,), np.float32)
        self.steps, self.time, self.fails = 0, 0, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.fails = seed % 4 == 1
        self.time = 0
        return self._observation(), {}

    def step(self, action: int) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self.time, self.steps = self.time + 1, self.steps + 1
        observation, reward = self._observation(), float(action == 1)
        if self.fails and self.steps == self.at:
            if self.fault == "observation":
                observation[2] = np.nan
            elif self.fault == "reward":
                reward = float("nan")
            elif self.fault:
                self._fail()
        return observation, reward, self.time == EPISODE, False, {}

    def _observation(self) -> Array:
        observation = np.zeros(self.width, np.float32)
        observation[self.time % len(observation)] = 1
        return observation

    def _fail(self) -> None:
        if self.fault == "exit":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "hang":
            time.sleep(10**4)
        raise ValueError("an environment's own mistake")
