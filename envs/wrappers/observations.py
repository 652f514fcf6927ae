"""Observation spaces from elsewhere, as the spaces of this folder: what is understood is said, what is not is refused.

    Conversion(space).space         images uint8 (H, W, C), all else vectors of float32; bare, or by key
    Conversion(space).batch(obs)    observations of N envs
    Conversion(space).single(obs)   one env's observation: the last one of an episode, say

A Dict may be nested; its entries are Box, Discrete, MultiDiscrete, MultiBinary. An image is grey (H, W), has its
channels last or first, or is a stack of frames (k, H, W, C); it may hold integers, or floats between finite bounds. The
axis of channels is the first where it is the shortest one, else the last. Text is left out.

Frames in the channels are those that somebody names: the space itself (four axes), the wrapper that stacks them
(``stacked_frames``), or the user.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from envs.registry import UsageError
from envs.spaces import FACTORS, FEATURES, IMAGE, LAST_ACTION, LAST_REWARD, STATE, Array, Space, is_image

CHANNELS = ("auto", "last", "first", "none")
"""Where an image has its channels: last (H, W, C), first (C, H, W), or none: numbers, which become a vector."""
RESERVED = (FEATURES, FACTORS, LAST_ACTION, LAST_REWARD)
"""Keys that this toolkit adds itself."""
GREY_SIDE = 16
"""Floats of two axes are an image from so many rows and columns on, else a vector."""
MOST_VALUES = 4096
"""Values of a Discrete entry at most: it becomes one-hot."""
CURE = "change it with gymnasium.wrappers.TransformObservation"
Convert = Callable[[Array], Array]


@dataclass(frozen=True)
class Entry:
    """One array of an observation, and its place in the raw one."""

    path: tuple[Any, ...]
    """Keys, or positions, that lead to it; () for a bare observation."""
    space: gym.spaces.Box
    """Of one env, converted."""
    about: str
    """Meaning given to it, for the user."""
    convert: Convert | None = None
    """(N, ...) raw -> (N, ...) converted, fresh; None: it is taken as it is."""
    frames: int = 1

    def read(self, observation: Any) -> Array:
        """The entry of raw observations (N, ...), converted."""
        for step in self.path:
            observation = observation[step]
        raw = np.asarray(observation)
        return raw if self.convert is None else self.convert(raw)

    def read_single(self, observation: Any) -> Array:
        """The entry of one raw observation, converted."""
        for step in self.path:
            observation = observation[step]
        raw = np.asarray(observation)
        single: Array = raw if self.convert is None else self.convert(raw[None])[0]
        return single


class Conversion:
    """From the observations of one space to those that agents read.

    Attributes:
        space: of one env, converted: a Box, or a Dict of them by key.
        frames: frames stacked in the channels of the image.
        about: a line an entry: what it is taken for.
        changes: False where observations stay as they are.

    Args:
        space: of one env.
        channels: one of ``CHANNELS``.
        frames: frames that its channels are known to hold; None: as many as the space itself says, else 1.

    Raises:
        UsageError: an entry that no network here reads, with what to do about it.
    """

    def __init__(self, space: Space, channels: str = "auto", frames: int | None = None):
        if channels not in CHANNELS:
            raise UsageError(f"channels='{channels}' is not one of {', '.join(CHANNELS)}")
        self.left_out: list[str] = []
        entries = dict(self._entries(space, (), channels, frames))
        if not entries:
            raise UsageError(f"{space} holds nothing that a network reads; {CURE}")
        self._entries_by_key = self._named(entries)
        self._joined = isinstance(space, gym.spaces.Dict | gym.spaces.Tuple) and self._has_no_input()
        kept = self._entries_by_key
        self.frames = kept[IMAGE].frames if IMAGE in kept else 1
        self._bare = not isinstance(space, gym.spaces.Dict | gym.spaces.Tuple)
        if self._bare:
            (entry,) = kept.values()
            self.space: Space = entry.space
        elif self._joined:
            boxes = [entry.space for entry in kept.values()]
            low, high = (np.concatenate([getattr(box, end).ravel() for box in boxes]) for end in ("low", "high"))
            self.space = gym.spaces.Dict({STATE: gym.spaces.Box(low, high, dtype=np.float32)})
        else:
            self.space = gym.spaces.Dict({key: entry.space for key, entry in kept.items()})
        self.changes = self._joined or any(
            entry.convert is not None or (not self._bare and entry.path != (key,)) for key, entry in kept.items()
        )
        self.changes |= bool(self.left_out)
        self.about = self._described()

    def batch(self, observation: Any) -> Any:
        """Observations of all envs, converted."""
        return self._assembled({key: entry.read(observation) for key, entry in self._entries_by_key.items()})

    def single(self, observation: Any) -> Any:
        """One env's observation, converted."""
        return self._assembled({key: entry.read_single(observation) for key, entry in self._entries_by_key.items()})

    def _assembled(self, arrays: dict[str, Array]) -> Any:
        if self._bare:
            (array,) = arrays.values()
            return array
        return {STATE: np.concatenate(list(arrays.values()), axis=-1)} if self._joined else arrays

    def _entries(
        self, space: Space, path: tuple[Any, ...], channels: str, frames: int | None
    ) -> list[tuple[str, Entry]]:
        """Entries by their path as text, depth first."""
        inner: Mapping[Any, Space] | None = None
        if isinstance(space, gym.spaces.Dict):
            inner = space.spaces
        elif isinstance(space, gym.spaces.Tuple):
            inner = dict(enumerate(space.spaces))
        name = ".".join(map(str, path))
        if inner is not None:
            return [pair for key, one in inner.items() for pair in self._entries(one, (*path, key), channels, frames)]
        if isinstance(space, gym.spaces.Text):
            self.left_out.append(name or "it")
            return []
        return [(name, make_entry(space, path, channels, frames))]

    def _named(self, entries: dict[str, Entry]) -> dict[str, Entry]:
        """Entries by key; the only image is called "image"."""
        images = [key for key, entry in entries.items() if is_image(entry.space)]
        if len(images) > 1 and IMAGE not in images:
            raise UsageError(
                f"observation with images {', '.join(images)}: networks read the one called '{IMAGE}'; name it so, or "
                "leave one, with gymnasium.wrappers.TransformObservation"
            )
        if len(images) == 1 and IMAGE not in entries:
            return {IMAGE if key == images[0] else key: entry for key, entry in entries.items()}
        return entries

    def _has_no_input(self) -> bool:
        """True for vectors alone, none of which is the one that networks read."""
        return not any(key in (IMAGE, STATE) for key in self._entries_by_key)

    def _described(self) -> tuple[str, ...]:
        lines = []
        for key, entry in self._entries_by_key.items():
            name = ".".join(map(str, entry.path))
            as_key = f" (as '{key}')" if name and name != key else ""
            lines.append(f"{name or 'observation'}{as_key}: {entry.about}")
            others = len(entry.space.shape) > 1 and key != IMAGE and not self._bare
            lines[-1] += "; no network here reads it" if others else ""
        if self._joined:
            lines.append(f"all of them, one after the other, are the vector '{STATE}'")
        lines += [f"{name}: text, left out" for name in self.left_out]
        return tuple(lines)


