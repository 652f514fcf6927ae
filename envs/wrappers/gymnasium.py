"""Any Gymnasium environment by its id, as a vector env of this folder's contract.

    World("gymnasium", {"id": "CartPole-v1"}).make(num_envs=8, seed=0)

Envs step one after the other in this process, with SAME_STEP autoreset, fresh arrays and true final observations. Env i
is seeded with seed + i, so it does not depend on how many there are. Observations of float64 become float32, as agents
compute; images stay uint8 (H, W, C). There is no exact state: a run on one is continued from its start.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from envs.named_levels import ResetRequest
from envs.registry import UsageError, check_int
from envs.spaces import Array, Space


class GymnasiumVectorEnv(VectorWrapper[Any, Any, Any]):
    """``num_envs`` envs of a Gymnasium id.

    Args:
        num_envs: number of envs.
        id: of ``gymnasium.make``, also as "module:id", which imports the module first.
        seed: of a ``reset()`` that names none itself.
        render_mode: "rgb_array" lets ``render()`` return the frames.
        options: keyword arguments of ``gymnasium.make``.

    Raises:
        UsageError: an unknown id, or options it does not take.
    """

    exact_state = False
    names_levels = False

    def __init__(
        self,
        num_envs: int = 1,
        *,
        id: str = "CartPole-v1",
        seed: int = 0,
        render_mode: str | None = None,
        **options: Any,
    ):
        count = check_int("gymnasium", "num_envs", num_envs, 1, 2**16)

        def make() -> gym.Env[Any, Any]:
            return gym.make(id, render_mode=render_mode, **options)

        try:
            env = SyncVectorEnv([make] * count, copy=True, autoreset_mode=AutoresetMode.SAME_STEP)
        except (gym.error.Error, ImportError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UsageError(
                f"gymnasium: no env of id='{id}' with options {options}: {reason}; check both with gymnasium.make"
            ) from None
        super().__init__(env)
        self.id, self.seed = id, int(seed)
        self.num_actions = int(getattr(env.single_action_space, "n", 0))
        self.single_observation_space = _single_precision(env.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, count)
        self._started = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in all envs; the first reset that names no seed takes the constructor's."""
        if "levels" in (options or {}):
            ResetRequest.of("gymnasium", self.num_envs, options, self.names_levels)
        if seed is None and not self._started:
            seed = self.seed
        self._started = True
        observations, infos = self.env.reset(seed=seed, options=options)
        return _cast(observations), infos

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """One step of all envs; rewards float32."""
        observations, reward, terminated, truncated, infos = self.env.step(actions)
        if "final_obs" in infos:
            final_obs = infos["final_obs"].copy()
            for i in np.flatnonzero(infos["_final_obs"]):
                final_obs[i] = _cast(final_obs[i])
            infos = {**infos, "final_obs": final_obs}
        return _cast(observations), np.asarray(reward, np.float32), terminated, truncated, infos


def _single_precision(space: Space) -> Space:
    """The space with float32 in the place of float64."""
    if isinstance(space, gym.spaces.Dict):
        return gym.spaces.Dict({key: _single_precision(value) for key, value in space.spaces.items()})
    if isinstance(space, gym.spaces.Box) and space.dtype == np.float64:
        return gym.spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
    return space


def _cast(observation: Any) -> Any:
    """float64 arrays as float32, others as they are."""
    if isinstance(observation, dict):
        return {key: _cast(value) for key, value in observation.items()}
    return np.asarray(observation, np.float32) if np.asarray(observation).dtype == np.float64 else observation
