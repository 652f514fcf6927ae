"""The last action and the last reward as observations, as UNREAL's LSTM gets them (Jaderberg et al. 2017, section 4).

``LastStepVectorEnv`` adds "last_action" (N, A), one-hot or as ``envs.action_codes`` writes it, and "last_reward"
(N, 1), clipped to [-1, 1], both float32 and 0 where an episode begins. A policy gets them as it gets any vector beside
an image. The reward is the environment's own: no bonus, no normalisation.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorWrapper
from gymnasium.vector.utils import batch_space

from envs.action_codes import ActionCodes
from envs.spaces import LAST_ACTION, LAST_REWARD, Array, keyed, keyed_space
from envs.wrappers.forwarding import Forwarding


class LastStepVectorEnv(Forwarding, VectorWrapper[Any, Any, Any]):
    """``env`` with the last action and reward among its observations by key; all else as it is.

    Args:
        env: a SAME_STEP vector env.

    Raises:
        UsageError: actions of a kind that is not known.
    """

    env: Any

    def __init__(self, env: Any):
        super().__init__(env)
        self._codes, self._inner_space = ActionCodes(env.single_action_space), env.single_observation_space
        low, high = np.zeros(self._codes.size, np.float32), np.ones(self._codes.size, np.float32)
        if self._codes.is_box:  # 0 where there was no action, which a Box may not hold
            low, high = self._codes.bounds
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        added = {
            LAST_ACTION: gym.spaces.Box(low, high, dtype=np.float32),
            LAST_REWARD: gym.spaces.Box(-1, 1, (1,), np.float32),
        }
        self.single_observation_space = gym.spaces.Dict({**keyed_space(self._inner_space).spaces, **added})
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._last = {key: np.zeros((self.num_envs, *box.shape), np.float32) for key, box in added.items()}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, infos = self.env.reset(seed=seed, options=options)
        begun = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        self._last = {key: np.where(begun[:, None], np.float32(0), value) for key, value in self._last.items()}
        return {**keyed(observation, self._inner_space), **self._last}, infos

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """One step of all envs."""
        before = self._last
        observation, reward, terminated, truncated, infos = self.env.step(actions)
        now = {
            LAST_ACTION: self._codes.encode(torch.from_numpy(self._codes.from_env(actions))).numpy(),
            LAST_REWARD: np.clip(reward, -1, 1).astype(np.float32)[:, None],
        }
        ended = terminated | truncated
        if "final_obs" in infos:
            infos = {**infos, "final_obs": self._finals(infos, before, now)}
        self._last = {key: np.where(ended[:, None], np.float32(0), value) for key, value in now.items()}
        return {**keyed(observation, self._inner_space), **self._last}, reward, terminated, truncated, infos

    def _finals(self, infos: dict[str, Any], before: dict[str, Array], now: dict[str, Array]) -> Array:
        """True final observations; where the env gives the frame before, what was seen with that one."""
        finals = np.full(self.num_envs, None, object)
        previous = infos.get("final_obs_is_previous", np.zeros(self.num_envs, bool))
        for i in np.flatnonzero(infos["_final_obs"]):
            last = {key: value[i].copy() for key, value in (before if previous[i] else now).items()}
            finals[i] = {**keyed(infos["final_obs"][i], self._inner_space), **last}
        return finals

    def state(self) -> dict[str, Array]:
        """``env``'s state, and what was seen of the last step."""
        return {**self.env.state(), **{f"seen {key}": value.copy() for key, value in self._last.items()}}

    def set_state(self, state: dict[str, Array]) -> None:
        """Go on from ``state()`` of an equal env."""
        inner = dict(state)
        self._last = {key: np.array(inner.pop(f"seen {key}"), np.float32) for key in self._last}
        self.env.set_state(inner)
