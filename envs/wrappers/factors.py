"""The true factors as an observation: what decides the task, as numbers, beside what the agent sees.

``FactorsVectorEnv`` adds the key "factors" (N, D) float32 to the observations of any env that has ``factor_vector``. A
policy on them alone is the ceiling of any representation: where it fails, the task is too hard for the budget. Vectors
have no NaN: a missing thing is zeros and an indicator, and lengths are scaled to about 1. D is the same for every
variant of an environment, so that an agent can be tested on all of them.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorWrapper
from gymnasium.vector.utils import batch_space

from envs.registry import UsageError
from envs.spaces import FACTORS, Array, keyed, keyed_space
from envs.wrappers.forwarding import Forwarding


class FactorsVectorEnv(Forwarding, VectorWrapper[Any, Any, Any]):
    """``env`` with the observation "factors"; its other observations by key, all else as it is.

    In ``final_obs`` are the factors of the final state; where the env gives the frame before
    (``final_obs_is_previous``), the factors before.

    Args:
        env: a vector env of ours.

    Raises:
        UsageError: an env that cannot tell its factors as a vector.
    """

    env: Any

    def __init__(self, env: Any):
        super().__init__(env)
        if not hasattr(env, "factor_vector"):
            raise UsageError(f"{env} cannot tell its true factors as a vector; leave factors out")
        self._inner_space = env.single_observation_space
        size = int(env.factor_size)
        numbers = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.single_observation_space = gym.spaces.Dict({**keyed_space(self._inner_space).spaces, FACTORS: numbers})
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        env.unwrapped.keep_final_factors = True
        self._rows = np.arange(self.num_envs)
        self._newest: Array = np.zeros((self.num_envs, size), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, infos = self.env.reset(seed=seed, options=options)
        return self._with_factors(observation), infos

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """One step of all envs."""
        observation, reward, terminated, truncated, infos = self.env.step(actions)
        before = self._newest
        if "final_obs" in infos:
            infos = {**infos, "final_obs": self._finals(infos, before)}
            infos.pop("final_factors", None)
            infos.pop("_final_factors", None)
        return self._with_factors(observation), reward, terminated, truncated, infos

    def _with_factors(self, observation: Any) -> dict[str, Array]:
        self._newest = self.env.factor_vector(self._rows)
        return {**keyed(observation, self._inner_space), FACTORS: self._newest}

    def _finals(self, infos: dict[str, Any], before: Array) -> Array:
        finals = np.full(self.num_envs, None, object)
        previous = infos.get("final_obs_is_previous", np.zeros(self.num_envs, bool))
        for i in np.flatnonzero(infos["_final_obs"]):
            vector = before[i] if previous[i] else infos["final_factors"][i]
            finals[i] = {**keyed(infos["final_obs"][i], self._inner_space), FACTORS: vector.copy()}
        return finals

    def state(self) -> dict[str, Array]:
        """``env``'s state, from which the factors follow."""
        state: dict[str, Array] = self.env.state()
        return state

    def set_state(self, state: dict[str, Array]) -> None:
        """Go on from ``state()`` of an equal env."""
        self.env.set_state(state)
        self._newest = self.env.factor_vector(self._rows)
