"""Views of a room with objects from given poses: analytic ray casting in numpy, all views of all scenes in one pass.

A square room, |x|, |y| <= 3.5 m and 0 <= z <= 3 m (z up), with up to K objects on its floor. A pose is (x, y, z,
cos yaw, sin yaw, cos pitch, sin pitch): yaw from the x axis to the y axis, pitch up. A pinhole camera without roll:

    forward = (cos p cos y, cos p sin y, sin p),  right = (sin y, -cos y, 0),  up = (-sin p cos y, -sin p sin y, cos p)
    ray of row r, column c = forward + X_c right + Y_r up,   X_c = tan(fov / 2) (2c + 1 - size) / size,  Y_r = -X_r

Without roll a ray splits into a part of the row and a part of the column: in the axes (forward on the floor, right,
z) it is (cos p - Y_r sin p, X_c, sin p + Y_r cos p). So most of the work is a sum of two vectors.

The camera is inside the room, so each axis has one wall that a ray can hit, and objects always hide walls. Light:
0.6 + 0.4 n.L for the unit normal n and the unit direction L to the light (Lambert's cosine, wrapped round so that
every wall differs). Depth is the distance from the camera along the ray, in metres.

Setting: the rooms of Eslami et al. 2018 (GQN); geometry and code are our own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from envs.registry import UsageError
from envs.spaces import Array

HALF, CEILING = 3.5, 3.0
"""Metres: half the room's width, and its height."""
SHAPES = ("none", "sphere", "cylinder", "box")
CELL = 0.5
"""Metres: side of a texture's cells; textures repeat after 8 of them."""
WALL_STYLES = ("plain", "bands", "stripes", "checker", "panels")
FLOOR_STYLES = ("checker", "stripes", "tiles")
AMBIENT, DIFFUSE = 0.6, 0.4
LEVELS = 128
"""Shades of an object's colour."""
NEAR = 0.05
"""Metres: for an object nearer than this to the camera's plane the whole image is searched."""
VIEWS, CHUNK = 256, 16
"""Views at a time, and views whose full-size arrays fit together into the second-level cache."""
WINDOWS = (8, 12, 16, 24, 32, 48)
"""Sides in pixels of the square windows in which objects are searched; the last is the whole image."""
WALL, FLOOR, ROOF = range(3)


@dataclass(frozen=True)
class Scenes:
    """S rooms with up to K objects each; all pixels follow from this and a pose."""

    seeds: Array
    """(S,) int64, the seed each was drawn from."""
    shape: Array
    """(S, K) int64, index into SHAPES; 0 is an empty slot."""
    place: Array
    """(S, K, 2) float32, metres: x, y of the centres. Everything stands on the floor."""
    radius: Array
    """(S, K) float32, metres; of a box half its diagonal, so its sides are sqrt(2) radius."""
    height: Array
    """(S, K) float32, metres; of a sphere twice its radius."""
    yaw: Array
    """(S, K) float32, radians; turns boxes."""
    hue: Array
    """(S, K) int64, the nearest of six hues: red, yellow, green, cyan, blue, magenta."""
    colour: Array
    """(S, K, 3) float32, RGB in [0, 1]."""
    tones: Array
    """(S, 3, 2, 3) float32, RGB of the two tones of walls, floor and ceiling."""
    style: Array
    """(S, 2) int64, index into WALL_STYLES and FLOOR_STYLES."""
    light: Array
    """(S, 3) float32, unit vector to the light."""

    def __len__(self) -> int:
        return len(self.seeds)

    def take(self, rows: Array) -> Scenes:
        """Copies of the scenes ``rows``."""
        return Scenes(*(getattr(self, field.name)[rows] for field in fields(self)))


class Palettes(NamedTuple):
    """Shaded colours as 0x00BBGGRR, computed once per scene, not once per view."""

    surfaces: Array
    """(S, 6 * 64) uint32, by face (+x, -x, +y, -y, floor, ceiling) and texture cell."""
    bodies: Array
    """(S, K, LEVELS) uint32."""


class Views(NamedTuple):
    """Views: images (S, V, H, W, 3) uint8, depth (S, V, H, W) float32 metres, masks (S, V, H, W) uint8, 0 the room."""

    images: Array
    depth: Array | None
    masks: Array | None


