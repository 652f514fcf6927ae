"""Contact sheets: a row of frames for each environment, with its name beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from envs.action_codes import random_actions
from envs.spaces import IMAGE, Array, is_image, keyed, keyed_space
from envs.tasks import World

FRAMES = 8
EVERY = 6
"""Steps between two moments."""
LEAST_SIDE = 128
"""Frames are enlarged by whole factors to at least so many pixels."""

CODES = 16
"""Symbolic observations hold numbers below this."""
THUMBNAIL = 64
"""Height of a thumbnail's frames in pixels."""
THUMBNAIL_MOMENT = 3


def moments(world: World, seed: int = 0) -> dict[str, Array]:
    """Observations (FRAMES, ...) by key: that of env i after i * EVERY steps of a random policy that holds its actions.

    Visual variants of one environment show the same states for the same seed. Where no key is an image, "image" is
    what the environment renders, if it renders anything.
    """
    envs: Any = world.make(FRAMES, seed)
    space = envs.single_observation_space
    has_image = is_image(keyed_space(space).spaces.get(IMAGE))
    rng = np.random.default_rng(seed)
    observations, _ = envs.reset()
    snapshots = []
    for moment in range(FRAMES):
        by_key = keyed(observations, space)
        if not has_image and getattr(envs, "render_mode", None) == "rgb_array":
            by_key[IMAGE] = np.stack(envs.render())
        snapshots.append({key: value[moment] for key, value in by_key.items()})
        actions = random_actions(envs.single_action_space, FRAMES, rng)
        for _ in range(EVERY if moment < FRAMES - 1 else 0):
            observations = envs.step(actions)[0]
    envs.close()
    return {key: np.stack([snapshot[key] for snapshot in snapshots]) for key in snapshots[0]}


def strip(world: World, seed: int = 0) -> Array:
    """(FRAMES, H, W, 3): the images of ``moments``, of stacked frames the newest; codes below 16 brightened."""
    image = moments(world, seed)[IMAGE]
    if image.max() < CODES:
        image = image * (255 // (CODES - 1))
    image = image[..., -3:] if image.shape[-1] >= 3 else image[..., -1:]
    return np.broadcast_to(image, (*image.shape[:-1], 3))


def thumbnail(worlds: Mapping[str, World], seed: int = 0) -> Image.Image:
    """One frame an environment side by side, all of the same moment, each THUMBNAIL pixels high."""
    images = [Image.fromarray(strip(world, seed)[THUMBNAIL_MOMENT]) for world in worlds.values()]
    images = [
        image.resize((THUMBNAIL * image.width // image.height, THUMBNAIL), Image.Resampling.LANCZOS) for image in images
    ]
    canvas = Image.new("RGB", (sum(image.width + 2 for image in images) - 2, THUMBNAIL), "white")
    left = 0
    for image in images:
        canvas.paste(image, (left, 0))
        left += image.width + 2
    return canvas


def sheet(worlds: Mapping[str, World], seed: int = 0) -> Image.Image:
    """One row an environment."""
    font: Any = ImageFont.load_default(size=16)
    rows: list[tuple[str, Array]] = []
    for name, world in worlds.items():
        frames = strip(world, seed)
        factor = -(-LEAST_SIDE // max(frames.shape[1:3]))
        frames = frames.repeat(factor, axis=1).repeat(factor, axis=2)
        framed = [np.pad(frame, ((2, 2), (2, 2), (0, 0)), constant_values=255) for frame in frames]
        rows.append((name, np.concatenate(framed, 1)))
    margin = 16 + max(int(font.getlength(name)) for name, _ in rows)
    width, height = margin + max(row.shape[1] for _, row in rows), sum(row.shape[0] for _, row in rows)
    canvas = Image.new("RGB", (width, height), "white")
    pen, top = ImageDraw.Draw(canvas), 0
    for name, row in rows:
        pen.text((8, top + row.shape[0] / 2), name, fill="black", font=font, anchor="lm")
        canvas.paste(Image.fromarray(row), (margin, top))
        top += row.shape[0]
    return canvas
