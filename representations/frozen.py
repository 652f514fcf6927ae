"""Frozen representation in front of any stable-baselines3 or sb3-contrib algorithm: images in, feature vectors out.

env = FrozenVecEnv(Sb3VecEnv(world.make(8, seed=0)), representation)
DQN("MlpPolicy", env).learn(100_000)
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from envs.registry import UsageError
from envs.spaces import keyed, keyed_space
from envs.steps import Obs
from representations.base import Representation, State


class FrozenVecEnv(VecEnvWrapper):
    """Observations and ``terminal_observation`` as features, Box (D,) float32; each frame is encoded once.

    Args:
        venv: gives uint8 images (C, H, W), or a Dict with the representation's keys.
        representation: put in eval mode, without gradient, for good. Its state is reset when an episode opens.

    Raises:
        UsageError: an image that is not (C, H, W) uint8, a missing key, or another shape than it was built for.
    """

    def __init__(self, venv: VecEnv, representation: Representation):
        space = venv.observation_space
        boxes = keyed_space(space).spaces
        for key in representation.keys:
            if key not in boxes:
                raise UsageError(f"the frozen encoder needs obs key '{key}'; this environment gives {sorted(boxes)}")
            given, wanted = boxes[key], representation.spec.space[key]
            if (given.shape, given.dtype) != (wanted.shape, wanted.dtype):
                raise UsageError(
                    f"obs key '{key}' is {given.dtype} {given.shape}; the frozen encoder was built for {wanted.dtype} "
                    f"{wanted.shape}; images go (C, H, W), as Sb3VecEnv or VecTransposeImage gives them"
                )
        self.representation = representation.eval().requires_grad_(False)
        box = gym.spaces.Box(-np.inf, np.inf, (representation.features_dim,), np.float32)
        super().__init__(venv, observation_space=box)
        self._state: State = representation.initial_state(self.num_envs)

    def reset(self) -> NDArray[np.float32]:
        self._state = self.representation.initial_state(self.num_envs)
        return self._encode(self._tensors(self.venv.reset()), np.ones(self.num_envs, bool))

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], list[dict[str, Any]]]:
        observation, rewards, dones, infos = self.venv.step_wait()
        # Final frames first: they continue the old episodes' state, which _encode resets.
        for i in np.flatnonzero(dones):
            if "terminal_observation" in infos[i]:
                infos[i]["terminal_observation"] = self._final(infos[i]["terminal_observation"], int(i))
        return self._encode(self._tensors(observation), dones), rewards, dones, infos

    def _tensors(self, observation: Any) -> Obs:
        arrays = keyed(observation, self.venv.observation_space)
        return {key: torch.from_numpy(np.asarray(arrays[key])).to(self._device()) for key in self.representation.keys}

    def _device(self) -> torch.device:
        parameter = next(self.representation.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    @torch.no_grad()
    def _encode(self, obs: Obs, first: NDArray[Any]) -> NDArray[np.float32]:
        mask = torch.from_numpy(np.asarray(first, bool)).to(self._device())
        features, self._state = self.representation.encode(obs, self._state, mask)
        array: NDArray[np.float32] = features.float().cpu().numpy()
        return array

    @torch.no_grad()
    def _final(self, observation: Any, i: int) -> NDArray[np.float32]:
        obs = {key: value.unsqueeze(0) for key, value in self._tensors(observation).items()}
        state = tuple(carried[i : i + 1] for carried in self._state)
        first = torch.zeros(1, dtype=torch.bool, device=self._device())
        array: NDArray[np.float32] = self.representation.encode(obs, state, first)[0][0].float().cpu().numpy()
        return array