def _bitmaps() -> Array:
    """Textures, (wall styles + floor styles, 64) bool: the cells (u * 8 + v) with the second tone.

    u runs along the wall or along x, v along z or y; cell 0 is centred on 0 and every texture equals its mirror image.
    """
    u, v = np.divmod(np.arange(64), 8)
    plain = np.zeros(64, bool)
    walls = [plain, v % 2 == 1, u % 2 == 1, (u + v) % 2 == 1, v < 2]
    floors = [(u + v) % 2 == 1, u % 2 == 1, (u % 2 == 1) & (v % 2 == 1)]
    return np.stack(walls + floors)


BITMAPS = _bitmaps()


def _pack(rgb: Array) -> Array:
    """Colours (..., 3) in [0, 1] as uint32."""
    levels = (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint32)
    packed: Array = levels[..., 0] | levels[..., 1] << np.uint32(8) | levels[..., 2] << np.uint32(16)
    return packed


def palettes(scenes: Scenes) -> Palettes:
    """Colours of ``scenes`` under their light."""
    light = scenes.light
    # inward normals of +x, -x, +y, -y, floor, ceiling
    cosines = np.stack([-light[:, 0], light[:, 0], -light[:, 1], light[:, 1], light[:, 2], -light[:, 2]], axis=1)
    wall = BITMAPS[scenes.style[:, 0]].astype(np.int64)
    floor = BITMAPS[len(WALL_STYLES) + scenes.style[:, 1]].astype(np.int64)
    tone = np.stack([wall] * 4 + [floor, np.zeros_like(floor)], axis=1)
    rows, surface = np.arange(len(scenes))[:, None, None], np.array([WALL] * 4 + [FLOOR, ROOF])[:, None]
    colours = scenes.tones[rows, surface, tone] * (AMBIENT + DIFFUSE * cosines)[:, :, None, None]
    shades = np.arange(LEVELS, dtype=np.float32)[:, None] / (LEVELS - 1)
    return Palettes(_pack(colours).reshape(len(scenes), -1), _pack(scenes.colour[:, :, None] * shades))


@lru_cache(maxsize=16)
def _grid(size: int, fov: float) -> tuple[Array, Array]:
    """Ray offsets X_c (size,), and the length of each ray (size, size)."""
    x: Array = (np.tan(np.radians(fov) / 2) * (2 * np.arange(size) + 1 - size) / size).astype(np.float32)
    return x, np.sqrt(1 + x[:, None] ** 2 + x**2)


def _room(poses: Array, grid: Array) -> tuple[Array, Array]:
    """Hits of the rays of ``poses`` (C, 7) on the room: face * 64 + cell int32, and t of ray * t, (C, H, W) each."""
    eye_x, eye_y, eye_z, cos, sin, cos_p, sin_p = (column[:, None] for column in poses.T)
    flat, dz = cos_p + grid * sin_p, sin_p - grid * cos_p  # Y_r = -X_r
    dx = (flat * cos)[:, :, None] + (grid * sin)[:, None]
    dy = (flat * sin)[:, :, None] - (grid * cos)[:, None]

    def inverse(step: Array, eye: Array, low: float, high: float) -> Array:
        eye = eye.reshape(eye.shape + (1,) * (step.ndim - 2))
        return np.maximum(step * (1 / (low - eye)), step * (1 / (high - eye)))

    near_x, near_y = inverse(dx, eye_x, -HALF, HALF), inverse(dy, eye_y, -HALF, HALF)
    near_z = inverse(dz, eye_z, 0.0, CEILING)[:, :, None]
    wall, of_x = np.maximum(near_x, near_y), near_x > near_y
    upright = wall > near_z
    t = 1 / np.maximum(wall, near_z)

    def cells(eye: Array, step: Array) -> Array:
        """Texture cells from -4 m on, so that cutting off the fraction rounds down; 0 m is the middle of cell 8."""
        eye = ((eye + 4) / CELL + 0.5).reshape(eye.shape + (1,) * (t.ndim - 2))
        return (step * t * np.float32(1 / CELL) + eye).astype(np.uint8) & 7

    x, y, z = cells(eye_x, dx), cells(eye_y, dy), cells(eye_z, dz[:, :, None])
    cell = np.where(of_x & upright, y, x) << 3 | np.where(upright, z, y)
    side = np.where(of_x, dx < 0, (dy < 0).view(np.uint8) | np.uint8(2))
    face = np.where(upright, side, (dz > 0).view(np.uint8)[:, :, None] | np.uint8(4))
    return face.astype(np.int32) << 6 | cell, t


