"""Painter of simple shapes with exact masks, and their colours and held-out pairs.

Units: pixels; x to the right, y down; pixel (row i, column j) has its centre at (j + 0.5, i + 0.5). A sprite is given
by its centre, the ``radius`` of the circle around it and its orientation in radians (clockwise on the screen). Inside
the unit circle: square of side sqrt(2), ellipse of half-axes 1 and 0.6, heart (u^2 + v^2 - 0.7)^3 - u^2 v^3 < 0 shrunk
to fit, equilateral triangle. A pixel belongs to a sprite if its centre does; only the sprite's window is tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from envs.counter_rng import mix, uniform
from envs.registry import UsageError, did_you_mean
from envs.spaces import Array

COLOURS = ("red", "yellow", "green", "cyan", "blue", "magenta")
"""Colour classes: hue = (class +- 0.3) / 6 of the circle, saturation and value in [0.7, 1]."""
COMBINATIONS = ("train", "heldout", "all")
_HEART_SHRINK, _HEART_RISE = 1.07, 0.23  # its smallest circle has radius 1.066 and centre (0, 0.23), found on a grid


# shapes: u to the right, v down, in units of the radius -----------------------------------------------------------


def _square(u: Array, v: Array) -> Array:
    return np.maximum(np.abs(u), np.abs(v)) <= np.sqrt(0.5)


def _ellipse(u: Array, v: Array) -> Array:
    return u * u + (v / 0.6) ** 2 <= 1


def _heart(u: Array, v: Array) -> Array:
    u, v = u * _HEART_SHRINK, _HEART_RISE - v * _HEART_SHRINK
    square = u * u
    body = square + v * v - 0.7
    return body * body * body < square * v * v * v


def _triangle(u: Array, v: Array) -> Array:
    return (v <= 0.5) & (np.sqrt(0.75) * np.abs(u) - 0.5 * v <= 0.5)


_TESTS: dict[str, Callable[[Array, Array], Array]] = {
    "square": _square,
    "ellipse": _ellipse,
    "heart": _heart,
    "triangle": _triangle,
}
SHAPES = tuple(_TESTS)


# painting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sprites:
    """Sprites of M scenes in K slots, back to front. Arrays (M, K, ...)."""

    present: Array
    """bool; the other values of an absent slot mean nothing."""
    shape: Array
    """Index in SHAPES."""
    radius: Array
    """Of the circle around the sprite, pixels."""
    orientation: Array
    """Radians, clockwise."""
    x: Array
    """Centre, pixels from the left edge."""
    y: Array
    """Centre, pixels from the upper edge."""
    rgb: Array
    """uint8 (M, K, 3)."""

    def take(self, rows: Array) -> Sprites:
        """Copies of the scenes ``rows``."""
        return Sprites(*(getattr(self, field.name)[rows] for field in fields(self)))

    def put(self, rows: Array, others: Sprites) -> None:
        """Overwrite the scenes ``rows``."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(others, field.name)


def inside(shape: Array, u: Array, v: Array) -> Array:
    """True where points (first axis M, in units of the radius) lie in ``shape`` (M,); bool of the shape of ``u``."""
    kinds = np.unique(shape)
    if len(kinds) == 1:
        return _TESTS[SHAPES[kinds[0]]](u, v)
    hit = np.empty(u.shape, bool)
    for kind in kinds:
        rows = np.flatnonzero(shape == kind)
        hit[rows] = _TESTS[SHAPES[kind]](u[rows], v[rows])
    return hit


def stamp(mask: Array, sprites: Sprites) -> Array:
    """Write slot k as k + 1 into ``mask`` (M, S, S), back to front; returns each sprite's unoccluded pixels (M, K)."""
    pixels = np.zeros(sprites.shape.shape, np.int64)
    for k in range(pixels.shape[1]):
        rows = np.flatnonzero(sprites.present[:, k])
        if len(rows):
            place, side = _windows(sprites, rows, k, mask.shape[1])
            hit = _hits(sprites, rows, k, place, side, (0.5,))
            view = _views(mask, side)
            window = view[rows, place[1], place[0]]
            window[hit] = k + 1
            view[rows, place[1], place[0]] = window
            pixels[rows, k] = hit.sum((1, 2))
    return pixels


