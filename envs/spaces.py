"""Observation spaces: key names, images and their memory order, and the facts a method is built for.

Environments show images as uint8 (H, W, C); agents see them as (C, H, W), a view of the same memory. Observations are
dicts by key. A bare image has the key "image", any other bare observation the key "state".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard, TypeVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.registry import UsageError

Array: TypeAlias = NDArray[Any]
Space: TypeAlias = gym.Space[Any]
IMAGE, STATE, FEATURES, FACTORS = "image", "state", "features", "factors"
"""Keys of an observation: pixels or codes; a vector; what a frozen representation made of a frame; the ground truth."""
LAST_ACTION, LAST_REWARD = "last_action", "last_reward"
"""Keys of what led to an observation (``envs.wrappers.last_step``)."""
V = TypeVar("V")


def is_image(space: Space | None) -> TypeGuard[gym.spaces.Box]:
    """True for uint8 Boxes of three axes, in either order."""
    return isinstance(space, gym.spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def channels_first(space: gym.spaces.Box) -> gym.spaces.Box:
    """An image space (H, W, C) as (C, H, W)."""
    return gym.spaces.Box(space.low.transpose(2, 0, 1), space.high.transpose(2, 0, 1), dtype=np.uint8)


def to_channels_first(images: Array) -> Array:
    """Images (..., H, W, C) as (..., C, H, W): a view, nothing is copied."""
    return np.moveaxis(images, -1, -3)


def default_key(space: Space) -> str:
    """Key of a bare observation: "image" or "state"."""
    return IMAGE if is_image(space) else STATE


def keyed_space(space: Space) -> gym.spaces.Dict:
    """The space as a Dict; a bare one under its ``default_key``."""
    return space if isinstance(space, gym.spaces.Dict) else gym.spaces.Dict({default_key(space): space})


def keyed(observation: V | Mapping[str, V], space: Space) -> dict[str, V]:
    """An observation of ``space`` as a dict, values as they are."""
    return dict(observation) if isinstance(observation, Mapping) else {default_key(space): observation}


def with_image(observation: Any, image: Array) -> Any:
    """``observation`` with another image: the array itself, or a dict whose other keys stay."""
    return {**observation, IMAGE: image} if isinstance(observation, Mapping) else image


def image_of(observation: Any) -> Array:
    """The image of an observation that is one, or a dict that holds one."""
    image: Array = observation[IMAGE] if isinstance(observation, Mapping) else observation
    return image


@dataclass(frozen=True)
class EnvSpec:
    """Facts about an environment and its agent that a representation or a bonus is built for."""

    space: gym.spaces.Dict
    """Observations by key as the agent sees them, images (C, H, W)."""
    action_space: Space | None = None
    """None where nothing acts (offline fits)."""
    discount: float = 0.99
    """gamma of the agent."""
    frames: int = 1
    """Frames stacked in the channels of an image, oldest first."""

    def __post_init__(self) -> None:
        for key, box in self.space.spaces.items():
            if is_image(box) and box.shape[2] in (1, 3, 4) and box.shape[2] < min(box.shape[:2]):
                raise UsageError(
                    f"observation '{key}' is {box.shape}, height and width first; representations read (C, H, W): "
                    "EnvSpec.of(env) gives it so"
                )

    @classmethod
    def of(cls, env: Any, discount: float = 0.99, frames: int | None = None) -> EnvSpec:
        """Facts about a stable-baselines3 ``VecEnv`` as an agent takes it.

        Args:
            frames: frames stacked in the channels of its images; None: as many as the env or its wrappers say, else 1.
        """
        from envs.wrappers.observations import stacked_frames
        from envs.wrappers.sb3 import as_agents_take

        seen = as_agents_take(env)
        count = stacked_frames(env) or 1 if frames is None else frames
        return cls(keyed_space(seen.observation_space), seen.action_space, discount, count)

    @property
    def num_actions(self) -> int:
        """Number of Discrete actions; 0 where actions are not Discrete, or none are taken."""
        space = self.action_space
        return int(space.n) if isinstance(space, gym.spaces.Discrete) else 0

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of the image, all stacked frames together."""
        shape: Any = self.space[IMAGE].shape
        return tuple(shape)

    @property
    def channels(self) -> int:
        """Channels of one frame."""
        return self.image_shape[0] // self.frames