class _Bodies(NamedTuple):
    """Pairs of a view and an object, n, in floor axes of their own camera; columns (n, 1, 1) after the first six."""

    view: Array
    slot: Array
    shape: Array
    row: Array
    col: Array
    side: Array
    ahead: Array
    right: Array
    eye: Array
    radius: Array
    height: Array
    cos: Array
    sin: Array
    light_ahead: Array
    light_right: Array
    light_up: Array
    cos_p: Array
    sin_p: Array

    def take(self, rows: Array) -> _Bodies:
        return _Bodies(*(column[rows] for column in self))


def _bodies(scenes: Scenes, which: Array, poses: Array, size: int, tangent: float) -> _Bodies:
    """Objects that may be visible, with a window of the image that surely holds each."""
    view, slot = np.nonzero(scenes.shape[which])
    at = which[view], slot
    eye_x, eye_y, eye, cos, sin, cos_p, sin_p = poses[view].T
    shape, radius = scenes.shape[at], scenes.radius[at]
    height = np.where(shape == SHAPES.index("sphere"), 2 * radius, scenes.height[at])
    (x, y), light = (scenes.place[at] - np.stack([eye_x, eye_y], axis=1)).T, scenes.light[which[view]].T
    ahead, right = x * cos + y * sin, x * sin - y * cos
    # the eight corners of an upright block around it: (n, ahead, right, up)
    spread = np.array([-1, 1], np.float32)
    far = (ahead[:, None] + spread * radius[:, None])[:, :, None]
    across = (right[:, None] + spread * radius[:, None])[:, None, :, None]
    up = np.stack([-eye, height - eye], axis=1)[:, None]
    depth = (far * cos_p[:, None, None] + up * sin_p[:, None, None])[:, :, None]
    rise = (up * cos_p[:, None, None] - far * sin_p[:, None, None])[:, :, None]
    cut, safe = depth.min((1, 2, 3)) < NEAR, np.maximum(depth, NEAR)
    low, high = [], []
    for slope in (-rise / safe, across / safe):
        pixel = (slope / tangent + 1) * (size / 2) - 0.5
        low.append(np.where(cut, 0, np.floor(pixel.min((1, 2, 3)))).clip(0, size))
        high.append(np.where(cut, size, np.ceil(pixel.max((1, 2, 3))) + 1).clip(0, size))
    extent = np.maximum(high[0] - low[0], high[1] - low[1])
    sides = np.array([*(w for w in WINDOWS if w < size), size])
    side = sides[np.searchsorted(sides, extent)]
    shown = (depth.max((1, 2, 3)) > NEAR) & (low[0] < high[0]) & (low[1] < high[1])
    turn_cos, turn_sin = np.cos(scenes.yaw[at]), np.sin(scenes.yaw[at])
    numbers = (
        ahead,
        right,
        eye,
        radius,
        height,
        turn_cos * cos + turn_sin * sin,
        turn_sin * cos - turn_cos * sin,
        light[0] * cos + light[1] * sin,
        light[0] * sin - light[1] * cos,
        light[2],
        cos_p,
        sin_p,
    )
    row, col = (np.minimum(edge, size - side).astype(np.int64) for edge in low)
    columns = (number.astype(np.float32)[:, None, None] for number in numbers)
    return _Bodies(view, slot, shape, row, col, side, *columns).take(np.flatnonzero(shown))


def _sphere(b: _Bodies, flat: Array, x: Array, dz: Array) -> tuple[Array, Array, Array]:
    """Distance t of ray * t where it enters, n.L at that point, and whether it enters; (n, side, side) each."""
    up = b.radius - b.eye
    square = (flat**2 + dz**2) + x**2
    along = (flat * b.ahead + dz * up) + x * b.right
    outside = b.ahead**2 + b.right**2 + up**2 - b.radius**2
    under = along**2 - square * outside
    t = (along - np.sqrt(np.maximum(under, 0))) / square
    lit = (flat * b.light_ahead + dz * b.light_up) + x * b.light_right
    centre = b.ahead * b.light_ahead + b.right * b.light_right + up * b.light_up
    return t, (t * lit - centre) / b.radius, (under > 0) & (t > 0)