def make_entry(space: Space, path: tuple[Any, ...], channels: str, frames: int | None) -> Entry:
    """Conversion of one array. UsageError for a space that has none."""
    name = f"observation '{'.'.join(map(str, path))}'" if path else "observation"
    if isinstance(space, gym.spaces.Discrete):
        return one_hot_entry(name, path, np.array([int(space.n)]), np.array([int(space.start)]))
    if isinstance(space, gym.spaces.MultiDiscrete):
        return one_hot_entry(name, path, space.nvec.ravel(), space.start.ravel())
    if isinstance(space, gym.spaces.MultiBinary):
        return flat_entry(path, space.shape, 0.0, 1.0, f"{math.prod(space.shape)} bits")
    if not isinstance(space, gym.spaces.Box):
        raise UsageError(f"{name} is {space}: networks here read Box, Discrete, MultiDiscrete and MultiBinary; {CURE}")
    if channels != "none" and looks_like_image(space):
        return image_entry(name, space, path, channels, frames)
    if space.dtype == np.float32 and len(space.shape) == 1:
        return Entry(path, space, f"vector of {space.shape[0]} numbers")
    low, high = (np.asarray(bound, np.float32).ravel() for bound in (space.low, space.high))
    was = "" if len(space.shape) == 1 else f", from {space.dtype} {space.shape}"
    return flat_entry(path, space.shape, low, high, f"vector of {math.prod(space.shape)} numbers{was}")


