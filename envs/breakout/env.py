"""Breakout as arrays, with everything that can change around it: the variants of Schema Networks, and more.

Rules (Kansky et al. 2017, arXiv 1706.04317; vicariousinc/schema-games): a 1-pixel ball, a paddle, 6 rows of bricks.
A brick gives reward 1, a lost ball -1; three lives; clearing the bricks ends the episode.
Actions 0 stay, 1 left, 2 right; the paddle moves 2 pixels. Order of a step: balls against the paddle's old place, hit
bricks, moving blocks, paddle, speed-up, win and losses. Variants, sizes and every option: ``envs.breakout.variants``.

Differs from the original: a speed-up doubles the velocity (in the original the direction jumped) and happens once an
episode (once a process); ``wall_location="random"`` is drawn every episode; negative bricks have a colour of their own;
episodes are limited. Layout, colours, paddle and first serve follow from the level; noise and later serves do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from envs.breakout.dynamics import GONE, PLACES, Board
from envs.breakout.ground_truth import InstanceMaskRenderer, entities, track
from envs.breakout.levels import layouts
from envs.breakout.renderer import Painter
from envs.breakout.variants import MAX_SPEED, VARIANTS, geometry_for, rules_for
from envs.counter_rng import below, mix, uniform
from envs.registry import UsageError, did_you_mean
from envs.spaces import Array
from envs.vector_env import BatchedEnv, SingleEnv

MODES = ("rgb", "gray", "index", "entities")
SPEED_UPS = (4, 8, 12)
"""Broken bricks at which the ball speeds up."""
_PADDLE, _STICKY, _TARGET = 24, 25, 26  # tags of the noise; the board has 0..23


class BreakoutVectorEnv(BatchedEnv):
    """``num_envs`` games, SAME_STEP with true final frames.

    Observations by ``mode``: rgb (N, H, W, 3), gray and index (N, H, W, 1), uint8; index is the palette of
    ``envs.breakout.renderer``, without a variant's colours. entities (N, E) float32: for each ball in play, x, y, vx,
    vy; paddle x, y, width; for each block present, x, y, vx; target present, x, y; for each brick 1 if it stands; then
    the bricks' rewards. Lengths are in frame sizes, speeds in maximal speeds. Three balls and three blocks have a place
    even where a variant has fewer, so that all variants have the same space.

    Args:
        num_envs: N.
        variant: a name of ``VARIANTS``, or several, given to the envs in turn (domain randomisation).
        preset: sizes: mini64 (64x64) or schema (94 wide, 117 high; the original).
        mode: of the observations, one of ``MODES``.
        ball_px: 1, or 2: paints the ball 2x2; for the rules it stays one pixel.
        copy: False returns the kept frames themselves, overwritten by the next step (no mode entities).
        seed: of a ``reset()`` that names none itself.
        num_levels: levels are drawn from [start_level, start_level + num_levels).
        start_level: first level.
        max_episode_steps: steps after which an episode is truncated; None for no limit.
        render_mode: "rgb_array" lets ``render()`` return RGB frames, whatever the mode.
        rules: any field of ``Rules``, for all envs, over the variant's own.

    Raises:
        UsageError: an unknown name or a value that cannot be played.
    """

    name = "breakout"
    variants = {name: {"variant": name} for name in VARIANTS}
    coverage_factors = {("bricks",): ("bricks_left", "left")}
    state_names = (
        *("balls", "live", "paddle", "bricks", "brick_reward", "damage"),
        *("speed", "lives", "broken", "obstacles", "target", "last_action"),
    )

    def __init__(
        self,
        num_envs: int = 1,
        *,
        variant: str | Sequence[str] = "standard",
        preset: str = "mini64",
        mode: str = "rgb",
        ball_px: int = 1,
        copy: bool = True,
        seed: int = 0,
        num_levels: int = 200,
        start_level: int = 0,
        max_episode_steps: int | None = 2500,
        render_mode: str | None = None,
        **rules: Any,
    ):
        if mode not in MODES:
            raise UsageError(f"breakout: mode='{mode}'{did_you_mean(mode, MODES)} Known: {', '.join(MODES)}")
        if ball_px not in (1, 2):
            raise UsageError(f"breakout: ball_px={ball_px!r}; give 1 or 2")
        if not copy and mode == "entities":
            raise UsageError("breakout: copy=False keeps frames, and mode='entities' has none; leave copy at True")
        first = rules_for(variant, 1, rules)[0]
        self.geometry, self.mode, self.copy, self.ball_px = geometry_for(preset, first), mode, bool(copy), ball_px
        height, width = self.geometry.height, self.geometry.width
        space = gym.spaces.Box(0, 255, (height, width, 3 if mode == "rgb" else 1), np.uint8)
        super().__init__(
            num_envs,
            space,
            3,
            seed=seed,
            num_levels=num_levels,
            start_level=start_level,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )
        self.rules = rules_for(variant, self.num_envs, rules)
        self.names_levels = all(rule == self.rules[0] for rule in self.rules)  # else env i has the rules of its place
        self.board = board = Board(self.geometry, self.rules)
        self.painter = None if mode == "entities" else Painter(board, self.rules, mode, ball_px)
        self.balls, self.live, self.paddle, self.bricks = board.balls, board.live, board.paddle, board.bricks
        self.brick_reward, self.damage, self.speed = board.brick_reward, board.damage, board.speed
        self.lives, self.broken, self.obstacles = board.lives, board.broken, board.obstacles
        self.target = board.target
        self.last_action = np.zeros(self.num_envs, np.int64)
        self._parameters()
        if mode == "entities":
            size = entities(board, self.rows[:1]).shape[1]
            self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
            self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, self.num_envs)

    def _parameters(self) -> None:
        """Constants of each env's rules, as arrays."""
        rules, geometry = self.rules, self.geometry
        self.paddle_noise = np.array([rule.paddle_noise for rule in rules])
        self.stickiness = np.array([rule.sticky for rule in rules])
        self.swapped = np.array([rule.flip_actions for rule in rules])
        self.lost_reward = np.array([float(rule.lost_reward) for rule in rules])
        self.reward_limit = np.array([1.0 if rule.clip_reward else np.inf for rule in rules])
        self.last_x = geometry.width - geometry.wall - self.board.width
        self.speeds_up = np.isin(np.arange(geometry.num_bricks + 1), SPEED_UPS)
        self.areas = np.array([rule.area_in(geometry) if rule.bricks == "target" else (0, 0, 0, 0) for rule in rules])
        self.values = np.repeat([rule.values_in(geometry) for rule in rules], geometry.columns, axis=1)
        self.wall_at = np.array([(*PLACES, "random").index(rule.wall_location) for rule in rules])
        self.negative = np.array([("none", "left", "right", "random").index(rule.negative_side) for rule in rules])
        layout_names = sorted({(rule.bricks, rule.brick_density) for rule in rules})
        self.layout_rows = [
            (name, np.array([i for i, rule in enumerate(rules) if (rule.bricks, rule.brick_density) == name]))
            for name in layout_names
        ]

    # episodes -----------------------------------------------------------------------------------------------------

    def _set_visuals(self, rows: Array) -> None:
        """Set what the level decides for the whole episode: the middle wall's place and the colours."""
        drawn = 1 + below(self.level_bits(rows, 2), 3)
        self.board.place[rows] = np.where(self.wall_at[rows] == len(PLACES), drawn, self.wall_at[rows])
        self.board.chart_start[rows, 0] = self.board.place[rows] * self.geometry.width * self.geometry.height
        if self.painter:
            self.painter.dress(rows, self.level_bits)

    def _begin(self, rows: Array) -> None:
        board, geometry = self.board, self.geometry
        self._set_visuals(rows)
        board.speed[rows], board.lives[rows] = board.first_speed[rows], board.num_lives[rows]
        board.broken[rows] = board.damage[rows] = self.last_action[rows] = 0
        places = geometry.width - 2 * geometry.wall - board.width[rows] + 1
        low, high = board.heights[rows].T
        board.px[rows] = geometry.wall + below(self.level_bits(rows, 0), places)
        board.py[rows] = low + below(self.level_bits(rows, 1), high - low + 1)
        self._lay_bricks(rows)
        if board.any_target:
            with_target = rows[board.has_target[rows]]
            board.target[with_target] = self._target_place(with_target, self.level_bits(with_target, 4))
        for j in range(board.ox.shape[1]):
            with_block = rows[board.has_block[rows, j]]
            board.ox[with_block, j] = geometry.width // 2 - geometry.brick[0] // 2
            blocks = np.array([board.blocks[i][j] for i in with_block]).reshape(-1, 2)
            board.oy[with_block, j], board.ov[with_block, j] = blocks.T
        board.serve(rows, self.level_bits)
        if self.painter:
            self.painter.repaint(rows, self.time)

    def _lay_bricks(self, rows: Array) -> None:
        board, geometry = self.board, self.geometry
        chosen = np.zeros(self.num_envs, bool)
        chosen[rows] = True
        for (name, density), layout_rows in self.layout_rows:
            begun = layout_rows[chosen[layout_rows]]
            standing = layouts(self.level_bits, begun, name, (geometry.rows, geometry.columns), density)
            board.bricks[begun] = standing.reshape(len(begun), geometry.num_bricks)
        left = geometry.wall + np.arange(geometry.num_bricks) % geometry.columns * geometry.brick[0]
        side = self.negative[rows]
        side = np.where(side == 3, 1 + below(self.level_bits(rows, 3), 2), side)[:, None]
        negative = ((side == 1) & (left < geometry.width // 2)) | ((side == 2) & (left >= geometry.width // 2))
        board.brick_reward[rows] = np.where(negative, -self.values[rows], self.values[rows])
        board.count_left(rows)

    def _target_place(self, rows: Array, drawn: Array) -> Array:
        """Lower left pixels (n, 2), uniform over the area."""
        x0, x1, y0, y1 = self.areas[rows].T
        high = self.geometry.brick[1]
        x = x0 + below(mix(drawn, 0), x1 - x0 + 1)
        return np.stack([x, y0 + high * below(mix(drawn, 1), (y1 - y0) // high + 1)], axis=1)

    # a step -------------------------------------------------------------------------------------------------------

    def _advance(self, actions: Array) -> tuple[Array, Array, Array]:
        board = self.board
        actions = self._taken(actions)
        if self.painter:
            self.painter.lift()
            before = board.px.copy(), board.ox.copy(), board.target.copy() if board.any_target else board.target
        reward = np.zeros(self.num_envs)
        hit = board.move_balls(self.step_bits)
        faster = self._break(*hit, reward) if len(hit[0]) else hit[0]
        if board.ox.shape[1]:
            board.move_obstacles()
        self._move_paddles(actions)
        if len(faster):
            board.accelerate(faster)
        if board.any_gravity:
            board.fall(self.time + 1)
        over = (board.left == 0) & ~board.endless
        lost = board.take_lost()
        reward += lost * self.lost_reward
        if lost.any():
            self._lose_lives(over)
        reward = np.maximum(np.minimum(reward, self.reward_limit), -self.reward_limit)
        if self.painter:
            self.painter.moved(before[0], hit, before[1], before[2])
            self.painter.drop(self.rows, self.time + 1)
        return reward, over, np.zeros(self.num_envs, bool)

    def _taken(self, actions: Array) -> Array:
        """Actions that the paddle takes: swapped and sticky where the rules say so."""
        if self.swapped.any():
            actions = np.where(self.swapped, (3 - actions) % 3, actions)
        if self.stickiness.any():
            stuck = uniform(self.step_bits(self.rows, _STICKY)) < self.stickiness
            actions = np.where(stuck, self.last_action, actions)
        self.last_action[:] = actions
        return actions

    def _move_paddles(self, actions: Array) -> None:
        board, wall = self.board, self.geometry.wall
        way = np.array([0, -2, 2]).take(actions)
        if self.paddle_noise.any():
            short = uniform(self.step_bits(self.rows, _PADDLE)) < self.paddle_noise
            way = np.where(short, way // 2, way)
        np.minimum(np.maximum(board.px + way, wall), self.last_x, out=board.px)

    def _break(self, rows: Array, hit: Array, reward: Array) -> Array:
        """Apply the hits on bricks ``hit`` of ``rows``; adds to ``reward``, returns the rows whose ball speeds up."""
        board, geometry = self.board, self.geometry
        block = hit >= geometry.num_bricks
        if block.any():
            np.add.at(reward, rows[block], 1)
            self._jump(np.unique(rows[block]))
            rows, hit = rows[~block], hit[~block]
        board.damage[rows, hit] += 1
        quick = hit // geometry.columns == geometry.rows - 4
        gone = board.damage[rows, hit] >= board.strength[rows]
        broke, brick = rows[gone], hit[gone]
        board.bricks[broke, brick] = False
        np.add.at(reward, broke, board.brick_reward[broke, brick])
        np.add.at(board.broken, broke, 1)
        board.count_left(broke)
        faster = np.concatenate([rows[quick], broke[self.speeds_up.take(board.broken[broke], mode="clip")]])
        return faster[board.accelerates[faster]]

    def _jump(self, rows: Array) -> None:
        """Move the target block elsewhere, not onto the first ball in play."""
        board = self.board
        first = board.live[rows].argmax(axis=1)
        x, y = board.x[rows, first], board.y[rows, first]
        start, drawn, attempt = board.target[rows], self.step_bits(rows, _TARGET), 0
        while len(rows):
            board.target[rows] = place = self._target_place(rows, mix(drawn, attempt))
            inside = ((x >= place[:, 0]) & (x < place[:, 0] + board.target_span[rows, 0])) & (
                (y >= place[:, 1]) & (y < place[:, 1] + board.target_span[rows, 1])
            )
            again = inside | (place == start).all(axis=1)
            rows, x, y, start, drawn = (values[again] for values in (rows, x, y, start, drawn))
            attempt += 1

    def _lose_lives(self, over: Array) -> None:
        """Take a life where no ball is left, and serve anew; then only the lives decide whether the game is over."""
        board = self.board
        empty = np.flatnonzero(~board.live.any(axis=1))
        board.lives[empty] -= 1
        over[empty] = board.lives[empty] <= 0
        if len(empty):
            board.serve(empty, self.step_bits)

    # observations -------------------------------------------------------------------------------------------------

    def _observe(self, rows: Array) -> Array:
        return self.painter.frames[rows] if self.painter else entities(self.board, rows)

    def _observe_all(self) -> Array:
        if not self.painter:
            return entities(self.board, self.rows)
        return self.painter.frames.copy() if self.copy else self.painter.frames

    def render(self) -> tuple[Array, ...] | None:
        """The current frames in RGB, where ``render_mode`` is "rgb_array"."""
        if self.render_mode != "rgb_array":
            return None
        if self.mode == "rgb":
            return tuple(self._observe(self.rows))
        return tuple(self._painted(Painter(self.board, self.rules, "rgb", self.ball_px)))

    def _painted(self, painter: Painter) -> Array:
        painter.dress(self.rows, self.level_bits)
        painter.repaint(self.rows, self.time)
        return painter.frames

    def masks(self) -> Array:
        """Instance masks (N, H, W) uint8 of the current frames, pixel-exact.

        0 background, 1 walls, 2 paddle, 3 + b ball b, 11 + j block j, 20 + k brick k, 108 + p brick p of the target,
        200 + d distractor d.
        """
        return self._painted(InstanceMaskRenderer(self.board, self.rules, self.ball_px))[..., 0]

    def factors(self) -> dict[str, Array]:
        """Ground truth: x, y, vx, vy, live (N, B), pixels, y up; paddle_x, paddle_y, lives, speed (N,); bricks."""
        names = ("x", "y", "vx", "vy")
        state = {name: self.balls[:, :, i].copy() for i, name in enumerate(names)}
        state |= {"live": self.live.copy(), "paddle_x": self.paddle[:, 0].copy(), "paddle_y": self.paddle[:, 1].copy()}
        return state | {name: getattr(self, name).copy() for name in ("bricks", "lives", "speed")}

    def factor_vector(self, rows: Array) -> Array:
        """Entities, as mode "entities" gives them, whatever the mode."""
        return entities(self.board, rows)

    # state --------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Array]:
        """State of the game alone, env axis first; pixels, y up.

        balls (N, B, 4) x y vx vy and live (N, B): a ball out of play is (-1, -1, 0, 0); paddle (N, 2) left x, lowest
        y; bricks (N, K) bool, brick k = row * columns + column, row 0 lowest; brick_reward, damage (N, K); speed,
        lives, broken (N,); obstacles (N, M, 3) x y vx; target (N, 2) lower left; last_action (N,).
        """
        return {name: np.array(getattr(self, name)) for name in self.state_names}

    def set_state(self, state: dict[str, Array]) -> None:
        """Go on from ``get_state()`` or ``state()``; names left out keep their values, and frames are painted anew.

        An env never reset is reset first. ``balls`` without ``live``: those with velocity (0, 0) are out of play.
        ``balls`` without ``speed``: it becomes the larger of all |vx|, |vy| in play.

        Raises:
            UsageError: an unknown name, another shape, or a value that cannot occur in the game.
        """
        if self.episode.min() < 0:
            self.reset()
        given = {name: np.asarray(value) for name, value in state.items()}
        if "balls" in given and given["balls"].shape == self.balls.shape:
            velocity = given["balls"][:, :, 2:]
            live = given.setdefault("live", (velocity != 0).any(axis=2))
            if live.shape == self.live.shape:
                fastest = np.abs(velocity * live[:, :, None]).max(axis=(1, 2))
                given.setdefault("speed", np.where(fastest > 0, fastest, self.speed))
                self._check_balls(velocity, live.astype(bool))
        if "paddle" in given and given["paddle"].shape == self.paddle.shape:
            self._check_paddle(*given["paddle"].T)
        if not np.isin(given.get("speed", 1), (1, MAX_SPEED)).all():
            raise UsageError(f"breakout: state 'speed' must be 1..{MAX_SPEED}")
        super().set_state(given)

    def _check_balls(self, velocity: Array, live: Array) -> None:
        if (live & ~self.board.slots).any():
            raise UsageError("breakout: state 'balls' has more balls in play than the variant has")
        if (velocity[live][:, 1] == 0).any() or np.abs(velocity[live]).max(initial=0) > MAX_SPEED:
            raise UsageError(f"breakout: state 'balls': in play, vy is not 0 and no speed above {MAX_SPEED}")

    def _check_paddle(self, x: Array, y: Array) -> None:
        geometry = self.geometry
        if ((x < geometry.wall) | (x > self.last_x) | (y < 0) | (y >= geometry.lowest)).any():
            raise UsageError(
                f"breakout: state 'paddle' leaves the field: x may go from {geometry.wall} to {self.last_x.min()}, "
                f"y from 0 to {geometry.lowest - 1}"
            )

    def _rebuild_derived(self) -> None:
        board = self.board
        self.balls[~self.live] = (GONE, GONE, 0, 0)
        self._set_visuals(self.rows)
        board.chart()
        board.count_left(self.rows)
        if self.painter:
            self.painter.repaint(self.rows, self.time)

    def scripted(self) -> Array:
        """Actions of the tracker, which keeps the paddle under the lowest falling ball (see ``ground_truth.track``)."""
        actions = track(self.board)
        return np.where(self.swapped, (3 - actions) % 3, actions)


class BreakoutEnv(SingleEnv):
    """One game of Breakout. ``render()`` is RGB in every mode; after an end it shows the next game, but in mode rgb."""

    vector_class = BreakoutVectorEnv

    def render(self) -> Array | None:
        vector = self._vector
        if not isinstance(vector, BreakoutVectorEnv) or vector.mode == "rgb":
            return super().render()
        frames = self._vector.render()
        return None if frames is None else frames[0]