def _cylinder(b: _Bodies, flat: Array, x: Array, dz: Array) -> tuple[Array, Array, Array]:
    square, along = flat**2 + x**2, flat * b.ahead + x * b.right
    outside = b.ahead**2 + b.right**2 - b.radius**2
    under = along**2 - square * outside
    t = (along - np.sqrt(np.maximum(under, 0))) / square
    z = b.eye + t * dz
    side = (under > 0) & (t > 0) & (z >= 0) & (z <= b.height)
    # a ray that enters through the top does not enter through the side, and the other way round
    lid = (b.height - b.eye) / dz
    top = (b.height < b.eye) & (lid > 0) & (lid * (lid * square - 2 * along) + outside < 0)
    lit = flat * b.light_ahead + x * b.light_right
    cosine = (t * lit - (b.ahead * b.light_ahead + b.right * b.light_right)) / b.radius
    return np.where(top, lid, t), np.where(top, b.light_up, cosine), side | top


def _box(b: _Bodies, flat: Array, x: Array, dz: Array) -> tuple[Array, Array, Array]:
    half = b.radius * np.float32(0.5**0.5)
    first: Array = flat * b.cos - x * b.sin
    second: Array = -flat * b.sin - x * b.cos
    light_first: Array = b.light_ahead * b.cos - b.light_right * b.sin
    light_second: Array = -b.light_ahead * b.sin - b.light_right * b.cos

    def slab(step: Array, low: Array, high: Array) -> tuple[Array, Array]:
        inverse = 1 / step
        low, high = low * inverse, high * inverse
        return np.minimum(low, high), np.maximum(low, high)

    centre_first: Array = b.ahead * b.cos - b.right * b.sin
    centre_second: Array = -b.ahead * b.sin - b.right * b.cos
    in_first, out_first = slab(first, centre_first - half, centre_first + half)
    in_second, out_second = slab(second, centre_second - half, centre_second + half)
    in_up, out_up = slab(dz, -b.eye, b.height - b.eye)
    t = np.maximum(np.maximum(in_first, in_second), in_up)
    leave = np.minimum(np.minimum(out_first, out_second), out_up)
    cosine = np.where(
        t == in_first,
        np.where(first > 0, -light_first, light_first),
        np.where(
            t == in_second,
            np.where(second > 0, -light_second, light_second),
            np.where(dz > 0, -b.light_up, b.light_up),
        ),
    )
    return t, cosine, (t < leave) & (t > 0)


ENTER = {SHAPES.index("sphere"): _sphere, SHAPES.index("cylinder"): _cylinder, SHAPES.index("box"): _box}


class _Hits(NamedTuple):
    """Entries per ray and object that it enters."""

    pixel: Array
    """Place in the flat (B, size, size) images."""
    t: Array
    body: Array
    """Place in the flat (B, K) objects."""
    shade: Array
    """uint8 below LEVELS."""