def looks_like_image(space: gym.spaces.Box) -> bool:
    """True for three or four axes, and for two of bytes, or of floats where there are many."""
    axes = len(space.shape)
    if axes == 2:
        large = min(space.shape) >= GREY_SIDE and bool(np.isfinite([space.low, space.high]).all())
        return space.dtype == np.uint8 or (large and np.issubdtype(space.dtype, np.floating))
    return axes in (3, 4)


def flat_entry(path: tuple[Any, ...], shape: tuple[int, ...], low: Any, high: Any, about: str) -> Entry:
    """Numbers of any shape as a vector of float32."""
    size = math.prod(shape)

    def convert(raw: Array) -> Array:
        flat: Array = np.array(raw, np.float32).reshape(len(raw), size)
        return flat

    bounds = np.broadcast_to(np.asarray(low, np.float32), size), np.broadcast_to(np.asarray(high, np.float32), size)
    return Entry(path, gym.spaces.Box(bounds[0].copy(), bounds[1].copy(), dtype=np.float32), about, convert)


def one_hot_entry(name: str, path: tuple[Any, ...], sizes: Array, starts: Array) -> Entry:
    """Numbers of choices as one-hot vectors side by side."""
    width = int(sizes.sum())
    if width > MOST_VALUES:
        raise UsageError(f"{name} has {width:,} values; at most {MOST_VALUES:,} are shown one-hot; {CURE}")
    begins = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def convert(raw: Array) -> Array:
        choices = raw.reshape(len(raw), len(sizes)).astype(np.int64) - starts
        wrong = ((choices < 0) | (choices >= sizes)).any(1)
        if wrong.any():  # it would be shown as another choice
            raise UsageError(
                f"{name} holds {raw[wrong][0].tolist()}, outside of its space: mend the space, or reset() and step()"
            )
        rows = np.zeros((len(raw), width), np.float32)
        np.put_along_axis(rows, choices + begins, 1, axis=1)
        return rows

    choices = " + ".join(map(str, sizes.tolist())) if len(sizes) <= 8 else f"{len(sizes)} choices, {width}"
    return Entry(path, gym.spaces.Box(0, 1, (width,), np.float32), f"one-hot, {choices} values", convert)


