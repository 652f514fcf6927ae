"""Layouts, palettes and backgrounds that a level of Breakout decides.

Every function takes ``bits(rows, *tags)``, uint64 drawn from the level of each row, and returns one result a row.
Training levels and held-out levels so have their own layouts, palettes and backgrounds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from envs.counter_rng import below, uniform
from envs.spaces import Array

Bits = Callable[..., Array]
"""(rows, *tags) -> uint64 for each row."""
CLASSIC = [(0, 0, 0), (142, 142, 142), (66, 72, 200), (72, 160, 72), (163, 162, 42), (180, 122, 48), (198, 108, 58)]
CLASSIC += [(200, 72, 73), (200, 72, 73), (200, 72, 73)]
"""Background, walls, six brick rows from the lowest, paddle, ball (vicariousinc/schema-games)."""
CLEAR = 60
"""Least L1 distance in RGB of a background from the ball and the paddle."""
BACKGROUND_TOP = 100
"""Channels of a drawn background stay at or below this: CLEAR or more from every colour of the palette but black."""
KINDS = ("gradient", "noise", "rectangles", "checker")
LAYOUTS = ("checker", "tunnel", "pyramid", "random")


def layouts(bits: Bits, rows: Array, kind: str, shape: tuple[int, int], density: float) -> Array:
    """Bricks that stand, (n, brick rows, columns) bool; at least one in each layout."""
    count, across = shape
    row, column = np.arange(count)[:, None], np.arange(across)
    if kind in ("full", "target", "none"):
        return np.broadcast_to(kind == "full", (len(rows), *shape))
    if kind == "level":
        drawn, result = below(bits(rows, 30), len(LAYOUTS)), np.zeros((len(rows), *shape), bool)
        for number, name in enumerate(LAYOUTS):
            chosen = drawn == number
            result[chosen] = layouts(bits, rows[chosen], name, shape, density)
        return result
    drawn = bits(rows, 31)[:, None, None]
    if kind == "checker":
        checker: Array = (row + column + below(drawn, 2)) % 2 == 0
        return checker
    if kind == "tunnel":
        gap = below(drawn, across - 1)
        return np.broadcast_to((column != gap) & (column != gap + 1), (len(rows), *shape))
    if kind == "pyramid":  # one column less on each side a row, point up or down
        depth = np.where(below(drawn, 2) == 0, row, count - 1 - row)
        depth = np.minimum(depth, (across - 1) // 2)
        pyramid: Array = (column >= depth) & (column < across - depth)
        return pyramid
    chance = np.stack([uniform(bits(rows, 32, k)) for k in range(count * across)], axis=1)
    standing = chance <= np.maximum(density, chance.min(axis=1, keepdims=True))
    return standing.reshape(len(rows), *shape)


def recolored(bits: Bits, rows: Array) -> Array:
    """Palettes (n, 10, 3): the game's eight colours dealt out anew; ball, paddle and top row stay alike.

    Drawn again while ball and paddle are black, as before, or too near to the background.
    """
    source = np.array(CLASSIC[:8])
    dealt, waiting, attempt = np.zeros((len(rows), 8), np.int64), np.arange(len(rows)), 0
    while len(waiting):
        keys = np.stack([bits(rows[waiting], 60, attempt, k) for k in range(8)], axis=1)
        dealt[waiting] = keys.argsort(axis=1)
        colours = source[dealt[waiting]]
        near = np.abs(colours[:, 7] - colours[:, 0]).sum(axis=1) < CLEAR
        waiting = waiting[near | (dealt[waiting, 7] == 0) | (dealt[waiting, 7] == 7)]
        attempt += 1
    return source[dealt[:, [*range(8), 7, 7]]]


def backgrounds(bits: Bits, rows: Array, kind: str, height: int, width: int) -> Array:
    """Images (n, H, W, 3), channels 0..100, of one kind or (level) of a kind drawn for each."""
    kinds = below(bits(rows, 70), len(KINDS)) if kind == "level" else np.full(len(rows), KINDS.index(kind))
    images = np.zeros((len(rows), height, width, 3), np.int64)
    for number, paint in enumerate((_gradient, _value_noise, _rectangles, _checker)):
        chosen = np.flatnonzero(kinds == number)
        if len(chosen):
            images[chosen] = paint(lambda *tags, to=chosen: bits(rows[to], *tags), height, width)
    return images


def _colours(draw: Callable[..., Array], tag: int, count: int) -> Array:
    """Colours (n, count, 3)."""
    drawn = [below(draw(tag, k), BACKGROUND_TOP + 1) for k in range(3 * count)]
    return np.stack(drawn, axis=1).reshape(-1, count, 3)


def _gradient(draw: Callable[..., Array], height: int, width: int) -> Array:
    angle = below(draw(71), 360) * np.pi / 180
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    along = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    fraction: Array = (along / np.abs(along).max(axis=(1, 2), keepdims=True) + 1)[..., None] / 2
    ends = _colours(draw, 72, 2)[:, :, None, None]
    image: Array = (ends[:, 0] * (1 - fraction) + ends[:, 1] * fraction).astype(np.int64)
    return image


def _value_noise(draw: Callable[..., Array], height: int, width: int) -> Array:
    """Random colours on a 7 x 7 grid, linear between."""
    grid = _colours(draw, 73, 49).reshape(-1, 7, 7, 3)
    for axis, size in ((1, height), (2, width)):
        place = np.linspace(0, 6, size)
        low = np.minimum(place.astype(int), 5)
        fraction = (place - low).reshape([-1 if i == axis else 1 for i in range(4)])
        grid = grid.take(low, axis) * (1 - fraction) + grid.take(low + 1, axis) * fraction
    return grid.astype(np.int64)


def _rectangles(draw: Callable[..., Array], height: int, width: int) -> Array:
    colours = _colours(draw, 74, 13)
    images = np.broadcast_to(colours[:, None, None, 0], (len(colours), height, width, 3)).copy()
    y, x = np.mgrid[:height, :width]
    for k in range(12):
        left, top = below(draw(75, k), width)[:, None, None], below(draw(76, k), height)[:, None, None]
        wide, high = (4 + below(draw(tag, k), 24)[:, None, None] for tag in (77, 78))
        inside = (x >= left) & (x < left + wide) & (y >= top) & (y < top + high)
        images = np.where(inside[..., None], colours[:, None, None, k + 1], images)
    return images


def _checker(draw: Callable[..., Array], height: int, width: int) -> Array:
    side = (4 + below(draw(79), 9))[:, None, None]
    y, x = np.mgrid[:height, :width]
    odd = (x // side + y // side) % 2
    pair = _colours(draw, 80, 2)[:, :, None, None]
    return np.where(odd[..., None] == 1, pair[:, 1], pair[:, 0])
