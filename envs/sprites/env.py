"""Sprites: go to the red heart and touch nothing else; an environment for representations of objects.

The agent is a white square of 7x7 pixels that moves 3 pixels a step: 0 stay, 1 left, 2 right, 3 up, 4 down. Touching
the target, a red heart, gives reward 1, touching a distractor -1; either ends the episode. Every distractor shares
either the target's colour or its shape, so that neither alone identifies the target. Training has one distractor, tests
two and three: did a policy learn of objects or of whole frames?

All places follow from the level; the game itself has no chance in it. Shapes, colours and held-out (shape, colour)
pairs are those of ``envs.sprites.renderer``. Units: pixels, x to the right, y down. Our own.
"""

from __future__ import annotations

from typing import ClassVar

import gymnasium as gym
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from envs.counter_rng import below, uniform
from envs.registration import SPRITES_VARIANTS
from envs.registry import UsageError, check_int, did_you_mean
from envs.spaces import Array
from envs.sprites.renderer import COLOURS, SHAPES, Sprites, allowed, class_rgb, colour_in, stamp
from envs.vector_env import BatchedEnv, SingleEnv

SIDE, STEP = 64, 3
AGENT_SIDE = 7
"""Pixels; odd, as the agent's centre is a pixel."""
TARGET = (SHAPES.index("heart"), COLOURS.index("red"))
MOST = 5
"""Most distractors for which a place surely exists."""
GROUND = 40
"""Grey level of the plain background."""
BACKGROUNDS = ("plain", "gradient", "noise")
MOVES = np.array([(0, 0), (-STEP, 0), (STEP, 0), (0, -STEP), (0, STEP)])
CANDIDATES = 64
_PLACES, _PAIR, _TURN, _SHADE, _BACK = range(5)  # tags of the draws