def _hits(bodies: _Bodies, slots: int, grid: Array) -> Iterator[_Hits]:
    size = len(grid)
    for shape, enter in ENTER.items():
        for side in np.unique(bodies.side[bodies.shape == shape]):
            same_kind = np.flatnonzero((bodies.shape == shape) & (bodies.side == side))
            batch = max(1, CHUNK * 4096 // int(side) ** 2)
            for start in range(0, len(same_kind), batch):
                b = bodies.take(same_kind[start : start + batch])
                window = np.arange(side)
                x, minus_y = grid[b.col[:, None] + window][:, None], grid[b.row[:, None] + window][:, :, None]
                flat: Array = b.cos_p + minus_y * b.sin_p
                dz: Array = b.sin_p - minus_y * b.cos_p
                t, cosine, enters = enter(b, flat, x, dz)
                shade = ((AMBIENT + DIFFUSE * cosine) * (LEVELS - 1)).clip(0, LEVELS - 1).astype(np.uint8)
                n, row, col = np.nonzero(enters)
                pixel = ((b.view * size + b.row)[n] + row) * size + b.col[n] + col
                yield _Hits(pixel, t[enters], (b.view * slots + b.slot)[n], shade[enters])


def _views(scenes: Scenes, which: Array, poses: Array, grid: Array, colours: Palettes) -> tuple[Array, Array, Array]:
    """Colours uint32, t of the nearest object or wall, and the object's slot + 1 or 0, (B, size, size) each."""
    size, slots = len(grid), scenes.shape.shape[1]
    frame = np.empty((len(poses), size, size), np.uint32)
    t, owner = np.empty(frame.shape, np.float32), np.zeros(frame.shape, np.uint8)
    if (poses == poses[0]).all():  # a camera that stands still: its rays hit the same walls in every scene
        surface, t[:] = _room(poses[:1], grid)
        frame = colours.surfaces[which].take(surface[0], axis=1, mode="clip")
    else:
        for start in range(0, len(poses), CHUNK):
            chunk = slice(start, start + CHUNK)
            surface, t[chunk] = _room(poses[chunk], grid)
            surface += (which[chunk] * colours.surfaces.shape[1]).astype(np.int32)[:, None, None]
            np.take(colours.surfaces.reshape(-1), surface, out=frame[chunk], mode="clip")
    hits = list(_hits(_bodies(scenes, which, poses, size, float(-grid[0] * size / (size - 1))), slots, grid))
    if hits:
        pixel, far, body, shade = (np.concatenate(columns) for columns in zip(*hits, strict=True))
        np.minimum.at(t.reshape(-1), pixel, far)
        front = np.flatnonzero(t.reshape(-1)[pixel] == far)
        pixel, (view, slot) = pixel[front], np.divmod(body[front], slots)
        frame.reshape(-1)[pixel] = colours.bodies[which[view], slot, shade[front]]
        owner.reshape(-1)[pixel] = slot + 1
    return frame, t, owner


def render(
    scenes: Scenes,
    poses: Array,
    *,
    size: int = 64,
    fov: float = 60.0,
    depth: bool = True,
    masks: bool = True,
    colours: Palettes | None = None,
) -> Views:
    """Render all views of all scenes.

    Args:
        scenes: S scenes.
        poses: (S, V, 7), inside the room.
        size: H = W, pixels.
        fov: degrees, across and up.
        depth, masks: whether to compute them; None comes in their place.
        colours: ``palettes(scenes)``, where it is known.

    Raises:
        UsageError: poses of another shape, or a camera outside the room.
    """
    poses = np.asarray(poses, np.float32)
    if poses.ndim != 3 or poses.shape[::2] != (len(scenes), 7):
        raise UsageError(f"rooms: poses {poses.shape} must be ({len(scenes)} scenes, views, 7 numbers)")
    if np.abs(poses[..., :2]).max() >= HALF or poses[..., 2].min() <= 0 or poses[..., 2].max() >= CEILING:
        raise UsageError(f"rooms: a camera stands outside the room; give |x|, |y| < {HALF} and 0 < z < {CEILING}")
    colours = palettes(scenes) if colours is None else colours
    count, flat = poses.shape[:2], poses.reshape(-1, 7)
    which = np.repeat(np.arange(count[0]), count[1])
    pixels = len(flat) * size**2
    images = np.empty(3 * pixels + 1, np.uint8)
    # four bytes written every three: the next pixel covers the fourth, which is empty; 10 times as fast as a slice
    overlapping: Array = np.ndarray(pixels, "<u4", images.data, strides=(3,))
    far = np.empty((len(flat), size, size), np.float32) if depth else None
    owner = np.empty((len(flat), size, size), np.uint8) if masks else None
    grid, length = _grid(size, float(fov))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # rays along a plane never meet it
        for start in range(0, len(flat), VIEWS):
            chunk = slice(start, start + VIEWS)
            frame, t, slot = _views(scenes, which[chunk], flat[chunk], grid, colours)
            overlapping[start * size**2 : (start + VIEWS) * size**2] = frame.reshape(-1)
            if far is not None:
                far[chunk] = t * length
            if owner is not None:
                owner[chunk] = slot

    def by_scene(array: Array | None) -> Array | None:
        return None if array is None else array.reshape(*count, *array.shape[1:])

    return Views(images[:-1].reshape(*count, size, size, 3), by_scene(far), by_scene(owner))
