"""MiniGrid's frames by look-up: every cell, with and without the agent, lit or not, is one tile painted once.

minigrid paints each frame cell by cell in Python. The pixels of a cell depend on nothing but its object, colour and
state, the agent's direction if it stands in it, and its light. So a frame is one look-up in a table of tiles, which
minigrid's own painters fill. Frames equal ``get_frame`` pixel by pixel.

A palette is another table: a visual variant of the same levels, at no cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from envs.minigrid.rules import EMPTY, code
from envs.spaces import Array

# after envs.minigrid.rules, which keeps pygame from greeting
from minigrid.core.constants import IDX_TO_COLOR  # isort: skip
from minigrid.core.world_object import Ball, Box, Door, Floor, Goal, Key, Lava, Wall  # isort: skip
from minigrid.utils.rendering import (  # isort: skip
    downsample,
    fill_coords,
    highlight_img,
    point_in_rect,
    point_in_triangle,
    rotate_fn,
)

SUBDIVISIONS = 3
"""minigrid paints each tile three times as large and takes means."""
AGENT, LIT = 256, 256 * 5
"""Tile = cell + AGENT * (1 + direction, if the agent stands in it) + LIT * (1 if it is lit)."""
FRAME = 64
"""Frames below 64 x 64 pixels are padded right and bottom with black."""


@dataclass(frozen=True)
class Palette:
    """Changes to minigrid's own colours."""

    colours: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """Colours painted for red, green, blue, purple, yellow, grey, in that order; lava and the agent keep their own."""
    recolour: Callable[[Array], Array] = lambda tiles: tiles
    """uint8 (..., 3) -> uint8, applied to the finished tiles."""


PALETTES = {
    "standard": Palette(),
    "swapped": Palette(colours=(1, 2, 3, 4, 0, 5)),
    "painted-walls": Palette(colours=(5, 4, 3, 1, 0, 2)),
    "channels": Palette(recolour=lambda tiles: tiles[..., [2, 0, 1]]),
    "pastel": Palette(recolour=lambda tiles: tiles // 2 + 127),
    "dim": Palette(recolour=lambda tiles: tiles // 2),
    "inverted": Palette(recolour=lambda tiles: 255 - tiles),
}
"""Visual variants by name; each keeps all objects distinct."""


def _objects(colours: tuple[int, ...]) -> Iterator[tuple[int, Any]]:
    """Pairs of a cell and the minigrid object that is painted for it."""
    for colour, painted in enumerate(colours):
        name = IDX_TO_COLOR[painted]
        for kind in (Wall, Floor, Key, Ball, Box, Goal):
            yield code(kind.__name__.lower(), colour), kind(name)
        for state in range(3):
            yield code("door", colour, state), Door(name, is_open=state == 0, is_locked=state == 2)
    yield code("lava"), Lava()


def _blank(tile: int) -> Array:
    canvas = np.zeros((tile * SUBDIVISIONS, tile * SUBDIVISIONS, 3), np.uint8)
    fill_coords(canvas, point_in_rect(0, 0.031, 0, 1), (100, 100, 100))  # grid lines: left and top edges
    fill_coords(canvas, point_in_rect(0, 1, 0, 0.031), (100, 100, 100))
    return canvas


@lru_cache(maxsize=32)
def tile_table(tile: int, palette: str = "standard") -> Array:
    """Tiles by number, (2560, tile, tile, 3) uint8, read-only. Numbers that no cell has are black."""
    colours = PALETTES[palette]
    table: Array = np.zeros((2 * LIT, tile, tile, 3), np.uint8)
    blank = _blank(tile)
    painted = {0: blank, EMPTY: blank}
    for cell, item in _objects(colours.colours):
        painted[cell] = blank.copy()
        item.render(painted[cell])
    for direction in (None, 0, 1, 2, 3):
        agent = np.zeros_like(blank)
        if direction is not None:
            triangle = point_in_triangle((0.12, 0.19), (0.87, 0.50), (0.12, 0.81))
            fill_coords(agent, rotate_fn(triangle, cx=0.5, cy=0.5, theta=0.5 * math.pi * direction), (255, 0, 0))
        for cell, canvas in painted.items():
            both = np.where(agent.any(axis=2, keepdims=True), agent, canvas)
            number = cell + AGENT * (0 if direction is None else 1 + direction)
            table[number] = downsample(both, SUBDIVISIONS)
            highlight_img(both)
            table[number + LIT] = downsample(both, SUBDIVISIONS)
    table = np.ascontiguousarray(colours.recolour(table))
    table.flags.writeable = False
    return table


def frame_shape(rows: int, columns: int, tile: int) -> tuple[int, int, int]:
    """Shape (H, W, 3) of the frames of rows x columns cells."""
    return max(rows * tile, FRAME), max(columns * tile, FRAME), 3


def paint(table: Array, numbers: Array) -> Array:
    """Frames (n, H, W, 3) uint8 of tile numbers (n, rows, columns)."""
    n, rows, columns = numbers.shape
    tile = table.shape[1]
    frames = np.zeros((n, *(shape := frame_shape(rows, columns, tile))), np.uint8)
    # one pixel row of a tile is one item, so that a frame is rows * tile * columns copies of 3 * tile bytes
    item = np.dtype((np.void, 3 * tile))
    strips = table.reshape(len(table), tile, 3 * tile).view(item)[..., 0]
    width = 3 * shape[1]
    strides = (shape[0] * width, tile * width, width, 3 * tile)
    canvas: Array = np.ndarray((n, rows, tile, columns), item, frames.data if n else b"", 0, strides)
    canvas[...] = strips[numbers].transpose(0, 1, 3, 2)
    return frames
