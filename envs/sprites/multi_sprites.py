"""MultiSprites: scenes of several sprites with exact masks, visibility and factors, and moving ones.

Follows multi-dSprites of deepmind/multi_object_datasets (Kabra et al. 2019): binarised, coloured on gray, coloured on
coloured. Differs: own ranges of size and colour; no two colours that may touch are nearly equal, no sprite is nearly
hidden; (shape, colour class) pairs can be held out; sprites can move and bounce off the walls. Units as in
``envs.sprites.renderer``. Scene i is drawn by counter from (seed, i) alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from envs.counter_rng import below, counter_hash, mix, uniform
from envs.registry import UsageError, did_you_mean
from envs.spaces import Array
from envs.sprites.renderer import SHAPES, Sprites, allowed, class_rgb, colour_in, stamp

_ATTEMPTS = 1000


@dataclass(frozen=True)
class Scenes:
    """N scenes, or sequences: then image, mask, visibility, x, y and velocity have a time axis T after N."""

    image: Array
    """uint8 (N, S, S, 3)."""
    mask: Array
    """uint8 (N, S, S): 0 background, k + 1 slot k; from the pixel centres."""
    visibility: Array
    """float32 (N, K): visible / unoccluded pixels; 0 for an absent slot."""
    n: Array
    """int64 (N,): sprites; they fill the first n of the K slots, back to front."""
    shape: Array
    """int64 (N, K), index in SHAPES; -1 for an absent slot."""
    colour: Array
    """int64 (N, K), index in COLOURS; -1 for an absent slot and for white."""
    scale: Array
    """float32 (N, K): radius / (S / 4), in [0.5, 1]."""
    orientation: Array
    """float32 (N, K), radians in [0, 2 pi)."""
    x: Array
    """float32 (N, K), centre in pixels; so is y."""
    y: Array
    rgb: Array
    """uint8 (N, K, 3)."""
    background: Array
    """uint8 (N, 3)."""
    velocity: Array
    """float32 (N, K, 2), pixels a frame along x and y; 0 where nothing moves."""


COUNTS = {"binary": (2, 3), "gray": (2, 5), "coloured": (1, 4)}


@dataclass(frozen=True)
class MultiSprites:
    """A stream of scenes: ``scenes(ids)`` and, with motion, ``sequences(ids, steps)``; scene i is always the same.

    Raises:
        UsageError: an unknown name or a value out of range; while drawing, limits that no scene meets.
    """

    mode: str = "coloured"
    """"binary": white on black, edges not smoothed; "gray": coloured on mid-gray; "coloured": on a coloured ground."""
    counts: tuple[int, int] | None = None
    """Fewest and most sprites; None: 2-3, 2-5 and 1-4 in the three modes, as published. 6 asks for generalisation."""
    size: int = 64
    """Side of the image in pixels; radii are half to a whole of size / 4."""
    shapes: tuple[str, ...] = ("square", "ellipse", "heart")
    """Of SHAPES; the default is dSprites' set."""
    combinations: str = "all"
    """"train", "heldout" or "all": allowed (shape, colour class) pairs, see ``allowed``."""
    min_distance: float = 0.25
    """Least Euclidean distance in the RGB unit cube of colours that may touch (circles meet), ground included."""
    min_visible: float = 0.25
    """Least visible fraction of every sprite; of the first frame in sequences, where later ones may hide sprites."""
    speed: tuple[float, float] = (1.0, 3.0)
    """Slowest and fastest in sequences, pixels a frame."""
    seed: int = 0
    """Scenes are drawn from (seed, id)."""

    def __post_init__(self) -> None:
        if self.mode not in COUNTS:
            raise UsageError(
                f"multisprites: unknown mode '{self.mode}'{did_you_mean(self.mode, COUNTS)} Known: {', '.join(COUNTS)}"
            )
        if self.mode == "binary" and self.combinations != "all":
            raise UsageError(
                f"multisprites: mode 'binary' has no colours; combinations='{self.combinations}' must be all"
            )
        for shape in self.shapes or ("",):
            if shape not in SHAPES:
                raise UsageError(
                    f"multisprites: unknown shape '{shape}'{did_you_mean(shape, SHAPES)} Known: {', '.join(SHAPES)}"
                )
        allowed(self.combinations)
        low, high = self.limits
        ranges = {
            "counts": (1 <= low <= high <= 16, "two integers with 1 <= fewest <= most <= 16"),
            "size": (16 <= self.size <= 512, "in [16, 512]"),
            "min_distance": (0 <= self.min_distance <= 0.5, "in [0, 0.5]"),
            "min_visible": (0 <= self.min_visible <= 1, "in [0, 1]"),
            "speed": (
                0 <= self.speed[0] <= self.speed[1] <= self.size / 4,
                "two numbers with 0 <= slowest <= fastest <= size / 4",
            ),
        }
        for name, (good, wanted) in ranges.items():
            if not good:
                raise UsageError(f"multisprites: {name}={getattr(self, name)} must be {wanted}")

    @property
    def limits(self) -> tuple[int, int]:
        """Fewest and most sprites."""
        return COUNTS[self.mode] if self.counts is None else self.counts

    def scenes(self, ids: Array) -> Scenes:
        """The scenes ``ids`` (N,), integers."""
        ids = np.asarray(ids, np.int64)
        sprites, background, colour = self._drawn(ids, moving=False)
        image, mask, visibility = self._painted(sprites, background)
        still = np.zeros((*colour.shape, 2), np.float32)
        return self._record(sprites, background, colour, image, mask, visibility, sprites.x, sprites.y, still)

    def sequences(self, ids: Array, steps: int) -> Scenes:
        """The sequences ``ids`` (N,), ``steps`` = T frames each: constant speed, circles bounce off the walls.

        Any two colours of a sequence keep the least distance, as any two sprites may meet. Nearer slots pass in front.
        """
        ids = np.asarray(ids, np.int64)
        sprites, background, colour = self._drawn(ids, moving=True)
        bits = self._bits(ids, -2, 2)
        speed = self.speed[0] + (self.speed[1] - self.speed[0]) * uniform(mix(bits, 0))
        angle = 2 * np.pi * uniform(mix(bits, 1))
        flights = [
            _bounce(start, speed * component(angle), sprites.radius, self.size, steps)
            for start, component in ((sprites.x, np.cos), (sprites.y, np.sin))
        ]
        (x, vx), (y, vy) = flights
        flat = replace(
            sprites.take(np.repeat(np.arange(len(ids)), steps)),
            x=x.reshape(-1, x.shape[2]),
            y=y.reshape(-1, y.shape[2]),
        )
        painted = self._painted(flat, background.repeat(steps, 0))
        image, mask, visibility = (array.reshape(len(ids), steps, *array.shape[1:]) for array in painted)
        return self._record(sprites, background, colour, image, mask, visibility, x, y, np.stack([vx, vy], -1))

    def _bits(self, ids: Array, attempt: int, kind: int) -> Array:
        """Bits of every slot, uint64 (N, K)."""
        return counter_hash(self.seed, ids[:, None], attempt, kind, np.arange(self.limits[1]))

    def _drawn(self, ids: Array, moving: bool) -> tuple[Sprites, Array, Array]:
        """Sprites, background (N, 3) and colour classes (N, K); counts first, so that rejection cannot bias them."""
        low, high = self.limits
        n = low + below(counter_hash(self.seed, ids, -1, 0), high - low + 1)
        present = np.arange(high) < n[:, None]
        sprites = self._placed(ids, 0, present)
        rows, attempt = np.arange(len(ids)), 0
        while len(rows := rows[~self._well_visible(sprites.take(rows))]):
            attempt = self._again(attempt, "min_visible")
            sprites.put(rows, self._placed(ids[rows], attempt, present[rows]))
        background, colour, rgb = self._coloured(ids, 0, sprites.shape)
        rows, attempt = np.arange(len(ids)), 0
        while len(rows := rows[~self._distinct(replace(sprites, rgb=rgb).take(rows), background[rows], moving)]):
            attempt = self._again(attempt, "min_distance")
            background[rows], colour[rows], rgb[rows] = self._coloured(ids[rows], attempt, sprites.shape[rows])
        return replace(sprites, rgb=rgb), background, np.where(present, colour, -1)

    def _again(self, attempt: int, limit: str) -> int:
        if attempt == _ATTEMPTS:
            raise UsageError(
                f"multisprites: no scene with {limit}={getattr(self, limit)} in {_ATTEMPTS} draws; lower it, or "
                f"counts={self.limits}"
            )
        return attempt + 1

    def _placed(self, ids: Array, attempt: int, present: Array) -> Sprites:
        bits = self._bits(ids, attempt, 0)
        radius = self.size / 4 * (0.5 + 0.5 * uniform(mix(bits, 0)))
        x, y = (radius + (self.size - 2 * radius) * uniform(mix(bits, key)) for key in (1, 2))
        known = np.array([SHAPES.index(shape) for shape in self.shapes])
        shape = known[below(mix(bits, 3), len(known))]
        white = np.full((*shape.shape, 3), 255, np.uint8)
        return Sprites(present, shape, radius, 2 * np.pi * uniform(mix(bits, 4)), x, y, white)

    def _coloured(self, ids: Array, attempt: int, shape: Array) -> tuple[Array, Array, Array]:
        """Background (N, 3), colour classes (N, K) and colours (N, K, 3)."""
        if self.mode == "binary":
            return (
                np.zeros((len(ids), 3), np.uint8),
                np.full(shape.shape, -1),
                np.full((*shape.shape, 3), 255, np.uint8),
            )
        bits = self._bits(ids, attempt, 1)
        pairs = allowed(self.combinations)
        # stable sort puts the allowed classes of each shape first; every shape allows equally many
        choices = np.argsort(~pairs, axis=1, kind="stable")
        colour = choices[shape, below(mix(bits, 3), pairs[0].sum())]
        if self.mode == "gray":
            background = np.full((len(ids), 3), 128, np.uint8)
        else:
            background = below(counter_hash(self.seed, ids[:, None], attempt, 3, np.arange(3)), 256).astype(np.uint8)
        return background, colour, class_rgb(colour, bits)

    def _well_visible(self, sprites: Sprites) -> Array:
        _, visibility = self._stamped(sprites)
        visible: Array = ((visibility >= self.min_visible) | ~sprites.present).all(1)
        return visible

    def _stamped(self, sprites: Sprites) -> tuple[Array, Array]:
        mask = np.zeros((len(sprites.shape), self.size, self.size), np.uint8)
        unoccluded = stamp(mask, sprites)
        visible = [(mask == k + 1).sum((1, 2)) for k in range(unoccluded.shape[1])]
        return mask, (np.stack(visible, 1) / np.maximum(unoccluded, 1)).astype(np.float32)

    def _distinct(self, sprites: Sprites, background: Array, moving: bool) -> Array:
        """True (N,) where all colours that may touch lie ``min_distance`` apart."""
        if self.mode == "binary":
            return np.ones(len(background), bool)
        colours = np.concatenate([background[:, None], sprites.rgb], 1) / 255
        apart = np.linalg.norm(colours[:, :, None] - colours[:, None], axis=-1) >= self.min_distance
        centres = np.stack([sprites.x, sprites.y], -1)
        gap = np.linalg.norm(centres[:, :, None] - centres[:, None], axis=-1)
        meet = moving | (gap <= sprites.radius[:, :, None] + sprites.radius[:, None] + 1)
        apart[:, 1:, 1:] |= ~meet | np.eye(meet.shape[1], dtype=bool)
        present = np.concatenate([np.ones((len(background), 1), bool), sprites.present], 1)
        apart |= ~(present[:, :, None] & present[:, None])
        apart[:, 0, 0] = True
        return apart.all((1, 2))

    def _painted(self, sprites: Sprites, background: Array) -> tuple[Array, Array, Array]:
        mask, visibility = self._stamped(sprites)
        image = np.empty((*mask.shape, 3), np.uint8)
        image[:] = background[:, None, None]
        if self.mode == "binary":
            image[mask > 0] = 255
        else:
            colour_in(image, sprites)
        return image, mask, visibility

    def _record(
        self,
        sprites: Sprites,
        background: Array,
        colour: Array,
        image: Array,
        mask: Array,
        visibility: Array,
        x: Array,
        y: Array,
        velocity: Array,
    ) -> Scenes:
        return Scenes(
            image=image,
            mask=mask,
            visibility=visibility,
            n=sprites.present.sum(1),
            shape=np.where(sprites.present, sprites.shape, -1),
            colour=colour,
            scale=(sprites.radius / (self.size / 4)).astype(np.float32),
            orientation=sprites.orientation.astype(np.float32),
            x=x.astype(np.float32),
            y=y.astype(np.float32),
            rgb=sprites.rgb,
            background=background,
            velocity=velocity.astype(np.float32),
        )


def _bounce(start: Array, speed: Array, radius: Array, size: int, steps: int) -> tuple[Array, Array]:
    """Positions and velocities (N, T, K) along one axis, walls at radius and size - radius: a folded straight line."""
    room = size - 2 * radius[:, None]
    way = (start[:, None] - radius[:, None] + speed[:, None] * np.arange(steps)[:, None]) % (2 * room)
    back = way > room
    return radius[:, None] + np.where(back, 2 * room - way, way), np.where(back, -speed[:, None], speed[:, None])
