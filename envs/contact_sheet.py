"""Contact sheets: what worlds look like, a row of frames each, with its name beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from envs.tasks import World

Array = np.ndarray
FRAMES = 8
EVERY = 6
"""Steps between two moments."""
LEAST_SIDE = 128
"""Frames are enlarged by whole factors to at least so many pixels."""


def moments(world: World, seed: int = 0) -> dict[str, Array]:
    """Observations (FRAMES, ...) by key: that of env i after i * EVERY steps of a random policy that holds its actions.

    Worlds that differ in looks alone show the same states for the same seed.
    """
    envs: Any = world.make(FRAMES, seed)
    rng = np.random.default_rng(seed)
    seen, _ = envs.reset()
    shown = []
    for moment in range(FRAMES):
        by_key = dict(seen) if isinstance(seen, dict) else {"image": seen}
        if by_key.get("image", seen).ndim < 4:  # no image is seen: what the world renders
            by_key["image"] = np.stack(envs.render())
        shown.append({key: value[moment] for key, value in by_key.items()})
        actions = rng.integers(envs.single_action_space.n, size=FRAMES)
        for _ in range(EVERY if moment < FRAMES - 1 else 0):
            seen = envs.step(actions)[0]
    envs.close()
    return {key: np.stack([one[key] for one in shown]) for key in shown[0]}


def strip(world: World, seed: int = 0) -> Array:
    """(FRAMES, H, W, 3): the images of ``moments``, of stacked frames the newest."""
    image = moments(world, seed)["image"]
    image = image[..., -3:] if image.shape[-1] >= 3 else image[..., -1:]
    return np.broadcast_to(image, (*image.shape[:-1], 3))


def sheet(worlds: Mapping[str, World], seed: int = 0) -> Image.Image:
    """One row a world."""
    font = ImageFont.load_default(size=16)
    rows = []
    for name, world in worlds.items():
        frames = strip(world, seed)
        times = -(-LEAST_SIDE // max(frames.shape[1:3]))
        frames = frames.repeat(times, axis=1).repeat(times, axis=2)
        rows.append(
            (name, np.concatenate([np.pad(f, ((2, 2), (2, 2), (0, 0)), constant_values=255) for f in frames], 1))
        )
    margin = 16 + max(int(font.getlength(name)) for name, _ in rows)
    width, height = margin + max(row.shape[1] for _, row in rows), sum(row.shape[0] for _, row in rows)
    canvas = Image.new("RGB", (width, height), "white")
    pen, top = ImageDraw.Draw(canvas), 0
    for name, row in rows:
        pen.text((8, top + row.shape[0] / 2), name, fill="black", font=font, anchor="lm")
        canvas.paste(Image.fromarray(row), (margin, top))
        top += row.shape[0]
    return canvas