class SpritesVectorEnv(BatchedEnv):
    """``num_envs`` scenes, SAME_STEP with true final frames. Observations (N, 64, 64, 3) uint8, actions 0..4.

    Args:
        num_envs: N.
        distractors: 0..5.
        combinations: (shape, colour) pairs of distractors: "train", "heldout" (a third of all) or "all".
        radius: of the circle around a sprite, pixels.
        background: plain, gradient or noise, the latter two drawn from the level.
        seed: of a ``reset()`` that names none itself.
        num_levels: levels are drawn from [start_level, start_level + num_levels).
        start_level: first level.
        max_episode_steps: steps after which an episode is truncated; crossing the frame takes 19.
        render_mode: "rgb_array" lets ``render()`` return the frames.

    Raises:
        UsageError: an unknown name or a value out of range.
    """

    name = "sprites"
    variants = SPRITES_VARIANTS
    state_names = ("agent",)
    coverage_factors: ClassVar[dict[tuple[str, ...], tuple[str, str]]] = {("agent",): ("cells", "cells")}

    def __init__(
        self,
        num_envs: int = 1,
        *,
        distractors: int = 1,
        combinations: str = "train",
        radius: float = 6.5,
        background: str = "plain",
        seed: int = 0,
        num_levels: int = 200,
        start_level: int = 0,
        max_episode_steps: int | None = 50,
        render_mode: str | None = None,
    ):
        self.distractors = check_int("sprites", "distractors", distractors, 0, MOST)
        if not isinstance(radius, (int, float)) or not 3 <= radius <= 8:
            raise UsageError(
                f"sprites: radius={radius!r} must lie in 3..8 pixels, so that {MOST + 2} sprites have a place"
            )
        if background not in BACKGROUNDS:
            raise UsageError(
                f"sprites: background='{background}'{did_you_mean(background, BACKGROUNDS)} Known: "
                f"{', '.join(BACKGROUNDS)}"
            )
        self.pairs = _distractor_pairs(combinations)
        self.radius, self.background = float(radius), background
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
        self.agent = np.zeros((self.num_envs, 2), np.int64)
        """Agent's middle pixel, x and y."""
        slots = 1 + self.distractors
        self.place = np.zeros((self.num_envs, slots, 2))
        """Centres of the target and of the distractors, as pixel coordinates of the agent."""
        self.kind = np.zeros((self.num_envs, slots, 2), np.int64)
        """(shape, colour class) of each."""
        self.canvas = np.zeros((self.num_envs, SIDE, SIDE, 3), np.uint8)
        self.mask = np.zeros((self.num_envs, SIDE, SIDE), np.uint8)

    @property
    def reach(self) -> float:
        """Distance of centres, pixels, below which the agent touches a sprite."""
        return 0.75 * (AGENT_SIDE / 2 + self.radius)

    # episodes -----------------------------------------------------------------------------------------------------

    def _begin(self, rows: Array) -> None:
        self._furnish(rows)
        self.agent[rows] = self._start(rows)

    def _furnish(self, rows: Array) -> None:
        """Draw everything that the level decides for the whole episode."""
        slots = 1 + self.distractors
        self.place[rows] = self._places(rows)[:, :slots]
        order = np.arange(self.distractors)
        drawn = below(self.level_bits(rows[:, None], _PAIR, order), len(self.pairs))
        self.kind[rows, 0] = TARGET
        self.kind[rows, 1:] = self.pairs[drawn]
        turn = 2 * np.pi * uniform(self.level_bits(rows[:, None], _TURN, np.arange(slots)))
        turn[:, 0] = 0
        sprites = Sprites(
            present=np.ones((len(rows), slots), bool),
            shape=self.kind[rows, :, 0],
            radius=np.full((len(rows), slots), self.radius),
            orientation=turn,
            x=self.place[rows, :, 0] + 0.5,
            y=self.place[rows, :, 1] + 0.5,
            rgb=class_rgb(self.kind[rows, :, 1], self.level_bits(rows[:, None], _SHADE, np.arange(slots))),
        )
        canvas, mask = self._ground(rows), np.zeros((len(rows), SIDE, SIDE), np.uint8)
        colour_in(canvas, sprites)
        stamp(mask, sprites)
        self.canvas[rows], self.mask[rows] = canvas, mask

    def _places(self, rows: Array) -> Array:
        """Places (n, 2 + distractors, 2) in whole pixels, far enough apart for a start without touch; the agent last.

        Of the candidates drawn for each sprite the first that is far from all before it is taken, else the farthest.
        """
        count = 2 + self.distractors
        tries = np.arange(CANDIDATES)
        edge = int(np.ceil(self.radius)) + 1
        places = np.zeros((len(rows), count, 2))
        for k in range(count):
            bits = (self.level_bits(rows[:, None], _PLACES, k, tries, axis) for axis in range(2))
            spots = edge + np.stack([below(axis_bits, SIDE - 2 * edge) for axis_bits in bits], axis=-1)
            gap = np.linalg.norm(spots[:, :, None] - places[:, None, :k], axis=-1).min(axis=2, initial=np.inf)
            least = 2 * self.radius + 1 if k < count - 1 else self.reach + 2 * STEP
            places[:, k] = spots[np.arange(len(rows)), np.minimum(gap, least).argmax(axis=1)]
        return places

    def _start(self, rows: Array) -> Array:
        return self._places(rows)[:, -1].astype(np.int64)

    def _ground(self, rows: Array) -> Array:
        ground = np.full((len(rows), SIDE, SIDE, 3), GROUND, np.uint8)
        ends = below(self.level_bits(rows[:, None, None], _BACK, np.arange(2)[:, None], np.arange(3)), 100)
        if self.background == "gradient":
            fraction = np.linspace(0, 1, SIDE)[None, :, None]
            shade = ends[:, None, 0] * (1 - fraction) + ends[:, None, 1] * fraction
            ground[:] = shade.astype(np.uint8)[:, :, None]
        elif self.background == "noise":
            cells = np.arange(16)
            spots = self.level_bits(
                rows[:, None, None, None], _BACK, cells[:, None, None], cells[:, None], np.arange(3)
            )
            ground[:] = below(spots, 100).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
        return ground

    # a step -------------------------------------------------------------------------------------------------------

    def _advance(self, actions: Array) -> tuple[Array, Array, Array]:
        self.agent[:] = self._moved(MOVES[actions])
        touched = np.linalg.norm(self.place - self.agent[:, None], axis=2) < self.reach
        reward = np.where(touched[:, 0], 1.0, -1.0 * touched[:, 1:].any(axis=1))
        return reward, touched.any(axis=1), np.zeros(self.num_envs, bool)

    def _moved(self, way: Array) -> Array:
        half = AGENT_SIDE // 2
        moved: Array = np.clip(self.agent + way, half, SIDE - 1 - half)
        return moved

    def _observe(self, rows: Array) -> Array:
        frames = self.canvas[rows]
        self._paint_agent(frames, rows, 255)
        return frames

    def _observe_all(self) -> Array:
        frames = self.canvas.copy()
        self._paint_agent(frames, self.rows, 255)
        return frames

    def _paint_agent(self, canvas: Array, rows: Array, value: int) -> None:
        """Write ``value`` onto the agent's pixels of ``canvas`` (n, H, W, ...)."""
        windows = sliding_window_view(canvas, (AGENT_SIDE, AGENT_SIDE), axis=(1, 2), writeable=True)  # type: ignore[call-overload]
        left, upper = (self.agent[rows] - AGENT_SIDE // 2).T
        windows[np.arange(len(rows)), upper, left] = value

    def _rebuild_derived(self) -> None:
        self._furnish(self.rows)

    # ground truth -------------------------------------------------------------------------------------------------

    def masks(self) -> Array:
        """Instance masks (N, 64, 64) uint8: 0 background, 1 target, 1 + j distractor j, 2 + distractors the agent."""
        mask = self.mask.copy()
        self._paint_agent(mask, self.rows, 2 + self.distractors)
        return mask

    def factors(self) -> dict[str, Array]:
        """Ground truth: agent, target (N, 2), distractors (N, D, 2), x and y; the distractors' shape, colour (N, D)."""
        truth = {"agent": self.agent.copy(), "target": self.place[:, 0].copy()}
        if self.distractors:
            truth["distractors"] = self.place[:, 1:].copy()
            truth |= {"shape": self.kind[:, 1:, 0].copy(), "colour": self.kind[:, 1:, 1].copy()}
        return truth

    def factor_vector(self, rows: Array) -> Array:
        """The agent's x, y less 32, / 32; the distance of touch / 10; the target's x and y from the agent / 32.

        Then 3 numbers for each of 5 distractors, the nearest first: 1 where there is one, and x and y as the target's.
        """
        away = (self.place[rows] - self.agent[rows][:, None]) / (SIDE / 2)
        order = np.argsort((away[:, 1:] ** 2).sum(axis=2), axis=1, kind="stable")[..., None]
        others = np.take_along_axis(away[:, 1:], order, axis=1)
        slots = np.zeros((len(rows), MOST, 3))
        slots[:, : self.distractors, 0] = 1
        slots[:, : self.distractors, 1:] = others
        reach = np.full((len(rows), 1), self.reach / 10)
        parts = [self.agent[rows] / (SIDE / 2) - 1, reach, away[:, 0], slots.reshape(len(rows), -1)]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def scripted(self) -> Array:
        """Actions that lead nearest to the target, distractors repelling."""
        after = np.stack([self._moved(way) for way in MOVES], axis=1)
        gap = np.linalg.norm(after[:, :, None] - self.place[:, None], axis=3)
        push = np.exp((self.reach + 1 - gap[:, :, 1:]) / 2).sum(axis=2) * 4
        push += 1000 * (gap[:, :, 1:] < self.reach).any(axis=2)
        return (gap[:, :, 0] + push).argmin(axis=1)


def _distractor_pairs(combinations: str) -> Array:
    """Pairs (P, 2) of shape and colour that share exactly one of the two with the target."""
    shape, colour = np.nonzero(allowed(combinations))
    shared = (shape == TARGET[0]).astype(int) + (colour == TARGET[1])
    pairs: Array = np.stack([shape, colour], axis=1)[shared == 1]
    return pairs


class SpritesEnv(SingleEnv):
    """One scene for ``gymnasium.make``."""

    vector_class = SpritesVectorEnv
