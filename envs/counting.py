"""A counting environment for tests: every pixel, reward and end of it can be worked out by hand.

At step t of an episode on level l the rewarded action is ``target(l, t)``, and the red of the whole frame shows it:
red = (target + 1) * 255 // num_actions. An action earns 1 if it is the target, else 0. Blue shows the level (no use for
the reward), green is 0. Pixel (0, 0) counts: (env index, episode, t), each modulo 256.

Episode e of env i lasts ``episode_length + (i + e) % 4`` steps; it ends truncated where i + e is odd, else terminated.
Level draws are a hash of (seed, i, e), so env i does not depend on how many there are. Where a reset named the level,
the number of its stream stands for i.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from envs.counter_rng import below, counter_hash
from envs.registry import UsageError
from envs.spaces import Array
from envs.vector_env import BatchedEnv, SingleEnv

VISUALS = ("plain", "swapped")


class CountingVectorEnv(BatchedEnv):
    """``num_envs`` counting envs, SAME_STEP with true final frames. Observations (N, size, size, 3) uint8.

    Args:
        num_envs: number of envs.
        seed: of the level draws.
        episode_length: shortest episode, in steps; the longest has 3 more.
        size: side of the frame in pixels (stable-baselines3's own convolutions need 36).
        num_actions: number of actions; a random policy earns 1 / num_actions a step.
        num_levels: levels are drawn from [start_level, start_level + num_levels).
        start_level: first level.
        max_episode_steps: cuts all episodes there, if before their own end.
        variant: "plain", or "swapped": red and blue change places (a visual variant of the same levels).

    Raises:
        UsageError: a value out of range.
    """

    name = "counting"
    variants: ClassVar[dict[str, dict[str, Any]]] = {name: {"variant": name} for name in VISUALS}

    def __init__(
        self,
        num_envs: int = 1,
        *,
        seed: int = 0,
        episode_length: int = 10,
        size: int = 64,
        num_actions: int = 4,
        num_levels: int = 200,
        start_level: int = 0,
        max_episode_steps: int | None = None,
        variant: str = "plain",
        render_mode: str | None = None,
    ):
        for name, value in {"episode_length": episode_length, "size": size}.items():
            if value < 1:
                raise UsageError(f"counting: {name}={value} is below 1; give 1 or more")
        if not 2 <= num_actions <= 255:
            raise UsageError(f"counting: num_actions={num_actions} must lie in 2..255")
        if variant not in VISUALS:
            raise UsageError(f"counting: unknown variant '{variant}'; give one of {', '.join(VISUALS)}")
        self.episode_length, self.size, self.variant = episode_length, size, variant
        super().__init__(
            num_envs,
            gym.spaces.Box(0, 255, (size, size, 3), np.uint8),
            num_actions,
            seed=seed,
            num_levels=num_levels,
            start_level=start_level,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )

    def target(self, level: Array, time: Array) -> Array:
        """(N,) int64, the rewarded action at step ``time`` of ``level``."""
        actions: Array = (counter_hash(level, time) % np.uint64(self.num_actions)).astype(np.int64)
        return actions

    def _begin(self, rows: Array) -> None:
        """Nothing: the counters are the state."""

    def _observe(self, rows: Array) -> Array:
        level, time = self.level[rows], self.time[rows]
        frames = np.zeros((len(rows), self.size, self.size, 3), np.uint8)
        frames[..., 0] = ((self.target(level, time) + 1) * 255 // self.num_actions)[:, None, None]
        frames[..., 2] = below(counter_hash(level), 256)[:, None, None]
        if self.variant == "swapped":
            frames = np.ascontiguousarray(frames[..., ::-1])
        frames[:, 0, 0] = np.stack([self.streams(rows), self.episode[rows], time], axis=1) % 256
        return frames

    def _advance(self, actions: Array) -> tuple[Array, Array, Array]:
        parity = self.streams(self.rows) + self.episode
        ended = self.time + 1 == self.episode_length + parity % 4
        cut = ended & (parity % 2 == 1)
        return actions == self.target(self.level, self.time), ended & ~cut, cut

    def scripted(self) -> Array:
        """The rewarded action."""
        return self.target(self.level, self.time)

    def factor_vector(self, rows: Array) -> Array:
        """The rewarded action, one-hot."""
        return np.eye(self.num_actions, dtype=np.float32)[self.target(self.level[rows], self.time[rows])]

    def factors(self) -> dict[str, Array]:
        return {"target": self.target(self.level, self.time), "time": self.time.copy()}


class CountingEnv(SingleEnv):
    """One counting env."""

    vector_class = CountingVectorEnv
