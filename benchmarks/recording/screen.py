"""Pictures that a person sees of an environment: its image observation, or what it renders where that shows more."""

from __future__ import annotations

import os
import sys
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image

from envs.contact_sheet import CODES
from envs.registry import UsageError
from envs.spaces import IMAGE, Array, is_image, keyed, keyed_space
from envs.tasks import World
from envs.wrappers.observations import stacked_frames

LARGEST_SIDE = 256
"""Pixels; larger pictures are scaled down to it."""


class Screen:
    """Frames (H, W, 3) uint8 of single envs of a vector env, made by ``make_visible``.

    A rendered frame is taken where it has more pixels or colours than the observation.

    Args:
        env: its first observations were not asked for yet, or were.

    Raises:
        UsageError: it neither observes nor renders images.
    """

    def __init__(self, env: gym.vector.VectorEnv):
        self.env: Any = env
        self.space = env.single_observation_space
        image = keyed_space(self.space).spaces.get(IMAGE)
        self.channels, self.brightness, self.observed = 0, 1, is_image(image)
        if is_image(image):
            self.channels = image.shape[2] // (stacked_frames(env) or 1)
            largest = int(image.high.max())
            self.brightness = 255 // (CODES - 1) if largest < CODES else 1
        self.rendered: bool | None = None
        """Known from the first frame on."""

    def frames(self, observation: Any, rows: Array) -> Array:
        """Frames (K, H, W, 3) of the envs ``rows`` (K,) now, whose newest observation is ``observation``."""
        own = self._observed(observation, rows) if self.observed else None
        if self.rendered is False and own is not None:
            return own
        pictures = self._rendered(rows)
        if self.rendered is None:
            self.rendered = pictures is not None and (
                own is None or self.channels < 3 or pictures.shape[1] * pictures.shape[2] > own.shape[1] * own.shape[2]
            )
        chosen = pictures if self.rendered else own
        if chosen is None:
            raise UsageError(f"{self.env} neither observes nor renders images; there is nothing to see of it")
        return chosen

    def _observed(self, observation: Any, rows: Array) -> Array:
        """The newest of the stacked frames, symbols below 16 brightened."""
        image = keyed(observation, self.space)[IMAGE][rows][..., -self.channels :]
        return _three_channels(image * np.uint8(self.brightness))

    def _rendered(self, rows: Array) -> Array | None:
        """Rendered pictures; None where there are none."""
        if getattr(self.env, "render_mode", None) != "rgb_array":
            return None
        pictures = self.env.render()
        if pictures is None or pictures[0] is None:
            return None
        chosen = _three_channels(np.stack([pictures[row] for row in rows]))
        if chosen.max() < CODES:  # it renders the symbols themselves
            chosen = chosen * np.uint8(self.brightness)
        return np.stack([_within(picture) for picture in chosen])


def make_visible(world: World, count: int, seed: int) -> gym.vector.VectorEnv:
    """``world`` with so many envs, rendering where its class can."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # else pygame prints an error for each env it opens
    try:
        return world.with_options(render_mode="rgb_array").make(count, seed)
    except (UsageError, TypeError):  # a foreign class takes no such option, or has no such mode
        return world.make(count, seed)


def _three_channels(images: Array) -> Array:
    """Images (K, H, W, C) as (K, H, W, 3): grey ones three times, others without what follows the third."""
    return np.repeat(images, 3, axis=-1) if images.shape[-1] < 3 else images[..., :3]


def _within(picture: Array) -> Array:
    """The picture, scaled down to ``LARGEST_SIDE`` where it is larger."""
    height, width = picture.shape[:2]
    if max(height, width) <= LARGEST_SIDE:
        return picture
    factor = LARGEST_SIDE / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
