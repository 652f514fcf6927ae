"""Factors of CoinRun as a vector of 71 numbers, read from the states of many envs at once.

===  =======================================================================================
 4   the agent's place within its cell, x and y, less a half; its vx / 0.5 and vy / 1.5
 3   has support (as of the last step), stands on a crate, faces right
 2   the coin from the agent, x and y, / 16
32   the ground in the 16 columns from 4 behind the agent to 11 ahead: height of its surface over
     the agent's feet / 8, at most 2 either way, and 1 where it is lava
30   the 3 nearest saws, enemies and crates: 1 where there is one, x and y from the agent / 8; for
     enemies vx / 0.15 after that
===  =======================================================================================

Procgen writes a state in 0.19 ms, most of it its random generators as text. Reading takes a tenth of that: the grid is
read once an episode, the entities of all envs together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.procgen.state import (
    AGENT,
    COIN,
    CRATE,
    ENEMY,
    ENTITY,
    LAVA,
    SAW,
    SOLID,
    entities_of,
    grid,
    tail_of,
)
from envs.spaces import Array

BEHIND, COLUMNS, NEAREST = 4, 16, 3
KINDS = ((SAW, False), (ENEMY, True), (CRATE, False))
"""Types of entities, and whether they move."""
SIZE = 4 + 3 + 2 + 2 * COLUMNS + NEAREST * sum(3 + moves for _, moves in KINDS)
"""D, numbers of a vector."""


class CoinRunFactors:
    """Reader of N envs' states; keeps what an episode does not change.

    Args:
        num_envs: N.
    """

    def __init__(self, num_envs: int):
        self._surface = np.zeros((num_envs, 64 + BEHIND + COLUMNS), np.float32)
        """Height of the surface, columns from -BEHIND on."""
        self._lava = np.zeros((num_envs, 64 + BEHIND + COLUMNS), np.float32)
        self._coin = np.zeros((num_envs, 2), np.float32)
        self._known = np.zeros(num_envs, bool)

    def forget(self, rows: Array) -> None:
        """Read the grids of ``rows`` anew: other episodes began there."""
        self._known[rows] = False

    def read(self, rows: Array, blobs: Sequence[bytes]) -> Array:
        """Vectors (n, D) float32 of ``rows`` from their states."""
        for row, blob in zip(rows.tolist(), blobs, strict=True):
            if not self._known[row]:
                self._read_grid(row, blob)
        numbers, kinds = _padded([entities_of(blob) for blob in blobs])
        every = np.arange(len(rows))
        me = kinds.shape[1] - 1 - (kinds[:, ::-1] == AGENT).argmax(axis=1)
        agent = numbers[every, me]
        place, feet = agent[:, :2], agent[:, 1] - agent[:, 5]
        flags = np.array([tail_of(blob) for blob in blobs], np.float32)
        columns = np.floor(place[:, :1]).astype(int) + np.arange(COLUMNS)
        ground = np.clip((self._surface[rows[:, None], columns] - feet[:, None]) / 8, -2, 2)
        parts = [
            place % 1 - 0.5,
            agent[:, 2:4] / (0.5, 1.5),
            flags,
            (self._coin[rows] - place) / 16,
            ground,
            self._lava[rows[:, None], columns],
        ]
        parts += [_nearest(numbers, kinds == kind, place, moves) for kind, moves in KINDS]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _read_grid(self, row: int, blob: bytes) -> None:
        cells = grid(blob)
        solid = np.isin(cells[:-1], SOLID)
        top = len(solid) - 1 - solid[::-1].argmax(axis=0)
        self._surface[row] = np.pad(top + 1.0, (BEHIND, COLUMNS), mode="edge")
        self._lava[row] = np.pad(np.isin(cells[top, np.arange(cells.shape[1])], LAVA), (BEHIND, COLUMNS))
        coin = np.argwhere(cells == COIN)
        self._coin[row] = coin[0, ::-1] + 0.5 if len(coin) else 0
        self._known[row] = True


def _padded(entities: Sequence[Array]) -> tuple[Array, Array]:
    """Numbers (n, K, 6) float32 and types (n, K) of all envs' entities; type -1 where an env has fewer."""
    most = max(map(len, entities))
    raw = np.zeros((len(entities), most, ENTITY), np.int32)
    raw[:, :, 6] = -1
    for row, values in zip(raw, entities, strict=True):
        row[: len(values)] = values
    return raw.view(np.float32)[:, :, :6], raw[:, :, 6]


def _nearest(numbers: Array, chosen: Array, place: Array, moves: bool) -> Array:
    """The NEAREST of the ``chosen`` (n, K): (n, NEAREST * (3 or 4))."""
    away = numbers[:, :, :2] - place[:, None]
    distance = np.where(chosen, (away**2).sum(axis=2), np.inf)
    if (missing := NEAREST - distance.shape[1]) > 0:
        distance = np.pad(distance, ((0, 0), (0, missing)), constant_values=np.inf)
        numbers, away = (np.pad(values, ((0, 0), (0, missing), (0, 0))) for values in (numbers, away))
    order = np.argsort(distance, axis=1, kind="stable")[:, :NEAREST, None]
    there = np.isfinite(np.take_along_axis(distance, order[..., 0], axis=1))[..., None]
    values = [there, np.take_along_axis(away, order, axis=1) / 8]
    if moves:
        values.append(np.take_along_axis(numbers[:, :, 2:3], order, axis=1) / 0.15)
    return (np.concatenate(values, axis=2) * there).reshape(len(place), -1)