def image_entry(name: str, space: gym.spaces.Box, path: tuple[Any, ...], channels: str, frames: int | None) -> Entry:
    """An image as uint8 (H, W, C), the frames of a stack side by side in the channels, oldest first."""
    shape, stacked = space.shape, len(space.shape) == 4
    inner = shape[1:] if stacked else shape
    if len(inner) == 2:
        order, (height, width), depth = "grey", inner, 1
    else:
        first = channels == "first" or (channels == "auto" and inner[0] < min(inner[1:]))
        order = "channels first" if first else "channels last"
        depth, height, width = inner if first else (inner[2], *inner[:2])
    if stacked and frames not in (None, 1, shape[0]):
        raise UsageError(f"{name} {shape} holds {shape[0]} frames, not {frames}; leave the number out")
    total = depth * (shape[0] if stacked else 1)
    count = shape[0] if stacked else frames or 1
    if total % count:
        raise UsageError(f"{name} {shape} has {total} channels, which {count} frames cannot share; give a divisor")
    to_bytes, values = byte_conversion(name, space)
    box = gym.spaces.Box(0, 255, (height, width, total), np.uint8)
    about = f"image of {height}x{width}, {total // count} channel{'s' * (total // count > 1)}, " + (
        f"{count} frames in them, oldest first" if count > 1 else "one frame"
    )
    about += f" ({space.dtype} {shape}, {order}{values})"
    if not stacked and order == "channels last" and to_bytes is None:
        return Entry(path, space, about, None, count)

    def convert(raw: Array) -> Array:
        images = raw if to_bytes is None else to_bytes(raw)
        if order == "grey":
            images = images[..., None]
        elif order == "channels first":
            images = np.moveaxis(images, -3, -1)
        if stacked:
            images = np.moveaxis(images, 1, -2).reshape(len(raw), height, width, total)
        return np.array(images, np.uint8, order="C")

    return Entry(path, box, about, convert, count)


def byte_conversion(name: str, space: gym.spaces.Box) -> tuple[Convert | None, str]:
    """Function from an image's numbers to bytes, None for bytes, and what it does in words."""
    low, high = float(space.low.min()), float(space.high.max())
    if space.dtype == np.uint8:
        return None, ""
    if not np.isfinite([low, high]).all() or low >= high:
        raise UsageError(
            f"{name} is {space.dtype} {space.shape} in [{low:g}, {high:g}], and an image needs finite bounds: name "
            "them in its Box, as Box(0, 1, ...), or take its numbers as a vector (--image-channels none)"
        )
    integers = np.issubdtype(space.dtype, np.integer) or space.dtype == np.bool_
    as_they_are = integers and low >= 0 and high <= 255
    scale = 255 / (high - low)

    def convert(raw: Array) -> Array:
        if not (raw.min() >= low and raw.max() <= high):  # numbers that are not finite fail both
            raise UsageError(
                f"{name} holds numbers from {raw.min():g} to {raw.max():g}, outside of its space, [{low:g}, {high:g}]: "
                "give it those bounds, or clip it"
            )
        images: Array = (raw if as_they_are else np.rint((raw - low) * scale)).astype(np.uint8)
        return images

    return convert, "" if as_they_are else f", [{low:g}, {high:g}] as 0 to 255"


def refuse_reserved(space: Space) -> None:
    """UsageError for an entry whose name this toolkit gives to what it adds itself."""
    for key in space.spaces if isinstance(space, gym.spaces.Dict) else ():
        if key in RESERVED:
            raise UsageError(
                f"observation '{key}': the toolkit itself adds an entry of this name; call yours otherwise"
            )


def stacked_frames(env: Any) -> int | None:
    """Frames in the channels of an env's images, as its wrappers say; None where none says.

    Args:
        env: single or vector env of Gymnasium, or a ``VecEnv`` of stable-baselines3.
    """
    from gymnasium.wrappers import FrameStackObservation

    count: int | None = None
    while env is not None:
        own: Any = None
        if isinstance(env, FrameStackObservation):
            own = env.observation_space.shape and env.observation_space.shape[0]
        elif "stacked_obs" in vars(env):  # stable-baselines3's VecFrameStack
            own = env.stacked_obs.n_stack
        elif {"ale", "grayscale"} <= set(vars(env)):  # ale_py's AtariVectorEnv: (frames, H, W)
            own = env.single_observation_space.shape[0]
        elif "frames" in vars(env) and _is_of_this_folder(env):  # what lies within is counted
            return int(env.frames) * (count or 1)
        if own:
            count = own * (count or 1)
        env = vars(env).get("env", vars(env).get("venv"))
    return count


def _is_of_this_folder(env: Any) -> bool:
    """False for an environment of the user's, whose ``frames`` may mean anything: a counter, say."""
    return any(cls.__module__.startswith(f"{__package__}.") for cls in type(env).__mro__)
