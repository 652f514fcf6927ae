"""Rooms with objects and cameras, drawn from seeds alone: many views a scene, with ground truth.

    record = scenes(range(36), views=10)        36 rooms, 10 ring views each, as a scene encoder (GQN) trains on
    record.images, record.poses, record.depth, record.masks, record.scene

A scene follows from its seed and the ``SceneConfig``; its views from the seed and the camera. Training and held-out
scenes are two ranges of seeds. Held-out *combinations* are (shape, colour) pairs: with shapes sphere 0, cylinder 1,
box 2 and six hues red 0, yellow 1, green 2, cyan 3, blue 4, magenta 5, those where 3 divides shape + hue. Training
then still shows every shape in four hues and every hue on two shapes.

Cameras: ``ring`` stands 2.6-3.2 m from the middle and points at it; ``free`` has any place and direction, and views
with less than 1 % object pixels are mostly drawn again; ``trajectory`` is one walk through the room.

Setting: Eslami et al. 2018, rooms_ring_camera: 10 views of 64x64, room 7x7, 1-3 objects. Ours: three shapes, not seven.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from envs.counter_rng import counter_hash, uniform
from envs.registry import UsageError, did_you_mean
from envs.rooms.raycast import FLOOR_STYLES, HALF, WALL_STYLES, Scenes, render
from envs.spaces import Array

HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")
COMBINATIONS = ("train", "heldout", "all")
CAMERAS = ("ring", "free", "trajectory")
HEIGHTS = (0.7, 1.2)
"""Metres: of cylinders and boxes."""
TRIES = 32
"""Places drawn for an object before the corners are taken."""
STEP, TURN, CLEARANCE = 0.3, np.radians(20), 0.3
"""A trajectory's steps in metres, its largest turn, and its distance from walls and objects in metres."""
INTERESTING, KEEP = 0.01, 0.3
"""Free camera: least fraction of object pixels, and the probability that a view with fewer stays."""
_ROOM, _BODY, _PLACE, _CAMERA = range(4)
"""First keys of the draws."""


@dataclass(frozen=True)
class SceneConfig:
    """Distribution of scenes."""

    least: int = 1
    """Fewest objects."""
    most: int = 3
    """Most objects: K, the number of slots."""
    radius: tuple[float, float] = (0.35, 0.6)
    """Metres: range of object radii."""
    spread: float = 1.5
    """Metres: objects' centres lie within +- this."""
    gap: float = 0.1
    """Metres: least space between two objects."""
    combinations: str = "all"
    """(shape, hue) pairs in use: train, heldout or all."""
    named: bool = False
    """Objects of one scene have different hues, each pure; else any hues, of any saturation above a half."""
    hues: tuple[int, ...] = tuple(range(len(HUES)))
    """Hues in use where objects are named, indices into ``HUES``."""

    def __post_init__(self) -> None:
        if self.combinations not in COMBINATIONS:
            raise UsageError(
                f"rooms: unknown combinations '{self.combinations}'{did_you_mean(self.combinations, COMBINATIONS)} "
                f"Known: {', '.join(COMBINATIONS)}"
            )
        if len(set(self.hues)) < len(self.hues) or not set(self.hues) <= set(range(len(HUES))):
            raise UsageError(f"rooms: hues={self.hues}; give different numbers in 0..{len(HUES) - 1}")
        limit = len(self.hues) if self.named else 8
        if not 1 <= self.least <= self.most <= limit:
            raise UsageError(f"rooms: least={self.least} and most={self.most} must be 1 <= least <= most <= {limit}")
        small, large = self.radius
        if not 0 < small <= large:
            raise UsageError(f"rooms: radius={self.radius} must be (smallest, largest), above 0")
        if self.gap < 0 or not 0 < self.spread <= HALF - large:
            raise UsageError(
                f"rooms: spread={self.spread}, gap={self.gap}; give gap >= 0, spread in (0, {HALF - large}], so that "
                f"objects of radius {large} stand inside the walls"
            )
        # an object cannot block two corners at once if this holds, so one corner stays free for each of four
        if self.most > 1 and (self.most > 4 or 2 * large + self.gap >= 2 * self.spread):
            raise UsageError(
                f"rooms: {self.most} objects of radius {large} may find no place within +-{self.spread}; take at most "
                "4, smaller ones or a larger spread"
            )