def colour_in(image: Array, sprites: Sprites) -> None:
    """Paint onto ``image`` (M, S, S, 3) uint8, back to front, 2x supersampled: edges mix in quarters."""
    for k in range(sprites.shape.shape[1]):
        rows = np.flatnonzero(sprites.present[:, k])
        if len(rows):
            place, side = _windows(sprites, rows, k, image.shape[1])
            hit = _hits(sprites, rows, k, place, side, (0.25, 0.75))
            quarters = hit.reshape(len(rows), side, 2, side, 2).sum((2, 4), dtype=np.uint16)[..., None]
            view = _views(image, side)
            window = view[rows, place[1], place[0]].transpose(0, 2, 3, 1)
            mixed = (window * (4 - quarters) + quarters * sprites.rgb[rows, k, None, None].astype(np.uint16) + 2) // 4
            view[rows, place[1], place[0]] = mixed.transpose(0, 3, 1, 2)


def _windows(sprites: Sprites, rows: Array, k: int, size: int) -> tuple[tuple[Array, Array], int]:
    """Left and upper edges of square windows that hold the sprites, moved into the image, and their side."""
    radius = sprites.radius[rows, k]
    side = min(size, int(2 * radius.max()) + 2)
    corners = (np.floor(centre[rows, k] - radius).astype(np.int64) for centre in (sprites.x, sprites.y))
    left, upper = (np.clip(corner, 0, size - side) for corner in corners)
    return (left, upper), side


def _views(canvas: Array, side: int) -> Array:
    """All windows of ``canvas`` (M, S, S, ...): [m, upper, left] is a view (..., side, side) into it."""
    windows: Array = sliding_window_view(canvas, (side, side), axis=(1, 2), writeable=True)  # type: ignore[call-overload]
    return windows


def _hits(
    sprites: Sprites, rows: Array, k: int, place: tuple[Array, Array], side: int, samples: tuple[float, ...]
) -> Array:
    """Hits, bool (R, side * s, side * s), at the s sample points ``samples`` of every pixel and axis."""
    steps = (np.arange(side)[:, None] + np.array(samples)).ravel()
    radius = sprites.radius[rows, k, None]
    dx = (place[0][:, None] + steps - sprites.x[rows, k, None]) / radius
    dy = (place[1][:, None] + steps - sprites.y[rows, k, None]) / radius
    cos, sin = np.cos(sprites.orientation[rows, k, None]), np.sin(sprites.orientation[rows, k, None])
    u = (cos * dx)[:, None, :] + (sin * dy)[:, :, None]
    v = (-sin * dx)[:, None, :] + (cos * dy)[:, :, None]
    return inside(sprites.shape[rows, k], u, v)


# colours and pairs ------------------------------------------------------------------------------------------------


def hsv(hue: Array, saturation: Array | float, value: Array | float) -> Array:
    """Colours, uint8 (..., 3), from arrays in [0, 1]."""
    turn = (np.asarray(hue)[..., None] * 6 + np.array([0.0, 4.0, 2.0])) % 6
    pure = np.clip(np.abs(turn - 3) - 1, 0, 1)
    shade = 1 - np.asarray(saturation)[..., None] * (1 - pure)
    return np.rint(np.asarray(value)[..., None] * shade * 255).astype(np.uint8)


def class_rgb(colour: Array, bits: Array) -> Array:
    """Colours of the classes ``colour``, uint8 (..., 3), drawn by ``bits`` (uint64)."""
    hue = (colour + 0.6 * (uniform(mix(bits, 0)) - 0.5)) / len(COLOURS)
    saturation, value = (0.7 + 0.3 * uniform(mix(bits, key)) for key in (1, 2))
    return hsv(hue % 1, saturation, value)


def allowed(combinations: str) -> Array:
    """Allowed pairs, bool (shapes, colour classes). Held out is a third: (shape + colour) % 3 == 1.

    Every shape and every colour class keeps pairs on both sides. Raises UsageError for an unknown name.
    """
    if combinations not in COMBINATIONS:
        hint = did_you_mean(combinations, COMBINATIONS)
        raise UsageError(f"sprites: unknown combinations '{combinations}'{hint} Known: {', '.join(COMBINATIONS)}")
    heldout = (np.arange(len(SHAPES))[:, None] + np.arange(len(COLOURS))) % 3 == 1
    return {"train": ~heldout, "heldout": heldout, "all": np.ones_like(heldout)}[combinations]
