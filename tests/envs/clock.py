"""An environment that shows the time, for tests."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class Clock(gym.Env):
    """Episodes of ``episode_length`` steps, whatever the actions; each step is rewarded with 1."""

    time = 0
    episode_length: int

    def seen(self) -> Any:
        """The observation at ``time``."""
        raise NotImplementedError

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return self.seen(), {}

    def step(self, action):
        self.time += 1
        return self.seen(), 1.0, self.time == self.episode_length, False, {}
