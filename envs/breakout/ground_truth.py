"""Breakout's ground truth: entity vectors, instance masks, a policy that reads the state, and the window score."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from envs.breakout.dynamics import Board
from envs.breakout.levels import Bits
from envs.breakout.renderer import PADDLE, Painter
from envs.breakout.variants import MAX_SPEED, Rules
from envs.spaces import Array
from envs.vector_env import BatchedEnv


def entities(board: Board, rows: Array) -> Array:
    """Entity vectors (n, E) float32 of ``rows``, in the order that ``BreakoutVectorEnv`` lists."""
    size = np.array([board.geometry.width, board.geometry.height])
    live = board.live[rows, :, None]
    balls = np.concatenate([live, board.balls[rows] / [*size, MAX_SPEED, MAX_SPEED] * live], axis=2)
    has_block = board.has_block[rows, :, None]
    blocks = np.concatenate([has_block, board.obstacles[rows] / [*size, MAX_SPEED] * has_block], axis=2)
    paddle = np.column_stack([board.paddle[rows] / size, board.width[rows] / size[0]])
    target = np.column_stack([board.has_target[rows], board.target[rows] / size * board.has_target[rows, None]])
    columns = [_padded(balls, 3), paddle, _padded(blocks, 3), target, board.bricks[rows]]
    return np.concatenate([*columns, board.brick_reward[rows] * board.bricks[rows]], axis=1).astype(np.float32)


def _padded(entities: Array, least: int) -> Array:
    """Entities (n, entities, numbers) flattened, padded with zeros to at least ``least`` of them."""
    missing = max(least - entities.shape[1], 0)
    return np.pad(entities, ((0, 0), (0, missing), (0, 0))).reshape(len(entities), -1)


class InstanceMaskRenderer(Painter):
    """Renderer whose palette is the number of the instance, as ``BreakoutVectorEnv.masks`` lists them."""

    def __init__(self, board: Board, rules: Sequence[Rules], ball_px: int):
        super().__init__(board, rules, "index", ball_px)
        self.ball_inks = 3 + np.arange(len(self.ball_inks))
        self.block_inks = 11 + np.arange(len(self.block_inks))
        self.dot_inks = 200 + np.arange(len(self.dot_inks))

    def dress(self, rows: Array, bits: Bits) -> None:
        super().dress(rows, bits)
        self.ink[rows, PADDLE] = 2

    def _brick_ink(self, rows: Array, bricks: Array | slice) -> Array:
        numbers = np.broadcast_to(np.arange(self.board.geometry.num_bricks), self.board.bricks.shape)
        ink: Array = 20 + numbers[rows, bricks]
        return ink

    def _target_inks(self, rows: Array) -> Array:
        wide, high = self.board.geometry.brick
        span = self.board.target_span
        across = np.minimum(np.arange(span[:, 0].max()), span[rows, :1] - 1) // wide
        up = np.minimum(np.arange(span[:, 1].max()), span[rows, 1:] - 1) // high
        ink: Array = 108 + across[:, None, :] + up[:, :, None] * (span[rows, 0] // wide)[:, None, None]
        return ink


def track(board: Board) -> Array:
    """Actions (N,) that keep the paddle's middle within 2 pixels of the lowest falling ball, else of the lowest."""
    far = board.geometry.height * 4
    height = np.where(board.v < 0, board.y, board.y + far) + np.where(board.live, 0, 2 * far)
    away = board.x[board.rows, height.argmin(axis=1)] - (board.px + board.width // 2)
    return np.where(np.abs(away) <= 2, 0, np.where(away > 0, 2, 1))


def evaluate_window(env: BatchedEnv, policy: Callable[[Array], Array], frames: int = 2500) -> Array:
    """Reward (N,) summed over ``frames`` steps from a reset, on through the ends of games: the paper's "episode"."""
    observation, _ = env.reset()
    total = np.zeros(env.num_envs)
    for _ in range(frames):
        observation, reward, *_ = env.step(policy(observation))
        total += reward
    return total