class RoomRecord(NamedTuple):
    """S scenes with V views each."""

    images: Array
    """(S, V, H, W, 3) uint8."""
    poses: Array
    """(S, V, 7) float32: x, y, z in metres, cos yaw, sin yaw, cos pitch, sin pitch."""
    depth: Array | None
    """(S, V, H, W) float32, metres from the camera along the ray."""
    masks: Array | None
    """(S, V, H, W) uint8: 0 the room, k the object in slot k - 1."""
    scene: Scenes


def is_heldout(shape: Array, hue: Array) -> Array:
    """True for pairs of shape (1 sphere, 2 cylinder, 3 box) and hue (0..5) that are kept out of training."""
    return (np.asarray(shape) - 1 + hue) % 3 == 0


def hsv_to_rgb(hue: Array, saturation: Array, value: Array | float) -> Array:
    """Colours (..., 3) in [0, 1]; hue in turns."""
    sector = (np.asarray(hue)[..., None] * 6 + np.array([5, 3, 1])) % 6
    ramp = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return np.asarray(value)[..., None] * (1 - np.asarray(saturation)[..., None] * ramp)


def _unit(seeds: Array, *keys: int | Array) -> Array:
    """Draws in [0, 1), float64, by counter."""
    return uniform(counter_hash(seeds, *keys))


def _between(low: float | Array, high: float | Array, fraction: Array) -> Array:
    value: Array = low + (np.asarray(high) - low) * fraction
    return value


def apart(seeds: Array, key: int, others: Array, distance: Array, spread: float) -> Array:
    """Places (S, 2) within +-spread, at least ``distance`` (S, J) from ``others`` (S, J, 2), drawn uniformly.

    After 32 rejected draws a corner is taken; if none is free, the freest.
    """
    tries = np.arange(TRIES)
    fractions = [_unit(seeds[:, None], _PLACE, key, tries, axis) for axis in range(2)]
    drawn = _between(-spread, spread, np.stack(fractions, axis=-1))
    corners = spread * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], float)
    drawn = np.concatenate([drawn, np.broadcast_to(corners, (len(seeds), 4, 2))], axis=1)
    if others.shape[1] == 0:
        return drawn[:, 0]
    spare = (np.linalg.norm(drawn[:, :, None] - others[:, None], axis=-1) - distance[:, None]).min(axis=-1)
    return drawn[np.arange(len(seeds)), np.minimum(spare, 0).argmax(axis=1)]


def draw_scenes(seeds: Sequence[int] | Array, config: SceneConfig | None = None) -> Scenes:
    """One scene a seed, (S,) integers; a scene depends on its own seed and the config alone."""
    config = config or SceneConfig()
    seeds = np.asarray(seeds, np.int64)
    if seeds.ndim != 1 or len(seeds) == 0:
        raise UsageError(f"rooms: seeds of shape {seeds.shape}; give a list of at least one integer")
    by_slot, slots = seeds[:, None], np.arange(config.most)

    def body(tag: int) -> Array:
        return _unit(by_slot, _BODY, tag, slots)

    present = slots < (config.least + (_unit(seeds, _ROOM, 0) * (config.most - config.least + 1)).astype(int))[:, None]
    hue = (body(0) * 6).astype(np.int64)
    if config.named:
        order = np.argsort(_unit(by_slot, _BODY, 1, np.arange(len(config.hues))), axis=1)
        hue = np.array(config.hues)[order[:, : config.most]]
    radius = _between(*config.radius, body(2))
    place = np.zeros((len(seeds), config.most, 2))
    for k in range(config.most):
        reach = radius[:, :k] + radius[:, k : k + 1] + config.gap
        place[:, k] = apart(seeds, k, place[:, :k], reach, config.spread)
    shade = 0.0 if config.named else body(3) - 0.5
    saturation = 0.9 if config.named else _between(0.55, 1.0, body(4))
    value = 0.95 if config.named else _between(0.7, 1.0, body(5))
    return Scenes(
        seeds=seeds,
        shape=np.where(present, _shapes(hue, body(6), config.combinations), 0),
        place=place.astype(np.float32),
        radius=radius.astype(np.float32),
        height=_between(*HEIGHTS, body(7)).astype(np.float32),
        yaw=(body(8) * np.pi / 2).astype(np.float32),
        hue=hue,
        colour=hsv_to_rgb((hue + shade) / 6, np.broadcast_to(saturation, hue.shape), value).astype(np.float32),
        **_room_colours(seeds),
    )


