"""Visual shifts: any env with its images changed and nothing else, in six ways and three strengths.

    shift      1               2               3
    channels   green <-> blue  RGB -> GBR      RGB -> BRG      another order each; no strength among them
    hue        60 degrees      120             180             around the grey axis; 120 is RGB -> BRG
    invert     blue            green, blue     all             255 - x; without 3 channels always all
    gamma      1.5             2.2             3.5             255 (x / 255)^gamma, so darker; 0 and 255 stay
    noise      8               16              32              normal, this many of 255 levels, each number alone
    blur       1               2               4               passes of [1 2 1] / 4 along both axes

``Shift`` changes frames, ``ShiftedVectorEnv`` wraps an env, ``ShiftedEnv`` is named in a suite. Noise is drawn by
counter from (seed, env, steps since the reset), so env i does not depend on how many there are, and a run that
continues has the same noise. Where a reset named the levels, (level, repetition) stand for (seed, env). Source: our
own, after the post-processing shifts usual in tests of robustness (Hendrycks and Dietterich 2019, arXiv 1903.12261).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from envs import ENVIRONMENTS
from envs.counter_rng import counter_hash, mix
from envs.named_levels import UNNAMED, ResetRequest
from envs.registry import UsageError, did_you_mean
from envs.spaces import IMAGE, Array, Space, image_of, is_image, with_image
from envs.wrappers.forwarding import Forwarding

ORDERS = ((0, 2, 1), (1, 2, 0), (2, 0, 1))
DEGREES = (60, 120, 180)
GAMMAS = (1.5, 2.2, 3.5)
SIGMAS = (8, 16, 32)
PASSES = (1, 2, 4)


def _channels(images: Array, strength: int, keys: Array) -> Array:
    return images[..., ORDERS[strength - 1]]


def _hue(images: Array, strength: int, keys: Array) -> Array:
    angle = np.deg2rad(DEGREES[strength - 1])
    along, across = (1 - np.cos(angle)) / 3, np.sin(angle) / np.sqrt(3)
    row = np.array([np.cos(angle) + along, along - across, along + across])
    # Rodrigues' formula about (1, 1, 1)
    rotation = np.stack([row, np.roll(row, 1), np.roll(row, 2)]).astype(np.float32)
    return (images.astype(np.float32) @ rotation.T).round().clip(0, 255).astype(np.uint8)


def _invert(images: Array, strength: int, keys: Array) -> Array:
    flipped = np.zeros(images.shape[-1], np.uint8)
    flipped[-strength if len(flipped) == 3 else 0 :] = 255
    return images ^ flipped  # 255 - x is x with every bit turned


def _gamma(images: Array, strength: int, keys: Array) -> Array:
    table = (255 * (np.arange(256) / 255) ** GAMMAS[strength - 1]).round().astype(np.uint8)
    return table[images]


@cache
def _quantiles(sigma: int) -> Array:
    normal = NormalDist(0, sigma)
    return np.array([round(normal.inv_cdf((byte + 0.5) / 256)) for byte in range(256)], np.int16)


def _noise(images: Array, strength: int, keys: Array) -> Array:
    """One byte of a hash for each number, through the quantiles of the normal distribution."""
    size = images[0].size
    bits = mix(keys[:, None], np.arange(-(-size // 8))).astype("<u8")
    drawn = _quantiles(SIGMAS[strength - 1])[bits.view(np.uint8)[:, :size]].reshape(images.shape)
    return (images + drawn).clip(0, 255).astype(np.uint8)


def _blur(images: Array, strength: int, keys: Array) -> Array:
    out: Array = images.astype(np.uint16)
    for _ in range(PASSES[strength - 1]):
        for axis in (1, 2):
            widths = [(1, 1) if i == axis else (0, 0) for i in range(4)]
            padded = np.moveaxis(np.pad(out, widths, mode="edge"), axis, 0)
            out = np.moveaxis((padded[:-2] + 2 * padded[1:-1] + padded[2:] + 2) >> 2, 0, axis)
    return out.astype(np.uint8)


SHIFTS: dict[str, Callable[[Array, int, Array], Array]] = {
    "channels": _channels,
    "hue": _hue,
    "invert": _invert,
    "gamma": _gamma,
    "noise": _noise,
    "blur": _blur,
}


@dataclass(frozen=True)
class Shift:
    """A change of images (N, H, W, C) uint8, as a function of them."""

    name: str = "invert"
    """One of ``SHIFTS``."""
    strength: int = 2
    """1, 2 or 3."""

    def __post_init__(self) -> None:
        if self.name not in SHIFTS:
            raise UsageError(
                f"shift '{self.name}' is not known{did_you_mean(self.name, SHIFTS)} Known: {', '.join(SHIFTS)}"
            )
        if isinstance(self.strength, bool) or self.strength not in (1, 2, 3):
            raise UsageError(f"shift '{self.name}': strength={self.strength!r} is not known; give 1, 2 or 3")

    def __call__(self, images: Array, keys: Array | None = None) -> Array:
        """Fresh images of the same shape. ``keys`` (N,) uint64 fix the noise; None takes one an index."""
        self.check(images.shape[-1])
        keys = counter_hash(np.arange(len(images))) if keys is None else keys
        return np.ascontiguousarray(SHIFTS[self.name](images, int(self.strength), keys))

    def check(self, channels: int) -> None:
        """UsageError where this shift needs colours and the images have none."""
        if self.name in ("channels", "hue") and channels != 3:
            raise UsageError(
                f"shift '{self.name}' needs images of 3 channels, these have {channels}; take gamma or noise"
            )


class ShiftedVectorEnv(Forwarding, VectorWrapper[Any, Any, Any]):
    """``env`` with its images (and those of ``final_obs``) shifted; rewards, ends, actions and state are its own.

    Args:
        env: a vector env of ours: images, or a dict with "image".
        shift: one of ``SHIFTS``.
        strength: 1, 2 or 3.

    Raises:
        UsageError: an unknown shift or strength, or an env without fitting images.
    """

    env: Any

    def __init__(self, env: VectorEnv[Any, Any, Any], shift: str = "invert", strength: int = 2):
        super().__init__(env)
        self.shift = Shift(shift, strength)
        space = env.single_observation_space
        image: Space | None = space.spaces.get(IMAGE) if isinstance(space, gym.spaces.Dict) else space
        if not is_image(image):
            raise UsageError(f"shift '{shift}' changes uint8 images, this env shows {space}; take one that has them")
        self.shift.check(image.shape[-1])
        self._seed, self._time = 0, 0
        self._stream: Array = np.full(self.num_envs, UNNAMED, np.int64)
        self._start: Array = np.zeros(self.num_envs, np.int64)
        """Time at which a named level began."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset ``env`` and shift its frames; with ``reset_mask`` the other rows' frames stay, noise included."""
        observation, infos = self.env.reset(seed=seed, options=options)
        request = ResetRequest.of("shifted", self.num_envs, options, names_levels=True)
        if "reset_mask" not in (options or {}):
            started = seed is not None or self._seed != self.env.seed
            self._seed, self._time = self.env.seed, 0 if started else self._time + 1
        self._stream[request.mask] = request.streams()[request.mask]
        self._start[request.mask] = 0 if request.levels is None else self._time
        return self._shifted(observation, self._keys(self._time)), infos

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Step ``env`` and shift its frames, the true last ones too."""
        observation, reward, terminated, truncated, infos = self.env.step(actions)
        self._time += 1
        if "final_obs" in infos:
            infos = {**infos, "final_obs": self._shifted_finals(infos)}
        return self._shifted(observation, self._keys(self._time)), reward, terminated, truncated, infos

    def _keys(self, time: int, final: int = 0) -> Array:
        named = self._stream != UNNAMED
        numbers = np.where(named, self._stream, np.arange(self.num_envs))
        return counter_hash(np.where(named, 0, self._seed), numbers, time - self._start, final)

    def _shifted(self, observation: Any, keys: Array) -> Any:
        return with_image(observation, self.shift(image_of(observation), keys))

    def _shifted_finals(self, infos: dict[str, Any]) -> Array:
        """The final frames, shifted; where they are the frames shown before, with the noise they had then."""
        final_obs: Array = infos["final_obs"].copy()
        fresh, shown = self._keys(self._time, 1), self._keys(self._time - 1)
        previous = infos.get("final_obs_is_previous", np.zeros(self.num_envs, bool))
        for i in np.flatnonzero(infos["_final_obs"]):
            key = (shown if previous[i] else fresh)[i : i + 1]
            image = self.shift(image_of(final_obs[i])[None], key)[0]
            final_obs[i] = with_image(final_obs[i], image)
        return final_obs

    def render(self) -> tuple[Array, ...] | None:
        """``env``'s frames, shifted."""
        frames = self.env.render()
        return None if frames is None else tuple(self.shift(np.stack(frames), self._keys(self._time)))

    def state(self) -> dict[str, Array]:
        """``env``'s state and the counters of the noise."""
        rows = np.stack([self._stream, self._start])
        return {**self.env.state(), "shift": np.array([self._seed, self._time], np.int64), "shift_rows": rows}

    def set_state(self, state: dict[str, Array]) -> None:
        """Go on from ``state()`` of an equal env."""
        inner = dict(state)
        self._seed, self._time = (int(number) for number in inner.pop("shift"))
        unnamed = np.full(self.num_envs, UNNAMED), np.zeros(self.num_envs)
        self._stream, self._start = np.array(inner.pop("shift_rows", unnamed), np.int64)
        self.env.set_state(inner)


class ShiftedEnv(ShiftedVectorEnv):
    """An env by its name, shifted: ``World("shifted", {"env_name": "procgen", "shift": "hue", "game": "coinrun"})``.

    Args:
        num_envs: number of envs.
        env_name: a name of ``envs.ENVIRONMENTS``.
        shift: one of ``SHIFTS``.
        strength: 1, 2 or 3.
        options: arguments of that environment.
    """

    variants: ClassVar[dict[str, dict[str, Any]]] = {name: {"shift": name} for name in SHIFTS}

    def __init__(
        self, num_envs: int = 1, env_name: str = "procgen", *, shift: str = "invert", strength: int = 2, **options: Any
    ):
        super().__init__(ENVIRONMENTS.resolve(env_name)(num_envs=num_envs, **options), shift, strength)
