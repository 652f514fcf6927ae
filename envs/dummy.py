"""A counting world for tests: every pixel, reward and end of it can be worked out by hand.

At step t of an episode on level l the rewarded action is ``target(l, t)``, and the red of the whole frame shows it:
red = (target + 1) * 255 // num_actions. An action earns 1 if it is the target, else 0. Blue shows the level (no use for
the reward), green is 0. Pixel (0, 0) counts: (env index, episode, t), each modulo 256.

Episode e of env i lasts ``episode_length + (i + e) % 4`` steps; it ends truncated where i + e is odd, else terminated.
Level draws are a hash of (seed, i, e), so env i does not depend on how many there are.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.registry import UsageError

Array = np.ndarray
LOOKS = ("plain", "swapped")


def counter_hash(*keys: int | Array) -> Array:
    """A uint64 array that depends on nothing but the keys (splitmix64, Steele et al. 2014, over each in turn)."""
    shape = np.broadcast_shapes(*(np.shape(key) for key in keys), (1,))
    value = np.zeros(shape, np.uint64)
    for key in keys:
        value = value + np.asarray(key, np.int64).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        value = value ^ (value >> np.uint64(31))
    return value


class CountingVectorEnv(VectorEnv):
    """``num_envs`` counting envs, SAME_STEP with true final frames. Observations (N, size, size, 3) uint8.

    Args:
        num_envs: number of envs.
        seed: of the level draws.
        episode_length: shortest episode, in steps; the longest has 3 more.
        size: side of the frame in pixels (stable-baselines3's own convolutions need 36).
        num_actions: number of actions; a random policy earns 1 / num_actions a step.
        num_levels: levels are drawn from [start_level, start_level + num_levels).
        start_level: first level.
        look: "plain", or "swapped": red and blue change places (a shifted look of the same levels).

    Raises:
        UsageError: a value out of range.
    """

    metadata: dict[str, Any] = {
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": ["rgb_array"],
        "render_fps": 15,
    }
    exact_state = True

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
        look: str = "plain",
        render_mode: str | None = None,
    ):
        counts = {"num_envs": num_envs, "episode_length": episode_length, "size": size, "num_levels": num_levels}
        for name, value in counts.items():
            if value < 1:
                raise UsageError(f"counting: {name}={value} is below 1; give 1 or more")
        if not 2 <= num_actions <= 255 or start_level < 0:
            raise UsageError(
                f"counting: num_actions={num_actions} must lie in 2..255, start_level={start_level} be >= 0"
            )
        if look not in LOOKS:
            raise UsageError(f"counting: unknown look '{look}'; give one of {', '.join(LOOKS)}")
        self.num_envs, self.seed, self.episode_length, self.size = num_envs, int(seed), episode_length, size
        self.num_actions, self.num_levels, self.start_level, self.look = num_actions, num_levels, start_level, look
        self.render_mode = render_mode
        self.single_observation_space = gym.spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.single_action_space = gym.spaces.Discrete(num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._index = np.arange(num_envs)
        self._episode = np.full(num_envs, -1, np.int64)
        self._time = np.zeros(num_envs, np.int64)

    @property
    def level(self) -> Array:
        """(N,) int64, the level that each env plays now."""
        draw = counter_hash(self.seed, self._index, self._episode) % np.uint64(self.num_levels)
        return draw.astype(np.int64) + self.start_level

    def target(self, level: Array, time: Array) -> Array:
        """(N,) int64, the rewarded action at step ``time`` of ``level``."""
        return (counter_hash(level, time) % np.uint64(self.num_actions)).astype(np.int64)

    def _paint(self) -> Array:
        level = self.level
        frames = np.zeros((self.num_envs, self.size, self.size, 3), np.uint8)
        frames[..., 0] = ((self.target(level, self._time) + 1) * 255 // self.num_actions)[:, None, None]
        frames[..., 2] = (counter_hash(level) % np.uint64(256))[:, None, None]
        if self.look == "swapped":
            frames = np.ascontiguousarray(frames[..., ::-1])
        frames[:, 0, 0] = np.stack([self._index, self._episode, self._time], axis=1) % 256
        return frames

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """A new episode in all envs, or in those of ``options["reset_mask"]``; a seed starts at episode 0 again."""
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        if mask.dtype != bool or mask.shape != (self.num_envs,) or not mask.any():
            raise UsageError(f"counting: reset_mask must be a bool array ({self.num_envs},) with at least one True")
        if seed is not None:
            self.seed = int(seed)
            self._episode[mask] = -1
        self._episode[mask] += 1
        self._time[mask] = 0
        return self._paint(), {"level_seed": self.level, "_level_seed": mask}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        level = self.level
        reward = (np.asarray(actions) == self.target(level, self._time)).astype(np.float32)
        self._time += 1
        parity = self._index + self._episode
        ended = self._time == self.episode_length + parity % 4
        truncated = ended & (parity % 2 == 1)
        infos: dict[str, Any] = {}
        if ended.any():
            last, final = self._paint(), np.full(self.num_envs, None, object)
            for i in np.flatnonzero(ended):
                final[i] = last[i].copy()
            self._episode[ended] += 1
            self._time[ended] = 0
            infos = {"final_obs": final, "level_seed": self.level, "prev_level_seed": level}
            infos |= {f"_{key}": ended for key in infos}
        return self._paint(), reward, ended & ~truncated, truncated, infos

    def render(self) -> tuple[Array, ...] | None:
        """The current frames, where ``render_mode`` is "rgb_array"."""
        return tuple(self._paint()) if self.render_mode == "rgb_array" else None

    def state(self) -> dict[str, Array]:
        """The exact state: seed and two counters an env."""
        return {"seed": np.array(self.seed, np.int64), "episode": self._episode.copy(), "time": self._time.copy()}

    def set_state(self, state: dict[str, Array]) -> None:
        """Go on from ``state()`` of an object with the same options; its seed may differ."""
        if np.shape(state["episode"]) != (self.num_envs,):
            raise UsageError(
                f"counting: this state is of {np.size(state['episode'])} envs, not {self.num_envs}; make as many"
            )
        self.seed = int(state["seed"])
        self._episode = np.array(state["episode"], np.int64)
        self._time = np.array(state["time"], np.int64)