def _shapes(hue: Array, fraction: Array, combinations: str) -> Array:
    """Shapes 1..3 that ``combinations`` allows for these hues: a hue has one held-out shape."""
    heldout: Array = (-hue) % 3
    if combinations == "heldout":
        return heldout + 1
    if combinations == "train":
        return (heldout + 1 + (fraction * 2).astype(np.int64)) % 3 + 1
    return (fraction * 3).astype(np.int64) + 1


def _room_colours(seeds: Array) -> dict[str, Array]:
    """Walls, floor, ceiling and light. Their colours are pale or dull, so that objects stand out."""
    surfaces = np.arange(3)
    hue, more_saturated, brighter = (_unit(seeds[:, None], _ROOM, tag, surfaces) for tag in (1, 2, 3))
    saturation = _between(np.array([0.15, 0.1, 0.0]), np.array([0.4, 0.4, 0.1]), more_saturated)
    value = _between(np.array([0.6, 0.5, 0.8]), np.array([0.85, 0.8, 0.9]), brighter)
    tone = np.array([1, 0.78])
    tones = hsv_to_rgb(hue[..., None] * np.ones(2), saturation[..., None] * np.ones(2), value[..., None] * tone)
    styles = (len(WALL_STYLES), len(FLOOR_STYLES))
    style = np.stack([(_unit(seeds, _ROOM, 4, i) * n).astype(np.int64) for i, n in enumerate(styles)], axis=1)
    angle = 2 * np.pi * _unit(seeds, _ROOM, 5)
    light = np.stack([0.6 * np.cos(angle), 0.6 * np.sin(angle), np.full(len(seeds), 0.8)], axis=1)
    return {"tones": tones.astype(np.float32), "style": style, "light": light.astype(np.float32)}


def poses_of(x: Array, y: Array, z: Array | float, yaw: Array, pitch: Array | float) -> Array:
    """Poses (..., 7) float32 of metres and radians that broadcast."""
    columns = np.broadcast_arrays(x, y, z, np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch))
    return np.stack(columns, axis=-1).astype(np.float32)


def extent(scene: Scenes) -> Array:
    """Metres (S,) from the middle of the room to the farthest point of an object."""
    return np.where(scene.shape > 0, np.hypot(*np.moveaxis(scene.place, -1, 0)) + scene.radius, 0).max(axis=1)


def ring_cameras(scene: Scenes, views: int) -> Array:
    """Poses (S, V, 7) on a ring round the middle, all outside the objects by 0.4 m."""
    draw = [_unit(scene.seeds[:, None], _CAMERA, tag, np.arange(views)) for tag in range(5)]
    distance = _between(np.maximum(2.6, extent(scene) + 0.4)[:, None], 3.2, draw[0])
    angle = 2 * np.pi * draw[1]
    yaw = angle + np.pi + _between(-0.25, 0.25, draw[3])
    height, pitch = _between(1.0, 1.6, draw[2]), _between(-0.35, -0.15, draw[4])
    return poses_of(distance * np.cos(angle), distance * np.sin(angle), height, yaw, pitch)


def _clear(scene: Scenes, x: Array, y: Array, z: Array, margin: float) -> Array:
    """True (S, V) where points (S, V) are ``margin`` metres from every object, or above it."""
    apart = np.hypot(x[..., None] - scene.place[:, None, :, 0], y[..., None] - scene.place[:, None, :, 1])
    top = np.maximum(scene.height, 2 * scene.radius)[:, None]
    clear = (apart > scene.radius[:, None] + margin) | (z[..., None] > top + margin)
    return (clear | (scene.shape[:, None] == 0)).all(axis=-1)


