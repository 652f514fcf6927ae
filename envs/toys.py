"""Four toy environments of known factors, on which every representation can be tried within seconds.

A sprite of 8 pixels walks 4 pixels up, down, left or right in a frame of 40x40, or stands still. There is no reward. An
episode ends after 32 steps. Each toy hides one factor behind what no task would need:

    place    the sprite, a white square, on pixel noise that is drawn at every step; its place
    shape    one of four shapes for the whole episode; colours of sprite and ground are drawn at every step; its shape
    flicker  a grey bar that walks sideways, and three white squares anywhere, drawn at every step; the bar's place
    agent    a cross that the actions move, and three squares that walk by themselves; the cross's place

The factor is what ``factors`` gives, and it lies in [0, 1].
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from envs.counter_rng import below, counter_hash
from envs.registry import UsageError
from envs.spaces import Array
from envs.vector_env import BatchedEnv, SingleEnv

TOYS = ("place", "shape", "flicker", "agent")
SIDE, SPRITE, STEP, EPISODE = 40, 8, 4, 32
PLACES = (SIDE - SPRITE) // STEP + 1
"""Places of the sprite along a side."""
MOVES = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])
"""Rows and columns that each action moves by."""
OTHERS = 3
"""Squares beside the sprite in ``flicker`` and ``agent``."""
_AXIS = np.arange(SPRITE)
_DISTANCE = np.abs(_AXIS - 3.5)
SHAPES = np.stack(
    [
        np.ones((SPRITE, SPRITE), bool),
        np.minimum(_DISTANCE[:, None], _DISTANCE) < 1.5,  # a cross
        np.abs(_AXIS[:, None] - _AXIS) < 2,  # a diagonal
        np.maximum(_DISTANCE[:, None], _DISTANCE) > 1.5,  # a ring
    ]
)
"""Masks (4, 8, 8): square, cross, diagonal, ring."""
_PLACE, _SHAPE, _NOISE, _COLOUR, _OTHER = range(5)  # tags of draws


class ToyVectorEnv(BatchedEnv):
    """``num_envs`` toys. Observations (N, 40, 40, 3) uint8, five actions.

    Args:
        num_envs: number of envs.
        toy: one of ``TOYS``.
        seed: of the level draws.
        num_levels: levels are drawn from [start_level, start_level + num_levels).
        start_level: first level.
        max_episode_steps: steps of an episode.

    Raises:
        UsageError: an unknown toy.
    """

    name = "toys"
    variants: ClassVar[dict[str, dict[str, Any]]] = {toy: {"toy": toy} for toy in TOYS}
    state_names = ("place", "others")

    def __init__(
        self,
        num_envs: int = 1,
        *,
        toy: str = "place",
        seed: int = 0,
        num_levels: int = 100_000,
        start_level: int = 0,
        max_episode_steps: int | None = EPISODE,
        render_mode: str | None = None,
    ):
        if toy not in TOYS:
            raise UsageError(f"toys: unknown toy '{toy}'; give one of {', '.join(TOYS)}")
        self.toy = toy
        self.place = np.zeros((num_envs, 2), np.int64)
        """Row and column (N, 2) of the sprite, in steps."""
        self.others = np.zeros((num_envs, OTHERS, 2), np.int64)
        """Rows and columns (N, 3, 2) of the other squares, in steps."""
        super().__init__(
            num_envs,
            gym.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8),
            len(MOVES),
            seed=seed,
            num_levels=num_levels,
            start_level=start_level,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )

    def _draw(self, rows: Array, tag: int, *numbers: Array | int) -> Array:
        """Bits of ``rows`` at their present step: uint64 (n, ...) for ``numbers`` that broadcast behind (n,)."""
        shape = (-1, *(1,) * max((np.ndim(number) for number in numbers), default=0))
        keys = [self.level[rows], self.streams(rows), self.episode[rows], self.time[rows]]
        return counter_hash(*(key.reshape(shape) for key in keys), tag, *numbers)

    def _begin(self, rows: Array) -> None:
        level = self.level[rows][:, None]
        self.place[rows] = below(counter_hash(level, _PLACE, np.arange(2)), PLACES)
        squares = np.arange(2 * OTHERS).reshape(OTHERS, 2)
        self.others[rows] = below(counter_hash(level[..., None], _OTHER, squares), PLACES)

    def _advance(self, actions: Array) -> tuple[Array, Array, Array]:
        self.place = (self.place + MOVES[actions]).clip(0, PLACES - 1)
        squares = np.arange(OTHERS)
        if self.toy == "agent":
            walk = MOVES[below(self._draw(self.rows, _OTHER, squares), len(MOVES))]
            self.others = (self.others + 2 * walk).clip(0, PLACES - 1)
        elif self.toy == "flicker":
            spots = np.arange(2 * OTHERS).reshape(OTHERS, 2)
            self.others = below(self._draw(self.rows, _OTHER, spots), PLACES)
        no = np.zeros(self.num_envs, bool)
        return np.zeros(self.num_envs), no, no

    def _observe(self, rows: Array) -> Array:
        frames = np.zeros((len(rows), SIDE, SIDE, 3), np.uint8)
        place = self.place[rows]
        if self.toy == "place":
            bits = self._draw(rows, _NOISE, np.arange(SIDE * SIDE))
            frames[:] = below(bits, 128).reshape(-1, SIDE, SIDE, 1)
            _paint(frames, place, SHAPES[0], 255)
        elif self.toy == "shape":
            colours = below(self._draw(rows, _COLOUR, np.arange(6)), 128)
            frames[:] = colours[:, None, None, :3]
            _paint(frames, place, SHAPES[self.shape(rows)], 128 + colours[:, None, None, 3:])
        else:
            for other in range(OTHERS):
                _paint(frames, self.others[rows, other], SHAPES[0], 255)
            if self.toy == "agent":
                _paint(frames, place, SHAPES[1], 255)
            else:
                column = place[:, 1, None] * STEP + np.arange(2, SPRITE - 2)
                frames[np.arange(len(rows))[:, None], :, column] = 120
        return frames

    def shape(self, rows: Array) -> Array:
        """Index of each row's shape (n,), in ``shape`` alone other than the square."""
        return below(counter_hash(self.level[rows], _SHAPE), len(SHAPES))

    def factors(self) -> dict[str, Array]:
        """The toy's one factor: one-hot (N, 4) of the shape, or (N, 1) and (N, 2) of places in [0, 1]."""
        if self.toy == "shape":
            return {"shape": np.eye(len(SHAPES))[self.shape(self.rows)]}
        place = self.place / (PLACES - 1)
        return {"place": place[:, 1:] if self.toy == "flicker" else place}

    def factor_vector(self, rows: Array) -> Array:
        """The factor, and zeros up to four numbers, so that all toys give vectors of one size."""
        (factor,) = self.factors().values()
        vector = np.zeros((len(rows), len(SHAPES)), np.float32)
        vector[:, : factor.shape[1]] = factor[rows]
        return vector


def _paint(frames: Array, place: Array, masks: Array, colours: Array | int) -> None:
    """Paint a sprite into each frame (n, 40, 40, 3): at places (n, 2), with masks (8, 8) or (n, 8, 8)."""
    n = len(frames)
    masks = np.broadcast_to(masks, (n, SPRITE, SPRITE))
    row = place[:, 0, None, None] * STEP + _AXIS[:, None]
    column = place[:, 1, None, None] * STEP + _AXIS
    index = np.arange(n)[:, None, None]
    under = frames[index, row, column]
    frames[index, row, column] = np.where(masks[..., None], colours, under)


class ToyEnv(SingleEnv):
    """One toy."""

    vector_class = ToyVectorEnv
