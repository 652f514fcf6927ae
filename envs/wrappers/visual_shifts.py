"""Shifts of what is seen: any world with its images changed and nothing else, in six ways and three strengths.

    shift      1               2               3
    channels   green <-> blue  RGB -> GBR      RGB -> BRG      another order each; no strength among them
    hue        60 degrees      120             180             around the grey axis; 120 is RGB -> BRG
    invert     blue            green, blue     all             255 - x; without 3 channels always all
    gamma      1.5             2.2             3.5             255 (x / 255)^gamma, so darker; 0 and 255 stay
    noise      8               16              32              normal, this many of 255 levels, each number alone
    blur       1               2               4               passes of [1 2 1] / 4 along both axes

``Shift`` changes frames, ``ShiftedVectorEnv`` a world that was made, ``ShiftedEnv`` is named in a suite. Noise is
drawn by counter from (seed, env, steps since the reset), so env i does not depend on how many there are and a run that
continues sees the same noise. Source: our own, after the post-processing shifts usual in tests of robustness
(Hendrycks and Dietterich 2019, arXiv 1903.12261).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from envs import WORLDS
from envs.counter_rng import counter_hash, mix
from envs.procgen.games import did_you_mean
from envs.registry import UsageError

Array = np.ndarray
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
    rotation = np.stack([row, np.roll(row, 1), np.roll(row, 2)]).astype(
        np.float32
    )  # Rodrigues' formula about (1, 1, 1)
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
    out = images.astype(np.uint16)
    for _ in range(PASSES[strength - 1]):
        for axis in (1, 2):
            widths = [(1, 1) if place == axis else (0, 0) for place in range(4)]
            wide = np.moveaxis(np.pad(out, widths, mode="edge"), axis, 0)
            out = np.moveaxis((wide[:-2] + 2 * wide[1:-1] + wide[2:] + 2) >> 2, 0, axis)
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


class ShiftedVectorEnv(VectorWrapper):
    """``env`` with its images (and those of ``final_obs``) shifted; rewards, ends, actions and state are its own.

    Args:
        env: a world of ours: images, or a dict with "image".
        shift: one of ``SHIFTS``.
        strength: 1, 2 or 3.

    Raises:
        UsageError: an unknown shift or strength, or a world without fitting images.
    """

    env: Any

    def __init__(self, env: VectorEnv, shift: str = "invert", strength: int = 2):
        super().__init__(env)
        self.shift = Shift(shift, strength)
        space = env.single_observation_space
        image = space.spaces.get("image") if isinstance(space, gym.spaces.Dict) else space
        if not isinstance(image, gym.spaces.Box) or image.dtype != np.uint8 or len(image.shape) != 3:
            raise UsageError(f"shift '{shift}' changes uint8 images, this world shows {space}; take one that has them")
        self.shift.check(image.shape[-1])
        self._seed, self._time = 0, 0

    def __getattr__(self, name: str) -> Any:
        if name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As ``env``'s; with ``reset_mask`` the other rows' frames stay, noise included."""
        masked = "reset_mask" in (options or {})
        seen, infos = self.env.reset(seed=seed, options=options)
        if not masked:
            started = seed is not None or self._seed != self.env.seed
            self._seed, self._time = self.env.seed, 0 if started else self._time + 1
        return self._changed(seen, self._keys(self._time)), infos

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """As ``env``'s."""
        seen, reward, terminated, truncated, infos = self.env.step(actions)
        self._time += 1
        if "final_obs" in infos:
            infos = {**infos, "final_obs": self._finals(infos)}
        return self._changed(seen, self._keys(self._time)), reward, terminated, truncated, infos

    def _keys(self, time: int, last: int = 0) -> Array:
        return counter_hash(self._seed, np.arange(self.num_envs), time, last)

    def _changed(self, seen: Any, keys: Array) -> Any:
        if isinstance(seen, dict):
            return {**seen, "image": self.shift(seen["image"], keys)}
        return self.shift(seen, keys)

    def _finals(self, infos: dict[str, Any]) -> Array:
        """The last frames, shifted; where they are the frames shown before, with the noise they had then."""
        out = infos["final_obs"].copy()
        fresh, shown = self._keys(self._time, 1), self._keys(self._time - 1)
        previous = infos.get("final_obs_is_previous", np.zeros(self.num_envs, bool))
        for i in np.flatnonzero(infos["_final_obs"]):
            key = (shown if previous[i] else fresh)[i : i + 1]
            seen = out[i]
            batch = {"image": seen["image"][None]} if isinstance(seen, dict) else seen[None]
            changed = self._changed(batch, key)
            out[i] = {**seen, "image": changed["image"][0]} if isinstance(seen, dict) else changed[0]
        return out

    def render(self) -> tuple[Array, ...] | None:
        """``env``'s frames, shifted."""
        frames = self.env.render()
        return None if frames is None else tuple(self.shift(np.stack(frames), self._keys(self._time)))

    def state(self) -> dict[str, Array]:
        """``env``'s state and where the noise stands."""
        return {**self.env.state(), "shift": np.array([self._seed, self._time], np.int64)}

    def set_state(self, state: dict[str, Array]) -> None:
        """Go on from ``state()`` of an equal world."""
        inner = dict(state)
        self._seed, self._time = (int(number) for number in inner.pop("shift"))
        self.env.set_state(inner)


class ShiftedEnv(ShiftedVectorEnv):
    """A world by its name, shifted: ``World("shifted", {"world": "procgen", "shift": "hue", "game": "coinrun"})``.

    Args:
        num_envs: number of envs.
        world: a name of ``envs.WORLDS``.
        shift: one of ``SHIFTS``.
        strength: 1, 2 or 3.
        options: arguments of that world.
    """

    variants = {name: {"shift": name} for name in SHIFTS}

    def __init__(
        self, num_envs: int = 1, world: str = "procgen", *, shift: str = "invert", strength: int = 2, **options: Any
    ):
        super().__init__(WORLDS.resolve(world)(num_envs=num_envs, **options), shift, strength)
