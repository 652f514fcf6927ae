"""Breakout's frames, kept from step to step and repaired where something moved, in palette indices, gray or RGB.

Palette: 0 background, 1 walls, 2-7 brick rows from the lowest, 8 paddle, 9 ball, 10 moving block, 11-13 distractor,
14-19 and 20-25 brick rows after one and two hits. Colours are the original's (vicariousinc/schema-games).

Two buffers an env: ``still`` (all but paddle, balls, distractors) and ``frames``; a ball is lifted by copying from the
first. With colours drawn from the level only the colours that are written differ, so standard colours cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.breakout.dynamics import PLACES, Board, within
from envs.breakout.levels import CLASSIC, Bits, backgrounds, recolored
from envs.breakout.variants import Rules
from envs.counter_rng import below, mix
from envs.spaces import Array

WALL, ROW, PADDLE, BALL, BLOCK, DISTRACTOR, DIM = 1, 2, 8, 9, 10, 11, 14
INKS = 26
YELLOW, BLUE = ROW + 2, ROW
LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601."""


class Painter:
    """Frames (N, H, W, C) of a board: ``channels`` 1 for mode index and gray, 3 for rgb.

    ``lift()`` before the board moves, then ``moved(...)`` and ``drop()``; ``repaint(rows)`` after any other change.
    """

    def __init__(self, board: Board, rules: Sequence[Rules], mode: str, ball_px: int):
        self.board, self.mode, self.rules = board, mode, rules
        geometry = board.geometry
        self.height, self.width = geometry.height, geometry.width
        self.cells, self.channels = self.height * self.width, 3 if mode == "rgb" else 1
        self.frames = np.zeros((board.n, self.height, self.width, self.channels), np.uint8)
        self.still = np.zeros_like(self.frames)
        self.flat, self.still_flat = self.frames.reshape(-1), self.still.reshape(-1)
        # pixel (x, y) of env i lies at origin[i] + x * step_x[i] + y * step_y[i]; y is up, so rows count down
        self.flips = flips = np.array([rule.flip for rule in rules])
        self.plain = bool((flips == "none").all())
        self.step_x = np.where(flips == "x", -1, 1)
        self.step_y = np.where(flips == "y", self.width, -self.width)
        corner = np.where(flips == "y", 0, self.cells - self.width) + np.where(flips == "x", self.width - 1, 0)
        self.origin = np.arange(board.n) * self.cells + corner
        square = np.arange(ball_px * ball_px)
        self.ball_dx, self.ball_dy = square % ball_px, square // ball_px
        self.ink = np.zeros((board.n, 256, self.channels), np.uint8)
        self.ground: Array | None = None
        if mode != "index" and any(rule.background != "none" for rule in rules):
            self.ground = np.zeros((board.n, self.cells * self.channels), np.uint8)
        self.negatives = np.array([rule.negative_side != "none" for rule in rules])
        self.tied = np.array([rule.colour_tied for rule in rules])
        self.half_ink = np.tile([BLUE, YELLOW], (board.n, 1))
        self.dots = np.array([rule.distractors for rule in rules])
        self.dot_path = np.zeros((board.n, int(self.dots.max()), 4), np.int64)
        self.dot_at, self.dot_area = np.zeros(self.dot_path.shape, np.int64), self._dot_area()
        self.has_dot = np.arange(self.dot_path.shape[1]) < self.dots[:, None]
        rows_of = np.repeat(np.arange(geometry.rows), geometry.columns)
        self.row_ink = ROW + np.minimum(rows_of, 5)
        self.columns_left = np.tile(np.arange(geometry.columns), geometry.rows) * geometry.brick[0] + geometry.wall
        numbers = board.brick_map()
        self.brick_cells = np.stack([np.flatnonzero(numbers == k) for k in range(geometry.num_bricks)])
        self.wall_index = np.stack([board.walls(place) for place in PLACES]).astype(np.uint8) * WALL
        self.ball_inks = np.full(board.x.shape[1], BALL)
        self.block_inks = np.full(board.ox.shape[1], BLOCK)
        self.dot_inks = DISTRACTOR + np.arange(self.dot_path.shape[1]) % 3
        self.ball_at = np.zeros((*board.x.shape, len(square)), np.int64)
        self.visible, self.all_visible = np.zeros(self.ball_at.shape, bool), False

    # colours ------------------------------------------------------------------------------------------------------

    def dress(self, rows: Array, bits: Bits) -> None:
        """Palettes, backgrounds and distractors of ``rows`` from their level."""
        if self.negatives.any():
            drawn = [below(bits(rows, 40), 6), below(bits(rows, 41), 5)]
            second = (drawn[0] + 1 + drawn[1]) % 6
            free = np.stack([drawn[0], second], axis=1) + ROW
            self.half_ink[rows] = np.where(self.tied[rows, None], [BLUE, YELLOW], free)
        if self.dots.any():
            self._dot_paths(rows, bits)
        if self.mode == "index":
            self.ink[rows] = np.arange(256)[:, None]
            return
        variants = {_visual_rules(self.rules[i]) for i in set(rows.tolist())}
        for variant in variants:
            palette, background, tone = variant
            chosen = np.array([i for i in rows if _visual_rules(self.rules[i]) == variant])
            base = recolored(bits, chosen) if palette == "recolor" else np.array(CLASSIC)[None]
            self.ink[chosen, :INKS] = self._toned(_inks(base), tone)
            if self.ground is not None:
                image = np.broadcast_to(base[:, :1], (len(chosen), self.cells, 3))
                if background != "none":
                    image = backgrounds(bits, chosen, background, self.height, self.width).reshape(len(chosen), -1, 3)
                self.ground[chosen] = self._toned(image, tone).reshape(len(chosen), -1)

    def _toned(self, colours: Array, tone: str) -> Array:
        """Colours (..., 3) as (..., C) uint8 of this mode."""
        colours = 255 - colours if tone == "invert" else colours
        if self.channels == 1 or tone == "gray":
            colours = (colours @ LUMA)[..., None].round().repeat(self.channels, axis=-1)
        return colours.astype(np.uint8)

    def _brick_ink(self, rows: Array, bricks: Array | slice) -> Array:
        """Palette index of bricks (number or slice) of ``rows`` as they stand."""
        board = self.board
        ink = np.broadcast_to(self.row_ink, (board.n, board.geometry.num_bricks))[rows, bricks]
        if self.negatives.any():
            left = np.broadcast_to(self.columns_left < board.geometry.width // 2, board.bricks.shape)[rows, bricks]
            reward = board.brick_reward[rows, bricks]
            which = np.where(self.tied[rows], reward.T < 0, ~left.T).T
            half = np.where(which.T, self.half_ink[rows, 1], self.half_ink[rows, 0]).T
            ink = np.where(self.negatives[rows], half.T, ink.T).T
        damage = board.damage[rows, bricks]
        return np.where(damage > 0, ink + DIM - ROW + 6 * (damage - 1), ink)

    # places -------------------------------------------------------------------------------------------------------

    def _at(self, rows: Array, x: Array, y: Array) -> Array:
        """Pixel numbers in the buffers, broadcast; ``rows`` along the first axis."""
        shape = (len(rows),) + (1,) * (max(x.ndim, y.ndim) - 1)
        if self.plain:
            return self.origin[rows].reshape(shape) + (x - y * self.width)
        origin, step_x, step_y = (values[rows].reshape(shape) for values in (self.origin, self.step_x, self.step_y))
        pixels: Array = origin + x * step_x + y * step_y
        return pixels

    def _fill(self, at: Array, rows: Array, index: Array | int, *buffers: Array) -> None:
        """Paint ink ``index`` (one a row, or one for all) at pixels ``at``; ``rows`` along the first axis."""
        ink = self.ink[rows, index]
        for c in range(self.channels):
            value = ink[:, c].reshape((len(rows),) + (1,) * (at.ndim - 1))
            for buffer in buffers:
                buffer[at * self.channels + c if self.channels > 1 else at] = value

    def _clear(self, at: Array, rows: Array) -> None:
        """Paint the background at pixels ``at`` of both buffers."""
        if self.ground is None:
            self._fill(at, rows, 0, self.flat, self.still_flat)
            return
        source = self.ground.reshape(-1)
        for c in range(self.channels):
            place = at * self.channels + c
            self.flat[place] = self.still_flat[place] = source[place]

    def _restore(self, at: Array) -> None:
        """Copy pixels ``at`` from the buffer without moving things."""
        for c in range(self.channels):
            place = at * self.channels + c if self.channels > 1 else at
            self.flat[place] = self.still_flat[place]

    # step by step -------------------------------------------------------------------------------------------------

    def lift(self) -> None:
        """Take balls and distractors off the frames."""
        board, side = self.board, int(self.ball_dx[-1])
        self._restore(self.ball_at if self.all_visible else self.ball_at[self.visible])
        if self.dot_path.shape[1]:
            self._restore(self.dot_at[self.has_dot])
        up = board.y - board.py[:, None]
        under = np.flatnonzero(within(up + side, board.geometry.paddle_height + side).any(axis=1))
        if len(under):  # a ball that high may have been painted over the paddle
            self._fill(self._paddle_cells(under), under, PADDLE, self.flat)

    def moved(self, px: Array, hit: tuple[Array, Array], ox: Array, target: Array) -> None:
        """Repair the pixels a step changed; the arguments are the places before it, and (rows, brick) of bricks hit."""
        board = self.board
        rows, bricks = hit
        if board.any_target and len(rows):
            wall = bricks < board.geometry.num_bricks
            rows, bricks = rows[wall], bricks[wall]
        if len(rows):
            at = self._at(rows, *self._brick_pixels(bricks))
            standing = board.bricks[rows, bricks]
            if standing.any():
                ink = self._brick_ink(rows[standing], bricks[standing])
                self._fill(at[standing], rows[standing], ink, self.flat, self.still_flat)
            if not standing.all():
                self._clear(at[~standing], rows[~standing])
        if board.any_target:
            jumped = np.flatnonzero((target != board.target).any(axis=1))
            if len(jumped):
                self._clear(self._target_cells(jumped, target[jumped]), jumped)
                self._paint_target(jumped)
        for j in range(ox.shape[1]):
            self._block_moves(j, ox[:, j])
        self._paddle_moves(px)

    def drop(self, rows: Array, time: Array) -> None:
        """Paint distractors and balls of ``rows``; ``time`` (N,) counts the steps of each episode."""
        board = self.board
        if self.dot_path.shape[1]:
            self._paint_dots(rows, time)
        every = slice(None) if len(rows) == board.n else rows
        x, y = board.x[every, :, None] + self.ball_dx, board.y[every, :, None] + self.ball_dy
        inside = within(x, self.width) & within(y, self.height) & board.live[every, :, None]
        at = self._at(rows, x, y)
        self.ball_at[every], self.visible[every] = at, inside
        self.all_visible = bool(self.visible.all())
        for b in range(at.shape[1]):
            if self.all_visible:
                self._fill(at[:, b], rows, self.ball_inks[b], self.flat)
            else:
                visible = inside[:, b]
                self._fill(at[:, b][visible], rows[np.nonzero(visible)[0]], self.ball_inks[b], self.flat)

    def _brick_pixels(self, bricks: Array) -> tuple[Array, Array]:
        cells = self.brick_cells[bricks]
        return cells % self.width, cells // self.width

    def _paddle_cells(self, rows: Array) -> Array:
        """Cells (n, paddle height, widest) of the paddle; a narrower one repeats its last column."""
        board = self.board
        across = np.minimum(np.arange(board.width.max()), board.width[rows, None] - 1) + board.px[rows, None]
        up = board.py[rows, None] + np.arange(board.geometry.paddle_height)
        return self._at(rows, across[:, None, :], up[:, :, None])

    def _paddle_moves(self, before: Array) -> None:
        """Repaint the columns that a paddle left and those it entered: at most two at each end."""
        board = self.board
        step = board.px - before
        rows = np.flatnonzero(step)
        if not len(rows):
            return
        step, before = step[rows], before[rows]
        right = step > 0
        size = np.abs(step)[:, None]
        column = np.minimum(np.arange(int(size.max())), size - 1)
        column = np.where(right[:, None], column, -1 - column)
        width = board.width[rows]
        tail = column + np.where(right, before, before + width)[:, None]
        head = column + np.where(right, before + width, before)[:, None]
        up = (board.py[rows, None] + np.arange(board.geometry.paddle_height))[:, None, :]
        self._restore(self._at(rows, tail[:, :, None], up))
        self._fill(self._at(rows, head[:, :, None], up), rows, PADDLE, self.flat)

    def _block_cells(self, rows: Array, x: Array, y: Array) -> Array:
        wide, high = self.board.geometry.brick
        return self._at(rows, x[:, None, None] + np.arange(wide), y[:, None, None] + np.arange(high)[:, None])

    def _block_moves(self, j: int, before: Array) -> None:
        board = self.board
        rows = np.flatnonzero(board.ox[:, j] != before)
        if not len(rows):
            return
        self._clear(self._block_cells(rows, before[rows], board.oy[rows, j]), rows)
        self._paint_block(j, rows)

    def _paint_block(self, j: int, rows: Array) -> None:
        cells = self._block_cells(rows, self.board.ox[rows, j], self.board.oy[rows, j])
        self._fill(cells, rows, self.block_inks[j], self.flat, self.still_flat)

    def _target_cells(self, rows: Array, corner: Array) -> Array:
        """Cells (n, height, width) of the target block, the largest of the batch; smaller ones repeat their last."""
        span = self.board.target_span
        across = np.minimum(np.arange(span[:, 0].max()), span[rows, :1] - 1) + corner[:, :1]
        up = np.minimum(np.arange(span[:, 1].max()), span[rows, 1:] - 1) + corner[:, 1:]
        return self._at(rows, across[:, None, :], up[:, :, None])

    def _paint_target(self, rows: Array) -> None:
        cells = self._target_cells(rows, self.board.target[rows])
        owners = np.repeat(rows, cells.shape[1] * cells.shape[2])
        self._fill(cells.reshape(-1), owners, self._target_inks(rows).reshape(-1), self.flat, self.still_flat)

    def _target_inks(self, rows: Array) -> Array:
        """Ink (n, height, width): each brick of the block has the colour of the row it stands in."""
        board, geometry = self.board, self.board.geometry
        span = board.target_span
        up = np.minimum(np.arange(span[:, 1].max()), span[rows, 1:] - 1) + board.target[rows, 1:] - geometry.lowest
        ink = ROW + np.clip(up // geometry.brick[1], 0, 5)
        return np.repeat(ink[:, :, None], span[:, 0].max(), axis=2)

    # distractors --------------------------------------------------------------------------------------------------

    def _dot_area(self) -> tuple[int, int, Array, Array]:
        """First x, width, first y (N,), height (N,) of the empty middle, less the 2 pixels of a dot."""
        board, geometry = self.board, self.board.geometry
        blocks = [max((y for y, _ in rule_blocks), default=0) + geometry.brick[1] for rule_blocks in board.blocks]
        low = np.maximum(board.heights[:, 1] + geometry.paddle_height, blocks)
        return geometry.wall, self.width - 2 * geometry.wall - 1, low, geometry.ledge - low - 1

    def _dot_paths(self, rows: Array, bits: Bits) -> None:
        _, wide, _, high = self.dot_area
        for k in range(self.dot_path.shape[1]):
            drawn = bits(rows, 50 + k)
            speed_x, speed_y = (below(mix(drawn, key), 3) - 1 for key in (2, 3))
            speed_y = np.where((speed_x == 0) & (speed_y == 0), 1, speed_y)
            start = (below(mix(drawn, 0), 2 * wide), below(mix(drawn, 1), 2 * high[rows]))
            self.dot_path[rows, k] = np.stack([*start, speed_x, speed_y], axis=1)

    def _paint_dots(self, rows: Array, time: Array) -> None:
        """Paint the dots, which go to and fro between the sides of their area."""
        x0, wide, y0, high = self.dot_area
        at, k = np.nonzero(self.has_dot[rows])
        rows = rows[at]
        path = self.dot_path[rows, k]
        x = _to_and_fro(path[:, 0] + path[:, 2] * time[rows], wide) + x0
        y = _to_and_fro(path[:, 1] + path[:, 3] * time[rows], high[rows]) + y0[rows]
        place = self._at(rows, x[:, None] + [0, 1, 0, 1], y[:, None] + [0, 0, 1, 1])
        self.dot_at[rows, k] = place
        self._fill(place, rows, self.dot_inks[k], self.flat)

    # whole frames -------------------------------------------------------------------------------------------------

    def repaint(self, rows: Array, time: Array) -> None:
        """Paint the whole frames of ``rows``."""
        board = self.board
        self._walls_and_bricks(rows)
        if board.any_target:
            self._paint_target(rows[board.has_target[rows]])
        for j in range(board.ox.shape[1]):
            self._paint_block(j, rows[board.has_block[rows, j]])
        self.frames[rows] = self.still[rows]
        self._fill(self._paddle_cells(rows), rows, PADDLE, self.flat)
        self.drop(rows, time)

    def _walls_and_bricks(self, rows: Array) -> None:
        geometry = self.board.geometry
        index = self.wall_index[self.board.place[rows]]
        ink = np.where(self.board.bricks[rows], self._brick_ink(rows, slice(None)), 0).astype(np.uint8)
        ink = ink.reshape(len(rows), geometry.rows, geometry.columns)
        wide, high = geometry.brick
        inside = np.s_[:, geometry.lowest : geometry.lowest + geometry.rows * high, geometry.wall : -geometry.wall]
        index[inside] = ink.repeat(high, axis=1).repeat(wide, axis=2)
        index = index[:, ::-1]
        for flip, axis in (("x", 2), ("y", 1)):
            flipped = np.flatnonzero(self.flips[rows] == flip)
            if len(flipped):
                index = index.copy()
                index[flipped] = np.flip(index[flipped], axis)
        still = self.still.reshape(self.board.n, self.cells, self.channels)
        for i, row in enumerate(rows):  # a translation is several times faster than indexing the palette
            pixels = index[i].tobytes()
            for c in range(self.channels):
                still[row, :, c] = np.frombuffer(pixels.translate(self.ink[row, :, c].tobytes()), np.uint8)
            if self.ground is not None:
                empty = np.frombuffer(pixels, np.uint8) == 0
                still[row, empty] = self.ground[row].reshape(still[row].shape)[empty]


def _visual_rules(rule: Rules) -> tuple[str, str, str]:
    return rule.palette, rule.background, rule.tone


def _inks(base: Array) -> Array:
    """Inks (n, 26, 3) of palettes (n, 10, 3), which lack blocks, distractors and damaged bricks."""
    added = np.array([(128, 128, 128), (40, 200, 200), (220, 60, 220), (240, 240, 120)])
    rows = base[:, ROW : ROW + 6]
    return np.concatenate([base, np.broadcast_to(added, (len(base), 4, 3)), rows * 2 // 3, rows // 3], axis=1)


def _to_and_fro(place: Array, length: int | Array) -> Array:
    """Reflected position: 0, 1, .., length - 1, length - 1, .., 1, 0, 0, 1, .."""
    place = place % (2 * length)
    return np.minimum(place, 2 * length - 1 - place)
