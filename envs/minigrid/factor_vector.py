"""Factors of a MiniGrid task as a vector: the map around the agent, turned as the agent is, with nothing hidden.

====  ===================================================================================
1352  13 x 13 cells around the agent, the one ahead above it, 8 numbers each: wall, closed door,
      locked door, open door, key, other thing to pick up, goal, lava
  15  for the goal, the key, the locked door, the thing or door of the task and the nearest closed
      door: 1 where there is one, and its cells ahead and to the right of the agent / 8
   2  carries a key, carries something else
====  ===================================================================================

Its size does not depend on the size of the level.
"""

from __future__ import annotations

import numpy as np

from envs.minigrid.rules import (
    DOOR,
    EMPTY,
    GOAL,
    KEY_COLOUR,
    LAVA,
    LOCKED,
    MARK,
    OBJECT,
    OPEN,
    PAD,
    PICKABLE,
    STEPS,
    TARGET,
    WALL,
)
from envs.spaces import Array

IS_KEY = KEY_COLOUR >= 0
CLOSED = DOOR & ~OPEN & ~LOCKED
KINDS = np.stack([OBJECT[WALL] == OBJECT, CLOSED, LOCKED, OPEN, IS_KEY, PICKABLE & ~IS_KEY, GOAL, LAVA], axis=1)
"""What a cell is, bool (2048, 8)."""
SOUGHT = (GOAL, IS_KEY, LOCKED, MARK == TARGET, CLOSED)
FAR = 10**6
_UP, _RIGHT = np.mgrid[PAD : -PAD - 1 : -1, -PAD : PAD + 1]
"""Cells ahead and to the right, (13, 13) each."""


def factor_vector(grid: Array, cell: Array, direction: Array, carrying: Array, height: int) -> Array:
    """Vectors (n, D) float32.

    Args:
        grid: padded cells (n, cells), as ``envs.minigrid.rules`` numbers them.
        cell: the agents' places in it (n,).
        direction: the agents' directions (n,).
        carrying: the cells that they carry (n,).
        height: of the level.
    """
    span = height + 2 * PAD
    ahead = np.array(STEPS)[direction]
    right = np.array(STEPS)[(direction + 1) % 4]
    offsets = (_UP[..., None] * ahead[:, None, None] + _RIGHT[..., None] * right[:, None, None]) @ (span, 1)
    around = grid[np.arange(len(grid))[:, None, None], cell[:, None, None] + offsets]
    columns = [KINDS[around].reshape(len(grid), -1)]
    x, y = np.divmod(np.arange(grid.shape[1]), span)
    own_x, own_y = np.divmod(cell[:, None], span)
    distance = (np.abs(x - own_x) + np.abs(y - own_y)).astype(np.int32)
    for sought in SOUGHT:
        chosen = sought[grid]
        nearest = np.where(chosen, distance, FAR).argmin(axis=1)
        present = chosen[np.arange(len(grid)), nearest]
        away = np.stack([x[nearest] - own_x[:, 0], y[nearest] - own_y[:, 0]], axis=1)
        forwards, sideways = ((away * axis).sum(1) / 8 * present for axis in (ahead, right))
        columns.append(np.stack([present, forwards, sideways], axis=1))
    held = IS_KEY[carrying]
    columns.append(np.stack([held, (carrying != EMPTY) & ~held], axis=1))
    return np.concatenate(columns, axis=1).astype(np.float32)