def free_cameras(scene: Scenes, views: int, size: int = 64, fov: float = 60.0) -> Array:
    """Poses (S, V, 7) anywhere; views with hardly an object in them are drawn again with probability 0.7."""
    poses, pending = np.zeros((len(scene), views, 7), np.float32), np.ones((len(scene), views), bool)
    attempt = 0
    while pending.any():
        row, view = np.nonzero(pending)
        draw = [_unit(scene.seeds[row], _CAMERA, 16 + tag, view, attempt)[:, None] for tag in range(6)]
        wide = HALF - CLEARANCE
        x, y, z = _between(-wide, wide, draw[0]), _between(-wide, wide, draw[1]), _between(0.4, 2.0, draw[2])
        tried = poses_of(x, y, z, 2 * np.pi * draw[3], _between(-0.35, 0.15, draw[4]))
        pending_scenes = scene.take(row)
        masks = render(pending_scenes, tried, size=size, fov=fov, depth=False).masks
        assert masks is not None
        object_pixels = (masks > 0).mean(axis=(2, 3))[:, 0]
        stays = _clear(pending_scenes, x, y, z, 0.2)[:, 0] & ((object_pixels >= INTERESTING) | (draw[5][:, 0] < KEEP))
        poses[row[stays], view[stays]] = tried[stays, 0]
        pending[row[stays], view[stays]] = False
        attempt += 1
    return poses


def trajectory_cameras(scene: Scenes, views: int) -> Array:
    """Poses (S, V, 7) of one walk a scene: 0.3 m a view and a turn of up to 20 degrees; a blocked walker turns 60."""
    draw = [_unit(scene.seeds, _CAMERA, 32 + tag) for tag in range(2)]
    yaw, z = 2 * np.pi * draw[0], _between(1.0, 1.6, draw[1])
    wide = HALF - CLEARANCE
    reach = np.where(scene.shape > 0, scene.radius + CLEARANCE, 0)
    x, y = apart(scene.seeds, 99, scene.place, reach, wide - 0.1).T
    poses = []
    for view in range(views):
        poses.append(poses_of(x, y, z, yaw, -0.2))
        yaw = yaw + TURN * (2 * _unit(scene.seeds, _CAMERA, 34, view) - 1)
        ahead = x + STEP * np.cos(yaw), y + STEP * np.sin(yaw)
        open_floor = _clear(scene, ahead[0][:, None], ahead[1][:, None], np.zeros((len(x), 1)), CLEARANCE)[:, 0]
        moves = open_floor & (np.maximum(np.abs(ahead[0]), np.abs(ahead[1])) < wide)
        x, y = np.where(moves, ahead[0], x), np.where(moves, ahead[1], y)
        yaw = np.where(moves, yaw, yaw + np.pi / 3)
    return np.stack(poses, axis=1)


def scenes(
    seeds: Sequence[int] | Array,
    views: int = 10,
    camera: str = "ring",
    *,
    config: SceneConfig | None = None,
    size: int = 64,
    fov: float = 60.0,
    depth: bool = True,
    masks: bool = True,
) -> RoomRecord:
    """Draw S scenes from their seeds with ``views`` views each.

    Args:
        seeds: (S,) integers.
        views: V.
        camera: ring, free or trajectory.
        config: distribution of scenes; ``SceneConfig(combinations="heldout")`` for unseen pairs.
        size: H = W, pixels.
        fov: degrees, across and up.
        depth, masks: whether to compute them.

    Raises:
        UsageError: an unknown camera or combination, or numbers out of range.
    """
    if camera not in CAMERAS:
        raise UsageError(f"rooms: unknown camera '{camera}'{did_you_mean(camera, CAMERAS)} Known: {', '.join(CAMERAS)}")
    if isinstance(views, bool) or not isinstance(views, (int, np.integer)) or views < 1:
        raise UsageError(f"rooms: views={views!r} is not an integer of at least 1; give one that is")
    scene = draw_scenes(seeds, config)
    if camera == "ring":
        poses = ring_cameras(scene, views)
    elif camera == "free":
        poses = free_cameras(scene, views, size, fov)
    else:
        poses = trajectory_cameras(scene, views)
    rendered = render(scene, poses, size=size, fov=fov, depth=depth, masks=masks)
    return RoomRecord(rendered.images, poses, rendered.depth, rendered.masks, scene)
