"""Breakout's state as arrays and its exact moves, for N envs at once; no draws of its own, no pixels.

Order and rules of a ball's move are the original's (vicariousinc/schema-games, read, not copied), the odd ones too. A
ball inside the paddle goes straight on, even through a side wall. Of two balls next to each other in the list and lost
in the same step, the second is noticed one step later. One map of cells for each place of the middle wall marks the
cells that are surely free; only the few balls that meet another cell go through the full rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from envs.breakout.variants import MAX_SPEED, Geometry, Rules
from envs.counter_rng import below, mix, uniform
from envs.spaces import Array

Bits = Callable[[Array, int], Array]
"""(rows, tag) -> uint64 for each row."""
FREE, SOLID, MOVING, BRICK = 0, 1, 2, 3
"""Codes of the maps: free for sure; wall; a moving thing may be in it; brick k is BRICK + k."""
PLACES = ("none", "left", "middle", "right")
GONE = -1
"""x and y of a ball that is not in play."""
_SIGNS_KEPT = np.array([[1, 2], [2, 1], [2, 2]])
"""Speeds (|vx|, |vy|) of radius 2 that share the signs of a slanted velocity; every other sign pair has just one."""


def velocities_down(speed: int) -> Array:
    """Falling velocities (n, 2) of that radius."""
    span = range(-speed, speed + 1)
    return np.array([(u, v) for u in span for v in range(-speed, 0) if max(abs(u), abs(v)) == speed])


def within(place: Array, size: int | Array) -> Array:
    """True where 0 <= place < size, in one comparison; an array of sizes must be uint64."""
    inside: Array = place.view(np.uint64) < size
    return inside


_COUNTS = np.array([1, *(len(velocities_down(speed)) for speed in range(1, MAX_SPEED + 1))])
_FALLING = np.zeros((MAX_SPEED + 1, _COUNTS.max(), 2), np.int64)
for _speed in range(1, MAX_SPEED + 1):
    _FALLING[_speed, : _COUNTS[_speed]] = velocities_down(_speed)


def paddle_response(width: int, speed: int) -> Array:
    """Horizontal speed (width,) after a bounce by impact column.

    Each half of the paddle has ``speed`` near-equal runs of columns, the shorter ones inside.
    """
    half = (width - 1) // 2
    cuts = [round(half * k / speed) for k in range(speed + 1)]
    runs = sorted(b - a for a, b in pairwise(cuts))
    side = np.repeat(np.arange(1, speed + 1), runs)
    return np.concatenate([-side[::-1], np.zeros(width - 2 * half, int), side])


class Board:
    """State of N envs with up to B balls, K bricks and M moving blocks each; pixels, y up.

    ``balls`` (N, B, 4) x y vx vy, ``paddle`` (N, 2) left x and bottom y, ``obstacles`` (N, M, 3) x y vx and ``target``
    (N, 2) are views of the coordinate arrays used below: write into them, never replace them.
    """

    def __init__(self, geometry: Geometry, rules: Sequence[Rules]):
        n, self.geometry = len(rules), geometry
        self.n, self.rows = n, np.arange(n)
        self._parameters(rules)
        balls, blocks = int(self.num_balls.max()), max(len(rule_blocks) for rule_blocks in self.blocks)
        coordinates = np.full((4, n, balls), GONE)
        self.x, self.y, self.u, self.v = coordinates
        self.u[:] = self.v[:] = 0
        self.balls = coordinates.transpose(1, 2, 0)
        self.live = np.zeros((n, balls), bool)
        self.slots = np.arange(balls) < self.num_balls[:, None]
        paddle = np.full((2, n), geometry.wall)
        self.px, self.py = paddle
        self.paddle = paddle.T
        self.bricks = np.zeros((n, geometry.num_bricks), bool)
        self.brick_reward = np.zeros((n, geometry.num_bricks), np.int64)
        self.damage = np.zeros((n, geometry.num_bricks), np.int64)
        obstacles = np.full((3, n, blocks), GONE)
        self.ox, self.oy, self.ov = obstacles
        self.obstacles = obstacles.transpose(1, 2, 0)
        self.has_block = np.array([[j < len(rule_blocks) for j in range(blocks)] for rule_blocks in self.blocks], bool)
        self.has_block = self.has_block.reshape(n, blocks)
        for i, rule_blocks in enumerate(self.blocks):
            self.oy[i, : len(rule_blocks)] = [y for y, _ in rule_blocks]
        target = np.full((2, n), GONE)
        self.tx, self.ty = target
        self.target = target.T
        self.speed, self.lives, self.broken, self.left = (np.ones(n, np.int64) for _ in range(4))
        self.place = np.zeros(n, np.int64)
        self.chart()

    def _parameters(self, rules: Sequence[Rules]) -> None:
        """Constants of each env's rules, as arrays."""
        geometry = self.geometry

        def column(values: list[Any], kind: type = np.int64) -> Array:
            return np.array(values, kind)

        self.num_balls = column([rule.num_balls for rule in rules])
        self.num_lives = column([rule.num_lives for rule in rules])
        self.first_speed = column([rule.ball_speed for rule in rules])
        self.strength = column([rule.brick_strength for rule in rules])
        self.period = column([rule.gravity_period for rule in rules])
        self.has_target = column([rule.bricks == "target" for rule in rules], bool)
        self.endless = column([rule.bricks in ("target", "none") for rule in rules], bool)
        self.accelerates = column([rule.accelerate == "episode" for rule in rules], bool)
        self.bounce_noise = column([rule.bounce_noise for rule in rules], np.float64)
        self.width = column([rule.width_in(geometry) for rule in rules])
        self.width_unsigned = self.width.astype(np.uint64)
        self.heights = column([rule.paddle_range(geometry) for rule in rules])
        self.target_span = column([rule.target_shape for rule in rules]) * geometry.brick
        self.blocks = [rule.blocks_in(geometry) for rule in rules]
        self.responses = np.zeros((MAX_SPEED + 1, self.n, self.width.max()), np.int64)
        for width in set(self.width.tolist()):
            for speed in range(1, MAX_SPEED + 1):
                self.responses[speed, self.width == width, :width] = paddle_response(width, speed)
        self.any_target, self.any_gravity = bool(self.has_target.any()), bool(self.period.any())

    # places -------------------------------------------------------------------------------------------------------

    def brick_map(self) -> Array:
        """Number of the brick in each cell, or -1: (H, W) int, row 0 is y = 0."""
        geometry = self.geometry
        cells = np.full((geometry.height, geometry.width), -1)
        wide, high = geometry.brick
        numbers = np.arange(geometry.num_bricks).reshape(geometry.rows, geometry.columns)
        inside = np.s_[geometry.lowest : geometry.lowest + geometry.rows * high, geometry.wall : -geometry.wall]
        cells[inside] = np.repeat(np.repeat(numbers, high, axis=0), wide, axis=1)
        return cells

    def walls(self, place: str) -> Array:
        """Cells of the walls, with the middle wall at ``place``: (H, W) bool, row 0 is y = 0."""
        geometry = self.geometry
        cells = np.zeros((geometry.height, geometry.width), bool)
        cells[-geometry.wall :] = cells[:, : geometry.wall] = cells[:, -geometry.wall :] = True
        if place != "none":
            first, past = geometry.ledge_span(place)
            cells[geometry.ledge : geometry.lowest, first:past] = True
        return cells

    def chart(self) -> None:
        """Draw the maps, one for each place; bands that paddles, blocks and targets may enter are MOVING."""
        geometry, cells = self.geometry, self.brick_map()
        bands = [(self.py.min(), self.py.max()), (self.heights.min(), self.heights.max())]
        bands = [(low, high + geometry.paddle_height) for low, high in bands]
        lowest_rows = [y for rule_blocks in self.blocks for y, _ in rule_blocks] + self.oy[self.has_block].tolist()
        bands += [(y, y + geometry.brick[1]) for y in set(lowest_rows)]
        base = np.where(cells >= 0, cells + BRICK, FREE)
        if self.any_target:
            bands.append((geometry.lowest, geometry.height))
            placed = self.ty[self.has_target]
            bands.append((placed.min(), placed.max() + self.target_span[:, 1].max()))
        for low, high in bands:
            rows = base[max(low, 0) : max(high, 0)]
            rows[rows == FREE] = MOVING
        maps = [np.where(self.walls(place), SOLID, base) for place in PLACES]
        self.charts = np.stack(maps).astype(np.int16).reshape(-1)
        self.chart_start = (self.place * geometry.width * geometry.height)[:, None]
        apart = np.abs(self.oy[:, :, None] - self.oy[:, None, :])
        both = self.has_block[:, :, None] & self.has_block[:, None, :] & ~np.eye(self.oy.shape[1], dtype=bool)
        self.blocks_meet = bool((both & (apart < geometry.brick[1])).any())

    def in_paddle(self, rows: Array, x: Array, y: Array) -> Array:
        across, up = x - self.px[rows], y - self.py[rows]
        return within(across, self.width_unsigned[rows]) & within(up, self.geometry.paddle_height)

    def occupied(self, rows: Array, x: Array, y: Array) -> Array:
        """True where (x, y) of the envs ``rows`` is wall, standing brick, block, target or paddle; False outside."""
        geometry = self.geometry
        code = self._code(rows, x, y)
        brick = np.maximum(code - BRICK, 0)
        solid: Array = (code == SOLID) | ((code >= BRICK) & self.bricks[rows, brick]) | self.in_paddle(rows, x, y)
        for j in range(self.ox.shape[1]):
            across, up = x - self.ox[rows, j], y - self.oy[rows, j]
            solid |= within(across, geometry.brick[0]) & within(up, geometry.brick[1]) & self.has_block[rows, j]
        if self.any_target:
            solid |= self._piece(rows, x, y) >= 0
        return solid

    def _code(self, rows: Array, x: Array, y: Array) -> Array:
        width, height = self.geometry.width, self.geometry.height
        inside = within(x, width) & within(y, height)
        codes: Array = self.charts.take(self.chart_start[rows, 0] + y * width + x, mode="clip") * inside
        return codes

    def _piece(self, rows: Array, x: Array, y: Array) -> Array:
        """Brick of the target block at (x, y), counted from its lower left; -1 outside of the block."""
        wide, high = self.geometry.brick
        across, up = x - self.tx[rows], y - self.ty[rows]
        span = self.target_span[rows]
        inside = (across >= 0) & (across < span[:, 0]) & (up >= 0) & (up < span[:, 1]) & self.has_target[rows]
        return np.where(inside, up // high * (span[:, 0] // wide) + across // wide, -1)

    def count_left(self, rows: Array) -> None:
        """Update the number of bricks with a positive reward that still stand."""
        self.left[rows] = (self.bricks[rows] & (self.brick_reward[rows] > 0)).sum(axis=1)

    # balls --------------------------------------------------------------------------------------------------------

    def move_balls(self, bits: Bits) -> tuple[Array, Array]:
        """Move every ball, against the paddle as it is.

        Returns:
            rows, hit: the bricks hit, each once; piece p of a target block is K + p.
        """
        x, y = self.x + self.u, self.y + self.v
        met = np.flatnonzero(self.charts.take(y * self.geometry.width + x + self.chart_start, mode="clip"))
        if len(met) and self.x.shape[1] > 1:
            met = met[self.live.reshape(-1)[met]]
        empty = np.empty(0, np.int64)
        hits = self._bounce(met, x, y, bits) if len(met) else (empty, empty)
        self.x[...], self.y[...] = x, y
        return hits

    def _bounce(self, met: Array, to_x: Array, to_y: Array, bits: Bits) -> tuple[Array, Array]:
        """Apply the full rules to the balls ``met`` (flat indices) and correct their places ``to_x, to_y`` (N, B)."""
        per_env = self.x.shape[1]
        rows = met // per_env
        x, y = self.x.reshape(-1)[met], self.y.reshape(-1)[met]
        u, v = self.u.reshape(-1)[met], self.v.reshape(-1)[met]
        keep = self.occupied(rows, x + u, y + v) & ~self.in_paddle(rows, x, y)
        if not keep.any():
            return met[:0], met[:0]
        met, rows, x, y, u, v = (values[keep] for values in (met, rows, x, y, u, v))
        hits = self._hits(rows, x + u, y + v)
        on_paddle = self.in_paddle(rows, x + u, y + v)
        both = self.occupied(np.concatenate([rows, rows]), np.concatenate([x + u, x]), np.concatenate([y, y + v]))
        side, over = both[: len(rows)], both[len(rows) :]
        new_u = np.where(side | ~over, -u, u)
        new_v = np.where(side, v, -v)
        self._randomise(np.flatnonzero((side | over) & ~on_paddle), rows, met % per_env, new_u, new_v, bits)
        if on_paddle.any():
            self._off_paddle(np.flatnonzero(on_paddle), rows, x, y, v, new_u, new_v)
        stuck = self.occupied(rows, x + new_u, y + new_v)
        new_u, new_v = np.where(stuck, -u, new_u), np.where(stuck, -v, new_v)
        self.u.reshape(-1)[met], self.v.reshape(-1)[met] = new_u, new_v
        to_x.reshape(-1)[met], to_y.reshape(-1)[met] = x + new_u, y + new_v
        return hits

    def _hits(self, rows: Array, x: Array, y: Array) -> tuple[Array, Array]:
        brick = self._code(rows, x, y).astype(np.int64) - BRICK
        hit = np.where((brick >= 0) & self.bricks[rows, np.maximum(brick, 0)], brick, -1)
        if self.any_target:
            piece = self._piece(rows, x, y)
            hit = np.where(piece >= 0, self.geometry.num_bricks + piece, hit)
        is_hit = hit >= 0
        rows, hit = rows[is_hit], hit[is_hit]
        if self.x.shape[1] > 1 and len(hit) > 1:  # two balls that hit one brick together break it once
            unique_hits = np.unique(rows * 1000 + hit)
            rows, hit = unique_hits // 1000, unique_hits % 1000
        return rows, hit

    def _off_paddle(self, at: Array, rows: Array, x: Array, y: Array, v: Array, new_u: Array, new_v: Array) -> None:
        """Set the velocities of the balls ``at`` that meet the paddle; the column they would leave from decides vx."""
        env, x, y = rows[at], x[at], y[at]
        speed = self.speed[env]
        column = np.clip(x - self.px[env], 0, self.width[env] - 1)
        u, v = self.responses[speed, env, column], -v[at]
        v = np.where((np.abs(v) < speed) & (np.abs(u) <= 1), speed, v)
        if self.any_gravity:
            v = np.where(self.period[env] > 0, speed, v)
        u = np.where(self.occupied(env, x + u, y + v), -u, u)
        new_u[at], new_v[at] = u, v

    def _randomise(self, at: Array, rows: Array, ball: Array, u: Array, v: Array, bits: Bits) -> None:
        """Draw another velocity of the same signs with the env's probability, in place; speed 1 has no other."""
        at = at[(self.bounce_noise[rows[at]] > 0) & (self.speed[rows[at]] == MAX_SPEED) & (u[at] != 0)]
        for b in sorted(set(ball[at].tolist())):
            of_ball = at[ball[at] == b]
            drawn = bits(rows[of_ball], b)
            chosen = uniform(drawn) < self.bounce_noise[rows[of_ball]]
            speeds = _SIGNS_KEPT[below(mix(drawn, 1), len(_SIGNS_KEPT))]
            u[of_ball] = np.where(chosen, np.sign(u[of_ball]) * speeds[:, 0], u[of_ball])
            v[of_ball] = np.where(chosen, np.sign(v[of_ball]) * speeds[:, 1], v[of_ball])

    def take_lost(self) -> Array:
        """Take the balls with y <= 0 out of play, (N,) their number; the original's list skips the next after one."""
        lost = (self.y <= 0) & self.live
        if not lost.any():
            return np.zeros(self.n, np.int64)
        skip = np.zeros(self.n, bool)
        for b in range(lost.shape[1] if lost.shape[1] > 1 else 0):
            lost[:, b] &= ~skip
            skip = np.where(self.live[:, b], lost[:, b], skip)
        self.live &= ~lost
        for coordinate in (self.x, self.y):
            coordinate[lost] = GONE
        for velocity in (self.u, self.v):
            velocity[lost] = 0
        count: Array = lost.sum(axis=1)
        return count

    def serve(self, rows: Array, bits: Bits) -> None:
        """Put all balls of ``rows`` in play, falling, around the middle column at half the height of the lowest brick.

        Tags 8 + ball draw the velocity, 16 + ball the place, again while it is taken.
        """
        geometry = self.geometry
        lowest = np.full(len(rows), geometry.height - 1 - geometry.wall)
        standing = self.bricks[rows].reshape(len(rows), geometry.rows, -1).any(axis=2)
        bottom = geometry.lowest + standing.argmax(axis=1) * geometry.brick[1]
        lowest = np.where(standing.any(axis=1), np.minimum(lowest, bottom), lowest)
        lowest = np.where(self.has_target[rows], np.minimum(lowest, self.ty[rows]), lowest)
        self.live[rows] = self.slots[rows]
        self.balls[rows] = (GONE, GONE, 0, 0)
        for b in range(self.x.shape[1]):
            with_ball = np.flatnonzero(self.slots[rows, b])
            speed = self.speed[rows[with_ball]]
            self.balls[rows[with_ball], b, 2:] = _FALLING[speed, below(bits(rows[with_ball], 8 + b), _COUNTS[speed])]
            self._place_ball(rows[with_ball], b, lowest[with_ball], bits(rows[with_ball], 16 + b))

    def _place_ball(self, rows: Array, b: int, lowest: Array, drawn: Array) -> None:
        reach = self.num_balls[rows] + 1
        for attempt in range(200):
            x = self.geometry.width // 2 - reach + below(mix(drawn, 2 * attempt), 2 * reach + 1)
            y = lowest // 2 - below(mix(drawn, 2 * attempt + 1), 2)
            taken = self._code(rows, x, y) != FREE
            if taken.any():
                taken &= self.occupied(rows, x, y)
            if b:
                taken |= ((x == self.x[rows, :b].T) & (y == self.y[rows, :b].T)).any(axis=0)
            self.x[rows, b], self.y[rows, b] = x, y
            if not taken.any():
                return
            rows, reach, lowest, drawn = (values[taken] for values in (rows, reach, lowest, drawn))

    # blocks, gravity, speed ---------------------------------------------------------------------------------------

    def move_obstacles(self) -> None:
        """Move each block in turn: on if its next rectangle is free, else back if that is free, else not at all."""
        for j in range(self.ox.shape[1]):
            rows = np.flatnonzero(self.has_block[:, j])
            ahead = self._block_free(rows, j, 1)
            back = ~ahead
            self.ox[rows[ahead], j] += self.ov[rows[ahead], j]
            if back.any():
                rows = rows[back][self._block_free(rows[back], j, -1)]
                self.ov[rows, j] *= -1
                self.ox[rows, j] += self.ov[rows, j]

    def _block_free(self, rows: Array, j: int, way: int) -> Array:
        """True where block ``j`` of ``rows`` can move on (way 1) or back (-1).

        Blocks lie below all bricks and ledges.
        """
        geometry = self.geometry
        wide, high = geometry.brick
        x, y = self.ox[rows, j] + way * self.ov[rows, j], self.oy[rows, j]
        free: Array = (x >= geometry.wall) & (x + wide <= geometry.width - geometry.wall)
        px, py = self.px[rows], self.py[rows]
        apart = (x + wide <= px) | (x >= px + self.width[rows])
        free &= apart | (y + high <= py) | (y >= py + geometry.paddle_height)
        for i in range(self.ox.shape[1] if self.blocks_meet else 0):
            if i != j:
                apart = (np.abs(x - self.ox[rows, i]) >= wide) | (np.abs(y - self.oy[rows, i]) >= high)
                free &= apart | ~self.has_block[rows, i]
        return free

    def fall(self, time: Array) -> None:
        """Apply gravity after step ``time`` (counted from 1): vy falls by 1, jumps over 0, stops at -r."""
        pulled = np.flatnonzero((self.period > 0) & (time % np.maximum(self.period, 1) == 0))
        v = self.v[pulled] - 1
        v = np.maximum(np.where(v == 0, -1, v), -self.speed[pulled, None])
        self.v[pulled] = np.where(self.live[pulled], v, 0)

    def accelerate(self, rows: Array) -> None:
        """Set speed 2 for ``rows``: velocities times two where they had speed 1."""
        rows = rows[self.speed[rows] < MAX_SPEED]
        self.speed[rows] = MAX_SPEED
        self.u[rows] *= 2
        self.v[rows] *= 2
