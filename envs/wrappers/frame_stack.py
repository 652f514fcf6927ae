"""The last k frames side by side in the channels, oldest first, which let an end-to-end network see motion.

At the start of an episode the frames before it are its first one. A frozen representation does without:
``representations.wrappers.FeatureStack`` encodes each frame once and puts the features side by side.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from envs.registry import UsageError
from envs.spaces import IMAGE, Array, Space, image_of, is_image, with_image
from envs.wrappers.forwarding import Forwarding
from envs.wrappers.observations import stacked_frames


class StackedVectorEnv(Forwarding, VectorEnv[Any, Any, Any]):
    """``env`` with images (N, H, W, k * C); its other observations, rewards and infos as they are.

    Attributes:
        stacked: k.
        frames: frames in the channels: k times those that the env itself puts there.

    Args:
        env: a SAME_STEP vector env whose observation is an image, or a dict with the key "image".
        frames: k, at least 2.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], frames: int):
        if frames < 2:
            raise UsageError(f"a stack of frames={frames} shows no motion; give 2 or more")
        self.env: Any = env
        self.stacked, self.frames = frames, frames * (stacked_frames(env) or 1)
        self.metadata, self.num_envs, self.render_mode = env.metadata, env.num_envs, env.render_mode
        space = env.single_observation_space
        image: Space | None = space.spaces.get(IMAGE) if isinstance(space, gym.spaces.Dict) else space
        if not is_image(image):
            raise UsageError(f"{space} holds no image to stack; choose an image observation")
        self.channels = image.shape[2]
        stacked = gym.spaces.Box(np.tile(image.low, frames), np.tile(image.high, frames), dtype=np.uint8)
        self.single_observation_space = (
            gym.spaces.Dict({**space.spaces, IMAGE: stacked}) if isinstance(space, gym.spaces.Dict) else stacked
        )
        self.single_action_space, self.action_space = env.single_action_space, env.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._stack: Array = np.zeros((self.num_envs, *stacked.shape), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, infos = self.env.reset(seed=seed, options=options)
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        stack = self._stack.copy()
        stack[mask] = self._repeated(image_of(observation)[mask])
        self._stack = stack
        return with_image(observation, stack), infos

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        observation, reward, terminated, truncated, infos = self.env.step(actions)
        image, older = image_of(observation), self._stack[..., self.channels :]
        stack = self._pushed(image)
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            final_obs = np.full(self.num_envs, None, object)
            for i in ended:
                final = infos["final_obs"][i]
                final_obs[i] = with_image(final, np.concatenate([older[i], image_of(final)], axis=-1))
            infos = {**infos, "final_obs": final_obs}
            stack[ended] = self._repeated(image[ended])
        self._stack = stack
        return with_image(observation, stack), reward, terminated, truncated, infos

    def _pushed(self, image: Array) -> Array:
        """The stack with ``image`` as its newest frame.

        All of memory moves by one frame's channels at once, several times as fast as pixel by pixel; what slips in
        from the next pixel is then overwritten.
        """
        stack, channels = np.empty_like(self._stack), self.channels
        stack.reshape(-1)[:-channels] = self._stack.reshape(-1)[channels:]
        for channel in range(channels):
            stack[..., channel - channels] = image[..., channel]
        return stack

    def _repeated(self, image: Array) -> Array:
        """The stack at the start of an episode: its first frame k times."""
        return np.tile(image, self.stacked)

    def render(self) -> Any:
        return self.env.render()

    def state(self) -> dict[str, Array]:
        """The env's state, and the frames still in the stack."""
        return {**self.env.state(), "stacked frames": self._stack.copy()}

    def set_state(self, state: dict[str, Array]) -> None:
        """Go on from ``state()`` of an equal stack."""
        inner = dict(state)
        self._stack = np.array(inner.pop("stacked frames"), np.uint8)
        self.env.set_state(inner)

    def close_extras(self, **kwargs: Any) -> None:
        self.env.close()
